"""How cost grows: seconds and memory by labels, frame, image, grids, images, workers and rows of a sweep.

``python benchmarks/growth.py [--only KIND ...] [--rounds 3] [--out FOLDER]``. Every point is measured in a process of
its own, so that its memory is its own; all else has the paper's values.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from reports import tables
from timing import machine, peak_memory

import clipdiy_lab as lab
from clipdiy_lab.errors import FigureError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.labelling import candidates, choose
from clipdiy_lab.models.saliency.dino_vit import DinoViT
from clipdiy_lab.models.saliency.found import Found
from clipdiy_lab.threads import one_thread

KINDS = {
    "labels": (1, 2, 5, 21, 60, 171, 500, 847),
    "grids": (1, 2, 3, 4, 5),
    "frame side": (256, 512, 1024),
    "image side": (128, 256, 384, 512),
    "images": (10, 20, 40, 80),
    "workers": (1, 2),
    "sweep rows": (10, 30, 100, 300, 1000),
}
WHAT = {
    "labels": "labels of an encoded image, three grids, 256 x 256",
    "grids": "the same with 21 labels, by number of grids",
    "frame side": "the same with 21 labels and three grids, by side of the frame",
    "image side": "FOUND (DINO ViT-S/8, fp32) of a square image, by its side",
    "images": "`evaluate` with `tiny`, by images",
    "workers": "`embed` of 16 scenes with `tiny` without saliency, by processes of one thread",
    "sweep rows": "`sweep` over 10 scenes from a store, by rows",
}
MEASURE = {"frame side": 2, "image side": 2}
"""Kinds whose cost is compared with a power of the knob: a side stands for pixels."""


def fuse_once(config: Config, labels: int) -> Callable[[], object]:
    """Return what finds the labels of one image of random similarities."""
    random = torch.Generator().manual_seed(0)
    grids = [torch.rand(g.rows, g.cols, labels, generator=random) for g in Plan.of(config)]
    saliency = torch.rand(config.image_size, generator=random)
    return one_thread()(lambda: choose(candidates(grids, config, 0 if labels > 1 else None), saliency, config))


def work(kind: str, at: int, folder: Path) -> Callable[[], object]:
    """Return what is measured at a value of a knob."""
    if kind == "labels":
        return fuse_once(Config(), at)
    if kind == "grids":
        return fuse_once(Config(scales=(256, 128, 64, 32, 16)[:at]), 21)
    if kind == "frame side":
        return fuse_once(Config(image_size=at), 21)
    if kind == "image side":
        return _found(at)
    if kind == "images":
        dataset, segmenter = lab.open_dataset("scenes", length=at), lab.load("tiny", device="cpu")
        return lambda: lab.evaluate(segmenter, dataset)
    if kind == "workers":
        return _workers(at, folder)
    dataset, segmenter = lab.open_dataset("scenes", length=10), lab.load("tiny", device="cpu")
    store = lab.embed(segmenter, dataset, folder / "store")
    grid = {"saliency_weight": np.linspace(0, 1, at).tolist()}
    return lambda: lab.sweep(store, dataset, grid, segmenter=segmenter)


def _found(side: int) -> Callable[[], object]:
    torch.manual_seed(0)
    backbone = DinoViT().eval()
    source = Found(backbone, {"weight": torch.randn(1, backbone.embed_dim, 1, 1), "bias": torch.zeros(1)})
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return lambda: source(image)


def _workers(count: int, folder: Path) -> Callable[[], object]:
    from clipdiy_lab.pipeline.cluster import connect

    os.environ["OMP_NUM_THREADS"] = "1"  # of the worker processes
    scenes, segmenter = lab.open_dataset("scenes", length=16), lab.load("tiny", saliency="none", device="cpu")
    cluster, stores = connect(workers=count), iter(range(1000))
    client = cluster.__enter__()  # the process ends without leaving it

    def embed(cluster: object = cluster) -> object:
        return lab.embed(segmenter, scenes, folder / f"store{next(stores)}", shard_size=2, client=client)

    return embed


def child(kind: str, at: int, rounds: int) -> None:
    """Measure one point, and print its seconds and the memory that it took beside what was there before, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        do = work(kind, at, Path(folder))
        if kind in ("images", "sweep rows"):
            rounds = 1  # long enough, and their first round is like the others
        else:
            do()
        before = peak_memory()
        took = []
        for _ in range(rounds):
            start = time.perf_counter()
            do()
            took.append(time.perf_counter() - start)
        peak = peak_memory()
        print(
            json.dumps(
                {"at": at, "seconds": statistics.median(took), "MB": peak // 1024, "more": (peak - before) // 1024}
            )
        )
        sys.stdout.flush()
        os._exit(0)  # the cluster's threads need not be waited for


def growth(kinds: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """Return the points of every kind."""
    found: dict[str, Any] = {}
    for kind in kinds:
        points = []
        for at in KINDS[kind]:
            command = [sys.executable, __file__, "--child", kind, str(at), "--rounds", str(rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this file
            points.append(json.loads(done.stdout.splitlines()[-1]))
        found[kind] = {"what": WHAT[kind], "points": points, **_law(kind, points)}
        print(kind, found[kind], flush=True)
    return found


def _law(kind: str, points: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return how cost grows: the power between the middle and the end, and seconds for one more and for none."""
    sizes = np.array([float(one["at"]) ** MEASURE.get(kind, 1) for one in points])
    seconds = np.array([one["seconds"] for one in points])
    middle = len(points) // 2 - (len(points) == 2)
    power = math.log(seconds[-1] / seconds[middle]) / math.log(sizes[-1] / sizes[middle])
    if len(points) == 2:
        return {"power": power, "each": None, "fixed": None}
    each, fixed = np.polyfit(sizes, seconds, 1, w=1 / seconds)
    return {"power": power, "each": float(each), "fixed": float(fixed)}


def picture(found: dict[str, Any]) -> go.Figure:
    """Draw one panel a kind, both axes logarithmic: cost in proportion is a line that doubles where the knob does."""
    figure = make_subplots(1, len(found), subplot_titles=list(found), horizontal_spacing=0.05)
    for column, one in enumerate(found.values(), start=1):
        at, seconds = zip(*((point["at"], point["seconds"]) for point in one["points"]), strict=True)
        line = go.Scatter(x=at, y=[1000 * value for value in seconds], mode="lines+markers", showlegend=False)
        figure.add_trace(line.update(line_color="#3b85c7"), row=1, col=column)
        ticks = [value for value in at if value not in (2, 60, 500, 30, 300)]  # their numbers would touch the next
        figure.update_xaxes(
            type="log", tickvals=ticks, ticktext=[str(value) for value in ticks], tickangle=0, col=column
        )
        rungs = [digit * 10**power for power in range(-1, 6) for digit in (1, 2, 5)]
        figure.update_yaxes(type="log", tickvals=rungs, ticktext=[f"{value:g}" for value in rungs], col=column)
    figure.update_yaxes(title_text="milliseconds", col=1)
    return figure.update_layout(template="plotly_white", width=1500, height=380, margin={"t": 60, "r": 20})


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]), options.rounds)
    facts = {**machine(), "load before": os.getloadavg()[0]}
    found = growth(tuple(options.only), options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    measured = {"machine": facts, "kinds": found}
    (options.out / "growth.json").write_text(json.dumps(measured, indent=1) + "\n")
    (options.out / "growth.md").write_text(tables(measured))
    try:
        lab.figures.save(picture(found), options.out / "growth.png", columns=2)
    except FigureError as error:
        print(f"no picture: {error}")


if __name__ == "__main__":
    main()
