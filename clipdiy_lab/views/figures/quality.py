"""Quality beside mIoU: scores near outlines, and whether probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.errors import FigureError
from clipdiy_lab.views.figures import inputs
from clipdiy_lab.views.figures.charts import charted
from clipdiy_lab.views.figures.fitting import plain
from clipdiy_lab.views.figures.style import DASHES, OTHER, SERIES, SYMBOLS


def trimap(*results: xr.Dataset, names: Sequence[str] | None = None) -> go.Figure:
    """Show the mIoU of results within bands of increasing width around true outlines.

    Parameters
    ----------
    *results : xarray.Dataset
        From `evaluate` or `score`.
    names : sequence of str, optional
        One per result, for the legend. Default: a, b, ...

    Raises
    ------
    FigureError
        If there is no result, one lacks ``trimap_miou``, or there is another number of names.
    """
    listed = [chr(ord("a") + place) for place in range(len(results))] if names is None else list(names)
    if not results or len(listed) != len(results):
        raise FigureError(f"{len(results)} results and {len(listed)} names; give at least one result, and a name each.")
    figure = go.Figure()
    for place, (result, name) in enumerate(zip(results, listed, strict=True)):
        data = inputs.variables(result, trimap_miou=["trimap_width"])
        style = place % len(SERIES)
        figure.add_scatter(
            x=data["trimap_width"].values,
            y=100.0 * data["trimap_miou"].values,
            mode="lines+markers",
            name=plain(name),
            line={"color": SERIES[style], "dash": DASHES[style], "width": 2},
            marker={"symbol": SYMBOLS[style], "size": 9},
            hovertemplate="within %{x} pixels<br>mIoU %{y:.1f} %<extra></extra>",
        )
    figure.update_xaxes(title="at most so many pixels from an outline", type="log", dtick="D1")
    widths = results[0]["trimap_width"].values
    figure.update_xaxes(tickvals=widths, ticktext=[str(width) for width in widths])
    figure.update_yaxes(title="mIoU, %").update_layout(showlegend=len(results) > 1)
    return charted(figure, "mIoU near outlines")


def reliability(calibration: xr.Dataset) -> go.Figure:
    """Show a reliability diagram: the share of correct pixels against the probability of their label.

    Parameters
    ----------
    calibration : xarray.Dataset
        From `calibration`; one line per temperature, bins without pixels are left out. The size of a marker grows with
        its share of the pixels.

    Raises
    ------
    FigureError
        If it is another object.
    """
    dims = ["temperature", "confidence_bin"]
    data = inputs.variables(calibration, bin_accuracy=dims, bin_confidence=dims, pixels=dims, ece=["temperature"])
    figure = go.Figure(
        go.Scatter(x=[0, 100], y=[0, 100], mode="lines", line={"color": OTHER, "dash": "dot"}, showlegend=False,
                   hoverinfo="skip")
    )  # fmt: skip
    for place, temperature in enumerate(data["temperature"].values):
        row = data.isel(temperature=place)
        there = row["pixels"].values > 0
        share = row["pixels"].values[there] / max(int(row["pixels"].sum()), 1)
        figure.add_scatter(
            x=100.0 * row["bin_confidence"].values[there],
            y=100.0 * row["bin_accuracy"].values[there],
            mode="lines+markers",
            name=f"temperature {temperature:.3g}: ECE {100 * float(row['ece']):.1f} %",
            line={"color": SERIES[place], "dash": DASHES[place]},
            marker={"symbol": SYMBOLS[place], "size": 6 + 14 * np.sqrt(share)},
            cliponaxis=False,
            customdata=100.0 * share,
            hovertemplate="probability %{x:.1f} %<br>right %{y:.1f} %<br>%{customdata:.1f} % of pixels<extra></extra>",
        )
    figure.update_xaxes(title="probability of the label, %", range=[0, 102])
    figure.update_yaxes(title="pixels that are right, %", range=[0, 102])
    return charted(figure, "Do probabilities mean what they say?", width=520, height=420)
