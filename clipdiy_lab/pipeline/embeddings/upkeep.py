"""Maintenance of a store: describe, verify, prune and export it."""

from __future__ import annotations

import shutil
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from clipdiy_lab.errors import OutputError, StoreError
from clipdiy_lab.files import atomic_path, held
from clipdiy_lab.pipeline import zarr_files
from clipdiy_lab.pipeline.embeddings import layout
from clipdiy_lab.pipeline.embeddings.opened import as_dataset
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore, read_shard
from clipdiy_lab.pipeline.netcdf import write_netcdf


def info(path: str | PathLike[str]) -> dict[str, Any]:
    """Say what a store is and how far it is; no shard is read.

    Returns
    -------
    dict
        ``dataset``, ``encoder``, ``images`` and ``images_finished``, ``shards`` and ``shards_finished``,
        ``shard_size``, ``bytes`` on the disk, ``leftovers`` (what `prune` would remove) and ``key``.

    Raises
    ------
    StoreError
        If there is no store, or its header or a record is damaged.
    """
    store = EmbeddingStore(path, partial=True)
    header = store.header
    files = [file for file in store.path.rglob("*") if file.is_file()]
    return {
        "dataset": header.attrs["dataset"],
        "encoder": header.attrs["encoder"],
        "images": len(header.ids),
        "images_finished": len(store.images),
        "shards": header.shards,
        "shards_finished": len(store.finished),
        "shard_size": header.shard_size,
        "bytes": sum(file.stat().st_size for file in files),
        "leftovers": len(_leftovers(store.path, header)),
        "key": header.key,
    }


def verify(path: str | PathLike[str]) -> pd.DataFrame:
    """Read every byte of a store and compare it with what was written.

    Returns
    -------
    pandas.DataFrame
        One row per shard: ``shard``, ``images``, ``state`` ("whole", "missing" or "damaged") and ``why``.

    Raises
    ------
    StoreError
        If there is no store, or its header is damaged.
    """
    store = Path(path)
    header = layout.read_header(store)
    rows = []
    for shard in range(header.shards):
        try:
            state, why = ("missing" if read_shard(store, header, shard) is None else "whole"), ""
        except StoreError as error:
            state, why = "damaged", str(error)
        rows.append({"shard": shard, "images": len(header.images(shard)), "state": state, "why": why})
    return pd.DataFrame(rows)


def prune(path: str | PathLike[str]) -> list[Path]:
    """Remove what no record vouches for: work of killed writers, shards of another key, records that cannot be read.

    What else lies in the store's folder, beside the shards, is not the store's and stays.

    Returns
    -------
    list of Path
        What was removed.

    Raises
    ------
    StoreError
        If there is no store, its shards are a link to another folder, or somebody is writing to it.
    OutputError
        If something cannot be removed.
    """
    store = Path(path)
    header = layout.read_header(store)
    if (store / layout.SHARDS).is_symlink():
        raise StoreError(f"The shards of the store {store} are a symbolic link; prune the store in its real location.")
    with held(store / layout.LOCK, alone=True, wait=False) as alone:
        if not alone:
            raise StoreError(f"Another process is writing to the store {store}; prune it when that process has ended.")
        leftovers = _leftovers(store, header)
        for leftover in leftovers:
            try:
                shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
            except OSError as error:
                raise OutputError(f"Cannot remove {leftover} ({error.strerror}); remove it by hand.") from error
    return leftovers


def _leftovers(store: Path, header: layout.Header) -> list[Path]:
    """Everything among the shards that is neither record nor vouched for by one, and what killed writers left."""
    kept = set()
    for shard in layout.recorded(store, header):
        try:
            record = layout.read_record(store, header, shard)
        except StoreError:
            continue
        if record is not None:
            kept |= {layout.record_path(store, shard), store / layout.SHARDS / record.file}
    shards = (entry for entry in (store / layout.SHARDS).glob("*") if entry not in kept)
    return sorted({*store.glob(layout.STAGING), *shards})


def export(path: str | PathLike[str], target: str | PathLike[str], *, partial: bool = False) -> Path:
    """Copy a finished store into one NetCDF file (``.nc``) or a plain Zarr folder (``.zarr``) that any program reads.

    The arrays are those of `open_store`. Zarr keeps half precision and takes the memory of one shard; NetCDF knows no
    half precision, so embeddings become float32, and the file is made in memory: it takes its size twice.

    Parameters
    ----------
    path : path
        The store.
    target : path ending in .nc or .zarr
    partial : bool
        Take a store that is not finished; the images of unfinished shards are left out.

    Raises
    ------
    StoreError
        If the store is not whole, unless `partial` says so.
    OutputError
        If the suffix is another one, something of that name is there, or the place cannot be written to.
    """
    store, out = EmbeddingStore(path, partial=partial), Path(target)
    if out.suffix not in (".nc", ".zarr"):
        raise OutputError(f"{out.name!r} ends in {out.suffix or 'nothing'!r}; expected .nc or .zarr.")
    if out.exists():
        raise OutputError(f"{out} already exists; remove it, or name another file.")
    dataset = as_dataset(store)
    if out.suffix == ".nc":
        half = [name for name, array in dataset.data_vars.items() if array.dtype == np.float16]
        write_netcdf(dataset.assign({n: dataset[n].astype(np.float32) for n in half}), out)
        return out
    with atomic_path(out, folder=True) as part:
        _to_zarr(store, dataset, part)
    return out


def _to_zarr(store: EmbeddingStore, dataset: xr.Dataset, part: Path) -> None:
    """Write what is small at once, and the arrays shard by shard, each into one file: never two at a time."""
    large = [name for name, array in dataset.data_vars.items() if array.ndim > 1]
    zarr_files.write_files(zarr_files.render(xr.DataTree(dataset.drop_vars(large))), part)
    group = zarr.open_group(part, mode="r+", zarr_format=3)
    for name in large:
        array = dataset[name]
        target = group.create_array(
            str(name),
            shape=array.shape,
            chunks=(min(store.header.shard_size, len(array)), *array.shape[1:]),
            dtype=array.dtype,
            dimension_names=[str(dim) for dim in array.dims],
            attributes={str(key): value for key, value in array.attrs.items()},
        )
        start = 0
        for shard in store.finished:
            here = slice(start, start + len(store.header.images(shard)))
            target[here] = array[here].values
            start = here.stop
