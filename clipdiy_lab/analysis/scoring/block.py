"""Trials that are scored together, in one pass over the images of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.deciding import check_decision
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.scoring.shared import Labels, SharedTexts, share, text_of, true_saliency
from clipdiy_lab.analysis.scoring.sliding import sliding_labels
from clipdiy_lab.analysis.scoring.soft import write_soft
from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.datasets.predictions import PredictionFolder
from clipdiy_lab.datasets.sample import ahead
from clipdiy_lab.method import metrics, ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import needs_image
from clipdiy_lab.method.outlines import BAND, Outlines
from clipdiy_lab.models.prompts import with_background
from clipdiy_lab.pipeline.sources import EncodedImage, Source
from clipdiy_lab.pipeline.watch import UNWATCHED, ImageProgress, Watch
from clipdiy_lab.threads import one_thread

_Predicted = tuple[int, str, npt.NDArray[np.uint8], Iterable[tuple[int, Labels]]]
"""Position, id and mask of an image, and the label map of every trial by its place in the block."""


@dataclass(frozen=True, eq=False)
class Block:
    """Trials and what they are scored on.

    Attributes
    ----------
    source : Source
    trials : tuple of Trial
        All of them make sense.
    protocol : Protocol
    images : int
        The first so many images of the source.
    per_image : bool
        Whether the counts of every image are kept.
    boundary : float
        Where they are, width of the band of Boundary IoU, as a share of the diagonal.
    predictions : PredictionFolder or None
        Where the label maps of the only trial are written to, at the size of the masks, before they count.
    """

    source: Source
    trials: tuple[Trial, ...]
    protocol: Protocol
    images: int
    per_image: bool = False
    boundary: float = BAND
    predictions: PredictionFolder | None = None

    def counts(self) -> TrialCounts:
        """Return counts of nothing."""
        return TrialCounts(len(self.trials), len(self.source.dataset.label_names), per_image=self.per_image)


class Counter:
    """Counts images for the trials of a block; their texts are embedded once.

    Parameters
    ----------
    block : Block

    Raises
    ------
    ConfigError, LabelError
        If the texts of a trial cannot be embedded, or the protocol cannot decide with it.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        segmenter, dataset = block.source.segmenter, block.source.dataset
        self._shared: list[SharedTexts] = []
        self._texts: list[xr.DataArray] = []
        soft = block.predictions is not None and bool(block.predictions.soft)
        if block.protocol.slides or soft:
            self._texts = [text_of(trial, segmenter, dataset) for trial in block.trials]
        if block.protocol.slides:
            for trial, text in zip(block.trials, self._texts, strict=True):
                config = trial.config or Config()
                check_decision(config, block.protocol, with_background(s.labels_of(text), config)[1])
        else:
            encoded = block.source.config
            settled = [replace(one, config=(one.config or Config()).settled_by(encoded)) for one in block.trials]
            self._shared = share(settled, segmenter, dataset)

    def count(self, positions: Sequence[int], counts: TrialCounts, watch: Watch = UNWATCHED) -> Iterator[int]:
        """Add images to counts; yield the position of each when it is counted.

        Raises
        ------
        DatasetError
            If a mask holds a label that the dataset does not name.
        OutputError
            If a prediction cannot be written.
        StoppedError
            If the watch stops the work.
        """
        protocol, labels = self.block.protocol, counts.confusion.shape[-1]
        predicted = self._sliding(positions) if protocol.slides else self._whole(positions, watch)
        for position, image_id, mask, maps in predicted:
            truth, by_place, outlines = protocol.truth(mask), {}, {}
            with one_thread():
                for place, found in maps:  # each of them is fused here
                    resized = protocol.prediction(found, mask.shape)
                    by_place[place] = metrics.confusion(truth, resized, labels)
                    if self.block.per_image:
                        outlines[place] = Outlines.of(truth, resized, labels, self.block.boundary)
                    if self.block.predictions is not None:
                        own_size = ops.resize_labels(torch.from_numpy(found), mask.shape)
                        self.block.predictions.write(image_id, own_size.numpy())
            ordered = [by_place[place] for place in range(len(by_place))]
            near = [outlines[place] for place in sorted(outlines)]
            counts.add(position, image_id, ordered, truth.size - int(ordered[0].sum()), near)
            yield position

    def _whole(self, positions: Sequence[int], watch: Watch) -> Iterator[_Predicted]:
        frames = any(needs_image(trial.config or Config()) for trial in self.block.trials)
        for image in self.block.source.images(positions, watch, frames=frames):
            self._write_soft(image)
            maps = (shared.label_maps(image.encoding, image.mask) for shared in self._shared)
            yield image.position, image.id, image.mask, chain.from_iterable(maps)

    def _write_soft(self, image: EncodedImage) -> None:
        """Write the scores of the labels that the folder asks for."""
        folder = self.block.predictions
        if folder is None or not folder.soft:
            return
        (trial,), (text,) = self.block.trials, self._texts
        config, encoding = trial.config or Config(), image.encoding
        if trial.saliency == ORACLE:
            _, background = with_background(tuple(self.block.source.dataset.label_names), config)
            encoding = replace(encoding, saliency=true_saliency(image.mask, background, config))
        write_soft(folder, image.id, encoding, text, config)

    def _sliding(self, positions: Sequence[int]) -> Iterator[_Predicted]:
        source, protocol = self.block.source, self.block.protocol
        samples = ahead(source.dataset.__getitem__, (source.place(position) for position in positions))
        for position, sample in zip(positions, samples, strict=True):
            size = protocol.size(sample.mask.shape)
            maps = [
                (place, sliding_labels(source.segmenter, sample.image, text, trial.config or Config(), protocol, size))
                for place, (trial, text) in enumerate(zip(self.block.trials, self._texts, strict=True))
            ]
            yield position, sample.id, sample.mask, maps


def count_here(
    block: Block, counts: TrialCounts, done: int, counting: ImageProgress, parts: PartialCounts | None
) -> None:
    """Add the images from `done` on to counts, in this process; what is counted is kept in `parts`.

    Raises
    ------
    StoppedError
        If the watch of `counting` stops the work.
    """
    for position in Counter(block).count(range(done, block.images), counts, counting.watch):
        if parts is not None:
            parts.keep(counts, position + 1)
        counting.seen()
