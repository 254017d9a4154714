"""Whole runs: every score can be taken apart, and neither batches nor the order of labels change anything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs, random_pixels, seeds

import clipdiy_lab as lab
from clipdiy_lab.method import schema
from clipdiy_lab.method.grid import Plan

LABELS = ["cat", "bus", "sofa"]


def make_run(segmenter, config, seed, labels=LABELS):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(4, 40, 2))
    return segmenter.segment(random_pixels(height, width, seed), labels, config, saliency=rng.random((height, width)))


@pytest.fixture(scope="module")
def segmenter():
    """One for all examples: hypothesis wants no fixture that is made anew for every test."""
    from counting import TokenCountingEncoder

    return lab.Segmenter(TokenCountingEncoder())


small = configs(max_side=24, labels=LABELS).map(lambda config: config.replace(precision="auto"))


@settings(max_examples=15)
@given(small, seeds, st.data())
def test_a_score_is_exactly_the_sum_of_its_windows(segmenter, config, seed, data):
    run = make_run(segmenter, config, seed)
    schema.validate(run)
    height, width = config.image_size
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    total = np.zeros(run.sizes["label"])
    plan = Plan.of(config)
    for grid in plan:
        down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
        cosines = run[f"grids/{grid.name}/similarity"].values.astype(float)
        for row in np.flatnonzero(down[y]):
            for col in np.flatnonzero(across[x]):
                total += down[y, row] * across[x, col] * cosines[row, col] * config.weight(grid.name) / len(plan)
    at = run.sel(y=y, x=x)
    guide = np.ones_like(total)
    if config.background == "saliency":
        s = float(at["saliency"])
        if config.saliency_threshold is not None:
            s = float(s > np.float32(config.saliency_threshold))
        guide[:] = 1 - config.saliency_weight + config.saliency_weight * s
        guide[0] = 1 - config.saliency_weight * s
    bound = 1e-6 * max([1, *config.weights.values()])
    np.testing.assert_allclose(at["merged"], total, atol=bound, rtol=0)
    expected = total * guide
    if config.background == "threshold":
        powers = np.exp(config.logit_scale * (total[1:] - total[1:].max()))
        powers = powers[schema.competing(run)[1:]]
        top = powers.max() / powers.sum()
        # Nearer than that rounding does not let one tell; a refinement makes other scores of these.
        if config.refine == "none" and abs(top - config.background_threshold) > 1e-3:
            assert (int(at["labels"]) == 0) == (top < config.background_threshold)
        expected[0] = at["fused"][0]
    np.testing.assert_allclose(at["fused"], expected, atol=bound, rtol=0)
    assert int(at["labels"]) == int(np.argmax(np.where(schema.competing(run), schema.scores(at), -np.inf)))
    parts = lab.explain.pixel(run, y, x).groupby("label")["contribution"].sum()
    np.testing.assert_allclose(parts, schema.scores(at).sel(label=list(parts.index)), atol=bound, rtol=0)
    if config.refine != "none":
        moved = lab.explain.refine_changed(run)["moved"]
        assert int(moved.sum()) == height * width


@settings(max_examples=8)
@given(small, seeds, st.permutations(LABELS))
def test_the_order_of_labels_changes_nothing_but_the_order(segmenter, config, seed, order):
    run, again = make_run(segmenter, config, seed), make_run(segmenter, config, seed, order)
    names = list(run["label"].values)
    np.testing.assert_allclose(again["fused"].sel(label=names), run["fused"], atol=1e-6, rtol=0)
    clear = run["margin"].values > 1e-5
    np.testing.assert_array_equal(
        again["label"].values[again["labels"].values][clear], run["label"].values[run["labels"].values][clear]
    )


@settings(max_examples=15)
@given(small, seeds)
def test_the_similarity_of_a_label_is_the_greatest_of_its_phrases(segmenter, config, seed):
    run = make_run(segmenter, config, seed)
    text = run["text_embedding"]
    assert schema.phrases_of(text).keys() == set(run["label"].values)
    for node in run["grids"].children.values():
        for label in run["label"].values:
            rows = np.flatnonzero(text["phrase_label"].values == label)
            cosines = node["embedding"].values @ text.values[rows].T
            similarity, which = (node[name].sel(label=label).values for name in ("similarity", "best_phrase"))
            np.testing.assert_allclose(similarity, cosines.max(-1), atol=1e-6)
            assert set(which.flat) <= set(rows)
            chosen = np.take_along_axis(cosines, which[..., None] - rows[0], -1)[..., 0]
            np.testing.assert_allclose(chosen, cosines.max(-1), atol=1e-6)


@settings(max_examples=10)
@given(small, seeds)
def test_the_best_phrase_of_a_window_scores_at_least_as_high_as_the_best_of_a_pixel(segmenter, config, seed):
    """The two ways to take the maximum: they differ, and always in this direction, since no weight is negative."""
    several = {"cat": ["cat", "tiger"], "bus": ["bus", "coach", "lorry"]}
    plain = config.replace(synonyms={}, background="none")
    together = make_run(segmenter, plain.replace(synonyms=several), seed)["merged"]
    alone = make_run(segmenter, plain, seed, [phrase for phrases in several.values() for phrase in phrases])["merged"]
    for label, phrases in several.items():
        per_pixel = alone.sel(label=list(phrases)).max("label")
        bound = 1e-6 * max([1, *config.weights.values()])
        assert float((together.sel(label=label) - per_pixel).min()) >= -bound
        if len(config.grids) == 1 and config.interpolation == "nearest":
            np.testing.assert_allclose(together.sel(label=label), per_pixel, atol=bound)


@settings(max_examples=10)
@given(small, small, seeds)
def test_recombining_with_any_fuse_knobs_is_segmenting_anew(segmenter, config, other, seed):
    encode = {name: getattr(config, name) for name in (*lab.Config.knobs("encode"), "weights", "align_corners")}
    sized = ("refine_dilations", "refine_radius") if min(config.image_size) > 1 else ("refine",)
    encode |= {name: getattr(config, name) for name in ("placement", "interpolation", *sized)}
    other = other.replace(**encode)
    fresh = make_run(segmenter, other, seed)
    run = make_run(segmenter, config, seed)
    segmenter.encoder.batches.clear()
    again = lab.recombine(run, config=other, labels=LABELS, segmenter=segmenter)
    assert segmenter.encoder.batches == []
    assert again.identical(fresh)


@settings(max_examples=8)
@given(small, seeds)
def test_recombining_with_the_same_knobs_gives_the_same_run(segmenter, config, seed):
    run = make_run(segmenter, config, seed)
    assert lab.recombine(run).identical(run)


def test_batches_change_nothing(golden_encoder):
    """With a real transformer, whose matrix products depend on the size of the batch in the last bits."""
    config = lab.Config(scales=(64, 48), image_size=(96, 80))
    image = random_pixels(70, 90, 4)
    runs = [
        lab.Segmenter(golden_encoder, batch_size=size).segment(image, LABELS, config, saliency=np.full((70, 90), 0.6))
        for size in (None, 1, 7)
    ]
    for run in runs[1:]:
        for name in config.grids:
            one, other = (r[f"grids/{name}/embedding"] for r in (runs[0], run))
            np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(run["labels"], runs[0]["labels"])
