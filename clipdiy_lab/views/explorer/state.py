"""What is chosen in the explorer, as one value: checked, comparable, and a small JSON file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, get_args

from clipdiy_lab.errors import ConfigError, LabelError, StateError, nearest
from clipdiy_lab.files import atomic_path, read_text
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.naming import grid_name, grid_names, named, of_tokens
from clipdiy_lab.models import saliency as sources_of_saliency
from clipdiy_lab.models.encoders import EMBEDDED
from clipdiy_lab.models.prompts import check_labels
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.views.explorer.image_sources import Kind, Picture, again

KIND: Final = "clipdiy_lab explorer"
VERSION: Final = 3
PANELS: Final = (
    *("labels", "score", "grids", "margin", "saliency", "truth", "errors"),
    *("background_threshold", "threshold_distance", "flip_change", "flip_label"),
    *("deciding_grid", "grid_shapley", "grid_flips", "grid_agreement", "entropy"),
)
"""What the picture can show, by the names of `js/views.js`."""
MAX_LABELS: Final = 64
"""As many as there are different colours."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything that decides what the explorer shows.

    Attributes
    ----------
    image : Picture
    labels : tuple of str
    config : Config
    model : str
        What `lab.load` takes, or the name of the encoder that was given.
    saliency : str
        A name of `models.saliency.names`, or of the source that was given.
    saliency_path : str
        Of the source ``file``.
    saliency_value : float
        Of the source ``constant``, 0 to 1.
    opacity : float
        Of the labels over the image, 0 to 1.
    panel : str
        One of `PANELS`.
    pixel : (int, int) or None
        Row and column in the frame that the inspector explains.
    hidden : tuple of str
        Labels, the background among them, that are known but do not compete; see `competing`.

    Raises
    ------
    ClipdiyError
        A child of it for a value that makes no sense.
    """

    image: Picture
    labels: tuple[str, ...]
    config: Config = field(default_factory=Config)
    model: str = EMBEDDED
    saliency: str = "found-tiny"
    saliency_path: str = ""
    saliency_value: float = 0.5
    opacity: float = 0.65
    panel: str = "labels"
    pixel: tuple[int, int] | None = None
    hidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what no other part of the lab checks."""
        object.__setattr__(self, "labels", check_labels(self.labels))
        if len(self.labels) > MAX_LABELS:
            raise LabelError(
                f"there are {len(self.labels)} labels; the explorer can distinguish at most {MAX_LABELS} by colour: "
                "remove some, or use segmenter.segment."
            )
        for name in ("opacity", "saliency_value"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise StateError(f"{name} is {value!r}; expected a number from 0 to 1.")
        if self.panel not in PANELS:
            raise StateError(f"there is no view {self.panel!r}. {nearest(str(self.panel), PANELS)}")
        for name in ("model", "saliency", "saliency_path"):
            if not isinstance(getattr(self, name), str):
                raise StateError(f"{name} is {getattr(self, name)!r}; expected a text.")
        self._check_pixel()
        self._check_hidden()

    def _check_pixel(self) -> None:
        if self.pixel is None:
            return
        height, width = self.config.image_size
        try:
            y, x = (int(at) for at in self.pixel)
        except (TypeError, ValueError):
            raise StateError(f"the pixel is {self.pixel!r}; expected (row, column).") from None
        # Another frame may be smaller than the one in which the pixel was chosen.
        inside = 0 <= y < height and 0 <= x < width
        object.__setattr__(self, "pixel", (y, x) if inside else None)

    def _check_hidden(self) -> None:
        if not isinstance(self.hidden, list | tuple) or not all(isinstance(name, str) for name in self.hidden):
            raise StateError(f"hidden is {self.hidden!r}; expected a list of labels.")
        known = (*self.labels, self.config.background_label)
        # A label that was taken out is not hidden any more.
        object.__setattr__(self, "hidden", tuple(name for name in self.hidden if name in known))

    @property
    def competing(self) -> View:
        """The view without the labels that are hidden: what its run is made of.

        Raises
        ------
        LabelError
            If none is left.
        """
        if not self.hidden:
            return self
        background = "none" if self.config.background_label in self.hidden else self.config.background
        labels = tuple(name for name in self.labels if name not in self.hidden)
        left = {name.lower() for name in labels}
        synonyms = {name: phrases for name, phrases in self.config.synonyms.items() if name.lower() in left}
        config = self.config.replace(background=background, synonyms=synonyms)
        return replace(self, labels=labels, hidden=(), config=config)

    @property
    def source(self) -> Recipe:
        """What the saliency source is built with."""
        if self.saliency == "file":
            return Recipe("file", {"path": self.saliency_path})
        return Recipe(self.saliency, {"value": self.saliency_value} if self.saliency == "constant" else {})


@dataclass(frozen=True)
class Draft:
    """What stands in the controls, sensible or not: a view only once all values fit together.

    Attributes
    ----------
    values : mapping
        Fields of `View` and knobs of `Config` by name, and ``scales_off``, the scales that are switched off.
    """

    values: Mapping[str, Any]

    @classmethod
    def of(cls, view: View) -> Draft:
        """Take a view apart."""
        own = {one.name: getattr(view, one.name) for one in fields(view) if one.name != "config"}
        knobs = {name: getattr(view.config, name) for name in Config.knobs()}
        knobs["weights"] = dict(view.config.weights)
        return cls({**own, **knobs, "scales_off": ()})

    def changed(self, **values: Any) -> Draft:
        """Return a draft with other values.

        Raises
        ------
        ConfigError
            For a name that is neither a field nor a knob.
        """
        for name in values:
            if name not in self.values:
                raise ConfigError(f"the explorer has no control {name!r}. {nearest(name, self.values)}")
        changed = {**self.values, **values}
        if "scales" in values and "weights" not in values:
            gone = _names(self.values["scales"]) - _names(changed["scales"])
            changed["weights"] = _without(changed["weights"], gone)
        return Draft(changed)

    def weight(self, grid: str) -> float:
        """Weight of a grid, by its name, as it stands in the controls."""
        given = {grid_name(key): float(weight) for key, weight in dict(self.values["weights"]).items()}
        return next((given[name] for name in (grid, *named(grid, tuple(given))) if name in given), 1.0)

    def view(self) -> View:
        """Return the view.

        Raises
        ------
        ClipdiyError
            If the values do not make one.
        """
        own = {one.name: self.values[one.name] for one in fields(View) if one.name != "config"}
        return View(**own, config=self._config())

    def _config(self) -> Config:
        knobs = {name: self.values[name] for name in Config.knobs()}
        off = set(self.values["scales_off"])
        listed = list(knobs["scales"])
        knobs["scales"] = tuple(scale for scale in listed if scale not in off)
        tokens, source = knobs["dense"] != "none", knobs["dense_from"]
        if listed and not knobs["scales"] and not (tokens and source == "frame"):
            raise ConfigError("every scale is switched off; switch at least one on.")
        grids = grid_names(knobs["scales"], tokens, source)
        knobs["weights"] = _without(_without(knobs["weights"], _names(off)), _absent_tokens(knobs["weights"], grids))
        return Config(**knobs)


def _names(scales: Any) -> set[str]:
    """Names of the grids of window sides; what is no side is left to `Config` to refuse."""
    sides = scales if isinstance(scales, Iterable) else ()
    return {grid_name(side) for side in sides if isinstance(side, int) and not isinstance(side, bool)}


def _absent_tokens(weights: Any, grids: tuple[str, ...]) -> set[str]:
    """Names of grids of patch tokens that have a weight and are not asked for now."""
    names = map(grid_name, weights) if isinstance(weights, Mapping) else ()
    return {name for name in names if of_tokens(name) and not named(name, grids)}


def _without(weights: Any, grids: Collection[str]) -> Any:
    """Weights of the grids that stay; what is no mapping is left to `Config` to refuse."""
    if not isinstance(weights, Mapping):
        return weights
    return {grid: weight for grid, weight in weights.items() if grid_name(grid) not in grids}


def to_json(view: View) -> str:
    """Write a view as JSON, without the pixels."""
    content = {
        "kind": KIND,
        "version": VERSION,
        "image": {"kind": view.image.kind, "name": view.image.name, "sha256": view.image.sha256},
        "config": json.loads(view.config.to_json()),
        **{name: getattr(view, name) for name in _PLAIN},
    }
    return json.dumps(content, indent=1)


_PLAIN = ("labels", "model", "saliency", "saliency_path", "saliency_value", "opacity", "panel", "pixel", "hidden")
_AGAIN = "save it again with explorer.save(path)"


def from_json(text: str, at_hand: Sequence[Picture] = ()) -> View:
    """Read what `to_json` wrote.

    Parameters
    ----------
    text : str
    at_hand : sequence of Picture
        Images that may be the one meant, beside those that can be found by name.

    Raises
    ------
    StateError
        If it is cut short, damaged, of another version or of something else.
    ClipdiyError
        If a value makes no sense, or the image is not there any more.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"the state is not JSON, or is truncated ({error}); {_AGAIN}.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StateError(
            f"this is not a state of the explorer (kind {KIND!r} is missing); give a file of explorer.save."
        )
    if content.get("version") != VERSION:
        raise StateError(
            f"the state has version {content.get('version')!r}, this clipdiy_lab reads version {VERSION}; {_AGAIN}."
        )
    lacking = [name for name in ("image", "config", *_PLAIN) if name not in content]
    image = content.get("image")
    if lacking or not isinstance(image, dict) or not all(isinstance(image.get(k), str) for k in _IMAGE):
        raise StateError(f"the state lacks {lacking[0] if lacking else 'the name of its image'!r}; {_AGAIN}.")
    if image["kind"] not in get_args(Kind):
        raise StateError(f"the image of the state is {image['kind']!r}; expected {', '.join(get_args(Kind))}.")
    # The values are checked first: reading the image is the only part that looks at other files.
    values = {name: content[name] for name in _PLAIN}
    pixel = None if values["pixel"] is None else tuple(values["pixel"])
    config = Config.from_json(json.dumps(content["config"]))
    found = again(image["kind"], image["name"], image["sha256"], at_hand)
    return View(**values | {"pixel": pixel}, config=config, image=found)


_IMAGE = ("kind", "name", "sha256")


def save(view: View, path: str | PathLike[str]) -> Path:
    """Write a view to a file, whole or not at all.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    target = Path(path)
    with atomic_path(target) as part:
        part.write_text(to_json(view), encoding="utf-8")
    return target


def load(path: str | PathLike[str], at_hand: Sequence[Picture] = ()) -> View:
    """Read a view from a file; as `from_json`.

    Raises
    ------
    StateError
        Also if the file is missing or is no text.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise StateError(f"the state {str(path)!r} cannot be read ({error}); give a file of explorer.save.") from error
    return from_json(text, at_hand)


def saliency_names(view: View) -> tuple[str, ...]:
    """Names of saliency sources to choose from; the one that was given is among them."""
    return tuple(dict.fromkeys([*sources_of_saliency.names(), view.saliency]))
