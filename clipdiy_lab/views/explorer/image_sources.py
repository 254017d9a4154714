"""Where an image comes from, so that it can be named, found again and written as code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from clipdiy_lab.datasets.images import ENDINGS, content_hash, describe, read_image
from clipdiy_lab.datasets.registry import open_dataset
from clipdiy_lab.errors import DatasetError, ImageError

Kind = Literal["scene", "file", "upload", "given"]

MAX_UPLOAD: Final = 10 * 2**20
"""Bytes. Jupyter's web socket (tornado's default) takes no longer message."""
SPLITS: Final = ("val", "val_unseen", "train")


@dataclass(frozen=True)
class Picture:
    """An image and its name; two are equal when they are the same pixels from the same place.

    Attributes
    ----------
    kind : {"scene", "file", "upload", "given"}
    name : str
        ``SPLIT/NUMBER`` of a scene, the path of a file, the file name of an upload.
    sha256 : str
        Of the pixels.
    pixels : uint8 array, y x x x 3
    mask : uint8 array, y x x, or None
        True labels by their place in `names`; None where nothing is known.
    names : tuple of str
        Names of the true labels.
    place : int or None
        Where it stands in the album that it was taken from.
    """

    kind: Kind
    name: str
    sha256: str
    pixels: npt.NDArray[np.uint8] = field(compare=False, repr=False)
    mask: npt.NDArray[np.integer] | None = field(default=None, compare=False, repr=False)
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    place: int | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """Its name for people."""
        return (
            Path(self.name).name if self.kind == "file" else f"scene {self.name}" if self.kind == "scene" else self.name
        )

    @property
    def code(self) -> str:
        """The line of Python that makes the image, or a comment that says which one it is."""
        if self.kind == "scene":
            split, number = self.name.split("/")
            return f'image = lab.open_dataset("scenes", split={split!r})[{number}].image'
        if self.kind == "file":
            return f"image = {self.name!r}"
        if self.kind == "upload":
            return f"image = {self.name!r}  # the file that was uploaded; explorer.image holds its pixels"
        return f"# image is the one that lab.explore was given: {self.name}"


def _picture(kind: Kind, name: str, pixels: npt.NDArray[np.uint8]) -> Picture:
    return Picture(kind, name, content_hash(pixels), pixels)


def scene(split: str, number: int) -> Picture:
    """Take a scene of the embedded benchmark.

    Raises
    ------
    DatasetError
        For another split, or a number that it does not have.
    """
    scenes = open_dataset("scenes", split=split)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(scenes):
        raise DatasetError(f"there is no scene {number!r}; {split!r} has the scenes 0 to {len(scenes) - 1}.")
    sample = scenes[number]
    return replace(_picture("scene", f"{split}/{number}", sample.image), mask=sample.mask, names=scenes.label_names)


def file(path: str | os.PathLike[str]) -> Picture:
    """Read a file, or the first image of a folder.

    Raises
    ------
    ImageError
        If it is missing or no image.
    """
    where = Path(path).expanduser()
    if where.is_dir():
        where = folder(where)[0]
    return _picture("file", str(where), read_image(where))


def folder(path: str | os.PathLike[str]) -> list[Path]:
    """List the images of a folder, by name.

    Raises
    ------
    ImageError
        If it is no folder or has none.
    """
    where = Path(path).expanduser()
    if not where.is_dir():
        raise ImageError(f"{str(where)!r} is not a folder; give a folder of images, or the path of one image.")
    found = sorted(one for one in where.iterdir() if one.suffix.lower() in ENDINGS and one.is_file())
    if not found:
        raise ImageError(f"the folder {str(where)!r} has no image ({', '.join(sorted(ENDINGS))}); choose another.")
    return found


def upload(name: str, content: bytes | memoryview) -> Picture:
    """Read what was uploaded.

    Raises
    ------
    ImageError
        If it is too large or no image.
    """
    if len(content) > MAX_UPLOAD:
        raise ImageError(
            f"the upload {name!r} has {len(content) / 2**20:.1f} MiB, the limit is {MAX_UPLOAD / 2**20:.0f} MiB; "
            "give its path instead, or make it smaller (the method sees 256 x 256 pixels)."
        )
    try:
        return _picture("upload", name, read_image(bytes(content)))
    except ImageError as error:
        raise ImageError(f"the upload {name!r} cannot be used: {error}") from error


def as_picture(image: Any) -> Picture:
    """Take whatever `lab.explore` is given: None (a scene), a path of an image or folder, a PIL image, an array.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    if image is None:
        return scene("val", 1)
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | os.PathLike):
        return file(image)
    return _picture("given", describe(image), read_image(image))


def again(kind: str, name: str, sha256: str, at_hand: Sequence[Picture]) -> Picture:
    """Find an image of a saved state again.

    Parameters
    ----------
    kind, name, sha256 : str
        As `Picture` has them.
    at_hand : sequence of Picture
        Images in memory: the one on show, the one given beside the file.

    Raises
    ------
    ImageError
        If it is not there any more, or is another one now.
    """
    for picture in at_hand:
        if picture.sha256 == sha256:
            return picture
    if kind == "scene":
        split, _, number = name.rpartition("/")
        found = scene(split, int(number) if number.isdecimal() else -1)
    elif kind == "file":
        found = file(name)
    else:
        raise ImageError(
            f"the state was saved with an image that is not in a file ({name}); open it with image= and the same image."
        )
    if found.sha256 != sha256:
        raise ImageError(f"the image {name!r} is not the one that the state was saved with; its pixels differ.")
    return found
