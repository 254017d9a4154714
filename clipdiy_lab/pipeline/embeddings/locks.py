"""Locks between writers. The system drops them when a process ends, however it ends: none is ever stale.

They spare double work; the truth of a store does not hang on them. Where a system or a file system knows no locks, two
writers do the same shards twice and commit the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from clipdiy_lab.errors import OutputError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lend the claim on one piece of work, and remove its file afterwards.

    Yields
    ------
    bool
        Whether the claim was got; with `wait` it always is, in the end.
    """
    handle = _take(path, wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


@contextlib.contextmanager
def held(path: Path, *, alone: bool, wait: bool = True) -> Iterator[bool]:
    """Lend a lock that many may share, or that one holds alone; its file stays.

    Yields
    ------
    bool
        Whether the lock was got.
    """
    handle = _open(path)
    try:
        yield _lock(handle, alone, wait)
    finally:
        os.close(handle)


def _take(path: Path, wait: bool) -> int | None:
    while True:
        handle = _open(path)
        try:
            locked = _lock(handle, alone=True, wait=wait)
            # Whoever held it before has removed the file: a lock on what nobody else can find is worth nothing.
            if locked and _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not locked:
            return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(
            f"Cannot write {str(path)!r}: {error.strerror}. Filling and pruning a store need a folder in which you may "
            "write."
        ) from error


def _lock(handle: int, alone: bool, wait: bool) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return True  # no locks on this file system
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
