"""A region taken apart: what each window gives to the mean score of a label over it, and the region's story.

A mean over pixels of exact sums is an exact sum: of window and label, the mean of interpolation weight times guide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.explain.pixel_parts import WINDOW
from clipdiy_lab.analysis.explain.reading import Floats, Frame, label_index, read, rounding, two_labels, values
from clipdiy_lab.analysis.explain.sentences import leading_windows
from clipdiy_lab.errors import LabelError, RunError, spelled
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan


def region(
    run: xr.DataTree,
    mask: npt.ArrayLike | xr.DataArray,
    labels: Sequence[str] | None = None,
    *,
    frame: Frame = "frame",
) -> pd.DataFrame:
    """Take the mean scores over a region or an object apart, exactly.

    Parameters
    ----------
    run : xarray.DataTree
    mask : bool array, y x x
        True in the region, such as ``run["labels"] == 2`` or the mask of an annotated object.
    labels : sequence of str, optional
        Default: as for `pixel`.
    frame : {"frame", "image"}
        Whether the mask has the size of the frame, or of the image, whose every pixel counts once.

    Returns
    -------
    pandas.DataFrame
        One row per label and window with a weight in the region, with the columns of `pixel`:
        ``interpolation_weight`` is the mean over the region, ``saliency_factor`` the mean guide weighed by it, and
        ``contribution`` the product of the four numbers. The contributions of a label sum to its mean score.

    Raises
    ------
    RunError
        A mask of another size or type, or without a pixel; a run without the stages needed, or a label whose mean score
        is no sum of windows.
    LabelError
        A label that the run does not have.
    """
    config = read(run, "guide", s.SCORES, "labels")
    weights = _weights(run, mask, frame)
    background = s.background_of(run)
    chosen = _chosen(run, config, labels, background)
    tables = []
    for label in chosen:
        place = label_index(run, label)
        guided = weights * values(run, "guide")[place]
        rows = pd.concat(
            [_rows(run, config, grid, place, weights, guided) for grid in Plan.of(config)], ignore_index=True
        )
        rows.insert(len(WINDOW), "label", label)
        _check_sum(run, config, label, float(rows["contribution"].sum()), weights)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def _weights(run: xr.DataTree, mask: object, frame: str) -> Floats:
    """Share of the region that each pixel of the frame stands for."""
    if frame not in ("frame", "image"):
        raise RunError(f"frame is {frame!r}; expected 'frame' (the resized image) or 'image' (the image's own size).")
    stage = s.stage(run, "labels" if frame == "frame" else "labels_full")
    given = np.asarray(mask)
    if given.dtype != np.bool_ or given.shape != stage.shape:
        raise RunError(
            f"mask is {spelled(mask)} of type {given.dtype} and shape {given.shape}; expected booleans of shape "
            f"{stage.shape}, the size of the {frame}, such as run['{stage.name}'] == 1."
        )
    if not given.any():
        raise RunError("the mask is False everywhere; a region needs at least one pixel.")
    weights = given.astype(np.float64)
    if frame == "image":
        height, width = s.stage(run, "labels").shape
        rows, cols = (ops.nearest(old, new).numpy() for old, new in zip((height, width), given.shape, strict=True))
        weights = np.zeros((height, width))
        np.add.at(weights, (rows[:, None], cols), given)
    shares: Floats = weights / weights.sum()
    return shares


def _chosen(run: xr.DataTree, config: Config, labels: Sequence[str] | None, background: int | None) -> list[str]:
    if isinstance(labels, str) or (labels is not None and not len(labels)):
        raise LabelError(f"labels is {labels!r}; expected a list of the run's labels, such as ['cat'].")
    if labels is not None:
        return list(dict.fromkeys(labels))
    own = background if str(config.background) == "threshold" else None  # a function of the others, no sum of windows
    return [label for place, label in enumerate(s.labels_of(run)) if place != own]


def _rows(run: xr.DataTree, config: Config, grid: Grid, place: int, weights: Floats, guided: Floats) -> pd.DataFrame:
    """Windows of a grid that have a weight in the region, with what they give to one label."""
    down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
    mean, with_guide = down.T @ weights @ across, down.T @ guided @ across
    rows, cols = np.nonzero(mean)
    cosines = s.stage(run, "similarity", grid.name).values.astype(np.float64)[rows, cols, place]
    top, left = np.asarray(grid.tops)[rows], np.asarray(grid.lefts)[cols]
    grid_weight = config.weight(grid.name) / len(Plan.of(config))
    box = (rows, cols, top, left, top + grid.window, left + grid.window)
    table = pd.DataFrame(dict(zip(WINDOW[2:], box, strict=True)))
    table.insert(0, WINDOW[1], grid.window)
    table.insert(0, WINDOW[0], grid.name)
    return table.assign(
        interpolation_weight=mean[rows, cols],
        cosine=cosines,
        grid_weight=grid_weight,
        saliency_factor=with_guide[rows, cols] / mean[rows, cols],
        contribution=with_guide[rows, cols] * cosines * grid_weight,
    )


def _check_sum(run: xr.DataTree, config: Config, label: str, total: float, weights: Floats) -> None:
    scores = s.scores(run)
    mean = float((scores.values[label_index(run, label)].astype(np.float64) * weights).sum())
    if abs(total - mean) > rounding(run, config):
        raise RunError(
            f"the mean score of {label!r} over the region is {mean:.6g} ({scores.name}), its windows sum to "
            f"{total:.6g}: with background={config.background!r} it is no weighted sum of windows, or the stages of "
            "the run do not belong together (then segment again)."
        )


def region_story(
    run: xr.DataTree,
    mask: npt.ArrayLike | xr.DataArray,
    label: str | None = None,
    against: str | None = None,
    *,
    frame: Frame = "frame",
) -> str:
    """Tell why a region has its label.

    Parameters
    ----------
    run : xarray.DataTree
    mask : bool array, y x x
        See `region`.
    label : str, optional
        Default: the one that most of its pixels have.
    against : str, optional
        Default: the other label with the best mean score.
    frame : {"frame", "image"}
        See `region`.

    Returns
    -------
    str
        Three lines: the mean scores and how many pixels agree, the grid and the window that weigh most, and what
        saliency did.

    Raises
    ------
    RunError, LabelError
        As `region`; also for a run with one label, or the same label twice.
    """
    read(run, "merged", "guide", s.SCORES, "labels")
    two_labels(run)
    weights, names = _weights(run, mask, frame), s.labels_of(run)
    won = np.bincount(s.stage(run, "labels").values.ravel(), weights.ravel(), minlength=len(names))
    merged, guide, scores = (
        (values(run, name) * weights).sum((1, 2)) for name in ("merged", "guide", str(s.scores(run).name))
    )
    own = int(won.argmax()) if label is None else label_index(run, label)
    others = np.where((np.arange(len(names)) == own) | ~s.competing(run), -np.inf, scores)
    other = int(others.argmax()) if against is None else label_index(run, against)
    if own == other:
        raise LabelError(f"label and against are both {names[own]!r}; give two labels to compare.")
    sign = "above" if scores[own] >= scores[other] else "below"
    first = (
        f"Over the region the mean score of {names[own]!r} is {scores[own]:.4f}, "
        f"{abs(scores[own] - scores[other]):.4f} {sign} that of {names[other]!r} ({scores[other]:.4f}); "
        f"{names[own]!r} wins {100 * won[own]:.1f} % of it, {names[other]!r} {100 * won[other]:.1f} %."
    )
    parts = region(run, mask, [names[own], names[other]], frame=frame)
    return "\n".join((first, leading_windows(run, _lead(parts, names[own], names[other])), _saliency(
        names, own, other, merged, guide
    )))  # fmt: skip


def _lead(parts: pd.DataFrame, label: str, against: str) -> pd.DataFrame:
    """Put two labels side by side, as `contrast` does for a pixel."""
    own, other = (parts[parts["label"] == name].drop(columns="label") for name in (label, against))
    both = own.merge(other, on=[*WINDOW, "interpolation_weight", "grid_weight"], suffixes=("", "_against"))
    return both.assign(difference=both["contribution"] - both["contribution_against"])


def _saliency(names: tuple[str, ...], own: int, other: int, merged: Floats, guide: Floats) -> str:
    without = names[int(merged.argmax())]
    if (guide == 1).all():
        return f"Saliency did nothing here (every factor is 1), so the cosines alone decide; the best is {without!r}."
    return (
        f"Saliency multiplies {names[own]!r} by {guide[own]:.3f} and {names[other]!r} by {guide[other]:.3f} on "
        f"average; without saliency {without!r} would have the best mean score."
    )
