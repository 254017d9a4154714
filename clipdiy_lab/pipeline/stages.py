"""The only bridge between torch and xarray: one function per stage, labelled arrays in and out.

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
from clipdiy_lab.method.frame_stages import Inputs, make_stages
from clipdiy_lab.method.grid import Grid, Plan


def _array(name: str, values: Tensor, coords: Mapping[Hashable, Any] | None = None) -> xr.DataArray:
    stage = s.STAGES[name]
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
    owners = [label for label, of_label in phrases.items() for _ in of_label]
    words = [phrase for of_label in phrases.values() for phrase in of_label]
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
    best, which = ops.best_phrase(cosines, [len(of_label) for of_label in phrases.values()])
    label: dict[Hashable, Any] = {s.LABEL: _texts(list(phrases))}
    places = {name: embedding.coords[name] for name in embedding.coords}
    return (
        _array("similarity", best, label).assign_coords(places),
        _array("best_phrase", which, label).assign_coords(places),
    )


def of_frame(given: Inputs, labels: Sequence[str]) -> dict[str, xr.DataArray]:
    """Make every stage of the frame that the configuration asks for, by name.

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
    return {name: _array(name, values, coords) for name, values in make_stages(given).items()}


def _grids(plan: Plan) -> dict[Hashable, Any]:
    sides = [grid.window for grid in plan]
    return {s.GRID: _texts(plan.names), s.WINDOW: (s.GRID, sides, {"units": "pixel"})}


def label_indices(values: Tensor) -> xr.DataArray:
    """Wrap indices of winning labels, y x x."""
    return _array("labels", values, _pixels((values.shape[0], values.shape[1])))


def labels_full(labels: xr.DataArray, size: tuple[int, int]) -> xr.DataArray:
    """Labels at the image's own height and width, nearest."""
    return _array("labels_full", ops.resize_labels(tensor(labels), size))
