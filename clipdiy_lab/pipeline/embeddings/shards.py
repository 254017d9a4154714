"""A shard as bytes: a Zarr 3 group in an uncompressed zip file, the same arrays always giving the same bytes."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.buffer import Buffer
from zarr.storage import MemoryStore

from clipdiy_lab.errors import StoreError
from clipdiy_lab.files import open_file
from clipdiy_lab.pipeline import zarr_files
from clipdiy_lab.pipeline.untrusted import UnreadableError

Arrays = dict[str, npt.NDArray[Any]]

METADATA = 2**22
"""Bytes that a shard may take beside its arrays."""

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
    """Read back what `pack` wrote: the arrays, and the attributes. It takes the shard's size in memory.

    The zip file's own checksums (CRC-32, one per chunk) are checked on the way.

    Raises
    ------
    UnreadableError
        If it is something else, holds more than its own size, or is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            group = _group(packed, len(data))
        return {name: np.asarray(array[...]) for name, array in group.arrays()}, dict(group.attrs)
    except UnreadableError:
        raise
    except Exception as error:  # zipfile and zarr raise whatever the bytes make them stumble over
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def unpack_one(path: Path, name: str, most: int) -> npt.NDArray[Any]:
    """Read one array of a file of at most `most` bytes that `pack` wrote, and no more of the file than that array.

    Raises
    ------
    StoreError
        If the file cannot be read or does not hold the array.
    """
    try:
        with open_file(path, follow=False) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise UnreadableError(f"it has {size:,} bytes, expected {most:,} at most")
            with zipfile.ZipFile(file) as packed:
                group = _group(packed, size, name)
        return np.asarray(group[name])
    except Exception as error:  # zipfile and zarr raise whatever the bytes make them stumble over
        raise StoreError(f"The shard {path} cannot be read ({error}); run `clipdiy-lab embed` again.") from error


def _group(packed: zipfile.ZipFile, size: int, only: str = "") -> zarr.Group:
    """Read the entries of a shard of so many bytes into memory, all or those of one array."""
    infos = {info.filename: info for info in packed.infolist()}
    # Compressed files inflate, and files that share their bytes add up.
    plain = all(info.compress_type == zipfile.ZIP_STORED for info in infos.values())
    if not plain or sum(info.file_size for info in packed.infolist()) > size:
        raise UnreadableError("it unpacks to more than its own size")
    wanted = [name for name in sorted(infos) if not only or name == zarr_files.METADATA or name.startswith(f"{only}/")]

    def fetch(name: str, most: int) -> bytes | None:
        return packed.read(name) if name in infos and infos[name].file_size <= most else None

    entries = zarr_files.unpack(wanted, fetch, size + METADATA)
    return zarr.open_group(MemoryStore(entries), mode="r", zarr_format=3)
