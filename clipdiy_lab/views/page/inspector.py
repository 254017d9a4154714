"""The pixel inspector's data: a coarse grid of pixels taken apart, small enough to travel inside a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clipdiy_lab.analysis import explain
from clipdiy_lab.analysis.explain.reading import grid_scores
from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.colors import css
from clipdiy_lab.views.look import Look

CELLS = 32
"""Pixels a side."""
RIVALS = 5
"""Labels a pixel, the highest scores first."""
UNIT = 1e6
"""Scores travel as whole millionths."""


def inspector_data(look: Look) -> dict[str, Any]:
    """Take a grid of at most 32 x 32 pixels apart.

    Returns
    -------
    dict
        ``ys``, ``xs`` (pixels of the frame), ``height``, ``width``, ``grids`` (titles), ``names``, ``colors``. In row
        order, a number or list per pixel: ``best`` (label indices), ``score`` and ``parts`` (per grid) of each, in
        millionths, ``margin``, ``saliency``, ``threshold``, ``change`` and ``rival`` (see `explain.flip_weight`),
        ``without`` (label index without each grid). What a run does not have is None.
    """
    ys, xs = (_centres(look.run.sizes[dim]) for dim in (s.Y, s.X))
    at = np.ix_(ys, xs)
    scores = s.scores(look.run).values[:, at[0], at[1]]
    scores = scores.reshape(len(scores), -1).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, : min(RIVALS, scores.shape[1])]
    return {
        "ys": ys.tolist(),
        "xs": xs.tolist(),
        "height": look.run.sizes[s.Y],
        "width": look.run.sizes[s.X],
        "grids": [grid.title for grid in look.plan],
        "names": list(look.names),
        "colors": [css(color) for color in look.colors],
        "weight": look.config.saliency_weight,
        "best": best.tolist(),
        "score": _millionths(np.take_along_axis(scores, best, 1)),
        "margin": _millionths(look["margin"][at].ravel()),
        **_parts(look, at, best),
        **_saliency(look, at),
    }


def _centres(side: int) -> npt.NDArray[np.int64]:
    cells = min(CELLS, side)
    return ((np.arange(cells) + 0.5) * side / cells).astype(np.int64)


def _millionths(values: npt.NDArray[Any]) -> Any:
    return np.rint(values.astype(np.float64) * UNIT).astype(np.int64).tolist()


def _parts(look: Look, at: tuple[Any, ...], best: npt.NDArray[np.int64]) -> dict[str, Any]:
    try:
        scores = grid_scores(look.run, look.config)[:, :, at[0], at[1]]
    except RunError as error:  # a score of the policy that is no sum over the grids
        return {"parts": None, "without": None, "no_parts": str(error)}
    flat = scores.reshape(*scores.shape[:2], -1).transpose(2, 1, 0)
    parts = np.take_along_axis(flat, best[..., None], 1)
    without = np.argmax(flat.sum(2, keepdims=True) - flat, axis=1) if flat.shape[2] > 1 else None
    return {"parts": _millionths(parts), "without": None if without is None else without.tolist()}


def _saliency(look: Look, at: tuple[Any, ...]) -> dict[str, Any]:
    names = ("saliency", "threshold", "change", "rival")
    try:
        flips, threshold = explain.flip_weight(look.run), explain.background_threshold(look.run)
    except RunError:
        return dict.fromkeys(names)
    found = (look["saliency"], threshold["background_threshold"].values, flips["flip_change"].values)
    numbers = [_rounded(values[at].ravel()) for values in found]
    return dict(zip(names, [*numbers, flips["flip_label"].values[at].ravel().tolist()], strict=True))


def _rounded(values: npt.NDArray[Any]) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]
