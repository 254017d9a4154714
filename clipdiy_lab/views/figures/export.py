"""Figures as files for papers: SVG, PDF and PNG at the width of a column, or a page of HTML."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
from os import PathLike
from pathlib import Path
from typing import Final

import plotly.graph_objects as go

from clipdiy_lab.errors import FigureError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.views.figures.style import as_figure

COLUMN_MM: Final = {1: 84.0, 2: 174.0}
"""Width of one column and of a page of two, as conferences of the field set them (3.3 and 6.9 inches)."""
FONT_PT: Final = 8.0
_PX_PER_MM, _PX_PER_PT = 96 / 25.4, 96 / 72
_DPI: Final = 300
_START: Final = 30  # seconds
_FORMATS: Final = (".svg", ".pdf", ".png", ".html")
_INSTALL: Final = (
    "Install both: pip install 'kaleido>=1,<2', and Chromium or Chrome (Debian: apt-get install chromium; "
    "elsewhere: plotly_get_chrome). Without them, save as .html."
)


def at_column_width(figure: go.Figure, columns: int = 1) -> go.Figure:
    """Return a copy that is one column wide (84 mm) or two (174 mm) at 96 px an inch, with text of 8 points.

    Parameters
    ----------
    figure : plotly Figure
        One of this package's: width, height and margins in pixels.
    columns : {1, 2}

    Raises
    ------
    FigureError
        For another number of columns, or something else than a figure.
    """
    if columns not in COLUMN_MM:
        raise FigureError(f"columns is {columns!r}; expected 1 ({COLUMN_MM[1]:g} mm) or 2 ({COLUMN_MM[2]:g} mm).")
    figure = as_figure(figure)
    width = COLUMN_MM[columns] * _PX_PER_MM
    made = go.Figure(figure)
    old, margin = made.layout.width or 640, made.layout.margin
    text = FONT_PT * _PX_PER_PT
    # Pictures shrink with the width, what stands around them with the font.
    share, around = width / old, text / 12
    sides = {name: (getattr(margin, name) or 0) * around for name in ("l", "r", "t", "b")}
    inner = (old - (margin.l or 0) - (margin.r or 0), (made.layout.height or 400) - (margin.t or 0) - (margin.b or 0))
    # What has an aspect ratio: pictures, and grids of windows, which are drawn without one.
    pictured = made.layout.yaxis.scaleanchor is not None
    height = (inner[1] * (width - sides["l"] - sides["r"]) / inner[0]) if pictured else inner[1] * max(share, around)
    if made.layout.showlegend is not False and not pictured:
        sides["b"] += _legend_below(made, width)
    made.update_layout(width=width, height=height + sides["t"] + sides["b"], margin=sides, font_size=text)
    made.update_layout(title_font_size=text * 1.1).update_annotations(font_size=text)
    return made.for_each_trace(lambda trace: _smaller(trace, around))


def _legend_below(figure: go.Figure, width: float) -> float:
    """Put a chart's legend under it, where it takes no width; return the height that it needs."""
    names = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    if len(names) < 2:
        return 0
    place = {"xref": "container", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0, "yanchor": "bottom"}
    figure.update_layout(legend={"orientation": "h", **place})
    across = max(1, int(width / (45 + 6.5 * max(map(len, names)))))
    return 10 + 20 * math.ceil(len(names) / across)


def _smaller(trace: go.Scatter, share: float) -> None:
    if isinstance(trace, go.Scatter) and isinstance(trace.marker.size, int | float):
        trace.marker.size *= share


def save(figure: go.Figure, path: str | PathLike[str], columns: int = 1) -> Path:
    """Write a figure for a paper: ``.svg``, ``.pdf`` or ``.png`` (300 dots an inch), or ``.html`` to be looked at.

    The first three are drawn by kaleido in a browser of this machine; HTML needs neither and keeps its own size.

    Parameters
    ----------
    figure : plotly Figure
    path : path
        Appears only when the file is complete.
    columns : {1, 2}
        As for `at_column_width`.

    Raises
    ------
    FigureError
        For another ending, something else than a figure, or where kaleido or a browser is missing: with what to
        install.
    OutputError
        If the place cannot be written to.
    """
    figure, target = as_figure(figure), Path(path)
    kind = target.suffix.lower()
    if kind not in _FORMATS:
        raise FigureError(f"{target.name!r} ends in {target.suffix!r}; expected one of {', '.join(_FORMATS)}.")
    if kind == ".html":
        content = figure.to_html(include_plotlyjs=True, div_id="figure").encode()
    else:
        content = _drawn(at_column_width(figure, columns), kind)
    with atomic_path(target) as part:
        part.write_bytes(content)
    return target


def _drawn(figure: go.Figure, kind: str) -> bytes:
    if importlib.util.find_spec("kaleido") is None:
        raise FigureError(f"A {kind} file needs kaleido, which is not installed. {_INSTALL}")
    _require_browser(kind)
    try:
        drawn: bytes = figure.to_image(format=kind.removeprefix("."), scale=_DPI / 96 if kind == ".png" else 1)
    except Exception as error:
        # The classes for a missing browser differ between kaleido's and plotly's versions; all of them name Chrome.
        if "chrome" not in f"{type(error).__name__} {error}".lower():
            raise
        raise _no_browser(kind) from error
    return drawn


def _require_browser(kind: str) -> None:
    """Refuse a browser that does not start: kaleido (1.5) may wait without end for one that ends at once."""
    path = os.environ.get("BROWSER_PATH")
    if path is None or os.name != "posix":  # on Windows, asking Chrome for its version opens a window
        return
    try:
        subprocess.run([path, "--version"], check=True, capture_output=True, timeout=_START)  # noqa: S603 - the user's own
    except (OSError, subprocess.SubprocessError) as error:
        raise _no_browser(kind) from error


def _no_browser(kind: str) -> FigureError:
    return FigureError(f"A {kind} file needs a browser, and none was found or it did not start. {_INSTALL}")
