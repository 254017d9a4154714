"""A pixel's score is taken apart exactly, whatever the configuration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import schema

LABELS = ["cat", "bus", "sofa"]


@pytest.fixture(scope="module")
def segmenter():
    from counting import TokenCountingEncoder

    return lab.Segmenter(TokenCountingEncoder())


def make_run(segmenter, config, seed, shape=(20, 30)):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    rows = rng.normal(size=(3, segmenter.encoder.embedding_dim))
    return segmenter.segment(picture, LABELS, config, saliency=rng.random(shape), text_embeddings=rows)


@pytest.fixture
def run(segmenter):
    return make_run(segmenter, lab.Config(scales=(16, 8), image_size=(24, 32)), 3).copy(deep=True)


@st.composite
def small_configs(draw):
    size = (draw(st.integers(4, 24)), draw(st.integers(4, 24)))
    scales = draw(st.lists(st.integers(2, min(size)), min_size=1, max_size=3, unique=True))
    placement, interpolation = (
        draw(st.sampled_from(("stretched", "centred"))),
        draw(st.sampled_from(("bilinear", "nearest"))),
    )
    return lab.Config(
        scales=scales,
        stride=draw(st.integers(1, min(4, *scales))),
        image_size=size,
        weights={scale: draw(st.sampled_from((0.05, 0.3, 1.0)) | st.floats(0.1, 1)) for scale in scales},
        placement=placement,
        interpolation=interpolation,
        align_corners=(placement, interpolation) == ("stretched", "bilinear") and draw(st.booleans()),
        background=draw(st.sampled_from(("saliency", "prompt", "none"))),
        saliency_weight=draw(st.floats(0, 1)),
        saliency_threshold=draw(st.none() | st.floats(0, 1)),
        keep_labels=draw(st.none() | st.integers(1, 3)),
        refine=draw(st.sampled_from(("none", "pamr", "guided"))),
        refine_iterations=draw(st.integers(0, 3)),
        refine_dilations=draw(st.lists(st.integers(1, min(size) - 1), min_size=1, max_size=2, unique=True)),
        refine_radius=draw(st.integers(1, min(size) - 1)),
        dense=draw(st.sampled_from(("none", "sclip", "clearclip"))),
        dense_from=draw(st.sampled_from(("frame", "crops"))),
    )


@settings(max_examples=30)
@given(small_configs(), st.integers(0, 2**32 - 1), st.data())
def test_the_parts_sum_to_the_score(segmenter, config, seed, data):
    run = make_run(segmenter, config, seed)
    y, x = (data.draw(st.integers(0, side - 1)) for side in config.image_size)
    parts = lab.explain.pixel(run, y, x)
    sums = parts.groupby("label")["contribution"].sum()
    fused = schema.scores(run).sel(y=y, x=x)
    assert set(sums.index) == set(fused["label"].values)
    for label in sums.index:
        assert abs(sums[label] - float(fused.sel(label=label))) <= 1e-6
    product = parts[["interpolation_weight", "cosine", "grid_weight", "saliency_factor"]].prod(axis=1)
    np.testing.assert_allclose(parts["contribution"], product, rtol=1e-12)
    # The windows of a grid lie inside the frame and share the pixel among them; without a refinement at most four do.
    windows = parts[parts["label"] == "cat"]
    crops = windows[windows["grid"].str.startswith("s")]
    assert config.refine != "none" or crops.groupby("grid").size().max() <= 4
    rounding = 1e-7 if config.refine == "none" else 1e-5  # the weights of a refinement are single precision
    np.testing.assert_allclose(windows.groupby("grid")["interpolation_weight"].sum(), 1, rtol=rounding)
    assert (windows["bottom"] - windows["top"] == windows["window"]).all()
    assert (windows["right"] - windows["left"] == windows["window"]).all()
    assert (crops["grid"] == crops["window"].map("s{:03d}".format)).all()
    assert (windows["top"] >= 0).all()
    assert (windows["bottom"] <= config.image_size[0]).all()
    assert (windows["right"] <= config.image_size[1]).all()


@settings(max_examples=10)
@given(small_configs(), st.integers(0, 2**32 - 1))
def test_a_contrast_sums_to_the_lead(segmenter, config, seed):
    run = make_run(segmenter, config, seed)
    parts = lab.explain.contrast(run, 1, 2, "cat", "sofa")
    fused = schema.scores(run).sel(y=1, x=2)
    lead = float(fused.sel(label="cat")) - float(fused.sel(label="sofa"))
    assert abs(parts["difference"].sum() - lead) <= 2e-6
    assert parts["difference"].is_monotonic_decreasing


def test_a_cosine_is_that_of_the_window_cut_out_and_encoded_alone(run, segmenter):
    """The box is where the window really was: cut it from the frame and encode it again."""
    import torch

    from clipdiy_lab.method import ops

    encoder = segmenter.encoder
    text = run["text_embedding"].values[list(run["label"].values).index("bus")]
    for _, part in lab.explain.pixel(run, 17, 9, ["bus"]).iterrows():
        crop = run["image"].values[part["top"] : part["bottom"], part["left"] : part["right"]].copy()
        given = torch.from_numpy(crop).permute(2, 0, 1)[None]
        vector = encoder.encode_crops(ops.to_encoder_input(given, encoder.image_size, encoder.mean, encoder.std))[0]
        assert float(vector.numpy() @ text) == pytest.approx(part["cosine"], abs=1e-5)


def test_a_pixel_of_the_image_is_the_frame_pixel_it_was_made_from(run):
    full = run["labels_full"].values
    names = run["label"].values
    for y, x in ((0, 0), (19, 29), (7, 13), (11, 22)):
        sums = lab.explain.pixel(run, y, x, frame="image").groupby("label")["contribution"].sum()
        assert sums.idxmax() == names[full[y, x]]


def test_the_story_tells_the_numbers(run):
    lines = lab.explain.story(run, 5, 6).split("\n")
    fused = run["fused"].sel(y=5, x=6)
    order = fused.values.argsort()[::-1]
    winner, second = (str(fused["label"].values[i]) for i in order[:2])
    assert len(lines) == 3
    assert f"{winner!r} is {float(fused.max()):.4f}" in lines[0]
    assert f"{float(run['margin'].sel(y=5, x=6)):.4f} above that of {second!r}" in lines[0]
    assert "px window at rows" in lines[1]
    bare = run["merged"].sel(y=5, x=6)
    assert repr(str(bare["label"].values[int(bare.values.argmax())])) in lines[2]
    ignored = lab.explain.story(lab.recombine(run, saliency_weight=0.0), 5, 6)
    assert "Saliency did nothing" in ignored
    below = lab.explain.story(run, 5, 6, second, winner)
    assert "below that of" in below


@pytest.mark.parametrize(("y", "x"), [(-1, 0), (24, 0), (0, 32), (0.5, 0), (True, 0), ("a", 0), (None, 0)])
def test_a_pixel_that_is_not_there(run, y, x):
    with pytest.raises(errors.RunError, match=r"there is no pixel .* frame has 24 x 32"):
        lab.explain.pixel(run, y, x)


def test_a_frame_that_is_none(run):
    with pytest.raises(errors.RunError, match="frame is 'photo'"):
        lab.explain.pixel(run, 0, 0, frame="photo")


@pytest.mark.parametrize("labels", [[], "cat"])
def test_no_list_of_labels(run, labels):
    with pytest.raises(errors.LabelError, match="expected a list"):
        lab.explain.pixel(run, 0, 0, labels)


def test_a_label_that_is_not_there(run):
    with pytest.raises(errors.LabelError, match=r"no label 'cats'\. Did you mean 'cat'"):
        lab.explain.pixel(run, 0, 0, ["cats"])
    with pytest.raises(errors.LabelError, match="no label 'dog'"):
        lab.explain.contrast(run, 0, 0, "cat", "dog")
    with pytest.raises(errors.LabelError, match="both 'cat'"):
        lab.explain.contrast(run, 0, 0, "cat", "cat")


@pytest.mark.parametrize("name", ["guide", "fused", "labels"])
def test_a_run_without_a_stage(run, name):
    del run[name]
    with pytest.raises(errors.RunError, match=f"no stage '{name}'; segment"):
        lab.explain.pixel(run, 0, 0)


def test_nan_in_a_stage(run):
    run["grids/s008/similarity"].values[0, 0, 0] = np.nan
    with pytest.raises(errors.RunError, match="s008/similarity' holds NaN"):
        lab.explain.pixel(run, 0, 0)


def test_a_score_that_is_no_sum_of_windows_is_said_to_be_none(run):
    """As the background's score is where it is a function of the other labels' scores."""
    run["fused"].values[0] = 0.5
    with pytest.raises(errors.RunError, match=r"'background' .* not a weighted sum of windows"):
        lab.explain.pixel(run, 3, 3, ["background"])
    assert set(lab.explain.pixel(run, 3, 3, ["cat"])["label"]) == {"cat"}
