"""Reading a store: shard by shard, as one lazy dataset, or image by image into what `fuse` takes.

A reader believes only shards that a record vouches for, and checks the hash of every shard that it reads.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
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
from clipdiy_lab.files import read_bytes
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.embeddings import contents as c
from clipdiy_lab.pipeline.embeddings import layout
from clipdiy_lab.pipeline.embeddings.key import digest
from clipdiy_lab.pipeline.embeddings.shards import Arrays, unpack, unpack_one
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.untrusted import UnreadableError

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
        data = read_bytes(path, record.bytes)
    except OSError as error:
        raise StoreError(f"The shard {path} cannot be read ({error.strerror}); {_AGAIN}.") from error
    if len(data) != record.bytes or hashlib.sha256(data).hexdigest() != record.sha256:
        raise StoreError(f"The shard {path} is damaged: it does not have the hash of its record; {_AGAIN}.")
    try:
        arrays, attrs = unpack(data)
    except UnreadableError as error:
        raise StoreError(f"The shard {path} is no shard ({error}); {_AGAIN}.") from error
    images = [header.ids[i] for i in header.images(shard)]
    if attrs.get("ids") != images:
        raise StoreError(f"The shard {path} holds other images than its place says; {_AGAIN}.")
    there = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if there != {name: ((len(images), *one.shape), one.dtype) for name, one in contents_of(header).items()}:
        raise StoreError(f"The shard {path} holds other arrays than the store's header says; {_AGAIN}.")
    return arrays


def contents_of(header: layout.Header) -> dict[str, c.Content]:
    """Arrays of a store, by name."""
    config = Config.from_json(header.attrs["config"])
    return c.contents(config, header.key["embedding_dim"], header.attrs["saliency_source"] != "none")


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
        shards = layout.recorded(self.path, self.header)
        records = (layout.read_record(self.path, self.header, shard) for shard in shards)
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
    def title(self) -> str:
        """What it is called in sentences."""
        return f"the store {self.path}"

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of every run made from it."""
        return self.header.attrs

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images that are there."""
        return tuple(self.header.ids[image] for image in self.images)

    @functools.cached_property
    def identity(self) -> str:
        """Hash of what it was made of, and of which shards are there."""
        whole = len(self.finished) == self.header.shards
        return digest(self.header.key if whole else [self.header.key, self.finished])

    @functools.cached_property
    def config(self) -> Config:
        """The configuration that the store was made with; its fuse knobs are defaults."""
        return Config.from_json(self.header.attrs["config"])

    @functools.cached_property
    def contents(self) -> dict[str, c.Content]:
        """Arrays of the store, by name."""
        return contents_of(self.header)

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
        places = self.images[images]
        shards = places // self.header.shard_size
        if len(shards):
            self.shard(int(shards[0]))  # before room is made for as much as the header says
        out = np.empty((len(images), *content.shape), dtype=content.dtype)
        for shard in np.unique(shards):
            here = shards == shard
            out[here] = self.shard(int(shard))[name][places[here] - shard * self.header.shard_size]
        return out

    def encoding(self, position: int) -> Encoding:
        """Return one image as a segmenter would give it, up to the rounding of a store and without the frame.

        Parameters
        ----------
        position : int
            Among `images`.
        """
        rows = np.array([position])
        arrays = {name: self.take(name, rows)[0] for name in self.contents}
        if c.SALIENCY in arrays:
            arrays[c.SALIENCY] = c.from_byte(arrays[c.SALIENCY])
        return _encoding(arrays, self.config, self.attrs, self.ids[position], arrays[c.HASH].tobytes().hex())

    def find(self, sha256: str) -> int | None:
        """Return the position of the image whose pixels have a hash; None where it is not there.

        The shards are looked through until it is found, no more of each than its hashes.
        """
        position = 0
        for shard in self.finished:
            record = layout.read_record(self.path, self.header, shard)
            if record is None:
                raise StoreError(f"The store {self.path} has no finished shard {shard}; {_AGAIN}.")
            hashes = unpack_one(self.path / layout.SHARDS / record.file, c.HASH)
            known = [row.tobytes().hex() for row in hashes]
            if sha256 in known:
                return position + known.index(sha256)
            position += len(known)
        return None

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
    if not _is_store(entry) or c.IMAGE in entry.dims:
        raise StoreError("Expected one image of a store, such as open_store(path).isel(image=0); got something else.")
    encoding = _encoding_of(entry, Config.from_json(entry.attrs["config"]))
    if image is not None:
        pixels = read_image(image)
        if content_hash(pixels) != encoding.provenance["image_sha256"]:
            name = str(entry[c.IMAGE].item())
            raise StoreError(f"The picture given is not the image {name!r} that was encoded; give that one.")
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
        if not _is_store(dataset) or c.IMAGE not in dataset.dims or not dataset.sizes[c.IMAGE]:
            raise StoreError(
                "Expected a store, or some images of it, as open_store(path) gives it; got something else."
            )
        self.dataset = dataset
        self.config = Config.from_json(dataset.attrs["config"])
        self.attrs = {str(name): value for name, value in dataset.attrs.items()}
        self.ids = tuple(str(name) for name in dataset[c.IMAGE].values)

    @property
    def title(self) -> str:
        """What it is called in sentences."""
        return f"the store {self.dataset.encoding.get('source', 'that was opened as a Dataset')}"

    @functools.cached_property
    def identity(self) -> str:
        """Hash of the ids, and of the first and the last image."""
        found = hashlib.sha256(repr((self.attrs, self.ids)).encode())
        for encoding in (self.encoding(0), self.encoding(len(self.ids) - 1)):
            for values in (*encoding.embeddings.values(), encoding.saliency):
                found.update(b"" if values is None else values.numpy().tobytes())
        return found.hexdigest()

    def find(self, sha256: str) -> int | None:
        """Return the position of the image whose pixels have a hash; None where it is not there."""
        known = [str(value) for value in self.dataset[c.HASH].values]
        return known.index(sha256) if sha256 in known else None

    def encoding(self, position: int) -> Encoding:
        """Return one image as a segmenter would give it.

        Raises
        ------
        StoreError
            If the Dataset lacks a grid.
        RunError
            If it holds values that no run can have.
        """
        encoding = _encoding_of(self.dataset.isel({c.IMAGE: position}), self.config)
        s.validate(encoding.tree(), need=())  # whoever changed the values may have made others of them
        return encoding


def _is_store(given: object) -> bool:
    return isinstance(given, xr.Dataset) and {c.HASH, c.IMAGE} <= set(given.variables) and "config" in given.attrs


def _encoding_of(entry: xr.Dataset, config: Config) -> Encoding:
    entry = entry.compute()
    arrays = {str(name): entry[name].values for name in entry.data_vars}
    return _encoding(arrays, config, entry.attrs, str(entry[c.IMAGE].item()), str(entry[c.HASH].item()))


def _encoding(
    arrays: Mapping[str, npt.NDArray[Any]], config: Config, attrs: Mapping[Any, Any], image_id: str, sha256: str
) -> Encoding:
    """Make an encoding of the arrays of one image."""
    names = {grid: c.of_grid("embedding", grid) for grid in config.grids}
    lost = [name for name in names.values() if name not in arrays]
    if lost:
        raise StoreError(f"The store has no {', '.join(lost)}, which its configuration names.")
    halves = {grid: torch.from_numpy(arrays[name].astype(np.float32)) for grid, name in names.items()}
    saliency = arrays.get(c.SALIENCY)
    return Encoding(
        config=config,
        # Half precision leaves lengths a little off 1.
        embeddings={grid: torch.nn.functional.normalize(vectors, dim=-1) for grid, vectors in halves.items()},
        saliency=None if saliency is None else torch.tensor(saliency),
        frame=None,
        size=(int(arrays[c.HEIGHT]), int(arrays[c.WIDTH])),
        provenance={**attrs, "image_source": f"{image_id!r} of {attrs['dataset']!r}", "image_sha256": sha256},
    )


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
