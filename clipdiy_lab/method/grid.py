"""The plan: which windows are looked at, where they are, and how their values spread over the frame.

A plan is a value. It needs no image and no network; it can be printed, compared and drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from clipdiy_lab.errors import ConfigError, nearest
from clipdiy_lab.method.config import Config, Interpolation, Placement

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScaleGrid:
    """The windows of one scale: ``n = (side - scale) // hop + 1`` along each axis (wysoczanska/clip-diy, unfold).

    Attributes
    ----------
    scale : int
        Side of a window, pixels.
    hop : int
        Distance between neighbouring windows, pixels.
    frame : (int, int)
        Height and width of the frame, pixels.
    """

    scale: int
    hop: int
    frame: tuple[int, int]

    @property
    def rows(self) -> int:
        """Number of windows down the frame."""
        return (self.frame[0] - self.scale) // self.hop + 1

    @property
    def cols(self) -> int:
        """Number of windows across the frame."""
        return (self.frame[1] - self.scale) // self.hop + 1

    @property
    def windows(self) -> int:
        """Number of windows."""
        return self.rows * self.cols

    @property
    def tops(self) -> npt.NDArray[np.int64]:
        """First pixel row of each window row, shape (rows,)."""
        return np.arange(self.rows) * self.hop

    @property
    def lefts(self) -> npt.NDArray[np.int64]:
        """First pixel column of each window column, shape (cols,)."""
        return np.arange(self.cols) * self.hop

    @property
    def centre_y(self) -> FloatArray:
        """Centre of each window row in pixel coordinates (pixel i has its centre at i), shape (rows,)."""
        return (self.tops + (self.scale - 1) / 2).astype(np.float64)

    @property
    def centre_x(self) -> FloatArray:
        """Centre of each window column in pixel coordinates, shape (cols,)."""
        return (self.lefts + (self.scale - 1) / 2).astype(np.float64)

    @property
    def uncovered(self) -> tuple[int, int]:
        """Pixel rows at the bottom and pixel columns at the right that no window of this scale sees."""
        height, width = self.frame
        return height - int(self.tops[-1]) - self.scale, width - int(self.lefts[-1]) - self.scale

    def coverage(self) -> npt.NDArray[np.int64]:
        """How many windows see each pixel, shape (height, width)."""
        counts = [
            ((pixels[:, None] >= starts) & (pixels[:, None] < starts + self.scale)).sum(1)
            for pixels, starts in zip(map(np.arange, self.frame), (self.tops, self.lefts), strict=True)
        ]
        return np.outer(counts[0], counts[1])

    def matrices(
        self, placement: Placement = "stretched", interpolation: Interpolation = "bilinear", align_corners: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Weights with which each window row (column) enters each pixel row (column).

        Returns
        -------
        (height x rows, width x cols) float64
            Every row sums to 1 and has at most two entries other than 0. The map of a scale is
            ``down @ grid @ across.T``; this product is the whole of the upsampling, so a pixel's score can be taken
            apart exactly.
        """
        if placement == "centred":
            return (
                _centred(self.centre_y, self.frame[0], interpolation),
                _centred(self.centre_x, self.frame[1], interpolation),
            )
        return (
            _stretched(self.rows, self.frame[0], interpolation, align_corners),
            _stretched(self.cols, self.frame[1], interpolation, align_corners),
        )


@dataclass(frozen=True)
class Plan:
    """The windows of all scales in a frame.

    Examples
    --------
    >>> plan = Plan.of(Config())
    >>> plan
    Plan(frame 256 x 256, 59 windows: 256 px 1 x 1, 128 px 3 x 3, 64 px 7 x 7)
    >>> len(plan), plan.windows
    (3, 59)
    >>> plan[64].tops
    array([  0,  32,  64,  96, 128, 160, 192])
    """

    grids: tuple[ScaleGrid, ...]

    @classmethod
    def of(cls, config: Config) -> Plan:
        """Return the plan that a configuration asks for."""
        return cls(tuple(ScaleGrid(scale, scale // config.stride, config.image_size) for scale in config.scales))

    @cached_property
    def _by_scale(self) -> dict[int, ScaleGrid]:
        return {grid.scale: grid for grid in self.grids}

    def __getitem__(self, scale: int) -> ScaleGrid:
        if scale not in self._by_scale:
            raise ConfigError(f"the plan has no scale {scale}. {nearest(str(scale), map(str, self._by_scale))}")
        return self._by_scale[scale]

    def __iter__(self) -> Iterator[ScaleGrid]:
        return iter(self.grids)

    def __len__(self) -> int:
        """Count the grids, one a scale, as iteration gives them."""
        return len(self.grids)

    @property
    def windows(self) -> int:
        """Number of windows of all scales: the crops that the network sees."""
        return sum(grid.windows for grid in self.grids)

    def __repr__(self) -> str:
        height, width = self.grids[0].frame
        listed = ", ".join(f"{grid.scale} px {grid.rows} x {grid.cols}" for grid in self.grids)
        missed = [
            f"{g.scale} px misses {g.uncovered[0]} rows, {g.uncovered[1]} columns" for g in self if any(g.uncovered)
        ]
        tail = f"; {'; '.join(missed)}" if missed else ""
        return f"Plan(frame {height} x {width}, {self.windows} windows: {listed}{tail})"


@lru_cache(maxsize=256)
def _stretched(n: int, side: int, interpolation: Interpolation, align_corners: bool) -> FloatArray:
    """Source positions of `torch.nn.functional.interpolate`, which treats the n values as tiles of the whole side."""
    pixels = np.arange(side, dtype=np.float64)
    if interpolation == "nearest":
        # torch's "nearest" takes the tile that the pixel's left edge falls into, computed in float32.
        tile = np.floor(pixels.astype(np.float32) * (np.float32(n) / np.float32(side))).astype(int)
        return _read_only(np.eye(n)[np.minimum(tile, n - 1)])
    if align_corners:
        positions = pixels * ((n - 1) / (side - 1)) if side > 1 else pixels * 0
    else:
        positions = (pixels + 0.5) * (n / side) - 0.5
    return _linear(positions, n)


def _centred(centres: FloatArray, side: int, interpolation: Interpolation) -> FloatArray:
    """Values at the true centres of their windows; beyond the outermost centres the outermost value holds."""
    n = len(centres)
    pixels = np.arange(side, dtype=np.float64)
    if interpolation == "nearest":
        return _read_only(np.eye(n)[np.abs(pixels[:, None] - centres).argmin(1)])
    return _linear(np.interp(pixels, centres, np.arange(n, dtype=np.float64)), n)


def _linear(positions: FloatArray, n: int) -> FloatArray:
    """Weights of linear interpolation at fractional grid positions, clamped to the grid."""
    positions = np.clip(positions, 0, n - 1)
    low = np.minimum(np.floor(positions).astype(int), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = (positions - low)[:, None]
    weights: FloatArray = np.eye(n)[low] * (1 - share) + np.eye(n)[high] * share
    return _read_only(weights)


def _read_only(matrix: FloatArray) -> FloatArray:
    # Cached matrices are shared between callers.
    matrix.setflags(write=False)
    return matrix
