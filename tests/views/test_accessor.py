"""`run.diy`: there as soon as a run can be, delegates, and reads well in a notebook."""

import html
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.views import colors, figures
from clipdiy_lab.views.report import label_table


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("name", ["Segmenter", "open_run"])
def test_the_front_door_brings_the_accessor_and_not_plotly(name):
    code = f"import sys, clipdiy_lab as lab; lab.{name}; import xarray as xr; print(hasattr(xr.DataTree, 'diy'), "
    code += "hasattr(xr.Dataset, 'diy'), 'plotly' in sys.modules)"
    assert in_a_new_process(code) == ["True", "True", "False"]


def test_figures_bring_the_accessor():
    code = "import clipdiy_lab as lab; lab.figures; import xarray as xr; print(hasattr(xr.DataTree, 'diy'))"
    assert in_a_new_process(code) == ["True"]


def test_import_and_configuration_stay_light():
    code = "import sys, clipdiy_lab as lab; lab.Config; "
    code += "print(*({'torch', 'plotly', 'xarray', 'numpy'} & set(sys.modules)))"
    assert in_a_new_process(code) == []


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda run: run.diy.image(), figures.image),
        (lambda run: run.diy.image(64), lambda run: figures.image(run, 64)),
        (lambda run: run.diy.similarity("car"), lambda run: figures.similarity(run, "car")),
        (lambda run: run.diy.grids("car"), lambda run: figures.grids(run, "car")),
        (lambda run: run.diy.merged(["car"]), lambda run: figures.merged(run, ["car"])),
        (lambda run: run.diy.saliency(), figures.saliency),
        (lambda run: run.diy.guided("car"), lambda run: figures.guided(run, "car")),
        (lambda run: run.diy.fused(), figures.fused),
        (lambda run: run.diy.overlay(0.2), lambda run: figures.overlay(run, 0.2)),
        (lambda run: run.diy.margin(), figures.margin),
    ],
)
def test_methods_only_delegate(scene_run, make, expected):
    assert json.loads(make(scene_run).to_json()) == json.loads(expected(scene_run).to_json())


def test_a_runs_root_is_enough_for_what_lies_at_the_root(scene_run):
    root = scene_run.to_dataset()
    assert json.loads(root.diy.overlay().to_json()) == json.loads(scene_run.diy.overlay().to_json())
    assert root.diy._repr_html_() == scene_run.diy._repr_html_()


def test_an_evaluation_has_its_figures(results):
    before, after = results
    assert json.loads(after.diy.confusion().to_json()) == json.loads(figures.confusion(after).to_json())
    assert before.diy.dumbbells(after).to_json() == figures.dumbbells(before, after).to_json()


def test_the_summary_says_what_made_the_run_and_what_it_found(scene_run):
    page = scene_run.diy._repr_html_()
    text = html.unescape(re.sub(r"<[^>]+>", "|", page))
    table = label_table(scene_run)
    for word in ("tiny", "found-tiny, weight 0.4", "256 px (weight 1)", "the paper's but saliency_weight=0.4"):
        assert word in text
    names = [str(name) for name in scene_run["label"].values]
    for name, share in table["share"].items():
        if share > 0:
            assert re.search(rf"{re.escape(colors.label_css(names)[name])}'></span> {html.escape(name)}<", page)
            assert f"{share:.1%}" in text
    assert page.count("data:image/webp;base64,") == 1
    assert len(page) < 60_000
    assert page == scene_run.diy._repr_html_()
    assert not re.search(r"(src|href)='(?!data:)", page)


def test_the_summary_as_plain_text(scene_run):
    lines = repr(scene_run.diy).splitlines()
    assert [line.split()[0] for line in lines] == [
        "image", "encoder", "saliency", "grids", "configuration", "labels",
    ]  # fmt: skip


def test_labels_in_the_summary_are_text(golden_segmenter):
    config = lab.Config(scales=(64, 32), image_size=(64, 96), background="none")
    run = golden_segmenter.segment(np.zeros((64, 96, 3), np.uint8), ["<script>alert(1)</script>"], config)
    assert "<script>" not in run.diy._repr_html_()
    assert "&lt;script&gt;" in run.diy._repr_html_()


@pytest.mark.parametrize("data", [xr.Dataset({"a": 1}), xr.DataTree(xr.Dataset({"a": 1}))])
def test_data_that_is_no_run_is_one_sentence(data):
    assert data.diy._repr_html_().startswith("<p>Not a run of clipdiy_lab")
    assert repr(data.diy).startswith("not a run:")
