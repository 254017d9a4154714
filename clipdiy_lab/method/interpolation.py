"""Interpolation along one axis as a matrix: with which weight each value enters each pixel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from clipdiy_lab.method.config import Interpolation

FloatArray = npt.NDArray[np.float64]


@lru_cache(maxsize=256)
def stretched(count: int, side: int, interpolation: Interpolation, align_corners: bool) -> FloatArray:
    """Weights of `count` values that are spread over `side` pixels, shape (side, count)."""
    return read_only(tiles(np.arange(side, dtype=np.float64), count, side, interpolation, align_corners))


def tiles(
    pixels: FloatArray, count: int, length: float, interpolation: Interpolation, align_corners: bool
) -> FloatArray:
    """Weights as `torch.nn.functional.interpolate` has them, which takes values for tiles of a whole length.

    Parameters
    ----------
    pixels : array, shape (pixels,)
        Places of the pixels from the start of the length; beyond its ends the outermost value holds.
    count : int
        Number of values.
    length : float
        Of all tiles together, in pixels.

    Returns
    -------
    array, shape (pixels, count)
    """
    if interpolation == "nearest":
        # torch's "nearest" takes the tile that the pixel's left edge falls into, computed in float32.
        tile = np.floor(pixels.astype(np.float32) * (np.float32(count) / np.float32(length))).astype(int)
        return _chosen(np.clip(tile, 0, count - 1), count)
    if align_corners:
        positions = pixels * ((count - 1) / (length - 1)) if length > 1 else pixels * 0
    else:
        positions = (pixels + 0.5) * (count / length) - 0.5
    return _linear(positions, count)


def centred(centres: FloatArray, side: int, interpolation: Interpolation) -> FloatArray:
    """Values at true centres; beyond the outermost centres the outermost value holds."""
    n = len(centres)
    pixels = np.arange(side, dtype=np.float64)
    if interpolation == "nearest":
        return _chosen(np.abs(pixels[:, None] - centres).argmin(1), n)
    return _linear(np.interp(pixels, centres, np.arange(n, dtype=np.float64)), n)


def _chosen(places: npt.NDArray[np.intp], n: int) -> FloatArray:
    """Weights that take one value each."""
    weights: FloatArray = np.eye(n)[places]
    return weights


def _linear(positions: FloatArray, n: int) -> FloatArray:
    """Weights of linear interpolation at fractional grid positions, clamped to the grid."""
    positions = np.clip(positions, 0, n - 1)
    low = np.minimum(np.floor(positions).astype(int), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = (positions - low)[:, None]
    weights: FloatArray = _chosen(low, n) * (1 - share) + _chosen(high, n) * share
    return weights


def read_only(matrix: FloatArray) -> FloatArray:
    """Return a matrix that nobody can change: cached ones are shared between callers."""
    matrix.setflags(write=False)
    return matrix
