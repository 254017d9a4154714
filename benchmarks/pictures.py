"""Photographs and scenes as JPEG files of 500 x 375 pixels, what most of Pascal VOC is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import clipdiy_lab as lab

SAMPLES = Path(__file__).parents[2] / "shared/samples"
WIDTH, HEIGHT = 500, 375


@dataclass(frozen=True)
class Pictures:
    """A dataset of JPEG files; the masks are stripes, since what counting takes does not depend on them."""

    files: tuple[bytes, ...]
    label_names: tuple[str, ...]
    name: str = "pictures"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> lab.Sample:
        from clipdiy_lab.datasets.images import read_image

        if not 0 <= index < len(self):
            raise IndexError(index)
        return lab.Sample(f"{index:04d}", read_image(self.files[index]), self.mask)

    @property
    def mask(self) -> np.ndarray:
        """Return a mask in which every label stands."""
        stripe = np.arange(WIDTH, dtype=np.int64) * len(self.label_names) // WIDTH
        return np.repeat(stripe[None].astype(np.uint8), HEIGHT, axis=0)

    def first(self, count: int) -> Pictures:
        """Return a dataset of so many files, repeated where there are fewer."""
        return Pictures(tuple(self.files[n % len(self)] for n in range(count)), self.label_names)


def pictures() -> Pictures:
    """Return six photographs of VOC 2012, where they lie beside the repository, and four scenes; else ten scenes."""
    photographs = sorted((SAMPLES / "voc2012/JPEGImages").glob("*.jpg"))[:6]
    scenes = lab.open_dataset("scenes")
    drawn = [Image.fromarray(scenes[n].image) for n in range(10 - len(photographs))]
    return Pictures(tuple(_jpeg(one) for one in [*map(Image.open, photographs), *drawn]), tuple(scenes.label_names))


def calibration() -> list[np.ndarray]:
    """Return other images, to set the ranges of int8 by: photographs of COCO where they are there, and scenes."""
    photographs = sorted((SAMPLES / "coco_ccby/images/val2017").glob("*.jpg"))[:6]
    scenes = lab.open_dataset("scenes", split="train", length=8 - len(photographs))
    drawn = [scenes[n].image for n in range(len(scenes))]
    return [*(np.array(Image.open(path).convert("RGB").resize((WIDTH, HEIGHT))) for path in photographs), *drawn]


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
