"""The arithmetic of explanations: arrays in, arrays out; derived in `docs/understanding/explain.md`.

`L` labels, `G` grids, `y x` the frame.
"""

from __future__ import annotations

from math import factorial

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Lines that meet exactly at the end of the range meet a few units of rounding beside it in floating point.
_ROUNDING = 1e-12


def flip_weights(plain: Floats, guided: Floats, weight: float, winner: Ints) -> tuple[Floats, Ints]:
    """Smallest change of the saliency weight at which another label wins.

    The score of a label is a line in the weight w, ``(1 - w) * plain + w * guided``; the winner falls where a rival's
    line crosses its own.

    Parameters
    ----------
    plain, guided : arrays, L x y x x
        Scores without saliency, and at w = 1.
    weight : float
        The weight that the winner won at, in [0, 1].
    winner : array of int, y x x

    Returns
    -------
    change : array, y x x
        Signed; ``weight + change`` lies in [0, 1]. NaN where no weight there changes the label.
    rival : array of int, y x x
        Index of the label that takes over; -1 where none does.
    """
    slopes = guided - plain
    at = winner[None]
    gaps = plain + weight * slopes
    gaps = np.maximum(np.take_along_axis(gaps, at, 0) - gaps, 0)  # float32 may have decided a tie the other way
    steeper = slopes - np.take_along_axis(slopes, at, 0)
    up, up_rival = _first_crossing(gaps, steeper, 1 - weight, winner)
    down, down_rival = _first_crossing(gaps, -steeper, weight, winner)
    upward = up <= down
    change = np.where(upward, up, -down)
    rival = np.where(upward, up_rival, down_rival)
    never = np.isinf(change)
    return np.where(never, np.nan, change), np.where(never, -1, rival)


def _first_crossing(gaps: Floats, gains: Floats, room: float, winner: Ints) -> tuple[Floats, Ints]:
    """Distance to the first line that overtakes in one direction, and its index; the steepest of equals."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(gains > 0, gaps / gains, np.inf)
    distance[np.abs(distance - room) < _ROUNDING] = room
    # A tie at the very end of the range goes to the label that comes first.
    first = np.arange(len(gaps))[:, None, None] < winner[None]
    distance[(distance > room) | ((distance == room) & ~first)] = np.inf
    nearest = distance.min(0)
    # At the end of the range nothing lies beyond: the first of equals wins, as argmax has it.
    rank = np.where(nearest == room, -np.arange(len(gaps), dtype=float)[:, None, None], gains)
    return nearest, np.where(distance == nearest, rank, -np.inf).argmax(0)


def background_thresholds(merged: Floats, background: int, weight: float) -> Floats:
    """Saliency below which each pixel is background.

    Background wins where ``c_bg * (1 - w s) > c * (1 - w + w s)``, c the best other similarity: where
    ``s < (c_bg - (1 - w) c) / (w (c_bg + c))``, which is ``c_bg / (c_bg + c)`` for w = 1.

    Parameters
    ----------
    merged : array, L x y x x
    background : int
        Index of the background label.
    weight : float
        Saliency weight w.

    Returns
    -------
    array, y x x
        Outside [0, 1] where no saliency changes the outcome; NaN where w = 0 or ``c_bg + c <= 0``.
    """
    own, best = merged[background], np.delete(merged, background, axis=0).max(0)
    room = weight * (own + best)
    found: Floats = np.divide(own - (1 - weight) * best, room, out=np.full_like(own, np.nan), where=room > 0)
    return found


def subset_margins(scores: Floats, winner: Ints) -> Floats:
    """Lead of the winner over its best rival with only some grids in play.

    Parameters
    ----------
    scores : array, G x L x y x x
        What each grid adds to each label's score; at least two labels.
    winner : array of int, y x x
        Winner with all grids.

    Returns
    -------
    array, 2**G x y x x
        Entry i holds the margin of the subset whose members are the bits of i; entry 0, no grid, is 0.
    """
    worth = np.zeros((1 << len(scores), *scores.shape[2:]))
    for subset in range(1, len(worth)):
        total = scores[[p for p in range(len(scores)) if subset >> p & 1]].sum(0)
        own = np.take_along_axis(total, winner[None], 0)[0]
        np.put_along_axis(total, winner[None], -np.inf, 0)
        worth[subset] = own - total.max(0)
    return worth


def shapley(worth: Floats) -> Floats:
    """Exact Shapley values of a game (Shapley, 1953), by its definition over all subsets.

    Parameters
    ----------
    worth : array, 2**P x ...
        Worth of every subset of the P players; bit p of the index says whether player p is in.

    Returns
    -------
    array, P x ...
        They sum to ``worth[-1] - worth[0]``.
    """
    players = len(worth).bit_length() - 1
    values = np.zeros((players, *worth.shape[1:]))
    for player in range(players):
        for subset in range(len(worth)):
            if not subset >> player & 1:
                size = subset.bit_count()
                chance = factorial(size) * factorial(players - size - 1) / factorial(players)
                values[player] += chance * (worth[subset | 1 << player] - worth[subset])
    return values


def entropy(scores: Floats, temperature: float) -> Floats:
    """Entropy in nats of the softmax of ``scores / temperature`` over the first axis."""
    shifted = (scores - scores.max(0)) / temperature
    weights = np.exp(shifted)
    total = weights.sum(0)
    found: Floats = np.log(total) - (weights * shifted).sum(0) / total
    return found


def area_under(curve: Floats) -> Floats:
    """Area under curves over [0, 1] with equal steps along the last axis, by trapezoids."""
    area: Floats = ((curve[..., 1:] + curve[..., :-1]) / 2).mean(-1)
    return area
