"""Runs as files: written whole or not at all, read back equal, refused when damaged or foreign.

NetCDF has no checksum by default: a flipped bit in a file would read as another number. `save_run` therefore writes a
hash over all names, values and attributes beside them, and `open_run` checks it.
"""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from clipdiy_lab.errors import OutputError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.pipeline.consistency import require_consistent
from clipdiy_lab.pipeline.netcdf import read_netcdf, write_netcdf
from clipdiy_lab.pipeline.zarr_files import read_zarr, write_zarr

_HALF = "stored_as_float32_from"
_HASH = "content_sha256"
_WRITERS = {".nc": write_netcdf, ".zarr": write_zarr}
_READERS = {".nc": read_netcdf, ".zarr": read_zarr}


def save_run(run: xr.DataTree, path: str | PathLike[str]) -> Path:
    """Write a run to NetCDF-4 (``.nc``) or Zarr (``.zarr``).

    The file appears under its name only when it is complete. Half-precision stages, which NetCDF cannot store, are
    written as float32 and read back as float16. The file is first built in memory, which needs as much memory again.

    Parameters
    ----------
    run : xarray.DataTree
    path : path ending in .nc or .zarr

    Raises
    ------
    RunError
        If the tree is not a run.
    OutputError
        If the suffix is not one of these, the file cannot be written, or the disk is full.
    """
    s.validate(run, need=("image",))
    require_consistent(run)
    target = Path(path)
    write = _WRITERS[_suffix(target, OutputError)]
    tree = run.map_over_datasets(_widen)
    tree.attrs = {**run.attrs, _HASH: _content_hash(tree)}
    write(tree, target)
    return target


def open_run(path: str | PathLike[str]) -> xr.DataTree:
    """Load a run written by `save_run`, `DataTree.to_netcdf` or `to_zarr` into memory and check it.

    The file may come from an untrusted source: no code is run, no other file is read, and content that does not belong
    in a run is refused. Its arrays may take up to 1 GiB, or eight times the size of the file if that is more, and
    opening takes up to twice as much memory. A ``.nc`` file is read in a separate process.

    Raises
    ------
    RunError
        If the file is missing, damaged (in files of `save_run`, every changed bit is detected), or not a run of the
        lab.
    """
    source = Path(path)
    read = _READERS[_suffix(source, RunError)]
    try:
        tree = read(source)
    except FileNotFoundError:
        raise RunError(f"there is no run at {source}; expected a file that save_run wrote.") from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: also a null character in the name
        what = getattr(error, "strerror", None) or str(error) or "it needs more memory than there is"
        raise RunError(f"{source} cannot be read as a run ({what}); give a whole file that save_run wrote.") from error
    expected = tree.attrs.pop(_HASH, None)
    if expected is not None and expected != _content_hash(tree):
        raise RunError(f"{source} is damaged: its content does not have the hash that was written with it.")
    tree = tree.map_over_datasets(_narrow)
    s.validate(tree, need=("image",))
    require_consistent(tree)
    return tree


def _suffix(path: Path, kind: type[Exception]) -> str:
    if path.suffix not in _WRITERS:
        raise kind(f"{path.name!r} ends in {path.suffix or 'nothing'!r}; expected one of {', '.join(_WRITERS)}.")
    return path.suffix


def _content_hash(tree: xr.DataTree) -> str:
    """Hash (sha256) over every array and the root's attributes, the same before writing and after reading."""
    digest = hashlib.sha256()
    for node in sorted(tree.subtree, key=lambda member: member.path):
        for name, array in sorted(node.to_dataset(inherit=False).variables.items(), key=lambda item: str(item[0])):
            values = array.values
            # Texts come back in another dtype than they went.
            texts = values.dtype.kind in "OUT"
            kind = "text" if texts else values.dtype.str
            digest.update(f"{node.path}|{name}|{array.dims}|{values.shape}|{kind}|".encode())
            digest.update("\0".join(map(str, values.ravel())).encode() if texts else np.ascontiguousarray(values).data)
    for key in sorted(set(map(str, tree.attrs)) - {_HASH}):
        digest.update(f"{key}={tree.attrs[key]}|".encode())
    return digest.hexdigest()


def _widen(dataset: xr.Dataset) -> xr.Dataset:
    half = [name for name, array in dataset.data_vars.items() if array.dtype == np.float16]
    return dataset.assign({n: dataset[n].astype(np.float32).assign_attrs({_HALF: "float16"}) for n in half})


def _narrow(dataset: xr.Dataset) -> xr.Dataset:
    changed = {}
    for name, array in dataset.data_vars.items():
        if _HALF in array.attrs:
            attrs = {key: value for key, value in array.attrs.items() if key != _HALF}
            changed[name] = array.astype(array.attrs[_HALF]).assign_attrs(attrs)
            changed[name].attrs.pop(_HALF, None)
    return dataset.assign(changed)
