"""How much a file that nobody vouches for may ask for, and the error that says that it asks for something else.

Opening a file takes at most `unpacked_limit` of arrays, and that much again while they are put together.
"""

from __future__ import annotations

from collections.abc import Iterable

FREE = 2**30
"""Bytes of arrays that every file may unpack to, however small it is."""
TIMES = 8
"""Times its own size that a larger file may unpack to."""
TEXTS = 2**26
"""Bytes of all texts, attributes and metadata of a file together."""
OBJECTS = 4096
"""Groups and arrays of a file, and attributes of one of them."""
DEPTH = 8
"""Groups within groups."""

_PACKED = {"scale_factor", "add_offset", "missing_value", "_Unsigned"}


class UnreadableError(ValueError):
    """A file that is damaged, or that asks for more than a file may."""


def unpacked_limit(on_disk: int) -> int:
    """Bytes of arrays that a file of `on_disk` bytes may unpack to."""
    return max(FREE, TIMES * on_disk)


def require_plain(name: str, attributes: Iterable[str], floats: bool) -> None:
    """Refuse an array whose values are not what is stored: reading it would make another, larger array.

    Parameters
    ----------
    name : str
    attributes : iterable of str
        Names of its attributes.
    floats : bool
        Whether it holds floating point numbers, for which xarray names what stands for a missing one.

    Raises
    ------
    UnreadableError
    """
    packed = (_PACKED if floats else _PACKED | {"_FillValue"}).intersection(attributes)
    if packed:
        raise UnreadableError(f"{name!r} is packed ({', '.join(sorted(packed))}); plain values are expected")
