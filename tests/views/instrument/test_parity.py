"""The browser's engine, run by Node, against Python."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from configurations import random_states
from node import node
from parity import compare

import clipdiy_lab as lab
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.instrument.scene import scene

HERE = Path(__file__).parent


def in_node(packed: dict[str, Any], requests: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What the engine answers in Node."""
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps({"scene": packed, "requests": requests}))
    subprocess.run([node(), str(HERE / "run_driver.js"), str(request), str(answer)], check=True, timeout=600)
    return json.loads(answer.read_text())


def check(run: xr.DataTree, folder: Path, seed: int, count: int) -> None:
    states = random_states(run, count, seed)
    answers = in_node(scene(run), [state.request(run) for state in states], folder)
    left_out = sum(compare(run, state, answer) for state, answer in zip(states, answers, strict=True))
    pixels = count * run.sizes[s.Y] * run.sizes[s.X]
    print(f"{left_out} of {pixels} pixels were too near to call")
    assert left_out < 0.001 * pixels


def test_a_scene(tiny, scenes, tmp_path):
    labels = [name for name in scenes.label_names if name != "background"]
    check(tiny.segment(scenes[1].image, labels), tmp_path, seed=1, count=16)


@pytest.mark.parametrize(
    "config",
    [
        lab.Config(dense="naclip", dense_from="crops"),
        lab.Config(dense="maskclip", dense_from="frame"),
        lab.Config(scales=(), dense="clearclip", dense_side=192, image_size=(200, 168)),
        lab.Config(scales=(200, 90), stride=3, image_size=(200, 310)),
    ],
    ids=["dense from crops", "dense from the frame", "dense alone", "odd windows"],
)
def test_other_grids(tiny, scenes, tmp_path, config):
    run = tiny.segment(scenes[3].image, ["cat", "dog", "car", "train"], config=config)
    check(run, tmp_path, seed=7, count=10)
