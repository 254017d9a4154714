"""`clipdiy-lab calibration`: the temperature is fitted on one split and reported on another."""

import json

import pytest
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.cli import app
from clipdiy_lab.errors import ConfigError, DatasetError

SHORT = ["--limit", "2", "--fit-limit", "2", "--saliency", "none", "--set", "scales=[256]"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["calibration", *arguments])


def test_it_says_what_python_says_and_reads_its_results_again(here):
    done = run("scenes", *SHORT, "--out", "results")
    assert done.exit_code == 0, done.output
    segmenter, config = lab.load("tiny", saliency="none"), lab.Config.paper().replace(scales=(256,))
    fitted = lab.calibration(segmenter, lab.open_dataset("scenes", split="train"), config, limit=2)
    found = lab.calibration(segmenter, lab.open_dataset("scenes"), config, limit=2, fitted=fitted)
    for temperature, ece in zip(found["temperature"].values, found["ece"].values, strict=True):
        assert f"temperature {temperature:.4g}: expected calibration error {100 * ece:.2f} %" in done.stdout
    assert "2 images of scenes-val-voc, protocol mmseg, tiny with none" in done.stdout
    assert "fitted on scenes-train-voc, 2 images" in done.stdout
    stamps = {path: path.stat().st_mtime_ns for path in (here / "results").glob("*.nc")}
    said = json.loads(run("scenes", *SHORT, "--out", "results", "--json").stdout)
    assert len(stamps) == 2
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert said["ece"] == found["ece"].values.tolist()
    assert said["fitted_temperature"] == fitted.attrs["fitted_temperature"]


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (["scenes", "--fit-split", "val"], ConfigError, "are both 'val'; fit the temperature on another split"),
        (["scenes", "--out", "a.nc"], ConfigError, "--out is 'a.nc'; expected a folder"),
        (["."], ConfigError, "'.' is a folder, which has only one split; give another dataset with --fit-dataset"),
        (["scenes", "--fit-split", "trian"], DatasetError, "Did you mean 'train'"),
    ],
)
def test_bad_input(here, arguments, kind, says):
    done = run(*arguments)
    assert isinstance(done.exception, kind)
    assert says in str(done.exception)
    assert not list(here.iterdir())
