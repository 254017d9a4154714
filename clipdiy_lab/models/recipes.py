"""Recipes: how an encoder or a saliency source is made again, as a name and options."""

from __future__ import annotations

import json
import keyword
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from clipdiy_lab.errors import ModelError, spelled


@dataclass(frozen=True)
class Recipe:
    """How an encoder or a saliency source is made again, on another machine too.

    Parameters
    ----------
    name : str
        The name that a registry knows.
    options : mapping of str to value
        Keyword arguments beside the name: texts, numbers, booleans, None, and lists and mappings of these. Tuples
        become lists, and paths become absolute. The copy that is kept is not to be changed.

    Raises
    ------
    ModelError
        If the name is no text, or an option is no plain value.

    Examples
    --------
    >>> recipe = Recipe("constant", {"value": 0.5})
    >>> recipe.code("lab.saliency.build")
    "lab.saliency.build('constant', value=0.5)"
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ModelError(f"the name of a recipe is {spelled(self.name)}; expected a text.")
        strange = [name for name in self.options if not _is_argument(name)]
        if strange:  # a recipe may come from a file, and is printed as code
            raise ModelError(
                f"the recipe {self.name!r} has the option {strange[0]!r}, which is no name of an argument."
            )
        object.__setattr__(self, "options", {name: _plain(value, name) for name, value in self.options.items()})

    def __hash__(self) -> int:
        return hash(self.to_json())

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Recipe | None:
        """Return the recipe; None where an option is an object that cannot be written down."""
        try:
            return cls(name, options)
        except ModelError:
            return None

    def to_json(self) -> str:
        """Return ``{"name": ..., "options": {...}}``, with sorted names: equal recipes have equal texts."""
        return json.dumps({"name": self.name, "options": self.options}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If it is something else.
        """
        try:
            content = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            content = None
        if not (
            isinstance(content, dict) and set(content) == {"name", "options"} and isinstance(content["options"], dict)
        ):
            raise ModelError("the text is no recipe; expected JSON with a name and options.")
        return cls(**content)

    def without(self, *options: str) -> Recipe:
        """Return the recipe without some of its options."""
        return Recipe(self.name, {name: value for name, value in self.options.items() if name not in options})

    def code(self, function: str) -> str:
        """Return the Python that calls a function with the recipe."""
        arguments = [repr(self.name), *(f"{name}={value!r}" for name, value in self.options.items())]
        return f"{function}({', '.join(arguments)})"


def write(recipe: Recipe | None) -> str:
    """Return a recipe as JSON for the attributes of runs; ``null`` for an object that no name makes."""
    return "null" if recipe is None else recipe.to_json()


def read(text: str) -> Recipe | None:
    """Read what `write` wrote.

    Raises
    ------
    ModelError
        If it is something else.
    """
    return None if text == "null" else Recipe.from_json(text)


def _is_argument(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _plain(value: Any, name: str) -> Any:
    """Return the value of an option as JSON gives it back."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PathLike):
        return str(Path(os.fspath(value)).absolute())
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, name) for key, item in value.items()}
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ModelError(
        f"the option {name!r} of a recipe is {spelled(value)}; expected texts, finite numbers, booleans, lists and "
        "mappings."
    )
