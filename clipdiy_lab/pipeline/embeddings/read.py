"""Reading a store: shard by shard, as one lazy dataset, or image by image into what `fuse` takes.

A reader believes only shards that a record vouches for, and checks the hash of every shard that it reads.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from clipdiy_lab.datasets.images import content_hash, read_image
from clipdiy_lab.errors import StoreError
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.embeddings import contents as c
from clipdiy_lab.pipeline.embeddings import layout
from clipdiy_lab.pipeline.embeddings.shards import Arrays, unpack

_KEPT_SHARDS = 2  # an image and its neighbour; memory stays flat in the number of images
_AGAIN = "run `clipdiy-lab embed` again, which writes damaged and missing shards anew"


def read_shard(store: Path, header: layout.Header, shard: int) -> Arrays | None:
    """Read a shard and check it; None where no record vouches for it.

    Raises
    ------
    StoreError
        If its record is damaged, or its file is missing, damaged or of another place.
    """
    record = layout.read_record(store, header, shard)
    if record is None:
        return None
    path = store / layout.SHARDS / record.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"The shard {path} cannot be read ({error.strerror}); {_AGAIN}.") from error
    if len(data) != record.bytes or hashlib.sha256(data).hexdigest() != record.sha256:
        raise StoreError(f"The shard {path} is damaged: it does not have the hash of its record; {_AGAIN}.")
    arrays, attrs = unpack(data)
    if attrs["ids"] != [header.ids[i] for i in header.images(shard)]:
        raise StoreError(f"The shard {path} holds other images than its place says; {_AGAIN}.")
    return arrays


class EmbeddingStore:
    """A store that is open for reading, shard by shard.

    Parameters
    ----------
    path : path
        The store's folder, wherever it was moved.
    partial : bool
        Take a store that is not finished; the images of unfinished shards are left out.

    Attributes
    ----------
    header : Header
        What the store is.
    finished : tuple of int
        Shards that records vouch for.
    images : array of int
        Positions in `header.ids` of the images of these shards.

    Raises
    ------
    StoreError
        If there is no store, it is damaged or of another version, or it is not finished.
    """

    def __init__(self, path: str | PathLike[str], *, partial: bool = False) -> None:
        self.path = Path(path)
        self.header = layout.read_header(self.path)
        records = (layout.read_record(self.path, self.header, shard) for shard in range(self.header.shards))
        self.finished = tuple(record.shard for record in records if record is not None)
        if len(self.finished) < self.header.shards and not partial:
            raise StoreError(
                f"The store {self.path} is not finished: {len(self.finished)} of {self.header.shards} shards are "
                "there. Run `clipdiy-lab embed` again, which does the rest, or open it with partial=True."
            )
        parts = [self.header.images(shard) for shard in self.finished]
        self.images = np.array([image for part in parts for image in part], dtype=np.int64)
        self._kept: OrderedDict[int, Arrays] = OrderedDict()
        self._guard = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(EmbeddingStore, partial=True), (self.path,)

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.path)!r}, {len(self.images)} of {len(self.header.ids)} images)"

    @property
    def config(self) -> Config:
        """The configuration that the store was made with; its fuse knobs are defaults."""
        return Config.from_json(self.header.attrs["config"])

    @property
    def contents(self) -> dict[str, c.Content]:
        """Arrays of the store, by name."""
        return c.contents(self.config, self.header.key["embedding_dim"], self.header.attrs["saliency_source"] != "none")

    def shard(self, shard: int) -> Arrays:
        """Arrays of one shard as they are stored, the images of `header.images(shard)` first to last.

        Returns
        -------
        dict of str to array
            See `contents.contents`: float16 embeddings (image, row, col, feature) of every grid, uint8 saliency
            (image, y, x) where there is one, size and sha256 of every image.
        """
        with self._guard:
            arrays = self._kept.pop(shard, None)
            if arrays is None:
                arrays = read_shard(self.path, self.header, shard)
            if arrays is None:
                raise StoreError(f"The store {self.path} has no finished shard {shard}; {_AGAIN}.")
            self._kept[shard] = arrays
            while len(self._kept) > _KEPT_SHARDS:
                self._kept.popitem(last=False)
        return arrays

    def take(self, name: str, images: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the rows of one array for images, by their position among `images`."""
        content = self.contents[name]
        out = np.empty((len(images), *content.shape), dtype=content.dtype)
        places = self.images[images]
        shards = places // self.header.shard_size
        for shard in np.unique(shards):
            here = shards == shard
            out[here] = self.shard(int(shard))[name][places[here] - shard * self.header.shard_size]
        return out

    def dataset(self) -> xr.Dataset:
        """Return the store as one lazy dataset, see `open_store`."""
        ids = np.array([self.header.ids[i] for i in self.images], dtype=object)
        coords: dict[Hashable, Any] = {c.IMAGE: ids}
        variables: dict[Hashable, Any] = {}
        for name, content in self.contents.items():
            lazy = indexing.LazilyIndexedArray(_Lazy(self, name, content))
            dims = content.dims[:1] if name == c.HASH else content.dims
            variables[name] = xr.Variable(dims, lazy, _attrs(name))
        for grid in Plan.of(self.config):
            places = stages.embedding(torch.zeros(grid.rows * grid.cols, 1), grid).coords
            for place, coord in places.items():
                dims = tuple(c.of_grid(str(dim), grid.name) for dim in coord.dims)
                coords[c.of_grid(str(place), grid.name)] = (dims, coord.values, coord.attrs)
        found = xr.Dataset(variables, coords, attrs=self.header.attrs)
        found.encoding["source"] = str(self.path)  # where xarray keeps it for files
        return found


def open_store(path: str | PathLike[str], *, partial: bool = False) -> xr.Dataset:
    """Open a store as one lazy dataset; values are read, and their hashes checked, when they are asked for.

    Parameters
    ----------
    path : path
    partial : bool
        Take a store that is not finished; the images of unfinished shards are left out.

    Returns
    -------
    xarray.Dataset
        ``embedding_s256`` (image, row_s256, col_s256, feature) float16 and so on for every grid, ``saliency``
        (image, y, x) float32 in [0, 1] where a source was applied, ``image_height``, ``image_width`` (pixels) and
        ``image_sha256``; coordinate ``image``: the ids. The attributes are those of a run.

    Raises
    ------
    StoreError
        If there is no store, it is damaged or of another version, or it is not finished.
    """
    return EmbeddingStore(path, partial=partial).dataset()


def as_encoded(entry: xr.Dataset, image: Any = None) -> xr.DataTree:
    """Turn one image of a store into what `fuse` and `label_map` take; no image network is needed.

    Parameters
    ----------
    entry : xarray.Dataset
        One image of `open_store`: ``store.isel(image=3)`` or ``store.sel(image="2007_000033")``.
    image : path, bytes, PIL image or H x W x 3 uint8 array, optional
        The picture itself, for the stage ``image``, which a store does not hold.

    Returns
    -------
    xarray.DataTree
        As `Segmenter.encode` gives it, up to the rounding of a store; without the stage ``image`` where no picture is
        given.

    Raises
    ------
    StoreError
        If `entry` is not one image of a store, or `image` is not the one that was encoded.
    """
    whole = isinstance(entry, xr.Dataset) and c.HASH in entry and "config" in entry.attrs
    if not whole or c.IMAGE in entry.dims:
        raise StoreError("Expected one image of a store, such as open_store(path).isel(image=0); got something else.")
    entry = entry.compute()
    config = Config.from_json(entry.attrs["config"])
    name, sha256 = str(entry[c.IMAGE].item()), str(entry[c.HASH].item())
    root: dict[str, Any] = {}
    if image is not None:
        pixels = read_image(image)
        if content_hash(pixels) != sha256:
            raise StoreError(f"The picture given is not the image {name!r} that was encoded; give that one.")
        root["image"] = stages.image(ops.resize_image(torch.from_numpy(pixels), config.image_size, config.image_resize))
    if c.SALIENCY in entry:
        root[c.SALIENCY] = stages.saliency(entry[c.SALIENCY].values, config.image_size)
    attrs = entry.attrs | {
        "image_source": f"{name!r} of {entry.attrs['dataset']!r}",
        "image_sha256": sha256,
        **{size: int(entry[size].item()) for size in (c.HEIGHT, c.WIDTH)},
    }
    nodes: dict[str, Any] = {"/": xr.Dataset(root, attrs=attrs)}
    for grid in Plan.of(config):
        stored = torch.from_numpy(entry[c.of_grid("embedding", grid.name)].values.astype(np.float32))
        # Half precision leaves lengths a little off 1.
        vectors = torch.nn.functional.normalize(stored, dim=-1)
        nodes[f"/{s.GRIDS}/{grid.name}"] = xr.Dataset({"embedding": stages.embedding(vectors, grid)})
    return xr.DataTree.from_dict(nodes)


class _Lazy(BackendArray):
    """One array of a store, across its shards; read where it is indexed."""

    def __init__(self, store: EmbeddingStore, name: str, content: c.Content) -> None:
        self.store, self.name = store, name
        self.shape: tuple[int, ...] = (len(store.images), *content.shape)
        self.dtype: np.dtype[Any] = content.dtype
        self.decode: Callable[[Any], npt.NDArray[Any]] = np.asarray
        if name == c.SALIENCY:
            self.dtype, self.decode = np.dtype(np.float32), c.from_byte
        if name == c.HASH:
            self.shape, self.dtype, self.decode = self.shape[:1], np.dtype(object), _hex

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        images = np.arange(self.shape[0])[key[0]]
        found = self.decode(self.store.take(self.name, np.atleast_1d(images)))
        for axis in range(len(key) - 1, 0, -1):  # from the last one: an integer takes its axis away
            found = found[(slice(None),) * axis + (key[axis],)]
        return found if images.ndim else found[0]


def _hex(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.object_]:
    return np.array([row.tobytes().hex() for row in rows], dtype=object)


def _attrs(name: str) -> dict[str, str]:
    stage = s.STAGES.get(name) or s.STAGES.get(name.partition("_")[0])
    if stage is not None:
        return stage.attrs()
    if name == c.HASH:
        return {"long_name": "sha256 of the image's type, size and pixels"}
    return {"long_name": name.replace("_", " "), "units": "pixel"}
