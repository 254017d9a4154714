"""Weights of networks: fetched once, checked by sha256 every time, told apart, and loaded whole or not at all."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from clipdiy_lab.downloads import download, is_offline
from clipdiy_lab.errors import DownloadError, OutputError, WeightsError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.models.checkpoints import read_file

KNOWN_HASHES = "known_hashes.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, where it comes from, and how to know that it is the right one.

    Attributes
    ----------
    name : str
        File name in the cache, with its suffix.
    url : str
        Where it is fetched from, over http or https.
    sha256 : str or None
        Hexadecimal; None where the publisher gives none. It is then recorded at first use and checked from then on.
    bytes : int or None
        Size of the file, where it is known.
    source : str
        Who made it and under which licence, in words.
    """

    name: str
    url: str
    sha256: str | None = None
    bytes: int | None = None
    source: str = ""


def cache_folder() -> Path:
    """Folder that weights are kept in.

    Returns
    -------
    Path
        `weights` below `$CLIPDIY_LAB_CACHE`, or else below the platform's cache folder of the user. It need not exist.
    """
    chosen = os.environ.get("CLIPDIY_LAB_CACHE", "")
    root = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("clipdiy_lab")
    return root / "weights"


def fetch(entry: WeightsFile, instead: str | None = None) -> bytes:
    """Content of `entry`'s file on this machine, fetched if need be and checked in any case.

    Parameters
    ----------
    entry : WeightsFile
        What to fetch.
    instead : str or None
        Embedded model that an error may name as a way out, such as "found-tiny".

    Returns
    -------
    bytes
        For `checkpoints.tensors_of`. Their sha256 is the published one, or the one recorded when the file was first
        used: what is checked and what is loaded are the same bytes, whatever happens to the file meanwhile.

    Raises
    ------
    WeightsError
        If the file is not there and cannot be fetched, or is not the one it should be. A wrong download is not kept.

    Notes
    -----
    `CLIPDIY_LAB_OFFLINE=1` forbids fetching; files in the cache are used as ever. Two processes that record first
    uses at the same moment may lose one of the two records; that file is then recorded at its next use.
    """
    path = cache_folder() / entry.name
    if not path.is_file():
        _download(entry, path, instead)
    content = read_file(path)
    _check(entry, path, content, f"Delete {path}, so that it is fetched again.")
    return content


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Hash of a set of named tensors.

    Parameters
    ----------
    state : mapping of str to Tensor
        Usually a `state_dict()`; the order does not matter, the device neither.

    Returns
    -------
    str
        sha256, hexadecimal, over names, types, shapes and bytes.

    Examples
    --------
    >>> one, two = torch.ones(2), torch.zeros(3)
    >>> fingerprint({"a": one, "b": two}) == fingerprint({"b": two, "a": one})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # Through uint8, because numpy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load tensors into a module, all of them or none.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Exactly the names and shapes of `module.state_dict()`.
    where : str
        Where the tensors come from, for the error.

    Raises
    ------
    WeightsError
        If names are missing or left over, shapes or types differ (the first few are named), or the values are NaN,
        infinite or all zero.
    """
    expected = module.state_dict()
    problems = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ],
        "of another type": [
            f"{name} {state[name].dtype} instead of {tensor.dtype}"
            for name, tensor in expected.items()
            if name in state and tensor.is_floating_point() and not state[name].is_floating_point()
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in problems.items() if names)
        raise WeightsError(
            f"The weights of {where} do not fit {type(module).__name__}: {listed}. "
            "Use the file that was made for this model."
        )
    _refuse_broken(state, where)
    module.load_state_dict(state, strict=True)


def _refuse_broken(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse numbers that no training ends with: NaN, infinity, or nothing but zeros."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    broken = [name for name, tensor in floats.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(
            f"The weights of {where} hold NaN or infinite values ({_first(broken)}): the training went wrong or the "
            "file is damaged; use another checkpoint, or get the file again."
        )
    # A bias may well be zero; a matrix is not, unless nothing was ever written into the file.
    matrices = [tensor for tensor in floats.values() if tensor.ndim > 1]
    if matrices and not any(bool(tensor.any()) for tensor in matrices):
        raise WeightsError(
            f"The weights of {where} are all zero: nothing was written into the file, or its download stopped; get it "
            "again."
        )


def _download(entry: WeightsFile, path: Path, instead: str | None) -> None:
    ways_out = f"put the file at {path}" + (f", or use the embedded {instead!r}" if instead else "")
    if is_offline():
        raise WeightsError(
            f"{entry.name} is not on this machine, and CLIPDIY_LAB_OFFLINE forbids fetching: {ways_out}."
        )
    _log.info("fetching %s from %s", entry.name, entry.url)
    hashes = {"sha256": entry.sha256} if entry.sha256 else {}
    try:
        download([entry.url], path, size=entry.bytes, hashes=hashes, progress=sys.stderr.isatty())
    except DownloadError as error:
        embedded = f" Or use the embedded {instead!r}." if instead else ""
        raise WeightsError(f"{entry.name} is not on this machine. {error}{embedded}") from error
    except OutputError as error:
        raise WeightsError(f"{error} CLIPDIY_LAB_CACHE chooses the place.") from error
    try:
        _check(entry, path, read_file(path), f"The download was not kept; try again later, or {ways_out}.")
    except WeightsError:
        path.unlink()
        raise


def _check(entry: WeightsFile, path: Path, content: bytes, advice: str) -> None:
    """Compare size and hash with what is known of `entry`; record the hash where none is."""
    size = len(content)
    if entry.bytes is not None and size != entry.bytes:
        raise WeightsError(f"{entry.name} ({path}) has {size} bytes, expected {entry.bytes}. {advice}")
    actual = hashlib.sha256(content).hexdigest()
    records = cache_folder() / KNOWN_HASHES
    known = {} if entry.sha256 else _read_known(records)
    expected = entry.sha256 or known.get(entry.name, {}).get("sha256")
    if expected is None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        known[entry.name] = {"sha256": actual, "bytes": size, "url": entry.url, "first_used": today}
        _write_known(records, known)
        _log.info("%s: sha256 %s recorded at first use in %s", entry.name, actual, records)
    elif actual != expected.lower():
        origin = "published" if entry.sha256 else f"recorded at first use; to accept another, edit {records}"
        raise WeightsError(f"{entry.name} ({path}) has sha256 {actual}, expected {expected} ({origin}). {advice}")


def _read_known(records: Path) -> dict[str, dict[str, Any]]:
    if not records.is_file():
        return {}
    try:
        known = json.loads(records.read_text(encoding="utf-8"))
        if not all(isinstance(record["sha256"], str) for record in known.values()):
            raise TypeError("a record without its hash")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # Starting afresh would quietly accept whatever file is there now.
        raise WeightsError(
            f"The record of hashes {records} cannot be read ({error}): "
            "delete it, so that hashes are recorded anew at the next use."
        ) from error
    return dict(known)


def _write_known(records: Path, known: dict[str, dict[str, Any]]) -> None:
    with _into_cache(records) as part:
        part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def _into_cache(path: Path) -> Iterator[Path]:
    """Lend a temporary path that becomes `path` when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            yield part
    except OSError as error:
        raise WeightsError(
            f"The cache folder {path.parent} cannot be written ({error}): set CLIPDIY_LAB_CACHE to a folder that can."
        ) from error


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
