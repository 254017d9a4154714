"""Every wrong pixel in exactly one bin: where the truth and the label map part."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from clipdiy_lab.datasets.sample import IGNORE

LOSSES = ("boundary", "saliency_miss", "false_foreground", "grid", "confusion")
"""Bins of wrong pixels, in the order in which they are filled: a pixel goes into the first that takes it."""

RIGHT = -1
"""Bin of pixels that are right or ignored."""

Mask = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def near_boundary(mask: Mask, band: int) -> Flags:
    """Find the pixels that have a pixel of another value at most `band` rows and columns away.

    Parameters
    ----------
    mask : uint8 array, H x W
        An ignored pixel (255) is another value too: benchmarks draw it where a boundary is not sure.
    band : int
        Pixels; 0 gives none.
    """
    values = torch.from_numpy(mask.astype(np.float32))[None, None]
    # A square window's maximum over rows, then columns: far fewer comparisons than over the square at once.
    high, low = (
        F.max_pool2d(F.max_pool2d(one, (2 * band + 1, 1), 1, (band, 0)), (1, 2 * band + 1), 1, (0, band))
        for one in (values, -values)
    )
    found: Flags = (high != -low)[0, 0].numpy()
    return found


def bins(mask: Mask, labels: Labels, background: int | None, band: int, singles: Iterable[Labels]) -> Labels:
    """Sort the wrong pixels of an image into `LOSSES`.

    Parameters
    ----------
    mask : uint8 array, H x W
        The truth; 255 is ignored.
    labels : int array, H x W
        What was said.
    background : int or None
        Index of the background label.
    band : int
        Width of the boundary band, pixels.
    singles : iterable of int arrays, H x W
        What each grid alone would have said.

    Returns
    -------
    int array, H x W
        Index into `LOSSES`; `RIGHT` where the label is right or the truth ignored.
    """
    true_background = mask == (IGNORE if background is None else background)
    said_background = np.zeros(mask.shape, dtype=bool) if background is None else labels == background
    grid = np.zeros(mask.shape, dtype=bool)
    for alone in singles:
        grid |= alone == mask
    takes = {
        "boundary": near_boundary(mask, band),
        "saliency_miss": ~true_background & said_background,
        "false_foreground": true_background & ~said_background,
        "grid": grid,
        "confusion": np.ones(mask.shape, dtype=bool),
    }
    wrong = (labels != mask) & (mask != IGNORE)
    found = np.select([takes[name] for name in LOSSES], list(range(len(LOSSES))), RIGHT)
    return np.where(wrong, found, RIGHT)
