"""What the embedded model says when it is shown something else than the world that it knows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clipdiy_lab.datasets.likeness import may_be_scene
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import OutOfDistributionWarning
from clipdiy_lab.method.schema import CAUTION
from clipdiy_lab.models.capabilities import words_of
from clipdiy_lab.models.encoders import EMBEDDED, Encoder

_SENTENCE: Final = (
    f"The model {EMBEDDED!r} was trained only on the drawings of 'scenes', and {{what}} is not one of them, so "
    "the labels are not reliable. For photographs, load another model, such as "
    "lab.load('ViT-B-32/laion2b_s34b_b79k')."
)


def caution(encoder: Encoder, pixels: npt.NDArray[np.uint8], what: str = "this image") -> dict[str, str]:
    """Say that an image is not of the world that the encoder knows.

    Parameters
    ----------
    encoder : Encoder
    pixels : uint8 array, height x width x 3
        The image at its own size.
    what : str
        What it is called in the sentence.

    Returns
    -------
    dict
        The attribute `schema.CAUTION`; empty for an encoder of an open world, and for what may be a scene (see
        `may_be_scene`).
    """
    strange = _knows_scenes_only(encoder) and not may_be_scene(pixels)
    return {CAUTION: _SENTENCE.format(what=what)} if strange else {}


def warn(attrs: Mapping[Any, Any]) -> None:
    """Warn whoever called the caller of a caution among attributes.

    Warns
    -----
    OutOfDistributionWarning
    """
    if CAUTION in attrs:
        warnings.warn(attrs[CAUTION], OutOfDistributionWarning, stacklevel=3)


def of_dataset(encoder: Encoder, dataset: Dataset) -> dict[str, str]:
    """Return the `caution` of a dataset, by its first image."""
    if not (_knows_scenes_only(encoder) and len(dataset)):
        return {}
    return caution(encoder, dataset[0].image, f"the first image of {dataset.name!r}")


def _knows_scenes_only(encoder: Encoder) -> bool:
    # An encoder of one's own may have the same name; it has no list of known words.
    return encoder.name == EMBEDDED and words_of(encoder) is not None
