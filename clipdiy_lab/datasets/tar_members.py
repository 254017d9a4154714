"""The members of a tar, read forwards without trust in its headers.

They are walked here, and not by `tarfile`, which reads extension headers of any size into memory, spends hours on some
(CVE-2024-6232 in Python up to 3.11.9), loops at negative sizes, and takes a damaged header for the end of the archive.
It still decodes each header.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, Final

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
PACKED: Final[dict[bytes, Callable[[Any], Any]]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_EXTENSION_BYTES = 1 << 20
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_KINDS: Final = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe"}

Member = tuple[str, int | None, Iterator[bytes]]
"""Name, bytes that its header claims (None for a folder), and what comes, which is never more but may be less."""


class RefusedError(Exception):
    """An archive that is not unpacked because of what it holds: `why`, said of a member where one is given."""

    def __init__(self, why: str, member: str | None = None) -> None:
        if member is not None:
            why = f"its member {member if len(member) <= 100 else f'{member[:80]}...{member[-17:]}'!r} {why}"
        super().__init__(why)


class Counted:
    """Unpacked bytes, read forwards only; `spend` hears of each read how many bytes it gave, and may refuse."""

    def __init__(self, file: Any, spend: Callable[[int], None]) -> None:
        self._file, self._spend = file, spend

    def read(self, count: int) -> bytes:
        """Return at most the next `count` bytes."""
        data: bytes = self._file.read(count)
        self._spend(len(data))
        return data

    def exactly(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer are an error."""
        if len(data := self.read(count)) != count:
            raise EOFError("the end is missing")
        return data

    def rest(self) -> Iterator[bytes]:
        """Give all that is left."""
        return iter(partial(self.read, CHUNK), b"")

    def padded(self, size: int) -> Iterator[bytes]:
        """Give the next `size` bytes, and go past what fills their last block."""
        for start in range(0, size, CHUNK):
            yield self.exactly(min(CHUNK, size - start))
        self.exactly(-size % BLOCK)


def tar_members(raw: IO[bytes], spend: Callable[[int], None]) -> Iterator[Member]:
    """Give the files and folders of a tar; each file is to be read before the next member is asked for.

    Raises
    ------
    RefusedError
        At the first member that is neither a plain file nor a folder, or has a header that makes no sense.
    EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError, OSError
        If the archive is damaged.
    """
    magic = raw.read(6)
    raw.seek(0)
    stream = Counted(next((unpack(raw) for start, unpack in PACKED.items() if magic.startswith(start)), raw), spend)
    fields: dict[str, str] = {}
    while (block := stream.exactly(BLOCK)) != bytes(BLOCK):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            fields |= _extension(header, stream)
        else:
            yield _member(header, fields, stream)
            fields = {}
    if fields:
        raise tarfile.HeaderError("a header without its member")
    for _ in stream.rest():
        pass  # only at the very end, behind the padding, is the checksum of gzip, bzip2 and xz compared


def _member(header: tarfile.TarInfo, fields: dict[str, str], stream: Counted) -> Member:
    name = fields.get("path", header.name)
    size = int(fields["size"]) if "size" in fields else header.size
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in fields):
        raise RefusedError("is a sparse file, expected a plain file or a folder", name)
    if header.type == tarfile.DIRTYPE and not size:
        return name, None, iter(())
    if header.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not name.endswith("/"):
        return name, size, stream.padded(size)
    kind = _KINDS.get(header.type, f"of type {header.type!r} with {size:,} bytes of its own")
    raise RefusedError(f"is {kind}, expected a plain file or a folder", name)


def _extension(header: tarfile.TarInfo, stream: Counted) -> dict[str, str]:
    """Fields that an extension header holds for the member after it."""
    if not 0 <= header.size <= _EXTENSION_BYTES:
        raise RefusedError(f"is a header of {header.size:,} bytes, allowed are up to {_EXTENSION_BYTES:,}", header.name)
    data = b"".join(stream.padded(header.size))
    if header.type == _LONG_LINK:
        return {}  # it belongs to a link, which is refused when it comes
    if header.type == _LONG_NAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    fields = _pax_fields(data)
    if header.type == _PAX_GLOBAL and {"path", "size"} & fields.keys():
        raise RefusedError("sets the path or size of all members at once", header.name)
    return fields if header.type == _PAX else {}


def _pax_fields(data: bytes) -> dict[str, str]:
    """Fields of a pax header: lines of the form ``length key=value``, in which the length counts the whole line."""
    fields, start = {}, 0
    while start < len(data):
        digits = data[start : start + 8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, _, value = data[start + len(digits) + 1 : start + length].partition(b"=")
        if length > len(data) - start or not value.endswith(b"\n"):
            raise tarfile.HeaderError("a malformed pax header")
        fields[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        start += length
    return fields
