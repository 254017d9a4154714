"""Which arrays a store holds: names, dimensions, types, and the bytes that they take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan

IMAGE = "image"
"""Dimension of a store along which its images lie; the coordinate holds their ids."""
BYTE = "byte"
SALIENCY = "saliency"
HEIGHT, WIDTH, HASH = "image_height", "image_width", "image_sha256"


def of_grid(name: str, grid: str) -> str:
    """Name that a dimension or a stage of one grid has where all grids stand side by side.

    Examples
    --------
    >>> of_grid("embedding", "s064")
    'embedding_s064'
    """
    return f"{name}_{grid}"


@dataclass(frozen=True)
class StoredVariable:
    """One array of a store.

    Attributes
    ----------
    dims : tuple of str
        Its dimensions, `IMAGE` first.
    shape : tuple of int
        Of one image.
    dtype : numpy.dtype
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def bytes_per_image(self) -> int:
        """Bytes that one image takes."""
        return math.prod(self.shape) * self.dtype.itemsize


def variables_of(config: Config, features: int, saliency: bool) -> dict[str, StoredVariable]:
    """Arrays of a store, by name.

    Parameters
    ----------
    config : Config
        Its encode knobs say which grids there are.
    features : int
        Width of an embedding.
    saliency : bool
        Whether a saliency source is applied.
    """
    half = np.dtype(np.float16)
    found = {
        of_grid("embedding", grid.name): StoredVariable(
            (IMAGE, of_grid(s.ROW, grid.name), of_grid(s.COL, grid.name), s.FEATURE),
            (grid.rows, grid.cols, features),
            half,
        )
        for grid in Plan.of(config)
    }
    if saliency:
        found[SALIENCY] = StoredVariable((IMAGE, s.Y, s.X), config.image_size, np.dtype(np.uint8))
    found[HEIGHT] = found[WIDTH] = StoredVariable((IMAGE,), (), np.dtype(np.int32))
    found[HASH] = StoredVariable((IMAGE, BYTE), (32,), np.dtype(np.uint8))
    return found


def to_byte(saliency: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Saliency in [0, 1] as one byte per pixel."""
    return np.rint(saliency * 255).astype(np.uint8)


def from_byte(saliency: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Saliency in [0, 1] from one byte per pixel."""
    return saliency.astype(np.float32) / np.float32(255)


def bytes_per_image(held: dict[str, StoredVariable]) -> int:
    """Bytes that one image takes in all arrays together."""
    return sum(one.bytes_per_image for one in held.values())
