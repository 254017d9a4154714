"""From label maps to IoU: integer counts first, scores from the counts.

mIoU here is the benchmark's: one confusion matrix over all pixels of all images, never a mean over images.
"""

from __future__ import annotations

from typing import Literal

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
    hits = counts.diagonal().astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - hits
    nothing = np.nan if absent == "nan" else 0.0
    scores: npt.NDArray[np.float64] = np.divide(hits, union, out=np.full(len(hits), nothing), where=union > 0)
    return scores


def mean_iou(counts: Counts, absent: Absent = "nan") -> float:
    """Mean of `iou` over the labels that have one; NaN where none has."""
    scores = iou(counts, absent)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def pixel_accuracy(counts: Counts) -> float:
    """Share of the counted pixels whose label is right; NaN where none was counted."""
    total = int(counts.sum())
    return float(counts.trace() / total) if total else float("nan")
