"""How every figure looks: two templates, the colours that are not a label's, and the change from one to the other."""

from __future__ import annotations

from typing import Final, Literal

import plotly.graph_objects as go

from clipdiy_lab.errors import FigureError, spelled
from clipdiy_lab.views.figures.fitting import SIZE

Theme = Literal["light", "dark"]

ACCENT: Final = "#3b87c8"
"""Ours; legible on both papers."""
OTHER: Final = "#8c8c96"
"""What ours is compared with, and legend keys that stand for a shape."""
SERIES: Final = ("#3b87c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#8778ff")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS: Final = ("circle", "diamond", "square", "triangle-up", "cross", "x")
TOOLS: Final = 160
"""Pixels that the buttons of a figure take at its upper right corner: no title goes there."""
_CLEAR: Final = "rgba(0,0,0,0)"
_SPARE: Final = ("zoomIn", "zoomOut", "autoScale", "select", "lasso", "sendChartToCloud")
"""Buttons that are left out: a drag and a double click do what they do, and nothing of the user's goes to a server."""


def _template(paper: str, ink: str, quiet: str, grid: str) -> go.layout.Template:
    written = {"font": {"size": SIZE}}
    axis = {"gridcolor": grid, "linecolor": quiet, "zerolinecolor": quiet, "zerolinewidth": 1}
    # Margins are worked out from the texts: plotly's own would make pictures of one row unequal.
    axis |= {"automargin": False, "title": {"standoff": 8, **written}, "ticks": "outside", "ticklen": 5}
    axis |= {"tickcolor": _CLEAR}
    return go.layout.Template(
        layout={
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "font": {"family": "Open Sans, DejaVu Sans, Arial, sans-serif", "size": SIZE, "color": ink},
            "title": {
                "font": {"size": 14}, "x": 0, "xref": "container", "y": 1, "yref": "container", "yanchor": "top",
                "pad": {"l": 12, "t": 12},
            },
            "colorway": list(SERIES),
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": paper, "bordercolor": quiet, "font": {"color": ink}, "align": "left"},
            "legend": {"bgcolor": _CLEAR},
            "modebar": {"bgcolor": _CLEAR, "color": quiet, "activecolor": ink, "remove": list(_SPARE)},
            "coloraxis": {
                "colorbar": {"outlinewidth": 0, "thickness": 12, "tickcolor": quiet, "title": written},
            },
        }
    )  # fmt: skip


TEMPLATES: Final[dict[str, go.layout.Template]] = {
    "light": _template("#ffffff", "#1c1c20", "#6e6e76", "#e4e4ea"),
    "dark": _template("#16161a", "#ececf0", "#9a9aa4", "#34343c"),
}


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
    """Return a copy of a figure in the light or dark theme.

    Raises
    ------
    FigureError
        For another name, or an object that is not a figure.
    """
    figure = as_figure(figure)
    if name not in TEMPLATES:
        raise FigureError(f"there is no theme {name!r}; expected one of {', '.join(map(repr, TEMPLATES))}.")
    return go.Figure(figure).update_layout(template=TEMPLATES[name])
