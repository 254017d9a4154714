"""One colour for a label, decided by its name: the same in every picture, figure and report, in whatever order.

The table was made once by `tools/label_palette.py`: Okabe and Ito's seven colours, then always the colour that lies
farthest from all before it, as seen by normal, protanopic and deuteranopic eyes alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]

BACKGROUND: Final = (90, 90, 98)
"""The background's grey, far enough from white and from black paper."""

_OUTLINE: Final = 0.45
"""Share of a label's light that its outline keeps."""

CHANGED: Final = np.array([[236, 236, 240], [213, 94, 0]], dtype=np.uint8)
"""Of a map that says where something differs: where it does not, and where it does."""

_TABLE: Final = (
    *("e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7", "0000ff", "00ffe1", "8778ff", "b4000f"),
    *("96c396", "c31e96", "691ec3", "a5d2ff", "ffd2a5", "ff4b69", "e10fd2", "871e87", "ff78d2", "b4d25a", "2d5aff"),
    *("00692d", "f0b4c3", "00962d", "78c35a", "b40f5a", "5a78d2", "7896ff", "a5a596", "a55a5a", "3c6987", "00a5b4"),
    *("0f3ce1", "5af087", "e196ff", "b46996", "a53c78", "693ca5", "b4784b", "a54bb4", "78f0ff", "c3963c", "f0a578"),
    *("4bb4c3", "c37878", "5aff69", "d2c3e1", "8778b4", "c32d00", "a5f0c3", "c378d2", "873cc3", "4bd2b4", "d2c300"),
    *("a53c3c", "4b69e1", "966978", "3cc3e1", "ffa5a5", "e1d22d", "d29678", "c35af0", "c300f0"),
)

# The names met most often have a place of their own in the most distinct part of the table: VOC's, in an order that
# gives the commonest companions Okabe and Ito's colours.
_PLACES: Final = {
    name: place
    for place, name in enumerate(
        (
            *("cat", "sofa", "dog", "person", "car", "tvmonitor", "sheep", "horse", "bicycle", "aeroplane", "bus"),
            *("train", "cow", "boat", "bird", "bottle", "chair", "motorbike", "diningtable", "pottedplant"),
        )
    )
}
_SYNONYMS: Final = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor"}


def label_colors(names: Sequence[str], background: int | None = None) -> Rgb:
    """Return the colour of every label of one figure.

    A name has a preferred colour, whatever stands beside it and in whatever order. Only where two names of one figure
    prefer the same, the later in the alphabet takes another one. The names of PASCAL VOC, in its spelling or COCO's,
    give way to no other thing. Beyond 64 labels the same colours come again, darker, then lighter, then darker still:
    a thousand labels differ, though not so that an eye tells all of them apart.

    Parameters
    ----------
    names : sequence of str
        Labels.
    background : int or None
        Index of the background label. A label called ``background`` is one without being told.

    Returns
    -------
    uint8 array, labels x 3

    Examples
    --------
    >>> label_colors(["dog", "cat"])[1].tolist() == label_colors(["cat", "background"])[0].tolist()
    True
    """
    colors: dict[int, tuple[int, ...]] = {
        index: BACKGROUND for index, name in enumerate(names) if index == background or name.lower() == "background"
    }
    taken: set[int] = set()
    rest = [index for index in range(len(names)) if index not in colors]
    for number, index in enumerate(sorted(rest, key=lambda i: (_key(names[i]) not in _PLACES, names[i]))):
        turn = number // len(_TABLE)
        if number % len(_TABLE) == 0:
            taken.clear()
        place = _free_place(_preferred(names[index]), taken)
        taken.add(place)
        colors[index] = _shaded(_TABLE[place], turn)
    return np.array([colors[index] for index in range(len(names))], dtype=np.uint8).reshape(-1, 3)


def outlines(colors: Rgb) -> Rgb:
    """Return the colour of the outline of each label, labels x 3: its own, so dark that it is seen on any picture."""
    made: Rgb = (colors * _OUTLINE).round().astype(np.uint8)
    return made


def css(color: npt.ArrayLike) -> str:
    """Spell a colour as HTML does.

    Examples
    --------
    >>> css((0, 114, 178))
    '#0072b2'
    """
    return "#" + np.asarray(color, dtype=np.uint8).tobytes().hex()


def label_css(names: Sequence[str], background: int | None = None) -> dict[str, str]:
    """Return name to HTML colour, by the rule of `label_colors`."""
    return {name: css(color) for name, color in zip(names, label_colors(names, background), strict=True)}


def _key(name: str) -> str:
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return _SYNONYMS.get(plain, plain)


def _preferred(name: str) -> int:
    key = _key(name)
    if key in _PLACES:
        return _PLACES[key]
    return len(_PLACES) + zlib.crc32(key.encode()) % (len(_TABLE) - len(_PLACES))


def _free_place(wanted: int, taken: set[int]) -> int:
    """Return the wanted place, or the next that is free."""
    return next(place for step in range(len(_TABLE)) if (place := (wanted + step) % len(_TABLE)) not in taken)


def _shaded(color: str, turn: int) -> tuple[int, ...]:
    """Return a colour of the table as its turn shows it: odd turns nearer to black, even ones to white, ever nearer."""
    step = (turn + 1) // 2
    share, end = step / (step + 4), 0 if turn % 2 else 255
    return tuple(round(part + (end - part) * share) for part in bytes.fromhex(color))
