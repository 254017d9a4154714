"""Patch tokens as a grid: those of the whole frame, or those of all windows of one side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config, Interpolation, Placement
from clipdiy_lab.method.interpolation import FloatArray, read_only, tiles
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.method.naming import DENSE, grid_title, token_grid_name

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """Patch tokens of rectangles that the encoder has read: of one that is the frame, or of windows that overlap.

    A row of cells is a row of patches of a row of rectangles, so cells of windows that overlap overlap as well. The
    map of the grid is, at every pixel, the mean over the rectangles that cover it of their own maps, each interpolated
    within its rectangle; a pixel that none covers takes the nearest. Along each axis a pixel is covered by as many
    rectangles wherever it is on the other, so the mean is a product of two matrices.

    Attributes
    ----------
    name : str
        ``dense``, or with the side of the windows behind it, ``dense064``.
    frame : (int, int)
        Height and width of the frame, pixels.
    tokens : (int, int)
        Rows and columns of patches of a rectangle.
    starts : (tuple of float, tuple of float)
        Top of each row of rectangles and left of each column, pixels of the frame.
    sides : (float, float)
        Height and width of a rectangle, pixels of the frame.
    stretched : bool
        Whether ``placement="stretched"`` spreads the patches over the whole frame, where they lie on more or less.
    """

    name: str
    frame: tuple[int, int]
    tokens: tuple[int, int]
    starts: tuple[tuple[float, ...], tuple[float, ...]]
    sides: tuple[float, float]
    stretched: bool = False

    @property
    def title(self) -> str:
        """Its name for people, such as ``dense 64 px``."""
        return grid_title(self.name)

    @property
    def window(self) -> int:
        """Side in pixels of the square that a cell stands for, rounded; of patches that are no squares the longer."""
        return max(1, round(max(side / count for side, count in zip(self.sides, self.tokens, strict=True))))

    @property
    def rows(self) -> int:
        """Number of cells down the frame."""
        return len(self.starts[0]) * self.tokens[0]

    @property
    def cols(self) -> int:
        """Number of cells across the frame."""
        return len(self.starts[1]) * self.tokens[1]

    @property
    def tops(self) -> IntArray:
        """First pixel row of each row of cells, rounded, shape (rows,)."""
        return self._firsts(0)

    @property
    def lefts(self) -> IntArray:
        """First pixel column of each column of cells, rounded, shape (cols,)."""
        return self._firsts(1)

    @property
    def centre_y(self) -> FloatArray:
        """Centre of each row of cells in pixel coordinates (pixel i has its centre at i), shape (rows,)."""
        return self._edges(0, 0.5) - 0.5

    @property
    def centre_x(self) -> FloatArray:
        """Centre of each column of cells in pixel coordinates, shape (cols,)."""
        return self._edges(1, 0.5) - 0.5

    def _edges(self, axis: int, inside: float) -> FloatArray:
        """Place in each cell, 0 its start and 1 its end, along an axis."""
        count = self.tokens[axis]
        steps = (np.arange(count) + inside) * (self.sides[axis] / count)
        edges: FloatArray = np.add.outer(np.array(self.starts[axis], dtype=np.float64), steps).ravel()
        return edges

    def _firsts(self, axis: int) -> IntArray:
        firsts = np.rint(self._edges(axis, 0.0)).astype(np.int64)
        return np.clip(firsts, 0, max(0, self.frame[axis] - self.window))

    def matrices(
        self, placement: Placement = "stretched", interpolation: Interpolation = "bilinear", align_corners: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Weights with which each row (column) of cells enters each pixel row (column).

        Returns
        -------
        (height x rows, width x cols) float64
            Every row sums to 1; the map of the grid is ``down @ grid @ across.T``.
        """
        whole = self.stretched and placement == "stretched"
        down, across = (
            _mean_of_maps(
                (0.0,) if whole else self.starts[axis],
                float(self.frame[axis]) if whole else self.sides[axis],
                self.tokens[axis],
                self.frame[axis],
                interpolation,
                align_corners,
            )
            for axis in (0, 1)
        )
        return down, across


@lru_cache(maxsize=256)
def _mean_of_maps(
    starts: tuple[float, ...],
    length: float,
    count: int,
    side: int,
    interpolation: Interpolation,
    align_corners: bool,
) -> FloatArray:
    """Weights along one axis: `count` patches of each stretch that begins at `starts` and is `length` pixels long."""
    pixels = np.arange(side, dtype=np.float64)
    places = pixels[:, None] - np.array(starts)
    beyond = np.maximum(np.maximum(-places, places - (length - 1)), 0)
    covers = beyond == beyond.min(1, keepdims=True)
    shares = covers / covers.sum(1, keepdims=True)
    parts = [
        share[:, None] * tiles(place, count, length, interpolation, align_corners)
        for share, place in zip(shares.T, places.T, strict=True)
    ]
    return read_only(np.concatenate(parts, axis=1))


def encoder_size(config: Config) -> tuple[int, int]:
    """Height and width in pixels with which the encoder reads the frame for its patch tokens."""
    height, width = config.image_size
    shorter = config.dense_side or min(height, width)
    return round(height * shorter / min(height, width)), round(width * shorter / min(height, width))


def patch_grids(config: Config) -> tuple[PatchGrid, ...]:
    """Return the grids of patch tokens that a configuration asks for.

    Raises
    ------
    ConfigError
        If the configuration does not say how large patches are, or the encoder reads less than one.
    """
    if config.dense == "none":
        return ()
    if config.patches is None:
        raise ConfigError(
            f"dense={config.dense!r} has patches whose size depends on the encoder; use "
            "segmenter.settled(config), which fills it in."
        )
    if config.dense_from == "frame":
        return (_of_frame(config, config.patches[1]),)
    return tuple(_of_windows(config, side, *config.patches) for side in config.scales)


def _of_frame(config: Config, patch: int) -> PatchGrid:
    size, frame = encoder_size(config), config.image_size
    remainder = METHODS[config.dense].remainder
    _require_whole(
        min(size), patch, "the shorter side of the frame reaches the encoder", "a larger dense_side or image_size"
    )
    counts = [side // patch if remainder == "cut" else -(-side // patch) for side in size]
    # Of what is filled up, half lies before the frame, rounded down, where the patches keep their places.
    before = [
        (count * patch - side) // 2 if remainder == "centre" else 0 for count, side in zip(counts, size, strict=True)
    ]
    scale = [own / read for own, read in zip(frame, size, strict=True)]
    top, left = (-pad * factor for pad, factor in zip(before, scale, strict=True))
    height, width = (count * patch * factor for count, factor in zip(counts, scale, strict=True))
    rows, cols = counts
    return PatchGrid(
        name=DENSE,
        frame=frame,
        tokens=(rows, cols),
        starts=((top,), (left,)),
        sides=(height, width),
        stretched=remainder != "centre",
    )


def _of_windows(config: Config, window: int, own: int, patch: int) -> PatchGrid:
    side = config.crop_input.get(window, own)
    _require_whole(side, patch, f"crops of {window} pixels reach the encoder", "a larger crop_input")
    hop = window // config.stride
    tops, lefts = (
        tuple(float(hop * place) for place in range((length - window) // hop + 1)) for length in config.image_size
    )
    count = side // patch
    return PatchGrid(
        name=token_grid_name(window),
        frame=config.image_size,
        tokens=(count, count),
        starts=(tops, lefts),
        sides=(float(window), float(window)),
    )


def _require_whole(side: int, patch: int, what: str, instead: str) -> None:
    if side < patch:
        raise ConfigError(f"{what} with {side} pixels, which is less than one patch of {patch}; use {instead}.")
