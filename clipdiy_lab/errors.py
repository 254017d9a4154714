"""The errors of the lab: every bad input ends in one of these, with what came, what was expected and what to do."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable
from os import PathLike
from typing import TypeVar

from clipdiy_lab.text import printable

T = TypeVar("T")


class ClipdiyError(Exception):
    """Base class of every error that the lab raises deliberately.

    The message is one or two sentences: what was given, what was expected, what to do. It may contain labels, file
    names and server responses, so control characters in it are escaped when it is shown (`text.printable`).
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(ClipdiyError, ValueError):
    """A `Config` value, or a combination of values, that makes no sense."""


class LabelError(ClipdiyError, ValueError):
    """Labels that cannot be prompted: none, empty, twice the same, not text, or too long."""


class ImageError(ClipdiyError, ValueError):
    """An image that cannot be read, or that would silently be read wrongly."""


class SaliencyError(ClipdiyError, ValueError):
    """A saliency map of the wrong shape or range, or a saliency source that cannot work."""


class ModelError(ClipdiyError):
    """A model that is unknown, not available here, or does not fit its weights."""


class WeightsError(ModelError):
    """A weights file that is missing, has another hash, or holds other shapes."""


class DownloadError(ClipdiyError):
    """A file that no server gives as it should be."""


class DatasetError(ClipdiyError):
    """A dataset that is unknown, incomplete or inconsistent."""


class PredictionError(DatasetError):
    """Label maps that cannot be scored.

    Attributes
    ----------
    problems : tuple of (str, str)
        Every file with a problem, and what it is.
    """

    def __init__(self, message: str, problems: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class RunError(ClipdiyError):
    """A run (file or tree) that is corrupted, foreign or lacks the stage that is needed."""


class StoreError(ClipdiyError):
    """A store of embeddings that is damaged, unfinished, foreign, or made of something else than what is asked."""


class ClusterError(ClipdiyError):
    """A cluster that does not answer, runs other versions, sees no data, or lost its workers."""


class FigureError(ClipdiyError, ValueError):
    """Data that the figure asked for cannot be made of, or a figure that cannot be exported here."""


class StateError(ClipdiyError, ValueError):
    """A state of the explorer that is cut short, foreign, of another version, or holds a value that makes no sense."""


class OutputError(ClipdiyError, OSError):
    """A place that results cannot be written to; nothing half-written stays behind."""


class ClipdiyWarning(UserWarning):
    """Warning about something that does not stop the work (first frame of an animation, unknown word, ...).

    Shown with control characters escaped, like `ClipdiyError`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class OutOfDistributionWarning(ClipdiyWarning):
    """An image unlike everything that the model was trained on: a photograph before the embedded model."""


def require(given: object, protocol: type[T], name: str, expected: str, error: type[ClipdiyError]) -> T:
    """Return what was given if it meets a protocol.

    Raises
    ------
    ClipdiyError
        Of the type `error`, if it does not, or is a class and no object of it.
    """
    if isinstance(given, type):
        raise error(f"{name} is {spelled(given)}; expected an object of it: {given.__name__}().")
    if not isinstance(given, protocol):
        raise error(f"{name} is {spelled(given)}; expected {expected}.")
    return given


def spelled(given: object) -> str:
    """Say what came where something else was expected.

    Examples
    --------
    >>> spelled("scenes"), spelled(None), spelled(3.5), spelled(dict)
    ("the text 'scenes'", 'None', 'a float', 'the class dict')
    """
    if given is None or isinstance(given, bool):
        return str(given)
    if isinstance(given, str):
        return f"the text {given!r}"
    if isinstance(given, PathLike):
        return f"the path {os.fspath(given)!r}"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    return f"a {type(given).__name__}"


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """Sentence that names the known spellings closest to `name`.

    Examples
    --------
    >>> nearest("sofaa", ["sofa", "cat"])
    "Did you mean 'sofa'?"
    """
    known = list(known)
    twin = lookalike(name, known)
    if twin is not None:
        return f"Did you mean {twin!a}? {differing(name, twin)}."
    hits = difflib.get_close_matches(name, known, n=n, cutoff=0.5)
    if hits:
        return "Did you mean " + " or ".join(repr(hit) for hit in hits) + "?"
    listed = ", ".join(repr(one) for one in sorted(known)[:8])
    return f"Known: {listed}{f' and {len(known) - 8} more' if len(known) > 8 else ''}."


def lookalike(name: str, known: Iterable[str]) -> str | None:
    r"""Return the known name that looks like `name` but has other code points (another Unicode normal form).

    Examples
    --------
    >>> print(ascii(lookalike("caf\u00e9", ["cafe", "cafe\u0301"])))
    'cafe\u0301'
    """
    form = unicodedata.normalize("NFC", name)
    return next((other for other in known if other != name and unicodedata.normalize("NFC", other) == form), None)


def differing(name: str, other: str) -> str:
    r"""Say how two names differ that look the same, with their code points escaped.

    Examples
    --------
    >>> print(differing("caf\u00e9", "cafe\u0301")[:40])
    'caf\xe9' and 'cafe\u0301' look the same
    """
    return (
        f"{name!a} and {other!a} look the same but have different code points (Unicode normal forms: macOS "
        "writes one, other systems the other)"
    )
