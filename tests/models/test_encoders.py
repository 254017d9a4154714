"""Encoders by name, from files, and one's own."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.models.encoders import Encoder
from clipdiy_lab.models.loading import load_encoder

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """A small architecture that open_clip knows by name, so that the real loading code runs."""
    path = tmp_path_factory.mktemp("configs") / "lab-test-model.json"
    path.write_text(json.dumps(SMALL))
    open_clip.add_model_config(path)
    return "lab-test-model"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return open_clip.CLIP(**SMALL).eval()


# Of the test's architecture open_clip has no tags, so how it is run has to be said.
USUAL = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD, "activation": "gelu"}


def features(encoder):
    with torch.inference_mode():
        return encoder.encode_crops(torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32))


def test_a_checkpoint_in_either_format_gives_the_model(architecture, model, tmp_path):
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "trained.pt")
    with torch.inference_mode():
        expected = model.encode_image(torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32), normalize=True)
    prints = set()
    for name in ("w.safetensors", "w.pt", "trained.pt"):
        encoder = load_encoder(architecture, checkpoint=tmp_path / name, device="cpu", **USUAL)
        torch.testing.assert_close(features(encoder), expected)
        prints.add(encoder.fingerprint)
    assert len(prints) == 1


def test_a_checkpoint_of_another_shape_hash_or_kind(architecture, model, tmp_path):
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file({**state, "visual.proj": torch.zeros(3, 3)}, tmp_path / "shape.safetensors")
    with pytest.raises(errors.WeightsError, match=r"visual\.proj"):
        load_encoder(architecture, **USUAL, checkpoint=tmp_path / "shape.safetensors")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(errors.WeightsError, match="0000"):
        load_encoder(architecture, **USUAL, checkpoint=tmp_path / "w.safetensors", sha256="0" * 64)
    (tmp_path / "page.safetensors").write_text("<!doctype html>")
    with pytest.raises(errors.WeightsError):
        load_encoder(architecture, **USUAL, checkpoint=tmp_path / "page.safetensors")
    with pytest.raises(errors.WeightsError, match=r"nowhere\.pt"):
        load_encoder(architecture, **USUAL, checkpoint=tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ViT-B32/openai", "ViT-B-32"),
        ("ViT-B-32/laion2b", "laion2b_s34b_b79k"),
        ("ViT-B-32", "needs a tag"),
        ("lab-test-model", "checkpoint=PATH"),
        ("tinny", "Did you mean 'tiny'"),
        ("", "no model ''"),
    ],
)
def test_unknown_names(architecture, name, says):
    with pytest.raises(errors.ModelError, match=says):
        load_encoder(name)


def test_an_option_that_does_not_exist():
    with pytest.raises(errors.ModelError, match=r"'ViT-B-32/openai' got the options \['chekpoint'\].*'checkpoint'"):
        lab.load("ViT-B-32/openai", chekpoint="w.pt")


def test_a_device_that_is_not_here():
    with pytest.raises(errors.ModelError, match="'tpu' is not available"):
        load_encoder("tiny", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(errors.ModelError, match="'cuda' is not available"):
            load_encoder("tiny", device="cuda")


def test_a_precision_that_does_not_exist(golden_segmenter):
    with pytest.raises(errors.ModelError, match="Did you mean 'bf16'"):
        golden_segmenter.encoder.with_precision("bf161")


def test_the_embedded_model_takes_no_checkpoint():
    with pytest.raises(errors.ModelError, match=r"'tiny' is embedded and takes no checkpoint; .* such as 'ViT-B-32'"):
        lab.load("tiny", checkpoint="nope.pt")
    with pytest.raises(errors.ModelError, match="'tiny' is embedded and takes no mean or activation or sha256"):
        lab.load("tiny", mean=(0.5, 0.5, 0.5), activation="gelu", sha256="0" * 64)


def test_no_network_is_one_sentence_that_names_the_embedded_model(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:owner/model"):
        with pytest.raises(errors.ModelError, match=rf"{name}' are not .* http://127\.0\.0\.1:9 does not .*'tiny'"):
            load_encoder(name)


def test_the_embedded_model_meets_the_protocol_and_knows_its_world():
    encoder = load_encoder("tiny")
    assert isinstance(encoder, Encoder)
    with torch.inference_mode():
        texts = encoder.encode_texts(["a photo of a cat", "a photo of a train"])
        crops = encoder.encode_crops(torch.zeros(3, 3, encoder.image_size, encoder.image_size))
    assert texts.shape == (2, encoder.embedding_dim)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(crops.norm(dim=1), torch.ones(3))
    with pytest.warns(errors.ClipdiyWarning, match="never learned 'gravitational lens'"):
        lab.Segmenter(encoder).text_embeddings(["cat", "gravitational lens"])


def test_half_precision_stays_close(golden_segmenter):
    encoder = golden_segmenter.encoder
    crops = torch.randn(4, 3, encoder.image_size, encoder.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        full, half = encoder.encode_crops(crops), encoder.with_precision("bf16").encode_crops(crops)
    assert half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 0.05
    assert encoder.with_precision("bf16").fingerprint == encoder.fingerprint
