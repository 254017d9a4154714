"""Label maps as palette PNG, the way PASCAL VOC keeps them: the index is the label, the palette only for the eye."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from jaxtyping import Integer, UInt8
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from clipdiy_lab.datasets.image_pixels import to_array
from clipdiy_lab.datasets.images import decoding, describe, open_image
from clipdiy_lab.errors import DatasetError, ImageError
from clipdiy_lab.files import atomic_path

_LEVELS: Final = 256
_LEVELS_16: Final = 2**16
_STRIP: Final = 2**20  # pixels at once


def voc_colormap(n: int = _LEVELS) -> UInt8[np.ndarray, "n 3"]:
    """Colours of the PASCAL VOC development kit: bits 0, 3, 6 of the label are the high bits of red, and so on.

    Parameters
    ----------
    n : int
        How many, in 1..256.

    Returns
    -------
    numpy.ndarray
        n x 3, uint8, RGB. Entry 0 is black, entry 255 (ignore) is (224, 224, 192).

    Raises
    ------
    ImageError
        `n` is not in 1..256.

    Examples
    --------
    >>> voc_colormap(4).tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    if not 1 <= n <= _LEVELS:
        raise ImageError(f"A palette of {n} colours was asked for. Expected 1 to {_LEVELS}, as labels are bytes.")
    labels = np.arange(n)
    colors = np.zeros((n, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = labels >> (3 * place + channel) & 1
            colors[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colors


def write_palette_png(
    path: str | os.PathLike[str],
    labels: Integer[np.ndarray, "y x"],
    colors: UInt8[np.ndarray, "n 3"] | None = None,
) -> None:
    """Write a label map as an 8-bit palette PNG, whole or not at all.

    Parameters
    ----------
    path : str or path
        The file; its folder must exist. An existing file is replaced.
    labels : numpy.ndarray
        H x W, integers of any width in 0..255.
    colors : numpy.ndarray, optional
        n x 3, uint8, RGB: colours of the first n labels. The rest, 255 among them, keep those of `voc_colormap`.

    Raises
    ------
    ImageError
        Labels or colours of another shape, type or range.
    OutputError
        The place cannot be written; nothing half-written stays.
    """
    indices = _check_labels(labels, _LEVELS, "a byte").astype(np.uint8)
    image = Image.fromarray(indices)
    # All 256 entries always: Pillow would pack a shorter palette into fewer bits, which VOC's own tools do not expect.
    image.putpalette(_full_palette(colors).tobytes())
    with atomic_path(path) as part:
        image.save(part, format=PngImageFile.format)


def write_label_png(
    path: str | os.PathLike[str], labels: Integer[np.ndarray, "y x"], colors: UInt8[np.ndarray, "n 3"]
) -> None:
    """Write the label map of n labels, whole or not at all: a palette PNG, or a gray one of 16 bits where n > 255.

    A byte holds the labels 0 to 254, as 255 is ignore. The pixel values are the labels in both forms.

    Parameters
    ----------
    path : str or path
        The file; its folder must exist. An existing file is replaced.
    labels : numpy.ndarray
        H x W, integers of any width in 0..65535.
    colors : numpy.ndarray
        n x 3, uint8, RGB: the colour of each label, for the palette.

    Raises
    ------
    ImageError
        Labels or colours of another shape, type or range.
    OutputError
        The place cannot be written; nothing half-written stays.
    """
    if len(colors) < _LEVELS:
        write_palette_png(path, labels, colors)
        return
    image = Image.fromarray(_check_labels(labels, _LEVELS_16, "16 bits").astype(np.uint16))
    with atomic_path(path) as part:
        image.save(part, format=PngImageFile.format)


def read_palette_png(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "y x"]:
    """Read the labels of a PNG mask: the palette's indices or the gray levels, never colours.

    Parameters
    ----------
    path : str or path
        A palette PNG of any depth, or a gray one of 8 bits.

    Returns
    -------
    numpy.ndarray
        H x W, uint8, as stored (an EXIF orientation is not applied), the caller's own.

    Raises
    ------
    DatasetError
        Missing, damaged, not a PNG, or a PNG whose pixels are not labels.
    """
    return read_indices(path)[0]


def read_indices(path: str | os.PathLike[str]) -> tuple[UInt8[np.ndarray, "y x"], UInt8[np.ndarray, "n 3"] | None]:
    """Read a PNG mask and its palette.

    Parameters
    ----------
    path : str or path
        As for `read_palette_png`.

    Returns
    -------
    indices : numpy.ndarray
        H x W, uint8, as stored.
    colours : numpy.ndarray or None
        n x 3, uint8, RGB: the palette, of up to 256 entries; None for a gray PNG.

    Raises
    ------
    DatasetError
        As `read_palette_png`.
    """
    name = describe(path)
    try:
        with open_image(path) as image, decoding(name):
            if not isinstance(image, PngImageFile):
                raise DatasetError(f"The mask {name} is a {image.format} file. Expected a palette or gray PNG.")
            # Gray of 2 or 4 bits also comes as mode L, but Pillow multiplies its values: label 3 would become 51.
            layout = image.tile[0].args
            if image.mode != "P" and layout != "L":
                raise DatasetError(
                    f"The mask {name} is a PNG of mode {image.mode!r} (stored as {layout!r}). Expected a palette "
                    "PNG (mode 'P') or 8-bit gray (mode 'L'); convert it, mapping each colour to its label."
                )
            indices = to_array(image)
            palette = image.getpalette() if image.mode == "P" else None
    except ImageError as error:
        raise DatasetError(f"The mask cannot be used. {error}") from error
    return indices, None if palette is None else np.array(palette, dtype=np.uint8).reshape(-1, 3)


def count_values(values: UInt8[np.ndarray, "y x"]) -> NDArray[np.int64]:
    """Count how often each byte occurs; NumPy's own count would widen a large mask to eight bytes per pixel."""
    counts = np.zeros(_LEVELS, dtype=np.int64)
    for start in range(0, values.size, _STRIP):
        counts += np.bincount(values.reshape(-1)[start : start + _STRIP], minlength=_LEVELS)
    return counts


def translate(values: UInt8[np.ndarray, "y x"], table: NDArray[np.uint8]) -> UInt8[np.ndarray, "y x"]:
    """Look every byte up in a table; in strips, as `count_values`."""
    result = np.empty_like(values, order="C")
    for start in range(0, values.size, _STRIP):
        part = slice(start, start + _STRIP)
        result.reshape(-1)[part] = table[values.reshape(-1)[part]]
    return result


def _check_labels(labels: Integer[np.ndarray, "y x"], levels: int, holder: str) -> Integer[np.ndarray, "y x"]:
    array = np.asarray(labels)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iu":
        raise ImageError(
            f"The label map is an array of shape {array.shape} and type {array.dtype}. Expected H x W integers; "
            "pass one index per pixel, such as scores.argmax(axis=0)."
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= levels:
        raise ImageError(
            f"The label map holds values from {low} to {high}. Expected 0..{levels - 1}, what {holder} can hold; "
            "renumber the labels (255 is customary for ignore)."
        )
    return array


def _full_palette(colors: UInt8[np.ndarray, "n 3"] | None) -> UInt8[np.ndarray, "256 3"]:
    palette = voc_colormap()
    if colors is None:
        return palette
    array = np.asarray(colors)
    if array.ndim != 2 or array.shape[1] != 3 or not 1 <= len(array) <= _LEVELS or array.dtype != np.uint8:
        raise ImageError(f"The colours are {describe(array)}. Expected n x 3 uint8 RGB, n in 1..{_LEVELS}.")
    palette[: len(array)] = array
    return palette
