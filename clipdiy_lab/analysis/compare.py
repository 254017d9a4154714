"""Two results on the same images: by how much they differ, how sure that is, and what was set otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.results import plain_attrs
from clipdiy_lab.analysis.scoring.counts import INTERVAL, REPLICATES, bounds, resampled, row_means
from clipdiy_lab.analysis.summary import IMAGE
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.metrics import Absent, Hits
from clipdiy_lab.text import listed

RESULT: Final = "result"
_OUTCOMES: Final = frozenset(
    {"pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "ignored_share", "interval", "key"}
    | {f"{name}miou{end}" for name in ("", "boundary_") for end in ("", "_low", "_high")}
)
"""Attributes of a result that were not set but came out."""
_NESTED: Final = ("config", "versions")
"""Attributes that hold a JSON object."""


def compare(a: xr.Dataset, b: xr.Dataset, *, names: tuple[str, str] = ("a", "b"), common: bool = False) -> xr.Dataset:
    """Compare two results of the same images under the same protocol, whatever else they differ in.

    Parameters
    ----------
    a, b : xarray.Dataset
        From `evaluate`, `score` or `results.open_result`.
    names : two str
        What to call them.
    common : bool
        Whether to take only the images that both have, where they have others too.

    Returns
    -------
    xarray.Dataset
        ``iou`` (result, label); per label ``difference`` (b minus a, a share) with its 95 % interval
        ``difference_low``, ``difference_high``, and ``sign_holds``, the share of replicates in which the difference has
        the same sign; NaN for labels that one of them has no IoU of. ``image_miou`` (result, image_id) and
        ``image_difference``. Attributes: ``mious``, ``miou_difference`` with ``_low``, ``_high`` and ``sign_holds``,
        ``differs`` (JSON: setting to both values), ``summary`` (a sentence), protocol and number of images.
        `results.label_differences`, `results.image_differences` and `results.setting_differences` make tables of it,
        `figures.differences` a figure.

    Raises
    ------
    ConfigError
        If something else than two results is given; if they differ in labels, protocol, images or in the truth of an
        image, with what differs; or if they have fewer than two images in common.

    Notes
    -----
    The interval is that of a paired bootstrap: in every replicate both results count each image the same number of
    times (the draws of `TrialCounts`), so what makes an image hard for both cancels out, and the interval of the
    difference is narrower than those of the scores suggest. It is about images, not about training or labels.
    """
    cards = [plain_attrs(result) for result in (a, b)]
    if len(names) != 2 or names[0] == names[1]:
        raise ConfigError(f"names is {names!r}; expected two different names, one per result.")
    _require_same_rules(a, b, cards)
    ids = _shared_images(a, b, common)
    hits = [_hits(result, ids) for result in (a, b)]
    _require_same_truth(hits, ids)
    absent: Absent = json.loads(cards[0]["protocol_card"])["absent"]
    pooled = [Hits(*(part.sum(0) for part in one)).iou(absent) for one in hits]
    replicated = [resampled(one).iou(absent) for one in hits]
    difference, replicates = pooled[1] - pooled[0], replicated[1] - replicated[0]
    intervals = np.array([bounds(column) for column in replicates.T]).T
    mious = [float(row_means(scores[None])[0]) for scores in pooled]
    total, totals = mious[1] - mious[0], row_means(replicated[1]) - row_means(replicated[0])
    image_mious = np.stack([row_means(one.iou()) for one in hits])
    low, high = bounds(totals)
    holds = float(_holding(np.array([total]), totals[:, None])[0])
    ratio = {"units": "1"}
    return xr.Dataset(
        {
            "iou": ((RESULT, s.LABEL), np.stack(pooled), {"long_name": "intersection over union", **ratio}),
            "difference": (s.LABEL, difference, {"long_name": f"IoU of {names[1]} minus IoU of {names[0]}", **ratio}),
            "difference_low": (s.LABEL, intervals[0], {"long_name": f"lower bound, {INTERVAL}, paired", **ratio}),
            "difference_high": (s.LABEL, intervals[1], {"long_name": f"upper bound, {INTERVAL}, paired", **ratio}),
            "sign_holds": (s.LABEL, _holding(difference, replicates), {"long_name": "share of replicates", **ratio}),
            "image_miou": ((RESULT, IMAGE), image_mious, {"long_name": "mean IoU of the image", **ratio}),
            "image_difference": (IMAGE, image_mious[1] - image_mious[0], {"long_name": "difference", **ratio}),
        },
        coords={
            RESULT: np.array(names, dtype=object),
            s.LABEL: a[s.LABEL].values,
            IMAGE: np.array(ids, dtype=object),
        },
        attrs={
            "dataset": cards[0]["dataset"],
            "protocol": cards[0]["protocol"],
            "protocol_card": cards[0]["protocol_card"],
            "images": len(ids),
            "interval": f"{INTERVAL}, paired",
            "mious": mious,
            "miou_difference": total,
            "miou_difference_low": low,
            "miou_difference_high": high,
            "sign_holds": holds,
            "differs": json.dumps(_differing(*cards)),
            "summary": _summary(names, mious, (low, high), holds, len(ids), cards[0]),
        },
    )


def _require_same_rules(a: xr.Dataset, b: xr.Dataset, cards: Sequence[Mapping[str, Any]]) -> None:
    labels = [[str(name) for name in result[s.LABEL].values] for result in (a, b)]
    if labels[0] != labels[1]:
        alone = [[name for name in mine if name not in other] for mine, other in (labels, labels[::-1])]
        what = f"only one of them has {listed(alone[0] + alone[1])}" if any(alone) else "in another order"
        raise ConfigError(f"the results have other labels ({what}), so they cannot be compared.")
    rules = [json.loads(card["protocol_card"]) for card in cards]
    differs = [name for name in rules[0] if name not in ("id", "summary") and rules[0][name] != rules[1].get(name)]
    if differs:
        told = "; ".join(
            f"{name} is {rules[0][name]!r} in one, {rules[1].get(name)!r} in the other" for name in differs
        )
        raise ConfigError(
            f"the results were scored under other protocols ({cards[0]['protocol']!r}, {cards[1]['protocol']!r}: "
            f"{told}); score both under one."
        )


def _shared_images(a: xr.Dataset, b: xr.Dataset, common: bool) -> list[str]:
    first, second = ([str(image_id) for image_id in result[IMAGE].values] for result in (a, b))
    if not common and sorted(first) != sorted(second):
        alone = sorted(set(first) - set(second)), sorted(set(second) - set(first))
        told = "; ".join(
            f"only in the {place}: {listed(ids, most=3)}"
            for place, ids in zip(("first", "second"), alone, strict=True)
            if ids
        )
        raise ConfigError(
            f"the results are of other images, {len(first)} and {len(second)} ({told}); score the same images, or "
            "compare those that both have with common=True."
        )
    both = set(second)
    ids = [image_id for image_id in first if image_id in both]
    if len(ids) < 2:
        raise ConfigError(f"the results have {len(ids)} images in common; a comparison needs at least two.")
    return ids


def _hits(result: xr.Dataset, ids: Sequence[str]) -> Hits:
    """Counts of images in the order asked for, images x labels."""
    places = {str(image_id): place for place, image_id in enumerate(result[IMAGE].values)}
    order = [places[image_id] for image_id in ids]
    return Hits(*(result[name].values[order].astype(np.int64) for name in Hits._fields))


def _require_same_truth(hits: Sequence[Hits], ids: Sequence[str]) -> None:
    truths = [one.tp + one.fn for one in hits]
    other = np.flatnonzero((truths[0] != truths[1]).any(axis=1))
    if other.size:
        raise ConfigError(
            f"the masks of {other.size} of {len(ids)} images differ between the results, the first {ids[other[0]]!r}: "
            "they are of another version of the dataset, or were compared at another size."
        )


def _holding(difference: npt.NDArray[np.float64], replicates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of the replicates that have a difference in which it has the same sign; NaN where none has one."""
    finite = np.isfinite(replicates) & np.isfinite(difference)
    same = (np.sign(replicates) == np.sign(difference)) & finite
    count = finite.sum(0)
    shares: npt.NDArray[np.float64] = np.divide(same.sum(0), count, out=np.full(len(count), np.nan), where=count > 0)
    return shares


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
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


def _summary(
    names: tuple[str, str],
    mious: Sequence[float],
    interval: tuple[float, float],
    holds: float,
    images: int,
    card: Mapping[str, Any],
) -> str:
    points, (low, high) = 100 * (mious[1] - mious[0]), (100 * bound for bound in interval)
    clear = "cannot be told apart on these images" if low <= 0 <= high else "differ"
    return (
        f"{names[0]!r} and {names[1]!r} {clear}: mIoU {100 * mious[0]:.2f} % and {100 * mious[1]:.2f} %, difference "
        f"{points:+.2f} points (95 %: {low:+.2f} to {high:+.2f}); the sign holds in {100 * holds:.1f} % of "
        f"{REPLICATES} replicates. {images} images of {card['dataset']}, protocol {card['protocol']}."
    )
