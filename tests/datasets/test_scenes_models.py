"""The embedded models on the embedded scenes: what they promise, measured on a few."""

import json

import numpy as np
import open_clip
import pytest
import torch
from pack_tiny import pack_state
from safetensors.torch import save_file

from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import ImageError, WeightsError
from clipdiy_lab.models.saliency.found_tiny import FoundTiny, build_backbone, read_head
from clipdiy_lab.models.tiny import build_tiny, card, expand_state, known_words, read_config


@pytest.fixture(scope="module")
def tiny():
    return build_tiny()


@pytest.fixture(scope="module")
def found():
    return FoundTiny()


def test_tiny_is_an_open_clip_model_at_rest(tiny):
    assert isinstance(tiny, open_clip.CLIP)
    assert not tiny.training
    assert {parameter.dtype for parameter in tiny.parameters()} == {torch.float32}
    facts = card()
    assert facts.image_size == 64
    with torch.no_grad():
        seen = tiny.encode_image(torch.zeros(2, 3, facts.image_size, facts.image_size))
        read = tiny.encode_text(open_clip.SimpleTokenizer(context_length=facts.context_length)(["a photo of a cat"]))
    assert seen.shape == (2, 128)
    assert read.shape == (1, 128)


def test_tiny_knows_the_names_of_the_scenes():
    words = known_words()
    assert list(words) == sorted(words)
    for vocabulary in ("voc", "coco", "open"):
        assert set(Scenes("val", vocabulary).label_names) <= set(words)


def test_unknown_tokens_are_the_mean_of_the_known():
    ids = torch.tensor([2, 5])
    state = {"token_embedding.weight": torch.tensor([[1.0, 2.0], [3.0, 6.0]]), "other": torch.ones(3)}
    packed = pack_state(state, ids)
    assert packed["other"].dtype == torch.float16
    full = expand_state(packed, vocabulary=7)
    table = full["token_embedding.weight"]
    assert table.shape == (7, 2)
    assert torch.equal(table[ids], state["token_embedding.weight"])
    assert torch.equal(table[0], torch.tensor([2.0, 4.0]))
    assert set(full) == set(state)


def test_other_weights_can_be_given(tiny, tmp_path):
    ids = torch.arange(49408)
    save_file(pack_state(tiny.state_dict(), ids), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(read_config()))
    again = build_tiny(tmp_path)
    assert torch.equal(again.visual.proj, tiny.visual.proj)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_damaged_weights_are_refused(tmp_path, damage):
    (tmp_path / "config.json").write_text(json.dumps(read_config()))
    if damage == "truncated":
        (tmp_path / "model.safetensors").write_bytes(b"\x10\x00")
    if damage == "foreign":
        state = {"token_ids": torch.zeros(1, dtype=torch.int32), "token_rows": torch.zeros(1, 3)}
        save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="'tiny'"):
        build_tiny(tmp_path)


def test_found_tiny_is_a_saliency(found):
    assert found.name == "found-tiny"
    assert len(found.fingerprint) == 64
    assert found.fingerprint == FoundTiny().fingerprint
    for shape in ((200, 331, 3), (17, 9, 3)):
        saliency = found(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
        assert saliency.shape == shape[:2]
        assert saliency.dtype == np.float32
        assert saliency.min() >= 0
        assert saliency.max() <= 1
    with pytest.raises(ImageError):
        found(np.zeros((4, 4), dtype=np.uint8))


def test_the_head_fits_the_tower():
    head, settings = read_head()
    assert head["decoder.weight"].shape == (1, build_backbone(settings).embed_dim, 1, 1)


@pytest.mark.parametrize(("split", "least"), [("val", 0.6), ("val_unseen", 0.5)])
def test_found_tiny_finds_the_objects(found, split, least):
    both = either = 0
    scenes = Scenes(split)
    for index in range(20):
        sample = scenes[index]
        salient, true = found(sample.image) > 0.5, sample.mask > 0
        both += (salient & true).sum()
        either += (salient | true).sum()
    assert both / either > least
