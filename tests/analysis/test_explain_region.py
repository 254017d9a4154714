"""A region's mean score is taken apart exactly, and told."""

import numpy as np
import pytest
from counting import TokenCountingEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from test_explain_pixel import LABELS, make_run, small_configs

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import schema


@pytest.fixture(scope="module")
def segmenter():
    return lab.Segmenter(TokenCountingEncoder())


@pytest.fixture(scope="module")
def whole_run(segmenter):
    return make_run(segmenter, lab.Config(scales=(16, 8), image_size=(24, 32)), 3)


@pytest.fixture
def run(whole_run):
    return whole_run.copy(deep=True)


@settings(max_examples=15)
@given(small_configs(), st.integers(0, 2**32 - 1), st.sampled_from(["frame", "image"]))
def test_the_parts_of_a_region_sum_to_its_mean_score(segmenter, config, seed, frame):
    run = make_run(segmenter, config, seed)
    stage = run["labels" if frame == "frame" else "labels_full"]
    mask = np.random.default_rng(seed).random(stage.shape) < 0.3
    mask.flat[seed % mask.size] = True
    parts = lab.explain.region(run, mask, frame=frame)
    scores = schema.scores(run).values
    if frame == "image":  # every pixel of the image has the score of the frame's nearest
        rows, cols = (np.arange(new) * old // new for old, new in zip(config.image_size, mask.shape, strict=True))
        scores = scores[:, rows[:, None], cols]
    for place, label in enumerate(run["fused"]["label"].values):
        own = parts[parts["label"] == label]
        assert own["contribution"].sum() == pytest.approx(scores[place][mask].mean(), abs=1e-6)
        rounding = 1e-7 if config.refine == "none" else 1e-5  # the weights of a refinement are single precision
        np.testing.assert_allclose(own.groupby("grid")["interpolation_weight"].sum(), 1, rtol=rounding)
    numbers = ["interpolation_weight", "cosine", "grid_weight", "saliency_factor"]
    np.testing.assert_allclose(parts["contribution"], parts[numbers].prod(axis=1), rtol=1e-9, atol=1e-15)


def test_a_region_of_one_pixel_is_that_pixel(run):
    mask = np.zeros(run["labels"].shape, bool)
    mask[5, 7] = True
    order = ["label", "grid", "row", "col"]
    for found, expected in ((lab.explain.region(run, mask), lab.explain.pixel(run, 5, 7)),):
        found, expected = (table.sort_values(order, ignore_index=True) for table in (found, expected))
        assert found.columns.tolist() == expected.columns.tolist()
        np.testing.assert_allclose(
            found.select_dtypes("number").to_numpy(float), expected.select_dtypes("number").to_numpy(float), atol=1e-12
        )
    told, pixel = lab.explain.region_story(run, mask), lab.explain.story(run, 5, 7)
    assert told.splitlines()[1] == pixel.splitlines()[1]


def test_the_story_of_a_region_is_made_of_its_numbers(run):
    labels = run["labels"]
    mask = labels == 1
    told = lab.explain.region_story(run, mask)
    means = run["fused"].values[:, mask.values].mean(1)
    names = list(run["fused"]["label"].values)
    rival = max((place for place in range(len(names)) if place != 1), key=lambda place: means[place])
    assert told.startswith(
        f"Over the region the mean score of {names[1]!r} is {means[1]:.4f}, {abs(means[1] - means[rival]):.4f} above "
        f"that of {names[rival]!r} ({means[rival]:.4f}); {names[1]!r} wins 100.0 % of it"
    )
    assert len(told.splitlines()) == 3
    assert "on average; without saliency" in told
    other = lab.explain.region_story(run, mask, "sofa", "bus")
    assert "mean score of 'sofa'" in other
    assert "that of 'bus'" in other


def test_regions_that_are_none(run):
    shape = run["labels"].shape
    for mask, said in (
        (np.zeros(shape, bool), "False everywhere"),
        (np.ones((2, 2), bool), "expected booleans of shape"),
        (np.ones(shape, int), "expected booleans of shape"),
        ("cat", "expected booleans of shape"),
    ):
        for explain in (lab.explain.region, lab.explain.region_story):
            with pytest.raises(errors.RunError, match=said):
                explain(run, mask)
    mask = np.ones(shape, bool)
    with pytest.raises(errors.RunError, match="frame is 'photo'"):
        lab.explain.region(run, mask, frame="photo")
    with pytest.raises(errors.LabelError, match="no label 'cats'"):
        lab.explain.region(run, mask, ["cats"])
    with pytest.raises(errors.LabelError, match="both 'cat'"):
        lab.explain.region_story(run, mask, "cat", "cat")
    run["fused"].values[:] = run["fused"].values + 0.01
    with pytest.raises(errors.RunError, match="its windows sum to"):
        lab.explain.region(run, mask, LABELS)
