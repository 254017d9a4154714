"""FOUND in other precisions than float32, by torch and by OpenVINO: the same objects, sooner."""

import pickle

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.models.checkpoints import read_checkpoint
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency.dino_vit import DinoViT
from clipdiy_lab.models.saliency.found import Found
from clipdiy_lab.pipeline import loading


@pytest.fixture(scope="module")
def scenes():
    return [sample.image for sample in lab.open_dataset("scenes", length=3)]


@pytest.fixture(scope="module")
def parts(shared):
    """A random transformer of DINO's kind, shallow, with the head that FOUND publishes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = DinoViT(depth=3).eval()
    return backbone, read_checkpoint(shared("found/decoder_weights.pt")).tensors


@pytest.fixture(scope="module")
def plain(parts, scenes):
    return [Found(*parts)(scene) for scene in scenes]


def by_openvino(parts, precision, scenes):
    training = [sample.image for sample in lab.open_dataset("scenes", split="train", length=4)]
    source = Found(*parts, runtime="openvino", precision=precision, calibration=training)
    try:
        source(scenes[0])
    except errors.ModelError as error:
        if precision != "bf16" or "cannot compute in bf16" not in str(error):
            raise
        pytest.skip("this processor has no bf16")
    return source


def test_openvino_in_fp32_differs_by_rounding_alone(parts, scenes, plain):
    source = by_openvino(parts, "fp32", scenes)
    for scene, expected in zip(scenes, plain, strict=True):  # of three sizes
        np.testing.assert_allclose(source(scene), expected, atol=1e-5, rtol=0)
    assert source.runtime.keys() == {"openvino"}


@pytest.mark.parametrize(
    ("runtime", "precision", "mean", "same"),
    [("torch", "bf16", 0.004, 0.99), ("openvino", "bf16", 0.004, 0.99), ("openvino", "int8", 0.03, 0.95)],
)
def test_lower_precisions_see_the_same_objects(parts, scenes, plain, runtime, precision, mean, same):
    source = Found(*parts, precision=precision) if runtime == "torch" else by_openvino(parts, precision, scenes)
    assert source.precision == precision
    for scene, expected in zip(scenes, plain, strict=True):
        found = source(scene)
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).mean() < mean
        assert ((found > 0.5) == (expected > 0.5)).mean() >= same


def test_own_images_for_int8_mark_the_fingerprint_and_precision_does_not(parts, scenes):
    weights = Found(*parts).fingerprint
    assert Found(*parts, precision="bf16").fingerprint == weights
    given = [Found(*parts, runtime="openvino", calibration=scenes[n : n + 1]).fingerprint for n in (0, 1)]
    assert len({weights, *given}) == 3
    assert Found(*parts, runtime="openvino", calibration=lambda: scenes).fingerprint == weights


def test_a_source_in_another_precision_survives_a_journey(parts, scenes):
    for source in (Found(*parts, precision="bf16"), Found(*parts, runtime="openvino")):
        again = pickle.loads(pickle.dumps(source))
        assert (again.precision, again.fingerprint) == (source.precision, source.fingerprint)
        np.testing.assert_array_equal(again(scenes[0]), source(scenes[0]))


def test_a_segmenter_asks_for_the_precision_of_its_configuration(parts, scenes, plain):
    encoder, config = lab.load("tiny", device="cpu").encoder, lab.Config.paper()
    segmenter = lab.Segmenter(encoder, Found(*parts, precision="bf16"))
    exact = segmenter.encode(scenes[0], config)["saliency"].values
    in_bf16 = segmenter.encode(scenes[0], config.replace(precision="bf16"))["saliency"].values
    expected = lab.Segmenter(encoder, "none").encode(scenes[0], config, saliency=plain[0])["saliency"].values
    np.testing.assert_array_equal(exact, expected)
    assert 0 < np.abs(in_bf16 - exact).max() < 0.02
    assert config.unlike(config.replace(precision="bf16"), "saliency") == ("precision",)


def test_what_cannot_be_is_refused(parts, scenes):
    with pytest.raises(errors.ModelError, match="'int8' needs OpenVINO"):
        Found(*parts, precision="int8")
    with pytest.raises(errors.ModelError, match="int8 needs images"):
        Found(*parts, runtime="openvino", precision="int8")
    with pytest.raises(errors.ModelError, match="precision is 'fp16' under OpenVINO"):
        Found(*parts, runtime="openvino", precision="fp16")
    with pytest.raises(errors.ModelError, match="FOUND was asked onto meta"):
        Found(*parts, runtime="openvino")._backbone.to(torch.device("meta"))


def test_load_runs_found_as_it_runs_the_encoder(parts, monkeypatch):
    asked = {}

    def published(**options):
        asked.update(options)
        return Found(*parts, **options)

    monkeypatch.setattr(Found, "published", published)
    segmenter = lab.load("tiny", saliency="found", runtime="openvino", device="cpu")
    assert asked["runtime"] == "openvino"
    assert asked["calibration"]() is not None
    assert segmenter.saliency.recipe == Recipe("found", {"runtime": "openvino"})
    again = loading.make_saliency("found", device="cpu", **segmenter.saliency.recipe.options)
    assert again.fingerprint == segmenter.saliency.fingerprint
    plain = lab.load("tiny", saliency="found", device="cpu").saliency
    assert plain.recipe == Recipe("found")
    assert plain.fingerprint == again.fingerprint
