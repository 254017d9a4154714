"""How a chart (not a picture) is arranged: its title, legend and names have room, on a screen and in a column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from clipdiy_lab.views.figures.fitting import (
    EDGE,
    LINE,
    SIZE,
    TITLE,
    heading,
    joined,
    plain,
    unwrapped,
    widest,
    wrapped,
)
from clipdiy_lab.views.figures.style import TEMPLATES, TOOLS

CHART: Final = "chart"
"""Key in a figure's ``meta`` of what its arrangement starts from."""
KEY: Final = 45
"""Pixels that plotly takes for an entry of a legend beside its text."""
KEY_LINE: Final = 19
_ROW, _HALF, _TICK, _GAP = 26, 0.42, 9, 5
_BAR, _NARROW = 66, 440


def charted(
    figure: go.Figure,
    title: str,
    *,
    width: int = 640,
    height: int = 270,
    names: Sequence[str] | None = None,
    cells: tuple[int, int] | None = None,
) -> go.Figure:
    """Give a chart its title, size and margins.

    Parameters
    ----------
    figure : plotly Figure
        Its traces, axes and, where it has one, colour axis.
    title : str
    width : int
        Of the whole, pixels.
    height : int
        Of what is between the axes.
    names : sequence of str, optional
        Escaped lines of a horizontal chart or rows of a matrix, as its y axis has them.
    cells : tuple of int, optional
        Width and height of a cell of a matrix, pixels. Then `width` and `height` follow from it.
    """
    kept = {"title": title, "width": width, "height": height, "names": list(names or ()), "cells": cells}
    figure.update_layout(template=TEMPLATES["light"], meta={CHART: kept})
    return arrange_chart(figure)


def arrange_chart(figure: go.Figure, width: float | None = None, size: float = SIZE) -> go.Figure:
    """Arrange a figure of `charted` anew, in place: for a screen, or as wide as a column with smaller text."""
    kept = figure.layout.meta[CHART]
    column = width is not None
    wide = width or kept["width"]
    line, share = LINE * size, size / SIZE
    lines = [unwrapped(name) for name in kept["names"]]
    right = EDGE + 0.5 * size
    if kept["cells"] and not column:
        right = _bar_at_the_right(figure, kept["cells"][1] * len(lines))
        wide = _left(figure, lines, math.inf, size) + len(figure.data[0].x) * kept["cells"][0] + right
        wide = max(wide, _NARROW)
    elif not kept["cells"]:
        right += 2.2 * size  # numbers behind bars and names beside points stand beyond the axes
    left = _left(figure, lines, _HALF * wide, size)
    plot = wide - left - right
    title = wrapped(kept["title"], wide - 2 * EDGE - (0 if column else TOOLS), size * TITLE)
    top = EDGE + len(title) * LINE * size * TITLE + 8
    rows = _legend(figure, left, plot, size)
    top += KEY_LINE * rows + (8 if rows else 0)
    folded = _folded(figure, kept["names"], left - EDGE - _TICK - _axis_title(figure.layout.yaxis, line), size)
    if kept["cells"]:
        pitch = plot / len(figure.data[0].x)
        tall = (kept["cells"][1] * share if kept["cells"][0] != kept["cells"][1] else pitch) * len(lines)
        _fit_ticks(figure, pitch, size)
    elif lines:
        tall = max(2 * _ROW, sum(max(_ROW * share, line * one + 5) for one in folded))
    else:
        tall = kept["height"] if not column else min(kept["height"], 0.8 * plot)
    below = _below(figure, size)
    if column and kept["cells"]:
        below += bar_below(figure, below, tall, size)
    figure.update_layout(
        width=wide,
        height=top + tall + below,
        margin={"l": left, "r": right, "t": top, "b": below, "pad": 0, "autoexpand": False},
        title=heading(title, size * TITLE),
        font={"size": size},
    )
    return figure.for_each_xaxis(lambda axis: axis.title.update(font_size=size)).for_each_yaxis(
        lambda axis: axis.title.update(font_size=size)
    )


def _left(figure: go.Figure, lines: Sequence[str], most: float, size: float) -> float:
    """Room for names, or for numbers, and for the axis' title."""
    names = widest(lines, size) if lines else 3.6 * size
    return EDGE + min(names, most) + _TICK + _axis_title(figure.layout.yaxis, LINE * size)


def _axis_title(axis: Any, line: float) -> float:
    return line + 8 if axis.title.text else 0.0


def _below(figure: go.Figure, size: float) -> float:
    """Room under the axes: for upright names as long as they are, else for one line, and for the title."""
    axis = figure.layout.xaxis
    upright = axis.tickangle is not None
    ticks = 0.95 * widest(map(unwrapped, figure.data[0].x), size) + 4 if upright else LINE * size
    return ticks + 8 + _axis_title(axis, LINE * size) + 8


def _legend(figure: go.Figure, left: float, plot: float, size: float) -> int:
    """Put the legend over the axes, in as many rows as its names need; return how many."""
    names = [unwrapped(trace.name) for trace in figure.data if trace.name and trace.showlegend is not False]
    if figure.layout.showlegend is False or not names:
        return 0
    entry = min(widest(names, size), left + plot - EDGE - KEY)
    rows = key_rows(len(names), entry, left + plot)
    figure.update_layout(
        legend={
            "maxheight": KEY_LINE * (rows + 1), "orientation": "h", "x": (EDGE - left) / plot,
            "xanchor": "left", "y": 1, "yanchor": "bottom", "traceorder": "normal",
            "entrywidth": entry, "entrywidthmode": "pixels", "font": {"size": size},
        }
    )  # fmt: skip
    return rows


def key_rows(names: int, entry: float, room: float) -> int:
    """Rows of a legend that lies, by plotly's rule: the last entry needs no gap behind it."""
    across = max(1, math.ceil((room + _GAP) / (KEY + entry)) - 1)
    return math.ceil(names / across)


def _folded(figure: go.Figure, names: Sequence[str], room: float, size: float) -> list[int]:
    """Write names on the y axis on as many lines as they need; return how many each has."""
    lines = [wrapped(unwrapped(name), room + 1, size) for name in names]
    if any(len(one) > 1 or joined(one) != name for one, name in zip(lines, names, strict=True)):
        figure.update_yaxes(tickmode="array", tickvals=list(names), ticktext=[joined(one) for one in lines])
    return [max(1, len(one)) for one in lines]


def _fit_ticks(figure: go.Figure, pitch: float, size: float) -> None:
    """Make the names of the columns no higher than the columns are wide."""
    if figure.layout.xaxis.tickangle is not None:
        figure.update_xaxes(tickfont_size=min(size, 0.95 * pitch)).update_yaxes(tickfont_size=min(size, 0.95 * pitch))


def _bar_at_the_right(figure: go.Figure, tall: float) -> float:
    """Break the title of the colour bar into lines that are no longer than it; return the width that all needs."""
    bar = figure.layout.coloraxis.colorbar
    lines = wrapped(unwrapped(bar.title.text), tall)
    bar.title.update(text=joined(lines), side="right")
    return _BAR + LINE * SIZE * len(lines)


def bar_below(figure: go.Figure, under: float, tall: float, size: float) -> float:
    """Lay the colour bar under the axes, where it takes no width; return the height that it needs.

    Parameters
    ----------
    figure : plotly Figure
    under : float
        Its distance from the axes, pixels.
    tall : float
        Height of what is between the axes, pixels.
    size : float
        Height of letters, pixels.
    """
    bar = figure.layout.coloraxis.colorbar
    bar.update(
        title={"text": plain(unwrapped(bar.title.text)), "side": "bottom", "font": {"size": size}},
        orientation="h", x=0.5, xanchor="center", y=-under / tall, yanchor="top", len=1, thickness=10, xpad=0, ypad=0,
        tickfont={"size": size},
    )  # fmt: skip
    return 10 + 2 * (LINE * size + 3) + 8
