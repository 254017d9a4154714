"""How pictures are laid out: side by side at their true aspect, with titles that fit, on a screen and in a column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from clipdiy_lab.views.figures.charts import KEY, KEY_LINE, bar_below, key_rows
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
from clipdiy_lab.views.figures.panels import Panel
from clipdiy_lab.views.figures.style import TEMPLATES, TOOLS

PICTURES: Final = "pictures"
"""Key in a figure's ``meta`` of what its arrangement starts from."""
WIDEST: Final = 860
"""Pixels of a figure on a screen: an output of JupyterLab at 1,400 pixels, with its sidebar."""
_SIDE, _GAP = 230, 12
_ALONE: Final = 1.5
"""A picture that stands alone is larger."""
_THINNEST = 0.2
_SMALLEST: Final = 64
"""Width of a picture in a column, pixels, below which fewer stand in a row."""
_BAR: Final = 66


@dataclass(frozen=True)
class _Cell:
    """Where a picture stands, in pixels from the upper left corner of all of them."""

    left: float
    top: float
    width: float
    height: float
    title: list[str]


def lay_out(
    panels: Sequence[Panel],
    title: str,
    *,
    columns: int = 4,
    rows: bool = False,
    side: int = _SIDE,
    aspect: float | None = None,
    coloraxis: dict[str, object] | None = None,
    legend: Sequence[go.Scatter] = (),
) -> go.Figure:
    """Put panels into a grid; at the right a colour bar or a legend where there is one.

    Parameters
    ----------
    panels : sequence of Panel
    title : str
    columns : int
        Panels a row.
    rows : bool
        Whether what stands in a row belongs together, so that a narrow figure keeps it there.
    side : int
        Side in pixels of a square panel where there is room; one that stands alone is larger.
    aspect : float, optional
        Height over width of panels that have none of their own. Default: that of their pixels.
    coloraxis : dict, optional
        As `panels.color_axis` gives it.
    legend : sequence of traces
        As `panels.legend_keys` gives them.
    """
    figure = go.Figure()
    aspects = [_bounded(panel.aspect or aspect or panel.shape[0] / panel.shape[1]) for panel in panels]
    for number, panel in enumerate(panels, 1):
        ours, theirs = ("x", "y") if number == 1 else (f"x{number}", f"y{number}")
        tall, wide = panel.shape
        figure.add_traces([trace.update(xaxis=ours, yaxis=theirs) for trace in panel.traces])
        axes = {
            f"xaxis{number}": {"visible": False, "range": [-0.5, wide - 0.5], "constrain": "domain", "anchor": theirs},
            f"yaxis{number}": {
                "visible": False, "range": [tall - 0.5, -0.5], "constrain": "domain", "constraintoward": "top",
                "anchor": ours, "scaleanchor": ours, "scaleratio": aspects[number - 1] * wide / tall,
            },
        }  # fmt: skip
        figure.update_layout(axes)
        # Hover says the whole of a title that had to be cut.
        figure.add_annotation(text=plain(panel.title), hovertext=plain(panel.title), showarrow=False)
    figure.add_traces(list(legend))
    kept = {
        "title": title,
        "columns": columns,
        "rows": rows,
        "side": side,
        "aspects": aspects,
    }
    figure.update_layout(
        template=TEMPLATES["light"],
        meta={PICTURES: kept},
        showlegend=bool(legend),
        legend={"itemclick": False, "itemdoubleclick": False},
        **({"coloraxis": coloraxis} if coloraxis else {}),
    )
    return arrange_pictures(figure)


def arrange_pictures(figure: go.Figure, width: float | None = None, size: float = SIZE) -> go.Figure:
    """Arrange a figure of `lay_out` anew, in place: for a screen, or as wide as a column with smaller text."""
    kept = figure.layout.meta[PICTURES]
    aspects: Sequence[float] = kept["aspects"]
    across = min(kept["columns"], len(aspects))
    if width is None:
        right = _beside(figure, size)
        side = kept["side"] * (_ALONE if len(aspects) == 1 else 1)
        wanted = max(side / math.sqrt(aspect) for aspect in aspects)
        wide = min(wanted, (WIDEST - EDGE - right - (across - 1) * _GAP) / across)
        gap = float(_GAP)
    else:
        right, gap = float(EDGE), 8.0
        room = width - 2 * EDGE + gap
        across = across if kept["rows"] else min(across, max(1, int(room // (_SMALLEST + gap))))
        wide = room / across - gap
    cells = _cells([unwrapped(note.hovertext) for note in figure.layout.annotations], aspects, across, wide, gap, size)
    inner = (across * (wide + gap) - gap, max(cell.top + cell.height for cell in cells))
    whole = max(inner[0] + EDGE + right, 320 if width is None else 0)
    title = wrapped(kept["title"], whole - 2 * EDGE - (TOOLS if width is None else 0), size * TITLE)
    top = EDGE + len(title) * LINE * size * TITLE + 6
    keys = _names(figure)
    if width is None:
        height = max(top + inner[1] + EDGE, top + KEY_LINE * len(keys) + 40 if keys else 0)
        _bar_beside(figure, inner[1])
        figure.update_layout(legend_maxheight=height - top)  # plotly's own bound cuts a long one
    else:
        height = top + inner[1] + EDGE + _keys_below(figure, keys, inner[0], size)
        height += bar_below(figure, EDGE, inner[1], size) if _has_bar(figure) else 0
    _place(figure, cells, inner, size)
    margin = {"l": EDGE, "r": whole - EDGE - inner[0], "t": top, "b": height - top - inner[1], "pad": 0}
    margin["autoexpand"] = False  # or plotly makes pictures smaller than what stands beside them
    return figure.update_layout(
        width=whole, height=height, margin=margin, title=heading(title, size * TITLE), font={"size": size}
    )


def _bounded(aspect: float) -> float:
    """Keep what is all height or all width visible."""
    return min(max(aspect, _THINNEST), 1 / _THINNEST)


def _cells(
    titles: Sequence[str], aspects: Sequence[float], across: int, wide: float, gap: float, size: float
) -> list[_Cell]:
    """Place pictures row by row; none is higher than a square, unless all are."""
    made: list[_Cell] = []
    tallest = wide * max(1.0, min(aspects))
    top = 0.0
    for first in range(0, len(aspects), across):
        lines = [wrapped(title, wide, size) for title in titles[first : first + across]]
        head = max(map(len, lines)) * LINE * size
        top += head + (4 if head else 0)
        tall = 0.0
        for place, aspect in enumerate(aspects[first : first + across]):
            height = min(wide * aspect, tallest)
            width = height / aspect
            made.append(_Cell(place * (wide + gap) + (wide - width) / 2, top, width, height, lines[place]))
            tall = max(tall, height)
        top += tall + gap
    return made


def _place(figure: go.Figure, cells: Sequence[_Cell], inner: tuple[float, float], size: float) -> None:
    """Write places in pixels as shares of all pictures, as plotly has them."""
    for number, cell in enumerate(cells, 1):
        across = [cell.left / inner[0], (cell.left + cell.width) / inner[0]]
        down = [1 - (cell.top + cell.height) / inner[1], 1 - cell.top / inner[1]]
        figure.layout[f"xaxis{number}"].domain = [min(max(end, 0), 1) for end in across]
        figure.layout[f"yaxis{number}"].domain = [min(max(end, 0), 1) for end in down]
        figure.layout.annotations[number - 1].update(
            text=joined(cell.title), font={"size": size}, x=sum(across) / 2, xref="paper", xanchor="center",
            y=down[1], yref="paper", yanchor="bottom", yshift=1,
        )  # fmt: skip


def _names(figure: go.Figure) -> list[str]:
    """Names that stand in the legend."""
    return [unwrapped(trace.name) for trace in figure.data if trace.name] if figure.layout.showlegend else []


def _has_bar(figure: go.Figure) -> bool:
    axis = figure.layout.coloraxis
    return axis.colorscale is not None and axis.showscale is not False


def _beside(figure: go.Figure, size: float) -> float:
    """Width that a legend or colour bar beside the pictures needs."""
    if names := _names(figure):
        figure.update_layout(legend={"x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top", "orientation": "v"})
        return KEY + 12 + min(widest(names, size), 200)
    return _BAR + 2 * LINE * size if _has_bar(figure) else EDGE


def _bar_beside(figure: go.Figure, tall: float) -> None:
    if _has_bar(figure):
        title = figure.layout.coloraxis.colorbar.title
        title.update(text=joined(wrapped(unwrapped(title.text), tall, most=2)), side="right")


def _keys_below(figure: go.Figure, names: Sequence[str], inner: float, size: float) -> float:
    """Put the legend under the pictures, where it takes no width; return the height that it needs."""
    if not names:
        return 0.0
    entry = min(widest(names, size), inner - KEY)
    place: dict[str, Any] = {
        "orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 0, "yanchor": "bottom",
        "entrywidth": entry, "entrywidthmode": "pixels", "font": {"size": size},
    }  # fmt: skip
    needed = KEY_LINE * key_rows(len(names), entry, inner) + 4.0
    figure.update_layout(legend=place | {"maxheight": needed + KEY_LINE})
    return needed
