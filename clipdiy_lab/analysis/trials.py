"""Which configurations a sweep tries: every combination of a grid, those that make no sense included."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from clipdiy_lab.errors import ConfigError, nearest, spelled
from clipdiy_lab.method.config import Config

SALIENCY, LABEL_NAMES = "saliency", "label_names"
"""What a grid may vary beside the knobs of `Config`: the saliency source, and the words for the dataset's labels."""
REPLICATE_SCORES = "replicates"
"""Attribute of a sweep's table: mIoU of every replicate, by the key of a row."""
ORACLE = "oracle"
"""Name of the saliency that is the truth: 1 where the mask is not the background."""

Grid = Mapping[str, Sequence[Any]] | Sequence[Config]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of a sweep, before it has a score.

    Attributes
    ----------
    config : Config or None
        None where the combination makes no sense.
    given : tuple of (str, object)
        What the grid said: knob and value.
    saliency : str or None
        Name of a saliency source or `ORACLE`; None: the one that the sweep was started with.
    label_names : tuple of str or None
        Words for the dataset's labels; None: its own.
    error : str
        Why the combination makes no sense; empty where it does.
    """

    config: Config | None
    given: tuple[tuple[str, Any], ...] = ()
    saliency: str | None = None
    label_names: tuple[str, ...] | None = None
    error: str = ""

    @property
    def key(self) -> str:
        """Hash of what decides the score: equal keys, equal rows."""
        config = None if self.config is None else self.config.to_json()
        given = None if self.config is not None else [(name, repr(value)) for name, value in self.given]
        text = json.dumps([config, given, self.saliency, self.label_names])
        return hashlib.sha256(text.encode()).hexdigest()


def trials(grid: Grid, base: Config, max_rows: int) -> list[Trial]:
    """Spell out a grid, in its order, the last knob fastest.

    Parameters
    ----------
    grid : mapping of knob to values, or sequence of Config
        Knobs of `Config`, `SALIENCY` and `LABEL_NAMES`.
    base : Config
        What the combinations of a mapping start from.
    max_rows : int
        The most rows that are meant to be.

    Raises
    ------
    ConfigError
        An unknown or empty field; a value that makes no sense in any combination; more than `max_rows` rows.
    """
    if not isinstance(grid, Mapping):
        return _given(grid, max_rows)
    if not grid:
        raise ConfigError("the grid is empty; give knobs with values, such as {'saliency_weight': [0, 0.5, 1]}.")
    known = (*Config.knobs(), SALIENCY, LABEL_NAMES)
    for name in grid:
        if name not in known:
            raise ConfigError(f"the grid names {name!r}, which is not a knob. {nearest(str(name), known)}")
    values = {name: _values(name, several) for name, several in grid.items()}
    rows = 1
    for several in values.values():
        rows *= len(several)
    _check_rows(rows, max_rows, {name: len(several) for name, several in values.items()})
    found = [_trial(dict(zip(values, one, strict=True)), base) for one in itertools.product(*values.values())]
    _refuse_useless(values, found, base)
    return found


def _given(configs: Any, max_rows: int) -> list[Trial]:
    if not isinstance(configs, Iterable):
        raise ConfigError(
            f"the grid is {spelled(configs)}; expected knobs with values, such as {{'saliency_weight': [0, 0.5, 1]}}, "
            "or a list of Configs."
        )
    listed = list(configs)
    if not listed or not all(isinstance(config, Config) for config in listed):
        raise ConfigError(
            "the grid is empty or contains something other than Config; give knobs with values, or Configs."
        )
    _check_rows(len(listed), max_rows, {})
    return [Trial(config=config) for config in listed]


def _values(name: str, several: Any) -> list[Any]:
    if isinstance(several, str | bytes | Mapping) or not isinstance(several, Iterable):
        raise ConfigError(f"the grid's {name} is {several!r}, not a list of values; write [{several!r}].")
    listed = list(several)
    if not listed:
        raise ConfigError(f"the grid's {name} is an empty list; give at least one value.")
    return listed


def _check_rows(rows: int, max_rows: int, sizes: Mapping[str, int]) -> None:
    if rows > max_rows:
        product = " x ".join(f"{size} {name}" for name, size in sizes.items())
        raise ConfigError(
            f"the grid has {rows:,} rows{f' ({product})' if product else ''}, more than {max_rows:,}; give fewer "
            "values, or allow it with max_rows= (on the command line --yes)."
        )


def _trial(given: dict[str, Any], base: Config) -> Trial:
    knobs = {name: value for name, value in given.items() if name not in (SALIENCY, LABEL_NAMES)}
    pairs = tuple(given.items())
    try:
        names = given.get(LABEL_NAMES)
        if names is not None and (isinstance(names, str) or not all(isinstance(name, str) for name in names)):
            raise ConfigError(f"label_names holds {names!r}; expected lists of words, one word per label.")
        source = given.get(SALIENCY)
        if source is not None and not isinstance(source, str):
            raise ConfigError(f"saliency is {source!r}; expected names of saliency sources, or {ORACLE!r}.")
        config = base.replace(**knobs)
    except ConfigError as error:
        return Trial(config=None, given=pairs, error=str(error))
    words = None if names is None else tuple(names)
    return Trial(config=config, given=pairs, saliency=source, label_names=words)


def _refuse_useless(values: Mapping[str, list[Any]], found: Sequence[Trial], base: Config) -> None:
    """Raise for a value that never takes part in a combination that makes sense: most likely a slip.

    Where every combination fails, every value is useless: the one to name is the one that fails by itself.
    """
    useless = []
    for name, several in values.items():
        for value in several:
            rows = [trial for trial in found if dict(trial.given)[name] is value]
            if all(trial.config is None for trial in rows):
                useless.append((name, value, rows[0].error))
    if useless:
        alone = [(name, value, error) for name, value, _ in useless if (error := _trial({name: value}, base).error)]
        name, value, error = (alone or useless)[0]
        raise ConfigError(f"in the grid, {name}={value!r} is never valid: {error}")


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a sweep's table with every cell a number or a text, for CSV and JSON.

    Scales and sizes become "256 128 64", mappings and lists JSON.
    """
    return table.map(_plain_cell)


def _plain_cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    if isinstance(value, tuple):
        whole = all(isinstance(one, int) for one in value)
        return " ".join(map(str, value)) if whole and value else json.dumps(value)
    return value
