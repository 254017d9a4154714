"""Every explanation of a run, and the report, meet the same bad input: one clear error each, nothing written."""

import sys

import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.cli import main

SMALL = lab.Config(scales=(16, 8), image_size=(24, 32))
CALLS = {
    "pixel": lambda run, segmenter: lab.explain.pixel(run, 3, 4),
    "contrast": lambda run, segmenter: lab.explain.contrast(run, 3, 4, "cat", "bus"),
    "story": lambda run, segmenter: lab.explain.story(run, 3, 4),
    "flip_weight": lambda run, segmenter: lab.explain.flip_weight(run),
    "background_threshold": lambda run, segmenter: lab.explain.background_threshold(run),
    "grid_importance": lambda run, segmenter: lab.explain.grid_importance(run),
    "uncertainty": lambda run, segmenter: lab.explain.uncertainty(run),
    "prompt_sensitivity": lab.explain.prompt_sensitivity,
    "absent": lambda run, segmenter: lab.explain.absent(run, ["dog"], segmenter),
    "label_changed": lambda run, segmenter: lab.explain.label_changed(run, run),
    "occlude": lambda run, segmenter: lab.explain.occlude(run, segmenter, (8, 0, 0), "cat"),
    "attend": lambda run, segmenter: lab.explain.attend(run, segmenter, (8, 0, 0), "cat"),
}


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), rng.random((30, 40))


@pytest.fixture(scope="module")
def run(golden_segmenter, picture):
    return golden_segmenter.segment(picture[0], ["cat", "bus"], SMALL, saliency=picture[1])


@pytest.fixture(params=[*CALLS, "report"])
def call(request, golden_segmenter, tmp_path):
    """Something that reads a run, as a function of the run; nothing may be left in its folder."""
    if request.param == "report":
        yield lambda run: lab.report(run, tmp_path / "page.html")
    else:
        yield lambda run: CALLS[request.param](run, golden_segmenter)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("thing", [None, "run.nc", 3, xr.Dataset({"fused": ("y", [1.0])})], ids=repr)
def test_what_is_no_run(call, thing):
    with pytest.raises(errors.RunError, match=r"expected a run \(xarray.DataTree\), got"):
        call(thing)


def test_a_run_that_was_only_encoded_says_which_stage_is_missing_and_how_to_get_it(call, golden_segmenter, picture):
    with pytest.raises(errors.RunError, match=r"the run has no stage '\w+'; segment the image with labels"):
        call(golden_segmenter.encode(picture[0], SMALL))


@pytest.mark.parametrize("stage", ["fused", "merged", "saliency", "grids/s008/similarity"])
def test_nan_in_a_stage_is_named(call, run, stage):
    broken = run.copy(deep=True)
    broken[stage].values.flat[7] = np.nan
    with pytest.raises(errors.RunError, match=f"{stage}' holds NaN or infinite values; segment the image again"):
        call(broken)


def test_runs_of_other_images_frames_or_configurations_are_not_compared(golden_segmenter, run, picture):
    for other, says in (
        (golden_segmenter.segment(255 - picture[0], ["cat"], SMALL, saliency=picture[1]), "image_sha256"),
        (lab.recombine(run, saliency_weight=0.5), "saliency_weight"),
        (
            golden_segmenter.segment(
                picture[0], ["cat", "bus"], SMALL.replace(image_size=(16, 16)), saliency=picture[1]
            ),
            "image_size",
        ),
    ):
        with pytest.raises(errors.RunError, match=says):
            lab.explain.label_changed(run, other)
    with pytest.raises(errors.RunError, match="image_size"):
        lab.explain.label_changed(run, other, differing=["image_size"])


def test_a_report_with_the_text_encoder_of_another_model(run, tmp_path, counting_encoder):
    with pytest.raises(errors.RunError, match=r"other weights .* give the segmenter that made the run, or segment"):
        lab.report(run, tmp_path / "page.html", segmenter=lab.Segmenter(counting_encoder))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.png", "--labels", "car"], "missing.png"),
        (["photo.png", "--labels", "car,car"], "car"),
        (["photo.png", "--labels", "car", "--html", "nowhere/page.html"], "nowhere"),
        (["photo.png", "--labels", "car", "--config", "none.json"], "none.json"),
    ],
)
def test_the_command_says_one_sentence_and_writes_nothing(picture, tmp_path, monkeypatch, capsys, arguments, says):
    from PIL import Image

    Image.fromarray(picture[0]).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["clipdiy-lab", "explain", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert says in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
