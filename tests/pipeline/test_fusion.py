"""Every fuse-tier knob turns without the image network, and gives what segmenting anew gives."""

import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab import errors

SMALL = lab.Config(scales=(64, 32), image_size=(64, 96))
TURNS = {
    "scale_weights": {64: 0, 32: 1.5},
    "placement": "centred",
    "interpolation": "nearest",
    "align_corners": True,
    "template": "a drawing of the {label}",
    "article": "grammatical",
    "background": "prompt",
    "background_label": "stuff",
    "saliency_weight": 0.3,
    "saliency_threshold": 0.5,
    "temperature": 0.05,
}


@pytest.fixture
def picture():
    return np.random.default_rng(5).integers(0, 256, (70, 110, 3), dtype=np.uint8)


@pytest.fixture
def saliency():
    return np.random.default_rng(6).random((70, 110), dtype=np.float32)


@pytest.fixture
def segmenter(counting_encoder):
    return lab.Segmenter(counting_encoder)


def test_the_table_of_turns_names_every_fuse_knob():
    assert set(TURNS) == set(lab.Config.knobs("fuse"))


@pytest.mark.parametrize("knob", TURNS)
def test_a_turned_knob_equals_a_new_run_and_calls_no_network(segmenter, counting_encoder, picture, saliency, knob):
    run = segmenter.segment(picture, ["apple", "cat"], SMALL, saliency=saliency)
    untouched = run.copy(deep=True)
    fresh = segmenter.segment(picture, ["apple", "cat"], SMALL.replace(**{knob: TURNS[knob]}), saliency=saliency)
    counting_encoder.batches.clear()
    again = lab.recombine(run, segmenter=segmenter, **_with_labels(knob))
    assert counting_encoder.batches == []
    xr.testing.assert_identical(again["labels"], fresh["labels"])
    xr.testing.assert_allclose(again["fused"], fresh["fused"], atol=1e-6)
    assert lab.Config.from_json(again.attrs["config"]) == lab.Config.from_json(fresh.attrs["config"])
    assert run.identical(untouched)


def _with_labels(knob):
    # Another name for the background means other labels: say which ones are meant.
    extra = {"labels": ["apple", "cat"]} if knob == "background_label" else {}
    return {knob: TURNS[knob]} | extra


def test_dropping_scales_needs_no_network(segmenter, counting_encoder, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    counting_encoder.batches.clear()
    fine = lab.recombine(run, scales=(32,))
    assert counting_encoder.batches == []
    xr.testing.assert_allclose(fine["merged"], run["logits"].sel(scale=32, drop=True).rename("merged"))
    assert list(fine["scales"].children) == ["s032"]


def test_labels_of_the_run_can_be_dropped_and_reordered_without_a_segmenter(segmenter, picture):
    run = segmenter.segment(picture, ["cat", "sofa", "bus"], SMALL)
    fewer = lab.recombine(run, labels=["bus", "cat"])
    assert list(fewer["label"].values) == ["background", "bus", "cat"]
    xr.testing.assert_allclose(fewer["fused"].sel(label="bus"), run["fused"].sel(label="bus"))


def test_background_none_drops_the_label_and_the_guide(segmenter, picture, saliency):
    run = segmenter.segment(picture, ["cat", "sofa"], SMALL, saliency=saliency)
    bare = lab.recombine(run, background="none")
    assert list(bare["label"].values) == ["cat", "sofa"]
    assert (bare["guide"] == 1).all()
    back = lab.recombine(bare, segmenter=segmenter, background="saliency")
    xr.testing.assert_allclose(back["fused"], run["fused"], atol=1e-6)


def test_new_labels_need_someone_who_embeds_them(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.RunError, match=r"'dog'.*segmenter="):
        lab.recombine(run, labels=["cat", "dog"])
    with pytest.raises(errors.RunError, match="other prompts"):
        lab.recombine(run, template="an image of a {label}")
    with_dog = lab.recombine(run, labels=["cat", "dog"], segmenter=segmenter)
    assert list(with_dog["label"].values) == ["background", "cat", "dog"]


def test_given_text_embeddings_for_new_labels(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    rows = segmenter.text_embeddings(["dog", "bus"], SMALL).sel(label=["dog", "bus"]).values
    given = lab.recombine(run, labels=["dog", "bus"], text_embeddings=rows)
    known = lab.recombine(run, labels=["dog", "bus"], segmenter=segmenter)
    xr.testing.assert_allclose(given["fused"], known["fused"], atol=1e-6)
    with pytest.raises(errors.LabelError, match="row for each"):
        lab.recombine(run, labels=["dog"], text_embeddings=rows)


@pytest.mark.parametrize("shape", [(70, 110), (64, 96)])
def test_another_saliency_at_either_size(segmenter, picture, shape):
    run = segmenter.segment(picture, ["cat"], SMALL)
    hard = lab.recombine(run, saliency=np.ones(shape, np.float32))
    assert (hard["guide"].sel(label="background") == 0).all()
    assert hard.attrs["saliency_source"] == "given"
    assert run.attrs["saliency_source"] == "none"


def test_an_encode_knob_needs_the_network(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    for knobs in ({"stride": 4}, {"image_size": 96}, {"scales": (48,)}, {"image_resize": "nearest"}):
        with pytest.raises(errors.RunError, match="needs the network"):
            lab.recombine(run, **knobs)


def test_another_encoder_is_refused(segmenter, golden_segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.RunError, match="other weights"):
        lab.recombine(run, labels=["cat", "dog"], segmenter=golden_segmenter)


def test_something_else_than_a_run_is_refused():
    with pytest.raises(errors.RunError, match="expected a run"):
        lab.recombine({"fused": 1})
    with pytest.raises(errors.RunError, match="not a run"):
        lab.recombine(xr.DataTree(xr.Dataset({"a": 1})))


def test_text_embeddings_of_another_width_beside_the_runs_background(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.ModelError, match="has 5 features, the run's have 12"):
        lab.recombine(run, labels=["cat"], text_embeddings=np.ones((1, 5)))


def test_a_ragged_saliency(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.SaliencyError):
        lab.recombine(run, saliency=[[0.1], [0.2, 0.3]])


@pytest.mark.parametrize("name", ["image_height", "image_width", "background_index"])
@pytest.mark.parametrize("value", [None, "many"])
def test_a_run_whose_numbers_are_missing_or_no_numbers(segmenter, picture, name, value):
    run = segmenter.segment(picture, ["cat"], SMALL)
    if value is None:
        del run.attrs[name]
    else:
        run.attrs[name] = value
    with pytest.raises(errors.RunError, match=name):
        lab.recombine(run, saliency_weight=0.5)


@pytest.mark.parametrize("config", ["paper", {"stride": 4}, {}, 0])
def test_something_else_than_a_config(segmenter, picture, config):
    run = segmenter.segment(picture, ["cat"], SMALL)
    for call in (
        lambda: segmenter.segment(picture, ["cat"], config),
        lambda: segmenter.encode(picture, config),
        lambda: segmenter.text_embeddings(["cat"], config),
        lambda: lab.recombine(run, config=config),
    ):
        with pytest.raises(errors.ConfigError, match="expected a Config"):
            call()
