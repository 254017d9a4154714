"""From an image and labels to a run; every bad input is one clear error."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import schema
from clipdiy_lab.models.saliency.simple import NoSaliency


@pytest.fixture
def picture():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (90, 140, 3), dtype=np.uint8)


SMALL = lab.Config(scales=(64, 32), image_size=(64, 96))


def test_a_run_is_a_valid_labelled_tree(golden_segmenter, picture):
    run = golden_segmenter.segment(picture, ["cat", "sofa"], SMALL)
    made = {name for name, stage in schema.STAGES.items() if not stage.of_grid and stage.asked(SMALL)}
    assert made >= {"image", "merged", "fused", "labels"}
    schema.validate(run, need=made - {"saliency"})
    assert list(run["label"].values) == ["background", "cat", "sofa"]
    assert dict(run["fused"].sizes) == {"label": 3, "y": 64, "x": 96}
    assert run["labels_full"].shape == (90, 140)
    assert run["grids/s032"]["similarity"].sel(label="cat").shape == (3, 5)
    assert run["grids/s032"]["top"].values.tolist() == [0, 16, 32]
    for array in run.data_vars.values():
        assert array.attrs["long_name"]
        assert array.attrs["units"]


def test_the_image_may_be_a_path_bytes_a_picture_or_an_array(golden_segmenter, picture, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(picture).save(path)
    runs = [
        golden_segmenter.segment(given, ["cat"], SMALL)
        for given in (path, str(path), path.read_bytes(), Image.fromarray(picture), picture)
    ]
    assert all(run["labels"].equals(runs[0]["labels"]) for run in runs)
    assert len({run.attrs["image_sha256"] for run in runs}) == 1


@pytest.mark.parametrize(
    "knobs",
    [
        {"saliency_weight": 0.4},
        {"synonyms": {"sofa": ["couch", "sofa"]}, "template": ("a {label}", "the {label}")},
        {"background": "words", "background_words": ["sky", "a big wall"]},
        {"background": "threshold", "background_threshold": 0.3, "logit_scale": 40},
        {"background": "none", "template": "imagenet80", "article": "grammatical"},
    ],
    ids=lambda knobs: next(iter(knobs)),
)
def test_attributes_are_enough_to_repeat_the_run(golden_segmenter, picture, tmp_path, knobs):
    first = golden_segmenter.segment(picture, ["cat", "sofa"], SMALL.replace(**knobs))
    run = lab.open_run(lab.save_run(first, tmp_path / "run.nc"))
    assert run.identical(first)
    config, labels = lab.Config.from_json(run.attrs["config"]), json.loads(run.attrs["labels"])
    assert labels == list(run["label"].values)
    written = [prompts for phrases in json.loads(run.attrs["prompts"]).values() for prompts in phrases.values()]
    texts = [prompt for prompts in written for prompt in prompts]
    with torch.inference_mode():
        vectors = golden_segmenter.encoder.encode_texts(texts).reshape(len(written), -1, 32).mean(1)
    rows = torch.nn.functional.normalize(vectors, dim=-1)
    np.testing.assert_allclose(run["text_embedding"], rows, atol=1e-6)
    assert (run.attrs["encoder"], run.attrs["saliency_source"]) == (golden_segmenter.encoder.name, "none")
    assert run.attrs["encoder_fingerprint"] == golden_segmenter.encoder.fingerprint
    assert json.loads(run.attrs["versions"])["clipdiy_lab"] == lab.__version__
    again = golden_segmenter.segment(picture, labels, config)
    assert again.identical(run)


def test_a_background_label_is_added_only_where_the_policy_has_one(golden_segmenter, picture):
    def labels(given, **knobs):
        return list(golden_segmenter.segment(picture, given, SMALL.replace(**knobs))["label"].values)

    assert labels(["cat"]) == ["background", "cat"]
    assert labels(["cat", "background"]) == ["cat", "background"]
    assert labels(["cat"], background="none") == ["cat"]
    assert labels(["cat"], background_label="stuff") == ["stuff", "cat"]


def test_without_a_background_or_a_source_saliency_changes_nothing(golden_segmenter, picture):
    half = np.full((90, 140), 0.3, np.float32)
    plain = golden_segmenter.segment(picture, ["cat", "sofa"], SMALL)
    assert "saliency" not in plain.data_vars
    assert plain["fused"].equals(plain["merged"].rename("fused"))
    none = golden_segmenter.segment(picture, ["cat", "sofa"], SMALL.replace(background="none"), saliency=half)
    assert (none["guide"] == 1).all()
    guided = golden_segmenter.segment(picture, ["cat", "sofa"], SMALL, saliency=half)
    np.testing.assert_allclose(guided["guide"].sel(label="background"), 0.7, atol=1e-6)
    np.testing.assert_allclose(guided["guide"].sel(label="cat"), 0.3, atol=1e-6)


def test_the_saliency_source_sees_the_image_or_the_frame(golden_segmenter, picture):
    seen = []

    class Recorder:
        name, fingerprint = "recorder", "0"

        def __call__(self, image):
            seen.append(image.shape)
            return np.full(image.shape[:2], 0.5, np.float32)

    segmenter = lab.Segmenter(golden_segmenter.encoder, Recorder())
    segmenter.segment(picture, ["cat"], SMALL)
    segmenter.segment(picture, ["cat"], SMALL.replace(saliency_input="frame"))
    assert seen == [(90, 140, 3), (64, 96, 3)]


def test_every_prompt_is_embedded_once(counting_encoder, picture):
    segmenter = lab.Segmenter(counting_encoder)
    segmenter.segment(picture, ["cat", "sofa"], SMALL)
    segmenter.segment(picture, ["sofa", "cat"], SMALL)
    assert sorted(counting_encoder.texts) == ["a photo of a background", "a photo of a cat", "a photo of a sofa"]


def test_all_grids_share_one_batch_and_memory_errors_halve_it(counting_encoder, picture):
    segmenter = lab.Segmenter(counting_encoder)
    whole = segmenter.segment(picture, ["cat"], SMALL)
    assert counting_encoder.batches == [3 * 5 + 1 * 2]

    class Cramped:
        def __getattr__(self, name):
            return getattr(counting_encoder, name)

        def encode_crops(self, crops):
            if len(crops) > 5:
                raise torch.OutOfMemoryError("out of memory")
            return counting_encoder.encode_crops(crops)

    cramped = lab.Segmenter(Cramped())
    run = cramped.segment(picture, ["cat"], SMALL)
    assert cramped.batch_size == 5
    xr.testing.assert_allclose(run["fused"], whole["fused"])


def test_precision_is_a_knob(golden_segmenter, picture):
    full = golden_segmenter.segment(picture, ["cat"], SMALL)
    half = golden_segmenter.segment(picture, ["cat"], SMALL.replace(precision="bf16"))
    assert lab.Config.from_json(full.attrs["config"]).precision == "fp32"
    assert lab.Config.from_json(half.attrs["config"]).precision == "bf16"
    gap = float(abs(half["merged"] - full["merged"]).max())
    assert 0 < gap < 0.05
    assert half["fused"].dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([], "no labels"),
        ("cat", "expected a list"),
        (None, "expected a list"),
        (["cat", ""], "label 1 is empty"),
        (["cat", "   "], "label 1 is empty"),
        (["cat", 3], "label 1 is 3"),
        (["cat", "dog", "Cat"], "twice"),
        (["a very long label " * 20], r"has \d+ tokens"),
    ],
)
def test_bad_labels(golden_segmenter, picture, labels, says):
    with pytest.raises(errors.LabelError, match=says):
        golden_segmenter.segment(picture, labels, SMALL)


@pytest.mark.parametrize(
    ("saliency", "says"),
    [
        (np.zeros((5, 5), np.float32), r"90"),
        (np.full((90, 140), 1.5, np.float32), r"1\.5"),
        (np.full((90, 140), np.nan, np.float32), "NaN"),
        (np.zeros((90, 140, 1), np.float32), "90"),
    ],
)
def test_bad_saliency(golden_segmenter, picture, saliency, says):
    with pytest.raises(errors.SaliencyError, match=says):
        golden_segmenter.segment(picture, ["cat"], SMALL, saliency=saliency)


@pytest.mark.parametrize("rows", [np.ones((1, 31)), np.ones((2, 32)), np.zeros((1, 32)), np.full((1, 32), np.nan)])
def test_bad_text_embeddings(golden_segmenter, picture, rows):
    with pytest.raises(errors.ModelError, match="text_embeddings"):
        golden_segmenter.segment(picture, ["cat"], SMALL, text_embeddings=rows)


def test_given_text_embeddings_are_scaled_to_length_one(golden_segmenter, picture):
    rows = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    runs = [
        golden_segmenter.segment(picture, ["background", "cat"], SMALL, text_embeddings=k * rows) for k in (1.0, 7.0)
    ]
    np.testing.assert_allclose(runs[0]["fused"], runs[1]["fused"], atol=1e-6)


def test_an_encoder_must_meet_the_protocol():
    with pytest.raises(errors.ModelError, match="Encoder"):
        lab.Segmenter(object())


def test_an_encoder_that_gives_nonsense_is_caught(counting_encoder, picture):
    class Broken:
        def __getattr__(self, name):
            return getattr(counting_encoder, name)

        def encode_crops(self, crops):
            return torch.full((len(crops), counting_encoder.embedding_dim), float("nan"))

    with pytest.raises(errors.ModelError, match="NaN"):
        lab.Segmenter(Broken()).segment(picture, ["cat"], SMALL)


def test_a_precision_that_a_plain_encoder_cannot_have(counting_encoder, picture):
    with pytest.raises(errors.ConfigError, match="precision"):
        lab.Segmenter(counting_encoder).segment(picture, ["cat"], SMALL.replace(precision="bf16"))


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", True])
def test_batch_size_must_be_a_positive_whole_number(counting_encoder, size):
    with pytest.raises(errors.ConfigError, match="batch_size"):
        lab.Segmenter(counting_encoder, batch_size=size)


def test_crops_of_another_side():
    """Small windows at a smaller input: other embeddings of that grid, near the full ones; the rest is untouched."""
    segmenter = lab.load("tiny", saliency="none")
    picture = lab.open_dataset("scenes")[0].image
    full = segmenter.encode(picture)
    less = segmenter.encode(picture, lab.Config(crop_input={64: 32}))
    for name in ("s256", "s128"):
        same = f"grids/{name}/embedding"
        np.testing.assert_allclose(less[same].values, full[same].values, atol=1e-5)
    cosines = (less["grids/s064/embedding"] * full["grids/s064/embedding"]).sum("feature")
    assert 0.5 < float(cosines.mean()) < 0.999
    own = segmenter.encode(picture, lab.Config(crop_input={64: 64, 128: 64}))
    np.testing.assert_allclose(own["grids/s064/embedding"].values, full["grids/s064/embedding"].values, atol=1e-5)


def test_position_embeddings_are_resized_as_open_clip_does():
    from open_clip.model import resize_pos_embed

    encoder = lab.load("tiny", saliency="none").encoder
    wanted = {"visual.positional_embedding": encoder.visual.positional_embedding.detach().clone()}

    class Sized:
        visual = type("Visual", (), {"grid_size": (5, 5)})()

    resize_pos_embed(wanted, Sized())
    ours = encoder._positions(40)["positional_embedding"]
    torch.testing.assert_close(ours, wanted["visual.positional_embedding"])


def test_sides_that_cannot_be(counting_encoder, picture):
    tiny = lab.load("tiny", saliency="none")
    with pytest.raises(errors.ModelError, match=r"patches of 8; use 32 or 40"):
        tiny.encode(picture, lab.Config(crop_input={64: 36}))
    with pytest.raises(errors.ModelError, match="only crops of 8 pixels"):
        lab.Segmenter(counting_encoder).encode(picture, lab.Config(crop_input={64: 96}))
    for given, says in (
        ({64: 4}, "expected 8 to 1024"),
        ({64: "x"}, "crop_input"),
        (96, "by scale"),
        ({"a": 96}, "crop_input"),
    ):
        with pytest.raises(errors.ConfigError, match=says):
            lab.Config(crop_input=given)
    config = lab.Config(crop_input={64: 96, 32: 64})
    assert lab.Config.from_json(config.to_json()) == config
    assert hash(config) != hash(lab.Config())


def test_a_class_or_a_function_where_an_object_of_ones_own_is_expected(counting_encoder):
    with pytest.raises(errors.ModelError, match=r"encoder is the class CountingEncoder; .*: CountingEncoder\(\)"):
        lab.Segmenter(encoder=type(counting_encoder))
    for given, says in (
        (lambda image: image[..., 0] / 255, r"saliency is a function; expected .* name and fingerprint"),
        (None, "saliency is None; expected a name such as 'found' or 'none'"),
        (NoSaliency, r"saliency is the class NoSaliency; expected an object of it: NoSaliency\(\)"),
    ):
        with pytest.raises(errors.SaliencyError, match=says):
            lab.Segmenter(counting_encoder, given)


@pytest.mark.parametrize("method", ["encode_crops", "encode_texts"])
def test_an_encoder_that_gives_arrays(counting_encoder, picture, method):
    encode = getattr(counting_encoder, method)
    setattr(counting_encoder, method, lambda given: encode(given).numpy())
    with pytest.raises(
        errors.ModelError, match=f"{method} of the encoder 'counting' gave a ndarray; .*torch.from_numpy"
    ):
        lab.Segmenter(counting_encoder).segment(picture, ["cat"], SMALL)


def test_load_takes_names(counting_encoder):
    for given, says in ((counting_encoder, "a CountingEncoder"), (None, "None")):
        with pytest.raises(errors.ModelError, match=rf"name is {says}; .*lab.Segmenter\(encoder="):
            lab.load(given)
