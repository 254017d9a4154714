"""Results label by label: two results side by side, and what is taken for what."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.errors import FigureError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.colors import CHANGED, css, label_colors, label_css
from clipdiy_lab.views.figures import inputs, panels
from clipdiy_lab.views.figures.charts import charted
from clipdiy_lab.views.figures.fitting import plain
from clipdiy_lab.views.figures.layout import lay_out
from clipdiy_lab.views.figures.panels import legend_keys
from clipdiy_lab.views.figures.style import ACCENT, OTHER
from clipdiy_lab.views.scales import SEQUENTIAL

TRUTH: Final = "true_label"
_MOST_TEXT = 12
_POINTS: Final = ("difference", "difference_low", "difference_high")


def dumbbells(before: xr.Dataset, after: xr.Dataset, names: tuple[str, str] = ("before", "after")) -> go.Figure:
    """Show the IoU of every label in two results, joined by a line; the largest gain comes first.

    Parameters
    ----------
    before, after : xarray.Dataset
        ``iou (label)``, as `evaluate` gives it. Labels that only one of them scores are left out.
    names : two str
        For the legend.

    Raises
    ------
    FigureError
        If one lacks ``iou`` or they share no scored label.
    """
    first, second = (_percent(one) for one in (before, after))
    both = pd.DataFrame({"before": first, "after": second}).dropna()
    if both.empty:
        raise FigureError("the two results share no label that both score, so there is nothing to compare.")
    both = both.loc[(both["after"] - both["before"]).sort_values(ascending=False, kind="stable").index]
    colors = label_css([str(name) for name in both.index])
    listed = [plain(str(name)) for name in both.index]
    figure = go.Figure()
    for label, color, (was, now) in zip(listed, colors.values(), both.to_numpy(), strict=True):
        figure.add_scatter(
            x=[was, now],
            y=[label, label],
            mode="lines+markers",
            line={"color": color, "width": 4},
            marker={
                "color": color,
                "size": 12,
                "symbol": ["circle-open", "circle"],
                "line": {"width": 2, "color": color},
            },
            cliponaxis=False,
            name=label,
            customdata=[names[0], names[1]],
            hovertemplate=f"%{{y}}, %{{customdata}}: %{{x:.1f}} %<br>difference {now - was:+.1f}<extra></extra>",
            showlegend=False,
        )
    for name, symbol in zip(names, ("circle-open", "circle"), strict=True):
        figure.add_traces(legend_keys([name], [OTHER], symbol))
    # A little room left of zero, so that a marker at zero does not cover the label.
    figure.update_xaxes(title="IoU, %", range=[-2, 1.05 * max(float(both.to_numpy().max()), 1)])
    figure.update_yaxes(autorange="reversed", type="category")
    return charted(figure, "IoU of each label", names=listed)


def differences(comparison: xr.Dataset, most: int = 30) -> go.Figure:
    """Show a comparison by `compare`.

    For results and rows of a sweep: the difference in IoU of every label, and above them that in mIoU, with their
    intervals if known; a filled marker means that the interval excludes zero. For runs: the image, both label maps, and
    where they differ.

    Parameters
    ----------
    comparison : xarray.Dataset
        From `compare`.
    most : int
        Number of labels shown, those with the largest differences.

    Raises
    ------
    FigureError
        If it is not a comparison, or no label has a difference.
    """
    if isinstance(comparison, xr.Dataset) and comparison.attrs.get("kind") == "runs":
        return _changes(comparison)
    given = inputs.variables(comparison, difference=[s.LABEL])
    attrs = comparison.attrs
    points = pd.DataFrame(
        {name: 100.0 * given[name].values if name in given else np.nan for name in _POINTS},
        index=list(s.labels_of(given["difference"])),
    ).dropna(subset=["difference"])
    if points.empty or "miou_difference" not in attrs:
        raise FigureError("the comparison has no label with a difference; make one with lab.compare.")
    kept = points["difference"].abs().sort_values(ascending=False, kind="stable").index[:most]
    points = points.loc[kept].sort_values("difference", ascending=False, kind="stable")
    total = pd.DataFrame([[100.0 * attrs[f"miou_{name}"] for name in _POINTS]], columns=list(_POINTS), index=["mIoU"])
    table = pd.concat([total, points])
    clear = (table["difference_low"] > 0) | (table["difference_high"] < 0)
    first, second = (plain(str(name)) for name in comparison["result"].values)
    listed = [plain(str(name)) for name in table.index]
    figure = go.Figure(
        go.Scatter(
            x=table["difference"],
            y=listed,
            mode="markers",
            error_x={
                "type": "data",
                "array": (table["difference_high"] - table["difference"]).fillna(0),
                "arrayminus": (table["difference"] - table["difference_low"]).fillna(0),
                "color": OTHER,
            },
            marker={"color": ACCENT, "size": 10, "symbol": ["circle" if sure else "circle-open" for sure in clear]},
            hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
        )
    )
    figure.add_vline(0, line={"color": OTHER, "width": 1})
    figure.update_xaxes(title=f"difference in IoU, points ({attrs['protocol']})")
    figure.update_yaxes(autorange="reversed", type="category")
    left_out = f", {len(kept)} of {given.sizes[s.LABEL]} labels" if len(kept) < given.sizes[s.LABEL] else ""
    return charted(figure, f"IoU, {second} minus {first}{left_out}", names=listed)


def _changes(comparison: xr.Dataset) -> go.Figure:
    names = s.labels_of(comparison["pixels"])
    colors = label_colors(names)
    maps, changed = comparison["labels"].values, comparison["changed"].values
    photo = comparison["image"].values
    height, width = changed.shape
    rows, columns = (np.arange(new) * old // new for new, old in ((height, photo.shape[0]), (width, photo.shape[1])))
    made = [panels.photograph("Image", photo[np.ix_(rows, columns)])]
    for title, labels in zip(comparison["result"].values, maps, strict=True):
        made.append(panels.Panel(str(title), changed.shape, panels.name_layers(labels, names, colors)))
    marks = panels.name_layers(changed.astype(np.int64), ["same", "differs"], CHANGED)
    made.append(panels.Panel("Where they differ", changed.shape, marks))
    won = [names[place] for place in np.unique(maps)]
    keys = panels.legend_keys(won, [css(colors[names.index(name)]) for name in won])
    title = f"Different labels on {100 * comparison.attrs['changed_share']:.1f} % of the pixels"
    return lay_out(made, title, legend=keys)


def _percent(result: xr.Dataset) -> pd.Series[float]:
    iou = inputs.variables(result, iou=[s.LABEL])["iou"]
    return pd.Series(iou.values * 100.0, index=list(s.labels_of(iou)))


def confusion(result: xr.Dataset, most: int = 25) -> go.Figure:
    """Show the confusion matrix: the share of each true label's pixels that gets each label; a row sums to 100 %.

    Parameters
    ----------
    result : xarray.Dataset
        ``confusion (..., true_label, label)`` in pixels, as `evaluate` gives it; other dimensions are summed. True
        labels without pixels stay empty.
    most : int
        Number of labels shown: those with the most wrong pixels, true or predicted. Shares refer to all labels.

    Raises
    ------
    FigureError
        If it lacks ``confusion``.
    """
    counts = inputs.variables(result, confusion=[TRUTH, s.LABEL])["confusion"]
    pixels = counts.sum([dim for dim in counts.dims if dim not in (TRUTH, s.LABEL)]).transpose(TRUTH, s.LABEL)
    whole = pixels.values.sum(1, keepdims=True)
    shares = np.divide(pixels.values * 100.0, whole, out=np.full(pixels.shape, np.nan), where=whole > 0)
    kept = [_confused(pixels, dim, most) for dim in (TRUTH, s.LABEL)]
    shares, counted = shares[np.ix_(*kept)], pixels.values[np.ix_(*kept)]
    truths, predicted = (
        [plain(str(pixels[dim].values[place])) for place in places]
        for dim, places in zip((TRUTH, s.LABEL), kept, strict=True)
    )
    trace = go.Heatmap(
        z=shares.astype(np.float32),
        x=predicted,
        y=truths,
        customdata=counted.astype(np.float64),
        coloraxis="coloraxis",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        texttemplate="%{z:.0f}" if len(truths) <= _MOST_TEXT else None,
        hovertemplate="true %{y}, predicted %{x}<br>%{z:.1f} % of its pixels (%{customdata:,.0f})<extra></extra>",
    )
    figure = go.Figure(trace)
    figure.update_xaxes(title="predicted label", tickangle=-90, type="category", showgrid=False, dtick=1)
    figure.update_yaxes(title="true label", autorange="reversed", type="category", showgrid=False, dtick=1)
    bar = {"title": {"text": "share of the true label's pixels, %", "side": "right"}}
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL.stops, "cmin": 0, "cmax": 100, "colorbar": bar})
    left_out = pixels.sizes[TRUTH] - len(truths)
    title = "What is taken for what" + (f", {len(truths)} of {pixels.sizes[TRUTH]} labels" if left_out else "")
    side = 20 if len(truths) > _MOST_TEXT else 30
    return charted(figure, title, names=truths, cells=(side, side))


def _confused(pixels: xr.DataArray, dim: str, most: int) -> list[int]:
    """Places along a dimension of the labels with most wrong pixels, true and predicted together, in their order."""
    names = [str(name) for name in pixels[dim].values]
    wrong = dict.fromkeys(names, 0)
    for row, true in enumerate(map(str, pixels[TRUTH].values)):
        for column, given in enumerate(map(str, pixels[s.LABEL].values)):
            if true != given:
                for name in {true, given} & wrong.keys():
                    wrong[name] += int(pixels.values[row, column])
    order = sorted(range(len(names)), key=lambda place: -wrong[names[place]])[:most]
    return sorted(order)
