"""A region taken apart: what each window gives to the mean score of a label over it, and the region's story.

A mean over pixels of exact sums is an exact sum: of window and label, the mean of interpolation weight times guide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.explain.parts import parts_of, shares_of_fused, side_by_side
from clipdiy_lab.analysis.explain.reading import Floats, Frame, label_index, read, two_labels, values
from clipdiy_lab.analysis.explain.sentences import leading_windows, saliency_effect
from clipdiy_lab.errors import LabelError, RunError, spelled
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s


def region(
    run: xr.DataTree,
    mask: npt.ArrayLike | xr.DataArray,
    labels: Sequence[str] | None = None,
    *,
    frame: Frame = "frame",
) -> pd.DataFrame:
    """Decompose the mean scores over a region or an object exactly.

    Parameters
    ----------
    run : xarray.DataTree
    mask : bool array, y x x
        True in the region, such as ``run["labels"] == 2`` or the mask of an annotated object.
    labels : sequence of str, optional
        Default: as for `pixel`.
    frame : {"frame", "image"}
        Whether the mask has the size of the frame or of the image.

    Returns
    -------
    pandas.DataFrame
        One row per label and window with a weight in the region, with the columns of `pixel`:
        ``interpolation_weight`` is the mean over the region, ``saliency_factor`` the mean guide weighted by it, and
        ``contribution`` the product of the four numbers. The contributions of a label sum to its mean score. With
        refinement, the means are over the pixels from which the region's scores are computed.

    Raises
    ------
    RunError
        For a mask of another size or type or without pixels, a run without the required stages, or a label whose mean
        score is not a sum of windows.
    LabelError
        For a label that is not in the run.
    """
    config = read(run, "guide", s.SCORES, "labels")
    weights = _weights(run, mask, frame)
    return parts_of(run, config, weights, labels, "the mean score of {label} over the region")


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


def region_story(
    run: xr.DataTree,
    mask: npt.ArrayLike | xr.DataArray,
    label: str | None = None,
    against: str | None = None,
    *,
    frame: Frame = "frame",
) -> str:
    """Explain in a few sentences why a region has its label.

    Parameters
    ----------
    run : xarray.DataTree
    mask : bool array, y x x
        See `region`.
    label : str, optional
        Default: the most frequent label in the region.
    against : str, optional
        Default: the other label with the best mean score.
    frame : {"frame", "image"}
        See `region`.

    Returns
    -------
    str
        Three lines: the mean scores and how many pixels agree; the contributions of the grids and of the most important
        window; and the effect of saliency. With refinement there is a further line.

    Raises
    ------
    RunError, LabelError
        As `region`; also for a run with one label, or the same label twice.
    """
    config = read(run, "merged", "guide", s.SCORES, "labels")
    two_labels(run)
    weights, names, competing = _weights(run, mask, frame), s.labels_of(run), s.competing(run)
    won = _won(run, s.stage(run, "labels").values, weights)
    scores = (values(run, str(s.scores(run).name)) * weights).sum((1, 2))
    own = int(won.argmax()) if label is None else label_index(run, label)
    others = np.where((np.arange(len(names)) == own) | ~competing, -np.inf, scores)
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
    shares = shares_of_fused(run, config, weights)
    lines = [
        first,
        leading_windows(run, side_by_side(parts, names[own], names[other])),
        _saliency(run, shares, own, other),
    ]
    if str(s.scores(run).name) == "refined":
        before = competing.nonzero()[0][s.stage(run, "fused").values[competing].argmax(0)]
        most = int(_won(run, before, weights).argmax())
        lines.append(
            f"Refinement ({config.refine}) makes these scores of those of {np.count_nonzero(shares)} pixels; before it "
            f"{names[most]!r} would win most of the region."
        )
    return "\n".join(lines)


def _won(run: xr.DataTree, labels: npt.NDArray[np.integer], weights: Floats) -> Floats:
    """Share of the region that each label has."""
    return np.bincount(labels.ravel(), weights.ravel(), minlength=len(s.labels_of(run))).astype(np.float64)


def _saliency(run: xr.DataTree, shares: Floats, own: int, other: int) -> str:
    names = s.labels_of(run)
    without, factors = saliency_effect(run, shares)
    if factors is None:
        return f"Saliency did nothing here (every factor is 1), so the cosines alone decide; the best is {without!r}."
    return (
        f"Saliency multiplies {names[own]!r} by {factors[own]:.3f} and {names[other]!r} by {factors[other]:.3f} on "
        f"average; without saliency {without!r} would have the best mean score."
    )
