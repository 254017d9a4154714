"""What a saliency source is, and what a saliency map must look like."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.errors import ImageError, SaliencyError, require

# Resizing and rounding may leave a map this far outside [0, 1]; it is clipped. Anything further out is a mistake.
ROUNDING = 1e-6


GIVEN: Final = "given"
"""In the place of a source's name: the map was given as an array."""


@runtime_checkable
class Saliency(Protocol):
    """Protocol of a saliency source, which estimates for each pixel the probability that it belongs to an object.

    Sources return soft values. Binarisation is a knob of the run (`Config.saliency_threshold`) and not of the source,
    so that the same map can be used for both.
    """

    @property
    def name(self) -> str:
        """The name of the source in runs and tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sha256, hexadecimal, of everything that affects the map: the weights if any, otherwise the settings."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """H x W x 3 uint8, RGB, to H x W float32 in [0, 1]; 1 is foreground."""
        ...


def as_saliency(given: object) -> Saliency:
    """Return what was given as a saliency source.

    Raises
    ------
    SaliencyError
        If it does not meet the protocol, or is a class instead of an object.
    """
    expected = (
        "a name such as 'found' or 'none', or an object with the attributes name and fingerprint that takes an image "
        "and gives a map (models.saliency.Saliency)"
    )
    return require(given, Saliency, "saliency", expected, SaliencyError)  # type: ignore[type-abstract]


def check_image(image: object) -> NDArray[np.uint8]:
    """Check the input of a source.

    Parameters
    ----------
    image : object
        Should be an H x W x 3 uint8 array, RGB, of at least one pixel.

    Returns
    -------
    ndarray
        The same array.

    Raises
    ------
    ImageError
        If it is anything else.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"A saliency source got a {type(image).__name__}, but needs an H x W x 3 uint8 array: "
            "convert it, for instance with np.asarray(picture.convert('RGB'))."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"A saliency source got an array of shape {image.shape} and type {image.dtype}, but needs H x W x 3 uint8 "
            "(RGB, at least one pixel): convert it first."
        )
    return image


def validate_map(saliency: object, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Check a saliency map from any source.

    Parameters
    ----------
    saliency : object
        Should be an H x W floating point array in [0, 1]; 1 is foreground.
    shape : tuple of int
        (H, W) in pixels that the map must have.

    Returns
    -------
    ndarray
        H x W float32 in [0, 1]; values outside by at most 1e-6, due to rounding, are clipped.

    Raises
    ------
    SaliencyError
        If the shape or type differs, or a value is NaN or outside [0, 1].

    Examples
    --------
    >>> validate_map(np.full((2, 3), 0.5), (2, 3)).dtype
    dtype('float32')
    >>> validate_map(np.full((2, 3), 255.0), (2, 3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    clipdiy_lab.errors.SaliencyError: The saliency map has values from 255 to 255, expected [0, 1]: ...
    """
    try:
        array = np.asarray(saliency)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SaliencyError(
            f"A saliency map cannot be made from a {type(saliency).__name__}: pass an H x W float array on the CPU."
        ) from error
    if array.dtype.kind != "f":
        raise SaliencyError(
            f"The saliency map has type {array.dtype}, expected floating point values in [0, 1]: "
            "convert it (a mask with .astype('float32'), 8-bit values with / 255)."
        )
    if array.shape != tuple(shape):
        raise SaliencyError(
            f"The saliency map has shape {array.shape}, expected {tuple(shape)} (height, width of the image): "
            "resize the map to the image, or make it from this image."
        )
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise SaliencyError(
            f"The saliency map has {count} of {array.size} values that are NaN or infinite, expected all in [0, 1]: "
            "replace them, for instance with np.nan_to_num(map, nan=0.0)."
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise SaliencyError(
            f"The saliency map has values from {low:g} to {high:g}, expected [0, 1]: "
            "rescale it ((map - map.min()) / (map.max() - map.min()), or / 255 for 8-bit values)."
        )
    clipped: NDArray[np.float32] = array.clip(0.0, 1.0).astype(np.float32)
    return clipped
