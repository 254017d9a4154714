"""What two scores on the same images have in common: resampled in pairs, and told in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clipdiy_lab.analysis.scoring.counts import INTERVAL, REPLICATES, bounds

RESULT: Final = "result"
PAIRED: Final = f"{INTERVAL}, paired"
_OUTCOMES: Final = frozenset(
    {"pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "confusion_size", "ignored_share", "interval", "key"}
    | {f"{name}miou{end}" for name in ("", "boundary_") for end in ("", "_low", "_high")}
)
"""Attributes of a result that were not set but came out."""
_NESTED: Final = ("config", "versions")
"""Attributes that hold a JSON object."""


def holding(difference: npt.NDArray[np.float64], replicates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of the replicates that have a difference in which it has the same sign; NaN where none has one."""
    finite = np.isfinite(replicates) & np.isfinite(difference)
    same = (np.sign(replicates) == np.sign(difference)) & finite
    count = finite.sum(0)
    shares: npt.NDArray[np.float64] = np.divide(same.sum(0), count, out=np.full(len(count), np.nan), where=count > 0)
    return shares


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings, weights and versions in which two cards differ, with both values; None where one has none."""
    spread = [_flat(card) for card in (a, b)]
    names = dict.fromkeys([*spread[0], *spread[1]])
    pairs = {name: [card.get(name) for card in spread] for name in names}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}


def _flat(card: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in card.items():
        if name in _NESTED:
            flat |= {f"{name}.{inner}": one for inner, one in json.loads(value).items()}
        elif name not in _OUTCOMES:
            flat[name] = value
    return flat


def verdict(
    names: tuple[str, str],
    mious: Sequence[float],
    differences: npt.NDArray[np.float64],
    images: int,
    card: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a comparison of two scores says of their difference, as attributes; see `compare`.

    Parameters
    ----------
    names : two str
    mious : two float
        Shares.
    differences : float64 array, replicates
        The second less the first, in each.
    images : int
    card : mapping
        With ``dataset`` and ``protocol``, for the sentence.
    """
    difference, interval = mious[1] - mious[0], bounds(differences)
    holds = float(holding(np.array([difference]), differences[:, None])[0])
    return {
        "images": images,
        "interval": PAIRED,
        "mious": list(mious),
        "miou_difference": difference,
        "miou_difference_low": interval[0],
        "miou_difference_high": interval[1],
        "sign_holds": holds,
        "summary": _told(names, mious, interval, holds, images, card),
    }


def _told(
    names: tuple[str, str],
    mious: Sequence[float],
    interval: tuple[float, float],
    holds: float,
    images: int,
    card: Mapping[str, Any],
) -> str:
    """Say in one sentence how two scores compare."""
    points, (low, high) = 100 * (mious[1] - mious[0]), (100 * bound for bound in interval)
    clear = "cannot be told apart on these images" if low <= 0 <= high else "differ"
    return (
        f"{names[0]!r} and {names[1]!r} {clear}: mIoU {100 * mious[0]:.2f} % and {100 * mious[1]:.2f} %, difference "
        f"{points:+.2f} points (95 %: {low:+.2f} to {high:+.2f}); the sign holds in {100 * holds:.1f} % of "
        f"{REPLICATES} replicates. {images} images of {card['dataset']}, protocol {card['protocol']}."
    )
