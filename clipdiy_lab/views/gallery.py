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
    """Draw every stage that a run has and that has pixels or cells, and the labels over the image.

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
    for heading, stage in shown_stages(run):
        yield StagePicture(stage.name, heading, stage.sentence, _BY_DIMS[stage.dims, stage.kind](view, stage))
    yield StagePicture("overlay", *overlay_words(run), _overlay(view))


def shown_stages(run: xr.DataTree) -> list[tuple[str, s.Stage]]:
    """Return heading and stage of everything in a run that can be shown, in the order in which it was made."""
    held = {str(name) for node in (run, *run.children[s.GRIDS].children.values()) for name in node.data_vars}
    shown = [stage for name, stage in s.STAGES.items() if name in held and (stage.dims, stage.kind) in _BY_DIMS]
    return [(f"{number}. {stage.title}", stage) for number, stage in enumerate(shown, 1)]


def overlay_words(run: xr.DataTree) -> tuple[str, str]:
    """Heading and sentence of the labels over the image, which come after all stages."""
    return f"{len(shown_stages(run)) + 1}. The result over the image", "Background is left clear."


def worth_showing(run: xr.DataTree, most: int) -> list[int]:
    """Return the indices of the labels that won pixels, then of those that came nearest, in label order."""
    labels, scores = s.stage(run, "labels").values, s.scores(run).values
    shares = np.bincount(labels.ravel(), minlength=len(scores))
    order = np.lexsort((-scores.reshape(len(scores), -1).max(1), -shares))[:most]
    return sorted(int(i) for i in order)


class _View:
    """A run with what its pictures share: colours, and the labels worth showing."""

    def __init__(self, run: xr.DataTree) -> None:
        self.run = run
        self.names = s.labels_of(run)
        self.background = s.background_of(run)
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


def _photograph(view: _View, stage: s.Stage) -> Image.Image:
    return Image.fromarray(view[stage.name])


def _cells(view: _View, stage: s.Stage) -> Image.Image:
    values = [s.stage(view.run, stage.name, grid.name).values for grid in view.plan]
    return _heat_rows(view, [[one[..., i] for i in view.shown] for one in values], view.grid_titles, stage.unit)


def _maps_of_grids(view: _View, stage: s.Stage) -> Image.Image:
    return _heat_rows(view, view[stage.name][:, view.shown], view.grid_titles, stage.unit)


def _maps_of_labels(view: _View, stage: s.Stage) -> Image.Image:
    return _heat_rows(view, [view[stage.name][view.shown]], [], stage.unit)


def _heat_rows(view: _View, rows: Any, names: list[str], unit: str) -> Image.Image:
    """One heat map per row and label, all on one colour scale, so that they can be compared."""
    low = min(float(np.min(one)) for row in rows for one in row)
    high = max(float(np.max(one)) for row in rows for one in row)
    panels = [[pictures.heat(one, low, high) for one in row] for row in rows]
    grid = pictures.small_multiples(panels, view.shown_names, names)
    return pictures.stack([grid, pictures.scale_bar(low, high, max(grid.width, 520), f"{unit}   {view.caption()}")])


def _map(view: _View, stage: s.Stage) -> Image.Image:
    values = view[stage.name]
    low = float(values.min()) if stage.high is None or stage.low is None else stage.low
    high = float(values.max()) if stage.high is None or stage.low is None else stage.high
    picture = Image.fromarray(pictures.heat(values, low, high))
    return pictures.stack([picture, pictures.scale_bar(low, high, max(picture.width, 360), stage.unit)])


def _labels(view: _View, stage: s.Stage) -> Image.Image:
    picture = Image.fromarray(pictures.paint(view[stage.name], view.colors))
    return pictures.stack([picture, _legend(view, picture.width)])


_BY_DIMS: dict[tuple[tuple[str, ...], str], Callable[[_View, s.Stage], Image.Image]] = {
    ((s.Y, s.X, s.CHANNEL), "u1"): _photograph,
    ((s.ROW, s.COL, s.LABEL), "f4"): _cells,
    ((s.GRID, s.LABEL, s.Y, s.X), "f4"): _maps_of_grids,
    ((s.LABEL, s.Y, s.X), "f4"): _maps_of_labels,
    ((s.Y, s.X), "f4"): _map,
    ((s.Y, s.X), "i2"): _labels,
}


def _overlay(view: _View) -> Image.Image:
    laid = pictures.overlay(view["image"], view["labels"], view.colors, view.background)
    return pictures.stack([Image.fromarray(laid), _legend(view, laid.shape[1])])


def _legend(view: _View, width: int) -> Image.Image:
    """Legend of the labels that won pixels."""
    won = np.unique(view["labels"])
    return pictures.legend([view.names[i] for i in won], view.colors[won], width)


def strip(run: xr.DataTree) -> Image.Image:
    """Draw the method in one row: image, each grid's map of the best foreground label, saliency, scores, labels."""
    view = _View(run)
    candidates = [i for i in range(len(view.names)) if i != view.background] or [0]
    shares = np.bincount(view["labels"].ravel(), minlength=len(view.names))
    decides = s.scores(run)
    scores = decides.values
    best = max(candidates, key=lambda i: (shares[i], scores[i].max()))
    maps = view["logits"][:, best]
    low, high = float(maps.min()), float(maps.max())
    columns = ["image", *(f"'{view.names[best]}' {title}" for title in view.grid_titles)]
    panels = [view["image"], *(pictures.heat(one, low, high) for one in maps)]
    if "saliency" in run.data_vars:
        columns.append("saliency")
        panels.append(pictures.heat(view["saliency"], 0, 1))
    columns += [f"'{view.names[best]}' {decides.name}", "labels"]
    panels += [
        pictures.heat(scores[best], float(scores[best].min()), float(scores[best].max())),
        pictures.overlay(view["image"], view["labels"], view.colors, view.background),
    ]
    grid = pictures.small_multiples([panels], columns)
    return pictures.stack([grid, _legend(view, grid.width)])
