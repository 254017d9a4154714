"""Reading a store: shard by shard, or image by image into what `fuse` takes.

A reader believes only shards that a record vouches for, and checks the hash of every shard that it reads.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clipdiy_lab.errors import StoreError
from clipdiy_lab.files import read_bytes
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.consistency import MAX_PIXELS
from clipdiy_lab.pipeline.embeddings import layout, variables
from clipdiy_lab.pipeline.embeddings.identity import digest
from clipdiy_lab.pipeline.embeddings.shards import METADATA, Arrays, unpack, unpack_one
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
    most = _most_bytes(header, shard)
    if not 0 < record.bytes <= most:
        raise StoreError(
            f"The shard {path} has {record.bytes:,} bytes in its record, but the store's header allows {most:,} at "
            "most; "
            f"{_AGAIN}."
        )
    try:
        data = read_bytes(path, record.bytes, follow=False)
    except OSError as error:
        raise StoreError(f"The shard {path} cannot be read ({error.strerror}); {_AGAIN}.") from error
    if len(data) != record.bytes or hashlib.sha256(data).hexdigest() != record.sha256:
        raise StoreError(f"The shard {path} is damaged: it does not have the hash of its record; {_AGAIN}.")
    try:
        arrays, attrs = unpack(data)
    except UnreadableError as error:
        raise StoreError(f"{path} is not a shard ({error}); {_AGAIN}.") from error
    images = [header.ids[i] for i in header.images(shard)]
    if attrs.get("ids") != images:
        raise StoreError(f"The shard {path} holds other images than expected at its position; {_AGAIN}.")
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if shapes != {name: ((len(images), *stored.shape), stored.dtype) for name, stored in variables_of(header).items()}:
        raise StoreError(f"The shard {path} holds other arrays than the store's header lists; {_AGAIN}.")
    problem = _problem(arrays)
    if problem:
        raise StoreError(f"The shard {path} holds {problem}; {_AGAIN}.")
    return arrays


def _most_bytes(header: layout.Header, shard: int) -> int:
    """Bytes that the file of a shard may have: those of its arrays, its metadata and the ids of its images."""
    images = header.images(shard)
    texts = sum(16 + 6 * len(header.ids[i].encode()) for i in images)  # JSON escapes a byte in six characters
    return len(images) * variables.bytes_per_image(variables_of(header)) + texts + METADATA


def _problem(arrays: Arrays) -> str:
    """Say what no image has; empty if there is nothing of that kind."""
    heights, widths = arrays[variables.HEIGHT].astype(np.int64), arrays[variables.WIDTH].astype(np.int64)
    if min(heights.min(), widths.min()) < 1 or (heights * widths).max() > MAX_PIXELS:
        return f"an image of less than 1 or more than {MAX_PIXELS:,} pixels"
    halves = (array for array in arrays.values() if array.dtype.kind == "f")
    return "" if all(np.isfinite(array).all() for array in halves) else "embeddings that are no finite numbers"


def variables_of(header: layout.Header) -> dict[str, variables.StoredVariable]:
    """Arrays of a store, by name."""
    config = Config.from_json(header.attrs["config"])
    return variables.variables_of(config, header.key["embedding_dim"], header.attrs["saliency_source"] != "none")


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
                f"The store {self.path} is not finished: {len(self.finished)} of {self.header.shards} shards "
                "exist. Run `clipdiy-lab embed` again to complete it, or open it with partial=True."
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
    def variables(self) -> dict[str, variables.StoredVariable]:
        """Arrays of the store, by name."""
        return variables_of(self.header)

    def shard(self, shard: int) -> Arrays:
        """Arrays of one shard as they are stored, the images of `header.images(shard)` first to last.

        Returns
        -------
        dict of str to array
            See `variables.variables_of`: float16 embeddings (image, row, col, feature) of every grid, uint8 saliency
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
        content = self.variables[name]
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
        arrays = {name: self.take(name, rows)[0] for name in self.variables}
        if variables.SALIENCY in arrays:
            arrays[variables.SALIENCY] = variables.from_byte(arrays[variables.SALIENCY])
        return encoding_of(arrays, self.config, self.attrs, self.ids[position], arrays[variables.HASH].tobytes().hex())

    def find(self, sha256: str) -> int | None:
        """Return the position of the image whose pixels have a hash; None where it is not there.

        The shards are looked through until it is found, no more of each than its hashes.
        """
        position = 0
        for shard in self.finished:
            record = layout.read_record(self.path, self.header, shard)
            if record is None:
                raise StoreError(f"The store {self.path} has no finished shard {shard}; {_AGAIN}.")
            path = self.path / layout.SHARDS / record.file
            hashes = unpack_one(path, variables.HASH, _most_bytes(self.header, shard))
            if hashes.shape != (len(self.header.images(shard)), 32) or hashes.dtype != np.uint8:
                raise StoreError(f"The shard {path} holds other arrays than the store's header lists; {_AGAIN}.")
            digests = [row.tobytes().hex() for row in hashes]
            if sha256 in digests:
                return position + digests.index(sha256)
            position += len(digests)
        return None


def encoding_of(
    arrays: Mapping[str, npt.NDArray[Any]], config: Config, attrs: Mapping[Any, Any], image_id: str, sha256: str
) -> Encoding:
    """Make an encoding of the arrays of one image, saliency in [0, 1].

    Raises
    ------
    StoreError
        If a grid of the configuration is not there.
    """
    names = {grid: variables.of_grid("embedding", grid) for grid in config.grids}
    lost = [name for name in names.values() if name not in arrays]
    if lost:
        raise StoreError(f"The store has no {', '.join(lost)}, although its configuration lists it.")
    halves = {grid: torch.from_numpy(arrays[name].astype(np.float32)) for grid, name in names.items()}
    saliency = arrays.get(variables.SALIENCY)
    return Encoding(
        config=config,
        # Half precision leaves lengths a little off 1.
        embeddings={grid: torch.nn.functional.normalize(vectors, dim=-1) for grid, vectors in halves.items()},
        saliency=None if saliency is None else torch.tensor(saliency),
        frame=None,
        size=(int(arrays[variables.HEIGHT]), int(arrays[variables.WIDTH])),
        provenance={**attrs, "image_source": f"{image_id!r} of {attrs['dataset']!r}", "image_sha256": sha256},
    )
