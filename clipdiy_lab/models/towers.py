"""Image towers of open_clip: what they give, and their position embeddings for images of another size."""

from __future__ import annotations

from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor


def pooled(features: Any) -> Tensor:
    """Return the vectors that an image tower gives, one per crop; CoCa's gives its tokens beside them."""
    vectors: Tensor = features[0] if isinstance(features, tuple) else features
    return vectors


def positions(tower: Any, grid: tuple[int, int]) -> Tensor:
    """Position embeddings of a vision transformer for another grid of patches.

    Bicubic with antialias, as open_clip resizes them when it loads weights for another image size.

    Parameters
    ----------
    tower : open_clip.transformer.VisionTransformer
    grid : tuple of int
        Rows and columns of patches.

    Returns
    -------
    Tensor
        (1 + rows * columns) x width, that of the class token first, in the type of the tower's own.
    """
    resized: Tensor = resample_abs_pos_embed(tower.positional_embedding[None], list(grid), list(tower.grid_size))
    return resized[0]
