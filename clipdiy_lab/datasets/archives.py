"""Archives unpacked without trust: regular files and folders only, inside the target, whole or not at all.

The standard library's `extractall` is never used. Its filters have been bypassed more than once, Python 3.11 may not
have them at all, and they cap nothing. Every path is computed here, every file is created anew, every byte is counted.
"""

from __future__ import annotations

import io
import itertools
import lzma
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from clipdiy_lab.datasets.tar_members import BLOCK, CHUNK, PACKED, Counted, Member, RefusedError, tar_members
from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import atomic_path

# What an archive may hold at most. COCO train has 118,287 files in 18 GiB; one with a mask for each object has several
# times as many. Images hardly shrink, and text by ten.
MAX_MEMBERS, MAX_BYTES, MAX_RATIO = 2_000_000, 128 << 30, 200
FREE_BYTES = 16 << 20  # that the ratio does not count: small archives of text may grow more, and tar pads to 10 KiB
# What systems take at most: bytes of a name, and a path that still leaves room for the folder it goes to.
_NAME_BYTES, _PATH_BYTES, _DEPTH = 255, 2048, 32
# What the standard library raises at damaged bytes; an OSError without a number is of the same kind.
_DAMAGE: Final = (
    *(EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, struct.error),
    *(ValueError, OverflowError, RuntimeError),  # nonsense in headers, such as an offset below zero
)
_Progress = Callable[[int, int], None]


def extract(archive: Path, folder: Path, *, progress: _Progress | None = None) -> None:
    """Unpack a tar (plain, gzip, bzip2 or xz) or zip (stored or deflated) archive into a new folder.

    Parameters
    ----------
    archive : Path
        The kind is told from the first bytes; the suffix does not matter.
    folder : Path
        Where the content goes. It must not exist yet, or be empty; its parent must exist.
    progress : callable or None
        Called with the bytes of the archive that have been read, and with its size.

    Raises
    ------
    DatasetError
        If the archive is missing, cannot be read, is of another kind, cut short or damaged, holds more than the limits
        of this module, or has a member that is encrypted, is no plain file or folder, or has a name that is absolute,
        climbs out, is not UTF-8, is too long, has a backslash or control character, or is there already (also in
        another spelling, on a disk that confuses the two).
    OutputError
        If `folder` is taken, or cannot be written.

    Notes
    -----
    The content appears under `folder` in one step, once all of it is on the disk; after any error, or an interrupt,
    nothing is there. Owners, permissions and times of the members are ignored: files get 0644, folders 0755. A tar must
    end with its end mark (a block of zeros), without which a cut between two members cannot be seen.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise DatasetError(f"There is no archive {archive}: check the path, or fetch it first.")
    with _reading(archive):
        file = _ArchiveFile(archive)
    with io.BufferedReader(file, CHUNK) as raw:
        members = _reader_of(archive, raw.peek(BLOCK)[:BLOCK])
        with atomic_path(folder, folder=True) as part:
            tree = _Tree(part, raw, archive.stat().st_size, progress)
            try:
                for name, size, pieces in members(raw, tree.spend):
                    tree.add(name, size, pieces)
            except RefusedError as error:
                raise DatasetError(
                    f"Archive {archive} was not unpacked, because {error}. Download the archive again from its "
                    "publisher "
                    "and compare the hash; do not unpack it with another tool."
                ) from error
            except (*_DAMAGE, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DatasetError(
                    f"Archive {archive} is cut short or damaged ({type(error).__name__}: {error}). Nothing was "
                    "unpacked: delete the archive and fetch it again."
                ) from error


@contextmanager
def _reading(archive: Any) -> Iterator[None]:
    """Report errors of reading the archive as such, apart from errors of writing its files."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"Archive {archive} cannot be read ({error.strerror}): check the disk, or download it again to another one."
        ) from error


class _ArchiveFile(io.FileIO):
    def readinto(self, buffer: Any, /) -> int:
        with _reading(self.name):
            return super().readinto(buffer)


def _reader_of(archive: Path, head: bytes) -> Callable[[IO[bytes], Callable[[int], None]], Iterator[Member]]:
    """Return the function that reads the members of this kind of archive."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_members
    if head.startswith(tuple(PACKED)) or head == bytes(BLOCK):
        return tar_members
    with suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return tar_members
    seen = f"begins with {head[:8]!r}" if head else "is empty"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        seen = "is a web page (an error or login page, perhaps)"
    raise DatasetError(
        f"{archive} {seen}: expected a tar (plain, gzip, bzip2 or xz) or a zip. Delete it and get the archive itself."
    )


def _zip_members(raw: IO[bytes], spend: Callable[[int], None]) -> Iterator[Member]:
    with zipfile.ZipFile(raw) as book:
        entries = book.infolist()
        ordered = sorted(entries, key=lambda entry: entry.header_offset)
        for entry, after in itertools.pairwise(
            ordered
        ):  # bombs that expand a million times lay entries over each other
            if entry.header_offset + 30 + entry.compress_size > after.header_offset:  # 30: the least a header has
                raise RefusedError(f"overlaps the bytes of {entry.orig_filename!r}", after.orig_filename)
        for entry in entries:
            # zipfile cuts `filename` at a null character and may change its slashes; this is what the archive says.
            name = entry.orig_filename
            if problem := _problem_of(entry, name.endswith("/")):
                raise RefusedError(problem, name)
            if name.endswith("/"):
                yield name, None, iter(())
            else:
                with book.open(entry) as file:
                    yield name, entry.file_size, Counted(file, spend).rest()


def _problem_of(entry: zipfile.ZipInfo, is_folder: bool) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & 0x2041:  # bits 0, 6 and 13: encrypted, strongly encrypted, header masked
        return "is encrypted, expected a plain file"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR if is_folder else 0):
        return f"is no plain file or folder (its mode is {kind:#o}, as of a link or device)"
    if is_folder and entry.file_size:
        return f"is a folder with {entry.file_size:,} bytes of its own"
    # Only these two are unpacked in bounded memory by zipfile; the others turn 4 KiB into gigabytes at once.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {entry.compress_type}, expected 0 (stored) or 8 (deflated)"
    return ""


class _Tree:
    """The folder that is being filled: decides on every name, and counts every member and byte."""

    def __init__(self, root: Path, raw: IO[bytes], size: int, progress: _Progress | None) -> None:
        self._root, self._raw, self._size, self._progress = root.resolve(), raw, size, progress
        self._folders, self._members, self._spent = {self._root}, 0, 0

    def spend(self, count: int) -> None:
        """Count unpacked bytes against the caps as they come, whatever the headers promised."""
        self._spent += count
        if self._spent > (most := min(MAX_BYTES, FREE_BYTES + MAX_RATIO * self._size)):
            raise RefusedError(f"it holds more than {most:,} bytes, the most for one of {self._size:,}")

    def add(self, member: str, size: int | None, pieces: Iterator[bytes]) -> None:
        """Make a folder (`size` None), or a file with those above it."""
        target, written = self._root.joinpath(*_names_in(member)), 0
        if size is None:
            return self._make(member, target)
        if not 0 <= size <= MAX_BYTES:
            raise RefusedError(f"claims {size:,} bytes, allowed are 0 to {MAX_BYTES:,}", member)
        if target == self._root:
            raise RefusedError("has no name", member)
        self._make(member, target.parent)
        # "x" creates the file or fails: nothing that is already there can be written to, or through.
        with self._entering(member), open(target, "xb", opener=partial(os.open, mode=0o644)) as file:
            for piece in pieces:
                written += file.write(piece)
                if self._progress is not None:
                    self._progress(min(self._raw.tell(), self._size), self._size)
        if written != size:
            raise RefusedError(f"claims {size:,} bytes but has only {written:,}", member)
        return None

    def _make(self, member: str, folder: Path) -> None:
        """Make a folder and those above it, as far as they are new."""
        if folder in self._folders:
            return
        self._make(member, folder.parent)
        with self._entering(member):
            folder.mkdir(mode=0o755)
        # No link can lie below the root, since none is ever made; this would catch one that another process made.
        if not folder.resolve().is_relative_to(self._root):
            raise RefusedError("points outside the folder that it is unpacked into", member)
        self._folders.add(folder)

    @contextmanager
    def _entering(self, member: str) -> Iterator[None]:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise RefusedError(f"it holds more than {MAX_MEMBERS:,} files and folders")
        try:
            yield
        except FileExistsError as error:
            raise RefusedError("already exists as a file or a folder, or in another spelling", member) from error


def _names_in(member: str) -> list[str]:
    """Names that lead from the root to a member, or an error that says what is wrong with them."""
    names = [name for name in member.split("/") if name not in ("", ".")]
    if not member:
        why = "has no name"
    elif member.startswith("/") or any(re.match("[A-Za-z]:", name) for name in names):
        why = "has an absolute path"
    elif ".." in names:
        why = "climbs out of its folder with '..'"
    elif "\\" in member:
        why = "has a backslash in its name"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in member):
        why = "has a control character in its name, or one that is not UTF-8"
    elif len(member.encode()) > _PATH_BYTES or any(len(name.encode()) > _NAME_BYTES for name in names):
        why = f"has too long a name (a path may have {_PATH_BYTES} bytes, each name in it {_NAME_BYTES})"
    elif len(names) > _DEPTH:
        why = f"lies more than {_DEPTH} folders deep"
    else:
        return names
    raise RefusedError(why, member)
