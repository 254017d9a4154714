"""Counts of one configuration over many images, with an interval, in memory that does not grow with the images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from clipdiy_lab.errors import DatasetError
from clipdiy_lab.method.metrics import IGNORE, Absent, Counts, Hits, Tally

REPLICATES = 200
LEVEL = 0.95
INTERVAL = f"{LEVEL * 100:.0f} % Poisson bootstrap over images, {REPLICATES} replicates"
"""How `ResampledTally.interval` comes about, for tables."""
_VALUES = 256  # of a mask


class ResampledTally(Tally):
    """A `Tally` that also counts for a bootstrap over the images.

    `metrics.bootstrap_miou` needs the counts of every image. This is the Poisson bootstrap (Hanley and MacGibbon, 2006;
    Chamandy et al., 2012): in every replicate an image counts k times, k from a Poisson distribution of mean 1, so one
    look at each image is enough. The draws depend on the image's position alone: all configurations of a sweep see the
    same replicates.

    Parameters
    ----------
    labels : int
        Number of labels.
    absent : {"nan", "zero"}
        As for `metrics.iou`.
    """

    def __init__(self, labels: int, absent: Absent = "nan") -> None:
        super().__init__(labels)
        self.absent = absent
        self._replicates = np.zeros((3, REPLICATES, labels), dtype=np.int64)

    @staticmethod
    def bytes_each(labels: int) -> int:
        """Bytes that a tally of so many labels takes."""
        return 8 * (labels**2 + 3 * REPLICATES * labels)

    def add(self, position: int, counts: Counts, ignored: int) -> None:
        """Take over the counts of an image.

        Parameters
        ----------
        position : int
            Of the image in the dataset.
        counts : int64 array, labels x labels
            Pixels; rows are the truth.
        ignored : int
            Pixels that do not count.
        """
        self.counts += counts
        self.ignored += ignored
        times = draws(position)[:, None]
        for replicate, part in zip(self._replicates, Hits.of(counts), strict=True):
            replicate += times * part

    def merge(self, other: Tally) -> Self:
        """Add what another tally counted of other images; exact, since all counts are whole numbers.

        Raises
        ------
        DatasetError
            If it is of another number of labels, or counted without replicates.
        """
        if not isinstance(other, ResampledTally):
            raise DatasetError("a tally without replicates cannot be added to one with them.")
        super().merge(other)
        self._replicates += other._replicates
        return self

    def arrays(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return everything counted, as arrays for a file."""
        return {"counts": self.counts, "ignored": np.array(self.ignored), "replicates": self._replicates}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[np.int64]], absent: Absent = "nan") -> Self:
        """Return the tally that `arrays` gave."""
        tally = cls(arrays["counts"].shape[-1], absent)
        tally.counts, tally.ignored = arrays["counts"], int(arrays["ignored"])
        tally._replicates = arrays["replicates"]
        return tally

    def interval(self) -> tuple[float, float]:
        """Bounds of the 95 % bootstrap interval of the mean IoU; NaN where no replicate has a score."""
        scores = Hits(*self._replicates).iou(self.absent)
        means = [float(np.nanmean(row)) for row in scores if np.isfinite(row).any()]
        if not means:
            return float("nan"), float("nan")
        low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


@lru_cache(maxsize=4096)
def draws(position: int) -> npt.NDArray[np.int64]:
    """How often an image counts in each replicate; the same on every machine."""
    # Inverse transform of uniform numbers: numpy promises the bits of a generator, not those of its distributions.
    uniform = np.random.Generator(np.random.PCG64([0xB007, position])).integers(0, 2**53, REPLICATES) / 2**53
    found: npt.NDArray[np.int64] = np.searchsorted(_POISSON, uniform, side="right").astype(np.int64)
    return found


def _poisson(most: int = 16) -> npt.NDArray[np.float64]:
    """Distribution function of the Poisson distribution of mean 1, at 0, 1, 2, ..."""
    terms = np.exp(-1.0) / np.cumprod([1.0, *range(1, most)])
    return np.cumsum(terms)


_POISSON = _poisson()


def count(truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.integer], labels: int) -> tuple[Counts, int]:
    """Count the pixels of every (true, predicted) pair in one pass, and the ignored ones.

    The same as `metrics.confusion`, for masks of one byte a pixel and predictions that are known to be labels.

    Raises
    ------
    DatasetError
        If the shapes differ or the mask holds a value that is neither a label nor 255.
    """
    if truth.shape != predicted.shape:
        raise DatasetError(f"the mask is {truth.shape}, the prediction {predicted.shape}; bring them to one size.")
    pairs = truth.astype(np.intp) * labels + predicted
    table = np.bincount(pairs.ravel(), minlength=_VALUES * labels).reshape(_VALUES, labels)
    outside = np.flatnonzero(table[labels:IGNORE].any(axis=1))
    if outside.size:
        raise DatasetError(
            f"the mask holds label {labels + int(outside[0])}, expected 0 to {labels - 1} or {IGNORE} (ignore); check "
            "the label map."
        )
    return table[:labels].astype(np.int64), int(table[IGNORE].sum())
