"""Measure `tiny` and `found-tiny` on the embedded benchmark: every figure of docs/embedded_world.md.

::

    python tools/measure_tiny.py --limit 200
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from clipdiy_lab.analysis.evaluate import predictions
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.method import metrics
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.saliency import build
from clipdiy_lab.pipeline.segmenter import Segmenter, load

PAPER = Config.paper()
CONFIGS = {
    "paper": PAPER,
    **{f"scale {scale} alone": PAPER.replace(scales=(scale,), scale_weights={scale: 1}) for scale in PAPER.scales},
    "no saliency": PAPER.replace(saliency_weight=0.0),
    "centred": PAPER.replace(placement="centred"),
}


def score(segmenter: Segmenter, dataset: Scenes, limit: int, oracle: bool) -> dict[str, float]:
    """Pooled mIoU in percent of every configuration."""
    names = len(dataset.label_names)
    counts = {name: np.zeros((names, names), dtype=np.int64) for name in CONFIGS}
    configs = list(CONFIGS.values())
    for sample, maps in predictions(segmenter, dataset, configs, limit, oracle, progress=True):
        for name, predicted in zip(CONFIGS, maps, strict=True):
            counts[name] += metrics.confusion(sample.mask, predicted, names)
    return {name: round(100 * metrics.mean_iou(one), 2) for name, one in counts.items()}


def foreground_iou(name: str, dataset: Scenes, limit: int) -> float:
    """Pooled IoU of saliency > 0.5 with the true foreground."""
    saliency = build(name)
    both = either = 0
    for index in range(limit):
        sample = dataset[index]
        found, true = saliency(sample.image) > 0.5, sample.mask > 0
        both += int((found & true).sum())
        either += int((found | true).sum())
    return round(both / either, 4)


def main() -> None:
    """Measure and print, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--splits", nargs="+", default=["val", "val_unseen"])
    parser.add_argument("--out", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    figures: dict[str, object] = {"images": arguments.limit}
    for split in arguments.splits:
        dataset, segmenter = Scenes(split), load("tiny", saliency="found-tiny")
        found = score(segmenter, dataset, arguments.limit, oracle=False)
        perfect = score(segmenter, dataset, arguments.limit, oracle=True)
        figures[split] = {
            "miou": found,
            "miou, oracle saliency": {name: value for name, value in perfect.items() if name != "no saliency"},
            "foreground iou": foreground_iou("found-tiny", dataset, arguments.limit),
        }
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
