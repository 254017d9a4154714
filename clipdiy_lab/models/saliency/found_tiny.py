"""`found-tiny`: FOUND's recipe on the embedded model's image tower, trained without a single mask.

The tower was trained on 64-pixel crops, so it reads an image as the segmenter does: in windows of three sizes. What a
patch is described by are its keys at all of them, side by side; from there on everything is FOUND's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from clipdiy_lab.errors import WeightsError
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency.dino_vit import Keys, OpenClipViT
from clipdiy_lab.models.saliency.found import Found
from clipdiy_lab.models.saliency.protocol import check_image
from clipdiy_lab.models.tiny import build_tiny, card

_FOLDER = resources.files("clipdiy_lab") / "assets" / "found_tiny"
FRAME = 256  # the side, in pixels, at which images are looked at


class PyramidViT(nn.Module):
    """A small tower that reads an image through windows of several sizes; a `KeyBackbone`.

    Parameters
    ----------
    tower : OpenClipViT
        Trained on square images of `window` pixels.
    window : int
        Side of the tower's input.
    levels : sequence of int
        Sides that the image is resized to; windows of the tower's own size, half overlapping, read each of them.
    blocks : sequence of int
        Blocks whose keys are taken. The heads of all levels and blocks lie side by side, as if they were one block's.

    Notes
    -----
    Where windows overlap, keys and attention are averaged. Coarser levels are upsampled bilinearly to the finest grid.
    """

    def __init__(self, tower: OpenClipViT, window: int, levels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.tower = tower
        self.window, self.levels, self.blocks = window, tuple(levels), tuple(blocks)
        self.patch_size, self.mean, self.std = tower.patch_size, tower.mean, tower.std
        parts = len(self.levels) * len(self.blocks)
        self.heads, self.embed_dim = tower.heads * parts, tower.embed_dim * parts

    @property
    def fingerprint(self) -> str:
        """Sha256 of the tower's weights and of how it is used, hexadecimal."""
        use = f"{self.tower.fingerprint} {self.window} {self.levels} {self.blocks}"
        return hashlib.sha256(use.encode()).hexdigest()

    @torch.no_grad()
    def keys_and_attention(self, images: Float[Tensor, "batch 3 height width"], block: int = -1) -> Keys:
        """Keys and class-token attention of all levels and blocks; `block` is not used.

        Parameters
        ----------
        images : Tensor
            B x 3 x S x S, normalised; S a multiple of the patch.
        block : int
            Only for the protocol.
        """
        side = images.shape[-1] // self.patch_size
        parts = [self._read(level, block) for level in self._levels(images) for block in self.blocks]
        keys = torch.cat([_resized(keys, side) for keys, _ in parts], dim=1)
        attention = torch.cat([_resized(attention, side) for _, attention in parts], dim=1)
        batch, depth = len(images), self.tower.embed_dim // self.tower.heads
        return Keys(
            keys=keys.reshape(batch, self.heads, depth, side * side).transpose(2, 3),
            attention=attention.reshape(batch, self.heads, side * side),
            grid=(side, side),
        )

    def _levels(self, images: Tensor) -> list[Tensor]:
        return [
            images
            if level == images.shape[-1]
            else F.interpolate(images, size=(level, level), mode="bicubic", antialias=True, align_corners=False)
            for level in self.levels
        ]

    def _read(self, image: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """B x feature x h x w keys and B x heads x h x w attention of one level, windows put together."""
        batch, hop = len(image), self.window // 2
        windows = image.unfold(2, self.window, hop).unfold(3, self.window, hop)
        count = windows.shape[2] * windows.shape[3]
        windows = windows.permute(0, 2, 3, 1, 4, 5).reshape(batch * count, 3, self.window, self.window)
        found = self.tower.keys_and_attention(windows, block)
        grid = image.shape[-1] // self.patch_size
        keys = self._together(found.feature_map().flatten(1), batch, grid)
        return keys, self._together(found.attention.flatten(1), batch, grid)

    def _together(self, values: Tensor, batch: int, grid: int) -> Tensor:
        """Average overlapping windows: (B * windows) x (channels * patches) to B x channels x grid x grid."""
        side, hop = self.window // self.patch_size, self.window // self.patch_size // 2
        columns = values.reshape(batch, -1, values.shape[-1]).transpose(1, 2)
        total = F.fold(columns, (grid, grid), side, stride=hop)
        return total / F.fold(torch.ones_like(columns[:, : side * side]), (grid, grid), side, stride=hop)


class FoundTiny:
    """The saliency that goes with the embedded model; nothing to fetch.

    Parameters
    ----------
    device : str or torch.device
        "cpu", "cuda", "mps", or "auto" for the best that is there.

    Raises
    ------
    ModelError
        If the device is not there.
    WeightsError
        If the package's files are damaged.
    """

    name = "found-tiny"
    recipe = Recipe(name)

    def __init__(self, device: str | torch.device = "cpu") -> None:
        head, settings = read_head()
        self._found = Found(build_backbone(settings), head, name=self.name, device=device)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the weights, the tower's included, hexadecimal."""
        return self._found.fingerprint

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Soft saliency of an image.

        Parameters
        ----------
        image : ndarray
            H x W x 3 uint8, RGB, of any size; it is looked at squashed to a square.

        Returns
        -------
        ndarray
            H x W float32 in [0, 1]; 1 is foreground.

        Raises
        ------
        ImageError
            If `image` is anything else.
        """
        height, width = check_image(image).shape[:2]
        seen = torch.from_numpy(self._found(squashed(image)))[None, None]
        back = F.interpolate(seen, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        saliency: NDArray[np.float32] = back.clamp(0, 1).numpy()
        return saliency


def squashed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize an image to the frame, bilinear with antialias, aspect ratio ignored."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    frame = F.interpolate(pixels, size=(FRAME, FRAME), mode="bilinear", antialias=True, align_corners=False)
    rounded: NDArray[np.uint8] = frame.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    return rounded


def build_backbone(settings: dict[str, Any]) -> PyramidViT:
    """Build the embedded tower as the head's settings want it read."""
    facts = card()
    tower = OpenClipViT(build_tiny().visual, mean=facts.mean, std=facts.std)
    return PyramidViT(tower, facts.image_size, settings["levels"], settings["blocks"])


def read_head() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the shipped head and its settings.

    Raises
    ------
    WeightsError
        If the package's files are missing or damaged.
    """
    try:
        settings: dict[str, Any] = json.loads((_FOLDER / "config.json").read_text(encoding="utf-8"))
        head: dict[str, Tensor] = load_safetensors((_FOLDER / "model.safetensors").read_bytes())
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"The weights of 'found-tiny' cannot be read ({error}); reinstall the package.") from error
    return head, settings


def _resized(values: Tensor, side: int) -> Tensor:
    if values.shape[-1] == side:
        return values
    return F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)
