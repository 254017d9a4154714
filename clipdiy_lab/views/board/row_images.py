"""The images behind a row of the board: each scored by itself, each with an explorer that shows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from clipdiy_lab.views.colors import CHANGED, label_colors
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.image_sources import Picture, as_picture, scene


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
    explorer : Explorer
        Shows it with the row's configuration.
    mask : uint8 array, height x width
        Its true labels, indices into `names`; 255 = ignored.
    names : tuple of str
        The dataset's labels.
    """

    row: int
    index: int
    image_id: str
    miou_percent: float
    explorer: Explorer
    mask: npt.NDArray[np.uint8]
    names: tuple[str, ...]

    def truth(self) -> tuple[Image.Image, Image.Image]:
        """Return the true labels over the image, and where the row's labels are others, in the frame's size."""
        shown = self.explorer.shown()
        inside = ops.resize_labels(torch.tensor(self.mask), shown.labels.shape).numpy()
        known = np.where(inside == IGNORE, len(self.names), inside)
        names = [*self.names, "ignored"]
        background = next((place for place, name in enumerate(names) if name.lower() == "background"), None)
        over = pictures.overlay(shown.frame, known, label_colors(names), background, self.explorer.view.opacity)
        differs = np.array(names, dtype=object)[known] != np.array(shown.names, dtype=object)[shown.labels]
        wrong = pictures.paint((differs & (inside != IGNORE)).astype(np.int64), CHANGED)
        return Image.fromarray(over), Image.fromarray(wrong)


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

    def scored_images(
        self, count: int, labels: Sequence[str], make_explorer: Callable[..., Explorer]
    ) -> list[ScoredImage]:
        """Score the first images one by one, the worst first.

        Parameters
        ----------
        count : int
        labels : sequence of str
            What the explorers look for.
        make_explorer : callable
            Takes the arguments of `Explorer`.

        Raises
        ------
        ClipdiyError
            If the saliency source cannot be made here (``oracle``).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)
            source = self.source.store if isinstance(self.source, StoreSource) else self.source
            result = evaluate(source, self.dataset, self.config, count, segmenter=self.opened.segmenter)
        positions = {str(name): position for position, name in enumerate(result["image_id"].values)}
        scored_images = []
        for scores in image_scores(result).to_dict("records"):
            image_id = str(scores["image_id"])
            index = self.opened.place(positions[image_id])
            explorer = make_explorer(self._picture(index), labels, self.source, config=self.config)
            score, mask = float(scores["image_miou_percent"]), self.dataset[index].mask
            names = tuple(self.dataset.label_names)
            scored_images.append(ScoredImage(self.row, index, image_id, score, explorer, mask, names))
        return scored_images

    def _picture(self, index: int) -> Picture:
        if isinstance(self.dataset, Scenes) and (self.dataset.vocabulary, self.dataset.seed) == ("voc", 0):
            return scene(self.dataset.split, index)
        return as_picture(self.dataset[index].image)
