"""Pictures side by side, with hover: the one way in which figures show anything that has pixels.

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
from plotly.subplots import make_subplots

from clipdiy_lab.views import data_uris, pictures
from clipdiy_lab.views.figures.style import DIVERGING, OTHER, SEQUENTIAL, TEMPLATES, plain

HOVER_CELLS: Final = 32
"""Samples a side for hover."""
_SIDE, _GAP, _TOP, _EDGE = 230, 14, 26, 12
_ROW_OF_LEGEND = 21
_LEEWAY = 0.05


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
    """

    title: str
    shape: tuple[int, int]
    traces: Sequence[go.Image | go.Heatmap | go.Scatter] = field(default_factory=tuple)


@dataclass(frozen=True)
class ColorRange:
    """The one colour range of all maps of a figure: from viridis, or blue over white to orange about zero."""

    low: float
    high: float
    diverging: bool = False

    @classmethod
    def of(cls, maps: Sequence[npt.NDArray[np.floating]], diverging: bool = False) -> ColorRange:
        """Return the range that all maps share; of values that are numbers."""
        known = [one[np.isfinite(one)] for one in maps]
        low = min((float(one.min()) for one in known if one.size), default=0.0)
        high = max((float(one.max()) for one in known if one.size), default=1.0)
        if diverging:
            end = max(abs(low), abs(high))
            return cls(-end, end, True)
        # A range of no width would be widened by plotly, and the colour bar would say something else than the picture.
        return cls(low, high) if high > low else cls(low - _LEEWAY, low + _LEEWAY)

    def ramp(self) -> npt.NDArray[np.uint8]:
        """Return its 255 colours."""
        if not self.diverging:
            shades: npt.NDArray[np.uint8] = pictures.heat(np.linspace(0, 1, 255)[None], 0, 1)[0]
            return shades
        stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for _, color in DIVERGING])
        places = [place for place, _ in DIVERGING]
        channels = [np.interp(np.linspace(0, 1, 255), places, channel) for channel in stops.T]
        made: npt.NDArray[np.uint8] = np.stack(channels, -1).round().astype(np.uint8)
        return made

    def axis(self, unit: str) -> dict[str, object]:
        """Return it as plotly's colour axis."""
        title = {"text": unit, "side": "right"}
        scale = [list(stop) for stop in DIVERGING] if self.diverging else SEQUENTIAL
        return {
            "cmin": self.low,
            "cmax": self.high,
            "colorscale": scale,
            "colorbar": {"title": title, "exponentformat": "none", "ypad": 0},
        }


def photograph(title: str, image: npt.NDArray[np.uint8], hover: bool = True) -> Panel:
    """Show an RGB image; hover says where one is."""
    source = data_uris.photograph(image)
    where = {"hovertemplate": "row %{y}, column %{x}<extra></extra>"} if hover else {"hoverinfo": "skip"}
    return Panel(title, _shape(image), (go.Image(source=source, **where),))


def heat_map(
    title: str, values: npt.NDArray[np.floating], colors: ColorRange, name: str, where: str = "row %{y}, column %{x}"
) -> Panel:
    """Show a map of numbers; hover gives sampled values, under their name."""
    source = data_uris.colored(values, colors.low, colors.high, colors.ramp())
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


def label_layers(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
    background: int | None,
    opacity: float,
) -> Sequence[go.Image | go.Heatmap]:
    """Return the traces of labels over an image: photograph, label colours, and hover with the label's name.

    The background stays clear.
    """
    ys, xs = (_sampled(length) for length in labels.shape)
    sampled = labels[np.ix_(ys, xs)]
    hover = go.Heatmap(
        z=sampled.astype(np.uint16),
        x=xs,
        y=ys,
        text=np.array([plain(name) for name in names], dtype=object)[sampled].tolist(),
        opacity=0,
        showscale=False,
        hovertemplate="row %{y}, column %{x}<br>%{text}<extra></extra>",
    )
    clear = () if background is None else (background,)
    return (
        go.Image(source=data_uris.photograph(image), hoverinfo="skip"),
        go.Image(source=data_uris.indexed(labels, colors, clear), opacity=opacity, hoverinfo="skip"),
        hover,
    )


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


def lay_out(
    panels: Sequence[Panel],
    title: str,
    *,
    columns: int = 4,
    side: int = _SIDE,
    coloraxis: dict[str, object] | None = None,
    legend: Sequence[go.Scatter] = (),
) -> go.Figure:
    """Put panels into a grid; at the right a colour bar or a legend where there is one.

    Parameters
    ----------
    panels : sequence of Panel
        Of equal shape.
    title : str
    columns : int
        Panels a row.
    side : int
        Height of a panel in pixels; one that stands alone is larger.
    coloraxis : dict, optional
        As `ColorRange.axis` gives it.
    legend : sequence of traces
        As `legend_keys` gives them.
    """
    across = min(columns, len(panels))
    down = math.ceil(len(panels) / across)
    tall = round(side * 1.5) if len(panels) == 1 else side
    wide = max(60, round(tall * panels[0].shape[1] / panels[0].shape[0]))
    inner = (across * wide + (across - 1) * _GAP, down * tall + (down - 1) * (_GAP + _TOP))
    # automargin is not used: the axes carry no text, so the inner size is exact and pictures keep their aspect ratio.
    right = _right_of(coloraxis, legend)
    top = 44 + (_TOP if any(panel.title for panel in panels) else 0)
    height = max(inner[1] + top + _EDGE, top + _ROW_OF_LEGEND * len(legend) + 40)
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[_fit(panel.title, wide) for panel in panels],
        horizontal_spacing=_GAP / inner[0] if across > 1 else 0,
        vertical_spacing=(_GAP + _TOP) / inner[1] if down > 1 else 0,
    )
    for number, panel in enumerate(panels):
        place = {"row": number // across + 1, "col": number % across + 1}
        figure.add_traces(list(panel.traces), rows=place["row"], cols=place["col"])
        rows, cols = panel.shape
        figure.update_xaxes(visible=False, range=[-0.5, cols - 0.5], constrain="domain", **place)
        anchor = "x" if number == 0 else f"x{number + 1}"
        figure.update_yaxes(
            visible=False, range=[rows - 0.5, -0.5], scaleanchor=anchor, constrain="domain", constraintoward="top",
            **place,
        )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    figure.add_traces(list(legend), rows=1, cols=1) if legend else None
    return figure.update_layout(
        template=TEMPLATES["light"],
        title={"text": title, "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 12, "l": 12}},
        width=max(inner[0] + _EDGE + right, 320),
        height=height,
        margin={"l": _EDGE, "r": right, "t": top, "b": height - top - inner[1]},
        showlegend=bool(legend),
        legend={"itemclick": False, "itemdoubleclick": False, "y": 1, "yanchor": "top", "x": 1.01, "xanchor": "left"}
        # Without this a legend is cut at the lower edge of the pictures.
        | {"maxheight": height - top},
        **({"coloraxis": coloraxis} if coloraxis else {}),
    )


def _shape(array: npt.NDArray[np.generic]) -> tuple[int, int]:
    return array.shape[0], array.shape[1]


def _sampled(length: int) -> npt.NDArray[np.int32]:
    """Return the middle pixels of at most 32 equal parts of an axis."""
    step = math.ceil(length / HOVER_CELLS)
    return np.arange(step // 2, length, step, dtype=np.int32)


def _right_of(coloraxis: dict[str, object] | None, legend: Sequence[go.Scatter]) -> int:
    if legend:
        return 60 + 8 * min(28, max(len(trace.name) for trace in legend))
    # With less room plotly makes the pictures smaller than their colour bar.
    return 104 if coloraxis and coloraxis.get("showscale", True) else _EDGE


def _fit(text: str, width: int) -> str:
    """Cut a title that is wider than its panel, visibly; a letter takes about seven pixels."""
    room = max(6, width // 7)
    return plain(text if len(text) <= room else text[: room - 1] + "…")
