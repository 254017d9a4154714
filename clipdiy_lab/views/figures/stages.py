"""Every stage of a run that has pixels, in the order in which the method makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go

from clipdiy_lab.errors import FigureError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.grid import Grid
from clipdiy_lab.views import catalogue
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.figures import inputs, maps, panels
from clipdiy_lab.views.figures.inputs import Run
from clipdiy_lab.views.figures.layout import lay_out
from clipdiy_lab.views.figures.style import ACCENT
from clipdiy_lab.views.look import Drawing, Look, worth_showing

MAX_LABELS: Final = 8
"""Labels that a figure of one map per label shows unless told which."""


def image(run: Run, grid: str | int | None = None) -> go.Figure:
    """Show the image and, if a grid is given by its name or the side of its windows, the windows of that grid.

    Raises
    ------
    RunError
        If the run lacks the image or the grid.
    """
    shown = inputs.stage(run, "image").values
    panel, aspect = panels.photograph("", shown), inputs.aspect_of(run)
    if grid is None:
        return lay_out([panel], "The image", aspect=aspect)
    windows = inputs.grid_of(run, grid)
    traces = (*panels.photograph("", shown, hover=False).traces, *_windows(windows))
    title = f"{windows.rows} x {windows.cols} windows of {windows.title}"
    return lay_out([panels.Panel("", panel.shape, traces)], title, aspect=aspect)


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
    return _cosines(run, [shown], label, f"Windows of {shown.title} against '{label}'")


def similarity(run: Run, label: str) -> go.Figure:
    """Show the cosines of all grids side by side with a common colour range, and hover texts as in `windows`.

    Raises
    ------
    LabelError
        If the run has no such label.
    """
    return _cosines(run, inputs.plan_of(run), label, f"Every window against '{label}'")


def _cosines(run: Run, grids: Iterable[Grid], label: str, title: str) -> go.Figure:
    maps = []
    for grid in grids:
        cosines = inputs.stage(run, "similarity", grid.name)
        maps.append((grid, cosines.values[..., inputs.label_index(cosines, label)]))
    entry = catalogue.stages()["similarity"]
    colors = entry.colors([values for _, values in maps])
    shown = []
    for grid, values in maps:
        trace = go.Heatmap(
            z=values,
            text=[[box(top, left, grid.window) for left in grid.lefts] for top in grid.tops],
            coloraxis="coloraxis",
            hovertemplate="window row %{y}, column %{x}<br>%{text}<br>cosine %{z:.3f}<extra></extra>",
        )
        shown.append(panels.Panel(grid.title, (grid.rows, grid.cols), (trace,)))
    # Grids of all sizes have the aspect of the image: they lie over the same frame.
    bar = panels.color_axis(colors, entry.stage.unit)
    return lay_out(shown, title, aspect=inputs.aspect_of(run), coloraxis=bar)


def grids(run: Run, label: str) -> go.Figure:
    """Show the map of a label for every grid and merged, with a common colour range.

    Raises
    ------
    LabelError
        If the run has no such label.
    """
    drawing = grids_and_merged(run, label)
    return maps.drawn(drawing, f"Similarity with '{label}'", aspect=inputs.aspect_of(run))


def grids_and_merged(run: Run, label: str) -> Drawing:
    """Return a label's map of every grid and the merged one, which share one colour range."""
    together = inputs.stage(run, "merged")
    index = inputs.label_index(together, label)
    of_grids = inputs.maps_of(inputs.stage(run, "logits")[:, index])
    listed = of_grids | {catalogue.stages()["merged"].stage.title: together.values[index]}
    return Drawing.of(catalogue.stages()["logits"], {("", title): values for title, values in listed.items()})


def merged(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show the weighted mean of the grids, one map per label with a common colour range.

    Parameters
    ----------
    run : DataTree or Dataset
    labels : sequence of str, optional
        Default: those that won pixels, then those that came closest to winning; at most eight.

    Raises
    ------
    LabelError
        If the run lacks one of the labels.
    """
    return stage(run, "merged", labels)


def guide(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show the factor by which saliency multiplies each label; `labels` as for `merged`."""
    return stage(run, "guide", labels)


def fused(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show merged similarity times guide, one map per label with a common colour range; `labels` as for `merged`."""
    return stage(run, "fused", labels)


def probability(run: Run, labels: Sequence[str] | None = None) -> go.Figure:
    """Show the softmax of the scores, one map per label with a common colour range; `labels` as for `merged`."""
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
    """Show the lead of the winning label over the runner-up."""
    return stage(run, "margin")


def stage(run: Run, name: str, labels: Sequence[str] | None = None) -> go.Figure:
    """Show any numeric stage with pixels: one map, or one map per label with a common colour range.

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
    entry = catalogue.stages().get(name)
    if entry is None or entry.scale is None or entry.stage.dims not in ((s.Y, s.X), (s.LABEL, s.Y, s.X)):
        raise RunError(f"{name!r} is no stage of numbers by pixel; see image, similarity, windows, grids and overlay.")
    array, tree = inputs.stage(run, name), inputs.as_tree(run)
    shown: list[int] = []
    if s.LABEL in array.dims and labels is None:
        shown = worth_showing(tree, MAX_LABELS)
    elif s.LABEL in array.dims:
        shown = [inputs.label_index(array, label) for label in labels or ()]
    return maps.drawn(Look(tree, shown).stage(entry), aspect=inputs.aspect_of(tree))


def guided(run: Run, label: str) -> go.Figure:
    """Show the effect of saliency on a label: merged, guide, fused; each with its own colour range in its title."""
    shown = []
    for name in ("merged", "guide", "fused"):
        array = inputs.stage(run, name)
        values = array.values[inputs.label_index(array, label)]
        entry = catalogue.stages()[name]
        colors = entry.colors([values])
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        low, high = round(colors.low, 2) + 0.0, round(colors.high, 2) + 0.0
        shown.append(panels.heat_map(f"{entry.stage.title}: {low} to {high}", values, colors, entry.stage.unit))
    # Each picture has its own colours, so no one colour bar would be true.
    title = f"What saliency does to '{label}'"
    return lay_out(shown, title, aspect=inputs.aspect_of(run), coloraxis={"showscale": False})


def overlay(run: Run, opacity: float = 0.55) -> go.Figure:
    """Show the labels over the image, with a legend of the labels that won pixels; the background is transparent.

    Parameters
    ----------
    run : DataTree or Dataset
    opacity : float
        Opacity of the labels, 0 to 1.

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
    return lay_out([panel], catalogue.OVERLAY.stage.title, aspect=inputs.aspect_of(run), legend=keys)
