"""DINO's transformer with its blocks computed in half precision, or by OpenVINO: the keys that FOUND reads, sooner."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config, Precision
from clipdiy_lab.models.compiled import Calibration, Compiled, compile_network, images_of, mark, settled, version
from clipdiy_lab.models.devices import DTYPES, Runtime
from clipdiy_lab.models.saliency.dino_vit import DinoViT, Keys, block_index, patch_grid, read_keys, split_heads
from clipdiy_lab.models.saliency.inputs import prepare
from clipdiy_lab.threads import one_thread

_MOST_TOKENS = 65536
_CPU = torch.device("cpu")


class _Blocks(nn.Module):
    """What a transformer does from its first tokens to the queries and keys of a block, B x tokens x (2 * width)."""

    def __init__(self, vit: DinoViT, index: int) -> None:
        super().__init__()
        chosen: Any = vit.blocks[index]
        self.blocks, self.norm = vit.blocks[:index], chosen.norm1
        self.weight, self.bias = (
            nn.Parameter(part[: 2 * vit.embed_dim]) for part in (chosen.attn.qkv.weight, chosen.attn.qkv.bias)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return F.linear(self.norm(tokens), self.weight, self.bias)


class FastDino:
    """A `DinoViT` whose blocks are computed otherwise than by torch in float32; a `KeyBackbone`.

    Parameters
    ----------
    vit : DinoViT
        It makes the first tokens, in float32.
    precision : {"fp32", "bf16", "fp16", "int8"}
        fp16 only by torch, int8 only by OpenVINO: it quantises weights and activations of the linear layers, and leaves
        attention in bf16 where the processor has it.
    runtime : {"torch", "openvino"}
    calibration : sequence of H x W x 3 uint8 arrays, or callable that returns one, optional
        Images that set the ranges of int8.

    Attributes
    ----------
    runtime : dict
        Name and version of what computes the blocks beside torch.

    Raises
    ------
    ModelError
        If OpenVINO is not installed or has no such precision, or int8 has no images; at the first image, if the
        processor lacks the precision.

    Notes
    -----
    A block is compiled when it is first asked for, for as many threads as `torch.get_num_threads` says. Images of all
    sizes share what is compiled.
    """

    def __init__(
        self, vit: DinoViT, precision: str, *, runtime: Runtime = "torch", calibration: Calibration | None = None
    ) -> None:
        self._vit, self._calibration = vit, calibration
        self._by_openvino = runtime == "openvino"
        self.precision = settled(cast(Precision, precision), calibration) if self._by_openvino else precision
        self.patch_size, self.heads, self.embed_dim = vit.patch_size, vit.heads, vit.embed_dim
        self.mean, self.std = vit.mean, vit.std
        own = mark(calibration)
        self.fingerprint = f"{vit.fingerprint}+{own}" if own else vit.fingerprint
        self.runtime = {"openvino": version()} if self._by_openvino else {}
        self._computed: dict[int, Callable[[Tensor], Tensor]] = {}

    def to(self, device: torch.device) -> Self:
        """Move to `device`, in place.

        Raises
        ------
        ModelError
            If OpenVINO is asked to leave the processor.
        """
        if self._by_openvino and device.type != "cpu":
            raise ModelError(
                f"OpenVINO runs on the processor; FOUND was asked onto {device}. Load it with device='cpu'."
            )
        self._vit.to(device)
        if not self._by_openvino:
            self._computed.clear()
        return self

    @torch.no_grad()
    def keys_and_attention(self, images: Float[Tensor, "batch 3 height width"], block: int = -1) -> Keys:
        """Keys and class-token attention of one block, float32; as `DinoViT.keys_and_attention`."""
        grid = patch_grid(images, self.patch_size)
        index = block_index(block, len(self._vit.blocks))
        blocks = self._blocks(index)
        with one_thread():
            tokens = self._vit.first_tokens(images, grid)
        projected = blocks(tokens).float()
        with one_thread():
            query, key = split_heads(projected, self.heads, parts=2)
            return read_keys(query, key, grid)

    def _blocks(self, index: int) -> Callable[[Tensor], Tensor]:
        if index not in self._computed:
            blocks = _Blocks(self._vit, index).eval()
            self._computed[index] = self._compiled(blocks) if self._by_openvino else _cast(blocks, self.precision)
        return self._computed[index]

    def _compiled(self, blocks: _Blocks) -> Compiled:
        example = torch.zeros(1, 2, self.embed_dim)
        return compile_network(blocks, example, (1, _MOST_TOKENS), self.precision, self._samples, rest="bf16")

    @torch.no_grad()
    def _samples(self) -> list[Tensor]:
        # At the frame's size: while ranges are taken, every activation of a photograph is kept, which is gigabytes.
        size = Config.paper().image_size
        frames = [ops.resize_image(torch.from_numpy(image), size).numpy() for image in images_of(self._calibration)]
        inputs = [prepare(frame, self, _CPU) for frame in frames]
        return [self._vit.first_tokens(image, patch_grid(image, self.patch_size)) for image in inputs]


def _cast(blocks: _Blocks, precision: str) -> Callable[[Tensor], Tensor]:
    dtype = DTYPES[precision]
    network = copy.deepcopy(blocks).to(dtype)
    return lambda tokens: network(tokens.to(dtype))
