"""Text that has a place: how wide it will be, and how it is wrapped or cut so that it fits."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

SIZE: Final = 12.0
"""Height of the letters on a screen, pixels."""
EDGE: Final = 12.0
"""Pixels between what is drawn and the edge of a figure."""
TITLE: Final = 14 / SIZE
"""Height of a title's letters, in heights of the others."""
LINE: Final = 1.3
"""Height of a line, in heights of its letters: plotly's."""
# Widths in heights, of DejaVu Sans: of the fonts that the templates name the widest, so that text fits in all of them.
_WIDTHS: Final = {
    **dict.fromkeys("ijl|'", 0.28), **dict.fromkeys(" .,:;!/()[]-ftrI", 0.38), **dict.fromkeys("mwMW%@", 0.95),
}  # fmt: skip
_LOWER, _UPPER, _WIDE = 0.62, 0.7, 1.05


def plain(text: str) -> str:
    """Escape a text of the user's, because plotly reads a subset of HTML in titles, names and hover.

    Examples
    --------
    >>> plain("<b>cat & dog</b>")
    '&lt;b&gt;cat &amp; dog&lt;/b&gt;'
    """
    return html.escape(text, quote=False)


def width_of(text: str, size: float = SIZE) -> float:
    """Width of a text in pixels, rather too wide than too narrow.

    Examples
    --------
    >>> round(width_of("cosine")), round(width_of("will")) < round(width_of("warm"))
    (41, True)
    """
    return size * sum(map(_width, text))


def _width(letter: str) -> float:
    if letter in _WIDTHS:
        return _WIDTHS[letter]
    if unicodedata.east_asian_width(letter) in "WF":
        return _WIDE
    return _UPPER if letter.isupper() else _LOWER


def widest(texts: Iterable[str], size: float = SIZE) -> float:
    """Width of the widest of some texts, pixels."""
    return max((width_of(text, size) for text in texts), default=0.0)


def wrapped(text: str, width: float, size: float = SIZE, most: int = 3) -> list[str]:
    """Break a text into lines that fit; what does not fit into `most` lines is cut, visibly.

    Examples
    --------
    >>> wrapped("change of the saliency weight", 120)
    ['change of the', 'saliency weight']
    >>> wrapped("pneumonoultramicroscopic", 60)
    ['pneumo…']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and width_of(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]}…"]
    return [_cut(line, width, size) for line in lines]


def _cut(line: str, width: float, size: float) -> str:
    if width_of(line, size) <= width:
        return line
    line = line.rstrip("…")
    while line and width_of(f"{line}…", size) > width:
        line = line[:-1]
    return f"{line}…"


def joined(lines: Sequence[str]) -> str:
    """Join lines as plotly reads them, escaped."""
    return "<br>".join(map(plain, lines))


def heading(lines: Sequence[str], size: float) -> dict[str, object]:
    """Return the title of a figure: plotly puts the last of its lines where a title of one line is."""
    return {
        "text": joined(lines),
        "font": {"size": size},
        "pad": {"l": EDGE, "t": EDGE + (len(lines) - 1) * LINE * size},
    }


def unwrapped(text: str | None) -> str:
    """Return the text that `joined` was given, on one line."""
    return html.unescape((text or "").replace("<br>", " "))
