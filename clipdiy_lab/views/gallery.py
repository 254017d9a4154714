"""Every stage of a run as one picture with a sentence on how to read it, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.views import pictures
from clipdiy_lab.views.colors import label_colors

MAX_LABELS = 6


@dataclass(frozen=True)
class StagePicture:
    """A stage as a picture.

    Attributes
    ----------
    name : str
        The stage.
    title, caption : str
        For people.
    picture : PIL.Image.Image
    """

    name: str
    title: str
    caption: str
    picture: Image.Image


def gallery(run: xr.DataTree) -> Iterator[StagePicture]:
    """Draw every stage that a run has.

    Parameters
    ----------
    run : xarray.DataTree

    Yields
    ------
    StagePicture

    Raises
    ------
    RunError
        If it is not a whole run.
    """
    s.validate(run)
    view = _View(run)
    for name, title, caption, draw in _STAGES:
        if name == "saliency" and "saliency" not in run.data_vars:
            continue
        yield StagePicture(name, title, caption, draw(view))


def worth_showing(run: xr.DataTree, most: int) -> list[int]:
    """Return the indices of the labels that won pixels, then of those that came nearest, in label order."""
    labels, fused = s.stage(run, "labels").values, s.stage(run, "fused").values
    shares = np.bincount(labels.ravel(), minlength=len(fused))
    order = np.lexsort((-fused.reshape(len(fused), -1).max(1), -shares))[:most]
    return sorted(int(i) for i in order)


class _View:
    """A run with what its pictures share: colours, and the labels worth showing."""

    def __init__(self, run: xr.DataTree) -> None:
        self.run = run
        self.names = s.labels_of(s.stage(run, "merged"))
        index = int(run.attrs["background_index"])
        self.background = index if index >= 0 else None
        self.colors = label_colors(self.names, self.background)
        self.plan = Plan.of(Config.from_json(run.attrs["config"]))
        self.shown = worth_showing(run, MAX_LABELS)

    def __getitem__(self, stage: str) -> Any:
        return s.stage(self.run, stage).values

    @property
    def grid_titles(self) -> list[str]:
        return [grid.title for grid in self.plan]

    @property
    def shown_names(self) -> list[str]:
        return [self.names[i] for i in self.shown]

    def caption(self) -> str:
        left_out = len(self.names) - len(self.shown)
        return f"({left_out} labels that won nothing left out)" if left_out else ""


def _image(view: _View) -> Image.Image:
    return Image.fromarray(view["image"])


def _similarity(view: _View) -> Image.Image:
    cosines = [s.stage(view.run, "similarity", grid.name).values for grid in view.plan]
    return _heat_rows(view, [[one[..., i] for i in view.shown] for one in cosines], view.grid_titles, "cosine")


def _logits(view: _View) -> Image.Image:
    return _heat_rows(view, view["logits"][:, view.shown], view.grid_titles, "cosine")


def _per_label(stage: str, unit: str) -> Callable[[_View], Image.Image]:
    return lambda view: _heat_rows(view, [view[stage][view.shown]], [], unit)


def _heat_rows(view: _View, rows: Any, names: list[str], unit: str) -> Image.Image:
    """One heat map a row and label, all on one colour scale, so that they can be compared."""
    low = min(float(np.min(one)) for row in rows for one in row)
    high = max(float(np.max(one)) for row in rows for one in row)
    panels = [[pictures.heat(one, low, high) for one in row] for row in rows]
    grid = pictures.small_multiples(panels, view.shown_names, names)
    return pictures.stack([grid, pictures.scale_bar(low, high, max(grid.width, 520), f"{unit}   {view.caption()}")])


def _single(stage: str, unit: str) -> Callable[[_View], Image.Image]:
    def draw(view: _View) -> Image.Image:
        values = view[stage]
        low, high = (0.0, 1.0) if stage == "saliency" else (float(values.min()), float(values.max()))
        picture = Image.fromarray(pictures.heat(values, low, high))
        return pictures.stack([picture, pictures.scale_bar(low, high, max(picture.width, 360), unit)])

    return draw


def _labels(view: _View) -> Image.Image:
    picture = Image.fromarray(pictures.paint(view["labels"], view.colors))
    return pictures.stack([picture, _legend(view, picture.width)])


def _overlay(view: _View) -> Image.Image:
    laid = pictures.overlay(view["image"], view["labels"], view.colors, view.background)
    return pictures.stack([Image.fromarray(laid), _legend(view, laid.shape[1])])


def _legend(view: _View, width: int) -> Image.Image:
    """Legend of the labels that won pixels."""
    won = np.unique(view["labels"])
    return pictures.legend([view.names[i] for i in won], view.colors[won], width)


def strip(run: xr.DataTree) -> Image.Image:
    """Draw the method in one row: image, each grid's map of the best foreground label, saliency, fused, labels."""
    view = _View(run)
    candidates = [i for i in range(len(view.names)) if i != view.background] or [0]
    shares = np.bincount(view["labels"].ravel(), minlength=len(view.names))
    best = max(candidates, key=lambda i: (shares[i], view["fused"][i].max()))
    maps = view["logits"][:, best]
    low, high = float(maps.min()), float(maps.max())
    columns = ["image", *(f"'{view.names[best]}' {title}" for title in view.grid_titles)]
    panels = [view["image"], *(pictures.heat(one, low, high) for one in maps)]
    if "saliency" in run.data_vars:
        columns.append("saliency")
        panels.append(pictures.heat(view["saliency"], 0, 1))
    fused = view["fused"][best]
    columns += [f"'{view.names[best]}' fused", "labels"]
    panels += [
        pictures.heat(fused, float(fused.min()), float(fused.max())),
        pictures.overlay(view["image"], view["labels"], view.colors, view.background),
    ]
    grid = pictures.small_multiples([panels], columns)
    return pictures.stack([grid, _legend(view, grid.width)])


_Entry = tuple[str, str, str, Callable[[_View], Image.Image]]
_STAGES: tuple[_Entry, ...] = (
    ("image", "1. The image in the frame", "Squashed to the frame; the aspect ratio is lost, as in the paper.", _image),
    (
        "similarity",
        "2. Every window against every label",
        "One cell is one crop that CLIP compared with the words; a row is a grid. Bright: it looks like the label.",
        _similarity,
    ),
    (
        "logits",
        "3. The maps of the grids",
        "The same cosines spread over the frame. Large windows say what is in the image, small ones where.",
        _logits,
    ),
    ("merged", "4. Merged", "The mean of the grids' maps: what the text alone says.", _per_label("merged", "cosine")),
    (
        "saliency",
        "5. Saliency",
        "How much each pixel belongs to some object, found without labels. 1 is foreground.",
        _single("saliency", "foreground probability"),
    ),
    (
        "guide",
        "6. Guide",
        "The factor on every label: saliency for objects, one minus saliency for the background.",
        _per_label("guide", "factor"),
    ),
    (
        "fused",
        "7. Fused",
        "Merged times guide, or the threshold as a score of the background; the brightest label of a pixel wins.",
        _per_label("fused", "score"),
    ),
    (
        "probability",
        "8. Probability",
        "Softmax of the fused scores. Nearly flat at temperature 1, because cosines lie close together.",
        _per_label("probability", "probability"),
    ),
    ("labels", "9. Labels", "The winner at every pixel.", _labels),
    (
        "margin",
        "10. Margin",
        "How far the winner is ahead of the runner-up. Dark pixels would change their label easily.",
        _single("margin", "score"),
    ),
    ("overlay", "11. The result over the image", "Background is left clear.", _overlay),
)

CAPTIONS = {name: (title, caption) for name, title, caption, _ in _STAGES}
"""Title and caption of every stage, for people."""
