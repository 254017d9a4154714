"""Figures of stages say what the arrays say: traces, colours, ranges, hover and weight; never pixels of a screen."""

import base64
import html
import json
import re
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.views import colors, figures

ALL = {
    "image": (figures.image, 40_000),
    "windows of a grid": (lambda run: figures.image(run, "s064"), 50_000),
    "windows": (lambda run: figures.windows(run, 64, "car"), 8_000),
    "similarity": (lambda run: figures.similarity(run, "car"), 12_000),
    "grids": (lambda run: figures.grids(run, "car"), 100_000),
    "merged": (figures.merged, 220_000),
    "guide": (figures.guide, 180_000),
    "fused": (figures.fused, 220_000),
    "probability": (figures.probability, 240_000),
    "saliency": (figures.saliency, 30_000),
    "margin": (figures.margin, 45_000),
    "guided": (lambda run: figures.guided(run, "car"), 90_000),
    "overlay": (figures.overlay, 60_000),
}


def picture(trace):
    kind, data = re.fullmatch(r"data:image/(png|webp);base64,(.+)", trace.source).groups()
    made = Image.open(BytesIO(base64.b64decode(data)))
    assert made.format == kind.upper()
    return made


def of(figure, kind):
    return [trace for trace in figure.data if isinstance(trace, kind)]


@pytest.mark.parametrize("name", ALL)
def test_a_figure_weighs_little_and_holds_no_long_list(scene_run, name):
    make, bound = ALL[name]
    text = make(scene_run).to_json()
    assert len(text) < bound
    assert max(map(len, re.findall(r"\[[-0-9.,e\s]*\]", text)), default=0) < 6_000


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("columns", [None, 1, 2])
def test_panels_have_the_aspect_of_the_image_and_not_of_the_frame(scene_run, name, columns):
    figure = ALL[name][0](scene_run)
    figure = figure if columns is None else figures.at_column_width(figure, columns)
    tall, wide = scene_run["labels_full"].shape
    axes = [axis for axis in figure.select_xaxes() if axis.range]
    margin = figure.layout.margin
    for axis, down in zip(axes, figure.select_yaxes(), strict=True):
        width = (axis.domain[1] - axis.domain[0]) * (figure.layout.width - margin.l - margin.r)
        height = (down.domain[1] - down.domain[0]) * (figure.layout.height - margin.t - margin.b)
        assert height / width == pytest.approx(tall / wide, rel=1e-3)
        # And it keeps it while one zooms.
        shape = (down.range[0] - down.range[1]) / (axis.range[1] - axis.range[0])
        assert down.scaleratio * shape == pytest.approx(tall / wide)


def test_the_image_is_the_image(scene_run):
    (trace,) = figures.image(scene_run).data
    shown = np.asarray(picture(trace).convert("RGB")).astype(int)
    assert np.abs(shown - scene_run["image"].values).mean() < 4
    assert "row %{y}" in trace.hovertemplate


def test_the_windows_of_a_grid_are_all_there(scene_run):
    figure = figures.image(scene_run, 64)
    lines, first, centres = of(figure, go.Scatter)
    boxes = np.array([v for v in lines.x if v is not None], dtype=float).reshape(-1, 5)
    assert len(boxes) == len(centres.x) == 49
    assert set(np.ptp(boxes, axis=1)) == {64.0}
    assert list(first.x) == list(lines.x[:5])
    assert centres.text[8] == "rows 32 to 95, columns 32 to 95"
    assert (centres.x[8], centres.y[8]) == (63.5, 63.5)


def test_grids_share_one_colour_range(scene_run):
    figure = figures.grids(scene_run, "car")
    maps = [*scene_run["logits"].sel(label="car").values, scene_run["merged"].sel(label="car").values]
    axis = figure.layout.coloraxis
    assert axis.cmin == pytest.approx(min(m.min() for m in maps))
    assert axis.cmax == pytest.approx(max(m.max() for m in maps))
    assert [a.text for a in figure.layout.annotations] == ["256 px", "128 px", "64 px", "Merged"]
    for trace, values in zip(of(figure, go.Image), maps, strict=True):
        levels = np.asarray(picture(trace)).astype(float)
        np.testing.assert_allclose(axis.cmin + levels / 254 * (axis.cmax - axis.cmin), values, atol=1e-3)


def test_hover_gives_the_value_of_the_very_pixel(scene_run):
    saliency = scene_run["saliency"].values
    (hover,) = of(figures.saliency(scene_run), go.Heatmap)
    np.testing.assert_array_equal(hover.z, saliency[np.ix_(hover.y, hover.x)])
    assert hover.opacity == 0
    assert "foreground probability %{z" in hover.hovertemplate
    assert len(hover.x) == len(hover.y) == 32


def test_window_grids_carry_cosines_and_boxes(scene_run):
    (trace,) = figures.windows(scene_run, 64, "cat").data
    np.testing.assert_allclose(trace.z, scene_run["grids/s064/similarity"].sel(label="cat"), rtol=1e-6)
    assert trace.text[1][2] == "rows 32 to 95, columns 64 to 127"
    assert "cosine %{z" in trace.hovertemplate
    together = figures.similarity(scene_run, "cat")
    assert [np.shape(one.z) for one in together.data] == [(1, 1), (3, 3), (7, 7)]
    assert {one.coloraxis for one in together.data} == {"coloraxis"}


def test_guided_says_each_range(scene_run):
    titles = [a.text for a in figures.guided(scene_run, "car").layout.annotations]
    merged = scene_run["merged"].sel(label="car").values
    assert titles[0] == f"Merged: {round(float(merged.min()), 2)} to {round(float(merged.max()), 2)}"
    assert figures.guided(scene_run, "car").layout.coloraxis.showscale is False


def test_label_maps_show_what_won_first(scene_run):
    won = {str(scene_run["label"].values[i]) for i in np.unique(scene_run["labels"])}
    titles = {a.text for a in figures.merged(scene_run).layout.annotations}
    assert len(titles) == 8
    assert won <= titles or titles <= won
    assert [a.text for a in figures.fused(scene_run, ["sofa", "car"]).layout.annotations] == ["sofa", "car"]


@pytest.mark.parametrize("given", ["car", None, 1.2, -0.1, float("nan"), True])
def test_an_opacity_is_a_share(scene_run, given):
    with pytest.raises(errors.FigureError, match=f"opacity is {given!r}; expected a number from 0 to 1"):
        figures.overlay(scene_run, given)


def test_the_overlay_has_label_colours_hover_and_a_legend_of_what_won(scene_run):
    figure = figures.overlay(scene_run, opacity=0.3)
    names = [str(name) for name in scene_run["label"].values]
    labels = scene_run["labels"].values
    won = [names[i] for i in np.unique(labels)]
    keys = {trace.name: trace.marker.color for trace in of(figure, go.Scatter)}
    assert keys == {name: colors.label_css(names)[name] for name in won}
    _, layer, outline = of(figure, go.Image)
    assert layer.opacity == 0.3
    assert outline.opacity > 0.5
    drawn = np.asarray(picture(outline).convert("RGBA"))
    beside = np.zeros(labels.shape, bool)
    beside[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    beside[1:] |= labels[1:] != labels[:-1]
    np.testing.assert_array_equal(drawn[..., 3] > 0, beside)
    assert drawn[beside][:, :3].max() < 128, "dark beside any label"
    rgba = np.asarray(picture(layer).convert("RGBA"))
    np.testing.assert_array_equal(rgba[..., :3], colors.label_colors(names)[labels])
    np.testing.assert_array_equal(rgba[..., 3] == 0, labels == names.index("background"))
    (hover,) = of(figure, go.Heatmap)
    assert hover.text[3][5] == names[labels[hover.y[3], hover.x[5]]]


def test_the_same_label_has_the_same_colour_under_other_labels(tiny, scenes):
    few = tiny.segment(scenes[1].image, ["tv/monitor", "car"], lab.Config.paper())
    many = tiny.segment(scenes[1].image, scenes.label_names, lab.Config.paper())
    first, second = ({t.name: t.marker.color for t in of(figures.overlay(run), go.Scatter)} for run in (few, many))
    assert first["car"] == second["car"]
    assert first["background"] == second["background"] == colors.css(colors.BACKGROUND)


def test_twenty_five_labels_fit_the_legend():
    names = [f"thing number {i}" for i in range(25)]
    run = xr.Dataset(
        {
            "image": (("y", "x", "channel"), np.zeros((50, 50, 3), np.uint8)),
            "fused": (("label", "y", "x"), np.zeros((25, 50, 50), np.float32)),
            "labels": (("y", "x"), np.arange(2500, dtype=np.int16).reshape(50, 50) % 25),
        },
        {"label": names},
        {"background_index": -1},
    )
    figure = figures.overlay(run)
    keys = of(figure, go.Scatter)
    assert len({key.marker.color for key in keys}) == 25
    assert figure.layout.height > 21 * 25
    assert figure.layout.margin.r > 8 * len(names[-1])


def test_labels_are_text_and_not_markup(golden_segmenter):
    label = "<b>bold & bad</b>"
    run = golden_segmenter.segment(np.zeros((64, 64, 3), np.uint8), [label], lab.Config(background="none"))
    figure = figures.overlay(run)
    assert of(figure, go.Scatter)[0].name == html.escape(label)
    assert "<b>" not in figures.merged(run, [label]).layout.annotations[0].text


def test_maps_of_ones_own(scene_run):
    lead = scene_run["logits"].sel(label="car", drop=True) - scene_run["logits"].sel(label="cat", drop=True)
    lead.attrs = {"long_name": "lead of the car", "units": "cosine"}
    figure = figures.pixel_map(lead)
    axis = figure.layout.coloraxis
    assert figure.layout.title.text == "lead of the car"
    assert axis.colorbar.title.text == "cosine"
    assert axis.cmin == -axis.cmax
    assert axis.cmax == pytest.approx(float(np.abs(lead).max()))
    assert [a.text for a in figure.layout.annotations] == ["256 px", "128 px", "64 px"]
    assert len(figure.to_json()) < 80_000


def test_a_map_of_one_value_has_the_colour_that_the_bar_gives_it(scene_run):
    value = scene_run["grids/s256/similarity"].sel(label="car").item()
    axis = figures.windows(scene_run, 256, "car").layout.coloraxis
    assert axis.cmin < value < axis.cmax
    figure = figures.pixel_map(scene_run["logits"].sel(grid="s256", label="car", drop=True))
    (layer,) = of(figure, go.Image)
    axis = figure.layout.coloraxis
    levels = np.asarray(picture(layer)).astype(float)
    np.testing.assert_allclose(axis.cmin + levels / 254 * (axis.cmax - axis.cmin), value, atol=1e-3)


def test_pixels_without_a_value_are_clear_and_silent(scene_run):
    flip = scene_run["saliency"].where(scene_run["saliency"] > 0.5)
    figure = figures.pixel_map(flip)
    (layer,), (hover,) = of(figure, go.Image), of(figure, go.Heatmap)
    alpha = np.asarray(picture(layer).convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha == 0, np.isnan(flip.values))
    assert hover.hoverongaps is False
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)  # as saliency has everywhere
    assert figures.pixel_map(flip * np.nan).data


@pytest.mark.parametrize("name", ["light", "dark"])
def test_both_papers_are_legible(scene_run, name):
    figure = figures.theme(figures.grids(scene_run, "car"), name)
    layout = figure.layout.template.layout
    paper, ink, grid = (
        np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) @ [0.2126, 0.7152, 0.0722] / 255
        for c in (layout.paper_bgcolor, layout.font.color, layout.xaxis.gridcolor)
    )
    assert abs(paper - ink) > 0.8
    assert 0.05 < abs(paper - grid) < 0.3
    assert (paper > 0.5) == (name == "light")
    # Nothing in the figure itself fixes a text or paper colour, so the template decides.
    assert figure.layout.font.color is None
    assert figure.layout.paper_bgcolor is None


def test_a_theme_leaves_the_figure_alone(scene_run):
    figure = figures.image(scene_run)
    before = json.loads(figure.to_json())
    assert figures.theme(figure, "dark").layout.template.layout.paper_bgcolor != "#ffffff"
    assert json.loads(figure.to_json()) == before
    with pytest.raises(errors.FigureError, match="expected one of 'light', 'dark'"):
        figures.theme(figure, "sepia")


# ------------------------------------------------------------------------------------------------------------ bad input


def test_an_unknown_label_names_the_nearest(scene_run):
    for make in (figures.grids, figures.guided, figures.similarity, lambda run, label: figures.merged(run, [label])):
        with pytest.raises(errors.LabelError, match="Did you mean 'sofa'"):
            make(scene_run, "sofaa")


def test_a_grid_or_stage_that_is_not_there(scene_run):
    with pytest.raises(errors.RunError, match="no grid 's032'"):
        figures.image(scene_run, 32)
    for name in ("logits", "labels", "similarity", "nothing"):
        with pytest.raises(errors.RunError, match=f"'{name}' is no stage of numbers by pixel"):
            figures.stage(scene_run, name)
    with pytest.raises(errors.RunError, match="no stage 'saliency'"):
        figures.saliency(scene_run.to_dataset().drop_vars("saliency"))


@pytest.mark.parametrize("make", [ALL[name][0] for name in ALL])
def test_figures_of_something_else(make):
    with pytest.raises(errors.RunError):
        make(xr.DataTree(xr.Dataset({"a": 1})))
    with pytest.raises(errors.RunError, match="expected a run"):
        make(np.zeros((4, 4)))


def test_a_stage_with_other_dimensions(scene_run):
    turned = scene_run.to_dataset().rename(y="row_of_pixels")
    with pytest.raises(errors.RunError, match="expected \\('y', 'x', 'channel'\\)"):
        figures.image(turned)


def test_a_map_with_other_dimensions(scene_run):
    with pytest.raises(errors.FigureError, match="dimensions"):
        figures.pixel_map(scene_run["logits"])
    with pytest.raises(errors.FigureError, match="got ndarray"):
        figures.pixel_map(scene_run["margin"].values)
    with pytest.raises(errors.FigureError, match="numbers"):
        figures.pixel_map(scene_run["margin"].astype(str))
