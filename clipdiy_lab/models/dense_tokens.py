"""Patch tokens of open_clip's vision transformers as vectors that compare with texts; see `method.last_block`.

All ways of computing the last block, the ordinary one included, start from the same tokens: one pass through the blocks
before it gives the embedding of an image and its patch tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method.attention import mix, neighbourhood, weights
from clipdiy_lab.method.last_block import LastBlock, Positions
from clipdiy_lab.method.ops import to_whole_patches


class Heads(NamedTuple):
    """What the last block's attention works with, each images x heads x tokens x width; the class token first."""

    query: Tensor
    key: Tensor
    value: Tensor


class TokenTower:
    """An image tower of open_clip that gives patch tokens.

    Parameters
    ----------
    visual : nn.Module
        `model.visual`; kept, not copied.
    name : str
        Of the model, for errors.

    Attributes
    ----------
    patch : int
        Side of a patch, pixels.

    Raises
    ------
    ModelError
        If it is no plain vision transformer of open_clip, or one whose pooling reads more than its tokens one by one.
    """

    def __init__(self, visual: Any, name: str) -> None:
        problem = _lacking(visual)
        if problem:
            raise ModelError(
                f"the image tower of {name!r} {problem}, so it has no patch tokens that compare with texts; use "
                "dense='none', or a model with a vision transformer of open_clip's own, such as 'tiny'."
            )
        self.visual = visual
        self.patch: int = visual.patch_size[0]

    @property
    def _last(self) -> Any:
        return self.visual.transformer.resblocks[-1]

    def before_last(
        self, images: Float[Tensor, "B 3 H W"], positions: Positions = "antialias"
    ) -> Float[Tensor, "B N width"]:
        """Tokens after the last block but one, the class token first.

        Parameters
        ----------
        images : float tensor, B x 3 x H x W
            Normalised; what is left of a patch at the right and at the bottom is dropped.
        positions : {"antialias", "exact", "offset"}
            See `LastBlock`.
        """
        tower = self.visual
        patches = tower.conv1(images)
        grid = patches.shape[-2], patches.shape[-1]
        patches = patches.flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        placed = position_embedding(tower.positional_embedding, tower.grid_size, grid, positions)
        tokens: Tensor = tower.ln_pre(torch.cat([first, patches], dim=1) + placed.to(patches.dtype))
        for block in tower.transformer.resblocks[:-1]:
            tokens = block(tokens)
        return tokens

    def encode_crops(self, crops: Float[Tensor, "B 3 s s"], block: LastBlock) -> tuple[Tensor, Tensor]:
        """Encode crops as the tower does, and their patches, in one pass.

        Parameters
        ----------
        crops : float tensor, N x 3 x s x s
            Normalised; s a multiple of the patch.
        block : LastBlock
            How the patches are computed; position embeddings are those of the ordinary embedding.

        Returns
        -------
        vectors : float32 tensor, N x D
        tokens : float32 tensor, N x rows x cols x D
            All of length 1.
        """
        before = self.before_last(crops.to(self.visual.proj))
        side = crops.shape[-1] // self.patch
        heads = self.heads(before)
        tokens = self.dense(before, heads, block, (side, side))
        return F.normalize(self.embedding(before, heads).float(), dim=-1), F.normalize(tokens.float(), dim=-1)

    def encode_image(self, image: Float[Tensor, "3 H W"], block: LastBlock) -> Float[Tensor, "rows cols D"]:
        """Encode the patches of an image; its sides and position embeddings follow the rules of the method.

        Parameters
        ----------
        image : float tensor, 3 x H x W
            Normalised; both sides at least a patch.
        block : LastBlock

        Returns
        -------
        float32 tensor, rows x cols x D
            Of length 1.

        Raises
        ------
        ModelError
            If the image is smaller than a patch.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self.patch:
            raise ModelError(
                f"the image has {height} x {width} pixels, which is less than one patch of {self.patch}; give a larger "
                "one."
            )
        whole = to_whole_patches(image[None].to(self.visual.proj), self.patch, block.remainder)
        grid = whole.shape[-2] // self.patch, whole.shape[-1] // self.patch
        before = self.before_last(whole, block.positions)
        return F.normalize(self.dense(before, self.heads(before), block, grid)[0].float(), dim=-1)

    def embedding(self, tokens: Float[Tensor, "B N width"], heads: Heads) -> Float[Tensor, "B D"]:
        """Embedding of the images, as the tower's own forward gives it, from what `before_last` gave.

        Where the class token alone is pooled, the ordinary last block is computed for it alone. (That saves a
        twelfth of what a ViT-B/32 multiplies; the rounding differs, as it does from batch to batch.)

        Parameters
        ----------
        tokens : float tensor, B x N x width
        heads : Heads
            What `heads` gave of them.
        """
        if self.visual.pool_type != "tok" or self.visual.attn_pool is not None:
            pooled: Tensor = self.visual._pool(self._last(tokens))[0] @ self.visual.proj
            return pooled
        mixed = F.scaled_dot_product_attention(heads.query[:, :, :1], heads.key, heads.value)
        return self.projected(self._finished(tokens[:, :1], self._output(mixed)))[:, 0]

    def _output(self, mixed: Float[Tensor, "B h N d"]) -> Float[Tensor, "B N width"]:
        """Join the heads of the last block: O, scaled as the block scales it."""
        joined: Tensor = self._last.ls_1(self._last.attn.out_proj(mixed.transpose(1, 2).flatten(2)))
        return joined

    def _finished(
        self, tokens: Float[Tensor, "B N width"], changed: Float[Tensor, "B N width"]
    ) -> Float[Tensor, "B N width"]:
        """Residual and MLP of the last block."""
        whole = tokens + changed
        finished: Tensor = whole + self._last.ls_2(self._last.mlp(self._last.ln_2(whole)))
        return finished

    def heads(self, tokens: Float[Tensor, "B N width"]) -> Heads:
        """Query, key and value of the last block, from what `before_last` gave."""
        layer = self._last.attn
        joined = F.linear(self._last.ln_1(tokens), layer.in_proj_weight, layer.in_proj_bias)
        return Heads(*joined.reshape(*tokens.shape[:2], 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4))

    def bias(self, block: LastBlock, grid: tuple[int, int]) -> Tensor | None:
        """G of a method in the arithmetic of the tower; None where it has none."""
        if block.sigma is None:
            return None
        return neighbourhood(grid, block.sigma).to(self.visual.proj)

    def dense(
        self, tokens: Float[Tensor, "B N width"], heads: Heads, block: LastBlock, grid: tuple[int, int]
    ) -> Float[Tensor, "B rows cols D"]:
        """Patch tokens through a changed last block, not yet of length 1.

        Parameters
        ----------
        tokens : float tensor, B x (1 + rows * cols) x width
            What `before_last` gave.
        heads : Heads
            What `heads` gave of them; one for all blocks.
        block : LastBlock
        grid : (int, int)
            Rows and columns of patches.
        """
        changed = self._output(mix(*heads, block, self.bias(block, grid))[:, :, 1:])
        if block.whole:
            changed = self._finished(tokens[:, 1:], changed)
        return self.projected(changed).reshape(len(tokens), *grid, -1)

    def parts(
        self, tokens: Float[Tensor, "1 N width"], block: LastBlock, grid: tuple[int, int], patch: int, text: Tensor
    ) -> tuple[Float[Tensor, "h N"], float]:
        """Take the cosine of one patch token with a text apart, by head and by the token that it was taken from.

        With y = sum over heads h and tokens j of ``A_hj O_h v_hj``, plus the bias of O, and with the mean and the
        deviation of the last layer norm and the length of the vector as they are for this token, the cosine is linear
        in y, so this is exact. (Closest to it: Gandelsman, Efros and Steinhardt, ICLR 2024, for the embedding of an
        image.)

        Parameters
        ----------
        tokens : float tensor, 1 x (1 + rows * cols) x width
            What `before_last` gave.
        block : LastBlock
            Without residual and MLP, and with attention.
        grid : (int, int)
        patch : int
            The token, counted row by row.
        text : float tensor, D
            Of length 1.

        Returns
        -------
        parts : float64 tensor, heads x (1 + rows * cols)
            The class token first.
        bias : float
            What comes from no token. The parts and the bias sum to the cosine.

        Raises
        ------
        ModelError
            If the block keeps the residual and the MLP or has no attention, or the tower pools by attention.
        """
        tower, last = self.visual, self._last
        if block.whole or not block.pairs or tower.attn_pool is not None:
            raise ModelError(
                "only tokens that are attention alone (dense='clearclip' or 'naclip', in a tower that does not pool by "
                "attention) are a sum over heads and patches; with the residual and the MLP they are none."
            )
        query, key, value = self.heads(tokens)
        own = weights(query, key, block, self.bias(block, grid))[0, :, patch + 1].double()
        out, norm, gain = last.attn.out_proj, tower.ln_post, getattr(last.ls_1, "gamma", torch.ones(())).double()
        columns = out.weight.double().reshape(len(out.weight), len(own), -1)  # width x heads x d
        taken = torch.einsum("hj,hjd,whd->hjw", own, value[0].double(), columns) * gain
        constant = out.bias.double() * gain
        whole = taken.sum((0, 1)) + constant
        deviation = (whole.var(unbiased=False) + norm.eps).sqrt()
        projected = (
            (whole - whole.mean()) / deviation * norm.weight.double() + norm.bias.double()
        ) @ tower.proj.double()
        along = tower.proj.double() @ text.double() / projected.norm()
        slope = norm.weight.double() * along / deviation
        slope = slope - slope.mean()
        return taken @ slope, float(constant @ slope + norm.bias.double() @ along)

    def projected(self, tokens: Float[Tensor, "B N width"]) -> Float[Tensor, "B N D"]:
        """Bring tokens to the space of the texts: pooled one by one, normalised, projected."""
        tower = self.visual
        if tower.attn_pool is not None:
            tokens = _pooled_alone(tower.attn_pool, tokens)
        projected: Tensor = tower.ln_post(tokens) @ tower.proj
        return projected


def _lacking(visual: Any) -> str:
    """Say why a tower has no patch tokens; empty if it has."""
    if not isinstance(visual, VisionTransformer):
        return f"is a {type(visual).__name__}"
    if not all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks):
        return "has attention of its own kind"
    if getattr(visual, "attn_pool_contrastive", None) is not None:
        return "pools by attention twice"
    return "" if visual.patch_size[0] == visual.patch_size[1] else "has patches that are not square"


def _pooled_alone(pool: Any, tokens: Tensor) -> Tensor:
    """Each token as an attention pooler gives it where it is the only one: its value, whatever the query."""
    layer: nn.MultiheadAttention = pool.attn
    separate = layer.v_proj_weight
    weight = layer.in_proj_weight.chunk(3)[2] if separate is None else separate
    alone: Tensor = layer.out_proj(F.linear(pool.ln_k(tokens), weight, layer.in_proj_bias.chunk(3)[2]))
    return alone


def position_embedding(
    trained: Float[Tensor, "N width"], native: tuple[int, int], grid: tuple[int, int], how: Positions
) -> Float[Tensor, "M width"]:
    """Position embeddings for a grid of patches; the class token's stays as it is.

    Parameters
    ----------
    trained : float tensor, (1 + rows * cols) x width
        Of the `native` grid, the class token first.
    native, grid : (int, int)
        Rows and columns.
    how : {"antialias", "exact", "offset"}
        See `LastBlock`.

    Returns
    -------
    tensor, (1 + rows * cols) x width
        In the type of `trained`; interpolated in float32.
    """
    same = grid == tuple(native) if how == "antialias" else grid[0] * grid[1] == native[0] * native[1]
    if same:
        return trained
    table = trained[1:].float().reshape(1, *native, -1).permute(0, 3, 1, 2)
    if how == "offset":
        # The scale factor, not the size, is what the interpolation samples with.
        scale = [(side + 0.1) / own for side, own in zip(grid, native, strict=True)]
        resized = F.interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
    else:
        resized = F.interpolate(table, size=grid, mode="bicubic", align_corners=False, antialias=how == "antialias")
    return torch.cat([trained[:1], resized.flatten(2)[0].T.to(trained.dtype)])
