"""Text from outside (labels, file names, answers of servers) as people can look at it safely."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

# Control characters, lone surrogates, line and paragraph separators, and format characters (bidi overrides, zero-width
# spaces, byte order marks, tags): what steers a terminal or hides in a line instead of standing in it.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Zero-width joiner and non-joiner are spelling in Persian, Hindi and many emoji.
_JOINERS: Final = frozenset("\u200c\u200d")
_SUSPECT: Final = re.compile(r"[^\x20-\x7e]")
# Beyond the categories above, characters that fonts draw as nothing (Unicode: Default_Ignorable_Code_Point).
_BLANK: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0]")
# A joiner between letters, and a variation selector behind one, spell something outside ASCII only.
_STRAY: Final = re.compile(
    "(?<![^\\x00-\\x7f])[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]|[\u200c\u200d](?![^\\x00-\\x7f])"
)
_NAMES: Final = {"\0": "NULL", "\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\x1b": "ESCAPE"}


MAX_LABEL: Final = 1000
"""Characters of the longest label; the text encoders of today read 77 tokens, few of them more."""


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


def unseen(text: str) -> str | None:
    r"""Name the first character of a text that nobody sees: a word with one is another word that looks the same.

    Parameters
    ----------
    text : str

    Returns
    -------
    str or None
        Code point and Unicode name of a control, format or blank character, a lone surrogate, or a joiner or variation
        selector that joins or varies nothing; None where every character can be seen.

    Examples
    --------
    >>> unseen("big\ncat"), unseen("cat\u200b"), unseen("\ud800")
    ('U+000A LINE FEED', 'U+200B ZERO WIDTH SPACE', 'U+D800 LONE SURROGATE')
    >>> unseen("cat") is None
    True
    """
    stray = {match.start() for match in _STRAY.finditer(text)}
    for place, character in enumerate(text):
        if is_hidden(character) or place in stray or _BLANK.match(character):
            return f"U+{ord(character):04X} {_name(character)}"
    return None


def _name(character: str) -> str:
    unnamed = {"Cc": "CONTROL CHARACTER", "Cs": "LONE SURROGATE"}.get(unicodedata.category(character), "")
    return _NAMES.get(character, unicodedata.name(character, unnamed))


def leveled(label: str) -> str:
    r"""Return a label as tokenizers see it: labels that are equal here get one embedding.

    Upper and lower case, composed and decomposed accents, and one or more spaces are the same.

    Examples
    --------
    >>> leveled("  Caf\u00c9  au lait") == leveled("cafe\u0301 au lait")
    True
    """
    return " ".join(unicodedata.normalize("NFC", label).lower().split())


def quoted(text: str, most: int = 60) -> str:
    """Return a text as Python spells it; of a long one the beginning and the length.

    Examples
    --------
    >>> quoted("cat"), quoted("ab" * 5000, most=4)
    ("'cat'", "'abab'... (10,000 characters)")
    """
    return repr(text) if len(text) <= most else f"{text[:most]!r}... ({len(text):,} characters)"


def listed(texts: Sequence[str], most: int = 5) -> str:
    """Return texts in quotes with commas between them; of many the first, and how many more there are.

    Examples
    --------
    >>> listed(["cat", "sofa"]), listed(["a", "b", "c"], most=1)
    ("'cat', 'sofa'", "'a' and 2 more")
    """
    shown = ", ".join(map(quoted, texts[:most]))
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most:,} more"


def split_list(line: str) -> list[str]:
    """Split a line at its commas; a text with a comma stands in double quotes, as in CSV.

    Parameters
    ----------
    line : str

    Returns
    -------
    list of str
        Without the spaces around them.

    Raises
    ------
    ValueError
        If a quote is not closed, or something else than a comma follows the closing one.

    Examples
    --------
    >>> split_list('"building, edifice", sky')
    ['building, edifice', 'sky']
    """
    try:
        fields = _fields(line)
    except csv.Error as error:
        try:
            fields = _fields(re.sub(r'"\s+(?=,|$)', '"', line))  # a space after the closing quote, which CSV has not
        except csv.Error:
            raise ValueError(str(error)) from None
    return [text.strip() for text in fields]


def _fields(line: str) -> list[str]:
    return [text for row in csv.reader([line], skipinitialspace=True, strict=True) for text in row]


def join_list(texts: Sequence[str]) -> str:
    """Join texts with commas so that `split_list` gives them back.

    Examples
    --------
    >>> join_list(["building, edifice", "sky"])
    '"building, edifice", sky'
    """
    return ", ".join(map(_as_field, texts))


def _as_field(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()
