"""Figures as a browser draws them: no text leaves its figure, none lies on another, none on a picture or a button."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.offline
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.views import figures

WIDTHS = {"screen": None, "one column": 1, "two columns": 2}
# Boxes of all texts of a figure that can be seen, by what they are; those of its pictures, its buttons and itself.
MEASURE = """figure => {
  const within = figure.querySelector('.main-svg').getBoundingClientRect();
  const box = node => { const b = node.getBoundingClientRect();
    return [b.left - within.left, b.top - within.top, b.right - within.left, b.bottom - within.top]; };
  const all = css => [...figure.querySelectorAll(css)].filter(n => n.getBoundingClientRect().width > 0);
  const written = css => all(css).map(n => ({text: n.textContent, box: box(n)}));
  return {
    size: [within.width, within.height], tools: all('.modebar-btn').map(n => n.dataset.title),
    title: written('.gtitle'), panels: written('.annotation-text'), legend: written('.legendtext'),
    rows: written('.ytick text'), columns: written('.xtick text'),
    axes: written('.xtitle, .ytitle'), bar: written('.cbcoloraxis text'),
    pictures: all('.imagelayer image').map(n => ({text: 'a picture', box: box(n)})),
    buttons: all('.modebar-group').map(n => ({text: 'buttons', box: box(n)})),
  }; }"""
TEXTS = ("title", "panels", "legend", "rows", "columns", "axes", "bar")


@pytest.fixture(scope="module")
def shown():
    """A figure of every kind: wide photographs, long names, twenty labels, several grids."""
    segmenter, scenes = lab.load("tiny"), lab.open_dataset("scenes", split="val")
    config = lab.Config.paper().replace(saliency_weight=0.4)
    wide, tall = (segmenter.segment(scenes[place].image, scenes.label_names, config) for place in (3, 6))
    masks = {"wide": scenes[3].mask, "tall": scenes[6].mask}
    grid = {"scales": [(256,), (64,), (256, 128, 64)], "saliency_weight": [0.0, 0.5, 1.0]}
    sweep = lab.sweep(segmenter, scenes, grid, limit=3)
    result = lab.evaluate(segmenter, scenes, config, limit=3)
    scores = pd.DataFrame({"image_id": ["wide", "tall"], "image_miou_percent": [10.0, 90.0]})
    return {
        "overview": figures.overview(wide, "bird"),
        "merged": figures.merged(tall),
        "grids": figures.grids(wide, "tv/monitor"),
        "similarity": figures.similarity(wide, "bird"),
        "flip change": figures.explanation(wide, "flip_change"),
        "grid shapley": figures.explanation(wide, "grid_shapley"),
        "overlay": figures.overlay(wide),
        "comparison": figures.comparison({"the paper": [wide], "a way with a long name": [wide]}),
        "worst and best": figures.worst_and_best(scores, {"wide": wide, "tall": tall}, 1, truth=masks,
                                                 names=scenes.label_names),
        "contributions": figures.contributions(lab.explain.pixel(wide, y=90, x=200)),
        "bars": figures.miou_bars(sweep),
        "heat": figures.sweep_heat(sweep, "saliency_weight", "scales"),
        "line": figures.sweep_line(sweep, "saliency_weight", by="scales"),
        "cost": figures.cost(sweep),
        "confusion": figures.confusion(result),
        "confusion of 150": figures.confusion(of_many_labels(150)),
        "dumbbells": figures.dumbbells(result, result, ("as it is", "as it is too")),
        "trimap": figures.trimap(result, result, names=["one", "another"]),
    }  # fmt: skip


def of_many_labels(count):
    names = [f"label number {place}" for place in range(count)]
    pixels = np.random.default_rng(0).integers(0, 1000, (count, count))
    return xr.Dataset({"confusion": (("true_label", "label"), pixels)}, {"true_label": names, "label": names})


@pytest.fixture(scope="module")
def measured(shown, chromium):
    """Boxes of all figures at all widths, drawn on one page."""
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    page.set_content("<body style='margin:0'></body>")
    page.add_script_tag(content=plotly.offline.get_plotlyjs())
    found = {}
    for name, figure in shown.items():
        for width, columns in WIDTHS.items():
            made = figure if columns is None else figures.at_column_width(figure, columns)
            drawn = page.evaluate_handle(
                """async ([figure, buttons]) => { const node = document.body.appendChild(document.createElement('div'));
                await Plotly.newPlot(node, figure.data, figure.layout, {displayModeBar: buttons}); return node; }""",
                [json.loads(made.to_json()), columns is None],
            )
            found[name, width] = page.evaluate(MEASURE, drawn)
    yield found
    page.close()


def overlap(one, other):
    """By how many pixels two boxes lie on each other, in the direction where it is less."""
    across, down = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    return min(across, down)


def collisions(ones, others, least):
    return [
        (one["text"], other["text"])
        for one in ones
        for other in others
        if one is not other and overlap(one["box"], other["box"]) > least
    ]


def test_no_text_leaves_its_figure(measured):
    for key, boxes in measured.items():
        wide, tall = boxes["size"]
        for kind in TEXTS:
            for one in boxes[kind]:
                left, top, right, bottom = one["box"]
                assert left > -1, (key, one)
                assert top > -1, (key, one)
                assert right < wide + 1, (key, one)
                assert bottom < tall + 1, (key, one)


def test_no_text_lies_on_another_or_on_a_picture(measured):
    """Boxes of lines hold room above and below the letters, so two or three pixels of overlap are none of letters."""
    for key, boxes in measured.items():
        heads = [*boxes["title"], *boxes["panels"]]
        assert not collisions(heads, [*heads, *boxes["legend"]], 3), key
        assert not collisions(heads, boxes["pictures"], 3), key
        assert not collisions(boxes["legend"], [*boxes["legend"], *boxes["rows"], *boxes["pictures"]], 3), key
        assert not collisions(boxes["axes"], [one for kind in TEXTS if kind != "axes" for one in boxes[kind]], 3), key
        for kind in ("rows", "columns"):
            assert not collisions(boxes[kind], boxes[kind], 4), key
        assert not collisions(boxes["bar"], [*boxes["pictures"], *boxes["columns"], *boxes["bar"]], 4), key


def test_the_buttons_hide_no_title_and_send_nothing_away(measured):
    for (name, width), boxes in measured.items():
        if width == "screen":
            assert [tool.partition(" ")[0] for tool in boxes["tools"]] == [
                "Download", "Zoom", "Pan", "Reset", "Produced",
            ]  # fmt: skip
            assert not collisions(boxes["title"], boxes["buttons"], 0), name


def test_a_figure_fits_an_output_of_jupyterlab_beside_its_sidebar(shown):
    assert max(figure.layout.width for figure in shown.values()) <= 880


def test_a_picture_is_as_wide_as_it_is_high_in_the_image(measured, shown):
    wide, tall = (shown[name].layout.meta["pictures"]["aspects"][0] for name in ("overlay", "merged"))
    assert wide < 0.6 < 1.4 < tall
    for name, aspect in (("overlay", wide), ("overview", wide), ("worst and best", None)):
        for width in WIDTHS:
            for picture in measured[name, width]["pictures"]:
                left, top, right, bottom = picture["box"]
                share = (bottom - top) / (right - left)
                assert min(abs(share - known) for known in ([aspect] if aspect else [wide, tall])) < 0.02, name


def test_fixed_sizes_leave_a_figure_of_others_as_it_was():
    given = go.Figure(go.Bar(x=[1], y=[2]), {"width": 700, "height": 300})
    made = figures.at_column_width(given, 1)
    assert (made.layout.width, made.layout.height) == (pytest.approx(84 / 25.4 * 96), 300)
