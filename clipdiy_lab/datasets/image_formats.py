"""Formats of image files, told by their first bytes: those that are read, and strangers, each with a way out."""

from __future__ import annotations

from typing import BinaryIO, Final

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from clipdiy_lab.datasets.disk import explain
from clipdiy_lab.errors import ImageError

EXPECTED: Final = "a JPEG, PNG, WebP, BMP, TIFF, GIF or PNM file"

# Pillow's classes are called directly, not through `Image.open`: no other decoder can be reached; the cap is ours,
# checked before Pillow's bomb warning, so no process-wide setting has to change; and the second picture of a phone's
# JPEG (MPO) stays unread.
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


def format_of(stream: BinaryIO, name: str) -> type[ImageFile.ImageFile]:
    """Tell the format from the first bytes; the name of a file says nothing reliable.

    Parameters
    ----------
    stream : binary stream
        At its start, where it is left again.
    name : str
        What to call it in messages.

    Raises
    ------
    ImageError
        It is empty, cannot be read, or is of another kind; many kinds are known by name.
    """
    try:
        head = stream.read(64)
        stream.seek(0)
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {explain(error)}") from error
    if not head:
        raise ImageError(f"{name} is empty (0 bytes). Expected {EXPECTED}; download it again.")
    for magic, opener in _FORMATS:
        if _matches(head, magic):
            return opener
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, what in _STRANGERS:
        if _matches(lowered, magic):
            raise ImageError(f"{name} is {what}. Expected {EXPECTED}.")
    kind = "a text file" if head.isascii() and b"\0" not in head else f"no known kind of file (begins {head[:8]!r})"
    raise ImageError(f"{name} is {kind}. Expected {EXPECTED}.")


def _matches(head: bytes, magic: bytes) -> bool:
    """Whether `head` begins with `magic`, in which ``?`` stands for any byte."""
    return len(head) >= len(magic) and all(want in (have, ord("?")) for have, want in zip(head, magic, strict=False))
