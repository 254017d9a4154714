"""Every knob refuses what makes no sense, in one clear error, and keeps what does as a plain value."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab.errors import ClipdiyError, ConfigError
from clipdiy_lab.method.knob_values import Weights
from clipdiy_lab.method.last_block import METHODS

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
FIELDS = [field.name for field in dataclasses.fields(lab.Config)]
NUMERIC = [
    "stride",
    "background_threshold",
    "logit_scale",
    "saliency_weight",
    "saliency_threshold",
    "refine_iterations",
    "refine_radius",
    "refine_eps",
    "temperature",
    "dense_side",
]
CHOSEN = ["image_resize", "precision", "saliency_input", "placement", "interpolation", "article", "background"]
CHOSEN += ["dense", "dense_from", "refine"]


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"scales": ()}, "scales is empty"),
        ({"scales": 64}, "scales is 64; expected window sides"),
        ({"scales": "64"}, "scales is '64'; expected window sides"),
        ({"scales": {64: 1.0}}, "expected window sides"),
        ({"scales": None}, "scales is None"),
        ({"scales": np.array(64)}, "scales is array"),
        ({"scales": (64, 64)}, "names 64 twice; give each once"),
        ({"scales": (64, 64.0)}, "names 64 twice"),
        ({"scales": (64, 0)}, "holds 0; expected 1 to 8192"),
        ({"scales": (-64,)}, "holds -64; expected 1 to 8192"),
        ({"scales": (64.5,)}, "holds 64.5; expected whole"),
        ({"scales": ("64",)}, "holds '64'; expected whole"),
        ({"scales": (True,)}, "holds True"),
        ({"scales": (NAN,)}, "holds nan"),
        ({"scales": (INF,)}, "holds inf"),
        ({"scales": (None,)}, "holds None"),
        ({"scales": (np.bool_(True),)}, "holds np.True_"),
        ({"scales": [[64]]}, r"holds \[64\]"),
        ({"scales": (257,)}, "scale 257 does not fit into the frame of 256 x 256 pixels; use scales up to 256"),
        ({"scales": (128,), "image_size": (127, 300)}, "scale 128 does not fit into the frame of 127 x 300"),
        ({"scales": (128,), "image_size": (300, 127)}, "scale 128 does not fit into the frame of 300 x 127"),
        ({"scales": (HUGE,)}, "expected 1 to 8192"),
        ({"scales": (64, 4), "stride": 8}, "scale 4 with stride 8 gives a step of 0 pixels; use a stride up to 4"),
        ({"stride": 0}, "stride is 0; expected 1 to 16"),
        ({"stride": -2}, "stride is -2"),
        ({"stride": 17}, "stride is 17"),
        ({"stride": 1.5}, "stride is 1.5; expected a whole number"),
        ({"image_size": 0}, "image_size is 0 x 0; expected sides from 1"),
        ({"image_size": (256, -1)}, "image_size is 256 x -1"),
        ({"image_size": 8193}, "8193 x 8193; expected sides from 1 to 8192"),
        ({"image_size": (1, 2, 3)}, r"image_size is \(1, 2, 3\); expected one side or"),
        ({"image_size": ()}, "expected one side or"),
        # A text of two digits is not a height and a width.
        ({"image_size": "64", "scales": (1,), "stride": 1}, "image_size holds '64'"),
        ({"image_size": b"@@", "scales": (1,), "stride": 1}, "image_size holds b'@@'"),
        ({"image_size": (256, 256.5)}, "image_size holds 256.5"),
        ({"image_size": None}, "image_size holds None"),
        ({"image_size": True}, "image_size holds True"),
        ({"weights": {32: 1}}, "weights has the grid 32, which this configuration lacks; it has s256, s128, s064"),
        ({"weights": {"s64": 1}}, r"weights has the grid 's64', .*Did you mean 's064'"),
        ({"weights": {"dense": 1}}, "weights has the grid 'dense', which this configuration lacks"),
        ({"weights": {"s256": 0}, "scales": (64,)}, "weights has the grid 's256', which this configuration lacks"),
        ({"weights": {256: 0, "s128": 0, "64": 0}}, "every grid has weight 0"),
        ({"weights": {128: -0.5}}, "weight of s128 is -0.5; expected a finite number from 0"),
        ({"weights": {128: NAN}}, "weight of s128 is nan"),
        ({"weights": {"s128": INF}}, "weight of s128 is inf"),
        ({"weights": {128: HUGE}}, "weight of s128 is 1000"),
        ({"weights": {128: True}}, "weight of s128 is True"),
        ({"weights": {128: None}}, "weight of s128 is None"),
        ({"weights": {128: "1"}}, "weight of s128 is '1'"),
        ({"weights": {256: 1, "256": 2}}, "names the grid s256 twice"),
        ({"weights": {64: 1, "s064": 1}}, "names the grid s064 twice"),
        ({"weights": {True: 1}}, "a grid is True; expected its name, such as 's064', or a window side"),
        ({"weights": {64.5: 1}}, "a grid is a float"),
        ({"weights": (1, 1, 1)}, "expected weights by grid"),
        ({"weights": 1.0}, "expected weights by grid"),
        ({"weights": None}, "weights is None; expected weights by grid"),
        ({"template": ""}, "lacks the field {label}"),
        ({"template": "a photo"}, "'a photo' lacks the field {label}"),
        ({"template": ("a {label}", "photo")}, "'photo' lacks the field {label}"),
        ({"template": ()}, r"template is \(\)"),
        ({"template": None}, "template is None"),
        ({"template": ("a {label}", 3)}, "template 3 lacks"),
        ({"template": b"a {label}"}, "template is b'a {label}'"),
        ({"template": "imagenet"}, "'imagenet' lacks the field {label}.* or alone one of the names imagenet80"),
        ({"template": ("a {label}", "imagenet80")}, "'imagenet80' lacks the field"),
        ({"synonyms": None}, "synonyms is None; expected phrases for each label"),
        ({"synonyms": ["sofa", "couch"]}, "expected phrases for each label"),
        ({"synonyms": {"sofa": "couch"}}, r"synonyms of 'sofa' is 'couch'; expected a list of phrases"),
        ({"synonyms": {"sofa": []}}, "synonyms of 'sofa' is empty; give at least one phrase"),
        ({"synonyms": {"sofa": ["couch", " "]}}, "synonyms of 'sofa' holds ' '; expected phrases"),
        ({"synonyms": {"sofa": ["couch", 3]}}, "synonyms of 'sofa' holds 3; expected phrases"),
        ({"synonyms": {"sofa": 3}}, "synonyms of 'sofa' is 3"),
        ({"synonyms": {"sofa": None}}, "synonyms of 'sofa' is None"),
        ({"synonyms": {"": ["couch"]}}, "has phrases for ''; expected the text of a label"),
        ({"synonyms": {3: ["couch"]}}, "has phrases for 3"),
        ({"synonyms": {"sofa": ["couch"], "Sofa ": ["settee"]}}, "names the label 'Sofa' twice"),
        ({"background_words": "sky"}, "background_words is 'sky'; expected a list of phrases"),
        ({"background_words": ["sky", ""]}, "background_words holds ''"),
        ({"background_words": [None]}, "background_words holds None"),
        ({"background_words": 3}, "background_words is 3"),
        ({"background": "words"}, "background='words' needs background_words"),
        (
            {"background": "words", "background_words": ["sky"], "synonyms": {"Background": ["wall"]}},
            "both background_words and synonyms define 'background'",
        ),
        ({"background": "threshhold"}, "background is 'threshhold'.* Did you mean 'threshold'"),
        ({"background_threshold": -0.01}, "background_threshold is -0.01; expected 0.0 to 1.0"),
        ({"background_threshold": 1.01}, "background_threshold is 1.01"),
        ({"background_threshold": None}, "background_threshold is None"),
        ({"logit_scale": 0}, "logit_scale is 0; expected 1.0 to 200.0"),
        ({"logit_scale": -50}, "logit_scale is -50"),
        ({"logit_scale": 201}, "logit_scale is 201"),
        ({"logit_scale": None}, "logit_scale is None"),
        ({"background_label": ""}, "background_label is ''; expected a word"),
        ({"background_label": "  "}, "background_label is '  '"),
        ({"background_label": None}, "background_label is None"),
        ({"background_label": 3}, "background_label is 3"),
        ({"align_corners": 1}, "align_corners is 1; expected True or False"),
        ({"align_corners": "no"}, "align_corners is 'no'"),
        ({"align_corners": True, "interpolation": "nearest"}, "align_corners=True applies only with"),
        ({"align_corners": True, "placement": "centred"}, "align_corners=True applies only with"),
        ({"saliency_weight": -0.01}, "saliency_weight is -0.01; expected 0.0 to 1.0"),
        ({"saliency_weight": 1.01}, "saliency_weight is 1.01"),
        ({"saliency_weight": None}, "saliency_weight is None"),
        ({"saliency_threshold": -0.1}, "saliency_threshold is -0.1"),
        ({"saliency_threshold": 1.1}, "saliency_threshold is 1.1"),
        ({"keep_labels": 0}, "keep_labels is 0; expected 1 to 100"),
        ({"keep_labels": -3}, "keep_labels is -3"),
        ({"keep_labels": 2.5}, "keep_labels is 2.5; expected a whole number"),
        ({"keep_labels": True}, "keep_labels is True"),
        ({"keep_labels": "4"}, "keep_labels is '4'"),
        ({"keep_labels": HUGE}, "keep_labels is 1.*; expected a"),
        (
            {"keep_labels": 1, "background": "threshold"},
            "keep_labels=1 leaves only one label for background='threshold'",
        ),
        ({"refine": "pamrr"}, "refine is 'pamrr'; expected one of none, pamr, guided. Did you mean 'pamr'"),
        ({"refine_iterations": -1}, "refine_iterations is -1; expected 0 to 100"),
        ({"refine_iterations": 2.5}, "refine_iterations is 2.5; expected a whole number"),
        ({"refine_dilations": ()}, r"refine_dilations is empty; expected neighbour distances .* such as \(8, 16\)"),
        ({"refine_dilations": 8}, "refine_dilations is 8; expected neighbour distances"),
        ({"refine_dilations": (8, 0)}, r"refine_dilations holds 0; expected 1 to"),
        ({"refine_dilations": (8.5,)}, "refine_dilations holds 8.5"),
        ({"refine": "pamr", "refine_dilations": (8, 256)}, "refine_dilations reaches 256 pixels, .* use at most 255"),
        (
            {"refine": "pamr", "image_size": (16, 40), "scales": (8,)},
            "reaches 16 pixels, but the frame has only 16 x 40",
        ),
        ({"refine_radius": 0}, "refine_radius is 0; expected 1 to"),
        (
            {"refine": "guided", "refine_radius": 90, "image_size": 64, "scales": (64,)},
            "reaches 90 pixels, but the frame",
        ),
        ({"refine_eps": 0}, "refine_eps is 0; expected 1e-05 to 1"),
        ({"temperature": 0}, "temperature is 0; expected 0.001 to 100"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": 101}, "temperature is 101"),
        ({"temperature": None}, "temperature is None"),
        ({"placement": "centered"}, "placement is 'centered'; expected one of .* Did you mean 'centred'"),
        ({"interpolation": "bicubic"}, "interpolation is 'bicubic'; expected one of bilinear, nearest"),
    ],
)
def test_what_makes_no_sense_is_refused(knobs, says):
    with pytest.raises(ConfigError, match=says):
        lab.Config(**knobs)
    with pytest.raises(ConfigError, match=says):
        lab.Config().replace(**knobs)


@pytest.mark.parametrize("knob", NUMERIC)
@pytest.mark.parametrize("value", [NAN, INF, -INF, HUGE, True, "1", [1], 1j, np.array([1.0]), np.bool_(True)], ids=str)
def test_what_is_no_finite_number_is_refused(knob, value):
    with pytest.raises(ConfigError, match=f"{knob} is .*; expected a (whole )?number"):
        lab.Config(**{knob: value})


@pytest.mark.parametrize("knob", CHOSEN)
@pytest.mark.parametrize("value", ["", "Nearest", None, 1, ["bilinear"], np.array(["bilinear", "fp32"])], ids=str)
def test_what_is_no_choice_is_refused(knob, value):
    with pytest.raises(ConfigError, match=f"{knob} is .*; expected one of"):
        lab.Config(**{knob: value})


def test_an_unknown_knob_is_named_with_its_neighbours():
    for make in (lab.Config, lab.Config().replace, lambda **knobs: lab.Config.from_json(json.dumps(knobs))):
        with pytest.raises(ConfigError, match=r"no knob 'saliency_wieght'\. Did you mean 'saliency_weight'"):
            make(saliency_wieght=0.5)


@pytest.mark.parametrize(
    ("knob", "given", "kept"),
    [
        ("scales", np.array([128, 64]), (128, 64)),
        ("scales", [np.int64(128), np.float32(64)], (128, 64)),
        ("scales", range(64, 16, -16), (64, 48, 32)),
        ("stride", np.int32(4), 4),
        ("stride", 4.0, 4),
        ("image_size", np.int64(300), (300, 300)),
        ("image_size", np.array(300), (300, 300)),
        ("image_size", np.array([300, 400]), (300, 400)),
        ("image_size", [300, 400], (300, 400)),
        ("weights", {64: 0, np.int64(256): np.float32(0.5), 128: np.int8(1)}, {"s256": 0.5, "s064": 0.0}),
        ("weights", {"64": 2, "s256": 1.0}, {"s064": 2.0}),
        ("saliency_weight", np.float32(0.25), 0.25),
        ("saliency_weight", 0, 0.0),
        ("saliency_weight", torch.tensor(0.5), 0.5),
        ("saliency_threshold", np.float64(0.5), 0.5),
        ("temperature", np.int64(2), 2.0),
        ("align_corners", np.bool_(True), True),
        ("placement", np.str_("centred"), "centred"),
        ("background_label", " stuff ", "stuff"),
        ("template", ["a {label}", "the {label}"], ("a {label}", "the {label}")),
        ("template", np.str_("imagenet80"), "imagenet80"),
        ("synonyms", {" sofa ": ["sofa", " couch", "Sofa", "couch "]}, {"sofa": ("sofa", "couch")}),
        ("synonyms", {"tv": ("tv",), "sofa": np.array(["couch"])}, {"sofa": ("couch",), "tv": ("tv",)}),
        ("background_words", [" sky", "wall ", "SKY"], ("sky", "wall")),
        ("background_threshold", np.float32(0.25), 0.25),
        ("background_threshold", 1, 1.0),
        ("logit_scale", np.int64(100), 100.0),
    ],
)
def test_values_are_kept_in_pythons_own_types(knob, given, kept):
    config = lab.Config(**{knob: given})
    value = getattr(config, knob)
    assert value == kept
    plain = dict(value) if knob == "weights" else value
    assert repr(plain) == repr(kept)  # 2 is not 2.0, and np.float64(2.0) is neither
    assert lab.Config.from_json(config.to_json()) == config
    assert config == lab.Config(**{knob: kept})
    assert config.to_json() == lab.Config(**{knob: kept}).to_json()


def test_every_knob_has_a_tier_and_help_and_what_its_control_needs():
    knobs = lab.Config.knobs()
    assert list(knobs) == FIELDS
    assert set(lab.Config.knobs("encode")) == {
        "scales",
        "stride",
        "image_size",
        "image_resize",
        "precision",
        "saliency_input",
        "crop_input",
        "dense",
        "dense_from",
        "dense_side",
        "patches",
    }
    assert lab.Config.knobs("encode").keys() ^ lab.Config.knobs("fuse").keys() == knobs.keys()
    for name, meta in knobs.items():
        assert meta["help"], name
        numeric = name in NUMERIC or name in (
            *("scales", "image_size", "weights", "crop_input", "patches", "keep_labels", "refine_dilations"),
        )
        assert numeric == ("min" in meta and "max" in meta), name
        assert (name in CHOSEN) == ("choices" in meta), name
        if name in (*NUMERIC, "weights"):
            assert 0 < meta["step"] <= meta["max"] - meta["min"], name
        default = getattr(lab.Config(), name)
        if name in NUMERIC and default is not None:
            assert meta["min"] <= default <= meta["max"], name
        if name in CHOSEN:
            assert default in meta["choices"], name


@pytest.mark.parametrize("knob", CHOSEN)
def test_every_choice_and_every_end_of_a_range_is_accepted(knob):
    for choice in lab.Config.knobs()[knob]["choices"]:
        assert getattr(lab.Config(**{knob: choice}, background_words=["sky"]), knob) == choice


@pytest.mark.parametrize("knob", NUMERIC)
def test_the_ends_of_a_range_are_accepted(knob):
    meta = lab.Config.knobs()[knob]
    for end in ("min", "max"):
        assert getattr(lab.Config(**{knob: meta[end]}), knob) == meta[end]


def test_the_presets():
    paper, demo = lab.Config.paper(), lab.Config.demo()
    assert (paper.scales, paper.stride, paper.image_size) == ((256, 128, 64), 2, (256, 256))
    assert (paper.placement, paper.interpolation, paper.align_corners) == ("stretched", "bilinear", False)
    assert (paper.templates, paper.article) == (("a photo of a {label}",), "official")
    assert (paper.background, paper.saliency_weight, paper.saliency_threshold) == ("saliency", 1.0, None)
    assert (dict(paper.weights), paper.temperature) == ({}, 1.0)
    assert (dict(paper.synonyms), paper.background_words) == ({}, ())
    assert lab.Config().changed(paper) == ("precision",)  # the official code computes in float32
    assert paper.changed(demo) == ("image_resize", "saliency_input")
    assert (demo.image_resize, demo.saliency_input) == ("nearest", "frame")


def test_replace_and_changed():
    config = lab.Config()
    other = config.replace(stride=4, temperature=0.5)
    assert (config.stride, other.stride, other.scales) == (2, 4, config.scales)
    assert config.changed(other) == ("stride", "temperature")
    assert config.changed(other, "encode") == ("stride",)
    assert config.changed(other, "fuse") == ("temperature",)
    assert config.changed(lab.Config()) == ()


def test_a_configuration_never_changes():
    config = lab.Config(weights={64: 2})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.stride = 1
    with pytest.raises(TypeError):
        config.weights["s064"] = 5
    with pytest.raises(TypeError):
        config.synonyms["sofa"] = ("couch",)
    given = {64: 2.0}
    kept = lab.Config(weights=given)
    given[64] = 0.0
    assert kept.weights == {"s064": 2.0}


def test_weights_have_one_form_whatever_names_the_grids():
    config = lab.Config(scales=(64, 256, 128), weights={"s256": 3, 64: 0.5, "128": 1})
    assert list(config.weights.items()) == [("s064", 0.5), ("s256", 3.0)]  # in the order of the plan, 1 is not kept
    assert [config.weight(grid.name) for grid in lab.Plan.of(config)] == [0.5, 3.0, 1.0]
    assert lab.Config(weights={256: 1, "s128": 1.0}) == lab.Config()
    assert lab.Config(weights={256: 1}).to_json() == lab.Config().to_json()


def test_a_configuration_with_only_some_of_its_grids():
    config = lab.Config(weights={"s064": 2}, saliency_weight=0.5)
    plan = lab.Plan.of(config)
    alone = config.only(64)
    assert alone == lab.Config(scales=(64,), saliency_weight=0.5)
    assert lab.Plan.of(alone).grids == (plan["s064"],)
    assert config.only(*config.grids) == config.replace(weights={})
    assert config.only("s256", "s064").grids == ("s256", "s064")
    for ask in (config.only, config.weight):
        with pytest.raises(ConfigError, match=r"no grid 's65'\. Did you mean"):
            ask("s65")


def test_equal_values_hash_alike():
    one = lab.Config(weights={256: 1, 128: 0, 64: 2})
    other = lab.Config(weights={"s064": 2.0, "s128": 0.0})
    assert one == other
    assert (hash(one), one.to_json()) == (hash(other), other.to_json())
    assert len({one, other, lab.Config()}) == 2
    assert Weights({"s064": 2}) == {"s064": 2.0}
    assert hash(Weights({"s064": 2, "s256": 4})) == hash(Weights({"s256": 4, "s064": 2}))
    one, other = (lab.Config(synonyms={label: [label, "x"] for label in labels}) for labels in (("a", "b"), ("b", "a")))
    assert (one, hash(one), one.to_json()) == (other, hash(other), other.to_json())
    assert one != lab.Config(synonyms={"a": ["x", "a"], "b": ["b", "x"]})  # the first of equals wins


def test_copies_and_pickles_are_equal():
    config = lab.Config(
        weights={256: 1, 128: 0, 64: 2},
        template=("a {label}", "the {label}"),
        synonyms={"sofa": ["sofa", "couch"]},
    )
    for again in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config
        assert hash(again) == hash(config)


@pytest.mark.parametrize("given", ["nope.json", Path("folder/nope.json")], ids=["text", "path"])
def test_a_path_is_not_the_text_of_a_file(given):
    with pytest.raises(ConfigError, match=r"looks like a path; .* Config.from_json\(Path\('.*nope.json'\).read_text"):
        lab.Config.from_json(given)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "{", "[]", "3", "null", '"text"', "[" * 100_000, b"\xff\xfe\xff", None, 3, '{"stride": NaN}'],
    ids=lambda text: repr(text)[:12],
)
def test_rubbish_is_no_configuration(text):
    with pytest.raises(ConfigError):
        lab.Config.from_json(text)


@pytest.mark.parametrize(
    "values",
    [
        {"scales": {"64": 1}},
        {"scales": "64"},
        {"weights": [1, 1, 1]},
        {"weights": {"big": 1}},
        {"image_size": "64"},
        {"template": [3]},
        {"template": {"label": 1}},
        {"stride": "2"},
        {"background_label": ["background"]},
        {"synonyms": [["sofa", "couch"]]},
        {"synonyms": {"sofa": {"couch": 1}}},
        {"background_words": {"sky": 1}},
    ],
    ids=str,
)
def test_json_with_senseless_values_is_refused(values):
    with pytest.raises(ClipdiyError):
        lab.Config.from_json(json.dumps(values))


def test_json_may_name_only_some_knobs():
    assert lab.Config.from_json('{"stride": 4}') == lab.Config(stride=4)
    assert lab.Config.from_json("{}") == lab.Config()


def test_json_is_one_line():
    text = lab.Config(weights={256: 0.25, 128: 1, 64: 2}).to_json()
    assert "\n" not in text
    assert json.loads(text)["weights"] == {"s256": 0.25, "s064": 2.0}


def test_the_methods_of_dense_are_those_whose_last_block_is_known():
    assert tuple(METHODS) == lab.Config.knobs()["dense"]["choices"][1:]


def test_knobs_of_patch_tokens_have_no_say_where_there_are_none():
    plain = lab.Config(patches=(64, 8))
    assert plain.patches is None
    assert lab.Config(dense_from="crops", dense_side=96).unlike(lab.Config()) == ()
    held = lab.Config(dense="naclip", dense_from="crops", patches=(64, 8))
    assert lab.Config().unlike(held) == ()
    assert held.unlike(lab.Config()) == ("dense", "dense_from", "patches")
    assert lab.Config(dense="naclip", dense_from="crops", dense_side=96).unlike(held) == ()
    assert lab.Config(dense="naclip", dense_side=96).unlike(held) == ("dense_from", "dense_side")
    assert lab.Config(dense="naclip", dense_from="crops").settled_by(held) == held
    assert lab.Config().settled_by(held.replace(precision="bf16")) == lab.Config(precision="bf16")
