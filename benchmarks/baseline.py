"""The method restated plainly, as the official code runs it: the crops of one scale are one batch, in float32 by torch.

Slow on purpose and short on purpose: tests compare scores with it, benchmarks compare speed with it. It shares nothing
with the package but the encoder that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

SIDE, SCALES = 256, (256, 128, 64)


def encode_plainly(encoder, frame: np.ndarray, text: torch.Tensor) -> torch.Tensor:
    """Mean of the scales' similarity maps, labels x 256 x 256, from a 256 x 256 x 3 uint8 frame."""
    total = 0
    for p in SCALES:
        n = (SIDE - p) // (p // 2) + 1
        places = [(row * (p // 2), col * (p // 2)) for row in range(n) for col in range(n)]
        crops = [_prepare(Image.fromarray(frame[top : top + p, left : left + p]), encoder) for top, left in places]
        with torch.inference_mode():
            vectors = encoder.encode_crops(torch.stack(crops)).cpu()
        grid = (vectors @ text.T).T.reshape(1, len(text), n, n)
        total = total + F.interpolate(grid, size=(SIDE, SIDE), mode="bilinear")[0]
    return total / len(SCALES)


def _prepare(crop: Image.Image, encoder) -> torch.Tensor:
    crop = crop.resize((encoder.image_size, encoder.image_size), Image.Resampling.BICUBIC)
    pixels = (np.asarray(crop, np.float32) / 255 - np.float32(encoder.mean)) / np.float32(encoder.std)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def embed_plainly(encoder, names: Sequence[str]) -> torch.Tensor:
    """Text embeddings of the official prompt."""
    with torch.inference_mode():
        return encoder.encode_texts([f"a photo of a {name}" for name in names]).cpu()


def segment_plainly(merged: torch.Tensor, saliency: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels at `size` from the mean map and a soft saliency map; label 0 is the background."""
    s = F.interpolate(torch.from_numpy(saliency)[None, None], size=(SIDE, SIDE), mode="bilinear")[0]
    fused = merged * torch.cat([1 - s, s.expand(len(merged) - 1, -1, -1)])
    label = fused.argmax(0)[None, None].float()
    return F.interpolate(label, size=size, mode="nearest")[0, 0].numpy().astype(int)


def miou_plainly(truths: Sequence[np.ndarray], predictions: Sequence[np.ndarray], labels: int) -> float:
    """Pooled mIoU, label by label; 255 is ignored, labels that never occur are left out."""
    scores = []
    for k in range(labels):
        pairs = [(t[t != 255] == k, p[t != 255] == k) for t, p in zip(truths, predictions, strict=True)]
        union = sum((t | p).sum() for t, p in pairs)
        if union:
            scores.append(sum((t & p).sum() for t, p in pairs) / union)
    return float(np.mean(scores))
