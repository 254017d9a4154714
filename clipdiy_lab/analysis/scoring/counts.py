"""What a run has counted: confusion counts of its trials, and an interval from them. Nothing here but whole numbers.

Whole numbers add up to the same sum in any order, so a resumed or a distributed run equals an undisturbed one to the
last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clipdiy_lab.errors import DatasetError
from clipdiy_lab.method.metrics import Absent, Counts, Hits
from clipdiy_lab.method.outlines import WIDTHS, Outlines

REPLICATES = 200
LEVEL = 0.95
INTERVAL = f"{LEVEL * 100:.0f} % Poisson bootstrap over images, {REPLICATES} replicates"
"""How `TrialCounts.interval` comes about, for tables."""

Arrays = Mapping[str, npt.NDArray[Any]]


class TrialCounts:
    """Counts of several trials on the same images, of which only the predictions differ.

    Its size does not depend on the number of images, unless counts of every image are asked for: three vectors each (a
    matrix each would be 1.2 GB for COCO-Stuff; three vectors are 20 MB), and three for the pixels near outlines.

    Parameters
    ----------
    trials : int
        Number of trials.
    labels : int
        Number of labels.
    per_image : bool
        Whether to keep the counts of every image.

    Attributes
    ----------
    confusion : int64 array, trials x labels x labels
        Pixels; rows are the truth, columns the prediction.
    ignored : int
        Pixels whose truth is 255.
    trimap : int64 array, trials x widths x 3 x labels
        See `Outlines`; only where the counts of every image are kept.

    Notes
    -----
    The interval is a Poisson bootstrap over the images (Hanley and MacGibbon, 2006; Chamandy et al., 2012): in every
    replicate an image counts k times, k from a Poisson distribution of mean 1. Unlike Efron's bootstrap it needs one
    look at each image and no counts of single images, and replicates of parts of the images add up. The draws depend on
    the image's position alone, so all trials see the same replicates.
    """

    def __init__(self, trials: int, labels: int, *, per_image: bool = False) -> None:
        self.confusion: Counts = np.zeros((trials, labels, labels), dtype=np.int64)
        self.ignored = 0
        self._replicates: Counts = np.zeros((trials, 3, REPLICATES, labels), dtype=np.int64)
        self.trimap: Counts = np.zeros((trials, len(WIDTHS), 3, labels), dtype=np.int64)
        self._images: list[Arrays] | None = [] if per_image else None

    @staticmethod
    def bytes_per_trial(labels: int) -> int:
        """Bytes that the counts of one trial take, those of single images apart."""
        return 8 * labels * (labels + 3 * (REPLICATES + len(WIDTHS)))

    def add(
        self,
        position: int,
        image_id: str,
        confusion: Sequence[Counts],
        ignored: int,
        outlines: Sequence[Outlines] = (),
    ) -> None:
        """Add an image.

        Parameters
        ----------
        position : int
            Of the image in the dataset.
        image_id : str
        confusion : sequence of int64 arrays, labels x labels
            Of every trial; rows are the truth.
        ignored : int
            Pixels whose truth is 255.
        outlines : sequence of Outlines
            Of every trial, where the counts of every image are kept.
        """
        times = draws(position)[:, None]
        hits = [Hits.of(counts) for counts in confusion]
        for trial, counts in enumerate(confusion):
            self.confusion[trial] += counts
            for replicates, part in zip(self._replicates[trial], hits[trial], strict=True):
                replicates += times * part
        self.ignored += ignored
        if self._images is None:
            return
        for trial, near in enumerate(outlines):
            self.trimap[trial] += near.trimap
        boundary = [near.boundary for near in outlines] or np.zeros_like(np.array(hits))
        self._images.append(
            {
                "id": np.array([image_id]),
                "image_ignored": np.array([ignored]),
                "hits": np.array(hits)[None],
                "boundary": np.array(boundary)[None],
            }
        )

    def merge(self, arrays: Arrays) -> Self:
        """Add what another process counted of the images that follow.

        Parameters
        ----------
        arrays : mapping
            What `arrays` of the other one gave.

        Raises
        ------
        DatasetError
            If it counted other labels or another number of trials, or did not keep the counts of every image.
        """
        mine = self.arrays()
        if arrays.keys() != mine.keys() or any(arrays[name].shape != mine[name].shape for name in _SUMS):
            raise DatasetError("only counts with the same labels, the same trials and per-image values can be added.")
        self.confusion += arrays["confusion"]
        self.ignored += int(arrays["ignored"])
        self._replicates += arrays["replicates"]
        self.trimap += arrays["trimap"]
        if self._images is not None:
            self._images.append({name: arrays[name] for name in _BY_IMAGE})
        return self

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything counted, as arrays for a file."""
        sums = {
            "confusion": self.confusion,
            "ignored": np.array(self.ignored),
            "replicates": self._replicates,
            "trimap": self.trimap,
        }
        if self._images is None:
            return sums
        trials, _, _, labels = self._replicates.shape
        none: Arrays = {
            "id": np.array([], dtype=np.str_),
            "image_ignored": np.zeros(0, dtype=np.int64),
            **dict.fromkeys(("hits", "boundary"), np.zeros((0, trials, 3, labels), dtype=np.int64)),
        }
        parts = [none, *self._images]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in _BY_IMAGE}
        self._images = [joined]
        return sums | joined

    @property
    def ids(self) -> list[str]:
        """Ids of the images, in order; only where the counts of every image are kept."""
        return [str(image_id) for image_id in self.arrays()["id"]]

    @property
    def image_ignored(self) -> Counts:
        """Ignored pixels of every image; only where the counts of every image are kept."""
        return self.arrays()["image_ignored"]

    def hits(self, trial: int = 0) -> Hits:
        """Counts of every image, images x labels; only where they are kept."""
        return Hits(*np.moveaxis(self.arrays()["hits"][:, trial], 1, 0))

    def boundary(self, trial: int = 0) -> Hits:
        """Counts of `Outlines.boundary` of every image, images x labels; only where they are kept."""
        return Hits(*np.moveaxis(self.arrays()["boundary"][:, trial], 1, 0))

    @property
    def ignored_share(self) -> float:
        """Share of all pixels that were ignored; NaN before the first image."""
        total = int(self.confusion[0].sum()) + self.ignored
        return self.ignored / total if total else float("nan")

    def interval(self, trial: int = 0, absent: Absent = "nan") -> tuple[float, float]:
        """Bounds of the 95 % bootstrap interval of the mean IoU of a trial; NaN where no replicate has a score.

        Parameters
        ----------
        trial : int
        absent : {"nan", "zero"}
            As for `metrics.iou`.
        """
        return bounds(row_means(self.replicates(trial).iou(absent)))

    def replicates(self, trial: int = 0) -> Hits:
        """Counts of every replicate, replicates x labels."""
        return Hits(*self._replicates[trial])


def bounds(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Bounds of the 95 % interval of what replicates give; those without a value are left out, NaN if all are."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def row_means(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of every row's finite values; NaN where there is none."""
    finite = np.isfinite(scores).sum(1)
    means: npt.NDArray[np.float64] = np.divide(
        np.nansum(scores, axis=1), finite, out=np.full(len(scores), np.nan), where=finite > 0
    )
    return means


def resampled(hits: Hits) -> Hits:
    """Counts of every replicate, replicates x labels, from those of every image, images x labels.

    The same draws as `TrialCounts` has, so two results of the same images are resampled in pairs.
    """
    times = np.stack([draws(position) for position in range(len(hits.tp))], axis=1)
    return Hits(*(times @ part for part in hits))


_SUMS = ("confusion", "ignored", "replicates", "trimap")
_BY_IMAGE = ("id", "image_ignored", "hits", "boundary")


@lru_cache(maxsize=4096)
def draws(position: int) -> npt.NDArray[np.int64]:
    """How often an image counts in each replicate; the same on every machine."""
    # Inverse transform of uniform numbers: numpy promises the bits of a generator, not those of its distributions.
    uniform = np.random.Generator(np.random.PCG64([0xB007, position])).integers(0, 2**53, REPLICATES) / 2**53
    times: npt.NDArray[np.int64] = np.searchsorted(_POISSON, uniform, side="right").astype(np.int64)
    return times


def _poisson(most: int = 16) -> npt.NDArray[np.float64]:
    """Distribution function of the Poisson distribution of mean 1, at 0, 1, 2, ..."""
    terms = np.exp(-1.0) / np.cumprod([1.0, *range(1, most)])
    return np.cumsum(terms)


_POISSON = _poisson()
