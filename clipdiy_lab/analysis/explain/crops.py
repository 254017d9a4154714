"""One window of a run and the network that saw it: cut it out again, and ask for cosines of changed crops."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.analysis.explain.reading import array, label_index, read
from clipdiy_lab.errors import ConfigError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan
from clipdiy_lab.method.naming import grid_name
from clipdiy_lab.models.encoders import to_input

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

_BATCH = 64
"""Crops that go through the network at once unless the segmenter says otherwise."""

Window = tuple[str | int, int, int]
"""Grid (its name, or the side of its windows), row and column."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """One window, the text that it is compared with, and the network.

    Attributes
    ----------
    pixels : uint8 array, window x window x 3
    top, left : int
        Its place in the frame.
    texts : array, phrases x features
        Unit vectors of the label's phrases; the best of them counts.
    side : int
        Of the encoder's input, pixels.
    segmenter : Segmenter
    """

    pixels: Pixels
    top: int
    left: int
    texts: npt.NDArray[np.float32]
    side: int
    segmenter: Segmenter

    @classmethod
    def of(cls, run: xr.DataTree, segmenter: Segmenter, window: Window, label: str) -> Crop:
        """Cut a window out of the frame again.

        Raises
        ------
        RunError
            For a window that the run does not have, a stage that is missing, or another encoder than the run's.
        LabelError
            For a label that the run does not have.
        """
        from clipdiy_lab.pipeline.recombine import require_same_encoder  # heavy, and loaded wherever there is one

        config = read(run, "image", "text_embedding", s.SCORES)
        segmenter = require_same_encoder(run, segmenter)
        label_index(run, label)
        grid, row, col = cell_of(config, window)
        plan, name = Plan.of(config), grid.name
        if grid not in plan.crops:
            raise RunError(
                f"the grid {name!r} holds patch tokens, not crops; use explain.token to decompose a token. "
                f"The grids of crops are {', '.join(crops.name for crops in plan.crops) or 'none'}."
            )
        top, left = int(grid.tops[row]), int(grid.lefts[col])
        pixels = s.stage(run, "image").values[top : top + grid.window, left : left + grid.window]
        text = s.stage(run, "text_embedding")
        texts = text.values[text[s.PHRASE_LABEL].values == label].astype(np.float32)
        side = config.crop_input.get(grid.window, segmenter.encoder.image_size)
        return cls(pixels.copy(), top, left, texts, side, segmenter)

    @property
    def mean_colour(self) -> Pixels:
        """Colour that stands for nothing to see: the crop's own mean."""
        colour: Pixels = np.rint(self.pixels.mean((0, 1))).astype(np.uint8)
        return colour

    def to_input(self, crops: Pixels) -> Tensor:
        """Bring crops, n x window x window x 3 uint8, to the encoder's input."""
        given = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        return to_input(given, self.side, self.segmenter.encoder)

    def cosines(self, crops: list[Pixels]) -> npt.NDArray[np.float64]:
        """Cosine of every changed crop, window x window x 3 uint8, with the text; in batches."""
        size = self.segmenter.batch_size or _BATCH
        found = []
        with torch.inference_mode():
            for start in range(0, len(crops), size):
                vectors = self.segmenter.encoder.encode_crops(self.to_input(np.stack(crops[start : start + size])))
                vectors = torch.nn.functional.normalize(vectors.float().cpu(), dim=-1)
                found.append((vectors.numpy().astype(np.float64) @ self.texts.T).max(1))
        return np.concatenate(found)

    def map(self, stage: s.Stage, values: npt.NDArray[np.floating]) -> xr.DataArray:
        """Wrap a map of the crop; y and x are pixels of the frame."""
        height, width = values.shape
        pixel = {"units": "pixel"}
        coords: dict[Hashable, Any] = {
            s.Y: (s.Y, self.top + np.arange(height), pixel),
            s.X: (s.X, self.left + np.arange(width), pixel),
        }
        return array(stage, values, coords)


def cell_of(config: Config, cell: Window) -> tuple[Grid, int, int]:
    """Return the grid, the row and the column of a cell.

    Raises
    ------
    RunError
        If the plan of the configuration has no such cell.
    """
    name, row, col = _three(cell)
    plan = Plan.of(config)
    if name not in plan.names:
        raise RunError(f"the run has no grid {name!r}; it has {', '.join(plan.names)}.")
    grid = plan[name]
    if not (0 <= row < grid.rows and 0 <= col < grid.cols):
        raise RunError(
            f"there is no window ({name!r}, {row}, {col}); the grid {name} has {grid.rows} x {grid.cols} windows, "
            "counted from 0."
        )
    return grid, row, col


def _three(window: Window) -> tuple[str, int, int]:
    try:
        grid, row, col = window
        return grid_name(grid), int(row), int(col)
    except (TypeError, ValueError, ConfigError):
        raise RunError(f"window is {window!r}; expected (grid, row, col), such as ('s064', 0, 3).") from None
