"""NetCDF files: written from memory, because HDF5 ends the process on a full disk; read in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import xarray as xr

from clipdiy_lab.files import atomic_path, bytes_on_disk, open_file
from clipdiy_lab.pipeline import untrusted
from clipdiy_lab.pipeline.netcdf_reader import FAILED
from clipdiy_lab.pipeline.untrusted import UnreadableError

_READER = Path(__file__).with_name("netcdf_reader.py")
_SECONDS = 10
_BYTES_A_SECOND = 30_000_000  # of a compressed file, on a slow processor
_WAITING = 6  # times as long on the clock: for a slow disk, and a machine that is busy
# No plugin is looked for. Threads would only take memory.
_ENVIRONMENT = {"HDF5_PLUGIN_PRELOAD": "::", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def write_netcdf(data: xr.Dataset | xr.DataTree, path: str | PathLike[str]) -> None:
    """Write a NetCDF-4 file whole or not at all; it takes the file's size in memory.

    Raises
    ------
    OutputError
        If the place cannot be written to, or the disk is full.
    """
    # Opening the place first says what is wrong with it before anything is computed.
    with atomic_path(path) as part:
        part.write_bytes(data.to_netcdf(engine="h5netcdf"))


def read_netcdf(path: str | PathLike[str]) -> xr.DataTree:
    """Read a NetCDF-4 file that may come from anybody; it is in memory afterwards.

    No other file is read, no plugin loaded. Arrays of more than `untrusted.unpacked_limit` bytes are refused. Reading
    takes at most 10 seconds of a processor, and one more for 30 MB of the file.

    Raises
    ------
    UnreadableError
        If it is damaged, or holds what no file of the lab holds. The message is the reason alone, without the path.
    OSError
        If it cannot be opened, or is no regular file.
    """
    with open_file(path) as file:
        size = bytes_on_disk(os.fstat(file.fileno()))
        limits = {
            "unpacked": untrusted.unpacked_limit(size),
            "texts": untrusted.TEXTS,
            "objects": untrusted.OBJECTS,
            "depth": untrusted.DEPTH,
            "seconds": _SECONDS + size // _BYTES_A_SECOND,
        }
        with _reading(file, limits) as answer:
            groups = json.loads(_frame(answer, 16 * untrusted.TEXTS))
            datasets = {group["path"]: _dataset(group, answer) for group in groups}
    try:
        return xr.DataTree.from_dict(datasets)
    except Exception as error:  # xarray raises whatever does not fit together
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _reading(file: BinaryIO, limits: dict[str, int]) -> Iterator[IO[bytes]]:
    """Yield the answer of the reading process, which is ended when the block is left."""
    command = [str(sys.executable), "-P", str(_READER), json.dumps(limits)]
    try:
        process = subprocess.Popen(  # noqa: S603 - this Python, and a script of the lab
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ENVIRONMENT,
        )
    except OSError as error:
        raise UnreadableError(f"no process could be started to read it: {error}") from error
    watch = threading.Timer(_WAITING * limits["seconds"], process.kill)
    watch.start()
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout
        finally:
            watch.cancel()
            process.kill()


def _frame(answer: IO[bytes], limit: int) -> bytearray:
    length = _length(answer)
    if length > limit:
        raise UnreadableError(f"its metadata has more than {limit:,} bytes")
    content = bytearray(length)
    _fill(answer, memoryview(content))
    return content


def _length(answer: IO[bytes]) -> int:
    """Length of the next frame, unless it says why there is none."""
    head = bytearray(8)
    _fill(answer, memoryview(head))
    length: int = struct.unpack("<Q", head)[0]
    if length == FAILED:
        raise UnreadableError(_frame(answer, 2**16).decode("utf-8", "replace"))
    return length


def _fill(answer: IO[bytes], view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = answer.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise UnreadableError("HDF5 did not finish reading it, or crashed")
        done += count


def _dataset(group: dict[str, Any], answer: IO[bytes]) -> xr.Dataset:
    variables = {variable["name"]: _variable(variable, answer) for variable in group["variables"]}
    try:
        raw = xr.Dataset(variables, attrs=_attributes(group["attrs"]))
        return xr.decode_cf(raw, decode_times=False).load()
    except UnreadableError:
        raise
    except Exception as error:  # xarray raises whatever does not fit together
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _variable(variable: dict[str, Any], answer: IO[bytes]) -> xr.Variable:
    shape, attrs = tuple(variable["shape"]), _attributes(variable["attrs"])
    if "texts" in variable:
        values = np.empty(len(variable["texts"]), dtype=object)
        values[:] = variable["texts"]
    else:
        values = np.empty(shape, np.dtype(variable["dtype"]))
        if _length(answer) != values.nbytes:
            raise UnreadableError(f"{variable['name']!r} does not have the size that it declares")
        if values.nbytes:
            _fill(answer, values.reshape(-1).data.cast("B"))
        # What xarray writes for every array of floats: NaN stands for what is missing. Taking that in costs a copy.
        fill = attrs.get("_FillValue")
        if isinstance(fill, np.floating) and np.isnan(fill):
            del attrs["_FillValue"]
    untrusted.require_plain(variable["name"], attrs, values.dtype.kind == "f")
    return xr.Variable(variable["dims"], values.reshape(shape), attrs)


def _attributes(stored: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        name: value if kind == "text" else np.dtype(kind).type(value) if np.isscalar(value) else np.array(value, kind)
        for name, (kind, value) in stored.items()
    }
