"""Which part of a crop made its cosine: hide a part and see how far the cosine falls. Works with any encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from clipdiy_lab.analysis.explain.crops import Crop, Window
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import schema as s

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

OCCLUSION = s.Stage(
    name="occlusion",
    dims=(s.Y, s.X),
    kind="f4",
    title="Occlusion in the window",
    sentence="Decrease of the cosine when the pixel is hidden. Orange parts support the label; blue parts oppose it.",
    unit="cosine",
    low=-2,
    high=2,
)


def occlude(
    run: xr.DataTree,
    segmenter: Segmenter,
    window: Window,
    label: str,
    *,
    patch: int | None = None,
    step: int | None = None,
) -> xr.DataArray:
    """Occlusion map of one window (Zeiler and Fergus, 2014).

    Parameters
    ----------
    run : xarray.DataTree
    segmenter : Segmenter
        The one that made the run.
    window : (grid, row, col)
        As `pixel` names them.
    label : str
    patch : int, optional
        Side of the occluding square in pixels. Default: a quarter of the window.
    step : int, optional
        Distance between squares. Default: half of `patch`.

    Returns
    -------
    array (y, x)
        ``occlusion``: decrease of the cosine when the pixel is replaced by the crop's mean colour, averaged over the
        squares that cover it; negative where occlusion raises the cosine. y and x are pixels of the frame.

    Raises
    ------
    RunError, LabelError
        For a window or label that is not in the run, or another encoder.
    ConfigError
        For an invalid patch or step.
    """
    crop = Crop.of(run, segmenter, window, label)
    side = len(crop.pixels)
    patch = max(1, side // 4) if patch is None else patch
    step = max(1, patch // 2) if step is None else step
    if not (1 <= patch <= side and 1 <= step <= patch):
        raise ConfigError(f"patch is {patch}, step {step}; expected 1 <= step <= patch <= {side} pixels.")
    starts = [*range(0, side - patch, step), side - patch]
    places = [(y, x) for y in starts for x in starts]
    hidden = []
    for y, x in places:
        changed = crop.pixels.copy()
        changed[y : y + patch, x : x + patch] = crop.mean_colour
        hidden.append(changed)
    whole, *cosines = crop.cosines([crop.pixels, *hidden])
    total, times = np.zeros((side, side)), np.zeros((side, side))
    for (y, x), cosine in zip(places, cosines, strict=True):
        total[y : y + patch, x : x + patch] += whole - cosine
        times[y : y + patch, x : x + patch] += 1
    return crop.map(OCCLUSION, total / times)
