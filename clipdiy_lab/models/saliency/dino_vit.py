"""Vision transformers that show their keys: DINO's own, and any open_clip image tower seen the same way.

FOUND reads two things from a transformer: the keys of one block, which say what each patch looks like, and the
attention that the class token pays to each patch, which says where objects are. `KeyBackbone` is that view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from clipdiy_lab.errors import ModelError
from clipdiy_lab.models.dense_tokens import position_embedding
from clipdiy_lab.models.weights import fingerprint

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Keys(NamedTuple):
    """What one block of a vision transformer holds about the patches of a batch.

    Attributes
    ----------
    keys : Tensor
        B x heads x (h * w) x d float32, patches row by row, the class token left out.
    attention : Tensor
        B x heads x (h * w) float32: how much the class token attends to each patch. A row sums to less than 1
        because the class token also attends to itself.
    grid : tuple of int
        (h, w), in patches.
    """

    keys: Float[Tensor, "batch heads patches depth"]
    attention: Float[Tensor, "batch heads patches"]
    grid: tuple[int, int]

    def feature_map(self) -> Float[Tensor, "batch feature h w"]:
        """Keys as an image.

        Returns
        -------
        Tensor
            B x (heads * d) x h x w float32; the heads lie one after the other, as in DINO's `qkv`.
        """
        batch, heads, _, depth = self.keys.shape
        return self.keys.transpose(2, 3).reshape(batch, heads * depth, *self.grid)


class KeyBackbone(Protocol):
    """A frozen vision transformer that gives keys and attention; `DinoViT` and `OpenClipViT` meet it."""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """What is subtracted from images after division by 255, one value per channel, RGB."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """What images are then divided by."""
        ...

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        ...

    @property
    def embed_dim(self) -> int:
        """Width of a token (heads * d)."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sha256 of the weights, hexadecimal."""
        ...

    def to(self, device: torch.device) -> Self:
        """Move to `device`, in place."""
        ...

    def keys_and_attention(self, images: Float[Tensor, "batch 3 height width"], block: int = -1) -> Keys:
        """Keys and class-token attention of one block; `images` are normalised, their sides multiples of a patch."""
        ...


class DinoViT(VisionTransformer):
    """DINO's vision transformer, for reading keys and attention: timm's, whose parameters have DINO's names.

    Parameters
    ----------
    image_size : int
        Side in pixels that the position embeddings were trained for; images of any size are accepted.
    patch_size : int
        Side of a patch in pixels.
    embed_dim, depth, heads : int
        Width of a token, number of blocks, number of attention heads. The defaults are ViT-S.
    mlp_ratio : float
        Width of the hidden layer of each block over `embed_dim`.

    Raises
    ------
    ModelError
        If `image_size` is no multiple of `patch_size`, or `embed_dim` none of `heads`.

    Notes
    -----
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021. Position embeddings are
    interpolated as facebookresearch/dino does it in `vision_transformer.py`, which timm does not.
    """

    mean = IMAGENET_MEAN
    std = IMAGENET_STD
    # timm leaves both open to None, which models without a class token or without positions have.
    cls_token: nn.Parameter
    pos_embed: nn.Parameter

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 8,
        embed_dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        mlp_ratio: float = 4.0,
    ) -> None:
        if image_size % patch_size or embed_dim % heads:
            raise ModelError(
                f"A DinoViT of image_size={image_size}, patch_size={patch_size}, embed_dim={embed_dim}, heads={heads} "
                "cannot be built: choose an image side that is a multiple of the patch, and a width that is a multiple "
                "of the number of heads."
            )
        super().__init__(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=heads,
            mlp_ratio=mlp_ratio,
            num_classes=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        self.patch_size, self.heads = patch_size, heads

    @property
    def fingerprint(self) -> str:
        """Sha256 of the weights, hexadecimal."""
        return fingerprint(self.state_dict())

    @torch.no_grad()
    def keys_and_attention(self, images: Float[Tensor, "batch 3 height width"], block: int = -1) -> Keys:
        """Keys and class-token attention of one block.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W float32, normalised with `mean` and `std`; H and W multiples of `patch_size`.
        block : int
            Which block, from 0; negative numbers count from the end.

        Returns
        -------
        Keys
            Keys and attention of the block, and the grid of patches.

        Raises
        ------
        ModelError
            If a side is no multiple of the patch, or there is no such block.
        """
        grid = patch_grid(images, self.patch_size)
        index = block_index(block, len(self.blocks))
        tokens = self.first_tokens(images, grid)
        for earlier in self.blocks[:index]:
            tokens = earlier(tokens)
        chosen: Any = self.blocks[index]
        query, key, _ = split_heads(chosen.attn.qkv(chosen.norm1(tokens)), self.heads)
        return read_keys(query, key, grid)

    def first_tokens(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens as the first block gets them, B x (1 + h * w) x embed_dim, of images in patches of this grid."""
        # Not through `patch_embed` itself, which refuses images of another size than it was trained for.
        patches = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self._positions(grid)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """1 x (1 + h * w) x embed_dim: position embeddings for `grid`, interpolated DINO's way."""
        trained = math.isqrt(self.pos_embed.shape[1] - 1)
        if grid == (trained, trained):
            return self.pos_embed
        patches = self.pos_embed[:, 1:].reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
        # The scale factor, not the size, is what the interpolation samples with: DINO adds 0.1 patches to it against
        # rounding, which moves every sample a little. `size=grid` would give other numbers.
        factors = [(side + 0.1) / trained for side in grid]
        resized = F.interpolate(patches, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class OpenClipViT(nn.Module):
    """The image tower of an open_clip model as a `KeyBackbone`.

    Parameters
    ----------
    visual : nn.Module
        `model.visual` of an open_clip CLIP whose image side is a plain vision transformer. It is kept, not copied,
        and `to` moves it.
    mean, std : tuple of float
        What the model's images are normalised with, after division by 255; by default CLIP's own.

    Raises
    ------
    ModelError
        If `visual` is no vision transformer with square patches and pre-norm blocks of `nn.MultiheadAttention`.

    Notes
    -----
    Position embeddings are resized to the grid of the image, bicubic with antialias, as open_clip does when it loads
    weights for another image size. Where the tower is kept in half precision, keys and attention still come back as
    float32.
    """

    visual: Any  # open_clip ships no types

    def __init__(
        self,
        visual: nn.Module,
        mean: tuple[float, float, float] = CLIP_MEAN,
        std: tuple[float, float, float] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.patch_size = _check_tower(visual)
        self.visual = visual
        self.mean, self.std = mean, std
        self.heads: int = self._blocks[0].attn.num_heads
        self.embed_dim: int = self._blocks[0].attn.embed_dim

    @property
    def _blocks(self) -> Any:
        return self.visual.transformer.resblocks

    @property
    def fingerprint(self) -> str:
        """Sha256 of the tower's weights, hexadecimal."""
        return fingerprint(self.visual.state_dict())

    @torch.no_grad()
    def keys_and_attention(self, images: Float[Tensor, "batch 3 height width"], block: int = -1) -> Keys:
        """Keys and class-token attention of one block.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W, normalised with `mean` and `std`; H and W multiples of `patch_size`.
        block : int
            Which block, from 0; negative numbers count from the end.

        Returns
        -------
        Keys
            Keys and attention of the block, and the grid of patches.

        Raises
        ------
        ModelError
            If a side is no multiple of the patch, or there is no such block.
        """
        grid = patch_grid(images, self.patch_size)
        index = block_index(block, len(self._blocks))
        chosen = self._blocks[index]
        tokens = chosen.ln_1(self._tokens(images, grid, index))
        projected = F.linear(tokens, chosen.attn.in_proj_weight, chosen.attn.in_proj_bias)
        query, key, _ = split_heads(projected.float(), self.heads)
        return read_keys(query, key, grid)

    def _tokens(self, images: Tensor, grid: tuple[int, int], blocks: int) -> Tensor:
        """B x (1 + h * w) x embed_dim, after the first `blocks` blocks."""
        tower = self.visual
        patches = tower.conv1(images.to(tower.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        placed = position_embedding(tower.positional_embedding, tower.grid_size, grid, "antialias")
        tokens: Tensor = torch.cat([first, patches], dim=1) + placed.to(patches.dtype)
        tokens = tower.ln_pre(tokens)
        # `patch_dropout` is left out on purpose: a tower in training mode must not lose patches of the grid here.
        for earlier in self._blocks[:blocks]:
            tokens = earlier(tokens)
        return tokens


def split_heads(projected: Tensor, heads: int, parts: int = 3) -> Sequence[Tensor]:
    """Query, key and value (or the first of them), each B x heads x tokens x d, out of B x tokens x (parts * width)."""
    batch, tokens, _ = projected.shape
    return projected.reshape(batch, tokens, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind()


def read_keys(query: Tensor, key: Tensor, grid: tuple[int, int]) -> Keys:
    """Keys without the class token, and the class token's row of the attention."""
    # One row of the attention is all that FOUND reads; the full square would take 200 MB on a photograph.
    scores = query[:, :, :1] @ key.transpose(-2, -1) / math.sqrt(key.shape[-1])
    attention = scores.softmax(dim=-1)[:, :, 0, 1:]
    return Keys(keys=key[:, :, 1:], attention=attention, grid=grid)


def patch_grid(images: Tensor, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches; a `ModelError` for sides that are no multiples of a patch."""
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size or not height or not width:
        raise ModelError(
            f"Images of {height} x {width} pixels do not divide into patches of {patch_size}: pad them first, "
            "as clipdiy_lab.models.saliency.inputs.prepare does."
        )
    return height // patch_size, width // patch_size


def block_index(block: int, depth: int) -> int:
    """Count a block from 0; a `ModelError` if there is none."""
    if not -depth <= block < depth:
        raise ModelError(f"Block {block} was asked of a transformer with {depth}: choose from {-depth} to {depth - 1}.")
    return block % depth


def _check_tower(visual: Any) -> int:
    """Patch side of an open_clip image tower whose keys can be read; a `ModelError` for any other module."""
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    needed = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "grid_size")
    missing = [name for name in needed if not hasattr(visual, name)]
    if (
        missing
        or not blocks
        or not all(isinstance(getattr(one, "attn", None), nn.MultiheadAttention) for one in blocks)
    ):
        raise ModelError(
            f"The image tower {type(visual).__name__} is no open_clip VisionTransformer with plain attention "
            f"(it lacks: {', '.join(missing) or 'nn.MultiheadAttention blocks'}), so its keys cannot be read: "
            "choose a ViT model, such as the embedded 'tiny'."
        )
    height, width = visual.conv1.kernel_size
    if height != width:
        raise ModelError(f"The image tower has patches of {height} x {width}; only square patches can be read.")
    return int(height)
