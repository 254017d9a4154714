"""Measure the embedded world with the paper's settings: mIoU of both validation splits and foreground IoU.

    python tools/measure_embedded.py [--limit N] [--split val]

Each scene is encoded once; every row below is a fusion of the same encoding.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

import clipdiy_lab as lab
from clipdiy_lab.method import metrics
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.encoding import saliency_in_frame
from clipdiy_lab.pipeline.fusion import label_map


def measure(split: str, limit: int) -> dict[str, float]:
    """Percent mIoU of every row, and the foreground IoU of the saliency at 0.5."""
    segmenter, dataset = lab.load("tiny"), lab.open_dataset("scenes", split=split)
    paper, names = lab.Config.paper(), dataset.label_names
    plan = Plan.of(paper)
    configs = {f"{grid.title} alone": paper.only(grid.name) for grid in plan}
    configs |= {f"{grid.title} alone, no saliency": paper.only(grid.name).replace(saliency_weight=0) for grid in plan}
    configs |= {"no saliency": paper.replace(saliency_weight=0), "found-tiny": paper}
    text = segmenter.text_embeddings(names, paper)
    counts = {row: np.zeros((len(names), len(names)), dtype=np.int64) for row in [*configs, "oracle saliency"]}
    both = either = 0
    for index in range(min(limit, len(dataset))):
        sample = dataset[index]
        size = sample.mask.shape[0], sample.mask.shape[1]
        truth = sample.mask > 0
        soft = segmenter.saliency(sample.image)
        both, either = both + int(((soft > 0.5) & truth).sum()), either + int(((soft > 0.5) | truth).sum())
        encoding = segmenter.encoding(sample.image, paper, saliency=soft)
        for row, config in configs.items():
            predicted = stages.labels_full(label_map(encoding, text, config), size).values
            counts[row] += metrics.confusion(sample.mask, predicted, len(names))
        known = replace(encoding, saliency=saliency_in_frame(truth.astype(np.float32), paper.image_size))
        predicted = stages.labels_full(label_map(known, text, paper), size).values
        counts["oracle saliency"] += metrics.confusion(sample.mask, predicted, len(names))
    scores = {row: 100 * metrics.mean_iou(pooled) for row, pooled in counts.items()}
    return scores | {"foreground IoU of found-tiny at 0.5": 100 * both / either}


def main() -> None:
    """Print a table a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", nargs="*", default=["val", "val_unseen"])
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    for split in options.split:
        print(split)
        for row, value in measure(split, options.limit).items():
            print(f"  {row:38} {value:5.1f}", flush=True)


if __name__ == "__main__":
    main()
