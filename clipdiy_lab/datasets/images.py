"""Any picture that people have, as upright H x W x 3 uint8 RGB; or one error that says what is wrong with it.

What happens to the kinds of picture that are read wrongly in silence elsewhere:

=========================  ===========================================================================================
gray, 1-bit, palette       spread over three channels
16-bit                     the high byte, ``value >> 8``, for gray as for colour; gray that uses a small part of its
                           range warns, for it comes out nearly black
alpha or transparent key   composited on white, ``round((colour * alpha + 255 * (255 - alpha)) / 255)``
CMYK                       converted without colour management; warns where the file carries an ICC profile
EXIF orientation 1 to 8    applied; an unreadable EXIF block warns
animation, several pages   the first frame, with a warning that counts them (not for the previews in a phone's JPEG)
float, 32-bit integer      refused: nobody but the author knows which value is white
damaged or cut off         refused, also where only a PNG checksum shows it; what a format cannot tell (a flipped bit in
                           a JPEG, a PNG written with rows missing) goes unseen
=========================  ===========================================================================================
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning, ConfigError, ImageError, nearest

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""What the names of image files end in. Only what is suggested goes by it: what is read goes by its first bytes."""

MAX_PIXELS: Final = 64 * 1024 * 1024
"""Default cap: 67 megapixels, 192 MiB as RGB. Files ask for memory before they prove that they have the pixels."""

_MAX_SIDE: Final = 65_535
"""The longest side that a JPEG can have. Pillow's time grows with the square of a row's length: half a kilobyte of WebP
that claims rows of 10 million pixels keeps it busy for a minute, however few the pixels are in all."""

# Formats by their first bytes. Pillow's classes are called directly, not through `Image.open`: no other decoder can be
# reached; the cap is ours, checked before Pillow's bomb warning, so no process-wide setting has to change; and the
# second picture of a phone's JPEG (MPO) stays unread.
_FORMATS: Final[tuple[tuple[bytes, type[ImageFile.ImageFile]], ...]] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"RIFF????WEBP", WebPImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
    (b"BM", BmpImageFile),
    *((magic, TiffImageFile) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((magic, PpmImageFile) for magic in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")),
)
_EXPECTED: Final = "a JPEG, PNG, WebP, BMP, TIFF, GIF or PNM file"

_STRANGERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!doctype html", "a web page: the download went wrong, fetch the image itself"),
    (b"<html", "a web page: the download went wrong, fetch the image itself"),
    (b"<svg", "an SVG drawing: export it as PNG"),
    (b"<?xml", "an XML or SVG file: export it as PNG"),
    (b"%pdf", "a PDF: export the page as PNG"),
    (b"????ftypavif", "an AVIF image: save it as PNG or JPEG"),
    (b"????ftyp", "a HEIC photo or a video: save it, or one frame, as PNG or JPEG"),
    (b"\0\0\0\x0cjp  ", "a JPEG 2000 image: save it as PNG"),
    (b"\x93numpy", "a NumPy file: pass np.load(...) of it, an array"),
    (b"pk\x03\x04", "a zip archive: unpack it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
)

DECODE_ERRORS: Final = (
    EOFError,
    Image.DecompressionBombError,
    LookupError,
    MemoryError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,  # where the user turned warnings into errors
    struct.error,
    zlib.error,
)
"""What Pillow raises on damaged files; a fuzz test over every format holds the list complete."""

_GRAY_16: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_PLAIN: Final = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})

# Stored row and column to upright ones: (swap axes, flip rows, flip columns), in that order.
_TURNS: Final = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "y x 3"]:
    """Read a picture, whatever it comes as, to upright RGB.

    Parameters
    ----------
    source : str, path, bytes, binary stream, PIL image or array
        A file (JPEG, PNG, WebP, BMP, TIFF, GIF or PNM), its bytes, a stream of them (read from its start, left open),
        a PIL image (the frame that it stands at), or an array: H x W x 3 RGB, H x W x 4 RGBA or H x W gray, all uint8.
    max_pixels : int
        Most pixels that a file or PIL image may have (and no side may exceed 65535); checked from the header, before
        anything is decoded. Arrays are in memory already and go unchecked.

    Returns
    -------
    numpy.ndarray
        H x W x 3, uint8 in [0, 255], RGB, C-contiguous, upright, the caller's own (never a view of `source`).

    Raises
    ------
    ImageError
        Not a readable picture, or one that could only be read by guessing.
    ConfigError
        `max_pixels` is not a positive integer.

    Warns
    -----
    ClipdiyWarning
        Several frames, an unreadable EXIF block, a 16-bit gray that comes out nearly black, CMYK with a profile.

    Examples
    --------
    >>> read_image(np.array([[0, 255]], dtype=np.uint8)).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    if isinstance(source, np.ndarray):
        return _read_array(source)
    name = describe(source)
    if isinstance(source, Image.Image):
        _check_size(source.size, name, max_pixels)
        pixels, notes = _decode(source, name)
    else:
        with open_image(source, max_pixels=max_pixels) as image:
            frames = _count_frames(image, name)
            pixels, notes = _decode(image, name)
        if frames > 1:
            notes.append(f"{name} has {frames} frames; only the first is used. To choose another, save it as PNG.")
    for note in notes:
        warnings.warn(note, ClipdiyWarning, stacklevel=2)
    return pixels


def describe(source: object) -> str:
    """Say in a few words what was given as an image; for messages and for the provenance of a run.

    Examples
    --------
    >>> describe("photos/cat.jpg"), describe(np.zeros((2, 3, 3), np.uint8)), describe(b"abc")
    ("'photos/cat.jpg'", 'an array of shape (2, 3, 3) and type uint8', '3 bytes in memory')
    """
    if isinstance(source, str | os.PathLike):
        return repr(os.fsdecode(source))
    if isinstance(source, bytes):
        return f"{len(source)} bytes in memory"
    if isinstance(source, np.ndarray):
        return f"an array of shape {source.shape} and type {source.dtype}"
    if isinstance(source, Image.Image):
        return f"a PIL image of mode {source.mode!r}, {source.width} x {source.height}"
    if hasattr(source, "read"):
        named = getattr(source, "name", None)
        return f"a stream of {named!r}" if isinstance(named, str) else "a stream"
    return f"an object of type {type(source).__name__!r}"


def content_hash(array: np.ndarray) -> str:
    """SHA-256 (hex) over type, shape and values: the same picture has the same hash, however it was stored.

    Examples
    --------
    >>> content_hash(np.zeros((2, 3), np.uint8)) == content_hash(np.zeros((3, 2), np.uint8))
    False
    """
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def open_image(
    source: str | os.PathLike[str] | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS
) -> Iterator[ImageFile.ImageFile]:
    """Open an image file without decoding it: format known, size within the cap, PNG checksums right.

    Parameters
    ----------
    source : str, path, bytes or binary stream
        As `read_image` takes them.
    max_pixels : int
        Most pixels that it may have.

    Yields
    ------
    PIL.ImageFile.ImageFile
        Of the class of its format; its pixels are not loaded yet. Closed at the end of the block.

    Raises
    ------
    ImageError
        Nothing there, not one of the formats, damaged, or over the cap.
    """
    name = describe(source)
    with _open_stream(source, name) as stream:
        opener = _format_of(stream, name)
        with _decoding(name):
            image = opener(stream)
        _check_size(image.size, name, max_pixels)
        if isinstance(image, PngImageFile):
            # Decoding does not look at the checksums of the pixel data, so a flipped bit would go unseen; `verify`
            # does, and uses the object up.
            with _decoding(name):
                image.verify()
                stream.seek(0)
                image = PngImageFile(stream)
        yield image


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad file into one error."""
    try:
        yield
    except ClipdiyError:
        raise
    except DECODE_ERRORS as error:
        reason = (str(error) or type(error).__name__).rstrip(".")
        raise ImageError(
            f"{name} cannot be read: {reason}. Expected {_EXPECTED} that is whole; "
            "fetch it again, or open it in a viewer and save it as PNG."
        ) from error


def _open_stream(source: object, name: str) -> BinaryIO:
    """Open a path, or wrap bytes or a stream's content, so that the caller may close what comes back."""
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fsdecode(source))
    if isinstance(source, bytes):
        return BytesIO(source)
    if not hasattr(source, "read"):
        hint = "pass its values as a NumPy array" if hasattr(source, "__array__") else "pass one of these"
        raise ImageError(
            f"{name} is no image. Expected a path, bytes, a binary stream, a PIL image or a uint8 array; {hint}."
        )
    try:
        if hasattr(source, "seekable") and source.seekable():
            source.seek(0)  # type: ignore[attr-defined]
        data = source.read()
    except (OSError, ValueError) as error:  # ValueError: closed
        raise ImageError(f"{name} cannot be read: {error}. Pass an open stream of an image file.") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} gives {type(data).__name__}, not bytes. Open the file in binary mode, 'rb'.")
    return BytesIO(data)


def _open_path(text: str) -> BinaryIO:
    path = Path(text)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{text!r} is a folder{' (the current one)' if not text else ''}. Give one image file.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{text!r} is a device or a pipe, not a file. Pass an open stream to read from one.")
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError(_explain_missing(path, text)) from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{text!r} cannot be opened: {reason}. Give an image file that you may read.") from error


def _explain_missing(path: Path, text: str) -> str:
    if text.startswith(("http:", "https:", "file:", "data:")):
        return f"{text[:80]!r} is an address, not a file. Fetch it first and pass its path or its bytes."
    if not path.parent.is_dir():
        return f"There is no file {text!r}: the folder {str(path.parent)!r} does not exist. Check the path."
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        # A folder of a million pictures should not make a typing error slow.
        names = [entry.name for entry in itertools.islice(entries, 10_000)]
    images = [name for name in names if Path(name).suffix.lower() in ENDINGS]
    return f"There is no file {text!r}. " + (nearest(path.name, images) if images else "Its folder has no image.")


def _format_of(stream: BinaryIO, name: str) -> type[ImageFile.ImageFile]:
    """Tell the format from the first bytes; the name of a file says nothing reliable."""
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes). Expected {_EXPECTED}; fetch it again.")
    for magic, opener in _FORMATS:
        if _matches(head, magic):
            return opener
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, what in _STRANGERS:
        if _matches(lowered, magic):
            raise ImageError(f"{name} is {what}. Expected {_EXPECTED}.")
    kind = "a text file" if head.isascii() and b"\0" not in head else f"no known kind of file (begins {head[:8]!r})"
    raise ImageError(f"{name} is {kind}. Expected {_EXPECTED}.")


def _matches(head: bytes, magic: bytes) -> bool:
    """Whether `head` begins with `magic`, in which ``?`` stands for any byte."""
    return len(head) >= len(magic) and all(want in (have, ord("?")) for have, want in zip(head, magic, strict=False))


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels!r}. Expected a positive integer, such as {MAX_PIXELS}.")
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}). Expected at least one.")
    if max(width, height) > _MAX_SIDE:
        raise ImageError(f"{name} is {width} x {height}. Expected no side over {_MAX_SIDE} pixels; cut it into pieces.")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height} pixels, over the cap of {max_pixels}. "
            "Make it smaller, or raise max_pixels if you trust it and have the memory."
        )


def _count_frames(image: ImageFile.ImageFile, name: str) -> int:
    with _decoding(name):
        return int(getattr(image, "n_frames", 1))


def _layout(image: Image.Image) -> str:
    """Pillow's word for how a file stores its samples, such as ``"L;4"``; known only until the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    args: Any = tiles[0].args if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _decode(image: Image.Image, name: str) -> tuple[UInt8[np.ndarray, "y x 3"], list[str]]:
    """Decode, flatten and turn upright; the notes are what the user should be told."""
    notes: list[str] = []
    with _decoding(name):
        layout = _layout(image)
        image.load()
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        notes.append(f"{name} is CMYK with a colour profile, which is not applied; its colours are approximate.")
    orientation = _orientation(image, name, notes)
    with _decoding(name):
        rgb = _to_rgb(image, layout, name, notes)
    return _turn(rgb, orientation), notes


def _orientation(image: Image.Image, name: str, notes: list[str]) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        if orientation is None and image.info.get("exif"):
            # Opening a JPEG reads the block too, and swallows what is wrong with it; ask again, aloud.
            Image.Exif().load(image.info["exif"])
    except DECODE_ERRORS as error:
        notes.append(f"{name} has an unreadable EXIF block ({error}); if it lies on its side, turn it yourself.")
        return 1
    # Zero and anything unknown mean "not said", here as in every viewer.
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _turn(rgb: UInt8[np.ndarray, "y x 3"], orientation: int) -> UInt8[np.ndarray, "y x 3"]:
    swap, flip_rows, flip_columns = _TURNS[orientation]
    turned = rgb.swapaxes(0, 1) if swap else rgb
    return np.ascontiguousarray(turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _to_rgb(image: Image.Image, layout: str, name: str, notes: list[str]) -> UInt8[np.ndarray, "y x 3"]:
    mode = image.mode
    # Pillow reads a 16-bit PGM as 32-bit integers, scaled to 65535.
    if mode in _GRAY_16 or (mode == "I" and image.format == PpmImageFile.format):
        return _gray16_to_rgb(image, name, notes)
    if mode in _ALPHA:
        return _on_white(np.asarray((image.convert("LA") if mode == "La" else image).convert("RGBA")))
    if mode in _PLAIN:
        if image.has_transparency_data:
            _fix_transparent_key(image, layout, name)
            return _on_white(np.asarray(image.convert("RGBA")))
        return np.array(image.convert("RGB"))
    kind = {"I": "32-bit integers", "F": "floating-point values"}.get(mode, f"pixels of mode {mode!r}")
    raise ImageError(
        f"{name} holds {kind}, which cannot be brought to RGB without guessing. "
        "Expected 8 or 16 bits a channel; scale it to 0..255 and save it as an 8-bit PNG."
    )


def _gray16_to_rgb(image: Image.Image, name: str, notes: list[str]) -> UInt8[np.ndarray, "y x 3"]:
    """Gray of more than 8 bits, which Pillow's own conversion would clip to white."""
    tags: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = 12 if tags.get(BITSPERSAMPLE) == (12,) else 16
    levels = np.asarray(image).astype(np.uint16)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # a negative; Pillow inverts those of 8 bits only
        levels = np.uint16(2**bits - 1) - levels
    brightest = int(levels.max())
    if bits == 16 and 0 < brightest < 4096:
        notes.append(
            f"{name} is 16-bit gray whose brightest level is {brightest} of 65535, so it comes out nearly black; "
            "if that is a camera's or a depth map's own range, scale it to 0..255 first."
        )
    gray = (levels >> (bits - 8)).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray[levels == key] = 255
    return _stack(gray)


def _fix_transparent_key(image: Image.Image, layout: str, name: str) -> None:
    """Bring a PNG's transparent colour to the range of the pixels: Pillow scales those to 8 bits, but not the key."""
    key = image.info.get("transparency")
    if layout in ("L;2", "L;4") and isinstance(key, int):
        image.info["transparency"] = key * {"L;2": 85, "L;4": 17}[layout]
    elif layout == "RGB;16B":
        raise ImageError(
            f"{name} is 16-bit colour with one transparent colour, which cannot be told apart after reduction to "
            "8 bits. Expected an alpha channel; save it as an 8-bit PNG."
        )


def _on_white(rgba: UInt8[np.ndarray, "y x 4"]) -> UInt8[np.ndarray, "y x 3"]:
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


def _stack(gray: UInt8[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    return np.repeat(gray[..., None], 3, axis=2)


def _read_array(array: np.ndarray) -> UInt8[np.ndarray, "y x 3"]:
    if array.size and array.dtype == np.uint8:
        if array.ndim == 2:
            return _stack(array)
        if array.ndim == 3 and array.shape[2] == 3:
            return np.array(array, order="C", subok=False)
        if array.ndim == 3 and array.shape[2] == 4:
            return _on_white(array)
    raise ImageError(
        f"The image is {describe(array)}. Expected uint8 values of shape H x W x 3 (RGB), H x W x 4 (RGBA) or H x W "
        f"(gray); {_array_hint(array)}."
    )


def _array_hint(array: np.ndarray) -> str:
    if array.size == 0:
        return "it has no pixels"
    if array.dtype.kind == "f":
        return "if its values lie in [0, 1], pass (array * 255).round().astype(np.uint8)"
    if array.dtype == np.bool_:
        return "pass array.astype(np.uint8) * 255"
    if array.dtype == np.uint16:
        return "if it uses all 16 bits, pass (array >> 8).astype(np.uint8)"
    if array.dtype != np.uint8:
        return "if its values lie in 0..255, pass array.astype(np.uint8)"
    if array.ndim == 4:
        return "pass one image at a time, array[0]"
    if array.ndim == 3 and array.shape[0] in (3, 4):
        return "channels come last: pass np.moveaxis(array, 0, -1)"
    if array.ndim == 3 and array.shape[2] == 1:
        return "pass array[..., 0]"
    return "bring it to one of these shapes"
