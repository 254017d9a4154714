"""Spectral residual: what is unusual in an image's spectrum stands out; no weights, no learning."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.errors import ModelError, SaliencyError
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency.protocol import check_image


class SpectralSaliency:
    """OpenCV's static spectral residual saliency, stretched to [0, 1].

    Raises
    ------
    ModelError
        If OpenCV with its contributed modules is not installed.

    Notes
    -----
    Hou and Zhang, Saliency Detection: A Spectral Residual Approach, CVPR 2007, as `StaticSaliencySpectralResidual` of
    OpenCV's contributed modules computes it, then (map - min) / (max - min). The stretch is relative: the most unusual
    spot of *any* image gets 1, however dull the image. Where nothing stands out at all (an image of one gray level)
    the map is 0 everywhere; there OpenCV's own numbers are rounding noise, which the stretch would blow up. The map is
    soft: thresholding is a knob of the run.
    """

    name = "spectral"
    recipe = Recipe(name)

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise ModelError(
                "The saliency 'spectral' needs OpenCV with its contributed modules, which is not installed: "
                'pip install "clipdiy-lab[spectral]".'
            ) from error
        if not hasattr(cv2, "saliency"):
            raise ModelError(
                f"The saliency 'spectral' needs OpenCV's contributed modules, which the installed OpenCV "
                f'{cv2.__version__} lacks: remove that package, then pip install "clipdiy-lab[spectral]".'
            )
        self._cv2: Any = cv2  # its stubs lack the contributed modules
        self.fingerprint = hashlib.sha256(f"spectral, OpenCV {cv2.__version__}".encode()).hexdigest()

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Soft saliency of an image.

        Parameters
        ----------
        image : ndarray
            H x W x 3 uint8, RGB, of any size.

        Returns
        -------
        ndarray
            H x W float32 in [0, 1]; unless it is 0 everywhere, both 0 and 1 occur.

        Raises
        ------
        ImageError
            If `image` is anything else.
        SaliencyError
            If OpenCV cannot compute the map.
        """
        gray = self._cv2.cvtColor(check_image(image), self._cv2.COLOR_RGB2GRAY)
        if gray.min() == gray.max():
            return np.zeros(gray.shape, np.float32)
        done, raw = self._cv2.saliency.StaticSaliencySpectralResidual_create().computeSaliency(gray)
        if not done or not np.isfinite(raw).all():
            raise SaliencyError(
                f"OpenCV could not compute a spectral saliency for an image of shape {image.shape}: "
                "use another saliency, such as 'found-tiny'."
            )
        low, high = float(raw.min()), float(raw.max())
        if low == high:
            return np.zeros(gray.shape, np.float32)
        stretched: NDArray[np.float32] = ((raw - low) / (high - low)).astype(np.float32)
        return stretched
