"""How much faster than the plain loop: encoding an image, and turning a knob. Ratios, side by side in one run.

``make bench`` or ``python benchmarks/speed.py [--model NAME/TAG] [--rounds N]``. Rounds alternate between the plain way
and ours, so that a noisy machine hurts both; the median is reported.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from baseline import embed_plainly, encode_plainly, segment_plainly

import clipdiy_lab as lab


def alternate(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after one round to warm up."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                took[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in took.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    segmenter = lab.load(options.model, saliency="none")
    scenes = lab.open_dataset("scenes")
    image, names = scenes[1].image, scenes.label_names
    config = lab.Config.paper()
    encoded = segmenter.encode(image, config)
    frame, text = encoded["image"].values, embed_plainly(segmenter.encoder, names)
    merged = encode_plainly(segmenter.encoder, frame, text)
    run = segmenter.segment(image, names, config)
    saliency = torch.rand(256, 256).numpy()
    encoding = alternate(
        {
            "plain loop": lambda: encode_plainly(segmenter.encoder, frame, text),
            "Segmenter.encode": lambda: segmenter.encode(image, config),
        },
        options.rounds,
    )
    fusing = alternate(
        {
            "plain loop, all again": lambda: segment_plainly(
                encode_plainly(segmenter.encoder, frame, text), saliency, image.shape[:2]
            ),
            "plain fusion only": lambda: segment_plainly(merged, saliency, image.shape[:2]),
            "recombine (every stage)": lambda: lab.recombine(run, saliency_weight=0.3),
        },
        options.rounds,
    )
    print(f"{options.model}, {len(names)} labels, {torch.get_num_threads()} threads, median of {options.rounds} rounds")
    for title, table in (("encode one image", encoding), ("turn one knob", fusing)):
        first = next(iter(table.values()))
        print(f"\n{title}")
        for name, seconds in table.items():
            print(f"  {name:26} {seconds * 1000:8.1f} ms   {first / seconds:5.1f}x")


if __name__ == "__main__":
    main()
