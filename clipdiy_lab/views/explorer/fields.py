"""The controls, as the metadata of `Config` describes them, and the texts that stand for values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.knobs import Form, Tier
from clipdiy_lab.method.naming import knob_title


@dataclass(frozen=True)
class Field:
    """One control.

    Attributes
    ----------
    name : str
        The knob.
    form : Form
        The knob's. A ``number`` is a slider, an ``optional`` one may be off, a ``template`` is a text with suggestions;
        ``phrases`` are lines ``label: phrase, phrase``, ``sides`` lines ``scale: side``.
    meta : mapping
        What the knob was declared with, see `method.knobs.knob`.
    """

    name: str
    form: Form
    meta: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its name for people."""
        return knob_title(self.name)


def fields(tier: Tier | None = None) -> dict[str, Field]:
    """Describe every control that a knob of `Config` gets; the weights of the grids belong to the grids."""
    known = (Config.knobs(tier) if tier else Config.knobs()).items()
    other = ("weights", "settled")
    return {name: Field(name, meta["form"], meta) for name, meta in known if meta["form"] not in other}


def weight_field() -> Field:
    """Describe the slider that every grid has."""
    return next(Field(name, "number", meta) for name, meta in Config.knobs().items() if meta["form"] == "weights")


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
    if field.form == "template" and not isinstance(value, str):
        return " | ".join(value)
    return list(value) if field.form in ("words", "numbers") else value


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
    if field.form == "template":
        several = tuple(part.strip() for part in shown.split("|"))
        return several[0] if len(several) == 1 else several
    return tuple(shown) if field.form in ("words", "numbers") else shown


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
