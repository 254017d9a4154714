"""Files: results written whole or not at all, regular files read and nothing else, hashes; locks between writers.

The system drops a lock when a process ends, however it ends: none is ever stale. Locks spare double work; the truth of
a store does not hang on them. Where a system or a file system knows no locks, two writers do the same work twice and
write the same bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from clipdiy_lab.errors import OutputError
from clipdiy_lab.text import printable

if sys.platform != "win32":
    import fcntl

TEXT_LIMIT = 2**26
"""Bytes that `read_text` takes by default: more than any configuration, table or header needs."""
_MANY = 64  # files in one folder, from which on one flush of the file system is cheaper than one each
_log = logging.getLogger(__name__)


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
        flush(_files_in(part))
        _move(part, target)
        _flush_entry(target.parent)
    except OutputError:
        raise
    except OSError as error:
        if not _is_about_writing(error, stage, target):
            raise
        raise OutputError(
            f"Could not write {str(target)!r}: {_reason(error)}. Nothing was left behind. "
            "Free disk space or choose another folder, and run again."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _make_stage(target: Path, folder: bool) -> Path:
    """Make the hidden folder beside `target`, after saying plainly what stands in the way."""
    try:
        if not target.name or target.name == ".." or "\0" in target.name:
            raise OutputError(f"{str(target)!r} does not name a {_kind(folder)}. Give a path that ends in a name.")
        if not target.parent.is_dir():
            raise OutputError(
                f"Cannot write {str(target)!r}: {str(target.parent)!r} is not an existing folder. Create it first."
            )
        if folder and target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise OutputError(f"{str(target)!r} exists and is not empty. Choose a new folder, or remove this one.")
        if not folder and target.is_dir():
            raise OutputError(f"{str(target)!r} is a folder, but a file has to be written. Give the path of a file.")
        return Path(tempfile.mkdtemp(dir=target.parent.absolute(), prefix=".clipdiy-", suffix=".part"))
    except OutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the folder's name
        raise OutputError(
            f"Cannot write {str(target)!r}: {_reason(error)}. Choose another name, or a folder that you can write to."
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


def flush(files: Sequence[Path]) -> None:
    """Push the bytes of files that were just written to the disk, so that a rename never outruns them.

    Many files are flushed together where the system can do that (Linux: one `syncfs` per disk). One `fsync` for each
    takes a disk some milliseconds, and a benchmark can have more than a hundred thousand.
    """
    if len(files) > _MANY and sys.platform == "linux":
        for file in {file.stat().st_dev: file for file in files}.values():
            with file.open("rb") as handle:
                if ctypes.CDLL(None, use_errno=True).syncfs(handle.fileno()):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return
    for file in files:
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())


def _files_in(part: Path) -> list[Path]:
    """The file itself, or every file in a folder."""
    return [Path(base, name) for base, _, names in os.walk(part) for name in names] if part.is_dir() else [part]


def _flush_entry(parent: Path) -> None:
    """Flush the rename itself to the disk; only POSIX systems can, and some of their file systems refuse."""
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


def open_file(path: str | os.PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading; refuse pipes and devices, on which a program could wait forever.

    Parameters
    ----------
    path : str or path
    follow : bool
        Whether `path` may itself be a symbolic link (systems that cannot tell follow it).

    Raises
    ------
    OSError
        As `open` raises it; also for a pipe, a device, a socket or a folder.
    ValueError
        For a null character in the path.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> _ = target.write_text("whole")
    >>> with open_file(target) as file:
    ...     file.read()
    b'whole'
    """
    # Looked at before it is opened, because opening some devices does something; and again when it is open.
    _require_regular(os.stat(path, follow_symlinks=follow).st_mode, path)
    # A pipe put there meanwhile opens at once.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISLNK: "a symbolic link"}
        what = next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
        raise OSError(errno.EINVAL, f"it is {what}, not a regular file", str(path))


def read_bytes(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file of at most `limit` bytes; with `follow=False` no symbolic link to one.

    Raises
    ------
    OSError
        As `open_file` raises it; also if the file is larger.
    ValueError
        For a null character in the path.
    """
    with open_file(path, follow=follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return content


def read_text(
    path: str | os.PathLike[str], limit: int = TEXT_LIMIT, encoding: str = "utf-8", *, follow: bool = True
) -> str:
    """Read a regular text file of at most `limit` bytes; with `follow=False` no symbolic link to one.

    Raises
    ------
    OSError
        As `open_file` raises it; also if the file is larger.
    ValueError
        For a null character in the path, or (UnicodeDecodeError) if the file is no text.
    """
    return read_bytes(path, limit, follow=follow).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def bytes_on_disk(status: os.stat_result) -> int:
    """Bytes that a file really takes: the holes of a sparse file, which cost nobody anything, do not count."""
    return min(status.st_size, getattr(status, "st_blocks", status.st_size) * 512)


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
def exclusive(target: Path) -> Iterator[None]:
    """Keep other processes away from a file in the making for the length of the block; wait until they are done.

    The lock is ``target.lock``, whose folder must exist.
    """
    lock = target.with_name(f"{target.name}.lock")
    with claim(lock, wait=False) as alone:
        if alone:
            yield
            return
    _log.warning("another process is writing %s; waiting for it to finish", printable(target.name))
    with claim(lock, wait=True):
        yield


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
            f"Cannot write {str(path)!r}: {error.strerror}. Choose a folder that you can write to."
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


def problem_of(path: Path, size: int | None, hashes: Mapping[str, str]) -> str:
    """Describe what is wrong with a file.

    Parameters
    ----------
    path : Path
        The file, which must be there.
    size : int or None
        Bytes that it should have, where they are known.
    hashes : mapping of str to str
        Name of an algorithm of `hashlib` to the digest that is expected, in lower-case hexadecimal; all are compared.

    Returns
    -------
    str
        The end of a sentence, such as "has 5 bytes, expected 7"; empty if nothing is wrong.
    """
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in hashes}
    try:
        if size not in (None, path.stat().st_size):
            return f"has {path.stat().st_size:,} bytes, expected {size:,}"
        with path.open("rb") as file:
            while digests and (data := file.read(1 << 20)):
                for digest in digests.values():
                    digest.update(data)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    for name, digest in digests.items():
        if digest.hexdigest() != hashes[name]:
            return f"has {name} {digest.hexdigest()}, expected {hashes[name]}"
    return ""
