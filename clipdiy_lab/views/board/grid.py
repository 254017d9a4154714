"""What a grid on the board comes to: values from text, rows, and the portions in which they are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clipdiy_lab.analysis.sweep import MAX_ROWS
from clipdiy_lab.analysis.trials import SALIENCY, Trial, trials
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.knob_values import from_text
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
    if form in ("choice", "template"):
        return list(dict.fromkeys([default, *meta.get("choices", meta.get("suggestions", ()))]))
    if form == "switch":
        return [default, not default]
    if form in ("number", "optional", "count"):
        low, high = meta["min"], min(meta["max"], 4) if form == "count" else meta["max"]
        return list(dict.fromkeys([default, low, type(low)((low + high) / 2), high]))[:3]
    return [default]


def values(text: str) -> list[Any]:
    """Read values as they are typed, ``;`` between them: numbers, tuples, texts.

    Raises
    ------
    ConfigError
        If there are none.

    Examples
    --------
    >>> values("0; 0.5; 1"), values("(256, 128); (64,)"), values("stretched; centred")
    ([0, 0.5, 1], [(256, 128), (64,)], ['stretched', 'centred'])
    """
    found = [from_text(part.strip()) for part in text.split(";") if part.strip()]
    if not found:
        raise ConfigError("there are no values; write them with ; between them, such as 0; 0.5; 1.")
    return found


def spelled(several: Sequence[Any]) -> str:
    """Write values as `values` reads them."""
    return "; ".join(one if isinstance(one, str) else repr(one) for one in several)


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
    portions : tuple of Portion
    """

    trials: tuple[Trial, ...]
    portions: tuple[Portion, ...]

    @classmethod
    def of(cls, grid: Mapping[str, Sequence[Any]], base: Config) -> BoardPlan:
        """Spell a grid out.

        Raises
        ------
        ConfigError
            For an empty grid, an unknown knob, a value that never makes sense or too many rows.
        """
        listed = tuple(trials(grid, base, MAX_ROWS))
        able = [trial for trial in listed if trial.config is not None]
        plain = [trial for trial in able if trial.saliency is None]
        found = [_portion(plain[first : first + PORTION]) for first in range(0, len(plain), PORTION)]
        found += [_of_source(trial) for trial in able if trial.saliency is not None]
        return cls(listed, tuple(found))


def _portion(some: Sequence[Trial]) -> Portion:
    return Portion(tuple(some), [trial.config for trial in some])


def _of_source(trial: Trial) -> Portion:
    """A saliency source can be asked for only in a grid of knobs."""
    return Portion((trial,), {name: [value] for name, value in trial.given})
