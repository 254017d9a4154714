"""Archives unpacked without trust: regular files and folders only, inside the target, whole or not at all.

The standard library's `extractall` is never used. Its filters have been bypassed more than once, Python 3.11 may not
have them at all, and they cap nothing. Every path is computed here, every file is created anew, every byte is counted.
"""

from __future__ import annotations

import bz2
import gzip
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
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import atomic_path

# What an archive may hold at most. The largest that benchmarks have: COCO train, 118,287 files in 18 GiB; ADE20K in
# full, nearly a million files, since each of its 707,868 objects has a mask. Images hardly shrink, text does by ten.
MAX_MEMBERS, MAX_BYTES, MAX_RATIO = 2_000_000, 128 << 30, 200
FREE_BYTES = 16 << 20  # that the ratio does not count: small archives of text may grow more, and tar pads to 10 KiB
# What systems take at most: bytes of a name, and a path that still leaves room for the folder it goes to.
_NAME_BYTES, _PATH_BYTES, _DEPTH = 255, 2048, 32
_BLOCK, _CHUNK, _EXTENSION_BYTES = tarfile.BLOCKSIZE, 1 << 20, 1 << 20
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_KINDS: Final = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe"}
_PACKED: Final[dict[bytes, Callable[[Any], Any]]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
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
        climbs out, is not UTF-8, is too long, has a backslash or control character, or is that of another member (also
        where only case or Unicode form differ, because some disks cannot tell these apart).
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
    with io.BufferedReader(_ArchiveFile(archive)) as raw:
        unpack = _unpacker(archive, raw.peek(_BLOCK)[:_BLOCK])
        with atomic_path(folder, folder=True) as part:
            try:
                unpack(raw, _Tree(archive, part, raw, progress))
            except (*_DAMAGE, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DatasetError(
                    f"Archive {archive} is cut short or damaged ({type(error).__name__}: {error}). Nothing was "
                    "unpacked: delete the archive and fetch it again."
                ) from error


class _ArchiveFile(io.FileIO):
    """Tells failures of the disk that is read from those of the disk that is written."""

    def readinto(self, buffer: Any, /) -> int:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise DatasetError(
                f"Archive {self.name} cannot be read ({error.strerror}): check its disk, or fetch it again elsewhere."
            ) from error


def _unpacker(archive: Path, head: bytes) -> Callable[[IO[bytes], _Tree], None]:
    """Function that unpacks this kind of archive."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _unpack_zip
    if head.startswith(tuple(_PACKED)) or head == bytes(_BLOCK):
        return _unpack_tar
    with suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return _unpack_tar
    seen = f"begins with {head[:8]!r}" if head else "is empty"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        seen = "is a web page (an error or login page, perhaps)"
    raise DatasetError(
        f"{archive} {seen}: expected a tar (plain, gzip, bzip2 or xz) or a zip. Delete it and get the archive itself."
    )


class _Tree:
    """The folder that is being filled: decides on every name, and counts every member and byte."""

    def __init__(self, archive: Path, root: Path, raw: IO[bytes], progress: _Progress | None) -> None:
        self._archive, self._root, self._raw, self._progress = archive, root.resolve(), raw, progress
        self._folders, self._members = {self._root}, 0
        self._size, self._spent = archive.stat().st_size, 0

    def add_folder(self, member: str) -> None:
        self._make(member, self._root.joinpath(*self._names_in(member)))

    def add_file(self, member: str, size: int, pieces: Iterator[bytes]) -> None:
        """Write a file whose header claims `size` bytes; the pieces are never more than that, but may be fewer."""
        target, written = self._root.joinpath(*self._names_in(member)), 0
        if not 0 <= size <= MAX_BYTES:
            raise self.refusal(f"claims {size:,} bytes, allowed are 0 to {MAX_BYTES:,}", member)
        if target == self._root:
            raise self.refusal("has no name", member)
        self._make(member, target.parent)
        self._count()
        try:
            # "x" creates the file or fails: nothing that is already there can be written to, or through.
            with open(target, "xb", opener=partial(os.open, mode=0o644)) as file:
                for piece in pieces:
                    written += file.write(piece)
                    if self._progress is not None:
                        self._progress(min(self._raw.tell(), self._size), self._size)
        except FileExistsError as error:
            raise self._clash(member) from error
        if written != size:
            raise self.refusal(f"claims {size:,} bytes but has only {written:,}", member)

    def spend(self, count: int) -> None:
        """Count unpacked bytes against the caps as they come, whatever the headers promised."""
        self._spent += count
        if self._spent > (most := min(MAX_BYTES, FREE_BYTES + MAX_RATIO * self._size)):
            raise self.refusal(f"it holds more than {most:,} bytes, the most for one of {self._size:,}")

    def refusal(self, why: str, member: str | None = None) -> DatasetError:
        if member is not None:
            why = f"its member {member if len(member) <= 100 else f'{member[:80]}...{member[-17:]}'!r} {why}"
        return DatasetError(
            f"Archive {self._archive} was not unpacked, because {why}. Get the archive again from its publisher and "
            "compare the hash; do not unpack it by other means."
        )

    def _names_in(self, member: str) -> list[str]:
        """Names that lead from the root to `member`, or an error that says what is wrong with them."""
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
        raise self.refusal(why, member)

    def _make(self, member: str, folder: Path) -> None:
        """Make a folder and those above it, as far as they are new."""
        if folder in self._folders:
            return
        self._make(member, folder.parent)
        self._count()
        try:
            folder.mkdir(mode=0o755)
        except FileExistsError as error:
            raise self._clash(member) from error
        # No link can lie below the root, since none is ever made; this would catch one that another process made.
        if not folder.resolve().is_relative_to(self._root):
            raise self.refusal("leads out of the folder that it is unpacked into", member)
        self._folders.add(folder)

    def _count(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise self.refusal(f"it holds more than {MAX_MEMBERS:,} files and folders")

    def _clash(self, member: str) -> DatasetError:
        return self.refusal("is there already, as a file, a folder or in another spelling", member)


class _Stream:
    """Unpacked bytes, read forwards only and counted."""

    def __init__(self, file: Any, tree: _Tree) -> None:
        self._file, self._tree = file, tree

    def some(self, count: int) -> bytes:
        data: bytes = self._file.read(count)
        self._tree.spend(len(data))
        return data

    def exactly(self, count: int) -> bytes:
        if len(data := self.some(count)) != count:
            raise EOFError("the end is missing")
        return data

    def rest(self) -> Iterator[bytes]:
        return iter(partial(self.some, _CHUNK), b"")

    def tar_member(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, and then past what fills the last block."""
        for start in range(0, size, _CHUNK):
            yield self.exactly(min(_CHUNK, size - start))
        self.exactly(-size % _BLOCK)


# The members of a tar are walked here, because tarfile reads extension headers of any size into memory, spends hours
# on some (CVE-2024-6232 in Python 3.11.9), loops at negative sizes, and takes a damaged header for the end of the
# archive. It still decodes each header.


def _unpack_tar(raw: IO[bytes], tree: _Tree) -> None:
    magic = raw.read(6)
    raw.seek(0)
    stream = _Stream(next((unpack(raw) for start, unpack in _PACKED.items() if magic.startswith(start)), raw), tree)
    fields: dict[str, str] = {}
    while (block := stream.exactly(_BLOCK)) != bytes(_BLOCK):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            fields |= _extension(header, stream, tree)
        else:
            _tar_member(header, fields, stream, tree)
            fields = {}
    if fields:
        raise tarfile.HeaderError("a header for a member that does not come")
    for _ in stream.rest():
        pass  # only at the very end, behind the padding, is the checksum of gzip, bzip2 and xz compared


def _tar_member(header: tarfile.TarInfo, fields: dict[str, str], stream: _Stream, tree: _Tree) -> None:
    name = fields.get("path", header.name)
    size = int(fields["size"]) if "size" in fields else header.size
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in fields):
        raise tree.refusal("is a sparse file, expected a plain file or a folder", name)
    if header.type == tarfile.DIRTYPE and not size:
        tree.add_folder(name)
    elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not name.endswith("/"):
        tree.add_file(name, size, stream.tar_member(size))
    else:
        kind = _KINDS.get(header.type, f"of type {header.type!r} with {size:,} bytes of its own")
        raise tree.refusal(f"is {kind}, expected a plain file or a folder", name)


def _extension(header: tarfile.TarInfo, stream: _Stream, tree: _Tree) -> dict[str, str]:
    """Fields that an extension header holds for the member after it."""
    if not 0 <= header.size <= _EXTENSION_BYTES:
        raise tree.refusal(f"is a header of {header.size:,} bytes, allowed are {_EXTENSION_BYTES:,}", header.name)
    data = b"".join(stream.tar_member(header.size))
    if header.type == _LONG_LINK:
        return {}  # it belongs to a link, which is refused when it comes
    if header.type == _LONG_NAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    fields, start = {}, 0
    while start < len(data):  # lines of the form "length key=value", in which the length counts the whole line
        digits = data[start : start + 8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, _, value = data[start + len(digits) + 1 : start + length].partition(b"=")
        if length > len(data) - start or not value.endswith(b"\n"):
            raise tarfile.HeaderError("a pax header that is not well formed")
        fields[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        start += length
    if header.type == _PAX_GLOBAL and {"path", "size"} & fields.keys():
        raise tree.refusal("sets the path or size of all members at once", header.name)
    return fields if header.type == _PAX else {}


def _unpack_zip(raw: IO[bytes], tree: _Tree) -> None:
    with zipfile.ZipFile(raw) as book:
        entries = book.infolist()
        ordered = sorted(entries, key=lambda entry: entry.header_offset)
        for entry, after in itertools.pairwise(
            ordered
        ):  # bombs that expand a million times lay entries over each other
            if entry.header_offset + 30 + entry.compress_size > after.header_offset:  # 30: the least a header has
                raise tree.refusal(f"lies over the bytes of {entry.orig_filename!r}", after.orig_filename)
        for entry in entries:
            # zipfile cuts `filename` at a null character and may change its slashes; this is what the archive says.
            name = entry.orig_filename
            _check_entry(entry, name.endswith("/"), tree)
            if name.endswith("/"):
                tree.add_folder(name)
            else:
                with book.open(entry) as file:
                    tree.add_file(name, entry.file_size, _Stream(file, tree).rest())


def _check_entry(entry: zipfile.ZipInfo, is_folder: bool, tree: _Tree) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & 0x2041:  # bits 0, 6 and 13: encrypted, strongly encrypted, header masked
        why = "is encrypted, expected a plain file"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR if is_folder else 0):
        why = f"is no plain file or folder (its mode is {kind:#o}, as of a link or device)"
    elif is_folder and entry.file_size:
        why = f"is a folder with {entry.file_size:,} bytes of its own"
    # Only these two are unpacked in bounded memory by zipfile; the others turn 4 KiB into gigabytes at once.
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        why = f"is compressed by method {entry.compress_type}, expected 0 (stored) or 8 (deflated)"
    else:
        return
    raise tree.refusal(why, entry.orig_filename)
