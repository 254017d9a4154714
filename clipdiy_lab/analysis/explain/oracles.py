"""One ingredient of the method at a time replaced by the truth: the label maps that would come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdiy_lab.analysis.scoring.shared import true_saliency
from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import Inputs
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.labelling import label_map
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.fusion import Texts
from clipdiy_lab.threads import one_thread

AS_IS, UNREFINED, ALL_LABELS = "as_is", "unrefined", "all_labels"
TRUE = ("saliency", "labels", "windows", "all", "frame")
"""What is replaced by the truth: one thing, the three together, and everything but the frame."""

Mask = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def without(config: Config) -> dict[str, dict[str, Any]]:
    """Return what a configuration adds to the method, by name, and the knobs that leave it out."""
    added = {UNREFINED: ("refine", "none"), ALL_LABELS: ("keep_labels", None)}
    return {name: {knob: off} for name, (knob, off) in added.items() if getattr(config, knob) != off}


def ingredients(config: Config) -> tuple[str, ...]:
    """Return what label maps are made of: everything as it is, without what is added, and with the truth instead."""
    return (AS_IS, *without(config), *TRUE)


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its truth, under one configuration.

    Attributes
    ----------
    encoding : Encoding
    texts : Texts
        Embedded labels.
    config : Config
    mask : uint8 array, H x W
        The truth at the size of comparison; 255 is ignored.
    own_mask : uint8 array
        The truth at the image's own size, which true saliency is made of, as `evaluate` makes it.
    """

    encoding: Encoding
    texts: Texts
    config: Config
    mask: Mask
    own_mask: Mask

    def label_maps(self) -> Iterator[tuple[str, Labels]]:
        """Yield the name of every ingredient and the label map, H x W, that it gives; see `ingredients`."""
        truth = self._true_saliency
        present = [int(label) for label in np.unique(self.mask) if label != IGNORE]
        yield AS_IS, self._labels()
        for name, knobs in without(self.config).items():
            yield name, self._labels(config=self.config.replace(**knobs))
        yield "saliency", self._labels(saliency=truth)
        yield "labels", self._labels(among=present)
        yield "windows", self._labels(similarities=self._votes(self.encoding.saliency))
        yield "all", self._labels(similarities=self._votes(truth), saliency=truth, among=present)
        frame = self.true_frame
        yield "frame", self._full(np.where(frame == IGNORE, 0, frame))

    def single_grids(self) -> Iterator[Labels]:
        """Yield the label map of each grid alone, everything else as it is; none where there is only one."""
        for grid in self.config.grids if len(self.config.grids) > 1 else ():
            yield self._labels(config=self.config.only(grid))

    @cached_property
    def true_frame(self) -> Mask:
        """Best labels that a map in the frame can hold: each of its pixels the label of most pixels read from it.

        No label map in the frame, brought back to the size of comparison by nearest, has more pixels right. Of equals
        the first label; where no pixel is read, or only ignored ones, the truth by nearest.
        """
        size = self.config.image_size
        frame = _at_size(self.mask, size)
        read_from = _at_size(np.arange(size[0] * size[1]).reshape(size), self.mask.shape)
        valid = self.mask != IGNORE
        pairs, votes = np.unique(read_from[valid] * 256 + self.mask[valid], return_counts=True)
        pixels, labels = pairs // 256, pairs % 256
        order = np.lexsort((labels, -votes, pixels))
        pixels, first = np.unique(pixels[order], return_index=True)
        frame.ravel()[pixels] = labels[order][first]
        return frame

    @cached_property
    def _true_saliency(self) -> Tensor:
        return true_saliency(self.own_mask, self.texts.background, self.config)

    def _votes(self, saliency: Tensor | None) -> dict[str, Tensor]:
        by_saliency = saliency is not None and self.config.background == "saliency" and self.config.saliency_weight > 0
        background = self.texts.background if by_saliency else None
        return window_votes(self.true_frame, self._as_is.similarities, background, self.config)

    @cached_property
    def _as_is(self) -> Inputs:
        return Inputs(
            similarities=self.texts.similarities(self.encoding),
            saliency=self.encoding.saliency,
            background=self.texts.background,
            config=self.config,
            image=self.encoding.frame,
        )

    @one_thread()
    def _labels(self, among: list[int] | None = None, **changes: Any) -> Labels:
        return self._full(label_map(replace(self._as_is, **changes), among).numpy())

    def _full(self, frame: npt.NDArray[np.integer]) -> Labels:
        return _at_size(frame, self.mask.shape).astype(np.int64)


def _at_size(labels: npt.NDArray[np.integer], size: tuple[int, ...]) -> npt.NDArray[Any]:
    """Labels at another size, with the nearest rule of a prediction."""
    resized: npt.NDArray[Any] = ops.resize_labels(torch.tensor(labels), (size[0], size[1])).numpy()
    return resized


def window_votes(truth: Mask, like: Mapping[str, Tensor], background: int | None, config: Config) -> dict[str, Tensor]:
    """Similarities of windows that know what they show: 1 for the label that covers most of the window, 0 for others.

    Parameters
    ----------
    truth : uint8 array, y x x
        True labels in the frame. Ignored pixels do not count; of equals the first label; a window of nothing but
        ignored pixels votes for none.
    like : mapping of grid to tensor, rows x cols x labels
        For the shapes.
    background : int or None
        The background label, where saliency decides between it and the rest. Windows then answer only which of the
        other labels it would be: background pixels do not count in the vote, and the background's similarity is 1 in
        every window, so that a pixel is background where ``s < 1 / (1 + c)`` with c the winner's share of the votes.
    config : Config
    """
    votes = {}
    for grid in Plan.of(config):
        found = torch.zeros_like(like[grid.name])
        for row, top in enumerate(grid.tops):
            for col, left in enumerate(grid.lefts):
                seen = truth[top : top + grid.window, left : left + grid.window]
                counts = np.bincount(seen.ravel(), minlength=256)[: found.shape[-1]]
                if background is not None:
                    counts[background] = 0
                if counts.any():
                    found[row, col, int(counts.argmax())] = 1
        if background is not None:
            found[..., background] = 1
        votes[grid.name] = found
    return votes
