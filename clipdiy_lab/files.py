"""Files of results: written whole or not at all, beside the target and then renamed; locks between writers.

The system drops a lock when a process ends, however it ends: none is ever stale. Locks spare double work; the truth of
a store does not hang on them. Where a system or a file system knows no locks, two writers do the same work twice and
write the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clipdiy_lab.errors import OutputError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """Lend a temporary path that becomes `path` when the block ends well, and vanishes when it does not.

    The temporary path carries the target's own name, inside a hidden folder beside it, so that writers which look at
    the suffix (`.npz`, `.png`, `.zarr`) work, and so that nothing matches a pattern such as ``*.png`` in the target's
    folder if the process is killed. Data are flushed to the disk before the rename.

    Parameters
    ----------
    path : str or path
        Where the result belongs. Its folder must exist. An existing file is replaced in one step.
    folder : bool
        Whether the result is a folder. It is lent as an existing empty folder; `path` itself may then not exist yet,
        or be an empty folder.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    OutputError
        The folder is missing or cannot be written, `path` is taken, the disk is full, or the block wrote nothing.
        Errors of the block that are not about writing pass through as they are.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_path(target) as part:
    ...     _ = part.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    target = Path(path)
    stage = _make_stage(target, folder)
    part = stage / target.name
    try:
        if folder:
            part.mkdir()
        yield part
        _flush(part)
        _move(part, target)
        _flush_entry(target.parent)
    except OutputError:
        raise
    except OSError as error:
        if not _is_about_writing(error, stage, target):
            raise
        raise OutputError(
            f"Could not write {str(target)!r}: {_reason(error)}. Nothing was left behind. "
            "Free the disk or choose another place, and run again."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _make_stage(target: Path, folder: bool) -> Path:
    """Make the hidden folder beside `target`, after saying plainly what stands in the way."""
    try:
        if not target.name or target.name == ".." or "\0" in target.name:
            raise OutputError(f"{str(target)!r} names no {_kind(folder)}. Give a path that ends in a name.")
        if not target.parent.is_dir():
            raise OutputError(
                f"Cannot write {str(target)!r}: {str(target.parent)!r} is not an existing folder. Make it first."
            )
        if folder and target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise OutputError(f"{str(target)!r} exists and is not empty. Choose a new folder, or remove that one.")
        if not folder and target.is_dir():
            raise OutputError(f"{str(target)!r} is a folder, but a file is to be written there. Give a file's path.")
        return Path(tempfile.mkdtemp(dir=target.parent.absolute(), prefix=".clipdiy-", suffix=".part"))
    except OutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the folder's name
        raise OutputError(
            f"Cannot write {str(target)!r}: {_reason(error)}. Choose another name, or a folder in which you may write."
        ) from error


def _kind(folder: bool) -> str:
    return "folder" if folder else "file"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _is_about_writing(error: OSError, stage: Path, target: Path) -> bool:
    """Whether `error` concerns the result, and not some other file that the block was reading.

    A failing `write` or `fsync` (disk full, broken device) names no file at all.
    """
    file = str(error.filename)
    return error.filename is None or file == str(target) or file.startswith(str(stage))


def _flush(part: Path) -> None:
    """Push the bytes of a file, or of every file in a folder, to the disk, so that a rename never outruns them."""
    files = (Path(base, name) for base, _, names in os.walk(part) for name in names) if part.is_dir() else [part]
    for file in files:
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())


def _flush_entry(parent: Path) -> None:
    """Push the rename itself to the disk; only POSIX systems can, and some of their file systems refuse."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move(part: Path, target: Path) -> None:
    if part.is_dir() and target.is_dir():
        target.rmdir()  # only an empty one goes; Windows cannot rename over it
    os.replace(part, target)


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
