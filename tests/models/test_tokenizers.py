"""Tokenizers of transformers, made here and read from files; and objects of somebody else's."""

import json
import shutil
import socket

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.push_to_hf_hub import save_for_hf
from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, RobertaConfig

from clipdiy_lab import errors
from clipdiy_lab.models import hub, tokenizers
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder

WORDS = ["<pad>", "</s>", "<unk>", "a", "photo", "of", "cat", "dog", "<s>"]
TOWER = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 8, "vocab_size": len(WORDS), "width": 16, "heads": 1, "layers": 1}
USUAL = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "activation": "gelu"}


@pytest.fixture(scope="module")
def words():
    """A small tokenizer of transformers, as it would lie on the hub."""
    vocabulary = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=vocabulary, **special)


@pytest.fixture
def folder(words, tmp_path):
    words.save_pretrained(tmp_path / "words")
    return tmp_path / "words"


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    """An empty cache of the hub, and no way out of this machine."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))


def put(tmp_path, repository, folder):
    place = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("0" * 40)
    shutil.copytree(folder, place / "snapshots" / ("0" * 40))


def named(tmp_path, text, name="lab-words", **more):
    """Make open_clip know an architecture, and save random weights for it."""
    config = {"embed_dim": 16, "vision_cfg": TOWER, "text_cfg": text, **more}
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**{key: value for key, value in config.items() if key != "custom_text"})
    torch.save(model.state_dict(), tmp_path / "w.pt")
    return name, model.eval()


def texts_of(model, tokenizer, texts):
    with torch.inference_mode():
        return model.encode_text(tokenizer(texts), normalize=True)


HF = TEXT | {"hf_tokenizer_name": "owner/words", "tokenizer_kwargs": {"clean": "canonicalize"}, "pool_type": "last"}


def test_a_folder_and_the_hubs_cache_give_open_clips_own_tokens(tmp_path, folder):
    name, model = named(tmp_path, HF, custom_text=True)
    texts = ["A photo, of a cat!", "dog"]
    expected = texts_of(model, HFTokenizer(str(folder), context_length=8, clean="canonicalize"), texts)
    given = load_encoder(name, checkpoint=tmp_path / "w.pt", tokenizer=folder, device="cpu", **USUAL)
    with torch.inference_mode():
        assert torch.equal(given.encode_texts(texts), expected)
    assert (given.tokenizer, given.context_length) == (str(folder), 8)
    put(tmp_path, "owner/words", folder)
    own = load_encoder(name, checkpoint=tmp_path / "w.pt", device="cpu", **USUAL)
    with torch.inference_mode():
        assert torch.equal(own.encode_texts(texts), expected)
    assert own.tokenizer == "owner/words"
    assert own.fingerprint == given.fingerprint


def test_a_prompt_that_would_be_cut_is_refused(tmp_path, folder):
    name, _ = named(tmp_path, HF, custom_text=True)
    encoder = load_encoder(name, checkpoint=tmp_path / "w.pt", tokenizer=str(folder), device="cpu", **USUAL)
    with torch.inference_mode():
        encoder.encode_texts(["a photo of a cat dog cat"])  # seven words and the end
        with pytest.raises(errors.LabelError, match="has 9 tokens, lab-words reads 8"):
            encoder.encode_texts(["a photo of a cat dog cat dog"])


def test_a_folder_of_open_clips_brings_its_own_tokenizer(tmp_path, folder):
    config = {"embed_dim": 16, "vision_cfg": TOWER, "text_cfg": HF, "custom_text": True}
    _, model = named(tmp_path, HF, custom_text=True)
    open_clip.set_model_preprocess_cfg(model, {"mean": (0.4,) * 3, "std": (0.3,) * 3})
    model.load_state_dict({name: value.contiguous() for name, value in model.state_dict().items()})
    save_for_hf(model, HFTokenizer(str(folder)), config, tmp_path / "published", safe_serialization=True)
    encoder = load_encoder(f"local-dir:{tmp_path / 'published'}", device="cpu")
    expected = texts_of(model, open_clip.get_tokenizer(f"local-dir:{tmp_path / 'published'}"), ["a cat", "a dog"])
    with torch.inference_mode():
        assert torch.equal(encoder.encode_texts(["a cat", "a dog"]), expected)
    assert encoder.mean == (0.4, 0.4, 0.4)


def test_a_text_tower_of_transformers_needs_its_configuration_only(tmp_path, folder):
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    RobertaConfig(**sizes, intermediate_size=16, max_position_embeddings=20, pad_token_id=0).save_pretrained(folder)
    text = {"hf_model_name": "owner/words", "hf_tokenizer_name": "owner/words", "hf_pooler_type": "mean_pooler"}
    text |= {"context_length": 8}
    config = {"embed_dim": 16, "vision_cfg": TOWER, "text_cfg": text}
    (tmp_path / "lab-roberta.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "lab-roberta.json")
    tower = {"hf_model_name": str(folder), "hf_model_pretrained": False}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**config | {"text_cfg": text | tower}).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    put(tmp_path, "owner/words", folder)
    encoder = load_encoder("lab-roberta", checkpoint=tmp_path / "w.pt", device="cpu", **USUAL)
    expected = texts_of(model, HFTokenizer(str(folder), context_length=8), ["a cat", "a dog"])
    with torch.inference_mode():
        assert torch.equal(encoder.encode_texts(["a cat", "a dog"]), expected)


def test_a_tokenizer_that_is_nowhere_is_named_before_the_weights_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "answers", lambda: False)
    name, _ = named(tmp_path, HF, custom_text=True)
    with pytest.raises(errors.ModelError, match="the files of 'owner/words' for its texts are not on this machine"):
        load_encoder(name, checkpoint=tmp_path / "not_even_looked_for.pt", **USUAL)


def test_code_beside_a_tokenizer_is_never_run(tmp_path, folder):
    name, _ = named(tmp_path, HF, custom_text=True)
    trap = tmp_path / "trap"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass Evil: pass\n")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(errors.ModelError, match="cannot be read"):
        load_encoder(name, checkpoint=tmp_path / "w.pt", tokenizer=folder, **USUAL)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        ("no/such/folder", "which is no folder"),
        (3, "tokenizer is a int; expected a folder"),
        (open_clip.SimpleTokenizer, "tokenizer is the class SimpleTokenizer"),
        (open_clip.SimpleTokenizer(context_length=8), r"gives the token 49407, 'lab-words' knows 0 to 8"),
        (lambda texts: torch.zeros(len(texts), 9, dtype=torch.long), "9 tokens per text, 'lab-words' reads 8"),
        (lambda texts: torch.zeros(len(texts), 8), "expected a tensor of integers"),
        (lambda texts: [[1, 2]] * len(texts), "gave a list for 4 texts"),
        (lambda texts: torch.zeros(1, 8, dtype=torch.long), r"of shape \(1, 8\) for 4 texts"),
        (lambda texts: 1 / 0, r"fails on 'a photo of a cat' \(ZeroDivisionError"),
    ],
)
def test_what_is_no_tokenizer_of_this_model(tmp_path, tokenizer, says):
    name, _ = named(tmp_path, HF, custom_text=True)
    with pytest.raises(errors.ModelError, match=says):
        load_encoder(name, checkpoint=tmp_path / "w.pt", tokenizer=tokenizer, **USUAL)


def test_a_tokenizer_of_transformers_itself_is_refused_with_the_way_out(tmp_path, words):
    name, _ = named(tmp_path, HF, custom_text=True)
    with pytest.raises(errors.ModelError, match=r"save_pretrained\(FOLDER\) and give tokenizer=FOLDER"):
        load_encoder(name, checkpoint=tmp_path / "w.pt", tokenizer=words, **USUAL)


def test_an_empty_folder_is_no_tokenizer(tmp_path):
    name, _ = named(tmp_path, HF, custom_text=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.ModelError, match=r"empty' cannot be read .* save_pretrained"):
        load_encoder(name, checkpoint=tmp_path / "w.pt", tokenizer=tmp_path / "empty", **USUAL)


def test_an_object_that_does_not_count_its_tokens_has_full_rows_refused(tmp_path):
    def letters(texts):
        rows = torch.zeros(len(texts), 8, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            row[: min(len(text), 8)] = 3
        return rows

    _, model = named(tmp_path, HF, custom_text=True)
    short = OpenClipEncoder(model, letters, name="letters", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert short.context_length == 8
    assert tokenizers.count_tokens(letters, "1234567", letters(["a"])) == 7
    with torch.inference_mode():
        short.encode_texts(["1234567"])
        with pytest.raises(errors.LabelError, match="has 9 tokens, letters reads 8"):
            short.encode_texts(["123456789"])
