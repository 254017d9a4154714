"""Whether the parts of a run belong together, so that every view can show it.

`method.schema.validate` checks each stage by itself. A file from elsewhere may pass that and still be nonsense: a
configuration of other grids than the nodes, labels without names, a number where a text belongs. Here every size,
every coordinate and every attribute is compared with what the run's own configuration and labels ask for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from clipdiy_lab.errors import ConfigError, LabelError, ModelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan
from clipdiy_lab.models import recipes
from clipdiy_lab.models.prompts import check_labels

MAX_TEXT = 2**16
"""Characters of an attribute that is neither configuration nor labels nor prompts."""
MAX_LONG = 2**24
"""Characters of one that is: the 80 templates of 1,000 labels take a fifth of it."""
MAX_PIXELS = 2**28
"""Of the image at its own size, to which labels are brought."""

_TEXTS = ("encoder", "encoder_fingerprint", "saliency_source", "saliency_fingerprint", "image_source", "image_sha256")
_RECIPES = ("encoder_recipe", "saliency_recipe")
_LONG = ("config", "labels", "prompts")
_PLAIN = (str, bool, int, float, np.generic, np.ndarray, list)
_AGAIN = "segment the image again"
_CHANNELS = ["red", "green", "blue"]


def require_consistent(run: xr.DataTree) -> None:
    """Check that a tree which `schema.validate` passed is one that the lab could have made.

    Stages may be missing, and there may be additional variables, nodes and attributes.

    Raises
    ------
    RunError
        With what does not fit, and to what.
    """
    config = require_attributes(run.attrs)
    height, width = _whole(run.attrs, "image_height"), _whole(run.attrs, "image_width")
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise RunError(f"the run's image is {height} x {width} pixels, expected 1 to {MAX_PIXELS:,}; {_AGAIN}.")
    grids = list(Plan.of(config))
    sizes = {s.Y: config.image_size[0], s.X: config.image_size[1], s.CHANNEL: 3, s.GRID: len(grids)}
    expected: dict[str, list[Any]] = {
        s.Y: list(range(config.image_size[0])),
        s.X: list(range(config.image_size[1])),
        s.CHANNEL: _CHANNELS,
        s.GRID: [grid.name for grid in grids],
        s.WINDOW: [grid.window for grid in grids],
    }
    if s.LABEL in run.sizes or s.PHRASE in run.sizes or "labels_full" in run.data_vars:
        index = _whole(run.attrs, "background_index")
        phrases = _phrases(run.attrs)
        expected |= {
            s.LABEL: list(phrases),
            s.PHRASE: [phrase for several in phrases.values() for phrase in several],
            s.PHRASE_LABEL: [label for label, several in phrases.items() for _ in several],
        }
        if not -1 <= index < len(phrases):
            raise RunError(f"the run's background is label {index} of {len(phrases)}; {_AGAIN}.")
        sizes |= {s.Y_FULL: height, s.X_FULL: width}
        sizes |= {s.LABEL: len(phrases), s.PHRASE: len(expected[s.PHRASE])}
    _check_sizes("the run", run, sizes)
    _check_coords("the run", run, expected)
    _check_grids(run, grids, expected, sizes)


def require_attributes(attrs: Mapping[Any, Any]) -> Config:
    """Check the attributes that say what made a run, or a store of many; return the configuration.

    Raises
    ------
    RunError
        With the attribute that makes no sense.
    """
    for name, value in attrs.items():
        if not isinstance(name, str) or not isinstance(value, _PLAIN):
            raise RunError(f"the run's attribute {_short(repr(name))} is not a plain value ({type(value).__name__}).")
        most = MAX_LONG if name in _LONG else MAX_TEXT
        if len(str(value)) > most:
            raise RunError(f"the run's attribute {_short(repr(name))} has more than {most:,} characters.")
    for name in _TEXTS:
        if not isinstance(attrs.get(name, ""), str):
            raise RunError(f"the run's attribute {name!r} is {_short(repr(attrs[name]))}, expected a text.")
    for name in _RECIPES:
        try:
            recipes.read(attrs.get(name, "null"))
        except ModelError as error:
            raise RunError(
                f"the run's attribute {name!r} is not a valid recipe ({_short(str(error))}); {_AGAIN}."
            ) from error
    if "versions" in attrs:
        _object(attrs, "versions")
    return _config(attrs)


def _config(attrs: Mapping[Any, Any]) -> Config:
    text = attrs.get("config")
    if not isinstance(text, str):
        raise RunError(f"the run's configuration is a {type(text).__name__}, expected JSON; {_AGAIN}.")
    try:
        config = Config.from_json(text)
        Plan.of(config)  # patch tokens have to say how large they are
        return config
    except ConfigError as error:
        raise RunError(f"the run's configuration is not valid ({_short(str(error))}); {_AGAIN}.") from error


def _whole(attrs: Mapping[Any, Any], name: str) -> int:
    value = attrs.get(name)
    value = value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value
    if isinstance(value, bool) or not isinstance(value, int):
        what = "missing" if value is None else _short(repr(value))
        raise RunError(f"the run's attribute {name!r} is {what}, expected a whole number; {_AGAIN}.")
    return value


def _object(attrs: Mapping[Any, Any], name: str) -> dict[str, Any]:
    value = attrs.get(name)
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError(f"the run's attribute {name!r} is not a JSON object; {_AGAIN}.")
    return found


def _phrases(attrs: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Return the phrases of every label, as the attribute that holds their prompts has them."""
    prompts = _object(attrs, "prompts")
    for label, several in prompts.items():
        if not (isinstance(several, dict) and several and all(map(_is_texts, several.values()))):
            raise RunError(f"the run's prompts of the label {_short(repr(label))} are not strings; {_AGAIN}.")
    try:
        labels = json.loads(attrs.get("labels", ""))
        if list(check_labels(labels)) != list(prompts):
            raise ValueError
    except (LabelError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"the run's attributes 'labels' and 'prompts' list different labels; {_AGAIN}.") from error
    return {label: list(several) for label, several in prompts.items()}


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _check_sizes(where: str, node: xr.DataTree, sizes: Mapping[str, int]) -> None:
    for name in s.STAGES:
        if name not in node.data_vars:
            continue
        for dim, size in node[name].sizes.items():
            asked = sizes.get(str(dim), size)
            if size != asked:
                raise RunError(
                    f"{where}'s {name!r} has {size:,} along {str(dim)!r}, but the configuration and the labels need "
                    f"{asked:,}; {_AGAIN}."
                )


def _check_coords(where: str, node: xr.DataTree, expected: Mapping[str, Any]) -> None:
    for name, values in expected.items():
        dim = {s.PHRASE_LABEL: s.PHRASE, s.WINDOW: s.GRID}.get(name, name)
        if dim not in node.sizes:
            continue
        if name not in node.coords or node.sizes[dim] != len(values) or list(node.coords[name].values) != values:
            raise RunError(
                f"{where}'s coordinate {name!r} is missing, or does not match the configuration and the labels; "
                "segment the image again."
            )


def _check_grids(run: xr.DataTree, grids: list[Grid], expected: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    nodes = run.children[s.GRIDS].children
    if set(nodes) != {grid.name for grid in grids}:
        raise RunError(
            f"the run has the nodes {_short(str(sorted(nodes)))}, but its configuration has the grids "
            f"{[grid.name for grid in grids]}; segment the image again."
        )
    widths = {run["text_embedding"].sizes[s.FEATURE]} if "text_embedding" in run.data_vars else set()
    for grid in grids:
        node = nodes[grid.name]
        where = f"the node '{s.GRIDS}/{node.name}'"
        if "embedding" not in node.data_vars:
            raise RunError(f"{where} has no embeddings; {_AGAIN}.")
        widths.add(node["embedding"].sizes[s.FEATURE])
        here = {s.ROW: grid.rows, s.COL: grid.cols}
        _check_sizes(where, node, {**sizes, **here})
        places = {"top": grid.tops, "left": grid.lefts, "centre_y": grid.centre_y, "centre_x": grid.centre_x}
        for name, values in places.items():
            if name not in node.coords or not np.array_equal(node.coords[name].values, values):
                raise RunError(f"{where} lacks the positions of its windows ({name!r}); {_AGAIN}.")
        _check_coords(where, node, {s.LABEL: expected[s.LABEL]} if s.LABEL in expected else {})
    if len(widths) > 1:
        raise RunError(f"the run's embeddings have {sorted(widths)} features; expected the same number in every grid.")


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]} ..."
