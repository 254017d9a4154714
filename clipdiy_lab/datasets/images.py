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
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from clipdiy_lab.datasets.disk import broken_link, explain
from clipdiy_lab.datasets.image_formats import EXPECTED, format_of
from clipdiy_lab.datasets.image_pixels import TURNS, on_white, stack, to_rgb
from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning, ConfigError, ImageError, nearest

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""What the names of image files end in. Only what is suggested goes by it: what is read goes by its first bytes."""

MAX_PIXELS: Final = 64 * 1024 * 1024
"""Default cap: 67 megapixels. Files ask for memory before they prove that they have the pixels.

While an image is read, memory peaks at about 7 bytes per pixel (4 for Pillow's copy, 3 for the result), 10 for a
progressive JPEG: 450 to 640 MiB at the cap, of which 192 MiB stay. docs/howto/datasets.md has the measurements.
"""

_MAX_SIDE: Final = 65_535
"""The longest side that a JPEG can have. Pillow's time grows with the square of a row's length: half a kilobyte of WebP
that claims rows of 10 million pixels keeps it busy for a minute, however few the pixels are in all."""

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


def read_image(
    source: ImageSource, *, max_pixels: int = MAX_PIXELS, upright: bool = True
) -> UInt8[np.ndarray, "y x 3"]:
    """Read a picture, whatever it comes as, to upright RGB.

    Parameters
    ----------
    source : str, path, bytes, binary stream, PIL image or array
        A file (JPEG, PNG, WebP, BMP, TIFF, GIF or PNM), its bytes, a stream of them (read from its start, left open),
        a PIL image (the frame that it stands at), or an array: H x W x 3 RGB, H x W x 4 RGBA or H x W gray, all uint8.
    max_pixels : int
        Most pixels that a file or PIL image may have (and no side may exceed 65535); checked from the header, before
        anything is decoded. Arrays are in memory already and go unchecked.
    upright : bool
        Whether to turn the picture as its EXIF block says; without, that block is not read.

    Returns
    -------
    numpy.ndarray
        H x W x 3, uint8 in [0, 255], RGB, C-contiguous, the caller's own (never a view of `source`).

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
        pixels, notes = _decode(source, name, upright)
    else:
        with open_image(source, max_pixels=max_pixels) as image:
            frames = _count_frames(image, name)
            pixels, notes = _decode(image, name, upright)
        if frames > 1:
            notes.append(f"{name} has {frames} frames; only the first is used. To choose another, save it as PNG.")
    for note in notes:
        warnings.warn(note, ClipdiyWarning, stacklevel=2)
    return pixels


def describe(source: object) -> str:
    """Say in a few words what was given as an image; for messages and for the provenance of a run.

    Examples
    --------
    >>> describe("photos/cat.jpg"), describe(np.zeros((2, 4, 3), np.uint8)), describe(b"abc")
    ("'photos/cat.jpg'", 'an array of 4 x 2 pixels', '3 bytes in memory')
    >>> describe(np.zeros((2, 4)))
    'an array of shape (2, 4) and type float64'
    """
    if isinstance(source, str | os.PathLike):
        return repr(os.fsdecode(source))
    if isinstance(source, bytes):
        return f"{len(source)} bytes in memory"
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3:
        return f"an array of {source.shape[1]} x {source.shape[0]} pixels"
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
    digest.update(np.ascontiguousarray(array).data)
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
        opener = format_of(stream, name)
        with decoding(name):
            image = opener(stream)
        _check_size(image.size, name, max_pixels)
        if isinstance(image, PngImageFile):
            # Decoding does not look at the checksums of the pixel data, so a flipped bit would go unseen; `verify`
            # does, and uses the object up.
            with decoding(name):
                image.verify()
                stream.seek(0)
                image = PngImageFile(stream)
        yield image


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad file into one error."""
    try:
        yield
    except ClipdiyError:
        raise
    except DECODE_ERRORS as error:
        fault = _system_fault(error)
        if fault is not None:
            raise ImageError(f"{name} cannot be read: {explain(fault)}") from error
        reason = (str(error) or type(error).__name__).rstrip(".")
        raise ImageError(
            f"{name} cannot be read: {reason}. Expected {EXPECTED} that is complete; "
            "download it again, or open it in a viewer and save it as PNG."
        ) from error


def _system_fault(error: BaseException | None) -> OSError | None:
    """Return the operating system's error behind one of Pillow's, which may wrap it; Pillow's own have no number."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error
        error = error.__cause__ or error.__context__
    return None


def _open_stream(source: object, name: str) -> BinaryIO:
    """Open a path, or wrap bytes or a stream's content, so that the caller may close what comes back."""
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fsdecode(source))
    if isinstance(source, bytes):
        return BytesIO(source)
    if not hasattr(source, "read"):
        hint = "pass its values as a NumPy array" if hasattr(source, "__array__") else "pass one of these"
        raise ImageError(
            f"{name} is not an image. Expected a path, bytes, a binary stream, a PIL image or a uint8 array; {hint}."
        )
    try:
        if hasattr(source, "seekable") and source.seekable():
            source.seek(0)  # type: ignore[attr-defined]
        data = source.read()
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {explain(error)} Expected a stream of an image file.") from error
    except ValueError as error:  # closed
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
    except OSError as error:
        raise ImageError(f"{text!r} cannot be opened: {explain(error, path)}") from error
    except ValueError as error:  # a null character in the path
        raise ImageError(f"{text!r} cannot be opened: {error}. Give the path of an image file.") from error


def _explain_missing(path: Path, text: str) -> str:
    if text.startswith(("http:", "https:", "file:", "data:")):
        return f"{text[:80]!r} is an address, not a file. Fetch it first and pass its path or its bytes."
    broken = broken_link(path)
    if broken is not None:
        return f"{text!r} cannot be opened: {broken}"
    if not path.parent.is_dir():
        return f"There is no file {text!r}: the folder {str(path.parent)!r} does not exist. Check the path."
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        # A folder of a million pictures should not make a typing error slow.
        names = [entry.name for entry in itertools.islice(entries, 10_000)]
    images = [name for name in names if Path(name).suffix.lower() in ENDINGS]
    return f"There is no file {text!r}. " + (nearest(path.name, images) if images else "Its folder has no image.")


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels!r}. Expected a positive integer, such as {MAX_PIXELS}.")
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}). Expected at least one.")
    if max(width, height) > _MAX_SIDE:
        raise ImageError(
            f"{name} is {width} x {height}. Expected at most {_MAX_SIDE} pixels per side; cut it into pieces."
        )
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height} pixels, more than the limit of {max_pixels}. "
            "Make it smaller; or, if you trust it and have the memory, pass the array that "
            "clipdiy_lab.datasets.images.read_image(..., max_pixels=...) gives."
        )


def _count_frames(image: ImageFile.ImageFile, name: str) -> int:
    with decoding(name):
        return int(getattr(image, "n_frames", 1))


def _layout(image: Image.Image) -> str:
    """Pillow's word for how a file stores its samples, such as ``"L;4"``; known only until the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    args: Any = tiles[0].args if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _decode(image: Image.Image, name: str, upright: bool) -> tuple[UInt8[np.ndarray, "y x 3"], list[str]]:
    """Decode and flatten, and turn if asked; the notes are what the user should be told."""
    notes: list[str] = []
    with decoding(name):
        layout = _layout(image)
        image.load()
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        notes.append(f"{name} is CMYK with a colour profile, which is not applied; its colours are approximate.")
    orientation = _orientation(image, name, notes) if upright else 1
    with decoding(name):
        return to_rgb(image, layout, orientation, name, notes), notes


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
    return orientation if isinstance(orientation, int) and orientation in TURNS else 1


def _read_array(array: np.ndarray) -> UInt8[np.ndarray, "y x 3"]:
    if array.size and array.dtype == np.uint8:
        if array.ndim == 2:
            return stack(array)
        if array.ndim == 3 and array.shape[2] == 3:
            return np.array(array, order="C", subok=False)
        if array.ndim == 3 and array.shape[2] == 4:
            return on_white(array)
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
