"""What reading a large image costs in memory is what the documents say."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipdiy_lab.datasets.images import MAX_PIXELS, content_hash, read_image

HEIGHT, WIDTH = 2000, 4000
STRIPS = 16 * 2**20  # bytes that do not grow with the image
DOCUMENT = (Path(__file__).parents[2] / "docs/howto/datasets.md").read_text()

# A process of its own, since memory that was freed in an older one is used again and would not count.
READ = r"""
import re, sys
from clipdiy_lab.datasets.images import content_hash, read_image
from clipdiy_lab.datasets.palette import read_palette_png
from clipdiy_lab.datasets.readers import identity, to_labels
def peak(): return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
before = peak()
if sys.argv[1] == "mask":
    result = to_labels(read_palette_png(sys.argv[2]), identity(9), "the mask", 9)
else:
    result = read_image(sys.argv[2])
read = peak()
digest = content_hash(result)
print(read - before, peak() - read, digest)
"""


def peak(path, what="image"):
    """Bytes by which reading and then hashing raised the peak of the process, and the hash."""
    done = subprocess.run([sys.executable, "-c", READ, what, path], capture_output=True, text=True, check=True)
    read, hashed, digest = done.stdout.split()
    return int(read), int(hashed), digest


def allowed(kind):
    """Bytes for an image of this size, from the table of the document."""
    said = float(re.search(rf"^\| {re.escape(kind)} \| ([\d.]+) ", DOCUMENT, flags=re.MULTILINE)[1])
    return 1.1 * said * HEIGHT * WIDTH + STRIPS


@pytest.mark.parametrize(
    ("kind", "mode", "name", "options"),
    [
        ("JPEG", "RGB", "a.jpg", {}),
        ("JPEG, progressive", "RGB", "a.jpg", {"progressive": True, "subsampling": 0}),
        ("PNG, TIFF, colour", "RGB", "a.tif", {}),
        ("PNG, TIFF, colour", "RGBA", "a.png", {"compress_level": 1}),
        ("PNG, gray or palette", "L", "a.png", {"compress_level": 1}),
    ],
)
def test_images_need_what_the_document_says(kind, mode, name, options, tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).convert(mode)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned, which needs no second copy either
    picture.save(tmp_path / name, exif=exif, **options)
    read, hashed, digest = peak(tmp_path / name)
    assert 3 * HEIGHT * WIDTH <= read <= allowed(kind)
    assert hashed < HEIGHT * WIDTH
    assert digest == content_hash(read_image(tmp_path / name))


def test_masks_need_what_the_document_says(tmp_path):
    mask = np.kron(np.random.default_rng(0).integers(0, 9, (2, 4), dtype=np.uint8), np.ones((1000, 1000), np.uint8))
    Image.fromarray(mask).save(tmp_path / "mask.png", compress_level=1)
    read, _, digest = peak(tmp_path / "mask.png", "mask")
    assert HEIGHT * WIDTH <= read <= allowed("a mask")
    assert digest == content_hash(mask)


def test_the_cap_in_the_document():
    assert f"{MAX_PIXELS / 1e6:.0f} megapixels" in DOCUMENT
