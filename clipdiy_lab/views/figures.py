"""Plotly figures of a run: labelled data in, a Figure out. No model, no `show()`.

Images travel as PNG data and not as lists of numbers, so a figure weighs kilobytes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from PIL import Image
from plotly.subplots import make_subplots

from clipdiy_lab.errors import LabelError, RunError, nearest
from clipdiy_lab.method import schema as s
from clipdiy_lab.views import pictures

_MARGIN = {"l": 10, "r": 10, "t": 60, "b": 10}


def image(run: xr.DataTree) -> go.Figure:
    """Show the image in the frame."""
    return _panels([s.stage(run, "image").values], ["image"])


def overlay(run: xr.DataTree, opacity: float = 0.55) -> go.Figure:
    """Show the labels over the image, with a legend of the labels that won pixels."""
    index = int(run.attrs["background_index"])
    background = index if index >= 0 else None
    names = s.labels_of(s.stage(run, "fused"))
    colors = pictures.label_colors(len(names), background)
    labels = s.stage(run, "labels").values
    laid = pictures.overlay(s.stage(run, "image").values, labels, colors, background, opacity)
    figure = _panels([laid], ["labels over the image"])
    for i in np.unique(labels):
        red, green, blue = (int(v) for v in colors[i])
        marker = {"color": f"rgb({red},{green},{blue})", "symbol": "square", "size": 12}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=names[i]))
    return figure.update_layout(showlegend=True, width=520)


def scales(run: xr.DataTree, label: str) -> go.Figure:
    """Show a label's map at every scale and merged, on one colour range.

    Raises
    ------
    LabelError
        If the run has no such label.
    """
    logits = s.stage(run, "logits").isel({s.LABEL: _index(run, label)})
    merged = s.stage(run, "merged").isel({s.LABEL: _index(run, label)})
    maps = [*logits.values, merged.values]
    titles = [*(f"{scale} px" for scale in logits[s.SCALE].values), "merged"]
    return _heat(maps, titles, f"cosine with '{label}'")


def guided(run: xr.DataTree, label: str) -> go.Figure:
    """Show what saliency does to a label: merged, guide, fused; each on its own colour range."""
    index = {s.LABEL: _index(run, label)}
    arrays = [s.stage(run, name).isel(index).values for name in ("merged", "guide", "fused")]
    painted = [pictures.heat(a, float(a.min()), float(a.max())) for a in arrays]
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    ends = [(round(float(a.min()), 2) + 0.0, round(float(a.max()), 2) + 0.0) for a in arrays]
    titles = [f"{n}: {low} to {high}" for n, (low, high) in zip(("merged", "guide", "fused"), ends, strict=True)]
    return _panels(painted, titles)


def stage(run: xr.DataTree, name: str) -> go.Figure:
    """Show a stage that has no labels: saliency or margin.

    Raises
    ------
    RunError
        If the run lacks it, or it has labels.
    """
    if name not in s.RUN_STAGES or s.RUN_STAGES[name].dims != (s.Y, s.X):
        raise RunError(f"The stage {name!r} is not one map; use scales, guided or windows for stages with labels.")
    return _heat([s.stage(run, name).values], [s.RUN_STAGES[name].long_name], name)


def windows(run: xr.DataTree, scale: int, label: str) -> go.Figure:
    """Show the grid of cosines of one scale with hover: cosine and pixel box of every window."""
    grid = s.stage(run, "similarity", scale)
    values = grid.isel({s.LABEL: _index(run, label)}).values
    boxes = [
        [f"rows {t} to {t + scale - 1}, columns {left} to {left + scale - 1}" for left in grid["left"].values]
        for t in grid["top"].values
    ]
    trace = go.Heatmap(
        z=values, text=boxes, colorscale="Viridis", hovertemplate="%{text}<br>cosine %{z:.3f}<extra></extra>"
    )
    figure = go.Figure(trace)
    figure.update_yaxes(autorange="reversed", scaleanchor="x", title="window row")
    figure.update_xaxes(title="window column")
    return figure.update_layout(title=f"{scale} px windows against '{label}'", width=420, height=400, margin=_MARGIN)


def miou_bars(table: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """Show the mIoU (percent) of the rows of a sweep as bars."""
    values = table["miou"].to_numpy() * 100
    bars = go.Bar(x=values, y=list(names), orientation="h", text=[f"{v:.1f}" for v in values], marker_color="#0072b2")
    figure = go.Figure(bars)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="mIoU, %", rangemode="tozero")
    return figure.update_layout(height=120 + 32 * len(values), width=640, margin=_MARGIN | {"l": 200})


def _index(run: xr.DataTree, label: str) -> int:
    names = s.labels_of(s.stage(run, "merged"))
    if label not in names:
        raise LabelError(f"The run has no label {label!r}. {nearest(label, names)}")
    return names.index(label)


def _heat(maps: Sequence[np.ndarray], titles: Sequence[str], unit: str) -> go.Figure:
    """Maps side by side on one colour range, with one colour bar."""
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    figure = _panels([pictures.heat(m, low, high) for m in maps], titles)
    scale = {"colorscale": "Viridis", "cmin": low, "cmax": high, "showscale": True, "color": [low]}
    scale["colorbar"] = {"title": {"text": unit, "side": "right"}, "thickness": 12}
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=scale, showlegend=False, hoverinfo="skip"))
    return figure


def _panels(arrays: Sequence[np.ndarray], titles: Sequence[str]) -> go.Figure:
    figure = make_subplots(rows=1, cols=len(arrays), subplot_titles=list(titles), horizontal_spacing=0.02)
    for column, array in enumerate(arrays, 1):
        figure.add_trace(go.Image(source=_data_uri(array), hoverinfo="x+y"), row=1, col=column)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure.update_layout(width=100 + 260 * len(arrays), height=340, margin=_MARGIN)


def _data_uri(array: np.ndarray) -> str:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
