"""Archives unpacked without trust: regular files and folders only, inside the target, whole or not at all.

The standard library's `extractall` is never used. Its filters have been bypassed more than once, Python 3.11 may not
have them at all, and they cap nothing. Every path is computed here, every file is created anew, every byte is counted.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import atomic_path

Progress = Callable[[int, int], None]
_Readable = IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
# What the system takes at most: bytes of a name, and a path that still leaves room for the folder it goes to.
_NAME_BYTES, _PATH_BYTES, _DEPTH = 255, 2048, 32
# A tiny archive of text legitimately grows by more than any sensible ratio: tar alone pads to 10 KiB.
_FREE_BYTES, _EXTENSION_BYTES = 16 << 20, 1 << 20
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe"}
_PACKED: dict[bytes, Callable[[IO[bytes]], _Readable]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
# What the standard library raises at damaged bytes; an OSError without a number is of the same kind.
_DAMAGE = (
    *(EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, struct.error),
    *(ValueError, OverflowError, RuntimeError),  # nonsense in headers, such as an offset below zero
)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most; the defaults leave room for the largest benchmark (COCO train, 19 GB).

    Attributes
    ----------
    members : int
        Files and folders, those included that are only implied by the path of a file.
    file_bytes : int
        Bytes of one file.
    total_bytes : int
        Bytes of everything that is unpacked, the headers and the padding of a tar included.
    ratio : float
        Unpacked bytes for each byte of the archive, beyond the first 16 MiB. Images hardly shrink, and text by ten.
    """

    members: int = 1_000_000
    file_bytes: int = 16 << 30
    total_bytes: int = 128 << 30
    ratio: float = 200.0


def extract(
    archive: Path,
    folder: Path,
    *,
    limits: Limits | None = None,
    expected_root: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Unpack a tar (plain, gzip, bzip2 or xz) or zip (stored or deflated) archive into a new folder.

    Parameters
    ----------
    archive : Path
        The kind is told from the first bytes; the suffix does not matter.
    folder : Path
        Where the content goes. It must not exist yet, or be empty; its parent must exist.
    limits : Limits or None
        What the archive may hold at most; None stands for ``Limits()``.
    expected_root : str or None
        Folder that the archive must hold, such as ``"VOCdevkit/VOC2012"``.
    progress : callable or None
        Called with the bytes of the archive that have been read, and with its size.

    Returns
    -------
    Path
        `folder`, or `folder` / `expected_root`.

    Raises
    ------
    DatasetError
        If the archive is missing, of another kind, cut short or damaged, beyond the limits, lacks `expected_root`, or
        has a member that is encrypted, is no plain file or folder, or has a name that is absolute, climbs out, is not
        UTF-8, is too long, has a backslash or control character, or is that of another member (also where only case
        or Unicode form differ, because some disks cannot tell these apart).
    OutputError
        If `folder` is taken, or cannot be written.

    Notes
    -----
    The content appears under `folder` in one step, once all of it is unpacked; after any error, or an interrupt,
    nothing is there. Owners, permissions and times of the members are ignored: files get 0644, folders 0755.
    A tar must end with its end mark (a block of zeros), without which a cut between two members cannot be seen.
    """
    archive, folder = Path(archive), Path(folder)
    unpack = _opener(archive)
    with atomic_path(folder, folder=True) as part, archive.open("rb") as raw:
        tree = _Tree(archive, part, raw, limits or Limits(), progress)
        try:
            unpack(raw, tree)
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DatasetError(
                f"Archive {archive} is cut short or damaged ({type(error).__name__}: {error}). Nothing was unpacked: "
                "delete the archive and fetch it again."
            ) from error
        if expected_root is not None:
            tree.require(expected_root)
    return folder if expected_root is None else folder / expected_root


class _Tree:
    """The folder that is being filled: decides on every name, and counts every member and byte."""

    def __init__(self, archive: Path, root: Path, raw: IO[bytes], limits: Limits, progress: Progress | None) -> None:
        self._archive, self._limits = archive, limits
        self._seen: dict[str, tuple[str, bool]] = {}  # folded path -> the path as spelt, and whether it is a folder
        self._root, self._raw, self._progress = root.resolve(), raw, progress
        self._size, self._spent = archive.stat().st_size, 0

    def add_folder(self, member: str) -> None:
        self._claim(member, _parts(self, member, may_be_root=True), folder=True)

    def add_file(self, member: str, size: int, pieces: Iterator[bytes]) -> None:
        """Write a file whose header claims `size` bytes; the pieces are never more than that, but may be fewer."""
        parts = _parts(self, member)
        if not 0 <= size <= self._limits.file_bytes:
            raise self.refusal(member, f"claims {size:,} bytes, allowed are 0 to {self._limits.file_bytes:,}")
        self._claim(member, parts, folder=False)
        got = 0
        # "x" creates the file or fails: nothing that is already there can be written to, or through.
        with open(self._root.joinpath(*parts), "xb", opener=partial(os.open, mode=0o644)) as file:
            for piece in pieces:
                got += file.write(piece)
                if self._progress is not None:
                    self._progress(min(self._raw.tell(), self._size), self._size)
        if got != size:
            raise self.refusal(member, f"claims {size:,} bytes but has only {got:,}")

    def require(self, folder: str) -> None:
        if self._seen.get(_folded(folder)) != (folder, True):
            held = ", ".join(sorted({repr(name.split("/")[0]) for name, _ in self._seen.values()})[:5])
            raise DatasetError(
                f"Archive {self._archive} holds no folder {folder!r}; at its top it has {held or 'nothing'}. "
                "It is another archive than expected, or an incomplete one: get the right one."
            )

    def spend(self, count: int) -> None:
        """Count unpacked bytes against the caps as they come, whatever the headers promised."""
        self._spent += count
        if self._spent > self._limits.total_bytes:
            raise self.too_much(f"more than {self._limits.total_bytes:,} bytes", "total_bytes")
        if self._spent > _FREE_BYTES + self._limits.ratio * self._size:
            raise self.too_much(f"more than {self._limits.ratio:g} times its own {self._size:,} bytes", "ratio")

    def refusal(self, member: str, why: str) -> DatasetError:
        shown = member if len(member) <= 100 else f"{member[:80]}...{member[-17:]}"
        return DatasetError(
            f"Archive {self._archive} was not unpacked, because its member {shown!r} {why}. "
            "Get the archive again from its publisher and compare the hash; do not unpack it by other means."
        )

    def too_much(self, what: str, limit: str) -> DatasetError:
        return DatasetError(
            f"Archive {self._archive} was not unpacked, because it holds {what}. Get the archive again from its "
            f"publisher and compare the hash; if it is meant to be so, pass Limits with a larger {limit!r}."
        )

    def _claim(self, member: str, parts: list[str], *, folder: bool) -> None:
        """Enter a path and the folders above it, and make the folders that are new."""
        for depth in range(1, len(parts) + 1):
            path, is_folder = "/".join(parts[:depth]), folder or depth < len(parts)
            known, known_as_folder = self._seen.get(_folded(path), ("", False))
            if not known:
                self._enter(member, path, is_folder)
            elif known != path:
                raise self.refusal(member, f"clashes with {known!r}: on some disks the two are the same name")
            elif known_as_folder != is_folder:
                raise self.refusal(member, f"needs {path!r} to be a file and a folder at once")
            elif not is_folder:
                raise self.refusal(member, "is there twice")

    def _enter(self, member: str, path: str, is_folder: bool) -> None:
        self._seen[_folded(path)] = (path, is_folder)
        if len(self._seen) > self._limits.members:
            raise self.too_much(f"more than {self._limits.members:,} members", "members")
        if is_folder:
            target = self._root / path
            target.mkdir(mode=0o755)
            # No link can lie below the root, since none is ever made; this would catch one that another process made.
            if not target.resolve().is_relative_to(self._root):
                raise self.refusal(member, "leads out of the folder that it is unpacked into")


def _parts(tree: _Tree, member: str, *, may_be_root: bool = False) -> list[str]:
    """Names that lead from the root to `member`, or an error that says what is wrong with them."""
    parts = [part for part in member.split("/") if part not in ("", ".")]
    if not member or not (parts or may_be_root):
        why = "has no name"
    elif member.startswith("/") or any(re.match("[A-Za-z]:", part) for part in parts):
        why = "has an absolute path"
    elif ".." in parts:
        why = "climbs out of its folder with '..'"
    elif "\\" in member:
        why = "has a backslash in its name"
    elif any(unicodedata.category(char) in ("Cc", "Cs") for char in member):
        why = "has a control character in its name, or one that is not UTF-8"
    elif len(member.encode()) > _PATH_BYTES or any(len(part.encode()) > _NAME_BYTES for part in parts):
        why = f"has too long a name (a path may have {_PATH_BYTES} bytes, each name in it {_NAME_BYTES})"
    elif len(parts) > _DEPTH:
        why = f"lies more than {_DEPTH} folders deep"
    else:
        return parts
    raise tree.refusal(member, why)


def _folded(path: str) -> str:
    """The same text for paths that a disk may confuse: those that differ only in case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _opener(archive: Path) -> Callable[[IO[bytes], _Tree], None]:
    """Function that unpacks this kind of archive."""
    if not archive.is_file():
        raise DatasetError(f"There is no archive {archive}: check the path, or fetch it first.")
    with archive.open("rb") as file:
        head = file.read(_BLOCK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _unpack_zip
    if head.startswith(tuple(_PACKED)) or head == bytes(_BLOCK):
        return _unpack_tar
    with contextlib.suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return _unpack_tar
    found = f"begins with {head[:8]!r}" if head else "is empty"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        found = "is a web page (an error or login page, perhaps)"
    raise DatasetError(
        f"{archive} {found}: expected a tar (plain, gzip, bzip2 or xz) or a zip. Delete it and get the archive itself."
    )


class _Stream:
    """Unpacked bytes, read forwards only and counted."""

    def __init__(self, file: _Readable, tree: _Tree) -> None:
        self._file, self._tree = file, tree

    def some(self, count: int) -> bytes:
        data = self._file.read(count)
        self._tree.spend(len(data))
        return data

    def exactly(self, count: int) -> bytes:
        data = self.some(count)
        if len(data) != count:
            raise EOFError("the end is missing")
        return data

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, then past what fills the last block of a tar."""
        for start in range(0, size, _CHUNK):
            yield self.exactly(min(_CHUNK, size - start))
        self.exactly(-size % _BLOCK)


# --- tar ----------------------------------------------------------------------------------------------------------
# The members are walked here, because tarfile reads extension headers of any size into memory, loops for ever at
# negative sizes, and takes a damaged header for the end of the archive. It still decodes each header.


def _unpack_tar(raw: IO[bytes], tree: _Tree) -> None:
    magic = raw.read(6)
    raw.seek(0)
    stream = _Stream(next((unpack(raw) for start, unpack in _PACKED.items() if magic.startswith(start)), raw), tree)
    extension: dict[str, str] = {}
    while (block := stream.exactly(_BLOCK)) != bytes(_BLOCK):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            extension |= _extension(header, stream, tree)
            continue
        _tar_member(header, extension, stream, tree)
        extension = {}
    if extension:
        raise tarfile.HeaderError("a header for a member that does not come")
    for _ in iter(partial(stream.some, _CHUNK), b""):
        pass  # only at the very end, behind the padding, is the checksum of gzip, bzip2 and xz compared


def _tar_member(header: tarfile.TarInfo, extension: dict[str, str], stream: _Stream, tree: _Tree) -> None:
    name = extension.get("path", header.name)
    size = int(extension["size"]) if "size" in extension else header.size
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in extension):
        raise tree.refusal(name, "is a sparse file, expected a plain file or a folder")
    if header.type == tarfile.DIRTYPE:
        if size:
            raise tree.refusal(name, f"is a folder with {size:,} bytes of its own")
        tree.add_folder(name)
    elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not name.endswith("/"):
        tree.add_file(name, size, stream.pieces(size))
    else:
        kind = _KINDS.get(header.type, f"of type {header.type!r}")
        raise tree.refusal(name, f"is {kind}, expected a plain file or a folder")


def _extension(header: tarfile.TarInfo, stream: _Stream, tree: _Tree) -> dict[str, str]:
    """Fields that an extension header holds for the member after it."""
    if not 0 <= header.size <= _EXTENSION_BYTES:
        raise tree.refusal(header.name, f"is a header of {header.size:,} bytes, allowed are {_EXTENSION_BYTES:,}")
    data = b"".join(stream.pieces(header.size))
    if header.type == _LONG_LINK:
        return {}  # it belongs to a link, which is refused when it comes
    if header.type == _LONG_NAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    fields = _pax_fields(data)
    if header.type == _PAX:
        return fields
    if meant_for_all := {"path", "size"} & fields.keys():
        raise tree.refusal(header.name, f"sets {sorted(meant_for_all)} of all members at once")
    return {}


def _pax_fields(data: bytes) -> dict[str, str]:
    """Fields of a pax header: lines of the form ``length key=value``, in which the length counts the whole line."""
    fields, start = {}, 0
    while start < len(data):
        digits = data[start : start + 8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        line = data[start + len(digits) + 1 : start + length]
        key, equals, value = line.removesuffix(b"\n").partition(b"=")
        if length > len(data) - start or not line.endswith(b"\n") or not equals:
            raise tarfile.HeaderError("a pax header that is not well formed")
        fields[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        start += length
    return fields


# --- zip ----------------------------------------------------------------------------------------------------------


def _unpack_zip(raw: IO[bytes], tree: _Tree) -> None:
    with zipfile.ZipFile(raw) as book:
        entries = book.infolist()
        ordered = sorted(entries, key=lambda entry: entry.header_offset)
        for one, other in itertools.pairwise(ordered):  # bombs that expand a million times lay entries over each other
            if one.header_offset + 30 + one.compress_size > other.header_offset:  # 30: the least a local header has
                raise tree.refusal(other.orig_filename, f"lies over the bytes of {one.orig_filename!r}")
        for entry in entries:
            # zipfile cuts `filename` at a null character and may change its slashes; this is what the archive says.
            name = entry.orig_filename
            _refuse_odd_entry(entry, tree)
            if name.endswith("/"):
                tree.add_folder(name)
            else:
                with book.open(entry) as file:
                    tree.add_file(name, entry.file_size, iter(partial(_Stream(file, tree).some, _CHUNK), b""))


def _refuse_odd_entry(entry: zipfile.ZipInfo, tree: _Tree) -> None:
    name = entry.orig_filename
    kind, is_folder = stat.S_IFMT(entry.external_attr >> 16), name.endswith("/")
    if entry.flag_bits & 0x2041:  # bits 0, 6 and 13: encrypted, strongly encrypted, header masked
        raise tree.refusal(name, "is encrypted, expected a plain file")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR if is_folder else 0):
        raise tree.refusal(name, f"is no plain file or folder (its mode is {kind:#o}, as of a link or device)")
    if is_folder and entry.file_size:
        raise tree.refusal(name, f"is a folder with {entry.file_size:,} bytes of its own")
    # Only these two are unpacked in bounded memory by zipfile; the others turn 4 KiB into gigabytes at once.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise tree.refusal(name, f"is compressed by method {entry.compress_type}, expected 0 (stored) or 8 (deflated)")
