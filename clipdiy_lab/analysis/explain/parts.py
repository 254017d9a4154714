"""Weighted sums of the scores of pixels taken apart: which window of which grid gave which part.

The score that decides at a pixel is a weighted sum of fused scores (of its own alone, where nothing is refined), each
of them the guide times a weighted sum of cosines. So a weighted sum over pixels is one of cosines as well, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr

from clipdiy_lab.analysis.explain.reading import Floats, label_index, refinement_of, rounding
from clipdiy_lab.errors import LabelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan

WINDOW = [s.GRID, s.WINDOW, "row", "col", "top", "left", "bottom", "right"]


def shares_of_fused(run: xr.DataTree, config: Config, weights: Floats) -> Floats:
    """Weight of every pixel's fused score in a weighted sum, y x x, of the scores that decide."""
    operator = refinement_of(run, config)
    if operator is None:
        return weights
    found: Floats = operator.sources(torch.from_numpy(weights)).numpy()
    return found


def parts_of(
    run: xr.DataTree, config: Config, weights: Floats, labels: Sequence[str] | None, what: str
) -> pd.DataFrame:
    """Take a weighted sum of the scores that decide apart.

    Parameters
    ----------
    run : xarray.DataTree
    config : Config
    weights : float array, y x x
        They sum to 1.
    labels : sequence of str or None
        None: all labels whose score is a weighted sum of windows.
    what : str
        What is taken apart, for errors, with the field ``{label}``.

    Returns
    -------
    pandas.DataFrame
        As of `pixel_parts.pixel`.

    Raises
    ------
    RunError
        If the parts do not sum to the score.
    LabelError
        A label that the run does not have, or no list of labels.
    """
    shares, plan, tables = shares_of_fused(run, config, weights), Plan.of(config), []
    guide, scores = s.stage(run, "guide").values, s.scores(run).values
    for label in _chosen(run, config, labels):
        place = label_index(run, label)
        guided = shares * guide[place]
        rows = pd.concat([_rows(run, config, grid, place, shares, guided) for grid in plan], ignore_index=True)
        rows.insert(len(WINDOW), "label", label)
        score = float((scores[place] * weights).sum())
        _check_sum(run, config, what.format(label=repr(label)), score, float(rows["contribution"].sum()))
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def side_by_side(parts: pd.DataFrame, label: str, against: str) -> pd.DataFrame:
    """Put the parts of two labels side by side, the largest part of the lead first, see `pixel_parts.contrast`."""
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
    # With the policy `threshold` the background's score is a function of the others'.
    own = s.background_of(run) if str(config.background) == "threshold" else None
    return [label for place, label in enumerate(s.labels_of(run)) if place != own]


def _rows(run: xr.DataTree, config: Config, grid: Grid, place: int, shares: Floats, guided: Floats) -> pd.DataFrame:
    """Windows of a grid that have a weight, with what they give to one label."""
    down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
    plain, with_guide = down.T @ shares @ across, down.T @ guided @ across
    rows, cols = np.nonzero(plain)
    cosines = s.stage(run, "similarity", grid.name).values.astype(np.float64)[rows, cols, place]
    top, left = np.asarray(grid.tops)[rows], np.asarray(grid.lefts)[cols]
    box = (rows, cols, top, left, top + grid.window, left + grid.window)
    table = pd.DataFrame(dict(zip(WINDOW[2:], box, strict=True)))
    table.insert(0, WINDOW[1], grid.window)
    table.insert(0, WINDOW[0], grid.name)
    table = table.assign(
        interpolation_weight=plain[rows, cols],
        cosine=cosines,
        grid_weight=config.weight(grid.name) / len(Plan.of(config)),
        saliency_factor=with_guide[rows, cols] / plain[rows, cols],
    )
    return table.assign(contribution=table.iloc[:, -4:].prod(axis=1))


def _check_sum(run: xr.DataTree, config: Config, what: str, score: float, total: float) -> None:
    if abs(total - score) > rounding(run, config):
        raise RunError(
            f"{what} is {score:.6g} ({s.scores(run).name}), its windows sum to {total:.6g}: with "
            f"background={config.background!r} it is not a weighted sum of windows, or the stages of the run come "
            "from different runs (then segment again)."
        )
