"""Why this pixel, in three sentences made of the numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from clipdiy_lab.analysis.explain.pixel_parts import contrast
from clipdiy_lab.analysis.explain.reading import Frame, at_pixel, label_index, read, two_labels, values
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.naming import grid_title, of_tokens


def story(
    run: xr.DataTree,
    y: int,
    x: int,
    label: str | None = None,
    against: str | None = None,
    *,
    frame: Frame = "frame",
) -> str:
    """Tell why a pixel has its label.

    Parameters
    ----------
    run : xarray.DataTree
    y, x : int
    label : str, optional
        Default: the winner.
    against : str, optional
        Default: the best of the other labels.
    frame : {"frame", "image"}
        See `pixel`.

    Returns
    -------
    str
        Three lines: the scores, the grid and the window that weigh most, and what saliency did.

    Raises
    ------
    RunError, LabelError
        As `pixel`; also for a run with one label.
    """
    read(run, "merged", "guide", s.SCORES, "labels")
    two_labels(run)
    at_y, at_x = at_pixel(run, y, x, frame)
    names = s.labels_of(run)
    merged, guide = (values(run, name)[:, at_y, at_x] for name in ("merged", "guide"))
    scores = s.scores(run).values[:, at_y, at_x].astype(np.float64)
    own = int(s.stage(run, "labels").values[at_y, at_x]) if label is None else label_index(run, label)
    others = np.where(np.arange(len(names)) == own, -np.inf, scores)
    other = int(others.argmax()) if against is None else label_index(run, against)
    first = _scores(names[own], names[other], scores[own], scores[other], (at_y, at_x))
    third = _saliency(names, own, other, merged, guide, scores)
    return "\n".join((first, _windows(run, at_y, at_x, names[own], names[other]), third))


def _scores(label: str, against: str, own: float, other: float, at: tuple[int, int]) -> str:
    sign = "above" if own >= other else "below"
    return (
        f"At y={at[0]}, x={at[1]} the score of {label!r} is {own:.4f}, {abs(own - other):.4f} {sign} that of "
        f"{against!r} ({other:.4f})."
    )


def _windows(run: xr.DataTree, y: int, x: int, label: str, against: str) -> str:
    parts = contrast(run, y, x, label, against)
    by_grid = parts.groupby(s.GRID)["difference"].sum()
    grids = [grid for grid in Plan.of(Config.from_json(run.attrs["config"])) if grid.name in by_grid.index]
    listed = ", ".join(f"{by_grid[grid.name]:+.4f} at {grid.title}" for grid in grids)
    top = parts.iloc[int(parts["difference"].abs().to_numpy().argmax())]
    cell = "patch" if of_tokens(top[s.GRID]) else "window"
    return (
        f"Of this lead the grids give {listed}; the largest part of one {cell} is that of the "
        f"{grid_title(top[s.GRID])} {cell} at rows {top['top']:.0f} to {top['bottom'] - 1:.0f}, "
        f"columns {top['left']:.0f} to {top['right'] - 1:.0f} "
        f"({top['difference']:+.4f}; cosines {top['cosine']:.3f} and {top['cosine_against']:.3f})."
    )


def _saliency(
    names: tuple[str, ...],
    own: int,
    other: int,
    merged: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    guide: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> str:
    without = names[int(merged.argmax())]
    same = "too" if without == names[int(scores.argmax())] else "instead"
    if (guide == 1).all():
        return f"Saliency did nothing here (every factor is 1), so {without!r} wins by its cosines alone."
    return (
        f"Saliency multiplies {names[own]!r} by {guide[own]:.3f} and {names[other]!r} by {guide[other]:.3f}; "
        f"without saliency {without!r} would win here {same}."
    )
