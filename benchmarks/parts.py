"""What an image costs part by part: each called by itself, one image after the other."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pictures import Pictures

import clipdiy_lab as lab
from clipdiy_lab.analysis.protocols import get_protocol
from clipdiy_lab.datasets.images import read_image
from clipdiy_lab.method import metrics, ops
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.encoders import to_input
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.fusion import label_map
from clipdiy_lab.threads import one_thread

PARTS = ("decode", "frame", "crops", "encoder", "FOUND", "fuse", "count")


def parts_of(segmenter: lab.Segmenter, data: Pictures, config: lab.Config) -> dict[str, float]:
    """Return the seconds of each part, of all images of a dataset together.

    The crops are cut and the network called as the lab does it, but without its checks of what comes back.
    """
    took = dict.fromkeys(PARTS, 0.0)
    config, protocol = segmenter.settled(config), get_protocol("mmseg")
    encoder, text = segmenter._at(config), segmenter.text_embeddings(data.label_names, config)

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        took[part] += time.perf_counter() - start

    for file in data.files:
        with timed("decode"):
            pixels = read_image(io.BytesIO(file))
        with timed("frame"):
            ready = segmenter.prepare(pixels, config)
        with timed("crops"), one_thread():
            crops = inputs(ready.frame, config, encoder)
        with timed("encoder"), torch.inference_mode():
            vectors = encoder.encode_crops(crops)
        with timed("FOUND"):
            soft = segmenter.saliency_map(pixels, ready.frame, config)
        encoding = _encoding(vectors, soft, ready, config)
        with timed("fuse"):
            labels = label_map(encoding, text, config).values
        with timed("count"):
            metrics.confusion(data.mask, protocol.prediction(labels, data.mask.shape), len(data.label_names))
    return took


def inputs(frame: torch.Tensor, config: lab.Config, encoder: Any) -> torch.Tensor:
    """Return the crops of all windows as the encoder reads them."""
    grids = Plan.of(config).crops
    counts = [grid.rows * grid.cols for grid in grids]
    made = torch.empty(sum(counts), 3, encoder.image_size, encoder.image_size, device=frame.device)
    for grid, place in zip(grids, torch.split(made, counts), strict=True):
        to_input(ops.cut_windows(frame, grid), encoder.image_size, encoder, out=place)
    return made


def _encoding(vectors: torch.Tensor, soft: Any, ready: Any, config: lab.Config) -> Encoding:
    grids = Plan.of(config).crops
    parts = torch.split(vectors, [grid.rows * grid.cols for grid in grids])
    embeddings = {grid.name: part.reshape(grid.rows, grid.cols, -1) for grid, part in zip(grids, parts, strict=True)}
    size = ready.pixels.shape[:2]
    return Encoding(config=config, embeddings=embeddings, saliency=soft, frame=ready.frame, size=size, provenance={})
