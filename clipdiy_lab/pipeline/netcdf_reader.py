"""Read one NetCDF file that nobody vouches for, in a process that can do nothing else.

`netcdf.read_netcdf` runs this file as a script, with the NetCDF file as standard input, and takes the arrays from
standard output. Bytes made for it can keep the HDF5 library busy for ever, let it take all memory, or end its process;
HDF5 files may also name other files and plugins. So this process gives itself little memory and time, and opens no file
after it has begun; what would need one is refused beforehand, with the reason.

The answer is a number of frames, each a length of eight bytes and the bytes: first a JSON text that says which groups,
attributes and arrays there are, then the arrays in that order. The length `FAILED` announces a frame with a reason.
It imports nothing of the lab, so that it starts in half a second.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
import sys
from typing import IO, Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5ds, h5g, h5i, h5l, h5o, h5s, h5t, h5z

if sys.platform != "win32":
    import resource

FAILED = 2**64 - 1
_OF_HDF5 = 2**28  # bytes beside the arrays: the library's own caches, and texts
_FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
_LAYOUTS = {h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED}
_NUMBERS = {h5t.INTEGER, h5t.FLOAT}
_OF_NETCDF = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")
_HIDDEN = {*_OF_NETCDF, "_nc3_strict", "_NCProperties"}
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
_AT_ONCE = 1024  # texts; many may point at one long one
_ATTRIBUTE_VALUES = 4096


class RefusedError(Exception):
    """What the file holds that no file of the lab holds."""


class Survey:
    """What a file holds: looked at whole before any array is read.

    Parameters
    ----------
    limits : dict
        ``unpacked``: bytes of arrays; ``texts``: bytes of texts; ``objects``; ``depth``.

    Attributes
    ----------
    groups : list of dict
        Path, attributes and variables of every group, as JSON can hold them.
    arrays : list of (DatasetID, dtype)
        Arrays of numbers, in the order of the groups' variables.
    """

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.groups: list[dict[str, Any]] = []
        self.arrays: list[tuple[h5d.DatasetID, np.dtype[Any]]] = []
        self._bytes = self._texts = 0
        self._seen: set[Any] = set()

    def walk(self, group: h5g.GroupID, path: str = "/", depth: int = 0) -> None:
        """Look at a group and what it holds."""
        self._enter(group, path, depth)
        variables: list[dict[str, Any]] = []
        self.groups.append({"path": path, "attrs": self._attributes(group, path), "variables": variables})
        inner = []
        for name in group:
            place = f"{path.rstrip('/')}/{name.decode()}"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise RefusedError(f"{place!r} is a link to another file")
            item = h5o.open(group, name)
            if isinstance(item, h5g.GroupID):
                inner.append((item, place))
            elif isinstance(item, h5d.DatasetID):
                self._enter(item, place, depth)
                variable = self._variable(item, place)
                if variable is not None:
                    variables.append(variable)
            else:
                raise RefusedError(f"{place!r} is neither a group nor an array")
        for item, place in inner:
            self.walk(item, place, depth + 1)

    def _enter(self, item: Any, place: str, depth: int) -> None:
        address = h5o.get_info(item).addr
        if address in self._seen:
            raise RefusedError(f"{place!r} is a second name for another object in the file")
        self._seen.add(address)
        if depth > self.limits["depth"]:
            raise RefusedError(f"its groups are nested more than {self.limits['depth']} levels deep")
        count = h5a.get_num_attrs(item) + (len(item) if isinstance(item, h5g.GroupID) else 0)
        if len(self._seen) + count > self.limits["objects"]:
            raise RefusedError(f"it holds more than {self.limits['objects']} groups, arrays or attributes")

    def _variable(self, item: h5d.DatasetID, place: str) -> dict[str, Any] | None:
        """Describe an array; None for a dimension without values."""
        kind, shape = item.get_type(), item.shape
        if kind.get_class() not in (*_NUMBERS, h5t.STRING) or not _is_plain(kind):
            raise RefusedError(f"{place!r} holds neither numbers nor strings")
        self._require_own(item, place)
        scale = h5ds.is_scale(item)
        if scale and len(shape) == 1 and h5a.exists(item, b"NAME"):
            name = h5py.Dataset(item).attrs["NAME"]
            if isinstance(name, bytes) and name.startswith(_NO_VARIABLE):
                return None
        dims = [place.rpartition("/")[2]] if scale and len(shape) == 1 else _dims(item, place)
        self._declare(math.prod(shape) * max(kind.get_size(), 8 if kind.get_class() == h5t.STRING else 1), place)
        variable = {
            "name": place.rpartition("/")[2],
            "dims": dims,
            "shape": shape,
            "attrs": self._attributes(item, place),
        }
        if kind.get_class() == h5t.STRING:
            return {**variable, "texts": self._read_texts(item, place)}
        dtype = item.dtype.newbyteorder("=")
        self.arrays.append((item, dtype))
        return {**variable, "dtype": dtype.str}

    def _require_own(self, item: h5d.DatasetID, place: str) -> None:
        """Refuse values that lie in another file, or that need a plugin or more memory than the array."""
        plan = item.get_create_plist()
        if plan.get_external_count():
            raise RefusedError(f"the values of {place!r} are stored in another file")
        if plan.get_layout() not in _LAYOUTS:
            raise RefusedError(f"the values of {place!r} are a view of other arrays or files")
        filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
        if not _FILTERS.issuperset(filters) or len(set(filters)) < len(filters):
            raise RefusedError(f"{place!r} is compressed with other filters than deflate and shuffle ({filters})")
        if plan.get_layout() == h5d.CHUNKED:
            self._declare(0, place, math.prod(plan.get_chunk()) * item.get_type().get_size())

    def _declare(self, size: int, place: str, also: int = 0) -> None:
        self._bytes += size
        limit = self.limits["unpacked"]
        if self._bytes + also > limit:
            raise RefusedError(f"with {place!r} it unpacks to more than {limit:,} bytes, far more than its own size")

    def _count(self, texts: Any, place: str) -> None:
        self._texts += sum(len(str(text)) + 8 for text in texts)
        if self._texts > self.limits["texts"]:
            raise RefusedError(f"with {place!r} its texts have more than {self.limits['texts']:,} characters")

    def _read_texts(self, item: h5d.DatasetID, place: str) -> list[str]:
        data, texts = h5py.Dataset(item), []
        if not data.shape:
            return self._counted([_text(data[()])], place)
        if math.prod(data.shape[1:]) > _AT_ONCE:
            raise RefusedError(f"{place!r} is a table of strings; expected a list")
        step = _AT_ONCE // max(1, math.prod(data.shape[1:]))
        for start in range(0, data.shape[0], step):
            texts += self._counted([_text(value) for value in data[start : start + step].ravel()], place)
        return texts

    def _counted(self, texts: list[str], place: str) -> list[str]:
        self._count(texts, place)
        return texts

    def _attributes(self, item: Any, place: str) -> dict[str, list[Any]]:
        """Attributes by name, each as its type and its value."""
        attrs = h5py.AttributeManager(h5py.Dataset(item) if isinstance(item, h5d.DatasetID) else h5py.Group(item))
        attributes = {}
        for name in attrs:
            if name in _HIDDEN:
                continue
            stored = attrs.get_id(name)
            kind, where = stored.get_type(), f"{place}@{name}"
            if kind.get_class() not in (*_NUMBERS, h5t.STRING) or not _is_plain(kind):
                raise RefusedError(f"the attribute {where!r} is neither a number nor a string")
            if math.prod(stored.shape or ()) > _ATTRIBUTE_VALUES or stored.get_storage_size() > self.limits["texts"]:
                raise RefusedError(f"the attribute {where!r} is too large")
            attributes[_text(name)] = _plain(attrs[name])
            self._count([name, *attributes[name][1:]], where)
        return attributes


def _is_plain(kind: h5t.TypeID) -> bool:
    """Whether numpy has the numbers of this type: some of HDF5 are of any width."""
    return kind.get_class() == h5t.STRING or kind.get_size() in (1, 2, 4, 8)


def _dims(item: h5d.DatasetID, place: str) -> list[str]:
    """Names of an array's dimensions."""
    names = []
    if item.rank and not _lists_references(item):
        raise RefusedError(f"the dimensions of {place!r} have no names")
    for axis in range(item.rank):
        if h5ds.get_num_scales(item, axis) != 1:
            raise RefusedError(f"a dimension of {place!r} has no name, or several")
        scales: list[h5d.DatasetID] = []
        h5ds.iterate(item, axis, scales.append, 0)
        names.append(h5i.get_name(scales[0]).decode().rpartition("/")[2])
    return names


def _lists_references(item: h5d.DatasetID) -> bool:
    """Whether what names the dimensions is of the form that HDF5 relies on."""
    if not h5a.exists(item, b"DIMENSION_LIST"):
        return False
    stored = h5a.open(item, b"DIMENSION_LIST")
    kind = stored.get_type()
    return (
        kind.get_class() == h5t.VLEN
        and kind.get_super().equal(h5t.STD_REF_OBJ)
        and tuple(stored.shape or ()) == (item.rank,)
    )


def _text(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    text.encode()  # h5py smuggles in what is no UTF-8
    return text


def _plain(value: Any) -> list[Any]:
    """Return type and value of an attribute, as JSON can hold them; an array of one number is a number."""
    if isinstance(value, h5py.Empty):
        return ["text", ""]
    array = np.asarray(value)
    if array.dtype.kind in "SOU":
        texts = [_text(element) for element in array.ravel()]
        return ["text", texts[0] if array.size == 1 else texts]
    return [array.dtype.newbyteorder("=").str, array.item() if array.size == 1 else array.tolist()]


def confine(memory: int, seconds: int) -> None:
    """Take from this process what it does not need: memory, time, and every other file."""
    if sys.platform == "win32":
        return
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 3}
    # Where the system does not say how much a process has already, it does not keep to a limit either.
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        limits[resource.RLIMIT_AS] = int(file.read().split()[0]) * resource.getpagesize() + memory
    for name, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(name, (limit, limit))


def send(out: IO[bytes], content: Any) -> None:
    """Send one frame."""
    view = memoryview(content)
    out.write(struct.pack("<Q", view.nbytes))
    out.write(view.cast("B") if view.nbytes else b"")


def answer(file: IO[bytes], out: IO[bytes], limits: dict[str, int]) -> None:
    """Read a file and send what it holds."""
    with h5py.File(file, "r") as opened:
        survey = Survey(limits)
        survey.walk(opened.id if isinstance(opened.id, h5g.GroupID) else h5g.open(opened.id, b"/"))
        send(out, json.dumps(survey.groups).encode())
        for item, dtype in survey.arrays:
            values = np.empty(item.shape, dtype)
            item.read(h5s.ALL, h5s.ALL, values)
            send(out, values)


def main() -> None:
    """Answer on standard output; whatever goes wrong is an answer too."""
    limits = json.loads(sys.argv[1])
    confine(limits["unpacked"] + _OF_HDF5, limits["seconds"])
    out = sys.stdout.buffer
    try:
        answer(sys.stdin.buffer, out, limits)
    except RefusedError as error:
        reason = str(error)
    except MemoryError:
        reason = f"it needs more memory than the {limits['unpacked']:,} bytes that a file of its size may"
    except Exception as error:  # HDF5 and h5py raise whatever the bytes make them stumble over
        reason = f"{type(error).__name__}: {error}"
    else:
        return
    out.write(struct.pack("<Q", FAILED))
    send(out, reason[:1000].encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
