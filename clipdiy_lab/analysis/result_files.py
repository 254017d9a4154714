"""Results as files: written whole, found again by what they are of, and told from everything else."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from clipdiy_lab.errors import ConfigError, OutputError
from clipdiy_lab.pipeline.netcdf import read_netcdf, write_netcdf

_HASH = "content_sha256"


def open_result(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a result written by `evaluate`.

    Raises
    ------
    OutputError
        If the file does not exist or is damaged.
    """
    result = read_result(Path(path))
    if result is None:
        raise OutputError(f"there is no result at {os.fspath(path)}; expected a file that evaluate wrote.")
    return result


def plain_attrs(result: xr.Dataset) -> dict[str, Any]:
    """Return a result's protocol card with Python's own numbers.

    Raises
    ------
    ConfigError
        If it is not a result of `evaluate`.
    """
    if not isinstance(result, xr.Dataset) or not {"protocol_card", "miou"} <= result.attrs.keys():
        raise no_result(result)
    return plain_card(result)


def plain_card(result: xr.Dataset) -> dict[str, Any]:
    """Return the attributes of any dataset with Python's own numbers."""
    return {str(k): v.item() if isinstance(v, np.generic) else v for k, v in result.attrs.items()}


def no_result(given: object) -> ConfigError:
    """Return the error for something else than a result."""
    return ConfigError(
        f"{type(given).__name__} is given where a result of evaluate is expected; make one with lab.evaluate, or open "
        "one with lab.results.open_result."
    )


def result_path(out: str | os.PathLike[str], name: str) -> Path:
    """Return the file of a result: `out` itself if it ends in .nc, else `name` in the folder `out`; folders are made.

    Raises
    ------
    OutputError
        If the suffix is another one or the folder cannot be made.
    """
    given = Path(out)
    if given.suffix and given.suffix != ".nc" and not given.is_dir():
        raise OutputError(f"{given} ends in {given.suffix!r}; a result is a .nc file, or a folder to put it into.")
    target = given if given.suffix == ".nc" else given / re.sub(r"[^\w.-]+", "_", name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be created ({error.strerror}); choose another folder.") from error
    return target


def write_result(result: xr.Dataset, target: Path) -> None:
    """Write a result whole, with a hash of its counts."""
    write_netcdf(result.assign_attrs({_HASH: _content_hash(result)}), target)


def read_result(target: Path, key: str | None = None) -> xr.Dataset | None:
    """Read a result that `write_result` wrote; None where there is no file.

    Parameters
    ----------
    target : path
    key : str, optional
        Of the run that it must be the result of.

    Raises
    ------
    OutputError
        If the file is damaged, no result, or the result of another run.
    """
    if not target.exists():
        return None
    try:
        result = read_netcdf(target).to_dataset()
        expected = result.attrs.pop(_HASH)
        whole = expected == _content_hash(result)
    except (OSError, ValueError, KeyError, MemoryError) as error:  # KeyError: what every result has is missing
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OutputError(f"{target} is not a result of the lab ({what}); remove it first.") from error
    if not whole:
        raise OutputError(f"{target} is damaged: its content does not have the hash written with it; remove it first.")
    if key is not None and result.attrs.get("key") != key:
        raise OutputError(
            f"{target} holds the result of another run ({result.attrs.get('dataset')}, protocol "
            f"{result.attrs.get('protocol')}, {result.attrs.get('images')} images); choose another file, or a folder."
        )
    return result


def _content_hash(result: xr.Dataset) -> str:
    digest = hashlib.sha256(repr([str(one) for one in result["image_id"].values]).encode())
    for name in sorted(map(str, result.data_vars)):
        digest.update(name.encode() + np.ascontiguousarray(result[name].values).tobytes())
    digest.update(repr(sorted((name, str(value)) for name, value in result.attrs.items() if name != _HASH)).encode())
    return digest.hexdigest()
