"""Two results on the same images: by how much they differ, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from clipdiy_lab.analysis.paired import PAIRED, RESULT, differing, holding, verdict
from clipdiy_lab.analysis.result_files import plain_attrs
from clipdiy_lab.analysis.scoring.counts import bounds, resampled, row_means
from clipdiy_lab.analysis.summary import IMAGE
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.metrics import Absent, Hits
from clipdiy_lab.text import listed


def compare_results(a: xr.Dataset, b: xr.Dataset, names: tuple[str, str], common: bool) -> xr.Dataset:
    """Compare two results of `evaluate` or `score`; see `compare`."""
    cards = [plain_attrs(result) for result in (a, b)]
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
    totals = row_means(replicated[1]) - row_means(replicated[0])
    image_mious = np.stack([row_means(one.iou()) for one in hits])
    ratio = {"units": "1"}
    return xr.Dataset(
        {
            "iou": ((RESULT, s.LABEL), np.stack(pooled), {"long_name": "intersection over union", **ratio}),
            "difference": (s.LABEL, difference, {"long_name": f"IoU of {names[1]} minus IoU of {names[0]}", **ratio}),
            "difference_low": (s.LABEL, intervals[0], {"long_name": f"lower bound, {PAIRED}", **ratio}),
            "difference_high": (s.LABEL, intervals[1], {"long_name": f"upper bound, {PAIRED}", **ratio}),
            "sign_holds": (s.LABEL, holding(difference, replicates), {"long_name": "share of replicates", **ratio}),
            "image_miou": ((RESULT, IMAGE), image_mious, {"long_name": "mean IoU of the image", **ratio}),
            "image_difference": (IMAGE, image_mious[1] - image_mious[0], {"long_name": "difference", **ratio}),
        },
        coords={
            RESULT: np.array(names, dtype=object),
            s.LABEL: a[s.LABEL].values,
            IMAGE: np.array(ids, dtype=object),
        },
        attrs={
            "kind": "results",
            "dataset": cards[0]["dataset"],
            "protocol": cards[0]["protocol"],
            "protocol_card": cards[0]["protocol_card"],
            "differs": json.dumps(differing(*cards)),
            **verdict(names, mious, totals, len(ids), cards[0]),
        },
    )


def _require_same_rules(a: xr.Dataset, b: xr.Dataset, cards: Sequence[Mapping[str, Any]]) -> None:
    labels = [[str(name) for name in result[s.LABEL].values] for result in (a, b)]
    if labels[0] != labels[1]:
        alone = [[name for name in mine if name not in other] for mine, other in (labels, labels[::-1])]
        what = f"only one of them has {listed(alone[0] + alone[1])}" if any(alone) else "in another order"
        raise ConfigError(f"the results have different labels ({what}), so they cannot be compared.")
    rules = [json.loads(card["protocol_card"]) for card in cards]
    differs = [name for name in rules[0] if name not in ("id", "summary") and rules[0][name] != rules[1].get(name)]
    if differs:
        told = "; ".join(
            f"{name} is {rules[0][name]!r} in one, {rules[1].get(name)!r} in the other" for name in differs
        )
        raise ConfigError(
            f"the results were scored under different protocols ({cards[0]['protocol']!r}, {cards[1]['protocol']!r}: "
            f"{told}); score both under the same protocol."
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
            f"the results are of different images, {len(first)} and {len(second)} ({told}); score the same images, or "
            "compare only the images that both contain with common=True."
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
            "the dataset has another version, or the masks were compared at another size."
        )
