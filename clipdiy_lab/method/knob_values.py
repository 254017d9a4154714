"""What the values of knobs are: the mappings that never change, and how a given value comes to its one canonical form.

Every function here takes what a user gave and returns what `Config` keeps, or raises `ConfigError`: what came, what was
expected.
"""

from __future__ import annotations

import ast
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field
from os import PathLike
from typing import Any, Generic, TypeVar

from clipdiy_lab.errors import ConfigError, nearest, spelled
from clipdiy_lab.method.knobs import Form
from clipdiy_lab.method.naming import grid_name, named
from clipdiy_lab.text import quoted, unseen

MAX_SIDE = 8192
"""Longest side of the frame, in pixels; beyond it the stages of the frame do not fit in memory."""


OFFICIAL_TEMPLATE = "a photo of a {label}"
TEMPLATE_SETS = ("imagenet80", "scene85")
"""Names that stand for many templates; `models.prompts.templates` knows their texts."""

MIN_INPUT, MAX_INPUT = 8, 1024
"""Sides that `Config.crop_input` may give the encoder's input, in pixels."""

K = TypeVar("K")
V = TypeVar("V")


class _Frozen(Mapping[K, V], Generic[K, V]):
    """A mapping that never changes and can be hashed."""

    _items: tuple[tuple[K, V], ...]

    def __getitem__(self, key: K) -> V:
        return dict(self._items)[key]

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr(dict(self._items))


class Synonyms(_Frozen[str, tuple[str, ...]]):
    """All phrases that stand for a label, label by label in alphabetical order.

    The best phrase counts. A label counts itself only where it is among its phrases; a label that is not named here
    stands for itself alone.

    Examples
    --------
    >>> Synonyms({"sofa": ["sofa", "couch"]})
    {'sofa': ('sofa', 'couch')}
    """

    def __init__(self, phrases: Mapping[str, Iterable[str]] | None = None) -> None:
        self._items = tuple(sorted((label, tuple(several)) for label, several in (phrases or {}).items()))


class Weights(_Frozen[str, float]):
    """Weights of grids in the merge, by the grid's name; a grid that is not named weighs 1.

    Examples
    --------
    >>> weights = Weights({"s256": 0, "s064": 2})
    >>> weights["s064"], weights
    (2.0, {'s256': 0.0, 's064': 2.0})
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._items = tuple((name, float(weight)) for name, weight in (weights or {}).items())


class CropInput(_Frozen[int, int]):
    """Side of the encoder's input by scale, in pixels; a scale that is not named has the encoder's own.

    Examples
    --------
    >>> CropInput({64: 96})
    {64: 96}
    """

    def __init__(self, sides: Mapping[int, int] | None = None) -> None:
        self._items = tuple(sorted((int(scale), int(side)) for scale, side in (sides or {}).items()))


def from_text(text: str, form: Form | None = None) -> Any:
    """Return the value that a text spells: JSON, else a Python literal; anything else stands for itself.

    Where the form of the value is a text, only quotes and lists are read.

    Examples
    --------
    >>> from_text("0.5"), from_text("true"), from_text("None"), from_text("(256, 128)"), from_text("centred")
    (0.5, True, None, (256, 128), 'centred')
    >>> from_text("12", "text"), from_text('["a {label}"]', "template")
    ('12', ['a {label}'])
    """
    value: Any = text
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        break
    return value if form not in ("text", "choice", "template") or isinstance(value, str | list | tuple) else text


def read_json(text: str) -> dict[str, Any]:
    """Return the values of knobs that `Config.to_json` wrote.

    Raises
    ------
    ConfigError
        If it is no JSON object.
    """
    try:
        values = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(text, PathLike) or (isinstance(text, str) and text.strip().endswith(".json")):
            raise ConfigError(
                f"the configuration is {spelled(text)}, which looks like a path; from_json takes the file's text: "
                f"Config.from_json(Path({os.fspath(text)!r}).read_text())."
            ) from None
        raise ConfigError(f"the configuration is not JSON ({error}); expected what Config.to_json wrote.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"the configuration is a JSON {type(values).__name__}; expected an object of knobs.")
    return values


def read(knob: Field[Any], value: Any) -> Any:
    """Bring what was given for a knob to its canonical form.

    Weights are left as they are: `read_weights` needs the grids.

    Raises
    ------
    ConfigError
        If it makes no sense for the knob's form, choices or bounds.
    """
    return _READERS[knob.metadata["form"]](knob, value)


def _read_numbers(knob: Field[Any], given: Any) -> tuple[int, ...]:
    """Whole numbers, each once, in the order given."""
    name, expected = knob.name, f"{knob.metadata['help']} such as {knob.default}"
    members = _sequence(given)
    if members is None:
        raise ConfigError(f"{name} is {given!r}; expected {expected}.")
    numbers = tuple(_integer(member, name) for member in members)
    if not numbers and "selects_from" not in knob.metadata:
        raise ConfigError(f"{name} is empty; expected {expected}.")
    low, high = knob.metadata["min"], knob.metadata["max"]
    for number in numbers:
        if numbers.count(number) > 1:
            raise ConfigError(f"{name} {numbers} names {number} twice; give each once.")
        if not low <= number <= high:
            raise ConfigError(f"{name} holds {number}; expected {low} to {high} ({knob.metadata['help']}).")
    return numbers


def _read_size(knob: Field[Any], given: Any) -> tuple[int, int]:
    """Two sides; one number means a square."""
    name, low, high = knob.name, knob.metadata["min"], knob.metadata["max"]
    members = _sequence(given)
    size = (given, given) if members is None else members
    if len(size) != 2:
        raise ConfigError(f"{name} is {given!r}; expected one side or (height, width) in pixels.")
    height, width = (_integer(side, name) for side in size)
    if min(height, width) < low or max(height, width) > high:
        raise ConfigError(f"{name} is {height} x {width}; expected sides from {low} to {high} pixels.")
    return height, width


def _read_template(knob: Field[Any], given: Any) -> str | tuple[str, ...]:
    """One template, several, or the name of a set."""
    name, templates = knob.name, (given,) if isinstance(given, str) else given
    if not isinstance(templates, (tuple, list)) or not templates:
        raise ConfigError(f"{name} is {given!r}; expected a text with the field {{label}}, or several of them.")
    if isinstance(given, str) and given in TEMPLATE_SETS:
        return str(given)
    for template in templates:
        if not isinstance(template, str) or "{label}" not in template:
            raise ConfigError(
                f"{name} {template!r} lacks the field {{label}}; expected e.g. '{OFFICIAL_TEMPLATE}', "
                f"or alone one of the names {', '.join(TEMPLATE_SETS)}."
            )
        _check_seen(template, name)
    return str(given) if isinstance(given, str) else tuple(str(template) for template in templates)


def _read_text(knob: Field[Any], given: Any) -> str:
    """Return a text, stripped."""
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"{knob.name} is {given!r}; expected a word such as {knob.default!r}.")
    return _check_seen(given.strip(), knob.name)


def _read_words(given: Any, name: str) -> tuple[str, ...]:
    """Stripped phrases, each once; upper and lower case count as the same, since CLIP's tokenizer lowers them."""
    members = _sequence(given)
    if members is None:
        raise ConfigError(f"{name} is {given!r}; expected a list of phrases such as ['sky', 'wall'].")
    kept: dict[str, str] = {}
    for phrase in members:
        if not isinstance(phrase, str) or not phrase.strip():
            raise ConfigError(f"{name} holds {phrase!r}; expected phrases, each a text that is not empty.")
        kept.setdefault(phrase.strip().lower(), _check_seen(phrase.strip(), name))
    return tuple(kept.values())


def _read_phrases(knob: Field[Any], given: Any) -> Synonyms:
    """Phrases of labels, each label once."""
    name = knob.name
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} is {given!r}; expected phrases for each label, e.g. {{'sofa': ['sofa', 'couch']}}.")
    phrases: dict[str, tuple[str, ...]] = {}
    for key, members in given.items():
        if not isinstance(key, str) or not key.strip():
            raise ConfigError(f"{name} has phrases for {key!r}; expected the text of a label.")
        label = _check_seen(key.strip(), name)
        if label.lower() in (other.lower() for other in phrases):
            raise ConfigError(f"{name} names the label {label!r} twice; give its phrases in one list.")
        phrases[label] = _read_words(members, f"{name} of {label!r}")
        if not phrases[label]:
            raise ConfigError(f"{name} of {label!r} is empty; give at least one phrase, or leave the label out.")
    return Synonyms(phrases)


def read_weights(given: Any, grids: tuple[str, ...]) -> Weights:
    """Weights other than 1, by the names of `grids` and in their order; not all of them 0."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"weights is {given!r}; expected weights by grid, such as {{'s064': 0.5}} or {{64: 0.5}}.")
    weights: dict[str, float] = {}
    for key, value in given.items():
        name, weight = grid_name(_plain(key)), _number(value)
        meant = named(name, grids)
        if not meant:
            raise ConfigError(
                f"weights has the grid {key!r}, which this configuration lacks; it has {', '.join(grids)}. "
                f"{nearest(name, grids)}"
            )
        twice = [grid for grid in meant if grid in weights]
        if twice:
            raise ConfigError(f"weights {dict(given)} names the grid {twice[0]} twice; give one weight for each grid.")
        if weight is None or weight < 0:
            raise ConfigError(f"the weight of {name} is {value!r}; expected a finite number from 0 up.")
        weights |= dict.fromkeys(meant, weight)
    if not any(weights.get(name, 1.0) for name in grids):
        raise ConfigError(
            "every grid has weight 0, so there is nothing to merge; give at least one grid a positive weight."
        )
    return Weights({name: weights[name] for name in grids if weights.get(name, 1.0) != 1})


def _read_sides(knob: Field[Any], given: Any) -> CropInput:
    """Sides of the encoder's input by scale."""
    name, low, high = knob.name, knob.metadata["min"], knob.metadata["max"]
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} is {given!r}; expected a side in pixels by scale, e.g. {{64: 96}}.")
    sides = {scale: _integer(side, name) for scale, side in _by_scale(given, name).items()}
    for scale, side in sides.items():
        if not low <= side <= high:
            raise ConfigError(f"{name} gives scale {scale} a side of {side}; expected {low} to {high} pixels.")
    return CropInput(sides)


def _read_choice(knob: Field[Any], given: Any) -> Any:
    value, choices = _plain(given), knob.metadata["choices"]
    if isinstance(value, str) and value in choices:
        return value
    hint = nearest(str(value), choices)
    raise ConfigError(f"{knob.name} is {value!r}; expected one of {', '.join(choices)}. {hint}")


def _read_switch(knob: Field[Any], given: Any) -> bool:
    value = _plain(given)
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{knob.name} is {value!r}; expected True or False.")


def _read_number(knob: Field[Any], given: Any) -> float | None:
    """Number within its bounds, whole where these are; None where it is ``optional``."""
    meta, value = knob.metadata, _plain(given)
    if value is None and meta["form"] == "optional":
        return None
    whole, number = isinstance(meta["min"], int), _number(value)
    if number is None or (whole and number != int(number)):
        raise ConfigError(f"{knob.name} is {value!r}; expected a {'whole ' if whole else ''}number.")
    if not meta["min"] <= number <= meta["max"]:
        raise ConfigError(f"{knob.name} is {value}; expected {meta['min']} to {meta['max']} ({meta['help']}).")
    return int(number) if whole else number


def _read_settled(knob: Field[Any], given: Any) -> tuple[int, int] | None:
    """Two sides in pixels, or None."""
    return None if given is None else _read_size(knob, given)


_READERS: dict[Form, Callable[[Field[Any], Any], Any]] = {
    "choice": _read_choice,
    "switch": _read_switch,
    "number": _read_number,
    "optional": _read_number,
    "count": _read_number,
    "numbers": _read_numbers,
    "size": _read_size,
    "text": _read_text,
    "template": _read_template,
    "words": lambda knob, given: _read_words(given, knob.name),
    "phrases": _read_phrases,
    "sides": _read_sides,
    "weights": lambda knob, given: given,
    "settled": _read_settled,
}


def _check_seen(text: str, name: str) -> str:
    """Return a text whose every character can be seen, as Python's own string."""
    hidden = unseen(text)
    if hidden:
        raise ConfigError(f"{name} holds {quoted(text)} with {hidden} in it; write it without that character.")
    return str(text)


def _by_scale(given: Mapping[Any, Any], name: str) -> dict[int, Any]:
    # JSON has only texts as keys.
    return {int(k) if isinstance(k, str) and k.isdecimal() else _integer(k, name): given[k] for k in given}


def _plain(value: Any) -> Any:
    """Python's own value in the place of a scalar of numpy or torch."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _integer(given: Any, name: str) -> int:
    """Whole number as an int; a float without fraction is one."""
    value = _plain(given)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} holds {given!r}; expected whole numbers of pixels.")
    return value


def _number(given: Any) -> float | None:
    """Finite number as a float; None for anything else."""
    value = _plain(given)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _sequence(given: Any) -> tuple[Any, ...] | None:
    """Members of a list-like value; None for a text, a mapping (its values would get lost) or a single value."""
    if isinstance(given, (str, bytes, Mapping)):
        return None
    try:
        return tuple(given)
    except TypeError:
        return None
