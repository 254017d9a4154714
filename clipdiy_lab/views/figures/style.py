"""How every figure looks: two templates, the colours that are not a label's, and the change from one to the other."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final, Literal

import plotly.graph_objects as go

from clipdiy_lab.errors import FigureError, spelled

Theme = Literal["light", "dark"]

ACCENT: Final = "#3b87c8"
"""Ours; legible on both papers."""
OTHER: Final = "#8c8c96"
"""What ours is compared with, and legend keys that stand for a shape."""
SERIES: Final = ("#3b87c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#8778ff")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS: Final = ("circle", "diamond", "square", "triangle-up", "cross", "x")
_CLEAR: Final = "rgba(0,0,0,0)"


def _template(paper: str, ink: str, quiet: str, grid: str) -> go.layout.Template:
    axis = {"gridcolor": grid, "linecolor": quiet, "zerolinecolor": quiet, "zerolinewidth": 1}
    axis |= {"automargin": True, "title": {"standoff": 12}, "ticks": "outside", "ticklen": 5, "tickcolor": _CLEAR}
    return go.layout.Template(
        layout={
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "font": {"family": "Open Sans, DejaVu Sans, Arial, sans-serif", "size": 12, "color": ink},
            "title": {"font": {"size": 14}, "x": 0, "xref": "container", "pad": {"l": 12}},
            "colorway": list(SERIES),
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": paper, "bordercolor": quiet, "font": {"color": ink}, "align": "left"},
            "legend": {"bgcolor": _CLEAR},
            "coloraxis": {"colorbar": {"outlinewidth": 0, "thickness": 12, "tickcolor": quiet}},
        }
    )


TEMPLATES: Final[dict[str, go.layout.Template]] = {
    "light": _template("#ffffff", "#1c1c20", "#6e6e76", "#e4e4ea"),
    "dark": _template("#16161a", "#ececf0", "#9a9aa4", "#34343c"),
}


def plain(text: str) -> str:
    """Escape a text of the user's, because plotly reads a subset of HTML in titles, names and hover.

    Examples
    --------
    >>> plain("<b>cat & dog</b>")
    '&lt;b&gt;cat &amp; dog&lt;/b&gt;'
    """
    return html.escape(text, quote=False)


def as_figure(given: object) -> go.Figure:
    """Return what was given as a figure.

    Raises
    ------
    FigureError
        If it is something else, such as the run that a figure could be made of.
    """
    if not isinstance(given, go.Figure):
        raise FigureError(f"figure is {spelled(given)}; expected a plotly Figure, such as lab.figures.overlay(run).")
    return given


def theme(figure: go.Figure, name: Theme) -> go.Figure:
    """Return a copy of a figure on light or dark paper.

    Raises
    ------
    FigureError
        For another name, or something else than a figure.
    """
    figure = as_figure(figure)
    if name not in TEMPLATES:
        raise FigureError(f"there is no theme {name!r}; expected one of {', '.join(map(repr, TEMPLATES))}.")
    return go.Figure(figure).update_layout(template=TEMPLATES[name])


def charted(
    figure: go.Figure, title: str, *, width: int = 640, height: int = 400, names: Sequence[str] | None = None
) -> go.Figure:
    """Give a chart (not a picture) its title, size and margins; `names` are the lines of a horizontal chart."""
    left = 70
    if names is not None:
        # A letter takes about seven pixels.
        left = 24 + 7 * min(max(map(len, names)), 45)
        width, height = width + max(0, left - 160), 150 + 26 * max(len(names), 2)
    return figure.update_layout(
        template=TEMPLATES["light"],
        title=title,
        width=width,
        height=height,
        margin={"l": left, "r": 40, "t": 70, "b": 70},
    )
