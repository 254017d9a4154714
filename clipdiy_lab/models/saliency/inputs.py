"""Images as FOUND gives them to the transformer."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clipdiy_lab.models.saliency.dino_vit import KeyBackbone
from clipdiy_lab.threads import one_thread


@one_thread()
def prepare(image: NDArray[np.uint8], backbone: KeyBackbone, device: torch.device) -> Float[Tensor, "1 3 height width"]:
    """Image as FOUND gives it to the transformer.

    Parameters
    ----------
    image : ndarray
        H x W x 3 uint8, RGB.
    backbone : KeyBackbone
        Says mean, deviation and patch.
    device : torch.device
        Where the result lies.

    Returns
    -------
    Tensor
        1 x 3 x H' x W' float32, normalised, then padded with zeros (the mean colour) at the right and the bottom to
        multiples of a patch.
    """
    # A copy, because torch reads neither mirrored views nor arrays that cannot be written.
    pixels = torch.from_numpy(image.copy()).to(device).permute(2, 0, 1).float() / 255
    mean = torch.tensor(backbone.mean, device=device).view(3, 1, 1)
    std = torch.tensor(backbone.std, device=device).view(3, 1, 1)
    height, width = image.shape[:2]
    padding = (0, -width % backbone.patch_size, 0, -height % backbone.patch_size)
    return F.pad((pixels - mean) / std, padding)[None]
