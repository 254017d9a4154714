"""A shard as bytes: a Zarr 3 group in an uncompressed zip file, the same arrays always giving the same bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.buffer import Buffer
from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from clipdiy_lab.errors import StoreError

Arrays = dict[str, npt.NDArray[Any]]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the clock must not get into the bytes


def pack(arrays: Mapping[str, npt.NDArray[Any]], dims: Mapping[str, tuple[str, ...]], attrs: dict[str, Any]) -> bytes:
    """Write arrays into one zip file in memory; each is one chunk.

    Parameters
    ----------
    arrays : mapping of name to array
    dims : mapping of name to names of its dimensions
    attrs : dict
        Attributes of the group, as JSON can hold them.
    """
    entries: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(entries), zarr_format=3, attributes=attrs)
    for name, values in arrays.items():
        group.create_array(
            name,
            data=values,
            chunks=values.shape,
            compressors=None,  # embeddings do not shrink, and a size without compression is known beforehand
            dimension_names=dims[name],
            config={"write_empty_chunks": True},
        )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(entries):
            packed.writestr(zipfile.ZipInfo(path, _EPOCH), entries[path].to_bytes())
    return file.getvalue()


def unpack(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Read back what `pack` wrote: the arrays, and the attributes.

    The zip file's own checksums (CRC-32, one a chunk) are checked on the way.
    """
    make = default_buffer_prototype().buffer.from_bytes
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        entries: dict[str, Buffer] = {path: make(packed.read(path)) for path in packed.namelist()}
    group = zarr.open_group(MemoryStore(entries), mode="r", zarr_format=3)
    return {name: np.asarray(array[...]) for name, array in group.arrays()}, dict(group.attrs)


def unpack_one(path: Path, name: str) -> npt.NDArray[Any]:
    """Read one array of a file that `pack` wrote, and no more of the file than that array.

    Raises
    ------
    StoreError
        If the file cannot be read or does not hold the array.
    """
    make = default_buffer_prototype().buffer.from_bytes
    try:
        with zipfile.ZipFile(path) as packed:
            names = [entry for entry in packed.namelist() if entry == "zarr.json" or entry.startswith(f"{name}/")]
            entries: dict[str, Buffer] = {entry: make(packed.read(entry)) for entry in names}
        return np.asarray(zarr.open_group(MemoryStore(entries), mode="r", zarr_format=3)[name])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(f"The shard {path} cannot be read ({error}); run `clipdiy-lab embed` again.") from error
