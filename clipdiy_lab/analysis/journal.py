"""Evaluations that survive a kill: parts are written whole beside the result, and the result whole at the end."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import xarray as xr

from clipdiy_lab.analysis.counting import Counted
from clipdiy_lab.errors import OutputError
from clipdiy_lab.files import atomic_path

KEEP_SECONDS = 2.0  # at most this much work, or one image, is lost to a kill
_HASH = "content_sha256"


class Journal:
    """Parts of an unfinished evaluation, in a hidden folder beside the result; its name holds the run's key.

    Parameters
    ----------
    target : path
        Where the result belongs.
    key : str
        What the run is, so that parts of another one are never taken up.
    labels : int
        Number of labels.

    Attributes
    ----------
    folder : Path
        Where the parts are.
    """

    def __init__(self, target: Path, key: str, labels: int) -> None:
        self.target, self._labels = target, labels
        self.folder = target.with_name(f".{target.stem}.{key[:16]}.unfinished")
        self._kept = 0
        self._last = time.monotonic()
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made ({error.strerror}); choose another place.") from error

    def read(self) -> Counted:
        """Return what earlier runs counted: the parts that follow each other from the first image on."""
        counted = Counted(self._labels)
        while (part := self._part(len(counted.ids))).is_file():
            try:
                with part.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    counted.extend({name: arrays[name] for name in ("counts", "hits", "ids", "ignored")})
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                break  # damaged on the disk: counted again from here
        self._kept = len(counted.ids)
        return counted

    def keep(self, counted: Counted) -> None:
        """Write the images since the last part, if enough time has gone by."""
        if time.monotonic() - self._last < KEEP_SECONDS:
            return
        with atomic_path(self._part(self._kept)) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **counted.arrays(self._kept))
        self._kept, self._last = len(counted.ids), time.monotonic()

    def remove(self) -> None:
        """Clear the parts away, once the result is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _part(self, start: int) -> Path:
        return self.folder / f"{start:07d}.npz"


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
        raise OutputError(f"{target.parent} cannot be made ({error.strerror}); choose another place.") from error
    return target


def write_result(result: xr.Dataset, target: Path) -> None:
    """Write a result whole, with a hash of its counts."""
    with atomic_path(target) as part:
        result.assign_attrs({_HASH: _content_hash(result)}).to_netcdf(part, engine="h5netcdf")


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
        result = xr.load_dataset(target, engine="h5netcdf")
        expected = result.attrs.pop(_HASH)
        whole = expected == _content_hash(result)
    except Exception as error:  # the reader raises whatever the bytes make it stumble over
        raise OutputError(f"{target} is no result of the lab ({type(error).__name__}); remove it first.") from error
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
