"""Connected regions of a map of whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def regions(values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Number the connected regions of equal value (neighbours share a side), in the order of their first pixel.

    Parameters
    ----------
    values : integer array, y x x

    Returns
    -------
    int64 array, y x x
        From 0.

    Examples
    --------
    >>> regions(np.array([[1, 1, 2], [2, 1, 2]])).tolist()
    [[0, 0, 1], [2, 0, 1]]
    """
    place = np.arange(values.size).reshape(values.shape)
    across, down = values[:, 1:] == values[:, :-1], values[1:] == values[:-1]
    one = np.concatenate([place[:, :-1][across], place[:-1][down]])
    other = np.concatenate([place[:, 1:][across], place[1:][down]])
    # Every pixel points to one of its region that comes earlier, or to itself; neighbours make their ends meet.
    root = place.ravel().copy()
    while True:
        low, high = np.sort(np.stack([root[one], root[other]]), axis=0)
        apart = low != high
        if not apart.any():
            break
        np.minimum.at(root, high[apart], low[apart])
        while (root != root[root]).any():
            root = root[root]
    numbered: npt.NDArray[np.int64] = np.unique(root, return_inverse=True)[1].reshape(values.shape)
    return numbered
