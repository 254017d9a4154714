"""Runs as files: written whole or not at all, read back equal, refused when damaged or foreign.

NetCDF has no checksum by default: a flipped bit in a file would read as another number. `save_run` therefore writes a
hash over all names, values and attributes beside them, and `open_run` checks it.
"""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from clipdiy_lab.errors import OutputError, RunError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.method import schema as s

_HALF = "stored_as_float32_from"
_HASH = "content_sha256"
_SUFFIXES = {".nc": "h5netcdf", ".zarr": "zarr"}


def save_run(run: xr.DataTree, path: str | PathLike[str]) -> Path:
    """Write a run to NetCDF-4 (``.nc``) or Zarr (``.zarr``).

    The file appears under its name only when it is complete. Half-precision stages, which NetCDF cannot hold, are kept
    as float32 and come back as float16.

    Parameters
    ----------
    run : xarray.DataTree
    path : path ending in .nc or .zarr

    Raises
    ------
    RunError
        If the tree is not a run.
    OutputError
        If the suffix is another one or the place cannot be written to.
    """
    s.validate(run, need=("image",))
    target = Path(path)
    engine = _engine(target, OutputError)
    tree = run.map_over_datasets(_widen)
    tree.attrs = {**run.attrs, _HASH: _content_hash(tree)}
    with atomic_path(target, folder=engine == "zarr") as part:
        if engine == "zarr":
            tree.to_zarr(part, mode="w", consolidated=False, zarr_format=3)
        else:
            tree.to_netcdf(part, engine="h5netcdf")
    return target


def open_run(path: str | PathLike[str]) -> xr.DataTree:
    """Read a run that `save_run`, or `DataTree.to_netcdf` or `to_zarr`, wrote; loaded into memory and checked.

    Raises
    ------
    RunError
        If the file is missing, damaged (for files of `save_run`, to the last bit), or not a run of the lab.
    """
    source = Path(path)
    engine: Any = _engine(source, RunError)
    if not source.exists():
        raise RunError(f"there is no run at {source}; expected a file that save_run wrote.")
    try:
        options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
        with xr.open_datatree(source, engine=engine, **options) as lazy:
            tree = lazy.load()
    except Exception as error:  # the readers raise whatever the bytes make them stumble over
        what = f"{type(error).__name__}: {error}"
        raise RunError(f"{source} cannot be read as a run ({what}); write it again.") from error
    expected = tree.attrs.pop(_HASH, None)
    if expected is not None and expected != _content_hash(tree):
        raise RunError(f"{source} is damaged: its content does not have the hash that was written with it.")
    tree = tree.map_over_datasets(_narrow)
    s.validate(tree, need=("image",))
    return tree


def _engine(path: Path, kind: type[Exception]) -> str:
    if path.suffix not in _SUFFIXES:
        raise kind(f"{path.name!r} ends in {path.suffix or 'nothing'!r}; expected one of {', '.join(_SUFFIXES)}.")
    return _SUFFIXES[path.suffix]


def _content_hash(tree: xr.DataTree) -> str:
    """Hash (sha256) over every array and the root's attributes, the same before writing and after reading."""
    digest = hashlib.sha256()
    for node in sorted(tree.subtree, key=lambda one: one.path):
        for name, array in sorted(node.to_dataset(inherit=False).variables.items(), key=lambda item: str(item[0])):
            values = array.values
            # Texts come back in another dtype than they went.
            texts = values.dtype.kind in "OUT"
            content = "\0".join(map(str, values.ravel())).encode() if texts else np.ascontiguousarray(values).tobytes()
            kind = "text" if texts else values.dtype.str
            digest.update(f"{node.path}|{name}|{array.dims}|{values.shape}|{kind}|".encode() + content)
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
