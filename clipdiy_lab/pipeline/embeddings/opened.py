"""A store as one lazy xarray Dataset, and what is made of such a Dataset: encodings, image by image."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Hashable
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from clipdiy_lab.datasets.images import content_hash, read_image
from clipdiy_lab.errors import StoreError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.embeddings import variables
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore, encoding_of
from clipdiy_lab.pipeline.encoding import Encoding


def open_store(path: str | PathLike[str], *, partial: bool = False) -> xr.Dataset:
    """Open a store as one lazy dataset; values are read, and their hashes checked, only when they are used.

    Parameters
    ----------
    path : path
    partial : bool
        Accept an unfinished store; the images of unfinished shards are left out.

    Returns
    -------
    xarray.Dataset
        ``embedding_s256`` (image, row_s256, col_s256, feature) float16 and so on for every grid, ``saliency``
        (image, y, x) float32 in [0, 1] where a source was applied, ``image_height``, ``image_width`` (pixels) and
        ``image_sha256``; coordinate ``image``: the ids. The attributes are those of a run.

    Raises
    ------
    StoreError
        If there is no store, or it is damaged, has another version or is not finished.
    """
    return as_dataset(EmbeddingStore(path, partial=partial))


def as_dataset(store: EmbeddingStore) -> xr.Dataset:
    """Return a store as one lazy dataset, see `open_store`."""
    ids = np.array(store.ids, dtype=object)
    coords: dict[Hashable, Any] = {variables.IMAGE: ids}
    arrays: dict[Hashable, Any] = {}
    for name, content in store.variables.items():
        lazy = indexing.LazilyIndexedArray(_Lazy(store, name, content))
        dims = content.dims[:1] if name == variables.HASH else content.dims
        arrays[name] = xr.Variable(dims, lazy, _attrs(name))
    for grid in Plan.of(store.config):
        places = stages.embedding(torch.zeros(grid.rows * grid.cols, 1), grid).coords
        for place, coord in places.items():
            dims = tuple(variables.of_grid(str(dim), grid.name) for dim in coord.dims)
            coords[variables.of_grid(str(place), grid.name)] = (dims, coord.values, coord.attrs)
    dataset = xr.Dataset(arrays, coords, attrs=store.attrs)
    dataset.encoding["source"] = str(store.path)  # where xarray keeps it for files
    return dataset


def as_encoded(entry: xr.Dataset, image: Any = None) -> xr.DataTree:
    """Turn one image of a store into an input for `fuse` and `label_map`; the image encoder is not needed.

    Parameters
    ----------
    entry : xarray.Dataset
        One image of `open_store`: ``store.isel(image=3)`` or ``store.sel(image="2007_000033")``.
    image : path, bytes, PIL image or H x W x 3 uint8 array, optional
        The picture itself, for the stage ``image``, which a store does not contain.

    Returns
    -------
    xarray.DataTree
        As returned by `Segmenter.encode`, up to the rounding of a store; without the stage ``image`` if no picture is
        given.

    Raises
    ------
    StoreError
        If `entry` is not one image of a store, or `image` is not the one that was encoded.
    """
    if not _is_store(entry) or variables.IMAGE in entry.dims:
        raise StoreError("Expected one image of a store, such as open_store(path).isel(image=0); got something else.")
    encoding = _encoding_of(entry, Config.from_json(entry.attrs["config"]))
    if image is not None:
        pixels = read_image(image)
        if content_hash(pixels) != encoding.provenance["image_sha256"]:
            name = str(entry[variables.IMAGE].item())
            raise StoreError(f"The given picture is not the encoded image {name!r}; give the encoded image.")
        encoding = encoding.seen(pixels)
    return encoding.tree()


class OpenedStore:
    """A store that was opened as a Dataset, or a selection of its images, read image by image.

    What was selected or changed in the Dataset is what is read.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `open_store`.

    Raises
    ------
    StoreError
        If it is something else, or no image is selected.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        if not _is_store(dataset) or variables.IMAGE not in dataset.dims or not dataset.sizes[variables.IMAGE]:
            raise StoreError(
                "Expected a store, or some images of it, as open_store(path) gives it; got something else."
            )
        self.dataset = dataset
        self.config = Config.from_json(dataset.attrs["config"])
        self.attrs = {str(name): value for name, value in dataset.attrs.items()}
        self.ids = tuple(str(name) for name in dataset[variables.IMAGE].values)

    @property
    def title(self) -> str:
        """What it is called in sentences."""
        return f"the store {self.dataset.encoding.get('source', 'that was opened as a Dataset')}"

    @functools.cached_property
    def identity(self) -> str:
        """Hash of the ids, and of the first and the last image."""
        digest = hashlib.sha256(repr((self.attrs, self.ids)).encode())
        for encoding in (self.encoding(0), self.encoding(len(self.ids) - 1)):
            for values in (*encoding.embeddings.values(), encoding.saliency):
                digest.update(b"" if values is None else values.numpy().tobytes())
        return digest.hexdigest()

    def find(self, sha256: str) -> int | None:
        """Return the position of the image whose pixels have a hash; None where it is not there."""
        hashes = [str(value) for value in self.dataset[variables.HASH].values]
        return hashes.index(sha256) if sha256 in hashes else None

    def encoding(self, position: int) -> Encoding:
        """Return one image as a segmenter would give it.

        Raises
        ------
        StoreError
            If the Dataset lacks a grid.
        RunError
            If it holds values that no run can have.
        """
        encoding = _encoding_of(self.dataset.isel({variables.IMAGE: position}), self.config)
        s.validate(encoding.tree(), need=())  # whoever changed the values may have made others of them
        return encoding


def _is_store(value: object) -> bool:
    return (
        isinstance(value, xr.Dataset)
        and {variables.HASH, variables.IMAGE} <= set(value.variables)
        and "config" in value.attrs
    )


def _encoding_of(entry: xr.Dataset, config: Config) -> Encoding:
    entry = entry.compute()
    arrays = {str(name): entry[name].values for name in entry.data_vars}
    return encoding_of(
        arrays, config, entry.attrs, str(entry[variables.IMAGE].item()), str(entry[variables.HASH].item())
    )


class _Lazy(BackendArray):
    """One array of a store, across its shards; read where it is indexed."""

    def __init__(self, store: EmbeddingStore, name: str, content: variables.StoredVariable) -> None:
        self.store, self.name = store, name
        self.shape: tuple[int, ...] = (len(store.images), *content.shape)
        self.dtype: np.dtype[Any] = content.dtype
        self.decode: Callable[[Any], npt.NDArray[Any]] = np.asarray
        if name == variables.SALIENCY:
            self.dtype, self.decode = np.dtype(np.float32), variables.from_byte
        if name == variables.HASH:
            self.shape, self.dtype, self.decode = self.shape[:1], np.dtype(object), _hex

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        images = np.arange(self.shape[0])[key[0]]
        values = self.decode(self.store.take(self.name, np.atleast_1d(images)))
        for axis in range(len(key) - 1, 0, -1):  # from the last one: an integer takes its axis away
            values = values[(slice(None),) * axis + (key[axis],)]
        return values if images.ndim else values[0]


def _hex(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.object_]:
    return np.array([row.tobytes().hex() for row in rows], dtype=object)


def _attrs(name: str) -> dict[str, str]:
    stage = s.STAGES.get(name) or s.STAGES.get(name.partition("_")[0])
    if stage is not None:
        return stage.attrs()
    if name == variables.HASH:
        return {"long_name": "sha256 of the image's type, size and pixels"}
    return {"long_name": name.replace("_", " "), "units": "pixel"}
