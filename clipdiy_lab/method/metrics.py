"""From label maps to IoU: integer counts first, scores from the counts.

mIoU here is the benchmark's: one confusion matrix over all pixels of all images, never a mean over images.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from clipdiy_lab.errors import DatasetError

IGNORE = 255
Absent = Literal["nan", "zero"]
Counts = npt.NDArray[np.int64]


def confusion(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], labels: int) -> Counts:
    """Count the pixels of every (true, predicted) pair.

    Parameters
    ----------
    truth : integer array
        True label indices; 255 is ignored.
    predicted : integer array of the same shape
        Predicted label indices.
    labels : int
        Number of labels.

    Returns
    -------
    int64 array, labels x labels
        Rows are the truth, columns the prediction.

    Raises
    ------
    DatasetError
        If shapes differ or a value is outside ``0 .. labels - 1`` (and, in the truth, not 255).
    """
    if truth.shape != predicted.shape:
        raise DatasetError(f"the mask is {truth.shape}, the prediction {predicted.shape}; bring them to one size.")
    valid = truth != IGNORE
    true, guess = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
    for what, values in (("mask", true), ("prediction", guess)):
        outside = values[(values < 0) | (values >= labels)]
        if outside.size:
            ignored = f" or {IGNORE} (ignore)" if what == "mask" else ""
            raise DatasetError(
                f"the {what} holds label {int(outside[0])}, expected 0 to {labels - 1}{ignored}; check the label map."
            )
    return np.bincount(true * labels + guess, minlength=labels**2).reshape(labels, labels)


def iou(counts: Counts, absent: Absent = "nan") -> npt.NDArray[np.float64]:
    """Intersection over union of every label, from pooled counts.

    Parameters
    ----------
    counts : int64 array, labels x labels
    absent : {"nan", "zero"}
        What a label gets that is neither true nor predicted anywhere: the official code counts it as 0
        (wysoczanska/clip-diy, ``thirdparty/utils.py``), mmseg leaves it out of the mean.
    """
    return Hits.of(counts).iou(absent)


def mean_iou(counts: Counts, absent: Absent = "nan") -> float:
    """Mean of `iou` over the labels that have one; NaN where none has."""
    scores = iou(counts, absent)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def accuracy(counts: Counts) -> npt.NDArray[np.float64]:
    """Share of every label's true pixels that are found (recall); NaN for a label that is nowhere true."""
    true = counts.sum(1)
    scores: npt.NDArray[np.float64] = np.divide(
        counts.diagonal(), true, out=np.full(len(true), np.nan), where=true > 0, dtype=np.float64
    )
    return scores


def mean_accuracy(counts: Counts) -> float:
    """Mean of `accuracy` over the labels that are true somewhere; NaN where none is."""
    scores = accuracy(counts)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def frequency_weighted_iou(counts: Counts) -> float:
    """Mean of `iou`, every label weighed by its share of the true pixels (Long et al. 2015, "fw IU"); NaN if empty."""
    total = int(counts.sum())
    if not total:
        return float("nan")
    return float((counts.sum(1) * iou(counts, "zero")).sum() / total)


def pixel_accuracy(counts: Counts) -> float:
    """Share of the counted pixels whose label is right; NaN where none was counted."""
    total = int(counts.sum())
    return float(counts.trace() / total) if total else float("nan")


class Hits(NamedTuple):
    """Pixels of every label: what IoU needs, in three vectors instead of a matrix.

    Attributes
    ----------
    tp, fp, fn : int64 array, ... x labels
        True positives, false positives, false negatives.
    """

    tp: Counts
    fp: Counts
    fn: Counts

    @classmethod
    def of(cls, counts: Counts) -> Hits:
        """Return the hits in a confusion matrix, labels x labels."""
        tp = counts.diagonal().copy()
        return cls(tp, counts.sum(0) - tp, counts.sum(1) - tp)

    def iou(self, absent: Absent = "nan") -> npt.NDArray[np.float64]:
        """Intersection over union, ... x labels; see `iou` for `absent`."""
        union = self.tp + self.fp + self.fn
        nothing = np.nan if absent == "nan" else 0.0
        scores: npt.NDArray[np.float64] = np.divide(
            self.tp, union, out=np.full(union.shape, nothing), where=union > 0, dtype=np.float64
        )
        return scores


class Tally:
    """Confusion counts of a stream of images; it grows with the labels, never with the number of images.

    Parameters
    ----------
    labels : int
        Number of labels.

    Attributes
    ----------
    counts : int64 array, labels x labels
        Rows are the truth, columns the prediction.
    ignored : int
        Pixels whose truth is 255.

    Examples
    --------
    >>> tally = Tally(2)
    >>> _ = tally.update(np.array([0, 1, 255]), np.array([0, 0, 0]))
    >>> tally.counts.tolist(), tally.ignored, tally.ignored_share
    ([[1, 0], [1, 0]], 1, 0.3333333333333333)
    """

    def __init__(self, labels: int) -> None:
        self.counts: Counts = np.zeros((labels, labels), dtype=np.int64)
        self.ignored = 0

    def update(self, truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> Counts:
        """Add an image, and return its own confusion counts. Arguments and errors are those of `confusion`."""
        counts = confusion(truth, predicted, len(self.counts))
        self.counts += counts
        self.ignored += truth.size - int(counts.sum())
        return counts

    def merge(self, other: Tally) -> Self:
        """Add what another tally counted.

        Raises
        ------
        DatasetError
            If it counted another number of labels.
        """
        if self.counts.shape != other.counts.shape:
            raise DatasetError(
                f"tallies of {len(self.counts)} and {len(other.counts)} labels cannot be added; count the same labels."
            )
        self.counts += other.counts
        self.ignored += other.ignored
        return self

    @property
    def ignored_share(self) -> float:
        """Share of all pixels that were ignored; NaN before the first."""
        total = int(self.counts.sum()) + self.ignored
        return self.ignored / total if total else float("nan")


def bootstrap_miou(
    hits: Hits, absent: Absent = "nan", *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the pooled mIoU when the images are drawn again with replacement.

    Parameters
    ----------
    hits : Hits
        Of every image, images x labels.
    absent : {"nan", "zero"}
        As in `iou`.
    level : float
        Share of the draws that the interval covers.
    draws : int
        How often the images are drawn.
    seed : int
        Of the draws: the same seed gives the same interval.

    Returns
    -------
    low, high : float
        NaN where no draw has a score. (Efron 1979, percentile method.)
    """
    images = len(hits.tp)
    if not images:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    # Counts stay below 2**53, so these products of floats are exact whatever the order of summation.
    parts = [part.astype(np.float64) for part in hits]
    scores = []
    for _ in range(draws):
        times = np.bincount(rng.integers(images, size=images), minlength=images).astype(np.float64)
        drawn = Hits(*((times @ part).astype(np.int64) for part in parts)).iou(absent)
        scores.append(np.nanmean(drawn) if np.isfinite(drawn).any() else np.nan)
    found = np.array(scores, dtype=np.float64)
    kept = found[np.isfinite(found)]
    if not kept.size:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
