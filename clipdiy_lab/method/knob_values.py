"""What the values of knobs are: the mappings that never change, and how a given value comes to its one canonical form.

Every function here takes what a user gave and returns what `Config` keeps, or raises `ConfigError`: what came, what was
expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field
from typing import Any, Generic, TypeVar

from clipdiy_lab.errors import ConfigError, nearest
from clipdiy_lab.method.naming import grid_name
from clipdiy_lab.text import quoted, unseen

MAX_SIDE = 8192
"""Longest side of the frame, in pixels; beyond it the dense stages do not fit in memory."""


MAX_LABELS = 10_000
"""Most labels that `Config.keep_labels` may keep."""

OFFICIAL_TEMPLATE = "a photo of a {label}"
TEMPLATE_SETS = ("imagenet80",)
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


def read_scales(given: Any) -> tuple[int, ...]:
    """Window sides, each once, in the order given."""
    members = _sequence(given)
    if members is None:
        raise ConfigError(f"scales is {given!r}; expected window sides in pixels such as (256, 128, 64).")
    scales = tuple(_integer(scale, "scales") for scale in members)
    if not scales:
        raise ConfigError("scales is empty; expected at least one window side in pixels such as (256, 128, 64).")
    if len(set(scales)) != len(scales):
        raise ConfigError(f"scales {scales} names a scale twice; give each once and use weights to weigh it.")
    if min(scales) < 1:
        raise ConfigError(f"scales {scales} holds a side below one pixel; expected positive sides.")
    return scales


def read_keep_labels(given: Any) -> int | None:
    """A number of labels, or None for all of them."""
    number = None if given is None else _number(given)
    if given is not None and (number is None or number != int(number) or not 1 <= number <= MAX_LABELS):
        raise ConfigError(f"keep_labels is {given!r}; expected a whole number from 1 up, or None to let all compete.")
    return None if number is None else int(number)


def read_dilations(given: Any) -> tuple[int, ...]:
    """Distances in pixels, each once, in the order given."""
    members = _sequence(given)
    if not members:
        raise ConfigError(f"refine_dilations is {given!r}; expected distances in pixels such as (8, 16).")
    dilations = tuple(dict.fromkeys(_integer(dilation, "refine_dilations") for dilation in members))
    if min(dilations) < 1:
        raise ConfigError(f"refine_dilations {dilations} holds a distance below one pixel; expected positive ones.")
    return dilations


def read_size(given: Any) -> tuple[int, int]:
    """Height and width of the frame; one number means a square."""
    members = _sequence(given)
    size = (given, given) if members is None else members
    if len(size) != 2:
        raise ConfigError(f"image_size is {given!r}; expected one side or (height, width) in pixels.")
    height, width = (_integer(side, "image_size") for side in size)
    if min(height, width) < 1 or max(height, width) > MAX_SIDE:
        raise ConfigError(f"image_size is {height} x {width}; expected sides from 1 to {MAX_SIDE} pixels.")
    return height, width


def read_template(given: Any) -> str | tuple[str, ...]:
    """One template, several, or the name of a set."""
    templates = (given,) if isinstance(given, str) else given
    if not isinstance(templates, (tuple, list)) or not templates:
        raise ConfigError(f"template is {given!r}; expected a text with the field {{label}}, or several of them.")
    if isinstance(given, str) and given in TEMPLATE_SETS:
        return str(given)
    for template in templates:
        if not isinstance(template, str) or "{label}" not in template:
            raise ConfigError(
                f"template {template!r} lacks the field {{label}}; expected e.g. '{OFFICIAL_TEMPLATE}', "
                f"or alone one of the names {', '.join(TEMPLATE_SETS)}."
            )
        _check_seen(template, "template")
    return str(given) if isinstance(given, str) else tuple(str(template) for template in templates)


def read_background_label(given: Any) -> str:
    """Return a label's text, stripped."""
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"background_label is {given!r}; expected a word such as 'background'.")
    return _check_seen(given.strip(), "background_label")


def read_phrases(given: Any, name: str) -> tuple[str, ...]:
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


def read_synonyms(given: Any) -> Synonyms:
    """Phrases of labels, each label once."""
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"synonyms is {given!r}; expected phrases for each label, e.g. {{'sofa': ['sofa', 'couch']}}."
        )
    phrases: dict[str, tuple[str, ...]] = {}
    for label, members in given.items():
        if not isinstance(label, str) or not label.strip():
            raise ConfigError(f"synonyms has phrases for {label!r}; expected the text of a label.")
        name = _check_seen(label.strip(), "synonyms")
        if name.lower() in (other.lower() for other in phrases):
            raise ConfigError(f"synonyms names the label {name!r} twice; give its phrases in one list.")
        phrases[name] = read_phrases(members, f"synonyms of {name!r}")
        if not phrases[name]:
            raise ConfigError(f"synonyms of {name!r} is empty; give at least one phrase, or leave the label out.")
    return Synonyms(phrases)


def read_weights(given: Any, grids: tuple[str, ...]) -> Weights:
    """Weights other than 1, by the names of `grids` and in their order; not all of them 0."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"weights is {given!r}; expected weights by grid, such as {{'s064': 0.5}} or {{64: 0.5}}.")
    weights: dict[str, float] = {}
    for key, value in given.items():
        name, weight = grid_name(_plain(key)), _number(value)
        if name not in grids:
            raise ConfigError(
                f"weights has the grid {key!r}, which this configuration lacks; it has {', '.join(grids)}. "
                f"{nearest(name, grids)}"
            )
        if name in weights:
            raise ConfigError(f"weights {dict(given)} names the grid {name} twice; give one weight for each grid.")
        if weight is None or weight < 0:
            raise ConfigError(f"the weight of {name} is {value!r}; expected a finite number from 0 up.")
        weights[name] = weight
    if not any(weights.get(name, 1.0) for name in grids):
        raise ConfigError("every grid has weight 0, so nothing is left to merge; give at least one a positive weight.")
    return Weights({name: weights[name] for name in grids if weights.get(name, 1.0) != 1})


def read_crop_input(given: Any) -> CropInput:
    """Sides of the encoder's input by scale."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"crop_input is {given!r}; expected a side in pixels by scale, e.g. {{64: 96}}.")
    sides = {scale: _integer(side, "crop_input") for scale, side in _by_scale(given, "crop_input").items()}
    for scale, side in sides.items():
        if not MIN_INPUT <= side <= MAX_INPUT:
            raise ConfigError(
                f"crop_input gives scale {scale} a side of {side}; expected {MIN_INPUT} to {MAX_INPUT} pixels."
            )
    return CropInput(sides)


def read_plain(knob: Field[Any], value: Any) -> Any:
    """One of the choices, a switch, a number within its bounds: as the knob's metadata says."""
    meta, value = knob.metadata, _plain(value)
    if "choices" in meta and not (isinstance(value, str) and value in meta["choices"]):
        hint = nearest(str(value), meta["choices"])
        raise ConfigError(f"{knob.name} is {value!r}; expected one of {', '.join(meta['choices'])}. {hint}")
    if isinstance(knob.default, bool) and not isinstance(value, bool):
        raise ConfigError(f"{knob.name} is {value!r}; expected True or False.")
    if "min" not in meta:
        return value
    if value is None and knob.default is None:
        return None
    whole = isinstance(knob.default, int)
    number = _number(value)
    if number is None or (whole and number != int(number)):
        raise ConfigError(f"{knob.name} is {value!r}; expected a {'whole ' if whole else ''}number.")
    if not meta["min"] <= number <= meta["max"]:
        raise ConfigError(f"{knob.name} is {value}; expected {meta['min']} to {meta['max']} ({meta['help']}).")
    return int(number) if whole else number


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
