"""Every stage of a run that has pixels, in the order in which the method makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.errors import FigureError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.grid import Grid
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.figures import inputs, panels
from clipdiy_lab.views.figures.inputs import Run
from clipdiy_lab.views.figures.style import ACCENT
from clipdiy_lab.views.gallery import worth_showing

MAX_LABELS: Final = 8
"""Labels that a figure of one map per label shows unless told which."""


def image(run: Run, grid: str | int | None = None) -> go.Figure:
    """Show the image in the frame, with the windows of one grid where a grid is given, by name or window side.

    Raises
    ------
    RunError
        If the run lacks the image or the grid.
    """
    shown = inputs.stage(run, "image").values
    panel = panels.photograph("", shown)
    if grid is None:
        return panels.lay_out([panel], "image in the frame")
    windows = inputs.grid_of(run, grid)
    traces = (*panels.photograph("", shown, hover=False).traces, *_windows(windows))
    title = f"{windows.rows} x {windows.cols} windows of {windows.title}"
    return panels.lay_out([panels.Panel("", panel.shape, traces)], title)


def _windows(grid: Grid) -> Sequence[go.Scatter]:
    """Return all boxes as one line, and their centres with hover; the first window is drawn strong, as they overlap."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    side = grid.window
    for top in grid.tops:
        for left in grid.lefts:
            xs += [left - 0.5, left + side - 0.5, left + side - 0.5, left - 0.5, left - 0.5, None]
            ys += [top - 0.5, top - 0.5, top + side - 0.5, top + side - 0.5, top - 0.5, None]
    line = {"hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    return (
        go.Scatter(x=xs, y=ys, line={"color": "#ffffff", "width": 1.2}, opacity=0.8, **line),
        go.Scatter(x=xs[:5], y=ys[:5], line={"color": ACCENT, "width": 3}, **line),
        go.Scatter(
            x=np.tile(grid.centre_x, grid.rows),
            y=np.repeat(grid.centre_y, grid.cols),
            text=[box(top, left, side) for top in grid.tops for left in grid.lefts],
            mode="markers",
            marker={"color": ACCENT, "size": 6, "line": {"color": "#ffffff", "width": 1}},
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        ),
    )


def box(top: int, left: int, side: int) -> str:
    """Say which pixels a window covers.

    Examples
    --------
    >>> box(16, 32, 32)
    'rows 16 to 47, columns 32 to 63'
    """
    return f"rows {top} to {top + side - 1}, columns {left} to {left + side - 1}"


def windows(run: Run, grid: str | int, label: str) -> go.Figure:
    """Show the cosines of one grid, given by name or window side, with hover: cosine and pixel box of every window."""
    shown = inputs.grid_of(run, grid)
    return _cosines(run, [shown], label).update_layout(title_text=f"{shown.title} windows against '{label}'")


def similarity(run: Run, label: str) -> go.Figure:
    """Show the cosines of all grids side by side, on one colour range, with hover as `windows`.

    Raises
    ------
    LabelError
        If the run has no such label.
    """
    return _cosines(run, inputs.plan_of(run), label)


def _cosines(run: Run, grids: Iterable[Grid], label: str) -> go.Figure:
    maps = []
    for grid in grids:
        cosines = inputs.stage(run, "similarity", grid.name)
        maps.append((grid, cosines.values[..., inputs.label_index(cosines, label)]))
    colors = panels.ColorRange.of([values for _, values in maps])
    shown = []
    for grid, values in maps:
        trace = go.Heatmap(
            z=values,
            text=[[box(top, left, grid.window) for left in grid.lefts] for top in grid.tops],
            coloraxis="coloraxis",
            hovertemplate="window row %{y}, column %{x}<br>%{text}<br>cosine %{z:.3f}<extra></extra>",
        )
        shown.append(panels.Panel(grid.title, (grid.rows, grid.cols), (trace,)))
    # Grids of all sizes are drawn square: they lie over the same frame.
    return panels.lay_out(shown, f"windows against '{label}'", coloraxis=colors.axis("cosine"))


def grids(run: Run, label: str) -> go.Figure:
    """Show a label's map of every grid and merged, on one colour range.

    Raises
    ------
    LabelError
        If the run has no such label.
    """
    together = inputs.stage(run, "merged")
    index = inputs.label_index(together, label)
    maps = inputs.maps_of(inputs.stage(run, "logits")[:, index])
    return _maps(maps | {"merged": together.values[index]}, f"similarity with '{label}'", "cosine")


def merged(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show the weighted mean of the grids, one map per label on one colour range.

    Parameters
    ----------
    run : DataTree or Dataset
    labels : sequence of str, optional
        Default: those that won pixels, then those that came nearest; at most eight.

    Raises
    ------
    LabelError
        If the run lacks one of the labels.
    """
    return stage(run, "merged", labels)


def guide(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show the factor that saliency puts on each label; `labels` as for `merged`."""
    return stage(run, "guide", labels)


def fused(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show merged similarity times guide, one map per label on one colour range; `labels` as for `merged`."""
    return stage(run, "fused", labels)


def probability(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show the softmax of the scores, one map per label on one colour range; `labels` as for `merged`."""
    return stage(run, "probability", labels)


def saliency(run: Run) -> go.Figure:
    """Show the foreground probability.

    Raises
    ------
    RunError
        If the run was made without saliency.
    """
    return stage(run, "saliency")


def margin(run: Run) -> go.Figure:
    """Show by how much the winning label leads the runner-up."""
    return stage(run, "margin")


def stage(run: Run, name: str, labels: Sequence[str] | None = None) -> go.Figure:
    """Show any stage of numbers that has pixels: one map, or one map per label on one colour range.

    Parameters
    ----------
    run : DataTree or Dataset
    name : str
        Of a stage with the dimensions (y, x) or (label, y, x).
    labels : sequence of str, optional
        Of a stage with labels. Default: those that won pixels, then those that came nearest; at most eight.

    Raises
    ------
    RunError
        If the run lacks it, or it has other dimensions.
    LabelError
        If the run lacks one of the labels.
    """
    known = s.STAGES.get(name)
    if known is None or known.kind != "f4" or known.dims not in ((s.Y, s.X), (s.LABEL, s.Y, s.X)):
        raise RunError(f"{name!r} is no stage of numbers by pixel; see image, similarity, windows, grids and overlay.")
    array = inputs.stage(run, name)
    if s.LABEL not in array.dims:
        return pixel_map(array, unit=known.unit)
    names = s.labels_of(array)
    wanted = [names[i] for i in worth_showing(inputs.as_tree(run), MAX_LABELS)] if labels is None else labels
    maps = {label: array.values[inputs.label_index(array, label)] for label in wanted}
    return _maps(maps, known.title, known.unit)


def pixel_map(array: xr.DataArray, title: str | None = None, unit: str | None = None) -> go.Figure:
    """Show one map, or one per value of a further dimension on one colour range; clear where there is no value.

    Values on both sides of zero are coloured from blue over white to orange.

    Parameters
    ----------
    array : xarray.DataArray
        (y, x), or (y, x) and one more dimension, such as ``grid`` or ``label``, in any order.
    title, unit : str, optional
        Default: the array's ``long_name`` and ``units``.

    Raises
    ------
    FigureError
        For other dimensions.
    """
    maps = inputs.maps_of(array)
    title = str(array.attrs.get("long_name", array.name or "")) if title is None else title
    found = str(array.attrs.get("units", "1"))
    unit = (str(array.name or "value") if found == "1" else found) if unit is None else unit
    ends = panels.ColorRange.of(list(maps.values()))
    return _maps(maps, title, unit, diverging=ends.low < 0 < ends.high)


def guided(run: Run, label: str) -> go.Figure:
    """Show what saliency does to a label: merged, guide, fused; each on its own colour range, in its title."""
    shown = []
    for name in ("merged", "guide", "fused"):
        array = inputs.stage(run, name)
        values = array.values[inputs.label_index(array, label)]
        colors = panels.ColorRange.of([values])
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        low, high = round(colors.low, 2) + 0.0, round(colors.high, 2) + 0.0
        shown.append(panels.heat_map(f"{name}: {low} to {high}", values, colors, name))
    # Each picture has its own colours, so no one colour bar would be true.
    return panels.lay_out(shown, f"what saliency does to '{label}'", coloraxis={"showscale": False})


def overlay(run: Run, opacity: float = 0.55) -> go.Figure:
    """Show the labels over the image, with a legend of the labels that won pixels; the background stays clear.

    Parameters
    ----------
    run : DataTree or Dataset
    opacity : float
        Of the labels, 0 to 1.

    Raises
    ------
    FigureError
        For another opacity.
    """
    if not inputs.is_number(opacity) or not 0 <= opacity <= 1:
        raise FigureError(f"opacity is {opacity!r}; expected a number from 0 to 1. The labels shown are the run's own.")
    names = s.labels_of(inputs.scores(run))
    background = s.background_of(run)
    colors = label_colors(names, background)
    labels = inputs.stage(run, "labels").values
    photo = inputs.stage(run, "image").values
    layers = panels.label_layers(photo, labels, names, colors, background, opacity)
    panel = panels.Panel("", (labels.shape[0], labels.shape[1]), layers)
    won = np.unique(labels)
    keys = panels.legend_keys([names[i] for i in won], [css(colors[i]) for i in won])
    return panels.lay_out([panel], "labels over the image", legend=keys)


def _maps(maps: dict[str, npt.NDArray[np.floating]], title: str, unit: str, diverging: bool = False) -> go.Figure:
    """Maps side by side on one colour range, with one colour bar."""
    values = list(maps.values())
    colors = panels.ColorRange.of(values, diverging)
    shown = [panels.heat_map(name, one, colors, unit) for name, one in maps.items()]
    return panels.lay_out(shown, title, coloraxis=colors.axis(unit))
