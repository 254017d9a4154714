"""Many images at once, and label maps that are scored, as a user meets them on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.cli import app
from clipdiy_lab.datasets.palette import read_palette_png
from clipdiy_lab.errors import ImageError, OutputError, PredictionError

QUICK = ["--labels", "car, cat", "--config", "quick.json", "--saliency", "none"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.json").write_text(lab.Config(scales=(256,)).to_json())
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(lab.open_dataset("scenes")[index].image).save(f"photos/{'abc'[index]}.png")
    (tmp_path / "photos/notes.txt").write_text("no image")
    return tmp_path / "photos"


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_a_folder_becomes_label_maps_and_a_second_call_leaves_them_alone(photos):
    done = run("segment", "photos", "--flat", "--out", "maps", *QUICK, "--json")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (photos.parent / "maps").iterdir()} == {"a.png", "b.png", "c.png", "classes.txt"}
    assert (photos.parent / "maps/classes.txt").read_text() == "background\ncar\ncat\n"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["result"] for line in lines] == ["maps/a.png", "maps/b.png", "maps/c.png"]
    segmenter = lab.load("tiny", saliency="none")
    alone = segmenter.segment(photos / "b.png", ["car", "cat"], lab.Config(scales=(256,)))
    np.testing.assert_array_equal(read_palette_png("maps/b.png"), alone["labels_full"])
    (photos.parent / "maps/b.png").unlink()
    stamp = (photos.parent / "maps/a.png").stat().st_mtime_ns
    again = run("segment", "photos/*.png", "--flat", "--out", "maps", *QUICK)
    assert "1 of 3 images segmented into maps/; 2 already existed" in again.stderr
    assert (photos.parent / "maps/a.png").stat().st_mtime_ns == stamp
    other = run("segment", "photos", "--flat", "--out", "maps", *QUICK, "--labels", "dog")
    assert isinstance(other.exception, OutputError)
    assert "lists other labels" in str(other.exception)


def test_several_images_get_a_folder_each_and_a_bad_one_stops_nothing(photos):
    (photos / "b.png").write_bytes(b"no picture")
    done = run("segment", "photos/a.png", "photos/b.png", "--out", "runs", *QUICK)
    assert done.exit_code == 1
    assert "1 of 2 images segmented into runs/" in done.stderr
    assert "photos/b.png: " in done.stderr
    assert "1 images could not be read" in done.stderr
    assert [path.name for path in (photos.parent / "runs").iterdir()] == ["a"]
    assert (photos.parent / "runs/a/run.nc").exists()


def test_what_cannot_be_meant(photos):
    (photos.parent / "a.png").write_bytes((photos / "a.png").read_bytes())
    (photos.parent / "empty").mkdir()
    for arguments, kind, said in (
        (["photos/a.png", "a.png"], OutputError, "have the same name"),
        (["photos", "--flat", "--out", "photos"], OutputError, "is one of the images"),
        (["empty"], ImageError, "'empty' matches no image"),
        (["*.jpg"], ImageError, "'*.jpg' matches no image"),
    ):
        done = run("segment", *arguments, *QUICK)
        assert isinstance(done.exception, kind)
        assert said in str(done.exception)
    assert not (photos.parent / "out").exists()


def test_predictions_are_written_and_scored(photos):
    options = ["--limit", "2", "--json", "--out", "results"]
    evaluated = run(
        "evaluate", "scenes", "--config", "quick.json", "--saliency", "none", "--predictions", "masks", *options
    )
    assert evaluated.exit_code == 0, evaluated.output
    scored = run("score", "masks", "scenes", *options)
    assert scored.exit_code == 0, scored.output
    first, second = json.loads(evaluated.stdout), json.loads(scored.stdout)
    assert second["labels"] == first["labels"]
    assert (second["miou"], second["method"]) == (first["miou"], "masks")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save("masks/surplus.png")
    next((photos.parent / "masks").glob("val_*.png")).unlink()
    broken = run("score", "masks", "scenes", *options)
    assert isinstance(broken.exception, PredictionError)
    assert len(broken.stderr.splitlines()) == 2
    assert "surplus.png: the dataset has no such image" in broken.stderr
    printed = run("score", "masks", "scenes", "--colours", "quick.json")
    assert "--colours quick.json cannot be read" in str(printed.exception)


def test_two_results_are_compared(photos):
    options = ["--limit", "3", "--saliency", "none", "--json"]
    for name, scales in (("coarse", (256,)), ("fine", (128,))):
        (photos.parent / f"{name}.json").write_text(lab.Config(scales=scales).to_json())
        assert run("evaluate", "scenes", "--config", f"{name}.json", "--out", f"{name}.nc", *options).exit_code == 0
    done = run("compare", "coarse.nc", "fine.nc")
    assert done.exit_code == 0, done.output
    opened = [lab.results.open_result(f"{name}.nc") for name in ("coarse", "fine")]
    found = lab.compare(*opened, names=("coarse", "fine"))
    assert found.attrs["summary"] in done.stdout
    assert "config.scales: [256] / [128]" in done.stdout
    assert "helps most:" in done.stdout
    said = json.loads(run("compare", "coarse.nc", "fine.nc", "--json").stdout)
    assert said["miou_difference"] == found.attrs["miou_difference"]
    assert len(said["images"]) == 3
    assert (
        run("evaluate", "scenes", "--config", "fine.json", "--out", "less.nc", *options, "--limit", "2").exit_code == 0
    )
    assert run("compare", "coarse.nc", "fine.nc", "--html", "page.html").exit_code == 0
    assert found.attrs["summary"].replace("'", "&#39;") in Path("page.html").read_text()
    assert "common=True" in str(run("compare", "coarse.nc", "less.nc").exception)
    assert run("compare", "coarse.nc", "less.nc", "--common").exit_code == 0


def test_two_runs_are_compared(photos):
    for name, options in (("one", ()), ("two", ("--set", "scales=[64]"))):
        assert run("segment", "photos/a.png", "--out", name, *QUICK, *options).exit_code == 0
    done = run("compare", "one/run.nc", "two/run.nc")
    assert done.exit_code == 0, done.output
    assert "config.scales: [256] / [64]" in done.stdout
    said = json.loads(run("compare", "one/run.nc", "two/run.nc", "--json").stdout)
    assert said["kind"] == "runs"
    assert sum(row["pixels"] for row in said["labels"]) > 0
    (photos.parent / "broken.nc").write_bytes(b"x")
    assert "broken.nc is neither a result nor a run" in str(run("compare", "broken.nc", "one/run.nc").exception)
    assert "there is no result at none.nc" in str(run("compare", "none.nc", "one/run.nc").exception)
