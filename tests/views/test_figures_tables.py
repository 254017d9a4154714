"""Figures of tables: explanations, sweeps, results label by label, images; all from real runs of `tiny` on `scenes`."""

import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.views import colors, figures

PIXEL = (110, 130)
SCENES = 2
PUBLISHED = pd.DataFrame(
    {
        "method": ["CLIP-DIY", "other"],
        "dataset": ["VOC21", "VOC21"],
        "miou_percent": [59.9, 38.8],
        "source": ["arXiv 2309.14289", "a table"],
    }
)


@pytest.fixture(scope="module")
def parts(scene_run):
    """One row per window and label of a pixel, taken apart here by the weights that the plan gives."""
    config = lab.Config.from_json(scene_run.attrs["config"])
    rows = []
    for grid in lab.Plan.of(config):
        down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
        similarity = scene_run[f"grids/{grid.name}/similarity"]
        for row, col in zip(*np.nonzero(np.outer(down[PIXEL[0]], across[PIXEL[1]])), strict=True):
            for label in similarity["label"].values:
                cosine = float(similarity.sel(label=label)[row, col])
                factor = float(scene_run["guide"].sel(label=label)[PIXEL])
                weight = down[PIXEL[0], row] * across[PIXEL[1], col] / len(config.scales)
                where = {
                    "grid": grid.name,
                    "window": grid.window,
                    "label": str(label),
                    "top": grid.tops[row],
                    "left": grid.lefts[col],
                }
                rows.append(where | {"cosine": cosine, "contribution": weight * factor * cosine})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def per_image(results):
    return lab.results.image_scores(results[1])


# ------------------------------------------------------------------------------------------------------- a pixel's why


def test_the_bars_of_a_label_sum_to_its_score(scene_run, parts):
    figure = figures.contributions(parts)
    bars = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    assert [bar.name for bar in bars] == ["256 px", "128 px", "64 px"]
    fused = scene_run["fused"][:, *PIXEL].to_series().to_dict()
    best = sorted(fused, key=fused.get, reverse=True)[:12]
    assert list(bars[0].y) == best
    np.testing.assert_allclose(np.sum([bar.x for bar in bars], axis=0), [fused[name] for name in best], atol=1e-5)
    assert list(bars[0].marker.color) == [colors.label_css(best)[name] for name in best]
    assert bars[0].marker.opacity > bars[2].marker.opacity
    assert "8 lower labels left out" in figure.layout.title.text
    assert len(figure.to_json()) < 20_000


def test_hover_lists_the_windows_of_a_bar(parts):
    bar = next(trace for trace in figures.contributions(parts).data if trace.name == "64 px")
    lines = bar.customdata[0].split("<br>")[1:]
    assert 1 <= len(lines) <= 4
    assert all(re.fullmatch(r"rows \d+ to \d+, columns \d+ to \d+: -?[\d.]+, cosine -?[\d.]+", line) for line in lines)
    plain = figures.contributions(parts[["grid", "label", "contribution"]])
    assert set(plain.data[0].customdata) == {""}


# --------------------------------------------------------------------------------------------------------------- sweeps


def test_bars_of_a_sweep_beside_published_values(sweep_table):
    names = [f"row {i}" for i in range(6)]
    figure = figures.miou_bars(sweep_table, names, PUBLISHED)
    ours, theirs = (trace for trace in figure.data if isinstance(trace, go.Bar))
    np.testing.assert_allclose(ours.x, sweep_table["miou_percent"])
    assert list(ours.y) == names
    assert list(theirs.x) == [59.9, 38.8]
    assert list(theirs.y) == ["CLIP-DIY (published)", "other (published)"]
    assert theirs.customdata[0] == "arXiv 2309.14289"
    assert "%{customdata}" in theirs.hovertemplate
    assert len(figure.to_json()) < 8_000
    assert not figures.miou_bars(sweep_table, names).layout.showlegend


def test_intervals_are_drawn_and_numbers_stand_behind_them(sweep_table):
    table = sweep_table.assign(
        miou_low_percent=sweep_table.miou_percent - 2, miou_high_percent=sweep_table.miou_percent + 3
    )
    bars, numbers = figures.miou_bars(table).data
    np.testing.assert_allclose(bars.error_x.array, 3)
    np.testing.assert_allclose(bars.error_x.arrayminus, 2)
    np.testing.assert_allclose(numbers.x, bars.x + 3)
    line = figures.sweep_line(table[table.scales == (256,)], "saliency_weight").data[0]
    np.testing.assert_allclose(line.error_y.array, 3)


def test_two_knobs_as_a_heat_map(sweep_table):
    figure = figures.sweep_heat(sweep_table.drop(index=3), x="saliency_weight", y="scales")
    (trace,) = figure.data
    assert list(trace.x) == ["0", "0.5", "1"]
    assert list(trace.y) == ["256", "256+128+64"]
    expected = sweep_table["miou_percent"].to_numpy().reshape(2, 3)
    assert np.isnan(trace.z[1][0])
    np.testing.assert_allclose(np.delete(trace.z, 3), np.delete(expected, 3))
    assert len(figure.to_json()) < 5_000


def test_one_knob_as_lines(sweep_table):
    figure = figures.sweep_line(sweep_table.iloc[::-1], "saliency_weight", by="scales")
    assert [trace.name for trace in figure.data] == ["scales 256+128+64", "scales 256"]
    np.testing.assert_allclose(figure.data[0].x, [0, 0.5, 1], atol=0.02)
    assert list(figure.data[0].customdata) == ["0", "0.5", "1"]
    assert set(figure.data[0].x).isdisjoint(figure.data[1].x), "or an interval would hide another"
    assert figure.layout.xaxis.title.text == "saliency weight"
    assert figure.layout.xaxis.type == "linear"
    assert len({(t.line.color, t.line.dash, t.marker.symbol) for t in figure.data}) == 2
    worded = figures.sweep_line(sweep_table[sweep_table.saliency_weight == 1], "scales")
    assert worded.layout.xaxis.type == "category"
    assert list(worded.data[0].x) == ["256", "256+128+64"]


def test_cost_against_quality_names_what_nothing_beats(sweep_table):
    table = sweep_table.assign(seconds=[3.0, 2.0, 1.0, 6.0, 5.0, 4.0])
    names = [f"row {i}" for i in range(6)]
    front, *points = figures.cost(table, "seconds", names=names).data
    scores = table["miou_percent"].to_numpy()
    unbeaten = [
        i for i in range(6)
        if not any(scores[j] >= scores[i] and table.seconds[j] < table.seconds[i] for j in range(6))
    ]  # fmt: skip
    assert sorted(front.x) == sorted(table.seconds[unbeaten])
    assert [trace.name for trace in points] == [*(names[i] for i in np.argsort(table.seconds) if i in unbeaten),
                                                "beaten by another"]  # fmt: skip
    assert sorted(name for trace in points for name in trace.customdata) == names


def test_the_cost_of_a_sweep_is_what_the_network_reads(sweep_table):
    figure = figures.cost(sweep_table)
    assert {cost for trace in figure.data[1:] for cost in trace.x} == {1, 59}
    assert "windows" in figure.layout.xaxis.title.text
    with pytest.raises(errors.FigureError, match="all rows have the same seconds"):
        figures.cost(sweep_table.assign(seconds=0.5), "seconds")


def test_rows_of_a_sweep_are_named_by_what_varies(sweep_table):
    names = list(figures.miou_bars(sweep_table).data[0].y)
    assert names[0] == "scales 256, saliency weight 0"
    assert names[-1] == "scales 256+128+64, saliency weight 1"
    assert list(figures.miou_bars(sweep_table.head(3)).data[0].y) == [f"saliency weight {w}" for w in ("0", "0.5", "1")]


# ------------------------------------------------------------------------------------------------------- label by label


def test_dumbbells_join_two_results(results):
    before, after = results
    figure = figures.dumbbells(before, after, ("no saliency", "paper"))
    lines = [trace for trace in figure.data if trace.x[0] is not None]
    known = (before["iou"] + after["iou"]).dropna("label")
    assert {line.name for line in lines} == set(known["label"].values)
    for line in lines:
        np.testing.assert_allclose(line.x, [float(one["iou"].sel(label=line.name)) * 100 for one in results])
        assert line.line.color == colors.label_css(list(known["label"].values))[line.name]
    gains = [line.x[1] - line.x[0] for line in lines]
    assert gains == sorted(gains, reverse=True)
    assert [trace.name for trace in figure.data[-2:]] == ["no saliency", "paper"]


def test_confusion_rows_sum_to_a_hundred(results):
    (trace,) = figures.confusion(results[1]).data
    counts = results[1]["confusion"].values
    seen = counts.sum(1) > 0
    np.testing.assert_allclose(np.asarray(trace.z)[seen].sum(1), 100, rtol=1e-5)
    assert np.isnan(np.asarray(trace.z)[~seen]).all()
    np.testing.assert_array_equal(trace.customdata, counts)
    assert list(trace.y) == list(results[1]["true_label"].values)
    assert len(figures.confusion(results[1]).to_json()) < 15_000


# --------------------------------------------------------------------------------------------------------------- images


def test_the_worst_and_the_best_images(per_image, scenes, scene_run):
    asked = []

    def show(image_id):
        asked.append(image_id)
        return scene_run if image_id == scenes[1].id else scenes[int(image_id[-6:])].image

    figure = figures.worst_and_best(per_image, show, count=1)
    ranked = per_image.sort_values("image_miou_percent")
    assert asked == [ranked.image_id.iloc[0], ranked.image_id.iloc[-1]]
    assert [a.text for a in figure.layout.annotations] == [
        f"{row.image_id}: {row.image_miou_percent:.1f} %" for row in (ranked.iloc[0], ranked.iloc[-1])
    ]
    every = figures.worst_and_best(per_image.set_index("image_id"), show, count=9)
    assert len(every.layout.annotations) == len(per_image)
    assert len(every.to_json()) < 60_000 * len(per_image)
    assert any(trace.name == "car" for trace in every.data)


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("column", ["grid", "label", "contribution"])
def test_contributions_without_a_column(parts, column):
    with pytest.raises(errors.FigureError, match=f"lacks the column '{column}'"):
        figures.contributions(parts.drop(columns=column))


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (lambda t: figures.miou_bars(t.drop(columns="miou_percent")), "miou_percent"),
        (lambda t: figures.miou_bars(t, published=PUBLISHED.drop(columns="source")), "source"),
        (lambda t: figures.sweep_heat(t, "scale", "saliency_weight"), "scale"),
        (lambda t: figures.sweep_line(t, "saliency_weight", by="strid"), "strid"),
        (lambda t: figures.cost(t, "crops"), "crops"),
        (lambda t: figures.worst_and_best(t, {}), "image_id"),
    ],
)
def test_a_missing_column_is_named(sweep_table, make, column):
    with pytest.raises(errors.FigureError, match=f"lacks the column '{column}'"):
        make(sweep_table)


def test_rows_that_would_hide_each_other(sweep_table):
    with pytest.raises(errors.FigureError, match="saliency_weight vary too"):
        figures.sweep_line(sweep_table, "scales")
    with pytest.raises(errors.FigureError, match="vary too"):
        figures.sweep_heat(sweep_table, "stride", "align_corners")
    with pytest.raises(errors.FigureError, match="same name"):
        figures.miou_bars(sweep_table, ["a"] * 6)
    with pytest.raises(errors.FigureError, match="2 names for 6 rows"):
        figures.miou_bars(sweep_table, ["a", "b"])
    with pytest.raises(errors.FigureError, match="same method and dataset"):
        figures.miou_bars(sweep_table, published=pd.concat([PUBLISHED, PUBLISHED]))


def test_tables_that_are_none(sweep_table, parts):
    with pytest.raises(errors.FigureError, match="no rows"):
        figures.miou_bars(sweep_table.iloc[:0])
    with pytest.raises(errors.FigureError, match="got list"):
        figures.miou_bars([1, 2])
    with pytest.raises(errors.FigureError, match="expected numbers"):
        figures.contributions(parts.assign(contribution="much"))


def test_results_that_are_none(results):
    with pytest.raises(errors.FigureError, match=r"got DataFrame"):
        figures.confusion(pd.DataFrame())
    with pytest.raises(errors.FigureError, match=r"lacks 'confusion'\. Known: 'iou'"):
        figures.confusion(results[0][["iou"]])
    with pytest.raises(errors.FigureError, match="expected 'true_label' among them"):
        figures.confusion(results[0].sum("true_label"))
    with pytest.raises(errors.FigureError, match="share no label"):
        figures.dumbbells(results[0], xr.Dataset({"iou": ("label", [0.5])}, {"label": ["gnu"]}))


def test_pictures_that_are_none(per_image):
    with pytest.raises(errors.FigureError, match="there is no picture of"):
        figures.worst_and_best(per_image, {})
    with pytest.raises(errors.FigureError, match="expected height x width x 3 uint8"):
        figures.worst_and_best(per_image, lambda _: np.zeros((3, 3)))
    with pytest.raises(errors.FigureError, match="nothing to show"):
        figures.worst_and_best(per_image.assign(image_miou_percent=np.nan), {})


# ------------------------------------------------------------------------------------------------ where the mIoU goes


def test_the_error_budget_fills_every_bar(tiny, scenes):
    budget = lab.explain.error_budget(tiny, scenes, limit=SCENES)
    figure = figures.error_budget(budget)
    names = list(figure.data[0].y)
    assert [trace.name for trace in figure.data] == [
        "IoU", "boundary", "saliency miss", "false foreground", "grid", "confusion",
    ]  # fmt: skip
    assert names[0] == "all labels"
    assert figure.data[0].x[0] == pytest.approx(100 * float(budget["miou"].sel(ingredient="as_is")))
    np.testing.assert_allclose(np.sum([trace.x for trace in figure.data], axis=0), 100)
    seen = budget["iou"].sel(ingredient="as_is").dropna("label")
    assert sorted(names[1:]) == sorted(seen["label"].values)
    assert list(figure.data[0].x[1:]) == sorted(figure.data[0].x[1:])
    with pytest.raises(errors.FigureError, match="lacks 'lost_iou'"):
        figures.error_budget(budget.drop_vars("lost_iou"))
