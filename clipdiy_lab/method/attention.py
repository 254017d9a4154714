"""The attention of a changed last block as tensors; the formula is that of `last_block`.

Heads are `B h N d`: images, heads, tokens with the class token first, width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipdiy_lab.method.last_block import LastBlock


def neighbourhood(grid: tuple[int, int], sigma: float) -> Float[Tensor, "N N"]:
    """Gaussian of the distance of every patch to every other: exp(-|p - p'|^2 / (2 sigma^2)), 0 for the class token.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns of patches.
    sigma : float
        In patches.

    Returns
    -------
    float32 tensor, (1 + rows * cols) squared
        The class token first.
    """
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in grid)).reshape(-1, 2)
    squares = (places[:, None] - places[None]).square().sum(-1)
    return F.pad(torch.exp(squares / (-2 * sigma**2)), (1, 0, 1, 0))


def mix(
    query: Float[Tensor, "B h N d"],
    key: Float[Tensor, "B h N d"],
    value: Float[Tensor, "B h N d"],
    block: LastBlock,
    bias: Float[Tensor, "N N"] | None,
) -> Float[Tensor, "B h N d"]:
    """Let the tokens take their values: A v of every head.

    Parameters
    ----------
    query, key, value : float tensors, images x heads x tokens x width
    block : LastBlock
    bias : float tensor, tokens x tokens, or None
        G.
    """
    if not block.pairs:
        return value
    named = {"q": query, "k": key}
    mixed = [
        F.scaled_dot_product_attention(named[one], named[other], value, attn_mask=bias) for one, other in block.pairs
    ]
    return torch.stack(mixed).sum(0) if len(mixed) > 1 else mixed[0]


def weights(
    query: Float[Tensor, "B h N d"], key: Float[Tensor, "B h N d"], block: LastBlock, bias: Float[Tensor, "N N"] | None
) -> Float[Tensor, "B h N N"]:
    """Return the weights A with which `mix` takes the values, where they are wanted themselves.

    Parameters
    ----------
    query, key : float tensors, images x heads x tokens x width
    block : LastBlock
        With at least one pair.
    bias : float tensor, tokens x tokens, or None
        G.
    """
    named = {"q": query, "k": key}
    added = 0.0 if bias is None else bias
    return torch.stack(
        [
            (named[one] @ named[other].transpose(-2, -1) * query.shape[-1] ** -0.5 + added).softmax(-1)
            for one, other in block.pairs
        ]
    ).sum(0)
