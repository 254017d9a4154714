"""What a run becomes for the browser, and when it stays a picture."""

import base64
import json

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab.errors import RunError
from clipdiy_lab.method.config import Config
from clipdiy_lab.views.instrument import scene as scenes_of_runs
from clipdiy_lab.views.instrument.bundle import bundled
from clipdiy_lab.views.instrument.scene import KNOBS, lifeless, scene


def test_a_scene_is_json_and_holds_what_decides(scene_run):
    packed = json.loads(json.dumps(scene(scene_run)))
    assert packed["labels"] == list(scene_run["label"].values)
    saliency = np.frombuffer(base64.b64decode(packed["saliency"]), "<f4").reshape(256, 256)
    np.testing.assert_array_equal(saliency, scene_run["saliency"])
    for grid in packed["grids"]:
        held = np.frombuffer(base64.b64decode(grid["similarity"]), "<f4")
        np.testing.assert_array_equal(held, scene_run[f"grids/{grid['name']}/similarity"].values.ravel())
    assert packed["knobs"]["saliency_weight"] == 0.4
    assert packed["knobs"]["weights"] == {"s256": 1, "s128": 1, "s064": 1}
    assert packed["size"] == list(scene_run["labels_full"].shape)


def test_every_knob_after_the_similarities_is_live():
    after = Config.knobs("merged", "guide", "fused", "refined", "probability")
    assert after.keys() <= {*KNOBS}


def test_a_knob_that_the_engine_does_not_know_makes_a_still_picture(scene_run, monkeypatch, tmp_path):
    hard = lab.recombine(scene_run, saliency_threshold=0.5)
    assert lifeless(hard) == ""
    monkeypatch.setattr(scenes_of_runs, "KNOBS", tuple(name for name in KNOBS if name != "saliency_threshold"))
    assert "'saliency_threshold' is changed, which" in lifeless(hard)
    assert lifeless(lab.recombine(hard, saliency_threshold=None)) == ""
    with pytest.raises(RunError, match="is not supported in the browser"):
        scene(hard)
    page = lab.report(hard, tmp_path / "page.html").read_text()
    assert "so this is a still picture" in page
    assert "<script" not in page


def test_images_of_other_runs_are_refused(scene_run, tmp_path):
    with pytest.raises(RunError, match="is not the image of the run"):
        lab.report(scene_run, tmp_path / "page.html", image=np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(RunError, match="2 runs and 1 images"):
        lab.report([scene_run, scene_run], tmp_path / "page.html", image=[np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(RunError, match="0 runs"):
        lab.report([], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_script_of_a_page_is_whole():
    script = bundled("page")
    assert "import " not in script.replace("import(", "").split("/**")[0]
    assert script.count("const module_engine =") == 1
    assert script.index("const module_matrices =") < script.index("const module_engine =") < script.index("module_page")
