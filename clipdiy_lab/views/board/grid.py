"""What a grid on the board comes to: values from text, rows, and the portions in which they are run."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clipdiy_lab.analysis.sweep import MAX_ROWS
from clipdiy_lab.analysis.trials import SALIENCY, Trial, trials
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.knob_values import from_text
from clipdiy_lab.method.knobs import Form
from clipdiy_lab.models import saliency as sources_of_saliency

PORTION: Final = 4
"""Rows that are scored in one pass over the images: the table grows by so many."""


def suggested(knob: str) -> list[Any]:
    """Return values worth trying of a knob, from its metadata; the first is the default.

    Examples
    --------
    >>> suggested("saliency_weight")
    [1.0, 0.0, 0.5]
    """
    if knob == SALIENCY:
        return [name for name in sources_of_saliency.names() if name not in ("file", "constant")]
    meta, default = Config.knobs()[knob], getattr(Config(), knob)
    form = meta["form"]
    if form == "numbers":
        return [default, *((number,) for number in default)]
    if "choices" in meta or "suggestions" in meta:
        return list(dict.fromkeys([default, *meta.get("choices", meta.get("suggestions", ()))]))
    if form == "switch":
        return [default, not default]
    if form in ("number", "optional", "count"):
        low, high = meta["min"], min(meta["max"], 4) if form == "count" else meta["max"]
        return list(dict.fromkeys([default, low, type(low)((low + high) / 2), high]))[:3]
    return [default]


def values(text: str, knob: str) -> list[Any]:
    """Read values of a knob as they are typed, with commas or semicolons between them; what is blank is left out.

    A comma inside brackets or quotes belongs to its value; so does every comma of a knob whose values are texts or
    hold several numbers, unless these stand in brackets.

    Raises
    ------
    ConfigError
        If there are none.

    Examples
    --------
    >>> values("0, 0.5; 1", "saliency_weight"), values("256, 128; 64", "scales"), values("(256, 128), (64,)", "scales")
    ([0, 0.5, 1], [(256, 128), (64,)], [(256, 128), (64,)])
    """
    form = _form(knob)
    signs = ";" if form in _WITH_COMMAS else ",;"
    read = [from_text(part, form) for part in _parts(text, signs)]
    if form in _TUPLES:
        read = [member for value in read for member in _tuples(value)]
    found = list({repr(value): value for value in read}.values())
    if not found:
        example = spelled(suggested(knob)[:3])
        raise ConfigError(f"{knob} has no values; write them with commas or semicolons, such as {example}.")
    return found


_TUPLES: Final = ("numbers", "size")
_WITH_COMMAS: Final = (*_TUPLES, "text", "template", "words", "phrases")
"""Forms of knobs whose values may hold commas."""


def _form(knob: str) -> Form:
    return "choice" if knob == SALIENCY else Config.knobs()[knob]["form"]


def _parts(text: str, signs: str) -> list[str]:
    """Cut a text at signs that stand outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'" and not parts[-1].strip("([{, "):
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign in signs and depth <= 0:
            parts.append("")
            continue
        parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _tuples(value: Any) -> list[Any]:
    """Return the tuples of a value: several that stand in brackets, one, or a single number."""
    if isinstance(value, tuple) and value and all(isinstance(member, tuple | list) for member in value):
        return [tuple(member) for member in value]
    return [(value,) if isinstance(value, int) and not isinstance(value, bool) else value]


def spelled(several: Sequence[Any]) -> str:
    """Write values as `values` reads them."""
    return "; ".join(_spelled(one) for one in several)


def _spelled(one: Any) -> str:
    if isinstance(one, str):
        return json.dumps(one) if set(one) & set(";,\"'") else one
    return repr(one)


@dataclass(frozen=True)
class Portion:
    """Trials that one sweep takes; all of them make sense.

    Attributes
    ----------
    trials : tuple of Trial
    grid : what `sweep` takes
    """

    trials: tuple[Trial, ...]
    grid: Any


@dataclass(frozen=True)
class BoardPlan:
    """A grid spelled out.

    Attributes
    ----------
    trials : tuple of Trial
        In the grid's order; a combination that makes no sense says why.
    """

    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, grid: Mapping[str, Sequence[Any]], base: Config) -> BoardPlan:
        """Spell a grid out.

        Raises
        ------
        ConfigError
            For an empty grid, an unknown knob, a value that never makes sense or too many rows.
        """
        return cls(tuple(trials(grid, base, MAX_ROWS)))

    def portions(self, finished: Container[str] = ()) -> list[Portion]:
        """Return what is to be run: trials that make sense, without those whose keys are finished."""
        able = list({t.key: t for t in self.trials if t.config is not None and t.key not in finished}.values())
        plain = [trial for trial in able if trial.saliency is None]
        found = [_portion(plain[first : first + PORTION]) for first in range(0, len(plain), PORTION)]
        return found + [_of_source(trial) for trial in able if trial.saliency is not None]


def _portion(some: Sequence[Trial]) -> Portion:
    return Portion(tuple(some), [trial.config for trial in some])


def _of_source(trial: Trial) -> Portion:
    """A saliency source can be asked for only in a grid of knobs."""
    return Portion((trial,), {name: [value] for name, value in trial.given})
