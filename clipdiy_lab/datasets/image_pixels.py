"""Decoded images of any mode as upright RGB, strip by strip, so that no second copy of a large image is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from clipdiy_lab.errors import ImageError

_STRIP: Final = 2**20  # pixels that are converted at once
_GRAY_16: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_PLAIN: Final = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})

# Stored row and column to upright ones: (swap axes, flip rows, flip columns), in that order.
TURNS: Final = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""What each EXIF orientation asks for."""


def to_rgb(
    image: Image.Image, layout: str, orientation: int, name: str, notes: list[str]
) -> UInt8[np.ndarray, "y x 3"]:
    """Bring a decoded image to upright RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Decoded.
    layout : str
        Pillow's word for how the file stores its samples, such as ``"L;4"``.
    orientation : int
        EXIF's, 1 to 8.
    name : str
        What to call it in messages.
    notes : list of str
        What the user should be told is added here.

    Raises
    ------
    ImageError
        For a mode that has no colours without guessing.
    """
    convert = _converter(image, layout, name, notes)
    width, height = image.size
    swap, flip_rows, flip_columns = TURNS[orientation]
    upright = np.empty((width, height, 3) if swap else (height, width, 3), dtype=np.uint8)
    # A view in which stored rows are rows, so that each strip is written where it belongs.
    stored = upright[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    if swap:
        stored = stored.swapaxes(0, 1)
    for rows, strip in strips(image):
        stored[rows] = convert(strip)
    return upright


def strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Cut an image into strips of about a megapixel, from top to bottom: the rows, and the strip."""
    width, height = image.size
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        below = min(top + step, height)
        yield slice(top, below), image.crop((0, top, width, below))


def to_array(image: Image.Image) -> UInt8[np.ndarray, "y x"]:
    """Values of an image of one 8-bit channel, as stored."""
    width, height = image.size
    values = np.empty((height, width), dtype=np.uint8)
    for rows, strip in strips(image):
        values[rows] = np.asarray(strip)
    return values


def on_white(rgba: UInt8[np.ndarray, "y x 4"]) -> UInt8[np.ndarray, "y x 3"]:
    """Composite on white, rounding to nearest; a colour hidden below zero alpha stays hidden."""
    alpha = rgba[..., 3]
    white = np.multiply(255 - alpha, 255, dtype=np.uint16)
    white += 127
    rgb = np.empty((*alpha.shape, 3), dtype=np.uint8)
    for channel in range(3):  # one at a time is four times as fast as all together, and takes a third of the memory
        mixed = np.multiply(rgba[..., channel], alpha, dtype=np.uint16)
        mixed += white
        mixed //= 255
        rgb[..., channel] = mixed
    return rgb


def stack(gray: UInt8[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Spread gray over three channels."""
    return np.repeat(gray[..., None], 3, axis=2)


def _converter(
    image: Image.Image, layout: str, name: str, notes: list[str]
) -> Callable[[Image.Image], UInt8[np.ndarray, "y x 3"]]:
    """Return what turns a strip of the image into RGB."""
    mode = image.mode
    # Pillow reads a 16-bit PGM as 32-bit integers, scaled to 65535.
    if mode in _GRAY_16 or (mode == "I" and image.format == PpmImageFile.format):
        return _from_gray16(image, name, notes)
    if mode == "La":
        return lambda strip: on_white(np.asarray(strip.convert("LA").convert("RGBA")))
    if mode in _ALPHA:
        return lambda strip: on_white(np.asarray(strip.convert("RGBA")))
    if mode in _PLAIN:
        if image.has_transparency_data:
            _fix_transparent_key(image, layout, name)
            return lambda strip: on_white(np.asarray(strip.convert("RGBA")))
        return lambda strip: np.asarray(strip.convert("RGB"))
    kind = {"I": "32-bit integers", "F": "floating-point values"}.get(mode, f"pixels of mode {mode!r}")
    raise ImageError(
        f"{name} holds {kind}, which cannot be converted to RGB without guessing. "
        "Expected 8 or 16 bits per channel; scale it to 0..255 and save it as an 8-bit PNG."
    )


def _from_gray16(
    image: Image.Image, name: str, notes: list[str]
) -> Callable[[Image.Image], UInt8[np.ndarray, "y x 3"]]:
    """Gray of more than 8 bits, which Pillow's own conversion would clip to white."""
    tags: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = 12 if tags.get(BITSPERSAMPLE) == (12,) else 16
    negative = tags.get(PHOTOMETRIC_INTERPRETATION) == 0  # Pillow inverts negatives of 8 bits only
    key = image.info.get("transparency")

    def levels_of(strip: Image.Image) -> np.ndarray:
        levels = np.asarray(strip).astype(np.uint16)
        return np.uint16(2**bits - 1) - levels if negative else levels

    def convert(strip: Image.Image) -> UInt8[np.ndarray, "y x 3"]:
        levels = levels_of(strip)
        gray = (levels >> (bits - 8)).astype(np.uint8)
        if isinstance(key, int):
            gray[levels == key] = 255
        return stack(gray)

    brightest = max(int(levels_of(strip).max()) for _, strip in strips(image))
    if bits == 16 and 0 < brightest < 4096:
        notes.append(
            f"{name} is 16-bit gray whose brightest level is {brightest} of 65535, so it comes out nearly black; "
            "if that is a camera's or a depth map's own range, scale it to 0..255 first."
        )
    return convert


def _fix_transparent_key(image: Image.Image, layout: str, name: str) -> None:
    """Bring a PNG's transparent colour to the range of the pixels: Pillow scales those to 8 bits, but not the key."""
    key = image.info.get("transparency")
    if layout in ("L;2", "L;4") and isinstance(key, int):
        image.info["transparency"] = key * {"L;2": 85, "L;4": 17}[layout]
    elif layout == "RGB;16B":
        raise ImageError(
            f"{name} is 16-bit colour with one transparent colour, which can no longer be identified after reduction "
            "to "
            "8 bits. Expected an alpha channel; save it as an 8-bit PNG."
        )
