"""Pictures with hover: the one way in which figures show anything that has pixels.

Every picture is a `go.Image` of a data URI. Where hover is promised, a transparent grid of at most 32 x 32 sampled
values lies over it: plotly shows a value there, while the full map stays in Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from clipdiy_lab.views import data_uris
from clipdiy_lab.views.colors import outlines
from clipdiy_lab.views.figures.fitting import plain
from clipdiy_lab.views.figures.style import OTHER
from clipdiy_lab.views.pictures import edges
from clipdiy_lab.views.scales import ColorRange

HOVER_CELLS: Final = 32
"""Samples a side for hover."""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes
    ----------
    title : str
    shape : tuple of int
        Height and width in pixels, for the axes.
    traces : sequence of traces
        From the bottom up.
    aspect : float, optional
        Height over width of what the pixels show, where a frame has squashed it. Default: that of the layout, else of
        the pixels.
    """

    title: str
    shape: tuple[int, int]
    traces: Sequence[go.Image | go.Heatmap | go.Scatter] = field(default_factory=tuple)
    aspect: float | None = None


def color_axis(colors: ColorRange, unit: str) -> dict[str, object]:
    """Return a colour range as plotly's colour axis."""
    return {
        "cmin": colors.low,
        "cmax": colors.high,
        "colorscale": colors.scale.stops,
        "colorbar": {"title": {"text": unit, "side": "right"}, "exponentformat": "none", "ypad": 0},
    }


def photograph(title: str, image: npt.NDArray[np.uint8], hover: bool = True, aspect: float | None = None) -> Panel:
    """Show an RGB image; hover says where one is."""
    source = data_uris.photograph(image)
    where = {"hovertemplate": "row %{y}, column %{x}<extra></extra>"} if hover else {"hoverinfo": "skip"}
    return Panel(title, _shape(image), (go.Image(source=source, **where),), aspect)


def heat_map(
    title: str, values: npt.NDArray[np.floating], colors: ColorRange, name: str, where: str = "row %{y}, column %{x}"
) -> Panel:
    """Show a map of numbers; hover gives sampled values, under their name."""
    source = data_uris.colored(values, colors)
    ys, xs = (_sampled(length) for length in values.shape)
    hover = go.Heatmap(
        z=values[np.ix_(ys, xs)].astype(np.float32),
        x=xs,
        y=ys,
        opacity=0,
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate=f"{where}<br>{name} %{{z:.3f}}<extra></extra>",
    )
    return Panel(title, _shape(values), (go.Image(source=source, hoverinfo="skip"), hover))


def name_layers(
    indices: npt.NDArray[np.integer],
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
    clear: int | None = None,
    opacity: float = 1.0,
    cells: int = HOVER_CELLS,
) -> Sequence[go.Image | go.Heatmap]:
    """Return the traces of a map of names, y x x: their colours, and hover with the name.

    The index `clear` and negative ones are clear; the latter have no name. Hover has at most `cells` samples a side.
    """
    nothing = len(names)
    placed = np.where(indices < 0, nothing, indices)
    palette = np.concatenate([colors, np.zeros((1, 3), np.uint8)])
    source = data_uris.indexed(placed, palette, (nothing,) if clear is None else (nothing, clear))
    ys, xs = (_sampled(length, cells) for length in indices.shape)
    sampled = placed[np.ix_(ys, xs)]
    hover = go.Heatmap(
        z=sampled.astype(np.uint16),
        x=xs,
        y=ys,
        text=np.array([*map(plain, names), ""], dtype=object)[sampled].tolist(),
        opacity=0,
        showscale=False,
        hovertemplate="row %{y}, column %{x}<br>%{text}<extra></extra>",
    )
    return go.Image(source=source, opacity=opacity, hoverinfo="skip"), hover


def label_layers(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
    background: int | None,
    opacity: float,
    cells: int = HOVER_CELLS,
) -> Sequence[go.Image | go.Heatmap]:
    """Return the traces of labels over an image: photograph, outlines, label colours, hover with the label's name.

    The background stays clear. The outlines are dark, so that a pale colour is seen on a pale sky.
    """
    photo = go.Image(source=data_uris.photograph(image), hoverinfo="skip")
    nothing = len(colors)
    borders = np.where(edges(labels), labels, nothing)
    palette = np.concatenate([outlines(colors), np.zeros((1, 3), np.uint8)])
    drawn = go.Image(source=data_uris.indexed(borders, palette, (nothing,)), opacity=opacity**0.5, hoverinfo="skip")
    filled, hover = name_layers(labels, names, colors, background, opacity, cells)
    return photo, filled, drawn, hover


def legend_keys(names: Sequence[str], colors: Sequence[str], symbol: str = "square") -> list[go.Scatter]:
    """Return traces that only stand in the legend."""
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 12, "line": {"color": OTHER, "width": 1}},
            name=plain(name),
            hoverinfo="skip",
        )
        for name, color in zip(names, colors, strict=True)
    ]


def _shape(array: npt.NDArray[np.generic]) -> tuple[int, int]:
    return array.shape[0], array.shape[1]


def _sampled(length: int, cells: int = HOVER_CELLS) -> npt.NDArray[np.int32]:
    """Return the middle pixels of at most so many equal parts of an axis."""
    step = math.ceil(length / cells)
    return np.arange(step // 2, length, step, dtype=np.int32)
