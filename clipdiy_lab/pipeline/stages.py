"""The only bridge between torch and xarray: one function a stage, labelled arrays in and out.

Every function below `encode` works on what is already there and never touches a network.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan

Similarities = Mapping[str, xr.DataArray]


def _array(name: str, values: Tensor, coords: Mapping[Hashable, Any] | None = None) -> xr.DataArray:
    stage = (s.RUN_STAGES | s.GRID_STAGES)[name]
    numpy = values.detach().cpu().numpy().astype(stage.kind, copy=False)
    kept = s.coords_of(stage.dims, coords or {})
    return xr.DataArray(numpy, dims=stage.dims, coords=kept, name=name, attrs=stage.attrs())


def tensor(array: xr.DataArray) -> Tensor:
    """Return the values of a stage as a tensor."""
    # Arrays read from a file may be read-only or half precision; torch wants neither.
    values = array.values
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _pixels(size: tuple[int, int]) -> dict[Hashable, Any]:
    return {dim: (dim, np.arange(side), {"units": "pixel"}) for dim, side in zip((s.Y, s.X), size, strict=True)}


def _texts(words: Sequence[str]) -> npt.NDArray[np.object_]:
    # Zarr has no stable form for numpy's fixed-width text.
    return np.array(words, dtype=object)


def image(frame: Tensor) -> xr.DataArray:
    """Wrap the frame, y x x x 3 uint8."""
    channels = {s.CHANNEL: _texts(["red", "green", "blue"])}
    return _array("image", frame, _pixels((frame.shape[0], frame.shape[1])) | channels)


def embedding(vectors: Tensor, grid: Grid) -> xr.DataArray:
    """Wrap the embeddings of one grid, (rows * cols) x D float, with the place of every cell."""
    wrapped = _array("embedding", vectors.reshape(grid.rows, grid.cols, -1))
    pixel = {"units": "pixel"}
    return wrapped.assign_coords(
        top=(s.ROW, grid.tops, pixel),
        left=(s.COL, grid.lefts, pixel),
        centre_y=(s.ROW, grid.centre_y, pixel),
        centre_x=(s.COL, grid.centre_x, pixel),
    )


def saliency(values: Tensor) -> xr.DataArray:
    """Wrap a soft saliency map in the frame, y x x in [0, 1]."""
    return _array("saliency", values, _pixels((values.shape[0], values.shape[1])))


def text_embedding(vectors: npt.NDArray[np.float32], phrases: Mapping[str, Sequence[str]]) -> xr.DataArray:
    """Wrap unit text embeddings, phrases x features; the phrases of a label stand together.

    Parameters
    ----------
    vectors : float32 array, phrases x features
    phrases : mapping of label to phrases
        In the order of the rows; most labels have one phrase, themselves.
    """
    owners = [label for label, several in phrases.items() for _ in several]
    words = [phrase for several in phrases.values() for phrase in several]
    wrapped = _array("text_embedding", torch.from_numpy(vectors), {s.PHRASE: _texts(words)})
    return wrapped.assign_coords({s.PHRASE_LABEL: (s.PHRASE, _texts(owners))})


def similarity(embedding: xr.DataArray, text: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Cosine of every cell of a grid with the best phrase of every label, and which phrase that was.

    Returns
    -------
    similarity : array (row, col, label)
    best_phrase : array (row, col, label)
        Index into the phrases of the text embedding.
    """
    phrases = s.phrases_of(text)
    cosines = ops.cosine(tensor(embedding), tensor(text))
    best, which = ops.best_phrase(cosines, [len(several) for several in phrases.values()])
    label: dict[Hashable, Any] = {s.LABEL: _texts(list(phrases))}
    places = {name: embedding.coords[name] for name in embedding.coords}
    return (
        _array("similarity", best, label).assign_coords(places),
        _array("best_phrase", which, label).assign_coords(places),
    )


def logits(similarities: Similarities, config: Config) -> xr.DataArray:
    """Spread every grid of similarities over the frame."""
    plan = Plan.of(config)
    label = next(iter(similarities.values()))[s.LABEL].values
    maps = [_upsampled(similarities[grid.name], grid, config) for grid in plan]
    coords = {**_grids(plan), s.LABEL: label, **_pixels(config.image_size)}
    return _array("logits", torch.stack(maps), coords)


def _grids(plan: Plan) -> dict[Hashable, Any]:
    sides = [grid.window for grid in plan]
    return {s.GRID: _texts(plan.names), s.WINDOW: (s.GRID, sides, {"units": "pixel"})}


def _upsampled(similarity: xr.DataArray, grid: Grid, config: Config) -> Tensor:
    down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
    return ops.upsample(tensor(similarity), *(torch.tensor(m, dtype=torch.float32) for m in (down, across)))


def merged(logits: xr.DataArray, config: Config) -> xr.DataArray:
    """Weighted sum of the grids' maps divided by their number."""
    weights = [config.weight(grid) for grid in config.grids]
    return _array("merged", ops.merge(tensor(logits), weights), logits.coords)


def guide(saliency: xr.DataArray | None, like: xr.DataArray, background: int | None, config: Config) -> xr.DataArray:
    """Return the factor of the saliency on every label; 1 everywhere where saliency is not applied.

    Parameters
    ----------
    saliency : array or None
        Soft map in the frame; made hard here where the configuration has a threshold.
    like : array
        The merged map, for labels and pixels.
    background : int or None
        Index of the background label.
    config : Config
    """
    if saliency is None or background is None or config.background != "saliency":
        return _array("guide", torch.ones(like.shape), like.coords)
    soft = tensor(saliency)
    if config.saliency_threshold is not None:
        soft = (soft > config.saliency_threshold).to(soft.dtype)
    return _array("guide", ops.guide(soft, like.sizes[s.LABEL], background, config.saliency_weight), like.coords)


def fused(merged: xr.DataArray, guide: xr.DataArray, background: int | None, config: Config) -> xr.DataArray:
    """Similarity times guide; with the policy ``threshold``, the background's row is `ops.threshold_score`."""
    scores = ops.fuse(tensor(merged), tensor(guide))
    if config.background == "threshold" and background is not None:
        others = [label for label in range(len(scores)) if label != background]
        scores[background] = ops.threshold_score(scores[others], config.background_threshold, config.logit_scale)
    return _array("fused", scores, merged.coords)


def probability(fused: xr.DataArray, config: Config) -> xr.DataArray:
    """Softmax over the labels."""
    return _array("probability", ops.probability(tensor(fused), config.temperature), fused.coords)


def labels(fused: xr.DataArray) -> xr.DataArray:
    """Index of the winning label at every pixel; the first of equals wins, as torch's argmax has it."""
    return label_indices(tensor(fused).argmax(0))


def label_indices(values: Tensor) -> xr.DataArray:
    """Wrap indices of winning labels, y x x."""
    return _array("labels", values, _pixels((values.shape[0], values.shape[1])))


def margin(fused: xr.DataArray) -> xr.DataArray:
    """Winner's score minus the runner-up's."""
    return _array("margin", ops.margin(tensor(fused)), fused.coords)


def labels_full(labels: xr.DataArray, size: tuple[int, int]) -> xr.DataArray:
    """Labels at the image's own height and width, nearest."""
    return _array("labels_full", ops.resize_labels(tensor(labels), size))
