"""What accuracy costs: cheaper crops, patch tokens and refinements, as seconds per image against mIoU on `scenes`.

``python benchmarks/frontier.py [--scenes N] [--rounds N] [--out FOLDER]``. Seconds are those from one image to its
labels, the ways in turn; saliency is given, since it costs the same everywhere.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import numpy as np
import pandas as pd
from timing import alternate

import clipdiy_lab as lab
from clipdiy_lab.errors import FigureError
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline.fusion import label_map

PAMR = {"refine": "pamr", "refine_dilations": (4, 8, 16)}
WAYS = {
    "paper": {},
    "bf16": {"precision": "bf16"},
    "64 px read at 48": {"crop_input": {64: 48}},
    "64 px read at 32": {"crop_input": {64: 32}},
    "all read at 48": {"crop_input": {256: 48, 128: 48, 64: 48}},
    "all read at 32": {"crop_input": {256: 32, 128: 32, 64: 32}},
    "no 256 px": {"scales": (128, 64)},
    "no 64 px": {"scales": (256, 128)},
    "no overlap": {"stride": 1},
    "overlap of three quarters": {"stride": 4},
    "PAMR": PAMR,
    "guided filter": {"refine": "guided", "refine_radius": 16},
    "all read at 48, PAMR": {"crop_input": {256: 48, 128: 48, 64: 48}, **PAMR},
    "no overlap, PAMR": {"stride": 1, **PAMR},
    **{f"{one}, frame alone": {"scales": (), "dense": one} for one in ("maskclip", "sclip", "clearclip", "naclip")},
    "clearclip, frame alone, PAMR": {"scales": (), "dense": "clearclip", **PAMR},
    "crops and sclip, frame": {"dense": "sclip", "weights": {"dense": 0.5}},
    "crops and their sclip": {"dense": "sclip", "dense_from": "crops", "weights": {"dense": 0.1}},
}


def measure(scenes: int, rounds: int) -> pd.DataFrame:
    """One row per way: images that the network reads, seconds per image, mIoU with its interval."""
    segmenter, dataset = lab.load("tiny"), lab.open_dataset("scenes", length=scenes)
    configs = {name: lab.Config.paper().replace(**knobs) for name, knobs in WAYS.items()}
    image = dataset[1].image
    given = np.zeros(image.shape[:2], np.float32)
    text = segmenter.text_embeddings(dataset.label_names, lab.Config.paper())

    def labels(config: lab.Config) -> object:
        return label_map(segmenter.encoding(image, config, saliency=given), text, config)

    took = alternate({name: functools.partial(labels, config) for name, config in configs.items()}, rounds)
    table = lab.sweep(segmenter, dataset, list(configs.values()), progress=True)
    table["way"], table["seconds"] = list(configs), [took[name] for name in configs]
    table["passes"] = [passes(segmenter.settled(config)) for config in configs.values()]
    return table[["way", "passes", "seconds", "miou_percent", "miou_low_percent", "miou_high_percent"]]


def passes(config: lab.Config) -> int:
    """Images that the network reads for one of ours: its crops, and the frame where its patch tokens are asked for."""
    return Plan.of(config).windows + (config.dense != "none" and config.dense_from == "frame")


def main() -> None:
    """Measure, print and write the table, and a picture of it where a browser can draw one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    table = measure(options.scenes, options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    table.round(6).to_csv(options.out / "frontier.csv", index=False)
    print(table.to_string(index=False))
    try:
        lab.figures.save(
            lab.figures.cost(table, "seconds", list(table["way"])), options.out / "frontier.png", columns=2
        )
    except FigureError as error:
        print(f"no picture: {error}")


if __name__ == "__main__":
    main()
