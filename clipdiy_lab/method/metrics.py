"""From label maps to IoU: integer counts first, scores from the counts.

mIoU here is the benchmark's: one confusion matrix over all pixels of all images, never a mean over images.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

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
        raise DatasetError(
            f"the mask has shape {truth.shape}, the prediction {predicted.shape}; resize them to the same size."
        )
    if not truth.size:
        return np.zeros((labels, labels), dtype=np.int64)
    if predicted.max() >= labels or predicted.min() < 0:
        valid = truth != IGNORE  # what is predicted where the truth is ignored does not matter
        _require_labels("prediction", predicted[valid], labels)
        predicted = np.where(valid, predicted, 0)
    if truth.dtype != np.uint8:
        _require_labels("mask", truth[truth != IGNORE], labels)
    # One pass over the pixels, with a row for every value that a mask may hold; only labels may have pixels there.
    rows = max(labels, IGNORE + 1)
    pairs = truth.astype(np.intp) * labels + predicted
    table = np.bincount(pairs.ravel(), minlength=rows * labels).reshape(rows, labels)
    table[IGNORE] = 0
    foreign = np.flatnonzero(table[labels:].any(axis=1))
    if foreign.size:
        _require_labels("mask", foreign + labels, labels)
    return table[:labels].astype(np.int64)


def _require_labels(what: str, values: npt.NDArray[np.integer], labels: int) -> None:
    outside = values[(values < 0) | (values >= labels)]
    if outside.size:
        ignored = f" or {IGNORE} (ignore)" if what == "mask" else ""
        raise DatasetError(
            f"the {what} holds label {int(outside[0])}, expected 0 to {labels - 1}{ignored}; check the label map."
        )


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


def confusion_size(counts: Counts) -> npt.NDArray[np.float64]:
    """Effective number of labels that the pixels of every true label are given; NaN for one that is nowhere true.

    It is exp(H), H the entropy of the row of the confusion matrix in nats: 1 where all pixels get one label (the right
    one or not), n where n labels share them evenly. So a label that is confused with one other, again and again, is
    told from one that is confused with everything, which the IoU of both does not do.

    Parameters
    ----------
    counts : int64 array, labels x labels
        Rows are the truth.

    Notes
    -----
    The "effective number" of Jost, "Entropy and diversity", Oikos 2006 (Hill's number of order 1), known as perplexity
    in language models.

    Examples
    --------
    >>> confusion_size(np.array([[8, 0, 0], [2, 2, 0], [0, 0, 0]])).tolist()
    [1.0, 2.0, nan]
    """
    true = counts.sum(1, keepdims=True)
    shares = np.divide(counts, true, out=np.zeros(counts.shape), where=true > 0, dtype=np.float64)
    logs = np.log(shares, out=np.zeros(counts.shape), where=shares > 0)
    sizes: npt.NDArray[np.float64] = np.where(true[:, 0] > 0, np.exp(-(shares * logs).sum(1)), np.nan)
    return sizes


def mean_confusion_size(counts: Counts) -> float:
    """Effective number of labels that a pixel is given once its true label is known; NaN where none was counted.

    It is exp of the mean of the entropies behind `confusion_size`, every label weighed by its true pixels: of the
    conditional entropy of the prediction given the truth.
    """
    total = int(counts.sum())
    if not total:
        return float("nan")
    true = counts.sum(1)
    entropies = np.log(confusion_size(counts), out=np.zeros(len(true)), where=true > 0)
    return float(np.exp((true * entropies).sum() / total))


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
