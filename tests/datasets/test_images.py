"""Every kind of picture file: exact pixels or one clear error, and nothing else whatever the bytes."""

from __future__ import annotations

import datetime
import io
import itertools
import os
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from clipdiy_lab.datasets.images import content_hash, describe, open_image, read_image
from clipdiy_lab.errors import ClipdiyWarning, ConfigError, ImageError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
WHITE = 255


# ---------------------------------------------------------------------------------------------- building the files


def encode(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def rgb_of(values):
    """Gray or RGB values as the H x W x 3 that must come out."""
    array = np.asarray(values, dtype=np.uint8)
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array


def over_white(rgba):
    """Compositing as exact fractions, rounded to nearest."""
    rgba = np.asarray(rgba, dtype=np.int64)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return np.floor((colour * alpha + 255 * (255 - alpha)) / 255 + 0.5).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *extra, interlace=0):
    """A PNG put together by hand, so that what is tested does not come from Pillow's own writer."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def tiff(width, height, bits, data, *, photometric=1, order="<", samples=1, sample_format=1):
    """An uncompressed TIFF of one strip, by hand, little (<) or big (>) endian."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, samples)]
    tags += [(278, height), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack(f"{order}HHIH2x", tag, 3, 1, value) for tag, value in tags)
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(data))
    return magic + data + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)


def flip(data, at, bit=0):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


# -------------------------------------------------------------------------------------------------------- the corpus


@dataclass(frozen=True)
class Case:
    data: bytes
    expected: np.ndarray | None = None  # None: ImageError
    says: str = ""  # in the error, or in the warning
    warns: bool = False


RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (5, 4, 4), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
BITS = RNG.integers(0, 2, (5, 4), dtype=np.uint8)
LEVELS = RNG.integers(0, 65536, (5, 4)).astype(np.uint16)
PALETTE = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
INDEX = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
HIDDEN_RED = np.zeros((2, 2, 4), dtype=np.uint8)
HIDDEN_RED[..., 0] = 255
PIL_RGB = Image.fromarray(RGB)
TURNED = PIL_RGB.transpose(Image.Transpose.ROTATE_180)


def paletted():
    image = Image.fromarray(INDEX)
    image.putpalette(PALETTE.tobytes())
    return image


def few_colours():
    """At most 20 colours: what a GIF holds exactly."""
    return PIL_RGB.convert("P", palette=Image.Palette.ADAPTIVE, colors=20)


def rows_of(array, dtype=">u1"):
    return [row.astype(dtype).tobytes() for row in array]


def png_cases():
    plte = chunk(b"PLTE", PALETTE.tobytes())
    four = chunk(b"PLTE", PALETTE[:4].tobytes())
    colour = np.stack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1]], axis=2)
    good = encode(PIL_RGB, "PNG")
    idat = good.index(b"IDAT") + 4
    yield "rgb", Case(png(4, 5, 8, 2, rows_of(RGB)), RGB)
    yield "gray", Case(png(4, 5, 8, 0, rows_of(GRAY)), rgb_of(GRAY))
    yield "gray-1-bit", Case(png(3, 2, 1, 0, [b"\xa0", b"\x40"]), rgb_of([[255, 0, 255], [0, 255, 0]]))
    yield "gray-2-bit", Case(png(4, 1, 2, 0, [b"\x1b"]), rgb_of([[0, 85, 170, 255]]))
    yield "gray-4-bit", Case(png(2, 1, 4, 0, [b"\x1f"]), rgb_of([[17, 255]]))
    yield "gray-16-bit", Case(png(4, 5, 16, 0, rows_of(LEVELS, ">u2")), rgb_of(LEVELS >> 8))
    dim = png(2, 1, 16, 0, [struct.pack(">HH", 700, 4095)])
    yield "gray-16-bit-of-a-12-bit-camera", Case(dim, rgb_of([[2, 15]]), "brightest level is 4095", warns=True)
    yield "gray-16-bit-black", Case(png(1, 1, 16, 0, [b"\0\0"]), rgb_of([[0]]))
    yield "rgb-16-bit", Case(png(4, 5, 16, 2, rows_of(colour, ">u2")), (colour >> 8).astype(np.uint8))
    sixteen = RGBA.astype(np.uint16) * 257
    yield "rgba-16-bit", Case(png(4, 5, 16, 6, rows_of(sixteen, ">u2")), over_white(RGBA))
    la = RGBA[..., 2:]
    yield "gray-alpha", Case(png(4, 5, 8, 4, rows_of(la)), over_white(la[..., [0, 0, 0, 1]]))
    la16 = la.astype(np.uint16) * 257
    yield "gray-alpha-16-bit", Case(png(4, 5, 16, 4, rows_of(la16, ">u2")), over_white(la[..., [0, 0, 0, 1]]))
    yield "rgba", Case(png(4, 5, 8, 6, rows_of(RGBA)), over_white(RGBA))
    yield "rgba-hidden-red", Case(png(2, 2, 8, 6, rows_of(HIDDEN_RED)), np.full((2, 2, 3), WHITE))
    half = np.array([[[0, 0, 0, 128], [10, 20, 30, 1], [255, 0, 9, 254]]], dtype=np.uint8)
    yield "rgba-part", Case(png(3, 1, 8, 6, rows_of(half)), [[[127, 127, 127], [254, 254, 254], [255, 1, 10]]])
    yield "palette", Case(png(4, 5, 8, 3, rows_of(INDEX), plte), PALETTE[INDEX])
    yield "palette-4-bit", Case(png(2, 1, 4, 3, [b"\x12"], four), PALETTE[[[1, 2]]])
    yield "palette-2-bit", Case(png(4, 1, 2, 3, [b"\x1b"], four), PALETTE[[[0, 1, 2, 3]]])
    yield "palette-1-bit", Case(png(3, 1, 1, 3, [b"\xa0"], four), PALETTE[[[1, 0, 1]]])
    one = PALETTE[[[0, 1, 2, 3]]].copy()
    one[0, 2] = WHITE
    see_through = chunk(b"tRNS", b"\xff\xff\0")
    yield "palette-one-transparent", Case(png(4, 1, 2, 3, [b"\x1b"], four, see_through), one)
    table = np.concatenate([PALETTE[:4], [[0], [40], [128], [255]]], axis=1)[None]
    many = chunk(b"tRNS", bytes([0, 40, 128]))
    yield "palette-alpha-table", Case(png(4, 1, 2, 3, [b"\x1b"], four, many), over_white(table))
    key = [chunk(b"tRNS", struct.pack(">H", value)) for value in (0, 1, 2, 9, 500)]
    yield "gray-key", Case(png(2, 1, 8, 0, [b"\x08\x09"], key[3]), rgb_of([[8, WHITE]]))
    yield "gray-1-bit-key", Case(png(2, 1, 1, 0, [b"\x40"], key[0]), rgb_of([[WHITE, 255]]))
    yield "gray-2-bit-key", Case(png(4, 1, 2, 0, [b"\x1b"], key[2]), rgb_of([[0, 85, WHITE, 255]]))
    yield "gray-4-bit-key", Case(png(2, 1, 4, 0, [b"\x19"], key[3]), rgb_of([[17, WHITE]]))
    deep = png(2, 1, 16, 0, [struct.pack(">HH", 500, 60000)], key[4])
    yield "gray-16-bit-key", Case(deep, rgb_of([[WHITE, 60000 >> 8]]))
    red = chunk(b"tRNS", struct.pack(">HHH", 200, 0, 0))
    yield "rgb-key", Case(png(2, 1, 8, 2, [bytes([200, 0, 0, 200, 0, 1])], red), [[[WHITE] * 3, [200, 0, 1]]])
    yield "rgb-16-bit-key", Case(png(1, 1, 16, 2, [bytes(6)], red), says="one transparent colour")
    adam7 = png(2, 2, 8, 0, [b"\x01", b"\x02", b"\x03\x04"], interlace=1)
    yield "interlaced", Case(adam7, rgb_of([[1, 2], [3, 4]]))
    yield "one-pixel", Case(png(1, 1, 8, 2, [b"\x01\x02\x03"]), [[[1, 2, 3]]])
    ramp = (np.arange(10_000) % 251).astype(np.uint8)
    yield "wide", Case(png(10_000, 1, 8, 0, [ramp.tobytes()]), rgb_of(ramp[None]))
    yield "tall", Case(png(1, 10_000, 8, 0, rows_of(ramp[:, None])), rgb_of(ramp[:, None]))
    yield "with-text", Case(png(4, 5, 8, 2, rows_of(RGB), chunk(b"tEXt", b"Comment\0hello")), RGB)
    yield "trailing-bytes", Case(good + b"and more", RGB)
    yield "animated", Case(encode(PIL_RGB, "PNG", save_all=True, append_images=[TURNED]), RGB, "2 frames", warns=True)
    yield "cut-in-half", Case(good[: len(good) // 2], says="download it again")
    yield "cut-after-the-header", Case(good[:33], says="cannot be read")
    yield "signature-only", Case(good[:8], says="cannot be read")
    yield "flipped-bit-in-the-pixels", Case(flip(good, idat + 9), says="cannot be read")
    yield "flipped-bit-in-the-header", Case(flip(good, 18), says="cannot be read")
    yield "flipped-bit-in-a-text", Case(flip(png(1, 1, 8, 0, [b"\0"], chunk(b"tEXt", b"a\0b")), 43), says="cannot be")
    yield "no-pixels", Case(b"\x89PNG\r\n\x1a\n" + good[8:33] + chunk(b"IEND", b""), says="cannot be read")
    yield "zero-wide", Case(png(0, 1, 8, 0, [b""]), says="cannot be read")
    yield "bomb", Case(png(60_000, 60_000, 1, 0, [b""]), says="more than the limit")
    yield "over-the-cap", Case(png(10_000, 9_000, 8, 0, [b""]), says="more than the limit")


def tiff_cases():
    twelve = bytes([0xFF, 0xF1, 0x23])  # 4095, 291
    flat = LEVELS.astype("<u2").tobytes()
    good = encode(PIL_RGB, "TIFF", compression="tiff_lzw")
    yield "rgb", Case(encode(PIL_RGB, "TIFF"), RGB)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits"):
        yield compression, Case(encode(PIL_RGB, "TIFF", compression=compression), RGB)
    yield "big", Case(encode(PIL_RGB, "TIFF", big_tiff=True), RGB)
    yield "rgba", Case(encode(Image.fromarray(RGBA), "TIFF"), over_white(RGBA))
    yield "gray", Case(tiff(4, 5, 8, GRAY.tobytes()), rgb_of(GRAY))
    yield "gray-white-is-zero", Case(tiff(4, 5, 8, GRAY.tobytes(), photometric=0), rgb_of(255 - GRAY))
    yield "gray-16-bit", Case(tiff(4, 5, 16, flat), rgb_of(LEVELS >> 8))
    yield "gray-16-bit-big-endian", Case(tiff(4, 5, 16, LEVELS.astype(">u2").tobytes(), order=">"), rgb_of(LEVELS >> 8))
    negative = rgb_of((65535 - LEVELS) >> 8)
    yield "gray-16-bit-white-is-zero", Case(tiff(4, 5, 16, flat, photometric=0), negative)
    yield "gray-16-bit-lzw", Case(encode(Image.fromarray(LEVELS), "TIFF", compression="tiff_lzw"), rgb_of(LEVELS >> 8))
    yield "gray-12-bit", Case(tiff(2, 1, 12, twelve), rgb_of([[255, 291 >> 4]]))
    fax = encode(Image.fromarray(BITS * 255).convert("1"), "TIFF", compression="group4")
    yield "fax", Case(fax, rgb_of(BITS * 255))
    yield "palette", Case(encode(paletted(), "TIFF"), PALETTE[INDEX])
    flat_cmyk = encode(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "TIFF")
    yield "cmyk", Case(flat_cmyk, np.full((2, 2, 3), (0, 255, 255)))
    yield "lab", Case(encode(Image.new("LAB", (2, 2)), "TIFF"), says="mode 'LAB'")
    yield "float", Case(encode(Image.fromarray(RGB[..., 0].astype(np.float32) / 255), "TIFF"), says="floating-point")
    yield "int-32", Case(encode(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), says="32-bit integers")
    yield "int-16-signed", Case(tiff(4, 5, 16, flat, sample_format=2), says="integers")
    yield "pages", Case(encode(PIL_RGB, "TIFF", save_all=True, append_images=[TURNED] * 2), RGB, "3 frames", warns=True)
    yield "cut", Case(good[:-40], says="cannot be read")
    yield "cut-in-the-pixels", Case(tiff(4, 5, 8, GRAY.tobytes())[:20], says="cannot be read")
    yield "header-only", Case(b"II*\0\x08\0\0\0", says="cannot be read")
    huge = tiff(60_000, 60_000, 8, b"\0")
    yield "bomb", Case(huge, says="more than the limit")


def jpeg_cases():
    flat = np.full((8, 8), 77, dtype=np.uint8)
    block = np.kron(np.array([[0, 90], [180, 255]]), np.ones((8, 8))).astype(np.uint8)
    good = encode(Image.fromarray(block), "JPEG", quality=100)
    colour = np.full((8, 8, 3), (128, 128, 128), dtype=np.uint8)
    yield "gray", Case(encode(Image.fromarray(flat), "JPEG"), rgb_of(flat))
    yield "blocks", Case(good, rgb_of(block))
    yield "rgb", Case(encode(Image.fromarray(colour), "JPEG"), colour)
    yield "progressive", Case(encode(Image.fromarray(block), "JPEG", quality=100, progressive=True), rgb_of(block))
    yield "cmyk", Case(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), np.zeros((8, 8, 3)))
    profile = encode(Image.new("CMYK", (8, 8)), "JPEG", icc_profile=b"a printer")
    yield "cmyk-with-profile", Case(profile, np.full((8, 8, 3), 255), "colour profile", warns=True)
    pair = encode(Image.fromarray(block), "MPO", quality=100, save_all=True, append_images=[Image.fromarray(flat)])
    yield "phone-with-preview", Case(pair, rgb_of(block))
    yield (
        "broken-exif",
        Case(encode(Image.fromarray(flat), "JPEG", exif=b"Exif\0\0nonsense"), rgb_of(flat), "EXIF", True),
    )
    yield "cut", Case(good[:-30], says="cannot be read")
    yield "cut-in-the-header", Case(good[:100], says="cannot be read")
    yield "marker-only", Case(b"\xff\xd8\xff\xe0", says="cannot be read")
    size = good.index(b"\xff\xc0") + 5
    yield "bomb", Case(good[:size] + b"\xff\xdc\xff\xdc" + good[size + 4 :], says="more than the limit")


def other_cases():
    lossless = encode(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True)
    gif = encode(few_colours(), "GIF")
    bmp = encode(PIL_RGB, "BMP")
    as_white = np.array(few_colours().convert("RGB"))
    as_white[np.array(few_colours()) == 3] = WHITE
    yield "webp", Case(encode(PIL_RGB, "WEBP", lossless=True), RGB)
    yield "webp-alpha", Case(lossless, over_white(RGBA))
    film = encode(PIL_RGB, "WEBP", lossless=True, save_all=True, append_images=[TURNED])
    yield "webp-animated", Case(film, RGB, "2 frames", warns=True)
    long = bytearray(film)
    long[24:27] = (10_000_000).to_bytes(3, "little")
    yield "webp-long-row", Case(bytes(long), says="at most 65535 pixels per side")
    yield "webp-cut", Case(lossless[:-20], says="cannot be read")
    yield "webp-header-only", Case(lossless[:16], says="cannot be read")
    yield "gif", Case(gif, np.array(few_colours().convert("RGB")))
    yield "gif-gray", Case(encode(Image.fromarray(GRAY), "GIF"), rgb_of(GRAY))
    yield "gif-transparent", Case(encode(few_colours(), "GIF", transparency=3), as_white)
    film = encode(few_colours(), "GIF", save_all=True, append_images=[TURNED, PIL_RGB])
    yield "gif-animated", Case(film, np.array(few_colours().convert("RGB")), "3 frames", warns=True)
    yield "gif-cut", Case(gif[:-15], says="cannot be read")
    yield "gif-header-only", Case(gif[:13], says="cannot be read")
    yield "bmp", Case(bmp, RGB)
    yield "bmp-gray", Case(encode(Image.fromarray(GRAY), "BMP"), rgb_of(GRAY))
    yield "bmp-palette", Case(encode(paletted(), "BMP"), PALETTE[INDEX])
    yield "bmp-1-bit", Case(encode(Image.fromarray(BITS * 255).convert("1"), "BMP"), rgb_of(BITS * 255))
    # The fourth byte of a plain 32-bit BMP is padding, not alpha.
    yield "bmp-32-bit", Case(encode(Image.fromarray(RGBA), "BMP"), RGBA[..., :3])
    yield "bmp-cut", Case(bmp[:-25], says="cannot be read")
    yield "bmp-header-only", Case(bmp[:20], says="cannot be read")
    yield "ppm", Case(b"P6 4 5 255\n" + RGB.tobytes(), RGB)
    yield "ppm-plain", Case(b"P3 # a comment\n1 2\n15\n15 0 0  0 3 15\n", [[[255, 0, 0]], [[0, 51, 255]]])
    yield "pgm", Case(b"P5 4 5 255\n" + GRAY.tobytes(), rgb_of(GRAY))
    yield "pgm-plain", Case(b"P2\n2 1\n10\n0 10\n", rgb_of([[0, 255]]))
    yield "pgm-16-bit", Case(b"P5 4 5 65535\n" + LEVELS.astype(">u2").tobytes(), rgb_of(LEVELS >> 8))
    yield "pgm-10-bit", Case(b"P5 2 1 1023\n" + struct.pack(">HH", 1023, 0), rgb_of([[255, 0]]))
    yield "pbm", Case(b"P4 3 2\n\xa0\x40", rgb_of([[0, 255, 0], [255, 0, 255]]))
    yield "pbm-plain", Case(b"P1\n3 1\n1 0 1\n", rgb_of([[0, 255, 0]]))
    yield "pfm", Case(b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5), says="floating-point")
    yield "ppm-cut", Case(b"P6 4 5 255\n" + RGB.tobytes()[:-1], says="cannot be read")
    yield "pgm-plain-cut", Case(b"P2\n2 2\n10\n0 10 3", says="cannot be read")
    yield "ppm-negative", Case(b"P3 1 1 255\n-1 0 0\n", says="cannot be read")
    yield "ppm-bomb", Case(b"P6 59999 59999 255\n", says="more than the limit")


def stranger_cases():
    yield "empty", Case(b"", says="is empty")
    yield "text", Case(b"once upon a time", says="a text file")
    yield "html", Case(b"\n<!DOCTYPE html><html><body>404</body></html>", says="a web page")
    yield "html-bare", Case(b"\xef\xbb\xbf<HTML>", says="a web page")
    yield "svg", Case(b'<svg xmlns="x"/>', says="SVG")
    yield "xml", Case(b'<?xml version="1.0"?>', says="SVG")
    yield "pdf", Case(b"%PDF-1.7\n", says="PDF")
    yield "heic", Case(b"\0\0\0\x18ftypheic\0\0\0\0", says="HEIC")
    yield "avif", Case(b"\0\0\0\x18ftypavif\0\0\0\0", says="AVIF")
    yield "jpeg-2000", Case(b"\0\0\0\x0cjP  \r\n\x87\n", says="JPEG 2000")
    yield "npy", Case(b"\x93NUMPY\x01\0", says="np.load")
    yield "zip", Case(b"PK\x03\x04rest", says="zip")
    yield "gzip", Case(b"\x1f\x8b\x08\0", says="gzip")
    yield "lfs", Case(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", says="git lfs pull")
    yield "zeros", Case(bytes(100), says="no known kind")
    yield "noise", Case(bytes(range(128, 256)), says="no known kind")
    yield "psd", Case(b"8BPS\0\1" + bytes(30), says="no known kind")
    yield "ico", Case(encode(PIL_RGB, "ICO"), says="no known kind")
    yield "eps", Case(encode(PIL_RGB, "EPS"), says="Expected a JPEG, PNG")


CASES = {
    f"{kind}-{name}": case
    for kind, cases in (
        ("png", png_cases()),
        ("tiff", tiff_cases()),
        ("jpeg", jpeg_cases()),
        ("other", other_cases()),
        ("stranger", stranger_cases()),
    )
    for name, case in cases
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def check_form(pixels):
    assert type(pixels) is np.ndarray
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert pixels.flags.owndata


def test_the_corpus_is_large():
    assert len(CASES) >= 100


def test_each_file_gives_its_pixels_or_one_error(case, tmp_path):
    path = tmp_path / "picture.jpg"  # a name says nothing: the bytes decide
    path.write_bytes(case.data)
    if case.expected is None:
        with pytest.raises(ImageError) as caught:
            read_image(path)
        message = str(caught.value)
        assert case.says in message
        assert repr(str(path)) in message
        assert message.endswith(".")
    elif case.warns:
        with pytest.warns(ClipdiyWarning, match=case.says) as record:
            pixels = read_image(path)
        assert len(record) == 1
        assert record[0].filename == __file__  # points at the caller
        np.testing.assert_array_equal(pixels, case.expected)
    else:
        pixels = read_image(path)
        np.testing.assert_array_equal(pixels, case.expected)
        check_form(pixels)


@pytest.mark.filterwarnings("ignore::clipdiy_lab.errors.ClipdiyWarning")
def test_bytes_and_streams_and_strings_say_the_same(case, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(case.data)
    moved = io.BytesIO(case.data)
    moved.read(3)
    for source in (case.data, moved, str(path)):
        if case.expected is None:
            with pytest.raises(ImageError):
                read_image(source)
        else:
            np.testing.assert_array_equal(read_image(source), case.expected)
    assert not moved.closed


@pytest.mark.filterwarnings("ignore::clipdiy_lab.errors.ClipdiyWarning")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.expected is not None])
def test_pil_images_say_the_same_as_their_files(name):
    case = CASES[name]
    with Image.open(io.BytesIO(case.data)) as image:
        np.testing.assert_array_equal(read_image(image), case.expected)
        np.testing.assert_array_equal(read_image(image), case.expected)  # now loaded


# ------------------------------------------------------------------------------------------------------ orientation

T = Image.Transpose
STORED = {
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}
UPRIGHT = np.kron(np.array([[10, 60, 110], [160, 210, 250]]), np.ones((8, 8))).astype(np.uint8)
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", LOSSLESS)
def test_every_orientation_gives_the_same_upright_pixels(format, orientation):
    stored = Image.fromarray(rgb_of(UPRIGHT))
    if STORED[orientation] is not None:
        stored = stored.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(stored, format, exif=exif, **LOSSLESS[format])
    pixels = read_image(data)
    check_form(pixels)
    np.testing.assert_allclose(pixels.astype(int), rgb_of(UPRIGHT).astype(int), atol=1 if format == "JPEG" else 0)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read_image(image), pixels)
        np.testing.assert_array_equal(read_image(image.copy()), pixels)


def test_orientation_turns_16_bit_gray_too():
    exif = Image.Exif()
    exif[274] = 6
    data = encode(Image.fromarray(LEVELS), "PNG", exif=exif)
    np.testing.assert_array_equal(read_image(data), rgb_of(np.rot90(LEVELS, -1) >> 8))


@pytest.mark.parametrize("value", [0, 9, 400])
def test_an_unknown_orientation_is_no_orientation(value):
    exif = Image.Exif()
    exif[274] = value
    np.testing.assert_array_equal(read_image(encode(PIL_RGB, "PNG", exif=exif)), RGB)


def test_a_cut_exif_block_is_told_by_pillow_itself():
    block = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    data = encode(Image.fromarray(GRAY), "PNG", exif=block)
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        np.testing.assert_array_equal(read_image(data), rgb_of(GRAY))


# ------------------------------------------------------------------------------------------------- other sources


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RGB, RGB),
        (RGB[::-1, ::2], RGB[::-1, ::2]),
        (np.asfortranarray(RGB), RGB),
        (GRAY, rgb_of(GRAY)),
        (RGBA, over_white(RGBA)),
        (HIDDEN_RED, np.full((2, 2, 3), WHITE)),
        (np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3))),
    ],
)
def test_arrays(array, expected):
    before = array.copy()
    pixels = read_image(array)
    np.testing.assert_array_equal(pixels, expected)
    check_form(pixels)
    assert not np.shares_memory(pixels, array)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((4, 4, 3)), r"\* 255"),
        (np.zeros((4, 4, 3), np.float16), r"\* 255"),
        (np.zeros((4, 4), bool), r"astype\(np.uint8\) \* 255"),
        (np.zeros((4, 4), np.uint16), ">> 8"),
        (np.zeros((4, 4, 3), np.int64), "astype"),
        (np.zeros((4, 4, 3), np.complex64), "uint8"),
        (np.array([["a"]]), "uint8"),
        (np.array([[None]], dtype=object), "uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), "one image at a time"),
        (np.zeros((3, 8, 9), np.uint8), "moveaxis"),
        (np.zeros((8, 9, 1), np.uint8), r"\[\.\.\., 0\]"),
        (np.zeros((8, 9, 2), np.uint8), "H x W x 3"),
        (np.zeros(12, np.uint8), "H x W x 3"),
        (np.uint8(3) + np.zeros((), np.uint8), "not.*|an array"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
    ],
)
def test_arrays_that_are_no_image(array, hint):
    with pytest.raises(ImageError, match=hint):
        read_image(np.asarray(array))


@pytest.mark.parametrize("source", [None, 3, 2.5, [[1, 2]], object(), {"a": 1}, bytearray(b"x")])
def test_things_that_are_no_source(source):
    with pytest.raises(ImageError, match="Expected a path, bytes, a binary stream, a PIL image or a uint8 array"):
        read_image(source)


def test_array_like_objects_are_told_to_become_arrays():
    import xarray as xr

    with pytest.raises(ImageError, match="as a NumPy array"):
        read_image(xr.DataArray(RGB))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_pil_modes_that_have_colours(mode):
    white = {"CMYK": 0, "YCbCr": (255, 128, 128), "HSV": (0, 0, 255), "P": 0, "PA": (0, 255)}
    image = Image.new(mode, (3, 2), white.get(mode, "white" if mode not in ("La", "RGBa") else None) or 0)
    if mode in ("P", "PA"):
        image.putpalette([255] * 768)
    np.testing.assert_array_equal(read_image(image), np.full((2, 3, 3), 255))


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pil_modes_that_have_none(mode):
    with pytest.raises(ImageError, match="without guessing"):
        read_image(Image.new(mode, (3, 2)))


def test_a_palette_with_alpha_of_its_own():
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 255, 255, 0, 0, 0], "RGBA")
    image.putdata([0, 1])
    np.testing.assert_array_equal(read_image(image), [[[9] * 3, [255] * 3]])


def test_a_pil_image_is_read_at_the_frame_where_it_stands():
    film = encode(PIL_RGB, "PNG", save_all=True, append_images=[TURNED])
    with Image.open(io.BytesIO(film)) as image:
        image.seek(1)
        np.testing.assert_array_equal(read_image(image), np.asarray(TURNED))


def test_a_pil_image_that_was_closed_or_is_empty():
    image = Image.open(io.BytesIO(encode(PIL_RGB, "PNG")))
    image.close()
    with pytest.raises(ImageError, match="PIL image of mode 'RGB', 4 x 5"):
        read_image(image)
    with pytest.raises(ImageError, match="no pixels"):
        read_image(Image.new("RGB", (0, 5)))


def test_streams(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(PIL_RGB, "PNG"))
    with path.open("rb") as stream:
        np.testing.assert_array_equal(read_image(stream), RGB)
        assert not stream.closed
    with path.open("r", encoding="latin-1") as stream, pytest.raises(ImageError, match="binary mode, 'rb'"):
        read_image(stream)
    with pytest.raises(ImageError, match="Pass an open stream"):
        read_image(stream)
    end, start = os.pipe()
    with os.fdopen(start, "wb") as sender:
        sender.write(path.read_bytes())
    with os.fdopen(end, "rb") as pipe:
        np.testing.assert_array_equal(read_image(pipe), RGB)


# ----------------------------------------------------------------------------------------------------------- paths


def test_a_missing_file_names_its_neighbours(tmp_path):
    for other in ("cat.py", "cat.npy", "cat.jpg.part"):  # no image, however near its name is
        with pytest.raises(ImageError, match=r"There is no file .*cat\.jpg.*Its folder has no image\.$"):
            read_image(tmp_path / "cat.jpg")
        (tmp_path / other).touch()
    (tmp_path / "cat.JPEG").touch()
    with pytest.raises(ImageError, match=r"There is no file .*cat\.jpg.*Did you mean 'cat\.JPEG'\?$") as caught:
        read_image(tmp_path / "cat.jpg")
    assert caught.value.__suppress_context__  # a missing file needs no second traceback
    with pytest.raises(ImageError, match=r"Known: 'cat\.JPEG'\.$"):
        read_image(tmp_path / "aeroplane.png")
    with pytest.raises(ImageError, match=r"the folder .* does not exist"):
        read_image(tmp_path / "no" / "cat.jpg")


@pytest.mark.parametrize("address", ["https://example.org/cat.jpg", "file:///cat.jpg", "data:image/png;base64,AAAA"])
def test_an_address_is_not_fetched(address):
    with pytest.raises(ImageError, match="an address, not a file"):
        read_image(address)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="the current one"):
        read_image("")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image("a\0b.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image("x" * 5000)
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path / "file" / "cat.png")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="a device or a pipe"):
        read_image(tmp_path / "pipe")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(PIL_RGB, "PNG"))

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # tests may run as root, whom no permission stops
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(path)


# --------------------------------------------------------------------------------------------------------- the cap


def test_the_cap_is_exact_and_can_be_moved():
    data = encode(PIL_RGB, "PNG")
    np.testing.assert_array_equal(read_image(data, max_pixels=20), RGB)
    for source in (data, PIL_RGB):
        with pytest.raises(ImageError, match="4 x 5 = 20 pixels, more than the limit of 19"):
            read_image(source, max_pixels=19)
    np.testing.assert_array_equal(read_image(RGB, max_pixels=19), RGB)  # in memory already


@pytest.mark.parametrize("cap", [0, -1, True, 2.5, None, "many"])
def test_a_cap_that_makes_no_sense(cap):
    with pytest.raises(ConfigError, match="positive integer"):
        read_image(encode(PIL_RGB, "PNG"), max_pixels=cap)


def test_the_cap_comes_before_decoding(monkeypatch):
    def decode(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    for name in ("png-over-the-cap", "png-bomb", "tiff-bomb", "jpeg-bomb", "other-ppm-bomb"):
        with pytest.raises(ImageError, match="more than the limit"):
            read_image(CASES[name].data)


def test_no_process_wide_setting_changes_or_matters(monkeypatch):
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for case in CASES.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_image(case.data)
            except ImageError:
                assert case.expected is None
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)  # a setting of the user's for other code
    np.testing.assert_array_equal(read_image(encode(PIL_RGB, "PNG")), RGB)


def test_pillows_own_limit_becomes_ours(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.raises(ImageError, match="decompression bomb"):
        read_image(encode(PIL_RGB, "WEBP", lossless=True))


def test_threads_do_not_disturb_each_other():
    wrong = []

    def work(name):
        for _ in range(20):
            pixels = read_image(CASES[name].data)
            if not np.array_equal(pixels, CASES[name].expected):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("png-rgb", "jpeg-blocks", "tiff-tiff_lzw")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------------------------------------- cuts and mutations

SEEDS = {
    name: CASES[name].data
    for name in (
        "png-rgb",
        "png-palette-alpha-table",
        "png-gray-16-bit-key",
        "png-animated",
        "tiff-tiff_lzw",
        "tiff-tiff_deflate",
        "tiff-gray-12-bit",
        "tiff-pages",
        "jpeg-blocks",
        "jpeg-progressive",
        "jpeg-phone-with-preview",
        "other-webp-alpha",
        "other-webp-animated",
        "other-gif-transparent",
        "other-gif-animated",
        "other-bmp",
        "other-bmp-palette",
        "other-ppm",
        "other-ppm-plain",
        "other-pgm-10-bit",
        "other-pbm-plain",
    )
} | {
    f"exif-{format}": encode(
        Image.fromarray(rgb_of(UPRIGHT)),
        format,
        exif=b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    )
    for format in ("JPEG", "PNG", "WEBP")
}


def attempt(data):
    """The pixels or the error; anything else fails the test."""
    try:
        pixels = read_image(data, max_pixels=1 << 18)
    except ImageError:
        return None
    check_form(pixels)
    return pixels


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SEEDS)
def test_a_cut_file_is_an_error_or_loses_nothing(name):
    data = SEEDS[name]
    whole = attempt(data)
    assert whole is not None
    for end in range(0, len(data), 1 + len(data) // 400):
        pixels = attempt(data[:end])
        # In a plain-text format the last number may lose its last digit: nothing in the file can tell.
        if pixels is not None and not (name.endswith("plain") and end >= len(data) - 2):
            np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {end}")


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "drop", "insert", "cut", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def mutate(data, edits):
    mutated = bytearray(data)
    for kind, where, value in edits:
        at = int(where * len(mutated))
        if kind == "set" and mutated:
            mutated[at] = value
        elif kind == "flip" and mutated:
            mutated[at] ^= 1 << (value % 8)
        elif kind == "drop":
            del mutated[at : at + 1 + value % 8]
        elif kind == "insert":
            mutated[at:at] = bytes([value]) * (1 + value % 4)
        elif kind == "cut":
            del mutated[at:]
        elif kind == "repeat":
            mutated[at:at] = mutated[at : at + value]
    return bytes(mutated)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=600, deadline=datetime.timedelta(seconds=20), suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(SEEDS)), edits=edits)
def test_mutated_files_give_pixels_or_one_error(name, edits):
    attempt(mutate(SEEDS[name], edits))


@pytest.mark.filterwarnings("error", "ignore::clipdiy_lab.errors.ClipdiyWarning")
@settings(max_examples=200, deadline=datetime.timedelta(seconds=20), suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(SEEDS)), edits=edits)
def test_they_also_do_where_warnings_are_errors(name, edits):
    attempt(mutate(SEEDS[name], edits))


@given(st.binary(max_size=200))
def test_any_bytes_give_pixels_or_one_error(data):
    attempt(data)


@pytest.mark.parametrize("bit", range(8))
def test_no_flipped_bit_in_a_png_goes_unseen(bit):
    data = encode(PIL_RGB, "PNG")
    for at in range(len(data)):
        pixels = attempt(flip(data, at, bit))
        assert pixels is None or np.array_equal(pixels, RGB), f"byte {at}"  # after the last row it does no harm


# -------------------------------------------------------------------------------------------------------- properties

small_rgb = hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3)))


@given(small_rgb, st.sampled_from(["PNG", "BMP", "TIFF", "PPM"]))
def test_lossless_formats_round_trip(array, format):
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(array), format)), array)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(4))))
def test_compositing_matches_exact_fractions(rgba):
    np.testing.assert_array_equal(read_image(rgba), over_white(rgba))
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(rgba), "PNG")), over_white(rgba))


def test_compositing_is_exact_for_every_pair():
    rgba = np.zeros((256, 256, 4), dtype=np.uint8)
    rgba[..., 0], rgba[..., 3] = np.arange(256)[:, None], np.arange(256)
    np.testing.assert_array_equal(read_image(rgba), over_white(rgba))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_16_bit_gray_gives_back_8_bits_however_it_was_widened(gray):
    for factor in (256, 257):
        wide = gray.astype(np.uint16) * factor
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)  # a dark draw
            np.testing.assert_array_equal(read_image(encode(Image.fromarray(wide), "PNG")), rgb_of(gray))


# -------------------------------------------------------------------------------------------------------- provenance


def test_content_hash_depends_on_values_shape_and_type_only():
    base = content_hash(RGB)
    assert len(base) == 64
    assert content_hash(RGB.copy(order="F")) == base
    assert content_hash(read_image(encode(PIL_RGB, "PNG"))) == base
    others = [RGB.reshape(4, 5, 3), RGB.astype(np.int8), RGB ^ 1, RGB[:-1]]
    assert len({base, *map(content_hash, others)}) == 5


def test_content_hash_stays_the_same_across_versions():
    assert content_hash(np.arange(6, dtype=np.uint8).reshape(1, 2, 3)) == (
        "e48427c6ba45c616c98274be95e3e2d624266a7d5c459ca57abd52da9b461397"
    )


def test_describe(tmp_path):
    assert describe(Path("a") / "b.png") == repr(os.path.join("a", "b.png"))
    assert describe(b"ab") == "2 bytes in memory"
    assert describe(io.BytesIO()) == "a stream"
    assert describe(PIL_RGB) == "a PIL image of mode 'RGB', 4 x 5"
    assert describe(None) == "an object of type 'NoneType'"
    with (tmp_path / "s").open("wb") as stream:
        assert describe(stream) == f"a stream of {str(tmp_path / 's')!r}"


def test_open_image_closes_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(PIL_RGB, "PNG"))
    with open_image(path) as image:
        assert image.size == (4, 5)
        stream = image.fp
    assert stream.closed


# -------------------------------------------------------------------------------------------------------- real files


@pytest.fixture(scope="module")
def voc():
    folder = SHARED / "samples" / "voc2012"
    if not folder.is_dir():
        assert os.environ.get("CI") != "true", f"{folder} is missing, and CI must not skip it"
        pytest.skip("the sample files beside the repository are not here")
    return folder


def test_real_photographs(voc):
    photos = sorted(voc.rglob("*.jpg"))
    assert len(photos) >= 11
    for photo in photos:
        with Image.open(photo) as image:
            expected = np.asarray(image.convert("RGB"))
        pixels = read_image(photo)
        check_form(pixels)
        np.testing.assert_array_equal(pixels, expected)


def test_real_photographs_cut(voc):
    data = sorted(voc.rglob("*.jpg"))[0].read_bytes()
    for part in itertools.chain(range(1, len(data), len(data) // 25), [len(data) - 2]):
        assert attempt(data[:part]) is None or part == len(data) - 2
