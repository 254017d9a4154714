"""An image before the networks see it: read, hashed and brought to the frame, which a thread may do ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdiy_lab.datasets.images import content_hash, describe, read_image
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.encoders import Encoder
from clipdiy_lab.pipeline.caution import caution
from clipdiy_lab.threads import one_thread


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image that is ready to be encoded.

    Attributes
    ----------
    pixels : uint8 array, height x width x 3
        At its own size.
    frame : uint8 tensor, y x x x 3
    frame_key : tuple
        Size and resizing of the frame.
    facts : mapping
        The attributes of a run that say what the image is.
    """

    pixels: npt.NDArray[np.uint8]
    frame: Tensor
    frame_key: tuple[Any, ...]
    facts: Mapping[str, Any]


def prepare(image: Any, config: Config, encoder: Encoder) -> Prepared:
    """Read an image and bring it to the frame of a configuration; what is prepared for that frame comes back as it is.

    Parameters
    ----------
    image : path, bytes, PIL image, H x W x 3 uint8 array, or Prepared
    config : Config
    encoder : Encoder
        Which images it knows is said in the facts.

    Raises
    ------
    ImageError
        If it is no image.
    """
    key = (config.image_size, config.image_resize)
    if isinstance(image, Prepared):
        if image.frame_key == key:
            return image
        return Prepared(image.pixels, _frame(image.pixels, config), key, image.facts)
    pixels = read_image(image)
    about = {"image_source": describe(image), "image_sha256": content_hash(pixels), **caution(encoder, pixels)}
    return Prepared(pixels, _frame(pixels, config), key, about)


@one_thread()
def _frame(pixels: npt.NDArray[np.uint8], config: Config) -> Tensor:
    return ops.resize_image(torch.from_numpy(pixels), config.image_size, config.image_resize)
