"""Saliency without a model: a map from a file, one value everywhere, or none at all."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clipdiy_lab.errors import SaliencyError
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency.protocol import check_image, validate_map

# Largest value of each kind of gray image that is read; Pillow's names.
_GRAY_MAXIMUM = {"L": 255, "I;16": 65535, "I;16L": 65535, "I;16B": 65535}
_FORMATS = ("PNG", "TIFF", "JPEG", "BMP")


class FileSaliency:
    """A saliency map that somebody else made, read from a file.

    Parameters
    ----------
    path : str or Path
        A `.npy` file of H x W floating point values in [0, 1], or a gray image of 8 or 16 bits (PNG, TIFF, JPEG, BMP),
        whose full range is scaled to [0, 1]. Soft values stay soft: thresholding is a knob of the run.

    Raises
    ------
    SaliencyError
        If the file is missing, cannot be read, is no gray image, or holds values outside [0, 1].
    """

    name = "file"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise SaliencyError(f"There is no saliency file {self.path}: give the path of a .npy file or a gray image.")
        self.recipe = Recipe(self.name, {"path": self.path})
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise SaliencyError(
                f"{self.path} cannot be read ({error.strerror or error}): check its permissions and the disk."
            ) from error
        # One opening: the hash says which map this is, so it has to be the hash of what the map was read from.
        self.fingerprint = hashlib.sha256(content).hexdigest()
        read = _read_npy if self.path.suffix == ".npy" else _read_gray
        self._map = read(content, self.path)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the map of the file, if it fits the image.

        Parameters
        ----------
        image : ndarray
            H x W x 3 uint8; only its size is looked at.

        Returns
        -------
        ndarray
            H x W float32 in [0, 1].

        Raises
        ------
        ImageError
            If `image` is no H x W x 3 uint8 array.
        SaliencyError
            If the map has another height or width.
        """
        shape = check_image(image).shape[:2]
        if self._map.shape != shape:
            raise SaliencyError(
                f"The saliency map of {self.path} has shape {self._map.shape}, expected {shape} (height, width of the "
                "image): resize the map to the image, or use the file that was made from this image."
            )
        return self._map.copy()


class ConstantSaliency:
    """The same value everywhere: every pixel is an object with the same odds, and only the text decides.

    Parameters
    ----------
    value : float
        In [0, 1].

    Raises
    ------
    SaliencyError
        If `value` is no number in [0, 1].
    """

    name = "constant"

    def __init__(self, value: float) -> None:
        # Written so that NaN, which compares false with everything, is refused too.
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
            raise SaliencyError(f"The constant saliency {value!r} was given, expected a number in [0, 1].")
        self.value = float(value)
        self.recipe = Recipe(self.name, {"value": self.value})
        self.fingerprint = hashlib.sha256(f"constant {self.value!r}".encode()).hexdigest()

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """H x W float32, `value` everywhere, for an H x W x 3 uint8 image; `ImageError` for anything else."""
        return np.full(check_image(image).shape[:2], self.value, np.float32)


class NoSaliency:
    """No saliency: the name "none" tells the pipeline not to apply any; the map itself is 1 everywhere."""

    name = "none"
    fingerprint = hashlib.sha256(b"none").hexdigest()
    recipe = Recipe(name)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """H x W float32, 1 everywhere, for an H x W x 3 uint8 image; `ImageError` for anything else."""
        return np.ones(check_image(image).shape[:2], np.float32)


def _read_npy(content: bytes, path: Path) -> NDArray[np.float32]:
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise SaliencyError(
            f"{path} cannot be read as an array ({error}): save an H x W float array with np.save."
        ) from error
    return _checked(array, path)


def _read_gray(content: bytes, path: Path) -> NDArray[np.float32]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
                opened.load()
                picture = ImageOps.exif_transpose(opened)
    except (
        OSError,
        SyntaxError,
        ValueError,
        MemoryError,
        Image.DecompressionBombError,
        UserWarning,
        RuntimeWarning,
    ) as error:
        raise SaliencyError(
            f"{path} cannot be read as an image ({error}): give a .npy file or a gray image ({', '.join(_FORMATS)})."
        ) from error
    if picture.mode not in _GRAY_MAXIMUM:
        raise SaliencyError(
            f"{path} is an image of mode {picture.mode!r}, expected gray of 8 or 16 bits: "
            "convert it to gray, or save the map as .npy."
        )
    return _checked(np.asarray(picture).astype(np.float32) / _GRAY_MAXIMUM[picture.mode], path)


def _checked(array: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """Range and type are the file's own business; the size is compared when the image is known."""
    if array.ndim != 2 or not array.size:
        raise SaliencyError(f"{path} holds an array of shape {array.shape}, expected H x W: save one map per file.")
    try:
        return validate_map(array, array.shape)
    except SaliencyError as error:
        raise SaliencyError(f"{path}: {error}") from error
