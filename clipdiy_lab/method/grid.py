"""The plan: which grids of vectors a run has, where their cells are, and how their values spread over the frame.

A grid is anything that gives vectors at known places of the frame. A plan is a value: it needs no image and no network;
it can be printed, compared and drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from clipdiy_lab.errors import ConfigError, nearest
from clipdiy_lab.method.config import Config, Interpolation, Placement
from clipdiy_lab.method.interpolation import FloatArray, centred, read_only, stretched
from clipdiy_lab.method.naming import grid_name, grid_title, window_grid_name
from clipdiy_lab.method.patch_grid import IntArray, PatchGrid, patch_grids


@runtime_checkable
class Grid(Protocol):
    """Vectors at known places of the frame: what every instrument of the lab works on."""

    @property
    def name(self) -> str:
        """Name of the grid's node in a run and of its place along the dimension ``grid``, such as ``s064``."""
        ...

    @property
    def title(self) -> str:
        """Its name for people, such as ``64 px``."""
        ...

    @property
    def window(self) -> int:
        """Side in pixels of the square that a cell stands for."""
        ...

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the frame, pixels."""
        ...

    @property
    def rows(self) -> int:
        """Number of cells down the frame."""
        ...

    @property
    def cols(self) -> int:
        """Number of cells across the frame."""
        ...

    @property
    def tops(self) -> IntArray:
        """First pixel row of each row of cells, shape (rows,)."""
        ...

    @property
    def lefts(self) -> IntArray:
        """First pixel column of each column of cells, shape (cols,)."""
        ...

    @property
    def centre_y(self) -> FloatArray:
        """Centre of each row of cells in pixel coordinates (pixel i has its centre at i), shape (rows,)."""
        ...

    @property
    def centre_x(self) -> FloatArray:
        """Centre of each column of cells in pixel coordinates, shape (cols,)."""
        ...

    def matrices(
        self, placement: Placement = ..., interpolation: Interpolation = ..., align_corners: bool = ...
    ) -> tuple[FloatArray, FloatArray]:
        """Weights with which each row (column) of cells enters each pixel row (column).

        Returns
        -------
        (height x rows, width x cols) float64
            Every row sums to 1. The map of a grid is ``down @ values @ across.T``; this product is the whole of the
            upsampling, so a pixel's score can be taken apart exactly.
        """
        ...


@dataclass(frozen=True)
class WindowGrid:
    """Square windows of one side: ``n = (side - window) // hop + 1`` along each axis (wysoczanska/clip-diy, unfold).

    Attributes
    ----------
    window : int
        Side of a window, pixels.
    hop : int
        Distance between neighbouring windows, pixels.
    frame : (int, int)
        Height and width of the frame, pixels.
    """

    window: int
    hop: int
    frame: tuple[int, int]

    @property
    def name(self) -> str:
        """Name of the grid, such as ``s064``."""
        return window_grid_name(self.window)

    @property
    def title(self) -> str:
        """Side of the windows, such as ``64 px``."""
        return grid_title(self.name)

    @property
    def rows(self) -> int:
        """Number of windows down the frame."""
        return (self.frame[0] - self.window) // self.hop + 1

    @property
    def cols(self) -> int:
        """Number of windows across the frame."""
        return (self.frame[1] - self.window) // self.hop + 1

    @property
    def windows(self) -> int:
        """Number of windows."""
        return self.rows * self.cols

    @property
    def tops(self) -> IntArray:
        """First pixel row of each window row, shape (rows,)."""
        return np.arange(self.rows) * self.hop

    @property
    def lefts(self) -> IntArray:
        """First pixel column of each window column, shape (cols,)."""
        return np.arange(self.cols) * self.hop

    @property
    def centre_y(self) -> FloatArray:
        """Centre of each window row in pixel coordinates (pixel i has its centre at i), shape (rows,)."""
        return (self.tops + (self.window - 1) / 2).astype(np.float64)

    @property
    def centre_x(self) -> FloatArray:
        """Centre of each window column in pixel coordinates, shape (cols,)."""
        return (self.lefts + (self.window - 1) / 2).astype(np.float64)

    @property
    def uncovered(self) -> tuple[int, int]:
        """Pixel rows at the bottom and pixel columns at the right that no window sees."""
        height, width = self.frame
        return height - int(self.tops[-1]) - self.window, width - int(self.lefts[-1]) - self.window

    def coverage(self) -> IntArray:
        """How many windows see each pixel, shape (height, width)."""
        counts = [
            ((pixels[:, None] >= starts) & (pixels[:, None] < starts + self.window)).sum(1)
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
            Every row sums to 1 and has at most two entries other than 0. The map of a grid is
            ``down @ grid @ across.T``; this product is the whole of the upsampling, so a pixel's score can be taken
            apart exactly.
        """
        if placement == "centred":
            return (
                read_only(centred(self.centre_y, self.frame[0], interpolation)),
                read_only(centred(self.centre_x, self.frame[1], interpolation)),
            )
        return (
            stretched(self.rows, self.frame[0], interpolation, align_corners),
            stretched(self.cols, self.frame[1], interpolation, align_corners),
        )


@dataclass(frozen=True)
class Plan:
    """The grids of a run, in the order in which they are merged.

    Examples
    --------
    >>> plan = Plan.of(Config())
    >>> plan
    Plan(frame 256 x 256, 59 windows: 256 px 1 x 1, 128 px 3 x 3, 64 px 7 x 7)
    >>> len(plan), plan.windows, plan.names
    (3, 59, ('s256', 's128', 's064'))
    >>> plan["s064"].tops
    array([  0,  32,  64,  96, 128, 160, 192])
    """

    grids: tuple[Grid, ...]

    @classmethod
    def of(cls, config: Config) -> Plan:
        """Return the plan that a configuration asks for.

        Raises
        ------
        ConfigError
            If it has patch tokens whose size is left to the encoder, or is greater than what the encoder reads.
        """
        windows = (WindowGrid(side, side // config.stride, config.image_size) for side in config.scales)
        return cls((*windows, *patch_grids(config)))

    @cached_property
    def _by_name(self) -> dict[str, Grid]:
        return {grid.name: grid for grid in self.grids}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the grids."""
        return tuple(self._by_name)

    @property
    def tokens(self) -> tuple[PatchGrid, ...]:
        """Grids whose vectors are patch tokens."""
        return tuple(grid for grid in self.grids if isinstance(grid, PatchGrid))

    @property
    def crops(self) -> tuple[WindowGrid, ...]:
        """Grids whose vectors are embeddings of crops."""
        return tuple(grid for grid in self.grids if isinstance(grid, WindowGrid))

    def __getitem__(self, grid: str | int) -> Grid:
        """Return a grid by its name or by the side of its windows.

        Raises
        ------
        ConfigError
            If the plan has no such grid.
        """
        name = grid_name(grid)
        if name not in self._by_name:
            raise ConfigError(f"the plan has no grid {name!r}. {nearest(name, self.names)}")
        return self._by_name[name]

    def __iter__(self) -> Iterator[Grid]:
        return iter(self.grids)

    def __len__(self) -> int:
        """Count the grids, as iteration gives them."""
        return len(self.grids)

    @property
    def windows(self) -> int:
        """Number of windows of all grids: the crops that the network sees."""
        return sum(grid.windows for grid in self.crops)

    def __repr__(self) -> str:
        height, width = self.grids[0].frame
        listed = ", ".join(f"{grid.title} {grid.rows} x {grid.cols}" for grid in self.grids)
        missed = [
            f"{grid.title} misses {grid.uncovered[0]} rows, {grid.uncovered[1]} columns"
            for grid in self.crops
            if any(grid.uncovered)
        ]
        tail = f"; {'; '.join(missed)}" if missed else ""
        return f"Plan(frame {height} x {width}, {self.windows} windows: {listed}{tail})"
