"""Weights are run as they were trained: every name of open_clip's against open_clip's own factory."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory

from clipdiy_lab.errors import ClipdiyWarning, ModelError
from clipdiy_lab.models import hub, openclip, tokenizers, usage

NAMES = open_clip.list_pretrained()


class Recorded:
    """Stands where a network or tokenizer of open_clip's would be built, and keeps what it was to be built with."""

    def __init__(self, *given, **options) -> None:
        options.pop("cast_dtype", None)
        self.given, self.options = given, options
        self.visual = SimpleNamespace(image_size=options.get("vision_cfg", {}).get("image_size", 224))

    def to(self, **_):
        return self


@pytest.fixture
def recorded(monkeypatch):
    """Networks and tokenizers are not built, nor weights fetched; everything that decides about them runs."""
    kinds = {name: type(name, (Recorded,), {}) for name in ("CLIP", "CustomTextCLIP", "CoCa")}
    for name, kind in kinds.items():
        monkeypatch.setattr(factory, name, kind)
        monkeypatch.setattr(open_clip, name, kind)
    for module, name in ((factory, "HFTokenizer"), (tokenizers, "HFTokenizer"), (factory, "SimpleTokenizer")):
        monkeypatch.setattr(module, name, Recorded)
    monkeypatch.setattr(open_clip, "SimpleTokenizer", Recorded)
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: "")
    monkeypatch.setattr(hub, "obtain", lambda repository, names, what: Path(repository) / names[0])
    monkeypatch.setattr(hub, "cached", lambda *_: None)


@pytest.mark.parametrize(("architecture", "tag"), NAMES)
def test_every_name_is_run_as_open_clips_own_factory_runs_it(recorded, architecture, tag):
    quick = open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False)
    with warnings.catch_warnings():
        # The one tag that is silent where its architecture says QuickGELU, roberta-ViT-B-32's; open_clip runs it so.
        warnings.filterwarnings("ignore", "QuickGELU mismatch .*quick_gelu=True.* 'laion2b_s12b_b32k'")
        theirs = open_clip.create_model(
            architecture, tag, load_weights=False, pretrained_text=False, force_quick_gelu=quick
        )
    expected = theirs.visual.preprocess_cfg

    named = openclip.find(f"{architecture}/{tag}")
    run = usage.settle(named.name, named.said, {}, {}, named.default_activation)
    ours = openclip.build(named, run.activation)
    assert (run.mean, run.std, run.interpolation) == (expected["mean"], expected["std"], expected["interpolation"])
    assert ours.visual.image_size == expected["size"]
    assert type(ours) is type(theirs)
    assert ours.options == {"quick_gelu": False} | theirs.options
    assert run.activation == ("quickgelu" if theirs.options.get("quick_gelu") else "gelu")

    wanted, made = open_clip.get_tokenizer(architecture), tokenizers.build_tokenizer(named.config)
    for option in ("trust_remote_code", "local_files_only"):
        made.options.pop(option, None)
    for options in (wanted.options, made.options):
        options.pop("cache_dir", None)
        if not options.get("tokenizer_mode"):
            options.pop("tokenizer_mode", None)
    assert made.given == wanted.given
    assert made.options == wanted.options


def test_the_table_has_the_names_that_this_is_about():
    activations = [usage.of_tag(*name)["activation"] for name in NAMES]
    plain = [name for name in NAMES if not name[0].endswith("-quickgelu")]
    quick = [name for name in plain if usage.of_tag(*name)["activation"] == "quickgelu"]
    assert len(NAMES) >= 196
    # 27 names without the suffix, and one whose architecture says it where its tag does not.
    assert len(quick) >= 28
    assert {("ViT-B-32", "openai"), ("ViT-B-16", "dfn2b"), ("ViT-H-14", "metaclip_fullcc")} < set(quick)
    assert ("roberta-ViT-B-32", "laion2b_s12b_b32k") in quick
    assert activations.count("quickgelu") == len(quick) + len(NAMES) - len(plain)
    usual = tuple(open_clip.OPENAI_DATASET_MEAN)
    assert sum(usage.of_tag(*name)["mean"] != usual for name in NAMES) >= 50


def settled(name, *, file=None, **user):
    named = openclip.find(name, has_checkpoint=True)
    return usage.settle(name, named.said, file or {}, usage.of_user(**user), named.default_activation)


ONES, HALF = (1.0, 1.0, 1.0), (0.5, 0.5, 0.5)
OPENAI = tuple(open_clip.OPENAI_DATASET_MEAN)


def test_a_tag_decides():
    assert settled("ViT-B-32/openai").activation == "quickgelu"
    assert settled("ViT-B-32/laion2b_s34b_b79k").activation == "gelu"
    mobile = settled("MobileCLIP2-S0/dfndr2b")
    assert (mobile.mean, mobile.std, mobile.interpolation) == ((0.0, 0.0, 0.0), ONES, "bilinear")
    assert settled("ViT-L-14/laion2b_s32b_b82k").mean == HALF


def test_without_a_tag_the_tags_decide_where_they_agree():
    assert settled("MobileCLIP2-S0") == settled("MobileCLIP2-S0/dfndr2b")
    assert settled("ViT-L-14-336").activation == "quickgelu"


@pytest.mark.parametrize(
    ("name", "fields"),
    [("ViT-B-32", {"activation"}), ("ViT-H-14", {"activation"}), ("ViT-L-14", {"activation", "mean", "std"})],
)
def test_without_a_tag_and_where_tags_disagree_it_says_what_to_pass(name, fields):
    with pytest.raises(ModelError) as caught:
        settled(name)
    message = str(caught.value)
    for field in ("mean", "std", "activation", "interpolation"):
        assert (f"{field}=" in message) == (field in fields)
    advised = message.partition("such as '")[2].partition("'")[0]
    assert settled(advised).activation in ("gelu", "quickgelu")
    answers = {"activation": "quickgelu", "mean": HALF, "std": np.float32(HALF)}
    run = settled(name, **{field: answers[field] for field in fields})
    assert run.activation == "quickgelu"
    assert all(getattr(run, field) == tuple(answers[field]) for field in fields - {"activation"})


def test_the_user_goes_before_the_tag():
    run = settled("ViT-B-32/openai", activation="gelu", mean=torch.tensor(HALF), std=[1, 1, 1])
    assert run == usage.Usage(HALF, ONES, "gelu", "bicubic")


def test_the_file_decides_among_tags_but_does_not_contradict_one():
    assert settled("ViT-L-14", file=usage.OPENAI_SAYS) == settled("ViT-L-14/openai")
    assert settled("ViT-L-14/openai", file=usage.OPENAI_SAYS).activation == "quickgelu"
    with pytest.raises(ModelError, match=r"with activation 'gelu', the file with 'quickgelu': it is one of OpenAI's"):
        settled("ViT-B-32/laion2b_s34b_b79k", file=usage.OPENAI_SAYS)
    assert settled("ViT-B-32/laion2b_s34b_b79k", file=usage.OPENAI_SAYS, activation="gelu").activation == "gelu"


def test_where_nobody_says_anything_open_clips_defaults_are_taken_and_said():
    with pytest.warns(ClipdiyWarning, match=r"'ViT-S-32-alt' .* mean=\(0\.4815.*activation='gelu'.*pass mean="):
        run = settled("ViT-S-32-alt")
    assert run == usage.Usage(OPENAI, tuple(open_clip.OPENAI_DATASET_STD), "gelu", "bicubic")
    with pytest.warns(ClipdiyWarning, match=r"defaults: std=\(.*, activation='gelu'\. If"):
        settled("ViT-S-32-alt", mean=HALF)
    assert settled("ViT-S-32-alt", mean=HALF, std=HALF, activation="quickgelu").mean == HALF


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mean": 0.5}, "mean is 0.5; expected three numbers from 0 to 1"),
        ({"mean": (0.5, 0.5)}, "expected three numbers"),
        ({"mean": (123.7, 116.3, 103.5)}, r"in \[0, 1\]"),
        ({"mean": "imagenet"}, "expected three numbers"),
        ({"mean": (0.5, float("nan"), 0.5)}, "expected three numbers"),
        ({"std": (0.2, 0.0, 0.2)}, "std is .* above 0"),
        ({"std": (0.2, None, 0.2)}, "expected three numbers"),
        ({"activation": "quick_gelu"}, "Did you mean 'quickgelu'"),
        ({"activation": True}, "activation is True"),
    ],
)
def test_options_that_make_no_sense(options, says):
    with pytest.raises(ModelError, match=says):
        usage.of_user(**options)


def test_one_line_for_people():
    assert str(settled("ViT-L-14/laion2b_s32b_b82k")) == "gelu, mean 0.5 0.5 0.5, std 0.5 0.5 0.5, bicubic"
