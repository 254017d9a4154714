"""A run as every view sees it: names, colours, the labels worth showing, and its maps ready to be drawn."""

from __future__ import annotations

import itertools
from ast import literal_eval
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.text import printable
from clipdiy_lab.views import catalogue, pictures
from clipdiy_lab.views.catalogue import OVERLAY, Entry
from clipdiy_lab.views.colors import Rgb, label_colors
from clipdiy_lab.views.scales import MARK, ColorRange, grid_colors

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

MAX_LABELS: Final = 6
"""Labels that are shown of a stage with a map for each label."""

Values = npt.NDArray[Any]
_PIXELS: Final = {s.Y, s.X, s.ROW, s.COL, s.CHANNEL}


@dataclass(frozen=True)
class Drawing:
    """An entry of the catalogue with its maps, ready for any renderer.

    Attributes
    ----------
    entry : Entry
    maps : mapping of (row, column) to array
        Titles, empty where there is nothing to tell apart, to y x x values (x 3 of a photograph). Of what is coloured
        by names: indices into `names`; negative ones are left clear.
    names : sequence of str
    palette : uint8 array, names x 3
    keys : mapping of str to uint8 array
        Names that a legend lists, and their colours.
    number : int
        Place among the stages of a run; 0 for what is no stage.
    note : str
        What there is to say beside the entry's sentence.
    """

    entry: Entry
    maps: Mapping[tuple[str, str], Values]
    names: Sequence[str] = ()
    palette: Rgb = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    keys: Mapping[str, Rgb] = field(default_factory=dict)
    number: int = 0
    note: str = ""

    @classmethod
    def of(
        cls, entry: Entry, maps: Mapping[tuple[str, str], Values], names: Sequence[str] = (), colors: Rgb | None = None
    ) -> Drawing:
        """Make the drawing of some maps.

        Parameters
        ----------
        entry : Entry
        maps : mapping of (row, column) to array
            Values as the stage has them.
        names : sequence of str, optional
            Of the labels or grids that the values are indices of. Default: their numbers.
        colors : uint8 array, names x 3, optional
            Of the labels.
        """
        if entry.kind not in ("label", "grid", "mark"):
            return cls(entry, maps)
        if entry.kind == "mark":
            maps = {title: np.where(values != 0, 0, -1) for title, values in maps.items()}
            names = [entry.stage.unit]
        maps = {title: values.astype(np.int64) for title, values in maps.items()}
        present = np.unique(np.concatenate([values.ravel() for values in maps.values()]))
        names = names or [str(index) for index in range(int(present.max(initial=0)) + 1)]
        if entry.kind == "label":
            palette = label_colors(names) if colors is None else colors
            listed = [int(index) for index in present if index >= 0]
        else:
            palette = MARK[None] if entry.kind == "mark" else grid_colors(len(names))
            listed = list(range(len(names)))
        return cls(entry, maps, names, palette, {names[index]: palette[index] for index in listed})

    @property
    def heading(self) -> str:
        """Its title, after its number."""
        return f"{self.number}. {self.entry.stage.title}" if self.number else self.entry.stage.title

    @cached_property
    def colors(self) -> ColorRange:
        """Colour range that its maps share, of numbers."""
        return self.entry.colors(self.maps.values())


class Look:
    """A run with what its views share.

    Parameters
    ----------
    run : xarray.DataTree
    shown : sequence of int, optional
        Indices of the labels whose maps are shown. Default: those that won pixels, then those that came nearest.
    """

    def __init__(self, run: xr.DataTree, shown: Sequence[int] | None = None) -> None:
        self.run = run
        self._shown = shown
        self._explained: dict[int, tuple[list[Drawing], dict[str, list[str]]]] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, printable."""
        return tuple(map(printable, s.labels_of(self.run)))

    @cached_property
    def background(self) -> int | None:
        """Index of the background label."""
        return s.background_of(self.run)

    @cached_property
    def colors(self) -> Rgb:
        """Colours of the labels."""
        return label_colors(self.names, self.background)

    @cached_property
    def config(self) -> Config:
        """Configuration of the run."""
        return Config.from_json(self.run.attrs["config"])

    @cached_property
    def plan(self) -> Plan:
        """Grids of the run."""
        return Plan.of(self.config)

    @cached_property
    def shown(self) -> list[int]:
        """Indices of the labels whose maps are shown."""
        return worth_showing(self.run, MAX_LABELS) if self._shown is None else list(self._shown)

    def __getitem__(self, stage: str) -> Values:
        found: Values = s.stage(self.run, stage).values
        return found

    @cached_property
    def overlay(self) -> Rgb:
        """The labels over the image."""
        return pictures.overlay(self["image"], self["labels"], self.colors, self.background)

    @cached_property
    def won(self) -> dict[str, Rgb]:
        """Names and colours of the labels that won pixels."""
        return {self.names[i]: self.colors[i] for i in np.unique(self["labels"])}

    def stages(self) -> list[Drawing]:
        """Return everything in the run that can be shown, in the order in which it was made, then the overlay."""
        nodes = (self.run, *self.run.children[s.GRIDS].children.values())
        held = {str(name) for node in nodes for name in node.data_vars}
        entries = [entry for name, entry in catalogue.stages().items() if name in held]
        made = [replace(self.stage(entry), number=number) for number, entry in enumerate(entries, 1)]
        return [*made, Drawing(OVERLAY, {("", ""): self.overlay}, keys=self.won, number=len(made) + 1)]

    def stage(self, entry: Entry) -> Drawing:
        """Return the drawing of a stage.

        Raises
        ------
        RunError
            If the run lacks it.
        """
        if not entry.stage.of_grid:
            return self.draw(entry, {"": s.stage(self.run, entry.name)})
        return self.draw(entry, {grid.title: s.stage(self.run, entry.name, grid.name) for grid in self.plan})

    def explained(self, segmenter: Segmenter | None = None) -> tuple[list[Drawing], dict[str, list[str]]]:
        """Return every explanation map of the run, and reason to titles of those that it cannot have.

        Parameters
        ----------
        segmenter : Segmenter, optional
            The one that made the run, for maps that ask its text encoder.
        """
        if id(segmenter) not in self._explained:
            self._explained[id(segmenter)] = self._explain(segmenter)
        return self._explained[id(segmenter)]

    def _explain(self, segmenter: Segmenter | None) -> tuple[list[Drawing], dict[str, list[str]]]:
        drawings: list[Drawing] = []
        reasons: dict[str, list[str]] = {}
        for explanation, found in catalogue.explained(self.run, segmenter):
            if isinstance(found, ClipdiyError):
                reasons.setdefault(str(found), []).extend(entry.stage.title for entry in explanation.entries)
                continue
            made = [self.draw(entry, {"": found[entry.name]}) for entry in explanation.entries]
            drawings += [replace(made[0], note=explanation.note(found)), *made[1:]]
        return drawings, reasons

    def draw(self, entry: Entry, arrays: Mapping[str, xr.DataArray]) -> Drawing:
        """Return the drawing of an entry; `arrays` are its values by the title of their row."""
        maps = {
            (row or inner, column): values
            for row, array in arrays.items()
            for (inner, column), values in self._split(array).items()
        }
        if entry.kind == "grid":
            return Drawing.of(entry, maps, [grid.title for grid in self.plan])
        drawing = Drawing.of(entry, maps, self.names, self.colors)
        left_out = len(self.names) - len(self.shown) if s.LABEL in entry.stage.dims else 0
        return replace(drawing, note=f"{left_out} labels that won less or nothing are left out." if left_out else "")

    def _split(self, array: xr.DataArray) -> dict[tuple[str, str], Values]:
        """Return title of row and of column to the maps of an array: its grids and the labels worth showing."""
        further = [str(dim) for dim in array.dims if dim not in _PIXELS]
        ordered = array.transpose(*further, ...).values
        places = itertools.product(*(self._ticks(array, dim) for dim in further))
        found = {}
        for place in places:
            titles = ["", "", *(title for _, title in place)][-2:]
            found[titles[0], titles[1]] = ordered[tuple(index for index, _ in place)]
        return found

    def _ticks(self, array: xr.DataArray, dim: str) -> list[tuple[int, str]]:
        if dim == s.LABEL:
            return [(index, self.names[index]) for index in self.shown]
        spell = grid_title if dim == s.GRID else str
        return [(index, spell(str(tick))) for index, tick in enumerate(array[dim].values)]


def image_title(run: xr.DataTree) -> str:
    """Return what the image of a run is called: a file by its name, without its folders."""
    told = str(run.attrs.get("image_source", "an image"))
    try:
        return printable(PurePath(str(literal_eval(told))).name)  # a path is told as a literal, see `describe`
    except (ValueError, SyntaxError):
        return printable(told)


def worth_showing(run: xr.DataTree, most: int) -> list[int]:
    """Return the indices of the labels that won pixels, then of those that came nearest, in label order."""
    labels, scores = s.stage(run, "labels").values, s.scores(run).values
    shares = np.bincount(labels.ravel(), minlength=len(scores))
    order = np.lexsort((-scores.reshape(len(scores), -1).max(1), -shares))[:most]
    return sorted(int(i) for i in order)
