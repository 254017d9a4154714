"""Figures as files for papers: SVG, PDF and PNG at the width of a column, or a page of HTML."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go

from clipdiy_lab.errors import FigureError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.views.figures.charts import CHART, arrange_chart
from clipdiy_lab.views.figures.fitting import SIZE
from clipdiy_lab.views.figures.layout import PICTURES, arrange_pictures
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
    """Return a copy with the width of one column (84 mm) or two (174 mm) at 96 px per inch, with 8-point text.

    Parameters
    ----------
    figure : plotly Figure
        A figure of this package is laid out again, so that there is room for text. For other figures, only the width
        and the text size change.
    columns : {1, 2}

    Raises
    ------
    FigureError
        For another number of columns, or an object that is not a figure.
    """
    if columns not in COLUMN_MM:
        raise FigureError(f"columns is {columns!r}; expected 1 ({COLUMN_MM[1]:g} mm) or 2 ({COLUMN_MM[2]:g} mm).")
    made = go.Figure(as_figure(figure))
    width, size, kept = COLUMN_MM[columns] * _PX_PER_MM, FONT_PT * _PX_PER_PT, made.layout.meta or {}
    made.for_each_trace(lambda trace: _smaller(trace, size / SIZE))
    if PICTURES in kept:
        return arrange_pictures(made, width, size)
    if CHART in kept:
        return arrange_chart(made, width, size)
    return made.update_layout(width=width, font_size=size)


def _smaller(trace: Any, share: float) -> None:
    if isinstance(trace, go.Scatter) and isinstance(trace.marker.size, int | float):
        trace.marker.size *= share


def save(figure: go.Figure, path: str | PathLike[str], columns: int = 1) -> Path:
    """Write a figure for a paper: ``.svg``, ``.pdf`` or ``.png`` (300 dpi), or an interactive ``.html``.

    The first three are rendered by kaleido with a local browser; HTML needs neither and keeps its own size.

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
        For another extension, an object that is not a figure, or if kaleido or a browser is missing; the message tells
        what to install.
    OutputError
        If the file cannot be written.
    """
    return save_all({path: figure}, columns)[0]


def save_all(figures: Mapping[str | PathLike[str], go.Figure], columns: int = 1) -> list[Path]:
    """Write several figures as `save` does, with one start of the browser for all of them.

    Parameters
    ----------
    figures : mapping of path to plotly Figure
    columns : {1, 2}
        As for `at_column_width`.

    Returns
    -------
    list of Path
        In the order given. Each file appears only when it is complete; nothing is drawn if one cannot be.

    Raises
    ------
    FigureError, OutputError
        As `save`.

    Examples
    --------
    >>> save_all({})
    []
    """
    wanted = [(Path(path), as_figure(figure)) for path, figure in figures.items()]
    for target, _ in wanted:
        if _kind(target) not in _FORMATS:
            raise FigureError(f"{target.name!r} ends in {target.suffix!r}; expected one of {', '.join(_FORMATS)}.")
    drawn = iter(
        draw(
            [
                (at_column_width(figure, columns), _kind(target), _DPI / 96 if _kind(target) == ".png" else 1)
                for target, figure in wanted
                if _kind(target) != ".html"
            ]
        )
    )
    for target, figure in wanted:
        page = _kind(target) == ".html"
        content = figure.to_html(include_plotlyjs=True, div_id="figure").encode() if page else next(drawn)
        with atomic_path(target) as part:
            part.write_bytes(content)
    return [target for target, _ in wanted]


def _kind(path: Path) -> str:
    return path.suffix.lower()


def draw(figures: Sequence[tuple[go.Figure, str, float]]) -> list[bytes]:
    """Draw figures at their own size with one start of the browser; each is given with its format and scale.

    Raises
    ------
    FigureError
        Where kaleido or a browser is missing: with what to install.
    """
    if not figures:
        return []
    kind = figures[0][1]
    if importlib.util.find_spec("kaleido") is None:
        raise FigureError(f"A {kind} file needs kaleido, which is not installed. {_INSTALL}")
    _require_browser(kind)
    try:
        # In a thread of its own, because a notebook has a running loop.
        with ThreadPoolExecutor(1) as apart:
            return apart.submit(asyncio.run, _drawn(figures)).result()
    except Exception as error:
        # The classes for a missing browser differ between kaleido's versions; all of them name Chrome.
        if "chrome" not in f"{type(error).__name__} {error}".lower():
            raise
        raise _no_browser(kind) from error


async def _drawn(figures: Sequence[tuple[go.Figure, str, float]]) -> list[bytes]:
    import kaleido

    made = []
    # No figure has formulas; without this kaleido would ask a server for what typesets them.
    async with kaleido.Kaleido(mathjax=False) as browser:
        for figure, kind, scale in figures:
            size = {"width": figure.layout.width, "height": figure.layout.height}
            made.append(await browser.calc_fig(figure.to_dict(), opts={"format": kind[1:], "scale": scale, **size}))
    return made


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
