"""The images behind a row of the board: each scored by itself, each with an explorer that shows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from clipdiy_lab.analysis.evaluate import evaluate
from clipdiy_lab.analysis.results import image_scores
from clipdiy_lab.datasets.sample import IGNORE, Dataset
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import ClipdiyWarning
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Source, StoreSource
from clipdiy_lab.views import pictures
from clipdiy_lab.views.colors import CHANGED, Rgb, css, label_colors
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.image_sources import Picture, as_picture, scene

LOOK: Final = 40
"""Images that are scored one by one for a row, unless more are asked for."""
_DIMMED: Final = 0.45
"""How bright the photograph is under a map of errors."""


@dataclass(frozen=True)
class ScoredImage:
    """An image of a row.

    Attributes
    ----------
    row : int
        Of the table.
    index : int
        Of the image in the dataset.
    image_id : str
    miou_percent : float
        Over the labels that are true or predicted there; NaN where nothing counts.
    open : callable
        Makes an explorer that shows it with the row's configuration.
    mask : uint8 array, height x width
        Its true labels, indices into `names`; 255 = ignored.
    names : tuple of str
        The dataset's labels.
    """

    row: int
    index: int
    image_id: str
    miou_percent: float
    open: Callable[[], Explorer]
    mask: npt.NDArray[np.uint8]
    names: tuple[str, ...]

    @cached_property
    def explorer(self) -> Explorer:
        """Shows it with the row's configuration; made when it is asked for."""
        return self.open()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        height, width = self.explorer.image.shape[:2]
        return height, width

    @cached_property
    def _known(self) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], tuple[str, ...]]:
        """True labels and those of the row in the frame, -1 where ignored, by names of both."""
        shown = self.explorer.shown()
        inside = torch.from_numpy(self.mask.astype(np.int64))
        true = ops.resize_labels(inside, shown.labels.shape).numpy()
        own = [_as_in(shown.names, name) for name in self.names]
        names = tuple(dict.fromkeys([*shown.names, *own]))
        places = np.array([names.index(name) for name in own])
        known = np.where(true == IGNORE, -1, places[np.minimum(true, len(places) - 1)])
        return known, shown.labels, names

    @property
    def differs(self) -> npt.NDArray[np.bool_]:
        """Where the row's labels are not the true ones, y x x; pixels that are ignored do not differ."""
        true, labels, _ = self._known
        wrong: npt.NDArray[np.bool_] = (true != labels) & (true >= 0)
        return wrong

    def pictures(self) -> dict[str, Image.Image]:
        """Return the row's labels over the image, the true labels over it, and where they differ, by their titles."""
        shown, (true, labels, names) = self.explorer.shown(), self._known
        # The last colour is of nothing: background, and pixels that are ignored, stay as they are.
        colors, clear = np.vstack([label_colors(names), CHANGED[:1]]), len(names)
        hidden = [-1, -1 if shown.background is None else shown.background]
        laid, truth = (
            pictures.overlay(
                shown.frame, np.where(np.isin(some, hidden), clear, some), colors, clear, self.explorer.view.opacity
            )
            for some in (labels, true)
        )
        wrong = _gray(shown.frame)
        wrong[self.differs] = CHANGED[1]
        named = {"predicted": laid, "truth": truth, "errors": wrong}
        return {title: Image.fromarray(picture) for title, picture in named.items()}

    def keys(self) -> dict[str, str]:
        """Return the colours of the labels that are true or predicted there, by name; the background has none."""
        true, labels, names = self._known
        colors, background = label_colors(names), self.explorer.shown().background
        there = sorted({*np.unique(true[true >= 0]).tolist(), *np.unique(labels).tolist()} - {background})
        return {names[index]: css(colors[index]) for index in there}


def _as_in(names: Sequence[str], name: str) -> str:
    """Return the name among some that is the same but for capitals, else the name."""
    return next((one for one in names if one.lower() == name.lower()), name)


def _gray(frame: Rgb) -> Rgb:
    """Dim a photograph to grey, so that the one colour on it is seen."""
    gray = frame.mean(-1, keepdims=True) * _DIMMED
    made: Rgb = np.repeat(gray, 3, -1).round().astype(np.uint8)
    return made


@dataclass(frozen=True)
class RowImages:
    """What it takes to look at the images of a row.

    Attributes
    ----------
    row : int
    config : Config
        The row's.
    source : Segmenter or StoreSource
        Where the row's encodings come from.
    opened : Source
        The board's; it knows which image of the dataset stands where.
    dataset : Dataset
    """

    row: int
    config: Config
    source: Segmenter | StoreSource
    opened: Source
    dataset: Dataset

    def scored_images(self, count: int, make_explorer: Callable[..., Explorer]) -> list[ScoredImage]:
        """Score the first images one by one, the worst first.

        Parameters
        ----------
        count : int
        make_explorer : callable
            Takes the arguments of `Explorer`.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)
            source = self.source.store if isinstance(self.source, StoreSource) else self.source
            result = evaluate(source, self.dataset, self.config, count, segmenter=self.opened.segmenter)
        positions = {str(name): position for position, name in enumerate(result["image_id"].values)}
        return [
            self._scored(str(scores["image_id"]), float(scores["image_miou_percent"]), positions, make_explorer)
            for scores in image_scores(result).to_dict("records")
        ]

    def _scored(
        self, image_id: str, score: float, positions: dict[str, int], make_explorer: Callable[..., Explorer]
    ) -> ScoredImage:
        index, background = self.opened.place(positions[image_id]), self.config.background_label.lower()
        labels = [name for name in self.dataset.label_names if name.lower() != background]

        def opened() -> Explorer:
            return make_explorer(self._picture(index), labels, self.source, config=self.config)

        mask, names = self.dataset[index].mask, tuple(self.dataset.label_names)
        return ScoredImage(self.row, index, image_id, score, opened, mask, names)

    def _picture(self, index: int) -> Picture:
        if isinstance(self.dataset, Scenes) and (self.dataset.vocabulary, self.dataset.seed) == ("voc", 0):
            return scene(self.dataset.split, index)
        return as_picture(self.dataset[index].image)
