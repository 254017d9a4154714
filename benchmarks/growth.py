"""How cost grows: with labels, scales, frame size and images. One figure per knob, the others at the paper's values."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from timing import alternate

import clipdiy_lab as lab
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.labelling import candidates, choose

Points = list[tuple[int, float]]


def fuse_once(config: Config, labels: int) -> object:
    """Fuse random similarities of a configuration's windows."""
    return _fused(tuple((g.rows, g.cols) for g in Plan.of(config)), config, labels)


def _fused(shapes: Sequence[tuple[int, int]], config: Config, labels: int) -> object:
    grids = [_grid(rows, cols, labels) for rows, cols in shapes]
    return choose(candidates(grids, config, 0), _saliency(config.image_size), config)


@functools.lru_cache(maxsize=64)
def _grid(rows: int, cols: int, labels: int) -> torch.Tensor:
    return torch.rand(rows, cols, labels, generator=torch.Generator().manual_seed(0))


@functools.lru_cache(maxsize=16)
def _saliency(size: tuple[int, int]) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(1))


def _curve(configs: dict[int, tuple[Config, int]], rounds: int) -> Points:
    took = alternate({str(at): functools.partial(fuse_once, *what) for at, what in configs.items()}, rounds)
    return [(at, took[str(at)]) for at in configs]


def growth(rounds: int) -> dict[str, Points]:
    """Seconds by knob value: fusing by labels, by number of scales, by frame side; a small sweep by images."""
    paper = Config()
    scales = (256, 128, 64, 32, 16)
    fused = {
        "fuse by labels": {n: (paper, n) for n in (2, 5, 21, 60, 171, 500, 1000)},
        "fuse by number of scales": {n: (Config(scales=scales[:n]), 21) for n in range(1, 6)},
        "fuse by frame side": {side: (Config(image_size=side), 21) for side in (256, 512, 1024)},
    }
    found = {what: _curve(configs, rounds) for what, configs in fused.items()}
    segmenter, grid = lab.load("tiny", saliency="none"), {"saliency_weight": [0.0, 1.0]}
    datasets = {n: lab.open_dataset("scenes", length=n) for n in (1, 2, 4, 8)}
    ways = {str(n): functools.partial(lab.sweep, segmenter, one, grid) for n, one in datasets.items()}
    took = alternate(ways, 1)
    return {**found, "encode and sweep by images": [(n, took[str(n)]) for n in datasets]}


def picture(grown: dict[str, Points]) -> go.Figure:
    """Draw one panel per knob, both axes logarithmic: cost in proportion is a line that doubles where the knob does."""
    titles = [what.replace(" by ", "<br>by ") for what in grown]
    figure = make_subplots(1, len(grown), subplot_titles=titles, horizontal_spacing=0.07)
    for column, points in enumerate(grown.values(), start=1):
        at, seconds = zip(*points, strict=True)
        line = go.Scatter(x=at, y=[1000 * one for one in seconds], mode="lines+markers", showlegend=False)
        figure.add_trace(line.update(line_color="#3b85c7"), row=1, col=column)
        ticks = [one for one in at if one not in (60, 500)]  # their numbers would touch the next
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[str(one) for one in ticks], tickangle=0, col=column)
        rungs = [digit * 10**power for power in range(-1, 5) for digit in (1, 2, 5)]
        figure.update_yaxes(type="log", tickvals=rungs, ticktext=[f"{one:g}" for one in rungs], col=column)
    figure.update_yaxes(title_text="milliseconds", col=1)
    return figure.update_layout(template="plotly_white", width=1100, height=380, margin={"t": 70, "r": 20})
