"""What every explanation asks of a run: the stages it needs, a pixel inside, labels that are there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from clipdiy_lab.errors import LabelError, RunError, nearest
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.refine import Refinement, refinement

Floats = npt.NDArray[np.float64]
Frame = Literal["frame", "image"]


def read(run: xr.DataTree, *need: str) -> Config:
    """Check that a run is whole and holds the stages needed; return its configuration.

    Raises
    ------
    RunError
        For another thing than a run, a stage that is missing, NaN in a stage, or values out of range.
    """
    s.validate(run, need=need)
    return Config.from_json(run.attrs["config"])


def values(run: xr.DataTree, name: str) -> Floats:
    """One stage of the frame in double precision."""
    found: Floats = s.stage(run, name).values.astype(np.float64)
    return found


def array(stage: s.Stage, data: npt.NDArray[Any], coords: Mapping[Hashable, Any]) -> xr.DataArray:
    """Wrap what an explanation computed, with the name, dimensions and units of its stage."""
    kept = s.coords_of(stage.dims, coords)
    return xr.DataArray(data.astype(stage.kind), dims=stage.dims, coords=kept, name=stage.name, attrs=stage.attrs())


def at_pixel(run: xr.DataTree, y: int, x: int, frame: Frame = "frame") -> tuple[int, int]:
    """Return the pixel of the frame that is meant.

    Raises
    ------
    RunError
        If it lies outside, is no whole number, or `frame` is another word.
    """
    if frame not in ("frame", "image"):
        raise RunError(f"frame is {frame!r}; expected 'frame' (the resized image) or 'image' (the image's own size).")
    dims = (s.Y, s.X) if frame == "frame" else (s.Y_FULL, s.X_FULL)
    stage = s.stage(run, "labels" if frame == "frame" else "labels_full")
    height, width = (stage.sizes[dim] for dim in dims)
    whole = all(isinstance(at, (int, np.integer)) and not isinstance(at, bool) for at in (y, x))
    if not whole or not (0 <= y < height and 0 <= x < width):
        raise RunError(
            f"there is no pixel y={y!r}, x={x!r}; the {frame} has {height} x {width} pixels: give whole numbers, "
            f"y from 0 to {height - 1} and x from 0 to {width - 1}."
        )
    if frame == "frame":
        return int(y), int(x)
    rows, cols = (s.stage(run, "labels").sizes[dim] for dim in (s.Y, s.X))
    return int(ops.nearest(rows, height)[int(y)]), int(ops.nearest(cols, width)[int(x)])


def label_index(run: xr.DataTree, label: str) -> int:
    """Position of a label.

    Raises
    ------
    LabelError
        If the run has no such label.
    """
    known = s.labels_of(run)
    if label not in known:
        raise LabelError(
            f"the run has no label {label!r}. {nearest(str(label), known)} Add labels with recombine(run, labels=..., "
            "segmenter=...)."
        )
    return known.index(label)


def two_labels(run: xr.DataTree) -> None:
    """Refuse a run whose only label has no rival."""
    if len(s.labels_of(run)) < 2:
        raise RunError("the run has only one label, so there is no runner-up; segment with two or more labels.")


def applied_saliency(run: xr.DataTree, config: Config, *deciders: str) -> tuple[Floats, int]:
    """Saliency as it entered the guide (hard where there is a threshold), and the index of the background label.

    Raises
    ------
    RunError
        If saliency did not enter the scores, or another stage than one of `deciders` decides, with what to do.
    """
    background = s.background_of(run)
    if config.background != "saliency" or background is None:
        raise RunError(
            f"the run's background policy is {config.background!r}, so no saliency enters its scores; "
            "use recombine(run, background='saliency', segmenter=...)."
        )
    if "saliency" not in run.data_vars:
        raise RunError(
            "the run has no stage 'saliency'; segment with a saliency source (load(..., saliency='found')) or give a "
            "map: recombine(run, saliency=array)."
        )
    decides = str(s.scores(run).name)
    if decides not in deciders:
        raise RunError(
            f"the labels of this run come from the stage {decides!r}, which follows saliency; the effect of saliency "
            f"is defined only where they come from {' or '.join(map(repr, deciders))}."
        )
    soft = torch.from_numpy(s.stage(run, "saliency").values)
    return ops.harden(soft, config.saliency_threshold).numpy().astype(np.float64), background


def refinement_of(run: xr.DataTree, config: Config) -> Refinement | None:
    """Return what made the scores that decide of the fused ones; None where they are the fused ones.

    Raises
    ------
    RunError
        If the run has lost its image.
    """
    if str(s.scores(run).name) != "refined":
        return None
    return refinement(torch.tensor(np.ascontiguousarray(s.stage(run, "image").values)), config)


def refined(run: xr.DataTree, config: Config, maps: Floats) -> Floats:
    """Refine maps, ... x y x x, as the run's scores were; unchanged where they were not."""
    operator = refinement_of(run, config)
    if operator is None:
        return maps
    found: Floats = operator(torch.from_numpy(maps.reshape(-1, *maps.shape[-2:]))).numpy().reshape(maps.shape)
    return found


def grid_scores(run: xr.DataTree, config: Config) -> Floats:
    """What each grid adds to the score of each label, shape (grids, labels, y, x); they sum to `schema.scores`.

    Raises
    ------
    RunError
        If they do not, because a label's score is a function of the others', or stages were changed.
    """
    plan = Plan.of(config)
    shares = np.array([config.weight(grid.name) for grid in plan])[:, None, None, None] / len(plan)
    scores = refined(run, config, values(run, "logits") * shares * values(run, "guide")[None])
    off = np.abs(scores.sum(0) - s.scores(run).values.astype(np.float64)).max((1, 2)) > rounding(run, config)
    if off.any():
        label = s.labels_of(run)[int(off.argmax())]
        raise RunError(
            f"the scores of {label!r} are not a sum over the grids: background={config.background!r} computes them "
            "differently, or the stages of the run come from different runs (then segment again)."
        )
    return scores


def rounding(run: xr.DataTree, config: Config) -> float:
    """Difference between a score and its parts in double precision that rounding explains."""
    return 16 * float(np.finfo(s.scores(run).dtype).eps) * max([1.0, *config.weights.values()])
