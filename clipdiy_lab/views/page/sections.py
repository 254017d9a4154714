"""What a page shows of a run: every stage, then the maps of `explain`, each with a sentence on how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis import explain
from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.text import printable
from clipdiy_lab.views import data_uris, pictures
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.gallery import MAX_LABELS, overlay_words, shown_stages, worth_showing
from clipdiy_lab.views.page.panels import Panel, Section, areas, heats

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter


class Look:
    """A run with what its pictures share: names, colours, and the labels worth showing.

    Parameters
    ----------
    run : xarray.DataTree
    """

    def __init__(self, run: xr.DataTree) -> None:
        self.run = run
        self.names = tuple(map(printable, s.labels_of(run)))
        self.background = s.background_of(run)
        self.colors = label_colors(self.names, self.background)
        self.config = Config.from_json(run.attrs["config"])
        self.plan = Plan.of(self.config)
        self.shown = worth_showing(run, MAX_LABELS)

    def __getitem__(self, stage: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = s.stage(self.run, stage).values
        return found

    def keys(self, indices: npt.NDArray[Any]) -> dict[str, str]:
        """Return name to colour of the labels in a map."""
        return {self.names[i]: css(self.colors[i]) for i in np.unique(indices) if i >= 0}

    @property
    def overlay(self) -> npt.NDArray[np.uint8]:
        """The labels over the image."""
        return pictures.overlay(self["image"], self["labels"], self.colors, self.background)


def stages(look: Look) -> Iterator[Section]:
    """Yield every stage that a run has, in the order in which they are made."""
    for heading, stage in shown_stages(look.run):
        name, how = stage.name, stage.sentence
        if s.CHANNEL in stage.dims:
            yield Section(name, heading, how, [Panel(name, data_uris.photograph(look[name]), "the image")])
        elif stage.kind == "i2":
            panel = areas(name, look[name], look.names, look.colors)
            yield Section(name, heading, how, [panel], keys=look.keys(look[name]))
        else:
            panels, bar = heats(_maps(look, stage), stage.unit)
            left_out = len(look.names) - len(look.shown) if len(panels) > 1 else 0
            note = f"{left_out} labels with less area or lower scores are left out." if left_out else ""
            yield Section(name, heading, how, panels, bar, note=note)
    described = areas("overlay", look["labels"], look.names, look.colors).alt
    panel = Panel("overlay", data_uris.photograph(look.overlay), described)
    yield Section("overlay", *overlay_words(look.run), [panel], keys=look.keys(look["labels"]))


def _maps(look: Look, stage: s.Stage) -> dict[str, npt.NDArray[Any]]:
    """Return title to map of a stage: of the labels worth showing, for every grid, as far as it has them."""
    shown = [(i, look.names[i]) for i in look.shown]
    if stage.of_grid:
        cells = {grid.title: s.stage(look.run, stage.name, grid.name).values for grid in look.plan}
        return {f"{label}, {title}": values[..., i] for title, values in cells.items() for i, label in shown}
    values = look[stage.name]
    if s.GRID in stage.dims:
        return {f"{label}, {grid.title}": values[at, i] for at, grid in enumerate(look.plan) for i, label in shown}
    return {label: values[i] for i, label in shown} if s.LABEL in stage.dims else {stage.name: values}


def maps(look: Look, segmenter: Segmenter | None) -> Iterator[Section]:
    """Yield what explains a run; where a map cannot be made, the reason in its place.

    Parameters
    ----------
    look : Look
    segmenter : Segmenter, optional
        Whose text encoder is asked for the map of the words; without one, that map is left out.
    """
    for name, title, how, make in _MAPS:
        try:
            yield from make(look, title, how)
        except RunError as error:
            yield Section(name, title, how, note=f"Not shown: {error}")
    if segmenter is not None:
        yield _words(look, segmenter)


def _flip_weight(look: Look, title: str, how: str) -> Iterator[Section]:
    found = explain.flip_weight(look.run)
    panels, bar = heats({"change of the saliency weight": found["flip_change"].values}, "change", diverging=True)
    rival = found["flip_label"].values
    panels.append(areas("label that takes over", rival, look.names, look.colors))
    yield Section("flip_weight", title, how, panels, bar, look.keys(rival))


def _background_threshold(look: Look, title: str, how: str) -> Iterator[Section]:
    found = explain.background_threshold(look.run)
    panels, bar = heats({"threshold": np.clip(found["background_threshold"].values, 0, 1)}, "saliency")
    yield Section("background_threshold", title, how, panels, bar)
    panels, bar = heats({"saliency minus threshold": found["threshold_distance"].values}, "saliency", diverging=True)
    how = (
        "Saliency minus the threshold. Orange pixels are foreground, blue ones background; where it is pale, the "
        "localiser decides by a hair."
    )
    yield Section("threshold_distance", "Distance to the background threshold", how, panels, bar)


def _grid_importance(look: Look, title: str, how: str) -> Iterator[Section]:
    found = explain.grid_importance(look.run)
    names = [grid.title for grid in look.plan]
    shapley = dict(zip(names, found["grid_shapley"].values, strict=True))
    panels, bar = heats(shapley, "score", diverging=True)
    yield Section("grid_importance", title, how, panels, bar)
    colors = pictures.heat(np.linspace(0, 1, max(len(names), 2))[None], 0, 1)[0][: len(names)]
    deciding = found["deciding_grid"].values
    kept = {name: css(color) for name, color in zip(names, colors, strict=True)}
    how = "The grid that does most for the winner. Large windows decide what is there, small ones where it ends."
    yield Section(
        "deciding_grid", "The grid that decides", how, [areas("deciding grid", deciding, names, colors)], keys=kept
    )
    ink = np.array([(213, 94, 0)], np.uint8)
    drawn = [
        areas(f"without {name}", np.where(flips, 0, -1), ["changes its label"], ink)
        for name, flips in zip(names, found["grid_flips"].values, strict=True)
    ]
    how = "Where the label changes when one grid is left out. A grid without marks could be dropped for this image."
    keys = {"changes its label": css(ink[0])}
    yield Section("grid_flips", "One grid left out", how, drawn, keys=keys)


def _uncertainty(look: Look, title: str, how: str) -> Iterator[Section]:
    found = explain.uncertainty(look.run, temperature=0.01)
    panels, bar = heats({"entropy": found["entropy"].values}, "nat")
    yield Section("entropy", title, how, panels, bar)
    panels, bar = heats({"agreement of the grids": found["grid_agreement"].values}, "share of the grids")
    how = "The share of the grids that would give this label on their own. Where it is low, the label is a compromise."
    yield Section("grid_agreement", "Do the grids agree?", how, panels, bar)


def _words(look: Look, segmenter: Segmenter) -> Section:
    found = explain.prompt_sensitivity(look.run, segmenter)
    changed = found["label_changed"].values.mean(0)
    panels, bar = heats({"share of the variations": changed}, "share")
    shares = found["changed_share"].to_series().sort_values(ascending=False)
    most = "; ".join(f"{name}: {share:.1%}" for name, share in shares.head(3).items())
    how = (
        "How many ways of saying it otherwise (article, template, one label dropped) change the pixel. Bright pixels "
        "hang on the wording."
    )
    left_out = found.attrs["left_out"]
    note = f"{len(shares)} variations were tried. They change most of the image with {most}."
    if left_out:
        note += f" Left out, because a prompt would be longer than the text encoder reads: {'; '.join(left_out)}."
    return Section("prompt_sensitivity", "What the words do", how, panels, bar, note=note)


_Make = Callable[[Look, str, str], Iterator[Section]]
_MAPS: tuple[tuple[str, str, str, _Make], ...] = (
    (
        "flip_weight",
        "What saliency holds up",
        "The smallest change of the saliency weight that changes the label, and to which: blue when the weight falls, "
        "orange when it rises, pale when very little is enough. Clear pixels keep their label at every weight.",
        _flip_weight,
    ),
    (
        "background_threshold",
        "Background threshold",
        "The saliency below which the pixel is background. Where it is high, the windows see no object worth keeping.",
        _background_threshold,
    ),
    (
        "grid_importance",
        "What each grid does for the winner",
        "Shapley value of each grid on the lead of the winner; the values sum to the margin. Orange: the grid speaks "
        "for the label; blue: against it.",
        _grid_importance,
    ),
    (
        "uncertainty",
        "Uncertainty",
        "Entropy of the labels at temperature 0.01, about what CLIP was trained with. Bright pixels hesitate between "
        "several labels.",
        _uncertainty,
    ),
)
