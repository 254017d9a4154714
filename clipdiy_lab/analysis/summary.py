"""From counts to a result: scores with their intervals, and the card, in one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.analysis.scoring.counts import INTERVAL, TrialCounts, bounds, resampled, row_means
from clipdiy_lab.method import metrics
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.metrics import Hits
from clipdiy_lab.method.outlines import WIDTHS

IMAGE, TRUTH, WIDTH = "image_id", "true_label", "trimap_width"


def summarise(
    counts: TrialCounts, label_names: Sequence[str], protocol: Protocol, card: dict[str, Any] | None = None
) -> xr.Dataset:
    """Put the counts of the first trial and the scores from them into one dataset, with the card in its attributes."""
    pooled, hits = counts.confusion[0], counts.hits()
    names = np.array(label_names, dtype=object)
    right, valid = hits.tp.sum(1), hits.tp.sum(1) + hits.fn.sum(1)
    low, high = counts.interval(0, protocol.absent)
    of_labels = np.array([bounds(column) for column in counts.replicates().iou(protocol.absent).T]).T
    boundary = counts.boundary()
    edge = bounds(row_means(resampled(boundary).iou(protocol.absent)))
    edge_iou = Hits(*(part.sum(0) for part in boundary)).iou(protocol.absent)
    trimap = Hits(*np.moveaxis(counts.trimap[0], 1, 0))
    ratio = {"units": "1"}
    pixel = {"units": "pixel"}
    return xr.Dataset(
        {
            "confusion": ((TRUTH, s.LABEL), pooled, {"long_name": "pixels", **pixel}),
            "iou": (s.LABEL, metrics.iou(pooled, protocol.absent), {"long_name": "intersection over union", **ratio}),
            "iou_low": (s.LABEL, of_labels[0], {"long_name": f"lower bound, {INTERVAL}", **ratio}),
            "iou_high": (s.LABEL, of_labels[1], {"long_name": f"upper bound, {INTERVAL}", **ratio}),
            "boundary_iou": (s.LABEL, edge_iou, {"long_name": "Boundary IoU", **ratio}),
            "accuracy": (s.LABEL, metrics.accuracy(pooled), {"long_name": "recall", **ratio}),
            "confusion_size": (
                s.LABEL,
                metrics.confusion_size(pooled),
                {"long_name": "effective number of labels that its pixels are given", **ratio},
            ),
            "pixels": (s.LABEL, pooled.sum(1), {"long_name": "true pixels", **pixel}),
            "trimap_miou": (
                WIDTH,
                row_means(trimap.iou(protocol.absent)),
                {"long_name": "mean IoU near outlines", **ratio},
            ),
            "trimap_accuracy": (
                WIDTH,
                _shares(trimap.tp.sum(1), (trimap.tp + trimap.fn).sum(1)),
                {"long_name": "pixel accuracy near outlines", **ratio},
            ),
            "image_miou": (IMAGE, row_means(hits.iou()), {"long_name": "mean IoU of the image", **ratio}),
            "image_pixel_accuracy": (IMAGE, _shares(right, valid), {"long_name": "pixel accuracy", **ratio}),
            "ignored": (IMAGE, counts.image_ignored, {"long_name": "ignored pixels", **pixel}),
            "tp": ((IMAGE, s.LABEL), hits.tp, {"long_name": "true positives", **pixel}),
            "fp": ((IMAGE, s.LABEL), hits.fp, {"long_name": "false positives", **pixel}),
            "fn": ((IMAGE, s.LABEL), hits.fn, {"long_name": "false negatives", **pixel}),
            **{
                f"boundary_{name}": ((IMAGE, s.LABEL), part, {"long_name": f"{name} near outlines", **pixel})
                for name, part in boundary._asdict().items()
            },
        },
        coords={
            IMAGE: np.array(counts.ids, dtype=object),
            TRUTH: names,
            s.LABEL: names,
            WIDTH: (WIDTH, np.array(WIDTHS), pixel),
        },
        attrs={
            "miou": metrics.mean_iou(pooled, protocol.absent),
            "miou_low": low,
            "miou_high": high,
            "boundary_miou": float(row_means(edge_iou[None])[0]),
            "boundary_miou_low": edge[0],
            "boundary_miou_high": edge[1],
            "interval": INTERVAL,
            "pixel_accuracy": metrics.pixel_accuracy(pooled),
            "mean_accuracy": metrics.mean_accuracy(pooled),
            "confusion_size": metrics.mean_confusion_size(pooled),
            "frequency_weighted_iou": metrics.frequency_weighted_iou(pooled),
            "ignored_share": counts.ignored_share,
            **(card or {}),
        },
    )


def _shares(parts: npt.NDArray[Any], wholes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.divide(
        parts, wholes, out=np.full(len(wholes), np.nan), where=wholes > 0, dtype=np.float64
    )
    return shares
