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

from clipdiy_lab.method import labelling, ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.dense import Inputs, dense_stages
from clipdiy_lab.method.grid import Grid, Plan

Similarities = Mapping[str, xr.DataArray]


def _array(name: str, values: Tensor, coords: Mapping[Hashable, Any] | None = None) -> xr.DataArray:
    stage = s.STAGES[name]
    numpy = values.detach().cpu().numpy().astype(stage.kind, copy=False)
    kept = s.coords_of(stage.dims, coords or {})
    return xr.DataArray(numpy, dims=stage.dims, coords=kept, name=name, attrs=stage.attrs())


def _tensor(array: xr.DataArray) -> Tensor:
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


def saliency(values: npt.NDArray[np.float32], size: tuple[int, int]) -> xr.DataArray:
    """Bring a soft saliency map, H x W in [0, 1], to the frame."""
    frame = ops.resize_saliency(torch.from_numpy(np.ascontiguousarray(values)), size)
    return _array("saliency", frame.clamp(0, 1), _pixels(size))


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
    cosines = ops.cosine(_tensor(embedding), _tensor(text))
    best, which = ops.best_phrase(cosines, [len(several) for several in phrases.values()])
    label: dict[Hashable, Any] = {s.LABEL: _texts(list(phrases))}
    places = {name: embedding.coords[name] for name in embedding.coords}
    return (
        _array("similarity", best, label).assign_coords(places),
        _array("best_phrase", which, label).assign_coords(places),
    )


def inputs(
    similarities: Similarities,
    saliency: xr.DataArray | None,
    background: int | None,
    config: Config,
    image: xr.DataArray | None = None,
) -> Inputs:
    """Unwrap what dense stages and labels are made of.

    Parameters
    ----------
    similarities : mapping of grid to array (row, col, label)
    saliency : array (y, x) or None
        Soft map in the frame.
    background : int or None
        Index of the background label.
    config : Config
    image : array (y, x, channel) or None
        The frame, where it is at hand.
    """
    return Inputs(
        similarities={name: _tensor(cosines) for name, cosines in similarities.items()},
        saliency=None if saliency is None else _tensor(saliency),
        background=background,
        config=config,
        image=None if image is None else _tensor(image),
    )


def dense(given: Inputs, labels: Sequence[str]) -> dict[str, xr.DataArray]:
    """Make every dense stage that the configuration asks for, by name.

    Parameters
    ----------
    given : Inputs
    labels : sequence of str
        Names of the labels, in the order of the similarities.

    Raises
    ------
    RunError
        If a stage needs one that is not there.
    """
    config = given.config
    coords = {**_grids(Plan.of(config)), s.LABEL: _texts(labels), **_pixels(config.image_size)}
    return {name: _array(name, values, coords) for name, values in dense_stages(given).items()}


def _grids(plan: Plan) -> dict[Hashable, Any]:
    sides = [grid.window for grid in plan]
    return {s.GRID: _texts(plan.names), s.WINDOW: (s.GRID, sides, {"units": "pixel"})}


def label_map(given: Inputs) -> xr.DataArray:
    """Index of the winning label at every pixel, without keeping, or where it can be spared making, the dense stages.

    Raises
    ------
    RunError
        If a stage needs one that is not there.
    """
    return _array("labels", labelling.label_map(given), _pixels(given.config.image_size))


def labels_full(labels: xr.DataArray, size: tuple[int, int]) -> xr.DataArray:
    """Labels at the image's own height and width, nearest."""
    return _array("labels_full", ops.resize_labels(_tensor(labels), size))
