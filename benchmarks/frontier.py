"""What accuracy costs: encode knobs that are cheaper than the paper's, as seconds per image against mIoU on `scenes`.

``python benchmarks/frontier.py [--scenes N] [--rounds N] [--out FOLDER]``. Seconds are those of encoding one image, the
ways in turn; saliency is given, since it costs the same everywhere.
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
}


def measure(scenes: int, rounds: int) -> pd.DataFrame:
    """One row per way: crops, seconds per image, mIoU with its interval."""
    segmenter, dataset = lab.load("tiny"), lab.open_dataset("scenes", length=scenes)
    configs = {name: lab.Config.paper().replace(**knobs) for name, knobs in WAYS.items()}
    image = dataset[1].image
    given = np.zeros(image.shape[:2], np.float32)
    took = alternate(
        {name: functools.partial(segmenter.encode, image, one, saliency=given) for name, one in configs.items()}, rounds
    )
    table = lab.sweep(segmenter, dataset, list(configs.values()), progress=True)
    table["way"], table["seconds"] = list(configs), [took[name] for name in configs]
    table["crops"] = [Plan.of(config).windows for config in configs.values()]
    return table[["way", "crops", "seconds", "miou", "miou_low", "miou_high"]]


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
