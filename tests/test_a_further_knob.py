"""A knob is one declaration that says where it acts; command line, explorer, sweep, store and caches then know it."""

import ast
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.analysis.scoring.shared import search_key, text_key
from clipdiy_lab.analysis.tables import short_form
from clipdiy_lab.analysis.trials import Trial
from clipdiy_lab.cli import app
from clipdiy_lab.method import config as config_module
from clipdiy_lab.method.knobs import Place, knob
from clipdiy_lab.models import prompts
from clipdiy_lab.views.board.grid import BoardPlan, spelled, suggested, values
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.widgets import InstrumentScreen
from clipdiy_lab.views.live.scheduler import LatestWins

pytestmark = pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")

PLACES = get_args(Place)
NAMES = [f"glow_{place}" for place in PLACES]
LABELS = ["cat", "car", "chair"]

# What a knob at a place asks for anew: an encoding, texts, a search for the best label.
ASKS = {
    "embedding": {"encoding", "search"},
    "saliency": {"encoding", "search"},
    "text": {"texts", "search"},
    "similarity": {"texts", "search"},
    "merged": {"search"},
    "guide": set(),
    "fused": {"search"},
    "refined": set(),
    "probability": set(),
}


@pytest.fixture(autouse=True, scope="module")
def further():
    """Put a configuration with a knob at every place in the place of `Config`, in every module of the lab."""
    plain = config_module.Config
    glows = [
        (f"glow_{place}", float, knob(0.0, place, "number", f"glow of {place}", min=0.0, max=1.0, step=0.25))
        for place in PLACES
    ]
    others = [
        ("dilations", tuple, knob((1, 2), "refined", "numbers", "dilations of a neighbourhood", min=1, max=24)),
        ("split", str, knob("val", "probability", "text", "shares its name with an option")),
    ]
    made = dataclasses.make_dataclass("Config", [*glows, *others], bases=(plain,), frozen=True, kw_only=True)
    _exchange(plain, made)
    yield made
    _exchange(made, plain)


def _exchange(old, new):
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "clipdiy_lab" and vars(module).get("Config") is old:
            module.Config = new


def words(path):
    """Names and one-word strings of a file's code, without comments; of JavaScript, every word."""
    if path.suffix == ".js":
        return set(re.findall(r"\w+", path.read_text()))
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for part in ("id", "attr", "arg", "value"):
            if isinstance(text := getattr(node, part, None), str):
                found.add(text)
    return found


@pytest.mark.parametrize(
    ("name", "in_python", "in_the_browser"),
    [("article", 3, 0), ("background_words", 3, 0), ("refine_eps", 2, 4), ("refine_radius", 3, 4)],
)
def test_the_files_that_name_one_are_as_few_as_contributing_says(name, in_python, in_the_browser):
    """Knobs that the lab has, of all that stand where only their own work names them."""
    package = Path(lab.__file__).parent
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".js") and name in words(path)]
    browser = [path for path in files if path.is_relative_to(package / "views/instrument")]
    assert (len(files) - len(browser), len(browser)) == (in_python, in_the_browser), files


class Even:
    """A saliency source that counts its calls."""

    name, fingerprint = "even", "even-1"

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        self.calls += 1
        return np.full(image.shape[:2], 0.6, np.float32)


@pytest.fixture
def segmenter(counting_encoder):
    return lab.Segmenter(counting_encoder, Even())


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val", length=2)


@pytest.mark.parametrize("place", PLACES)
def test_tier_and_keys_follow_from_where_it_acts(place):
    name = f"glow_{place}"
    plain, turned = lab.Config(), lab.Config(**{name: 0.5})
    assert lab.Config.from_json(turned.to_json()) == turned
    assert plain.changed(turned, place) == (name,)
    one, other = Trial(config=plain), Trial(config=turned)
    anew = {
        "encoding": plain.key_at("encode") != turned.key_at("encode"),
        "texts": text_key(one) != text_key(other),
        "search": search_key(one) != search_key(other),
    }
    assert {what for what, differs in anew.items() if differs} == ASKS[place]
    assert turned.unlike(plain) == ((name,) if "encoding" in ASKS[place] else ())
    assert (name in lab.Config.knobs("encode")) == ("encoding" in ASKS[place])
    assert (name in lab.Config.knobs("fuse")) == ("encoding" not in ASKS[place])
    with pytest.raises(errors.ConfigError, match=rf"{name} is 1.5; expected 0.0 to 1.0 \(glow of {place}\)"):
        plain.replace(**{name: 1.5})


@pytest.mark.parametrize("place", PLACES)
def test_the_explorer_has_a_control_and_makes_only_what_depends_on_it(place, segmenter):
    scheduler = LatestWins(start=lambda run: run(), later=lambda seconds, run: run() or (lambda: None))
    explorer = Explorer(None, LABELS, segmenter, config=lab.Config(scales=(128, 64)), scheduler=scheduler)
    screen = InstrumentScreen(explorer)
    encoder, source = segmenter.encoder, segmenter.saliency
    encoder.batches.clear()
    source.calls = 0
    control = next(one for one in screen.root.asks if one["name"] == f"glow_{place}")
    assert (control["form"], control["value"], control["max"]) == ("number", 0.0, 1.0)
    screen.root._handle_custom_msg({"what": "encode", "id": 1, "values": {f"glow_{place}": 0.5}}, [])
    assert (explorer.error, explorer.config.changed(lab.Config(scales=(128, 64)))) == ("", (f"glow_{place}",))
    explorer.run  # noqa: B018  # every stage of it
    assert (sum(encoder.batches), source.calls) == (58 * (place == "embedding"), int(place == "saliency"))
    explorer.close()


def test_numbers_are_typed_and_are_not_taken_for_scales(segmenter):
    explorer = Explorer(None, LABELS, segmenter)
    screen = InstrumentScreen(explorer)
    screen.root._handle_custom_msg({"what": "encode", "id": 1, "values": {"dilations": [1, 2, 8]}}, [])
    assert explorer.config.dilations == (1, 2, 8)
    assert explorer.config.scales == (256, 128, 64)
    with pytest.raises(errors.ConfigError, match=r"dilations is 3; expected dilations of a neighbourhood such as"):
        lab.Config(dilations=3)
    explorer.close()


def test_the_board_offers_it(segmenter, scenes):
    board = lab.ablation_board(segmenter, scenes)
    assert {*NAMES, "dilations"} <= {knob["name"] for knob in board.widget.root.form["knobs"]}
    for name in (*NAMES, "dilations"):
        several = suggested(name)
        assert values(spelled(several), name) == several
        assert all(trial.config for trial in BoardPlan.of({name: several}, lab.Config()).trials)
    board.close()


def test_a_sweep_shares_nothing_that_depends_on_it(segmenter, scenes, monkeypatch):
    """Prompts that read the knob get texts of their own, and the table says what was varied."""
    templates = prompts.templates

    def glowing(config):
        return tuple(f"{template} at {config.glow_text}" for template in templates(config))

    monkeypatch.setattr(prompts, "templates", glowing)
    table = lab.sweep(segmenter, scenes, {"glow_text": [0, 0.5], "glow_guide": [0, 1], "background": ["prompt"]})
    assert list(table["error"]) == [""] * 4
    assert {*NAMES, "dilations"} <= set(table.columns)
    alone = [
        lab.evaluate(segmenter, scenes, lab.Config(glow_text=glow, background="prompt")).attrs["miou"]
        for glow in (0, 0.5)
    ]
    assert alone[0] != alone[1]
    assert list(table["miou_percent"] / 100) == pytest.approx([alone[0]] * 2 + [alone[1]] * 2, abs=1e-12)
    varied, caption = short_form(table)
    assert list(varied.columns[:2]) == ["glow_text", "glow_guide"]
    assert "glow_fused" in caption


@pytest.mark.parametrize("place", PLACES)
def test_a_store_and_a_run_serve_what_needs_no_network(place, segmenter, scenes, tmp_path):
    name, config = f"glow_{place}", lab.Config(image_size=64, scales=(64, 32))
    store = lab.embed(segmenter, scenes, tmp_path / "store", config)
    run = segmenter.segment(scenes[0].image, LABELS, config)
    segmenter.encoder.batches.clear()
    table = lab.sweep(store, scenes, {name: [0, 0.5]}, base=config, segmenter=segmenter)
    if "encoding" in ASKS[place]:
        assert f"was not encoded with {name}=0.5" in table["error"][1]
        with pytest.raises(errors.RunError, match=f"was not encoded with {name}=0.5"):
            lab.recombine(run, **{name: 0.5})
        with pytest.raises(errors.StoreError, match=f"{name} is 0.0 there, 0.5 is asked"):
            lab.embed(segmenter, scenes, tmp_path / "store", config.replace(**{name: 0.5}))
    else:
        assert list(table["error"]) == ["", ""]
        again = lab.recombine(run, **{name: 0.5}, segmenter=segmenter)
        assert json.loads(again.attrs["config"])[name] == 0.5
        lab.embed(segmenter, scenes, tmp_path / "store", config.replace(**{name: 0.5}))
    assert segmenter.encoder.batches == []


def test_the_command_line_sets_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    small = ["--set", "image_size=64", "--set", "scales=64", "--limit", "1"]
    embed = ["embed", "scenes", "--store", "s", "--saliency", "none", *small, "--set", "glow_embedding=0.25"]
    assert "expected window sides in pixels" in str(call(app, embed).exception)
    embed[embed.index("scales=64")] = "scales=[64]"
    assert call(app, embed).exit_code == 0
    glows = [part for name in NAMES[2:] for part in ("--set", f"{name}=0.5")]
    grid = ["--grid", "dilations=[[1], [1, 2, 4]]", "--set", "split=train"]
    done = call(app, ["sweep", "scenes", "--store", "s", *grid, *glows, "--limit", "1", "--json"])
    rows = json.loads(done.stdout)
    assert [(row["dilations"], row["error"]) for row in rows] == [("1", ""), ("1 2 4", "")]
    for row in rows:
        assert {name: row[name] for name in NAMES} == dict.fromkeys(NAMES, 0.5) | {
            "glow_embedding": 0.25, "glow_saliency": 0.0,
        }  # fmt: skip
        assert (row["split"], row["image_size"]) == ("train", "64 64")  # the knob of that name, and the store's size


def test_an_option_and_set_that_disagree_are_refused():
    command = ["evaluate", "scenes", "--set", "split=train"]
    done = CliRunner().invoke(app, [*command, "--split", "test"])
    assert str(done.exception) == "--set gives split=train, but --split gives test; use only one of the two."
    done = CliRunner().invoke(app, [*command, "--split", "train", "--set", "glow_text=2"])
    assert "glow_text is 2; expected 0.0 to 1.0" in str(done.exception)  # the same value twice is no contradiction
