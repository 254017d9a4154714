"""What label names and counts of mask values show about a dataset: names that do not work, labels that occur nowhere.

Only names and counts are looked at, so the same sentences serve a folder before it is scored and a result afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import differing
from clipdiy_lab.text import MAX_LABEL, leveled, listed, quoted, unseen

Level = Literal["error", "warning"]
BACKGROUND: Final = "background"
_LIKE_BACKGROUND: Final = frozenset(
    {"background", "bg", "back", "backgrd", "unlabeled", "unlabelled", "unannotated", "void", "none", "nothing", "null"}
    | {"other", "others", "rest", "empty", "unknown", "undefined"}
)
_NUMBER_FIRST: Final = re.compile(r"\W*(\d+)[\W_]+(?=.*[^\W\d])(.+)")
_NUMBER_LAST: Final = re.compile(r"(.*[^\W\d].*?)[\W_]+(\d+)\W*")
_MUCH_IGNORED: Final = 0.5  # share of the pixels above which it is said even if every label occurs


@dataclass(frozen=True)
class Finding:
    """A problem that a check found.

    Parameters
    ----------
    level : {"error", "warning"}
        An error is wrong as it stands; a warning may be right, and is worth a look.
    text : str
        What was found, what was expected, what to do.
    """

    level: Level
    text: str


def name_errors(names: Sequence[str]) -> Iterator[Finding]:
    """Names that no configuration can score: `models.prompts.check_labels` refuses exactly these.

    Examples
    --------
    >>> [finding.text for finding in name_errors(["Cat", "dog", "cat"])]
    ["Lines 1 and 3, 'Cat' and 'cat', are the same name for a text encoder, which ignores case. Expected each once."]
    """
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        line, hidden = f"Line {number + 1}", unseen(name.strip())
        if not name.strip():
            yield Finding("error", f"{line} is empty. Expected a class name.")
            continue
        if hidden:
            yield Finding("error", f"{line}, {quoted(name)}, holds {hidden}. Write it without that character.")
        elif len(name.strip()) > MAX_LABEL:
            yield Finding("error", f"{line}, {quoted(name)}, is too long. Expected at most {MAX_LABEL:,} characters.")
        earlier = first.setdefault(leveled(name), number)
        if earlier != number:
            lines = f"Lines {earlier + 1} and {number + 1}"
            yield Finding("error", f"{lines}{_sameness(names[earlier], name)} Expected each once.")


def _sameness(name: str, again: str) -> str:
    if name == again:
        return f" both say {quoted(name)}."
    if name.lower() != again.lower() and leveled(name) == leveled(again):
        return f" are the same name: {differing(name[:60], again[:60])}."
    return f", {quoted(name)} and {quoted(again)}, are the same name for a text encoder, which ignores case."


def name_findings(names: Sequence[str]) -> Iterator[Finding]:
    """Names that are probably wrong, and a background that scoring would not find.

    Examples
    --------
    >>> next(name_findings(["bg", "cat"])).text
    "Line 1, 'bg', looks like the background, which scoring expects by the name 'background'. Rename that line, or \
score with Config(background_label='bg')."
    """
    numbered = _numbered(names)
    if numbered is not None:
        yield numbered
        return
    if len(names) == 1 and leveled(names[0]) == BACKGROUND:
        yield Finding("error", f"{names[0]!r} is the only name. Expected at least one more, for the foreground.")
        return
    places = [number for number, name in enumerate(names) if leveled(name) == BACKGROUND]
    if places and places[0] > 0:
        yield Finding(
            "warning",
            f"{names[places[0]]!r} is line {places[0] + 1}, so the mask value {places[0]} means background, and 0 "
            "means "
            f"{names[0]!r}. In most masks 0 is the background: check the order of the lines.",
        )
    if places or not names:
        return
    likely = next((number for number, name in enumerate(names) if _plain(name) in _LIKE_BACKGROUND), None)
    if likely is not None:
        yield Finding(
            "warning",
            f"Line {likely + 1}, {names[likely]!r}, looks like the background, which scoring expects by the name "
            f"{BACKGROUND!r}. Rename that line, or score with Config(background_label={names[likely]!r}).",
        )
        return
    yield Finding(
        "warning",
        f"No line is {BACKGROUND!r}, which the default configuration needs for scoring. Score with "
        f"Config(background='none') if every pixel has one of these classes, or add the line.",
    )


def label_findings(
    names: Sequence[str], pixels: npt.NDArray[np.integer], ignored: int, *, whole: bool = True
) -> Iterator[Finding]:
    """Labels that occur nowhere, how much is ignored, and the likely cause.

    Parameters
    ----------
    names : sequence of str
        Label names.
    pixels : integer array, one per label
        How many pixels of the masks have each label.
    ignored : int
        How many are ignored.
    whole : bool
        Whether the masks are all of a dataset. Of a part, labels may well be missing, so only what is suspicious in a
        part too is given.
    """
    total, nowhere = int(pixels.sum()) + ignored, np.flatnonzero(pixels == 0)
    if not total:
        return
    share = f"{100 * ignored / total:.1f} % of the pixels are ignored (mask value {IGNORE})."
    if ignored == total:
        yield Finding("error", f"Every pixel is ignored (mask value {IGNORE}), so nothing can be scored.")
    elif ignored and pixels[0] and 0 < len(nowhere) == len(names) - 1:
        yield Finding("error", f"{_nowhere(names, nowhere)} {share} {_foreground_as_ignore(names)}")
    elif len(nowhere) and whole:
        yield Finding("warning", f"{_nowhere(names, nowhere)} {share} {_cause(names, nowhere, ignored)}")
    elif ignored > _MUCH_IGNORED * total:
        yield Finding(
            "warning", f"{share[0].upper()}{share[1:]} Check that {IGNORE} does not stand for a class in the masks."
        )


def _foreground_as_ignore(names: Sequence[str]) -> str:
    return (
        f"Only {names[0]!r} is left. Painting tools save foreground as {IGNORE}, which means ignore here. If it stands "
        f"for {names[1]!r}, write the masks with 1 instead: np.where(mask == {IGNORE}, 1, mask)."
    )


def _cause(names: Sequence[str], nowhere: npt.NDArray[np.intp], ignored: int) -> str:
    first = int(nowhere[0])
    if len(nowhere) == 1 and ignored and first:
        return f"If {IGNORE} stands for {names[first]!r} in the masks, write {first} instead."
    if first == 0 and len(nowhere) == 1:
        return f"If the masks count from 1, the names are shifted by one: {names[0]!r} is label 0."
    if nowhere.tolist() == list(range(first, len(names))):
        return f"The masks end at label {first - 1}, {names[first - 1]!r}: check that the names belong to these masks."
    return "Check that the names are in the order of the mask values, from 0, and belong to these masks."


def _nowhere(names: Sequence[str], nowhere: npt.NDArray[np.intp]) -> str:
    verb = "occurs" if len(nowhere) == 1 else "occur"
    return f"{len(nowhere)} of {len(names)} labels {verb} in no mask: {listed([names[label] for label in nowhere])}."


def _numbered(names: Sequence[str]) -> Finding | None:
    """Return an error if every name has a number and the numbers count up."""
    for form, number, word in ((_NUMBER_FIRST, 1, 2), (_NUMBER_LAST, 2, 1)):
        matches = [match for match in map(form.fullmatch, names) if match is not None]
        numbers, words = [int(match[number]) for match in matches], {match[word] for match in matches}
        # Where the words alone are not unique, as in class_0 and class_1, the number belongs to the name.
        if 1 < len(names) == len(words) and numbers == list(range(numbers[0], numbers[0] + len(names))):
            start = "" if numbers[0] == 0 else f" Line 1 is numbered {numbers[0]}, but names the mask value 0."
            return Finding(
                "error",
                f"Each line has a number, as in {names[0]!r}, which would be part of the name and of its prompt. "
                f"Write only {matches[0][word]!r}: line n, counted from 0, names the mask value n.{start}",
            )
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
