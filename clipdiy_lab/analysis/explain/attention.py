"""Which part of a crop made its cosine: gradient times attention through all layers of an open_clip ViT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

from clipdiy_lab.analysis.explain.crops import Crop, Window
from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import schema as s
from clipdiy_lab.models.capabilities import HasImageTower
from clipdiy_lab.models.encoders import pooled

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

ATTENTION = s.Stage(
    name="attention",
    dims=(s.Y, s.X),
    kind="f4",
    title="Gradient times attention in the window",
    sentence="Gradient times attention through all layers. Bright parts raise the cosine; only the order and the "
    "ratios of values are meaningful.",
    unit="relevance",
    low=0,
)


def attend(run: xr.DataTree, segmenter: Segmenter, window: Window, label: str) -> xr.DataArray:
    """Gradient times attention of one window (Chefer, Gur and Wolf, ICCV 2021, self-attention rule).

    Let A be the attention of a layer and G the gradient of the cosine with respect to A. The layer contributes
    ``A_layer = mean over heads of max(G * A, 0)``, and ``R = R + A_layer R``, starting from the identity. The map is
    the class token's row of R, resized bilinearly to the crop.

    Parameters
    ----------
    run : xarray.DataTree
    segmenter : Segmenter
        The one that made the run; its encoder must be an open_clip ViT with class-token pooling.
    window : (grid, row, col)
        As `pixel` names them.
    label : str

    Returns
    -------
    array (y, x)
        ``attention``, 0 or greater; only the order and the ratios of its values are meaningful. y and x are pixels of
        the frame.

    Raises
    ------
    ModelError
        For an encoder without such attention.
    RunError, LabelError
        For a window or label that is not in the run, or another encoder.
    """
    crop = Crop.of(run, segmenter, window, label)
    tower, layers = _layers(segmenter.encoder)
    device = next(tower.parameters()).device
    with torch.enable_grad(), recorded(layers) as attentions:
        given = crop.to_input(crop.pixels[None]).to(device).requires_grad_(True)
        vector = F.normalize(pooled(tower(given)).float(), dim=-1)[0]
        cosine = (torch.from_numpy(crop.texts).to(device) @ vector).max()
        gradients = torch.autograd.grad(cosine, attentions)
    relevance = _rollout([a.detach() for a in attentions], list(gradients))[0, 1:]
    side = round(len(relevance) ** 0.5)
    pixels = len(crop.pixels)
    grid = relevance.reshape(1, 1, side, side)
    spread = F.interpolate(grid, size=(pixels, pixels), mode="bilinear", align_corners=False)[0, 0]
    return crop.map(ATTENTION, spread.cpu().numpy())


def _rollout(attentions: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Relevance of every token for every token, tokens x tokens; one tensor heads x tokens x tokens a layer."""
    tokens = attentions[0].shape[-1]
    relevance = torch.eye(tokens, device=attentions[0].device)
    for attention, gradient in zip(attentions, gradients, strict=True):
        passed = (attention * gradient).clamp(min=0)[0].mean(0)
        relevance = relevance + passed @ relevance
    return relevance


def _layers(encoder: Any) -> tuple[nn.Module, list[nn.MultiheadAttention]]:
    tower = encoder.visual if isinstance(encoder, HasImageTower) else None
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
    found = [getattr(block, "attn", None) for block in blocks]
    layers = [layer for layer in found if isinstance(layer, nn.MultiheadAttention) and layer.batch_first]
    by_token = getattr(tower, "pool_type", None) == "tok" and getattr(tower, "attn_pool", None) is None
    if tower is None or not layers or len(layers) < len(found) or not by_token:
        raise ModelError(
            f"gradient times attention needs an open_clip ViT with class-token pooling, and {encoder.name!r} is not "
            "one. Use explain.occlude, which works with any encoder."
        )
    return tower, layers


@contextmanager
def recorded(layers: list[nn.MultiheadAttention]) -> Iterator[list[Tensor]]:
    """Let every layer compute by its own weights but keep its attention, batch x heads x tokens x tokens.

    torch's own layer takes a fused path that never has the attention as a tensor of the graph.
    """
    kept: list[Tensor] = []

    def compute(layer: nn.MultiheadAttention, given: tuple[Any, ...], named: dict[str, Any], _: Any) -> Any:
        tokens = given[0] if given else named["query"]
        batch, count, width = tokens.shape
        joined = F.linear(tokens, layer.in_proj_weight, layer.in_proj_bias)
        split = joined.view(batch, count, 3, layer.num_heads, width // layer.num_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attention = (query @ key.transpose(-2, -1) * layer.head_dim**-0.5).softmax(-1)
        kept.append(attention)
        mixed = (attention @ value).transpose(1, 2).reshape(batch, count, width)
        return layer.out_proj(mixed), None

    handles = [layer.register_forward_hook(compute, with_kwargs=True) for layer in layers]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
