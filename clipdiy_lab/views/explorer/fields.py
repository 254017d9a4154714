"""The controls, as the metadata of `Config` describes them, and the texts that stand for values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config, Tier

Form = Literal[
    "choice", "switch", "slider", "optional", "count", "suggest", "text", "words", "scales", "size", "phrases", "sides"
]


@dataclass(frozen=True)
class Field:
    """One control.

    Attributes
    ----------
    name : str
        The knob.
    form : str
        ``choice`` of a list; ``switch`` on and off; ``slider`` between bounds; ``optional`` slider that may be off;
        ``count``, a whole number; ``suggest``, a text with suggestions; ``text``; ``words``, a list of texts;
        ``scales``, a list of whole numbers; ``size``, height and width; ``phrases``, lines ``label: phrase, phrase``;
        ``sides``, lines ``scale: side``.
    tier : {"encode", "fuse"}
    help : str
    low, high, step : float
        Of numbers.
    choices : tuple of str
        Of ``choice`` and ``suggest``.
    """

    name: str
    form: Form
    tier: Tier
    help: str
    low: float = 0.0
    high: float = 1.0
    step: float = 1.0
    choices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ")


def fields(tier: Tier | None = None) -> dict[str, Field]:
    """Describe every control that a knob of `Config` gets; the weights of the grids belong to the grids."""
    default = Config()
    found = {}
    for name, meta in Config.knobs(tier).items():
        if name == "weights":
            continue
        value = getattr(default, name)
        numbers = {key: float(meta[own]) for key, own in _NUMBERS.items() if own in meta}
        choices = tuple(meta.get("choices", meta.get("suggestions", ())))
        found[name] = Field(name, _form(meta, value), meta["tier"], meta["help"], **numbers, choices=choices)
    return found


_NUMBERS = {"low": "min", "high": "max", "step": "step"}


def weight_field() -> Field:
    """Describe the slider that every grid has."""
    meta = Config.knobs()["weights"]
    return Field("weights", "slider", meta["tier"], meta["help"], meta["min"], meta["max"], meta["step"])


def _form(meta: Mapping[str, Any], value: Any) -> Form:
    if "choices" in meta:
        return "choice"
    if "suggestions" in meta:
        return "suggest"
    if isinstance(value, bool):
        return "switch"
    if isinstance(value, Mapping):
        return "sides" if "min" in meta else "phrases"
    if isinstance(value, tuple):
        return _TUPLES[(bool(value), len(value) == 2)]
    if "min" in meta:
        return "optional" if value is None else "count" if isinstance(value, int) else "slider"
    return "text"


# Of the knobs that are tuples, words are empty at first, a size has two numbers, and the scales are the rest.
_TUPLES: dict[tuple[bool, bool], Form] = {(False, False): "words", (True, True): "size", (True, False): "scales"}


def spell(field: Field, value: Any) -> Any:
    """Return a value as its control shows it.

    Examples
    --------
    >>> spell(fields()["image_size"], (256, 320))
    '256 x 320'
    """
    if field.form == "size":
        return " x ".join(map(str, value))
    if field.form == "phrases":
        return "\n".join(f"{label}: {', '.join(several)}" for label, several in value.items())
    if field.form == "sides":
        return "\n".join(f"{scale}: {side}" for scale, side in value.items())
    if field.form == "suggest" and not isinstance(value, str):
        return " | ".join(value)
    return list(value) if field.form in ("words", "scales") else value


def read(field: Field, shown: Any) -> Any:
    """Return the value that a control shows; the inverse of `spell`.

    Raises
    ------
    ConfigError
        For a text of the wrong form.

    Examples
    --------
    >>> read(fields()["image_size"], "256 x 320")
    (256, 320)
    """
    if field.form == "size":
        parts = shown.replace("×", "x").split("x")
        if len(parts) not in (1, 2) or not all(part.strip().isdecimal() for part in parts):
            raise ConfigError(f"{field.title} is {shown!r}; write height x width in pixels, such as '256 x 256'.")
        sides = tuple(int(part) for part in parts)
        return sides * 2 if len(sides) == 1 else sides
    if field.form == "phrases":
        return _phrases(field, shown)
    if field.form == "sides":
        return _sides(field, shown)
    if field.form == "suggest":
        several = tuple(part.strip() for part in shown.split("|"))
        return several[0] if len(several) == 1 else several
    return tuple(shown) if field.form in ("words", "scales") else shown


def _sides(field: Field, text: str) -> dict[int, int]:
    found = {}
    for line in filter(str.strip, text.splitlines()):
        scale, _, side = (part.strip() for part in line.partition(":"))
        if not (scale.isdecimal() and side.isdecimal()):
            raise ConfigError(f"{field.title} has the line {line!r}; write 'scale: side' in pixels, such as '64: 96'.")
        found[int(scale)] = int(side)
    return found


def _phrases(field: Field, text: str) -> dict[str, list[str]]:
    found = {}
    for line in filter(str.strip, text.splitlines()):
        label, colon, phrases = line.partition(":")
        if not colon:
            raise ConfigError(f"{field.title} has the line {line!r}; write 'label: phrase, phrase', a label a line.")
        found[label.strip()] = [phrase.strip() for phrase in phrases.split(",") if phrase.strip()]
    return found
