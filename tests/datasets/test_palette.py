"""Label maps in palette PNG: indices in, the same indices out, never by way of colours."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from clipdiy_lab.datasets.palette import read_palette_png, voc_colormap, write_label_png, write_palette_png
from clipdiy_lab.errors import DatasetError, ImageError, OutputError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
LABELS = np.array([[0, 1, 20], [255, 7, 128]])


def shared(name):
    path = SHARED / name
    if not path.exists():
        assert os.environ.get("CI") != "true", f"{path} is missing, and CI must not skip it"
        pytest.skip("the sample files beside the repository are not here")
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, row, *extra):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


# --------------------------------------------------------------------------------------------------------- the colours


def test_the_colours_of_voc():
    colors = voc_colormap()
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    assert colors[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]
    assert len({tuple(color) for color in colors.tolist()}) == 256


def test_the_colours_are_those_of_the_published_table():
    table = json.loads(shared("classes/palettes.json").read_text())
    np.testing.assert_array_equal(voc_colormap(), table["voc_colormap256"])
    np.testing.assert_array_equal(voc_colormap(21), table["voc21"])


@pytest.mark.parametrize("n", [1, 21, 256])
def test_a_shorter_table_is_the_beginning(n):
    np.testing.assert_array_equal(voc_colormap(n), voc_colormap()[:n])


@pytest.mark.parametrize("n", [0, -1, 257])
def test_a_table_that_a_byte_cannot_index(n):
    with pytest.raises(ImageError, match="Expected 1 to 256"):
        voc_colormap(n)


# ------------------------------------------------------------------------------------------------------------- writing


integer_types = st.sampled_from([np.uint8, np.int16, np.int64])
small_shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(hnp.arrays(integer_types, small_shapes, elements=st.integers(0, 255)))
def test_round_trip(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("palette") / "mask.png"
    write_palette_png(path, labels)
    np.testing.assert_array_equal(read_palette_png(path), labels)


def test_the_file_is_what_voc_tools_expect(tmp_path):
    path = tmp_path / "mask.png"
    write_palette_png(path, LABELS)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.info.get("transparency") is None
        np.testing.assert_array_equal(np.asarray(image), LABELS)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), voc_colormap()[LABELS])
    assert path.read_bytes()[24:26] == bytes([8, 3])  # eight bits, palette, however few the labels
    assert os.listdir(tmp_path) == ["mask.png"]


def test_colours_of_ones_own_leave_the_rest_to_voc(tmp_path):
    own = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    write_palette_png(tmp_path / "mask.png", [[0, 1, 2, 255]], own)
    with Image.open(tmp_path / "mask.png") as image:
        assert np.asarray(image.convert("RGB"))[0].tolist() == [[1, 2, 3], [4, 5, 6], [0, 128, 0], [224, 224, 192]]


def test_the_bytes_are_the_same_every_time(tmp_path):
    for name in ("a.png", "b.png"):
        write_palette_png(tmp_path / name, LABELS)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_name_needs_no_suffix(tmp_path):
    write_palette_png(str(tmp_path / "mask"), LABELS)
    np.testing.assert_array_equal(read_palette_png(str(tmp_path / "mask")), LABELS)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([[256]]), "from 256 to 256"),
        (np.array([[-1, 3]]), "from -1 to 3"),
        (np.array([[2**40]]), "renumber"),
        (np.array([[1.0]]), "type float64"),
        (np.array([[True]]), "type bool"),
        (np.array([["cat"]]), "H x W integers"),
        (np.array([1, 2]), r"shape \(2,\)"),
        (np.zeros((2, 2, 3), np.uint8), r"shape \(2, 2, 3\)"),
        (np.zeros((0, 3), np.uint8), r"shape \(0, 3\)"),
        (None, "H x W integers"),
    ],
)
def test_labels_that_a_byte_cannot_hold(tmp_path, labels, says):
    with pytest.raises(ImageError, match=says):
        write_palette_png(tmp_path / "mask.png", labels)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "colors",
    [np.zeros((2, 3)), np.zeros((2, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros((257, 3), np.uint8), [1, 2, 3]],
)
def test_colours_that_are_none(tmp_path, colors):
    with pytest.raises(ImageError, match="Expected n x 3 uint8 RGB"):
        write_palette_png(tmp_path / "mask.png", LABELS, colors)
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "no" / "mask.png", tmp_path / "file" / "mask.png", Path("/proc/mask.png"), tmp_path):
        with pytest.raises(OutputError):
            write_palette_png(path, LABELS)
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "mask.png"
    write_palette_png(path, LABELS)

    def half(image, stream, *_args, **_kwargs):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ImageFile, "_save", half)
    with pytest.raises(OutputError, match="No space left"):
        write_palette_png(path, LABELS + 0)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_palette_png(path), LABELS)
    assert os.listdir(tmp_path) == ["mask.png"]


@pytest.mark.parametrize(("count", "mode", "depth"), [(2, "P", 8), (255, "P", 8), (256, "I;16", 16), (847, "I;16", 16)])
def test_a_label_map_of_any_number_of_labels(tmp_path, count, mode, depth):
    path = tmp_path / "labels.png"
    labels = np.random.default_rng(count).integers(0, count, (30, 40))
    labels[0, 0] = count - 1
    write_label_png(path, labels, np.zeros((count, 3), np.uint8))
    with Image.open(path) as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), labels)
    assert path.read_bytes()[24] == depth
    assert os.listdir(tmp_path) == ["labels.png"]


@pytest.mark.parametrize("value", [-1, 2**16])
def test_labels_that_16_bits_cannot_hold(tmp_path, value):
    with pytest.raises(ImageError, match=r"Expected 0\.\.65535, what 16 bits can hold"):
        write_label_png(tmp_path / "labels.png", np.array([[value]]), np.zeros((300, 3), np.uint8))
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------- reading

FOUR_COLOURS = chunk(b"PLTE", bytes(range(12)))
SAME_COLOURS = chunk(b"PLTE", bytes(12))
TRANSPARENT = chunk(b"tRNS", bytes([0, 0, 9]))


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (png(2, 1, 8, 3, b"\x03\x01", FOUR_COLOURS), [[3, 1]]),
        (png(2, 1, 4, 3, b"\x31", FOUR_COLOURS), [[3, 1]]),
        (png(4, 1, 2, 3, b"\x1b", FOUR_COLOURS), [[0, 1, 2, 3]]),
        (png(3, 1, 1, 3, b"\xa0", FOUR_COLOURS), [[1, 0, 1]]),
        (png(4, 1, 2, 3, b"\x1b", SAME_COLOURS), [[0, 1, 2, 3]]),
        (png(4, 1, 2, 3, b"\x1b", FOUR_COLOURS, TRANSPARENT), [[0, 1, 2, 3]]),
        (png(2, 1, 8, 0, b"\x03\xff"), [[3, 255]]),
    ],
)
def test_indices_come_back_as_stored(tmp_path, data, labels):
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    read = read_palette_png(path)
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == np.uint8
    assert read.flags.writeable


def encoded(image, format="PNG"):
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (encoded(Image.new("RGB", (2, 2))), "mode 'RGB'"),
        (encoded(Image.new("RGBA", (2, 2))), "mode 'RGBA'"),
        (encoded(Image.new("LA", (2, 2))), "mode 'LA'"),
        (encoded(Image.new("I;16", (2, 2))), "mode 'I;16'"),
        (encoded(Image.new("1", (2, 2))), "mode '1'"),
        (png(2, 1, 4, 0, b"\x31"), "stored as 'L;4'"),
        (png(4, 1, 2, 0, b"\x1b"), "stored as 'L;2'"),
        (encoded(Image.new("P", (2, 2)), "GIF"), "is a GIF file"),
        (encoded(Image.new("L", (2, 2)), "JPEG"), "is a JPEG file"),
        (encoded(Image.new("P", (20, 20)))[:60], "cannot be used"),
        (png(2, 1, 8, 0, b"\x03"), "cannot be read"),
        (b"", "is empty"),
        (b"0 1 2", "a text file"),
        (png(60_000, 60_000, 8, 0, b"\x03"), "more than the limit"),
    ],
)
def test_files_that_hold_no_labels(tmp_path, data, says):
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=says) as caught:
        read_palette_png(path)
    assert repr(str(path)) in str(caught.value)


def test_a_missing_mask(tmp_path):
    (tmp_path / "2007_000033.png").touch()
    with pytest.raises(DatasetError, match=r"There is no file .*Did you mean '2007_000033\.png'"):
        read_palette_png(tmp_path / "2007_000032.png")


def test_a_flipped_bit_never_changes_a_label_unseen(tmp_path):
    path = tmp_path / "mask.png"
    write_palette_png(path, LABELS)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            np.testing.assert_array_equal(read_palette_png(path), LABELS)
        except DatasetError:
            continue


def test_real_masks():
    folder = shared("samples/voc2012")
    masks = sorted([*folder.glob("SegmentationClass/*.png"), *folder.glob("sbd_aug/*/*.png")])
    assert len(masks) >= 11
    for mask in masks:
        labels = read_palette_png(mask)
        assert set(np.unique(labels)) <= {*range(21), 255}, mask.name
        photo = mask.parents[1] / "JPEGImages" / f"{mask.stem}.jpg"
        with Image.open(photo) as image:
            assert labels.shape == (image.height, image.width)


def test_a_real_mask_in_detail(tmp_path):
    mask = shared("samples/voc2012/SegmentationClass/2007_000032.png")
    labels = read_palette_png(mask)
    assert labels.shape == (281, 500)
    assert set(np.unique(labels)) == {0, 1, 15, 255}  # two aeroplanes and a person
    write_palette_png(tmp_path / "again.png", labels)
    with Image.open(mask) as official, Image.open(tmp_path / "again.png") as again:
        np.testing.assert_array_equal(np.asarray(official.convert("RGB")), np.asarray(again.convert("RGB")))
