"""Text from outside (labels, file names, answers of servers) as people can look at it safely."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Control characters, lone surrogates, line and paragraph separators, and format characters (bidi overrides, zero-width
# spaces, byte order marks, tags): what steers a terminal or hides in a line instead of standing in it.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Zero-width joiner and non-joiner are spelling in Persian, Hindi and many emoji.
_JOINERS: Final = frozenset("\u200c\u200d")
_SUSPECT: Final = re.compile(r"[^\x20-\x7e]")


def is_hidden(character: str) -> bool:
    r"""Whether a character steers a terminal or cannot be seen, and spells nothing.

    Examples
    --------
    >>> is_hidden("\x1b"), is_hidden("\u202e"), is_hidden("\n"), is_hidden("é"), is_hidden(" ")
    (True, True, True, False, False)
    """
    return character not in _JOINERS and unicodedata.category(character) in _HIDDEN


def printable(text: str) -> str:
    r"""Return a text in one line, with every character that a terminal obeys or hides written as its escape.

    These are control characters (so ANSI escapes, line breaks and tabs), bidi overrides and other format characters,
    and lone surrogates, which no output can encode. The joiners that Persian, Hindi and emoji are spelt with stay.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        The text itself where there is nothing to escape.

    Examples
    --------
    >>> print(printable("cat\x1b[31m\n\u202egod\ud800 café"))
    cat\x1b[31m\n\u202egod\ud800 café
    """
    return _SUSPECT.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character.encode("unicode_escape").decode("ascii") if is_hidden(character) else character
