"""The image tower run by OpenVINO: the same labels, faster; and nothing sent anywhere."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.models.encoders import Encoder
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.openvino import OpenVinoEncoder

PLAIN = lab.Config.paper().replace(saliency_weight=0.0, background="none")


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", length=4)


@pytest.fixture(scope="module")
def by_torch():
    return lab.load("tiny", saliency="none", device="cpu")


@pytest.fixture(scope="module")
def by_openvino():
    return lab.load("tiny", saliency="none", runtime="openvino")


@pytest.fixture(scope="module")
def labels_of_torch(by_torch, scenes):
    return [by_torch.segment(scene.image, scenes.label_names, PLAIN)["labels"].values for scene in scenes]


def agreement(labels_of_torch, segmenter, scenes, precision):
    """Share of pixels with torch's fp32 label."""
    config = PLAIN.replace(precision=precision)
    runs = [segmenter.segment(scene.image, scenes.label_names, config) for scene in scenes]
    return np.mean([(run["labels"].values == mine).mean() for run, mine in zip(runs, labels_of_torch, strict=True)])


@pytest.mark.parametrize("crops", [1, 2, 59])
def test_fp32_gives_the_embeddings_of_torch_for_any_number_of_crops(by_torch, by_openvino, crops):
    encoder = by_openvino.encoder
    assert isinstance(encoder, Encoder)
    assert encoder.precision == "fp32"
    images = torch.randn(crops, 3, 64, 64, generator=torch.Generator().manual_seed(crops))
    with torch.inference_mode():
        expected, found = by_torch.encoder.encode_crops(images), encoder.encode_crops(images)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_texts(["a cat"]), by_torch.encoder.encode_texts(["a cat"]))


def test_fp32_gives_the_labels_of_torch(labels_of_torch, by_openvino, scenes):
    assert agreement(labels_of_torch, by_openvino, scenes, "fp32") >= 0.9999


def test_int8_gives_98_percent_of_the_labels_and_survives_a_journey(labels_of_torch, by_openvino, scenes):
    encoder = by_openvino.encoder.with_precision("int8")
    segmenter = lab.Segmenter(encoder)
    assert agreement(labels_of_torch, segmenter, scenes, "int8") >= 0.98
    made = segmenter.encode(scenes[0].image, PLAIN.replace(precision="auto"))
    assert lab.Config.from_json(made.attrs["config"]).precision == "int8"
    crops = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder.encode_crops(crops), pickle.loads(pickle.dumps(encoder)).encode_crops(crops))


def test_patch_tokens_are_refused(by_openvino, scenes):
    with pytest.raises(errors.ModelError, match=r"the encoder 'tiny' gives no patch tokens; .* run by torch"):
        by_openvino.segment(scenes[0].image, ["cat", "car"], PLAIN.replace(dense="naclip"))


def test_bf16_is_close_or_refused_by_the_processor(labels_of_torch, by_openvino, scenes):
    try:
        by_openvino.encoder.with_precision("bf16")
    except errors.ModelError as error:
        assert "cannot compute in bf16" in str(error)  # noqa: PT017 - which of the two depends on the machine
        return
    assert agreement(labels_of_torch, by_openvino, scenes, "bf16") >= 0.99


def test_own_images_mark_the_fingerprint_and_the_weights_stay_the_same(by_torch, scenes):
    weights = by_torch.encoder.fingerprint
    own = [lab.load("tiny", saliency="none", runtime="openvino", calibration=[scenes[i].image]) for i in (0, 1)]
    marks = {one.encoder.fingerprint for one in own}
    assert len(marks) == 2
    assert all(mark.startswith(f"{weights}+") for mark in marks)
    run = own[0].segment(scenes[0].image, ["cat", "dog"], PLAIN)
    # The text encoder is torch's, whatever ran the crops.
    again = lab.recombine(run, labels=["train", "cat"], segmenter=by_torch)
    assert again["label"].values.tolist() == ["train", "cat"]


def test_a_store_made_by_openvino_is_swept_without_it(tmp_path, by_openvino, by_torch, scenes):
    config = lab.Config.paper()
    lab.embed(by_openvino, scenes, tmp_path / "store", config)
    lab.embed(by_torch, scenes, tmp_path / "plain", config)
    grid = {"background": ["prompt"], "scales": [(64,), (256, 128, 64)]}
    one, other = (lab.sweep(tmp_path / name, scenes, grid) for name in ("store", "plain"))
    np.testing.assert_allclose(one["miou_percent"], other["miou_percent"], atol=0.1)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"runtime": "openvinno"}, "expected 'torch' or 'openvino'"),
        ({"runtime": "openvino", "precision": "fp16"}, "precision is 'fp16' under OpenVINO"),
        ({"runtime": "openvino", "precision": "int8", "calibration": []}, "needs images"),
        ({"precision": "int8"}, "runtime='openvino'"),
        ({"calibration": []}, "runtime='openvino'"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, says):
    with pytest.raises(errors.ModelError, match=says):
        lab.load("tiny", saliency="none", **asked)


def test_int8_without_images_and_crops_of_another_size_are_refused(by_openvino, scenes):
    with pytest.raises(errors.ModelError, match="needs images"):
        OpenVinoEncoder(load_encoder("tiny", device="cpu"), precision="int8")
    with pytest.raises(errors.ModelError, match="accepts only crops of 64 pixels; leave out crop_input"):
        by_openvino.encode(scenes[0].image, PLAIN.replace(crop_input={64: 48}))


def test_without_openvino_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(errors.ModelError, match=r"clipdiy-lab\[openvino\]"):
        lab.load("tiny", saliency="none", runtime="openvino")


def test_no_usage_statistics_are_collected_and_nothing_is_printed(tmp_path):
    code = (
        "import sys; import numpy as np; import clipdiy_lab as lab; "
        "image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8); "
        "lab.load('tiny', saliency='none', runtime='openvino', precision='int8', calibration=[image]); "
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')])"
    )
    env = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "[]\n"
    assert "━" not in done.stderr
    assert not (tmp_path / "intel").exists()
