"""Models by every kind of name: a tag, a folder, the hub; and what is said where something is missing."""

import json
import shutil
import sys

import cloudpickle
import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import factory
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file

import clipdiy_lab as lab
from clipdiy_lab import doctor, errors
from clipdiy_lab.models import hub
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.pipeline.shipping import SentSegmenter

HALF = (0.5, 0.5, 0.5)


def small(name):
    """A configuration of open_clip's with the same fields and few, narrow layers."""
    config = open_clip.get_model_config(name)
    config["vision_cfg"] |= {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    config["text_cfg"] |= {"layers": 1, "width": 16, "heads": 1}
    return config | {"embed_dim": 16}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """The networks of some names become small; everything else about the names stays."""
    for name in ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-L-14", "ViT-S-32-alt"):
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, small(name))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and a hub that must not be asked."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "answers", lambda: pytest.fail("the network was asked"))
    return tmp_path / "hub"


def make(name, seed=0):
    torch.manual_seed(seed)
    return open_clip.create_model(name, pretrained_text=False).eval()


def plain(model):
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def put(cache, repository, files):
    """Lay files into the hub's cache, as a download does."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("0" * 40)
    shutil.copytree(files, place / "snapshots" / ("0" * 40))


def same(encoder, model, texts=("a photo of a cat", "a red bus")):
    """Whether an encoder gives the vectors of a model of open_clip's to the last bit."""
    crops = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        image, text = encoder.encode_crops(crops), encoder.encode_texts(texts)
        expected = model.encode_image(crops, normalize=True)
        expected_text = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(list(texts)), normalize=True)
    return torch.equal(image, expected) and torch.equal(text, expected_text)


# --- QuickGELU ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_openai_equals_open_clips_quickgelu_model_to_zero(tmp_path):
    truth = make("ViT-B-32-quickgelu")
    torch.save(truth.state_dict(), tmp_path / "w.pt")
    encoder = load_encoder("ViT-B-32/openai", checkpoint=tmp_path / "w.pt", device="cpu")
    assert same(encoder, truth)
    assert encoder.activation == "quickgelu"
    # The other activation gives other vectors, so the test can fail; and other vectors are not taken for the same.
    other = load_encoder("ViT-B-32/laion2b_s34b_b79k", checkpoint=tmp_path / "w.pt", device="cpu")
    assert not same(other, truth)
    assert other.fingerprint != encoder.fingerprint


def test_a_tag_of_openai_out_of_the_hubs_cache_equals_it_too(tmp_path, cache):
    truth = make("ViT-B-32-quickgelu")
    (tmp_path / "files").mkdir()
    save_file(plain(truth), tmp_path / "files/open_clip_model.safetensors")
    put(cache, "timm/vit_base_patch32_clip_224.openai", tmp_path / "files")
    assert same(load_encoder("ViT-B-32/openai", device="cpu"), truth)
    assert lab.list_models().set_index("name").loc["ViT-B-32/openai", "here"]
    assert "ViT-B-32/openai (quickgelu, mean 0.4815 0.4578 0.4082" in doctor.examine()["facts"]["models here"]
    with pytest.raises(errors.WeightsError, match=f"expected {'0' * 64}"):
        load_encoder("ViT-B-32/openai", sha256="0" * 64)


def test_openais_plain_state_dict_says_itself_how_it_is_run(tmp_path):
    truth = make("ViT-B-32-quickgelu")
    beside = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    state = {name: value.half() if value.ndim > 1 else value for name, value in truth.state_dict().items()}
    torch.save(state | {name: torch.tensor(value) for name, value in beside.items()}, tmp_path / "ViT-B-32.pt")
    truth.load_state_dict(state)
    assert same(load_encoder("ViT-B-32", checkpoint=tmp_path / "ViT-B-32.pt", device="cpu"), truth)


# --- checkpoints --------------------------------------------------------------------------------------------------


def test_a_checkpoint_without_a_tag_asks_where_tags_disagree(tmp_path):
    torch.save(make("ViT-B-32").state_dict(), tmp_path / "w.pt")
    with pytest.raises(errors.ModelError, match=r"'ViT-B-32' were trained in different ways.*or pass activation="):
        load_encoder("ViT-B-32", checkpoint=tmp_path / "w.pt")
    encoder = load_encoder("ViT-B-32", checkpoint=tmp_path / "w.pt", activation="quickgelu")
    assert encoder.activation == "quickgelu"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ViT-B-32/opeanai", "'ViT-B-32' has no weights 'opeanai'. Did you mean 'openai'"),
        ("MobileCLIP2-S0/no_such_tag", "'MobileCLIP2-S0' has no weights 'no_such_tag'. Known: 'dfndr2b'"),
        ("ViT-S-32-alt/openai", "open_clip knows none; name it 'ViT-S-32-alt' with checkpoint=PATH"),
    ],
)
def test_a_tag_beside_a_checkpoint_is_read_and_checked(tmp_path, name, says):
    with pytest.raises(errors.ModelError, match=says):
        load_encoder(name, checkpoint=tmp_path / "not_even_looked_for.pt")


def test_a_checkpoint_of_mean_and_deviation_of_its_own(tmp_path):
    torch.save(make("ViT-L-14").state_dict(), tmp_path / "w.pt")
    encoder = load_encoder("ViT-L-14/laion2b_s32b_b82k", checkpoint=tmp_path / "w.pt")
    assert (encoder.mean, encoder.std, encoder.activation) == (HALF, HALF, "gelu")
    other = load_encoder("ViT-L-14/laion2b_s32b_b82k", checkpoint=tmp_path / "w.pt", mean=(0.4, 0.4, 0.4))
    assert other.mean == (0.4, 0.4, 0.4)
    assert other.fingerprint != encoder.fingerprint


def test_what_open_clips_training_saves(tmp_path):
    model = make("ViT-S-32-alt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    beside = {"epoch": 3, "name": "run", "optimizer": optimizer.state_dict(), "scaler": {"scale": 65536.0}}
    torch.save(beside | {"state_dict": state}, tmp_path / "epoch_3.pt")
    with pytest.warns(errors.ClipdiyWarning, match="Nothing says how these weights of 'ViT-S-32-alt' were trained"):
        encoder = load_encoder("ViT-S-32-alt", checkpoint=tmp_path / "epoch_3.pt", device="cpu")
    assert same(encoder, model)


def test_bias_and_scale_of_the_logits_do_not_keep_weights_out(tmp_path):
    model = make("ViT-B-32")
    odd = model.state_dict() | {"logit_bias": torch.tensor(-10.0), "logit_scale": torch.tensor([4.6])}
    torch.save(odd, tmp_path / "w.pt")
    assert same(load_encoder("ViT-B-32/laion2b_e16", checkpoint=tmp_path / "w.pt", device="cpu"), model)


def test_weights_of_another_program_are_named(tmp_path):
    torch.save({"vision_model.embeddings.class_embedding": torch.ones(32)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(errors.WeightsError, match="names of transformers' CLIPModel, not of open_clip's"):
        load_encoder("ViT-B-32/openai", checkpoint=tmp_path / "pytorch_model.bin")


def test_a_checkpoint_for_another_image_size_is_not_stretched(tmp_path):
    state = make("ViT-B-32").state_dict()
    state["visual.positional_embedding"] = torch.ones(10, 32)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(errors.WeightsError, match=r"visual\.positional_embedding \(10, 32\) instead of \(5, 32\)"):
        load_encoder("ViT-B-32/openai", checkpoint=tmp_path / "w.pt")


# --- folders and the hub ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A model in a folder, written by open_clip itself; its mean, deviation and activation are not the usual ones."""
    place = tmp_path / "published"
    place.mkdir()
    model = make("ViT-B-32-quickgelu")
    preprocessing = {"mean": HALF, "std": HALF, "interpolation": "bilinear", "resize_mode": "squash", "size": (32, 32)}
    open_clip.set_model_preprocess_cfg(model, preprocessing)
    save_config_for_hf(model, place / "open_clip_config.json", small("ViT-B-32-quickgelu"))
    save_file(plain(model), place / "open_clip_model.safetensors")
    return place


def as_published(encoder):
    how = (encoder.mean, encoder.std, encoder.interpolation, encoder.activation)
    return how == (HALF, HALF, "bilinear", "quickgelu")


def test_a_folder_is_run_as_its_configuration_says(folder):
    encoder = load_encoder(f"local-dir:{folder}", device="cpu")
    assert as_published(encoder)
    assert same(encoder, open_clip.create_model(f"local-dir:{folder}").eval())
    assert encoder.recipe.options["sha256"]


def test_a_folder_relative_to_the_work_is_remembered_as_it_is(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    encoder = load_encoder("local-dir:published", device="cpu")
    assert encoder.name == f"local-dir:{folder}"


def test_a_repository_of_the_hub_is_run_as_its_configuration_says(folder, cache):
    put(cache, "owner/model", folder)
    encoder = load_encoder("hf-hub:owner/model", device="cpu")
    assert as_published(encoder)
    assert same(encoder, make("ViT-B-32-quickgelu"))


def test_a_folder_with_other_weights_beside_it(folder, tmp_path):
    other = make("ViT-B-32-quickgelu", seed=1)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    encoder = load_encoder(f"local-dir:{folder}", checkpoint=tmp_path / "other.pt", device="cpu")
    assert as_published(encoder)
    assert same(encoder, other)


def test_a_folder_with_one_file_of_weights_under_a_name_of_its_own(folder):
    (folder / "open_clip_model.safetensors").rename(folder / "epoch_9.safetensors")
    assert as_published(load_encoder(f"local-dir:{folder}"))
    torch.save({}, folder / "epoch_8.pt")
    with pytest.raises(errors.ModelError, match=r"several \(epoch_8\.pt, epoch_9\.safetensors\).*checkpoint=PATH"):
        load_encoder(f"local-dir:{folder}")


def spoil(folder, **changes):
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        (lambda folder: (folder / "open_clip_config.json").unlink(), "cannot be read as the configuration of a model"),
        (lambda folder: (folder / "open_clip_config.json").write_text("{"), "cannot be read as the configuration"),
        (lambda folder: (folder / "open_clip_config.json").write_text("[" * 100_000), "cannot be read as the config"),
        (lambda folder: (folder / "open_clip_config.json").write_text("[]"), "is no configuration of open_clip's"),
        (lambda folder: spoil(folder, model_cfg={"embed_dim": 3}), "is no configuration of open_clip's"),
        (lambda folder: spoil(folder, preprocess_cfg={"mean": [1, 2, 3]}), "mean of .* expected three numbers"),
        (lambda folder: spoil(folder, preprocess_cfg={"interpolation": "random"}), "has interpolation 'random'"),
        (lambda folder: spoil(folder, preprocess_cfg=[1]), "expected a table"),
        (lambda folder: spoil(folder, model_cfg=small("ViT-B-32") | {"colour": 1}), "cannot build .*colour"),
        (lambda folder: (folder / "open_clip_model.safetensors").unlink(), "holds none; name the file"),
        (shutil.rmtree, "names no folder of this machine"),
    ],
)
def test_folders_that_are_no_model(folder, spoiled, says):
    spoiled(folder)
    with pytest.raises(errors.ModelError, match=says):
        load_encoder(f"local-dir:{folder}")


def test_a_configuration_that_is_silent_is_not_guessed_silently(folder):
    spoil(folder, preprocess_cfg=None)
    with pytest.warns(errors.ClipdiyWarning, match=r"run by open_clip's defaults: mean=.*, std=\(.*\)\. If"):
        assert load_encoder(f"local-dir:{folder}").activation == "quickgelu"


# --- what a name needs --------------------------------------------------------------------------------------------


def test_names_that_need_transformers_are_refused_before_anything_is_fetched(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    table = lab.list_models().set_index("name")
    names = list(table.index[table["needs"] == "transformers"])
    assert len(names) >= 47
    for name in names:
        with pytest.raises(errors.ModelError, match=r'transformers, which is not .*"clipdiy-lab\[hf\]"'):
            load_encoder(name)


def test_names_whose_tokenizer_is_not_here_are_refused_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(hub, "answers", lambda: False)
    with pytest.raises(
        errors.ModelError,
        match=r"weights of 'ViT-B-16-SigLIP/webli' and the files of 'timm/ViT-B-16-SigLIP' for its texts are not on",
    ):
        load_encoder("ViT-B-16-SigLIP/webli")


def test_models_are_listed_with_what_they_need_and_what_is_here():
    table = lab.list_models()
    assert list(table.columns) == ["name", "architecture", "tag", "needs", "here"]
    assert table["name"].is_unique
    assert bool(table.set_index("name").loc["tiny", "here"])
    assert {f"{a}/{t}" for a, t in open_clip.list_pretrained()} < set(table["name"])
    assert np.array_equal(table["here"].dtype, bool)
    assert set(table["needs"]) == {"", "transformers"}
    needs = table.set_index("name")["needs"]
    assert needs["ViT-B-32/openai"] == ""
    assert needs["ViT-B-16-SigLIP2/webli"] == needs["roberta-ViT-B-32/laion2b_s12b_b32k"] == "transformers"


# --- what was used stands everywhere ------------------------------------------------------------------------------


def test_what_was_used_stands_in_the_run_and_the_recipe_makes_it_again(tmp_path, monkeypatch):
    torch.save(make("ViT-B-32").state_dict(), tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    options = {"mean": HALF, "std": HALF, "activation": "quickgelu"}
    segmenter = lab.load("ViT-B-32", checkpoint="w.pt", saliency="none", device="cpu", **options)
    run = segmenter.encode(np.zeros((8, 8, 3), np.uint8))
    assert json.loads(run.attrs["encoder_usage"]) == {
        "image_size": 32,
        "mean": list(HALF),
        "std": list(HALF),
        "interpolation": "bicubic",
        "activation": "quickgelu",
        "tokenizer": "open_clip.tokenizer.SimpleTokenizer",
        "context_length": 77,
    }
    recipe = Recipe.from_json(run.attrs["encoder_recipe"])
    assert recipe.name == "ViT-B-32"
    assert recipe.options["checkpoint"] == str(tmp_path / "w.pt")
    assert (recipe.options["activation"], recipe.options["mean"]) == ("quickgelu", list(HALF))
    assert len(recipe.options["sha256"]) == 64

    sent = SentSegmenter.of(segmenter)
    monkeypatch.chdir("/")
    made = sent.build().encoder
    assert made.fingerprint == segmenter.encoder.fingerprint
    assert (made.mean, made.activation, made.context_length) == (HALF, "quickgelu", 77)
    torch.save(make("ViT-B-32", seed=1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(errors.WeightsError, match="has sha256"):
        sent.build()


def test_what_is_sent_to_a_worker_survives_the_journey(tmp_path):
    torch.save(make("ViT-B-32").state_dict(), tmp_path / "w.pt")
    own = open_clip.SimpleTokenizer(clean="whitespace")
    segmenter = lab.load("ViT-B-32/openai", checkpoint=tmp_path / "w.pt", saliency="none", tokenizer=own)
    # No recipe holds an object such as this tokenizer, so the encoder itself travels.
    assert segmenter.encoder.recipe is None
    made = cloudpickle.loads(cloudpickle.dumps(SentSegmenter.of(segmenter))).build()
    assert made.encoder.fingerprint == segmenter.encoder.fingerprint


def test_fingerprints_tell_how_the_same_weights_are_run(tmp_path):
    torch.save(make("ViT-B-32").state_dict(), tmp_path / "w.pt")
    usual = {"mean": HALF, "std": HALF, "activation": "gelu"}
    changes = [
        {},
        {"mean": (0.4, 0.5, 0.5)},
        {"std": (0.4, 0.5, 0.5)},
        {"activation": "quickgelu"},
        {"tokenizer": open_clip.SimpleTokenizer(clean="whitespace")},
    ]
    prints = [
        load_encoder("ViT-B-32", checkpoint=tmp_path / "w.pt", **usual | change).fingerprint for change in changes
    ]
    assert len(set(prints)) == len(changes)
    again = load_encoder("ViT-B-32", checkpoint=tmp_path / "w.pt", **usual, tokenizer=open_clip.SimpleTokenizer())
    assert again.fingerprint == prints[0]
