"""An encoder that costs nothing and remembers what it was asked."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.method.ops import to_whole_patches


class CountingEncoder:
    """A plain object that meets the protocol: cheap, deterministic, and it remembers what it was asked.

    `batches` holds the number of crops of every call, `texts` every prompt in order.
    """

    name = "counting"
    image_size = 8
    mean = (0.5, 0.4, 0.3)
    std = (0.2, 0.3, 0.25)
    embedding_dim = 12
    fingerprint = "counting-1"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.texts: list[str] = []
        rng = np.random.default_rng(12)
        side = self.image_size
        self._weights = torch.from_numpy(rng.normal(size=(3 * side * side, self.embedding_dim)).astype(np.float32))

    def encode_crops(self, crops: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(crops))
        return F.normalize(crops.flatten(1) @ self._weights, dim=-1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        self.texts += texts
        seeds = [zlib.crc32(text.encode()) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.embedding_dim) for seed in seeds]
        return F.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=-1)


class TokenCountingEncoder(CountingEncoder):
    """One that gives patch tokens as well: every patch by itself, whatever the method; sides follow its rule."""

    patch_size = 4

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        rows, cols = (side // self.patch_size for side in images.shape[-2:])
        patches = F.unfold(images, self.patch_size, stride=self.patch_size).transpose(1, 2)
        vectors = patches @ self._weights[: patches.shape[-1]]
        return F.normalize(vectors, dim=-1).reshape(len(images), rows, cols, -1)

    def encode_crops_and_tokens(self, crops: torch.Tensor, method: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self.encode_crops(crops), self._tokens(crops)

    def encode_tokens(self, image: torch.Tensor, method: str) -> torch.Tensor:
        return self._tokens(to_whole_patches(image[None], self.patch_size, METHODS[method].remainder))[0]
