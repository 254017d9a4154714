"""Encoders and saliency sources of installed packages: real metadata, real imports, real processes."""

import sys

import cloudpickle
import installing
import numpy as np
import pytest
from commands import python, run
from installing import ENCODERS, SALIENCY, install, install_mine
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.doctor import examine
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.pipeline.shipping import SentSegmenter
from clipdiy_lab.views.repeat import Maker, image_line, python_code, shell_command

LABELS = ["car", "cat"]
CONFIG = lab.Config(scales=(256, 128))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of installed packages; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def mine(packages):
    install_mine(packages)
    return packages


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 52, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_names_of_a_package_are_listed_and_loaded_like_the_labs_own(mine, image):
    rows = lab.list_models().set_index("name")
    row = rows.loc["mine-clip"]
    assert (row["architecture"], row["needs"], row["here"]) == (
        "mine_pkg:encoder", "the package mine-pkg 1.2", True)  # fmt: skip
    assert "mine_pkg" not in sys.modules  # the metadata is all that a list reads
    assert lab.saliency.names()[-1] == "mine-dark"
    segmenter = lab.load("mine-clip", seed=7, saliency=lab.saliency.build("mine-dark", gamma=2.0))
    assert (segmenter.encoder.fingerprint, segmenter.saliency.gamma) == ("mine-7", 2.0)
    run = segmenter.segment(image, LABELS, CONFIG)
    assert Recipe.from_json(run.attrs["encoder_recipe"]) == Recipe("mine-clip", {"seed": 7})
    assert Recipe.from_json(run.attrs["saliency_recipe"]) == Recipe("mine-dark", {"gamma": 2.0})
    # A name is enough where a name is taken: for a segmenter, and for a knob of a sweep.
    assert lab.Segmenter("mine-clip", "mine-dark").encoder.recipe == Recipe("mine-clip")


def test_the_code_that_repeats_a_run_names_them(mine, image):
    saliency = lab.saliency.build("mine-dark", gamma=2.0)
    run = lab.load("mine-clip", seed=7, saliency=saliency).segment(image, LABELS, CONFIG)
    maker = Maker.of(run.attrs)
    code = python_code(maker, image_line(run.attrs), LABELS, CONFIG, "run")
    assert "lab.load('mine-clip', saliency=lab.saliency.build('mine-dark', gamma=2.0), seed=7)" in code
    space = {}
    exec(code, space)  # what a reader of the page would do
    np.testing.assert_array_equal(space["run"]["labels"].values, run["labels"].values)
    assert shell_command(maker, str(image), LABELS, {}) is None  # the command line has no option for the seed
    plain = lab.load("mine-clip", saliency="mine-dark").encoding(image, CONFIG).provenance
    command = shell_command(Maker.of({**plain, "config": CONFIG.to_json()}), "a.png", LABELS, {})
    assert "--model mine-clip --saliency mine-dark" in command


def test_the_command_line_takes_them(mine, image, tmp_path):
    done = run("segment", image, "--labels", "car, cat", "--model", "mine-clip", "--saliency", "mine-dark", "--out",
               tmp_path / "out", cwd=tmp_path, PYTHONPATH=str(mine))  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = lab.load("mine-clip", saliency="mine-dark").segment(image, LABELS)
    written = lab.open_run(next((tmp_path / "out").rglob("*.nc")))
    np.testing.assert_array_equal(written["labels"].values, expected["labels"].values)


def test_a_worker_makes_them_by_recipe_and_says_where_the_package_is_missing(mine, tmp_path):
    sent = SentSegmenter.of(lab.load("mine-clip", seed=7, saliency="mine-dark"))
    assert (sent.encoder, sent.saliency) == (Recipe("mine-clip", {"seed": 7}), Recipe("mine-dark"))
    file = tmp_path / "sent"
    file.write_bytes(cloudpickle.dumps(sent))
    code = f"import cloudpickle; print(cloudpickle.loads(open({str(file)!r}, 'rb').read()).build().encoder.fingerprint)"
    assert python(code, cwd=tmp_path, PYTHONPATH=str(mine)).stdout == "mine-7\n"
    assert "ModelError: there is no model 'mine-clip'" in python(code, cwd=tmp_path, PYTHONPATH="").stderr


def test_a_store_is_swept_by_the_encoder_of_its_recipe(mine, tmp_path):
    scenes = lab.open_dataset("scenes", length=1)
    plain, seeded = lab.load("mine-clip", saliency="mine-dark"), lab.load("mine-clip", seed=7, saliency="none")
    for name, segmenter in (("plain", plain), ("seeded", seeded)):
        lab.embed(segmenter, scenes, tmp_path / name, CONFIG)
    grid = {"saliency_weight": [0.5]}
    assert lab.sweep(tmp_path / "plain", scenes, grid, base=CONFIG)["error"].tolist() == [""]
    # The options of a store may come from anybody.
    with pytest.raises(errors.StoreError, match=r"loaded with seed.*give segmenter="):
        lab.sweep(tmp_path / "seeded", scenes, grid, base=CONFIG)
    assert lab.sweep(tmp_path / "seeded", scenes, grid, base=CONFIG, segmenter=seeded)["error"].tolist() == [""]


BROKEN = {
    "import": ("raise RuntimeError('no licence')", "cannot be imported .*RuntimeError: no licence"),
    "attribute": ("", "cannot be imported .*AttributeError"),
    "callable": ("make = 3", "is no callable"),
    "protocol": ("class make:\n    pass", "cannot be used: .* is a make; expected"),
    "nothing": ("def make():\n    pass", "cannot be used: .* is None; expected"),
    "builder": ("def make():\n    raise KeyError('w')", "cannot be built .*KeyError: 'w'"),
    "options": ("def make(weights):\n    pass", r"got the options \[\], but takes \['weights'\]"),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize(
    ("group", "make"), [(ENCODERS, lab.load), (SALIENCY, lab.saliency.build)], ids=["encoder", "saliency"]
)
def test_a_broken_package_is_named_and_breaks_nothing_else(packages, fault, group, make):
    text, says = BROKEN[fault]
    install(packages, "broken-pkg", {"broken_pkg": text}, {group: {"broken": "broken_pkg:make"}})
    with pytest.raises(errors.ModelError, match=rf"'broken' of the package broken-pkg 1\.0 {says}"):
        make("broken")
    assert "broken" in (lab.list_models()["name"].tolist() if group == ENCODERS else lab.saliency.names())
    assert lab.load("tiny", saliency="none").encoder.name == "tiny"


def test_what_takes_no_recipe_is_told_how(packages):
    text = installing.MINE.replace("    def __init__(self, seed):", "    __slots__ = ('fingerprint', 'weights')\n\n"
                                   "    def __init__(self, seed):")  # fmt: skip
    install(packages, "slim-pkg", {"slim_pkg": text}, {ENCODERS: {"slim": "slim_pkg:encoder"}})
    with pytest.raises(errors.ModelError, match=r"slim-pkg 1\.0 takes no attribute `recipe`"):
        lab.load("slim", saliency="none")


@pytest.mark.parametrize("name", ["tiny", "ViT-B-32/openai", "ViT-B-32", "hf-hub:mine", "local-dir:mine"])
def test_the_names_of_the_lab_cannot_be_taken(packages, name):
    install(packages, "thief", {"thief": installing.MINE}, {ENCODERS: {name: "thief:encoder"}})
    says = f"The encoder '{name}' is the lab's own; what the package thief 1.0 registers"
    with pytest.warns(errors.ClipdiyWarning, match=says):
        models = lab.list_models()
    assert models["name"].tolist().count("tiny") == 1
    assert "thief:encoder" not in models["architecture"].tolist()
    assert lab.load("tiny", saliency="none").encoder.embedding_dim != 12


@pytest.mark.parametrize("name", ["found-tiny", "given", "oracle"])
def test_the_names_of_sources_cannot_be_taken(packages, name):
    install(packages, "thief", {"thief": installing.MINE}, {SALIENCY: {name: "thief:Darkness"}})
    with pytest.warns(
        errors.ClipdiyWarning, match=f"The saliency '{name}' is the lab's own; what the package thief 1.0"
    ):
        assert len(lab.saliency.names()) == 7
    assert type(lab.saliency.build("found-tiny")).__module__.startswith("clipdiy_lab.")


def test_two_packages_with_one_name_are_both_named(mine):
    install(mine, "twin-pkg", {}, {ENCODERS: {"mine-clip": "twin_pkg:encoder"}})
    with pytest.raises(errors.ModelError, match=r"registered by the package mine-pkg 1\.2 and by the package twin-pkg"):
        lab.load("mine-clip")


def test_damaged_metadata_of_one_package_hides_no_other(mine):
    install(mine, "damaged-pkg", {}, f"[{ENCODERS}]\nno equals sign")
    with pytest.warns(errors.ClipdiyWarning, match="entry points of the package damaged-pkg cannot be read"):
        assert lab.load("mine-clip", saliency="none").encoder.fingerprint == "mine-12"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"sed": 1}, errors.ModelError, r"mine-pkg 1\.2 got the options \['sed'\], but takes \['seed'\]"),
        ({"checkpoint": "w.pt"}, errors.ModelError, r"got the options \['checkpoint'\]"),
        ({"precision": "bf16"}, errors.ConfigError, "'mine-clip' cannot change its precision"),
        ({"runtime": "openvino"}, errors.ModelError, "OpenVINO runs models of open_clip; 'mine-clip' is none"),
    ],
)
def test_options_that_a_package_does_not_have(mine, options, error, says):
    with pytest.raises(error, match=says):
        lab.load("mine-clip", saliency="none", **options)


def test_the_doctor_names_what_packages_bring(mine):
    facts = examine()["facts"]
    assert "mine-clip (of the package mine-pkg 1.2)" in facts["models here"]
    assert facts["saliency sources"].endswith("none, mine-dark")
