"""The closed forms of the maps against brute force."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from test_explain_pixel import make_run

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import attribution

CONFIG = lab.Config(scales=(16, 8, 4), image_size=(24, 32), weights={16: 1, 8: 0.5, 4: 2})
NAMES = ("s016", "s008", "s004")


@pytest.fixture(scope="module")
def segmenter():
    from counting import CountingEncoder

    return lab.Segmenter(CountingEncoder())


@pytest.fixture
def run(segmenter):
    return make_run(segmenter, CONFIG, 4).copy(deep=True)


def winners(merged, guide, weight):
    return (merged * ((1 - weight) + weight * guide)).argmax(0)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(2, 6), st.sampled_from([-1.0, -0.2, 0.0]))
def test_flip_weight_against_a_fine_grid_of_weights(seed, weight, labels, low):
    rng = np.random.default_rng(seed)
    merged = rng.uniform(low, 1, (labels, 5, 4))
    saliency = rng.random((5, 4))
    saliency[0] = rng.integers(0, 2, 4)  # a hard map's values
    guide = np.stack([1 - saliency, *[saliency] * (labels - 1)])
    winner = winners(merged, guide, weight)
    change, rival = attribution.flip_weights(merged, merged * guide, weight, winner)
    np.testing.assert_array_equal(np.isnan(change), rival < 0)
    assert ((weight + change[rival >= 0] >= -1e-12) & (weight + change[rival >= 0] <= 1 + 1e-12)).all()
    reach = np.where(np.isnan(change), np.inf, np.abs(change))
    for other in np.linspace(0, 1, 201):
        flipped = winners(merged, guide, other) != winner
        assert (abs(other - weight) >= reach - 1e-9)[flipped].all()
    # A hair beyond the crossing, or at the end of the range, the named label wins.
    for y, x in np.argwhere(rival >= 0):
        beyond = np.clip(weight + change[y, x] + 1e-7 * np.sign(change[y, x]), 0, 1)
        scores = merged[:, y, x] * ((1 - beyond) + beyond * guide[:, y, x])
        assert scores[rival[y, x]] >= scores.max() - 1e-12


def test_flip_weight_against_every_crossing_of_two_lines(run):
    """An exact search: every pairwise crossing is a candidate; between candidates no label changes."""
    found = lab.explain.flip_weight(run)
    merged = run["merged"].values.astype(float)
    saliency = run["saliency"].values.astype(float)
    guide = np.stack([1 - saliency, *[saliency] * (len(merged) - 1)])
    flips = 0
    for y, x in itertools.product(range(0, 24, 5), range(0, 32, 5)):
        c, g = merged[:, y, x], guide[:, y, x]
        slope = c * (g - 1)
        stops = {0.0, 1.0}
        for i, j in itertools.combinations(range(len(c)), 2):
            if slope[i] != slope[j] and 0 <= (at := (c[j] - c[i]) / (slope[i] - slope[j])) <= 1:
                stops.add(at)
        stops = sorted(stops)
        own = int(run["labels"].values[y, x])
        best = [
            (min(abs(low - 1), abs(high - 1)), int(np.argmax(c + (low + high) / 2 * slope)))
            for low, high in itertools.pairwise(stops)
        ]
        others = [pair for pair in best if pair[1] != own]
        change, rival = float(found["flip_change"].values[y, x]), int(found["flip_label"].values[y, x])
        if others:
            flips += 1
            assert (-change, rival) == (pytest.approx(min(others)[0], abs=1e-6), min(others)[1])
        else:
            assert math.isnan(change)
            assert rival == -1
    assert flips > 3


def test_recombining_beyond_the_flip_changes_the_label(run):
    found = lab.explain.flip_weight(run)
    change = found["flip_change"].values
    y, x = np.argwhere(change < -0.05)[0]
    for extra, expected in ((0.01, int(run["labels"].values[y, x])), (-0.01, int(found["flip_label"].values[y, x]))):
        turned = lab.recombine(run, saliency_weight=float(1 + change[y, x] + extra))
        assert int(turned["labels"].values[y, x]) == expected


@pytest.mark.parametrize("weight", [1.0, 0.7, 0.2])
def test_a_pixel_is_background_exactly_below_its_threshold(run, weight):
    turned = lab.recombine(run, saliency_weight=weight)
    found = lab.explain.background_threshold(turned)
    c = run["merged"].values.astype(float)
    own, best = c[0], c[1:].max(0)
    is_background = turned["labels"].values == 0
    distance = found["threshold_distance"].values
    defined = (own + best > 0) & (np.abs(distance) > 1e-5)
    np.testing.assert_array_equal(np.isnan(distance), own + best <= 0)
    np.testing.assert_array_equal(is_background[defined], distance[defined] < 0)
    if weight == 1:
        np.testing.assert_allclose(found["background_threshold"].values[defined], (own / (own + best))[defined], 1e-5)


def test_without_saliency_weight_no_threshold_is_defined(run):
    found = lab.explain.background_threshold(lab.recombine(run, saliency_weight=0.0))
    assert np.isnan(found["background_threshold"]).all()


def test_leaving_a_grid_out_is_recombining_without_it(run):
    found = lab.explain.grid_importance(run)
    for name in NAMES:
        weights = {**CONFIG.weights, name: 0}
        without = lab.recombine(run, weights=weights)["labels"].values
        expected = without != run["labels"].values
        assert (found["grid_flips"].sel(grid=name).values == expected).mean() > 0.999
    assert found["grid_flips"].any()


def test_shapley_values_by_orders_of_arrival(run):
    """The other definition: the mean gain of a grid over all orders in which the grids may arrive."""
    found = lab.explain.grid_importance(run)
    logits, guide = run["logits"].values.astype(float), run["guide"].values.astype(float)
    for y, x in ((0, 0), (7, 9), (23, 31), (12, 30)):
        winner = int(run["labels"].values[y, x])
        parts = logits[:, :, y, x] * guide[:, y, x] * np.array([1, 0.5, 2])[:, None] / 3

        def worth(members, winner=winner, parts=parts):
            if not members:
                return 0.0
            total = parts[list(members)].sum(0)
            return total[winner] - np.delete(total, winner).max()

        gains = np.zeros(3)
        for order in itertools.permutations(range(3)):
            for place, grid in enumerate(order):
                gains[grid] += worth(order[: place + 1]) - worth(order[:place])
        np.testing.assert_allclose(found["grid_shapley"].values[:, y, x], gains / 6, atol=1e-6)
        assert int(found["deciding_grid"].values[y, x]) == gains.argmax()


def test_the_values_of_the_grids_sum_to_the_margin(run):
    found = lab.explain.grid_importance(run)
    for name in ("grid_shapley", "grid_contribution"):
        np.testing.assert_allclose(found[name].sum("grid"), run["margin"], atol=1e-6)


def test_the_contribution_of_a_grid_is_what_contrast_gives(run):
    found = lab.explain.grid_importance(run)
    order = run["fused"].values[:, 9, 20].argsort()[::-1]
    names = [str(run["label"].values[i]) for i in order[:2]]
    parts = lab.explain.contrast(run, 9, 20, *names).groupby("grid")["difference"].sum()
    for name in NAMES:
        assert float(found["grid_contribution"].sel(grid=name, y=9, x=20)) == pytest.approx(parts[name], abs=1e-6)


def test_uncertainty_of_known_scores(run):
    found = lab.explain.uncertainty(run, temperature=0.05)
    p = np.exp(run["fused"].values.astype(float) / 0.05)
    p /= p.sum(0)
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p)).sum(0), atol=1e-5)
    xr.testing.assert_allclose(found["margin"], run["margin"])
    alone = [lab.recombine(run, scales=(scale,), weights={})["labels"].values for scale in CONFIG.scales]
    agreement = np.mean([labels == run["labels"].values for labels in alone], axis=0)
    assert np.isclose(found["grid_agreement"], agreement).mean() > 0.999
    hot = lab.explain.uncertainty(run, temperature=1e6)
    np.testing.assert_allclose(hot["entropy"], np.log(4), atol=1e-4)


@pytest.mark.parametrize("name", ["flip_weight", "background_threshold"])
def test_maps_of_saliency_need_saliency(run, segmenter, name):
    explain = getattr(lab.explain, name)
    with pytest.raises(errors.RunError, match="policy is 'prompt'"):
        explain(lab.recombine(run, background="prompt"))
    with pytest.raises(errors.RunError, match="policy is 'none'"):
        explain(lab.recombine(run, background="none"))
    del run["saliency"]
    with pytest.raises(errors.RunError, match=r"no stage 'saliency'.*recombine\(run, saliency="):
        explain(run)


@pytest.mark.parametrize("name", ["flip_weight", "background_threshold", "grid_importance", "uncertainty"])
def test_nan_in_a_stage_and_a_stage_that_is_missing(run, name):
    broken = run.copy(deep=True)
    broken["merged"].values[0, 0, 0] = np.nan
    with pytest.raises(errors.RunError, match="'merged' holds NaN"):
        getattr(lab.explain, name)(broken)
    gone = "logits" if name in ("grid_importance", "uncertainty") else "merged"
    del run[gone]
    with pytest.raises(errors.RunError, match=f"no stage '{gone}'; segment"):
        getattr(lab.explain, name)(run)


@pytest.mark.parametrize("name", ["grid_importance", "uncertainty"])
def test_scores_that_are_no_sum_over_grids(run, name):
    run["fused"].values[0] = 0.5
    with pytest.raises(errors.RunError, match="'background' are not a sum over the grids"):
        getattr(lab.explain, name)(run)


def test_one_label_has_no_runner_up(segmenter):
    picture = np.zeros((20, 30, 3), np.uint8)
    lonely = segmenter.segment(picture, ["cat"], CONFIG.replace(background="none"))
    for explain in (lab.explain.grid_importance, lambda run: lab.explain.story(run, 0, 0)):
        with pytest.raises(errors.RunError, match="one label"):
            explain(lonely)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "hot"])
def test_a_temperature_that_makes_no_sense(run, temperature):
    with pytest.raises(errors.ConfigError, match="temperature is"):
        lab.explain.uncertainty(run, temperature=temperature)


def test_maps_carry_units_and_maps_of_grids_their_window_sides(run):
    for made in (lab.explain.flip_weight(run), lab.explain.grid_importance(run), lab.explain.uncertainty(run)):
        for array in made.data_vars.values():
            if "grid" in array.dims:
                assert array["grid"].values.tolist() == list(NAMES)
                assert array["window"].values.tolist() == [16, 8, 4]
            assert array.attrs["long_name"]
            assert array.attrs["units"]
