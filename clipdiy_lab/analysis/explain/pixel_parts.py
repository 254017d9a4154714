"""One pixel taken apart: which window of which grid gave which part of its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.explain.reading import Frame, at_pixel, label_index, read, rounding
from clipdiy_lab.errors import LabelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan

WINDOW = [s.GRID, s.WINDOW, "row", "col", "top", "left", "bottom", "right"]


def pixel(
    run: xr.DataTree, y: int, x: int, labels: Sequence[str] | None = None, *, frame: Frame = "frame"
) -> pd.DataFrame:
    """Take the score of a pixel apart, exactly.

    Parameters
    ----------
    run : xarray.DataTree
    y, x : int
        The pixel, from 0.
    labels : sequence of str, optional
        Default: all labels whose score is a weighted sum of windows. (With ``background="threshold"`` the background's
        score is a function of the others' and is left out.)
    frame : {"frame", "image"}
        Whether y and x count pixels of the frame or of the image at its own size.

    Returns
    -------
    pandas.DataFrame
        One row per window and label. Windows: ``grid`` (its name), ``window`` (side in pixels), ``row``, ``col`` and
        their box in pixels of the frame, ``top left bottom right`` (bottom and right excluded).
        ``interpolation_weight`` of the window at the pixel, ``cosine`` of window and label, ``grid_weight`` (the
        grid's weight divided by the number of grids), ``saliency_factor`` (the guide), and ``contribution``, the
        product of the four. The contributions of a label sum to its score at the pixel.

    Raises
    ------
    RunError
        A pixel outside, a run without the stages needed, or a label whose score is no weighted sum of windows.
    LabelError
        A label that the run does not have.
    """
    config = read(run, "guide", s.SCORES, "labels")
    at_y, at_x = at_pixel(run, y, x, frame)
    chosen = _chosen(run, config, labels)
    places = [label_index(run, label) for label in chosen]
    windows = _windows(run, config, at_y, at_x)
    point = {s.Y: at_y, s.X: at_x}
    factors = s.stage(run, "guide").isel(point).values.astype(np.float64)
    tables = []
    for label, place in zip(chosen, places, strict=True):
        table = windows[[*WINDOW, "interpolation_weight"]].assign(label=label)
        table["cosine"] = [cosines[place] for cosines in windows["cosines"]]
        table["grid_weight"] = windows["grid_weight"]
        table["saliency_factor"] = factors[place]
        numbers = ["interpolation_weight", "cosine", "grid_weight", "saliency_factor"]
        table["contribution"] = table[numbers].prod(axis=1)
        tables.append(table)
        _check_sum(run, config, label, float(table["contribution"].sum()), point)
    parts = pd.concat(tables, ignore_index=True)
    return parts[[*WINDOW, "label", *numbers, "contribution"]]


def contrast(run: xr.DataTree, y: int, x: int, label: str, against: str, *, frame: Frame = "frame") -> pd.DataFrame:
    """Take the lead of one label over another at a pixel apart.

    Parameters
    ----------
    run : xarray.DataTree
    y, x : int
    label, against : str
    frame : {"frame", "image"}
        See `pixel`.

    Returns
    -------
    pandas.DataFrame
        One row per window, the largest part of the lead first: the window as in `pixel`, ``cosine``,
        ``saliency_factor`` and ``contribution`` of `label`, the same of `against` with the ending ``_against``, and
        ``difference`` of the contributions. The differences sum to the lead in the scores.

    Raises
    ------
    RunError, LabelError
        As `pixel`; also if both labels are the same.
    """
    if label == against:
        raise LabelError(f"label and against are both {label!r}; give two labels to compare.")
    parts = pixel(run, y, x, [label, against], frame=frame)
    own, other = (parts[parts["label"] == name].drop(columns="label") for name in (label, against))
    shared = [*WINDOW, "interpolation_weight", "grid_weight"]
    both = own.merge(other, on=shared, suffixes=("", "_against"), validate="one_to_one")
    both["difference"] = both["contribution"] - both["contribution_against"]
    return both.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def _chosen(run: xr.DataTree, config: Config, labels: Sequence[str] | None) -> list[str]:
    if isinstance(labels, str) or (labels is not None and not len(labels)):
        raise LabelError(f"labels is {labels!r}; expected a list of the run's labels, such as ['cat'].")
    if labels is not None:
        return list(dict.fromkeys(labels))
    known = list(s.labels_of(run))
    background = s.background_of(run)
    # The policy may be unknown to this version's type.
    if str(config.background) == "threshold" and background is not None:
        del known[background]
    return known


def _windows(run: xr.DataTree, config: Config, y: int, x: int) -> pd.DataFrame:
    """Every window with a weight at the pixel: place, box, weights, and its cosines with all labels."""
    rows = []
    plan = Plan.of(config)
    for grid in plan:
        down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
        cosines = s.stage(run, "similarity", grid.name).values.astype(np.float64)
        for row in np.flatnonzero(down[y]):
            for col in np.flatnonzero(across[x]):
                top, left = int(grid.tops[row]), int(grid.lefts[col])
                rows.append(
                    {
                        **dict(zip(WINDOW, (grid.name, grid.window, int(row), int(col), top, left), strict=False)),
                        "bottom": top + grid.window,
                        "right": left + grid.window,
                        "interpolation_weight": down[y, row] * across[x, col],
                        "grid_weight": config.weight(grid.name) / len(plan),
                        "cosines": cosines[row, col],
                    }
                )
    return pd.DataFrame(rows)


def _check_sum(run: xr.DataTree, config: Config, label: str, total: float, point: dict[str, int]) -> None:
    scores = s.scores(run)
    score = float(scores.isel(point)[label_index(run, label)])
    if abs(total - score) > rounding(run, config):
        raise RunError(
            f"the score of {label!r} at y={point[s.Y]}, x={point[s.X]} is {score:.6g} ({scores.name}), its windows sum "
            f"to {total:.6g}: with background={config.background!r} it is no weighted sum of windows, or the stages of "
            "the run do not belong together (then segment again)."
        )
