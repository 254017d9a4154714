"""Figures as papers have them: what each panel shows, and that runs of different images are never put side by side."""

import base64
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.views import colors, figures


def pictures(figure):
    return [trace for trace in figure.data if isinstance(trace, go.Image)]


def decoded(trace):
    return np.asarray(Image.open(BytesIO(base64.b64decode(trace.source.split(",", 1)[1]))))


def titles(figure):
    return [note.text for note in figure.layout.annotations]


def legend(figure):
    return {trace.name: trace.marker.color for trace in figure.data if isinstance(trace, go.Scatter)}


@pytest.fixture(scope="module")
def bare(scene_run):
    return lab.recombine(scene_run, saliency_weight=0)


def test_the_overview_shows_the_method_in_its_order(scene_run):
    figure = figures.overview(scene_run, "car")
    assert titles(figure) == ["Image", "256 px", "128 px", "64 px", "Merged", "Saliency", "Fused", "Labels"]
    maps = scene_run["logits"].sel(label="car").values
    shown = dict(zip(titles(figure), pictures(figure), strict=False))
    # One colour range: entry 0 and entry 254 of the palette are used once over all grids and merged, by its ends.
    ends = [(decoded(shown[f"{scale} px"]).min(), decoded(shown[f"{scale} px"]).max()) for scale in (256, 128, 64)]
    lowest, highest = np.argmin(maps.min((1, 2))), np.argmax(maps.max((1, 2)))
    assert ends[lowest][0] == 0
    assert ends[highest][1] == 254
    assert ends[0][0] == ends[0][1], "one window has one value"
    assert f"{maps.min():.2f}" in figure.layout.title.text
    assert f"{maps.max():.2f}" in figure.layout.title.text
    won = {str(scene_run["fused"]["label"].values[i]) for i in np.unique(scene_run["labels"])}
    assert set(legend(figure)) == won


def test_the_overview_takes_the_label_of_most_pixels_and_does_without_saliency(tiny, scenes):
    run = lab.Segmenter(tiny.encoder).segment(scenes[1].image, ["car", "cat"], lab.Config(background="none"))
    figure = figures.overview(run)
    shares = np.bincount(run["labels"].values.ravel(), minlength=2)
    assert figure.layout.title.text.startswith(f"'{['car', 'cat'][shares.argmax()]}'")
    assert "Saliency" not in titles(figure)


def test_an_unknown_label_is_refused(scene_run):
    with pytest.raises(errors.LabelError, match="zebra"):
        figures.overview(scene_run, "zebra")


def test_a_comparison_has_a_row_an_image_and_the_truth_last(scene_run, bare, scenes):
    figure = figures.comparison({"without": [bare], "with": [scene_run]}, [scenes[1].mask], scenes.label_names)
    assert titles(figure) == ["Image", "without", "with", "In the mask"]
    layers = [decoded(trace) for trace in pictures(figure)[2::3]]  # photograph, labels and outlines
    assert np.array_equal(layers[0], bare["labels"].values)
    assert np.array_equal(layers[1], scene_run["labels"].values)
    # The frame squashes: the truth's shares stay.
    mask, true = scenes[1].mask, layers[2]
    assert true.shape == (256, 256)
    for label in np.unique(mask):
        assert (true == label).mean() == pytest.approx((mask == label).mean(), abs=0.01)


def test_a_label_has_its_colour_in_every_column(scene_run, tiny, scenes):
    other = tiny.segment(scenes[1].image, ["sofa", "car"], lab.Config.paper())
    figure = figures.comparison({"few": [other], "many": [scene_run]})
    expected = colors.label_css(["background", "car"])
    assert legend(figure)["car"] == expected["car"]


def test_ignored_pixels_have_a_name_of_their_own(scene_run, scenes):
    mask = scenes[1].mask.copy()
    mask[:20] = 255
    assert "ignored" in legend(figures.comparison({"run": [scene_run]}, [mask], scenes.label_names))
    assert "ignored" not in legend(figures.comparison({"run": [scene_run]}, [scenes[1].mask], scenes.label_names))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda run, other: figures.comparison({}), "at least one column"),
        (lambda run, other: figures.comparison({"a": [run], "b": [run, run]}), "'b': 2"),
        (lambda run, other: figures.comparison({"a": [run], "b": [other]}), "row 0 are of different images"),
        (lambda run, other: figures.comparison({"a": [run]}, []), "0 masks for 1 images"),
        (lambda run, other: figures.comparison({"a": [run]}, [np.full((9, 9), 7, np.uint8)], ["x"]), "holds 7"),
    ],
)
def test_what_does_not_belong_together_is_refused(scene_run, tiny, scenes, make, what):
    other = tiny.segment(scenes[0].image, ["car"])
    with pytest.raises(errors.FigureError, match=what):
        make(scene_run, other)


def test_a_long_legend_is_not_cut_at_the_edge_of_one_row_of_pictures(scene_run):
    figure = figures.comparison(
        {"run": [scene_run]}, [np.arange(20, dtype=np.uint8)[None]], [f"x{i}" for i in range(20)]
    )
    rows = len(legend(figure))
    assert rows > 20
    assert figure.layout.legend.maxheight > 19 * rows
