"""What each grid does for the labels, and where the grids disagree."""

from __future__ import annotations

import numpy as np
import xarray as xr

from clipdiy_lab.analysis.explain.reading import array, grid_scores, read, two_labels
from clipdiy_lab.errors import ConfigError, RunError
from clipdiy_lab.method import attribution
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.grid import Plan

GRID_FLIPS = s.Stage(
    name="grid_flips",
    dims=(s.GRID, s.Y, s.X),
    kind="b1",
    title="One grid left out",
    sentence="Pixels whose label changes when the grid is left out. A grid without marks is not needed for this image.",
    unit="changes its label",
)
GRID_CONTRIBUTION = s.Stage(
    name="grid_contribution",
    dims=(s.GRID, s.Y, s.X),
    kind="f4",
    title="Part of each grid in the margin",
    sentence="Contribution of each grid to the lead of the winner over the runner-up. Orange: the grid favours the "
    "label; blue: it favours the runner-up.",
    unit="score",
)
GRID_SHAPLEY = s.Stage(
    name="grid_shapley",
    dims=(s.GRID, s.Y, s.X),
    kind="f4",
    title="Shapley value of each grid",
    sentence="Shapley value of each grid for the lead of the winner; the values sum to the margin. Orange: the grid "
    "favours the label; blue: it opposes it.",
    unit="score",
)
DECIDING_GRID = s.Stage(
    name="deciding_grid",
    dims=(s.Y, s.X),
    kind="i2",
    title="The grid that decides",
    sentence="The grid with the largest Shapley value. Large windows tend to decide what is there, small ones where.",
    low=0,
)
ENTROPY = s.Stage(
    name="entropy",
    dims=(s.Y, s.X),
    kind="f4",
    title="Uncertainty",
    sentence="Entropy of the softmax over the labels. At bright pixels, several labels are almost equally likely.",
    unit="nat",
    low=0,
)
GRID_AGREEMENT = s.Stage(
    name="grid_agreement",
    dims=(s.Y, s.X),
    kind="f4",
    title="Agreement of the grids",
    sentence="The share of the grids that would give this label on their own. Where it is low, the grids disagree.",
    unit="share of the grids",
    low=0,
    high=1,
)

_MOST_GRIDS = 10


def grid_importance(run: xr.DataTree) -> xr.Dataset:
    """Importance of each grid at each pixel.

    Shapley values are those of the following game: the players are the grids; the value of a coalition is the lead of
    the run's winner over the best other label when only the grids of the coalition are summed; the empty coalition
    has value 0 (``docs/understanding/explain.md``). Labels that were not kept (`keep_labels`) are left out for every
    coalition.

    Parameters
    ----------
    run : xarray.DataTree
        With two labels or more.

    Returns
    -------
    xarray.Dataset
        ``grid_flips`` (grid, y, x): whether the label changes when the grid is left out (False with one grid).
        ``grid_contribution`` (grid, y, x): its part of the margin between winner and runner-up, with both labels
        fixed. ``grid_shapley`` (grid, y, x): exact Shapley value, for which the best other label may change. Both sum
        to the margin over the grids. ``deciding_grid`` (y, x): index along ``grid`` of the largest Shapley value; the
        first one in case of ties.

    Raises
    ------
    RunError
        If a stage is missing, the run has one label or more than ten grids, or a score is not a sum over the grids.
    """
    config = read(run, "logits", "guide", s.SCORES, "labels")
    two_labels(run)
    competing = s.competing(run)
    scores = grid_scores(run, config)[:, competing]
    if len(scores) > _MOST_GRIDS:
        raise RunError(f"the run has {len(scores)} grids; exact Shapley values take up to {_MOST_GRIDS}.")
    winner = np.searchsorted(np.flatnonzero(competing), s.stage(run, "labels").values)[None]
    rivals = scores.sum(0)
    np.put_along_axis(rivals, winner, -np.inf, 0)
    own, other = (np.take_along_axis(scores, at[None], 1)[:, 0] for at in (winner, rivals.argmax(0)[None]))
    shapley = attribution.shapley(attribution.subset_margins(scores, winner[0]))
    logits = s.stage(run, "logits")
    return xr.Dataset(
        {
            "grid_flips": array(GRID_FLIPS, _flips(scores, winner[0]), logits.coords),
            "grid_contribution": array(GRID_CONTRIBUTION, own - other, logits.coords),
            "grid_shapley": array(GRID_SHAPLEY, shapley, logits.coords),
            "deciding_grid": array(DECIDING_GRID, shapley.argmax(0), logits.coords),
        }
    )


def _flips(
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]], winner: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    if len(scores) == 1:
        return np.zeros((1, *winner.shape), dtype=bool)
    return np.stack([np.delete(scores, p, axis=0).sum(0).argmax(0) != winner for p in range(len(scores))])


def uncertainty(run: xr.DataTree, temperature: float | None = None) -> xr.Dataset:
    """Uncertainty of the label of each pixel.

    Parameters
    ----------
    run : xarray.DataTree
    temperature : float, optional
        Temperature of the softmax over the labels, above 0. Default: that of the configuration. Cosine similarities
        differ only by hundredths, so at temperature 1 every pixel is close to the maximum entropy, log(labels); CLIP
        was trained at about 0.01.

    Returns
    -------
    xarray.Dataset
        ``margin`` (the run's), ``entropy`` in nats, and ``grid_agreement``: share of the grids with a weight above 0
        that would give the same label on their own.

    Raises
    ------
    RunError
        If a stage is missing, or a score is not a sum over the grids.
    ConfigError
        For a temperature that is not positive.
    """
    config = read(run, "logits", "guide", s.SCORES, "labels", "margin")
    heat = config.temperature if temperature is None else temperature
    if isinstance(heat, bool) or not isinstance(heat, (int, float)) or not (0 < heat < float("inf")):
        raise ConfigError(f"temperature is {temperature!r}; expected a number above 0, such as 0.01.")
    competing, scores = s.competing(run), s.scores(run)
    used = [config.weight(grid.name) > 0 for grid in Plan.of(config)]
    alone = np.flatnonzero(competing)[grid_scores(run, config)[used][:, competing].argmax(1)]
    agreement = (alone == s.stage(run, "labels").values).mean(0)
    entropy = np.maximum(attribution.entropy(scores.values[competing].astype(np.float64), heat), 0)
    return xr.Dataset(
        {
            "margin": s.stage(run, "margin").drop_vars(s.LABEL, errors="ignore"),
            "entropy": array(ENTROPY, entropy, scores.coords),
            "grid_agreement": array(GRID_AGREEMENT, agreement, scores.coords),
        },
        attrs={"temperature": float(heat)},
    )
