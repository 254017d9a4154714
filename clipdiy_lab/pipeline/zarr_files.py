"""Zarr 3 as files: written from memory, one file after the other; unpacked within bounds before zarr sees it.

A compressed chunk may unpack to anything, and a chunk of texts may say that it has four thousand million of them. So
chunks are unpacked here, each into exactly the bytes that its array asks for, and what xarray opens is a group in
memory without any compression. Only what the lab and xarray write is taken: numbers and texts, uncompressed or with
zstd. Zarr 2, whose filters may run code, is not.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import xarray as xr
import zarr
from zarr.abc.buffer import Buffer
from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from clipdiy_lab.files import atomic_path, bytes_on_disk, read_bytes
from clipdiy_lab.pipeline import untrusted
from clipdiy_lab.pipeline.untrusted import UnreadableError

Entries = dict[str, Buffer]
Fetch = Callable[[str, int], bytes | None]

METADATA = "zarr.json"
_SIGNED = ("int8", "int16", "int32", "int64")
_NUMBERS = ("bool", *_SIGNED, *(f"u{name}" for name in _SIGNED), "float16", "float32", "float64")
_FILES = 200_000
_CHUNK_COST = 2**14  # bytes: limits the time that many small chunks take
_MAGIC = b"\x28\xb5\x2f\xfd"  # of a zstd frame, RFC 8878


def write_zarr(tree: xr.DataTree, path: str | PathLike[str]) -> None:
    """Write a Zarr 3 folder whole or not at all; it takes the folder's size in memory.

    Raises
    ------
    OutputError
        If the place cannot be written to, or the disk is full.
    """
    with atomic_path(path, folder=True) as part:
        write_files(render(tree), part)


def write_files(entries: Entries, folder: Path) -> None:
    """Write files below a folder, one after the other."""
    for name, content in entries.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


def render(tree: xr.DataTree) -> Entries:
    """Return the files of a Zarr 3 folder; zarr itself would write them from threads that outlive an error."""
    entries: Entries = {}
    # What may not be unpacked again, because it shrank too much, is not packed.
    plain = {
        node.path: {str(name): {"compressors": ()} for name in node.to_dataset(inherit=False).variables}
        for node in tree.subtree
    }
    large = tree.nbytes > untrusted.FREE
    with zarr.config.set({"array.write_empty_chunks": large}):
        tree.to_zarr(
            MemoryStore(entries), mode="w", consolidated=False, zarr_format=3, encoding=plain if large else None
        )
    return entries


def read_zarr(path: str | PathLike[str]) -> xr.DataTree:
    """Read a Zarr 3 folder that may come from anybody; it is in memory afterwards.

    No code is run and no other file is read. Arrays of more than `untrusted.unpacked_limit` bytes are refused.

    Raises
    ------
    UnreadableError
        If it is damaged, or holds what no file of the lab holds. The message is the reason alone, without the path.
    OSError
        If a file of it cannot be opened.
    """
    folder = Path(path)
    sizes = _files(folder)
    limit = untrusted.unpacked_limit(sum(sizes.values()))

    def fetch(name: str, most: int) -> bytes | None:
        return read_bytes(folder / name, most) if name in sizes else None

    store = MemoryStore(unpack(sorted(sizes), fetch, limit))
    try:
        opened = xr.open_datatree(store, engine="zarr", consolidated=False, zarr_format=3)  # type: ignore[arg-type]
        with opened as lazy:
            return lazy.load()
    except Exception as error:  # zarr and xarray raise whatever does not fit together
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _files(folder: Path) -> dict[str, int]:
    """Return names and sizes of all files below a folder; links, pipes and devices are refused."""
    sizes: dict[str, int] = {}
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(folder).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    sizes[name] = bytes_on_disk(entry.stat(follow_symlinks=False))
                else:
                    raise UnreadableError(f"{name!r} is a link, a pipe or a device, not a file")
                if len(sizes) + len(waiting) > _FILES:
                    raise UnreadableError(f"it has more than {_FILES:,} files")
    if METADATA not in sizes:
        raise UnreadableError(f"it has no {METADATA}, so it is not in Zarr format 3")
    return sizes


def unpack(names: list[str], fetch: Fetch, limit: int) -> Entries:
    """Unpack a Zarr 3 group into one that has the same arrays and no compression.

    Parameters
    ----------
    names : list of str
        Of all files.
    fetch : callable
        Returns the content of a file, None where there is none; raises if it has more bytes than said.
    limit : int
        Bytes that the arrays may have together.

    Raises
    ------
    UnreadableError
    """
    documents = {name: name.removesuffix(METADATA).rstrip("/") for name in names if Path(name).name == METADATA}
    if len(documents) > untrusted.OBJECTS or any(name.count("/") > untrusted.DEPTH for name in documents):
        raise UnreadableError(f"it holds more than {untrusted.OBJECTS} groups and arrays, or they are nested too deep")
    budget = _Budget(limit)
    unpacked: Entries = {}
    for document, name in documents.items():
        content = _metadata(document, fetch, budget)
        if content["node_type"] == "array":
            array = _Array(name, content)
            budget.take(array.total, name)
            unpacked |= array.chunks(fetch, budget)
            content = array.plain
        unpacked[document] = _buffer(_document(content, document))
    return unpacked


def _document(content: dict[str, Any], name: str) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # ValueError: half a character, which UTF-8 cannot hold
        raise UnreadableError(f"{name!r} holds values that are not text") from error


class _Budget:
    """Bytes that are left for arrays, and for texts."""

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit
        self.texts = untrusted.TEXTS

    def take(self, count: int, name: str) -> None:
        self.left -= count
        if self.left < 0:
            raise UnreadableError(
                f"with {name!r} it unpacks to more than {self.limit:,} bytes, far more than its own size"
            )

    def take_text(self, count: int, name: str) -> None:
        self.texts -= count
        if self.texts < 0:
            raise UnreadableError(f"with {name!r} its texts have more than {untrusted.TEXTS:,} bytes")


def _metadata(document: str, fetch: Fetch, budget: _Budget) -> dict[str, Any]:
    raw = fetch(document, budget.texts) or b""
    budget.take_text(len(raw), document)
    try:
        content = json.loads(raw)
        version, kind, attributes = content["zarr_format"], content["node_type"], content.get("attributes") or {}
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableError(f"{document!r} does not describe a group or an array") from error
    if version != 3 or kind not in ("group", "array") or not isinstance(attributes, dict):
        raise UnreadableError(f"{document!r} does not describe a group or an array of Zarr 3")
    if len(attributes) > untrusted.OBJECTS:
        raise UnreadableError(f"{document!r} has more than {untrusted.OBJECTS} attributes")
    if kind == "group":
        return {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    untrusted.require_plain(document, attributes, str(content.get("data_type")).startswith("float"))
    return dict(content)


class _Array:
    """What a metadata document says about an array, checked.

    Parameters
    ----------
    name : str
        Path of the array in its group.
    content : dict
        Its metadata.
    """

    def __init__(self, name: str, content: dict[str, Any]) -> None:
        self.name = name
        try:
            self.shape = _whole(content["shape"])
            grid, keys = content["chunk_grid"], content["chunk_key_encoding"]
            self.chunk = _whole(grid["configuration"]["chunk_shape"])
            self.separator = keys.get("configuration", {}).get("separator", "/")
            self.codecs = [codec["name"] for codec in content["codecs"]]
            endian = content["codecs"][0].get("configuration", {}).get("endian", "little")
            self.kind, fill = content["data_type"], content["fill_value"]
            valid = (grid["name"], keys["name"]) == ("regular", "default") and not content.get("storage_transformers")
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise UnreadableError(f"{name!r} is not an array that the lab writes ({type(error).__name__})") from error
        self.is_text = self.kind == "string"
        first = "vlen-utf8" if self.is_text else "bytes"
        valid = valid and self.codecs in ([first], [first, "zstd"])
        valid = valid and (fill == "" if self.is_text else self.kind in _NUMBERS)
        if not valid or self.separator not in ("/", ".") or endian != "little":
            raise UnreadableError(f"{name!r} has a type, a compression or a layout that the lab does not write")
        if len(self.shape) != len(self.chunk) or 0 in self.chunk or len(self.shape) > untrusted.DEPTH:
            raise UnreadableError(f"{name!r} has the shape {self.shape} in chunks of {self.chunk}")
        self.plain = {**content, "codecs": content["codecs"][:1]}
        self.itemsize = 8 if self.is_text else np.dtype(self.kind).itemsize
        self.counts = [-(-size // step) for size, step in zip(self.shape, self.chunk, strict=True)]

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk of numbers; of the references to its texts, where it holds texts."""
        return math.prod(self.chunk) * self.itemsize

    @property
    def total(self) -> int:
        """Bytes of all chunks, whether they are stored or not, and of handling them."""
        return math.prod(self.counts) * (self.chunk_bytes + _CHUNK_COST)

    def chunks(self, fetch: Fetch, budget: _Budget) -> Entries:
        """Fetch and unpack the chunks that are stored."""
        entries: Entries = {}
        for place in itertools.product(*map(range, self.counts)):
            key = f"{self.name}/{self.separator.join(['c', *map(str, place)])}".lstrip("/")
            most = untrusted.TEXTS if self.is_text else self.chunk_bytes
            raw = fetch(key, most + most // 128 + 1024)  # what zstd makes of what does not shrink
            if raw is not None:
                entries[key] = _buffer(self._texts(raw, key, budget) if self.is_text else self._numbers(raw, key))
        return entries

    def _numbers(self, raw: bytes, key: str) -> bytes | memoryview:
        content = _unzip(raw, key, self.chunk_bytes) if "zstd" in self.codecs else raw
        if len(content) != self.chunk_bytes:
            raise UnreadableError(f"{key!r} holds {len(content):,} bytes, expected {self.chunk_bytes:,}")
        return content

    def _texts(self, raw: bytes, key: str, budget: _Budget) -> bytes | memoryview:
        content = _unzip(raw, key, budget.texts) if "zstd" in self.codecs else raw
        budget.take_text(len(content), key)
        # The decoder makes room for as many texts as the chunk says, before it looks for them.
        if int.from_bytes(content[:4], "little") != math.prod(self.chunk):
            raise UnreadableError(f"{key!r} holds another number of strings than its array")
        return content


def _whole(values: Any) -> tuple[int, ...]:
    if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48 for value in values):
        raise ValueError("no sizes")
    return tuple(values)


def _unzip(raw: bytes, key: str, most: int) -> memoryview:
    """Unpack one zstd frame that says how much it holds, if that is at most so many bytes."""
    size = _content_size(raw)
    if size is None or size > most:
        raise UnreadableError(f"{key!r} does not declare its unpacked size, or the size exceeds {most:,} bytes")
    out = np.empty(size, np.uint8)
    try:
        numcodecs.Zstd().decode(raw, out=out)
    except Exception as error:  # the decoder raises several kinds
        raise UnreadableError(f"{key!r} is damaged ({error})") from error
    return out.data


def _content_size(raw: bytes) -> int | None:
    """Content size that the header of a zstd frame names (RFC 8878, 3.1.1.1); None where it names none."""
    if len(raw) < 6 or raw[:4] != _MAGIC:
        return None
    flags = raw[4]
    single = bool(flags & 0x20)
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    if not width or len(raw) < start + width:
        return None
    return int.from_bytes(raw[start : start + width], "little") + (256 if width == 2 else 0)


def _buffer(content: bytes | memoryview) -> Buffer:
    return default_buffer_prototype().buffer.from_bytes(content)
