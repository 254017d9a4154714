"""Scoring a block: in this process, or by the workers of a cluster, who count ranges of images into files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.analysis.scoring.block import Block, Counter, count_here
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.trials import Trial
from clipdiy_lab.datasets.predictions import PredictionFolder
from clipdiy_lab.errors import ClusterError
from clipdiy_lab.pipeline import cluster
from clipdiy_lab.pipeline.sources import SentSource
from clipdiy_lab.pipeline.watch import ImageProgress

if TYPE_CHECKING:
    from distributed import Client

IMAGES_A_TASK = 16
"""Images that a worker counts at once where no store says otherwise; what the loss of a worker costs at most."""


def score(
    block: Block, counting: ImageProgress, parts: PartialCounts | None = None, client: Client | None = None
) -> TrialCounts:
    """Count the images of a block for its trials, from where an earlier run of the same work was stopped.

    Parameters
    ----------
    block : Block
    counting : ImageProgress
        Told of every image.
    parts : PartialCounts, optional
        Where counts are kept; needed with a client.
    client : distributed.Client, optional
        Let its workers count.

    Raises
    ------
    ClusterError
        If counts that a worker wrote are not to be found here; and see `cluster.run`.
    StoppedError
        If the watch of `counting` stops the work.
    """
    counts = block.counts()
    done = 0 if parts is None else parts.take_up(counts)
    if done:
        counting.seen(done)
    if client is None:
        count_here(block, counts, done, counting, parts)
    elif parts is None:
        raise ValueError("workers need a folder for their counts")
    else:
        _count_there(client, block, counts, done, counting, parts)
    return counts


def ranges(length: int, size: int | None = None, start: int = 0) -> list[range]:
    """Positions of the images of each task, `IMAGES_A_TASK` by default: the same cuts wherever one starts.

    Examples
    --------
    >>> ranges(10, size=4, start=5)
    [range(5, 8), range(8, 10)]
    """
    size = IMAGES_A_TASK if size is None else size
    return [range(max(at, start), min(at + size, length)) for at in range(start - start % size, length, size)]


def _count_there(
    client: Client, block: Block, counts: TrialCounts, done: int, counting: ImageProgress, parts: PartialCounts
) -> None:
    tasks = ranges(block.images, block.source.shard_size, done)
    folder = parts.folder.absolute()
    options = (block.per_image, block.boundary, block.predictions)
    job = _Job(block.source.sent(), block.trials, block.protocol, options, folder)
    with contextlib.closing(cluster.run(client, job, tasks)) as finished:
        for images, _ in finished:
            counting.seen(len(images))
    for images in tasks:
        arrays = parts.read(images)
        if arrays is None:
            raise ClusterError(
                f"A worker wrote the counts of the images {images.start} to {images.stop - 1} into {parts.folder}, but "
                "they are missing or incomplete here; use a folder that every machine sees under the same path."
            )
        counts.merge(arrays)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to count; its tasks are ranges of images."""

    source: SentSource
    trials: tuple[Trial, ...]
    protocol: Protocol
    options: tuple[bool, float, PredictionFolder | None]
    folder: Path

    def open(self) -> Callable[[range], None]:
        """Return what counts a range, and writes the counts whole, unless they are there."""
        cluster.require_path(self.folder)
        parts, source = PartialCounts(self.folder), self.source.open()
        block = Block(source, self.trials, self.protocol, len(source), *self.options)
        counter = Counter(block)

        def commit(images: range) -> None:
            if parts.read(images) is None:
                cluster.require_files(source.dataset, images.start)
                counts = block.counts()
                for _ in counter.count(images, counts):
                    pass
                parts.write(images, counts.arrays())

        return commit
