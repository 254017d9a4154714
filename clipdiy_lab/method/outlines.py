"""How well the outlines of labels are met: Boundary IoU, and scores in bands of growing width around true outlines.

Sources
-------
Cheng, Girshick, Dollar, Berg and Kirillov, "Boundary IoU", CVPR 2021: the band inside each mask, its width a share of
the image's diagonal (0.02), pixels at the image's edge part of it. Trimaps: Kohli, Ladicky and Torr, "Robust Higher
Order Potentials", IJCV 2009, sec. 6.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clipdiy_lab.method.metrics import IGNORE, Counts, Hits

BAND: Final = 0.02
"""Width of the band of Boundary IoU, as a share of the diagonal."""
WIDTHS: Final = (1, 2, 4, 8, 16, 32)
"""Widths of the bands of a trimap, in pixels at the size of comparison."""

_NO_LABEL: Final = -1

Bools = npt.NDArray[np.bool_]


class Outlines(NamedTuple):
    """Pixels near outlines.

    Attributes
    ----------
    boundary : int64 array, 3 x labels
        True positives, false positives and false negatives of Boundary IoU: as those of IoU, but of each label only the
        pixels count, in truth and prediction alike, that lie within the band inside its outline.
    trimap : int64 array, widths x 3 x labels
        The same of IoU, over the pixels that are at most so far from a true outline (image edges are none).
    """

    boundary: Counts
    trimap: Counts

    @classmethod
    def of(
        cls, truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], labels: int, share: float = BAND
    ) -> Outlines:
        """Count an image.

        Parameters
        ----------
        truth, predicted : integer arrays of one shape, y x x
            Label indices. Where the truth is 255 no pixel counts, and what is predicted does not matter: an ignored
            region bounds the labels around it in truth and prediction alike.
        labels : int
        share : float
            Width of the band as a share of the image's diagonal; at least one pixel.
        """
        valid = truth != IGNORE
        width = max(1, round(share * float(np.hypot(*truth.shape))))
        outlined = (truth, np.where(valid, predicted, _NO_LABEL))
        inner = [spread(edges(values, frame=True), width - 1) for values in outlined]
        boundary = _hits(truth, predicted, valid & inner[0], valid & inner[1], labels)
        near, reached, bands = edges(truth, frame=False), 1, []
        for wanted in WIDTHS:
            near, reached = spread(near, wanted - reached), wanted
            bands.append(_hits(truth, predicted, valid & near, valid & near, labels))
        return cls(boundary, np.stack(bands))


def edges(values: npt.NDArray[np.integer], *, frame: bool) -> Bools:
    """Pixels with another value among their eight neighbours; with `frame` those at the image's edge too.

    Examples
    --------
    >>> edges(np.array([[0, 0, 0, 1]]), frame=False).tolist()
    [[False, False, True, True]]
    """
    found = np.full(values.shape, False)
    found[:, 1:] |= values[:, 1:] != values[:, :-1]
    found[:, :-1] |= values[:, 1:] != values[:, :-1]
    down = values[1:] != values[:-1]
    found[1:] |= down
    found[:-1] |= down
    falling, rising = values[1:, 1:] != values[:-1, :-1], values[1:, :-1] != values[:-1, 1:]
    found[1:, 1:] |= falling
    found[:-1, :-1] |= falling
    found[1:, :-1] |= rising
    found[:-1, 1:] |= rising
    if frame:
        found[[0, -1]] = True
        found[:, [0, -1]] = True
    return found


def spread(found: Bools, radius: int) -> Bools:
    """Pixels at most so many rows and columns from one that is found.

    Examples
    --------
    >>> spread(np.array([[True, False, False, False]]), 2).tolist()
    [[True, True, True, False]]
    """
    for axis in (0, 1):
        room = [(0, 0), (0, 0)]
        room[axis] = (radius, radius)
        lines = np.moveaxis(np.pad(found, room), axis, 0)
        span = 1  # how many pixels each line has taken together
        while span < 2 * radius + 1:
            step = min(span, 2 * radius + 1 - span)
            lines = lines[:-step] | lines[step:]
            span += step
        found = np.moveaxis(lines, 0, axis)
    return found


def _hits(
    truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], of_truth: Bools, guessed: Bools, labels: int
) -> Counts:
    """True positives, false positives and false negatives where the truth counts and where the prediction does."""
    tp = np.bincount(truth[of_truth & guessed & (truth == predicted)], minlength=labels)
    true, positive = (
        np.bincount(values[where], minlength=labels) for values, where in ((truth, of_truth), (predicted, guessed))
    )
    return np.stack(Hits(tp, positive - tp, true - tp)).astype(np.int64)
