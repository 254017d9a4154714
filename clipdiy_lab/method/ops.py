"""The mathematics of the method: tensors in, tensors out, one function per stage.

Shapes are checked by jaxtyping in the tests. `H W` is the image's own size, `y x` the frame, `L` labels, `P` phrases,
`N` windows, `G` grids, `D` features. Source of every rule: wysoczanska/clip-diy at f88932d, unless a docstring says
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor

from clipdiy_lab.method.config import Resize
from clipdiy_lab.method.grid import WindowGrid
from clipdiy_lab.method.last_block import Remainder

CropResize = Literal["bicubic", "bilinear"]

# OpenCV keeps interpolation weights of 8-bit images as integers of 11 bits (INTER_RESIZE_COEF_BITS).
_CV_BITS = 11
# Pillow's resampling of 8-bit images: 32 bits less 8 for the pixel and 2 of headroom (PRECISION_BITS).
_PILLOW_BITS = 22
AT_ONCE = 8
"""Crops that are brought to the encoder's input together on a processor: as many as its cache holds."""


def resize_image(
    image: UInt8[Tensor, "H W 3"], size: tuple[int, int], how: Resize = "bilinear"
) -> UInt8[Tensor, "y x 3"]:
    """Resize an image to the frame, aspect ratio ignored, without antialias.

    Parameters
    ----------
    image : uint8 tensor, H x W x 3
        RGB, 0 to 255.
    size : (int, int)
        Height and width of the frame.
    how : {"bilinear", "nearest"}
        ``bilinear`` repeats OpenCV's ``INTER_LINEAR`` on uint8 to the last bit: weights rounded to 1/2048, one rounding
        at the end. ``nearest`` repeats ``INTER_NEAREST``: the pixel that the scaled index falls into.
    """
    height, width = size
    if (height, width) == tuple(image.shape[:2]):
        return image
    if how == "nearest":
        rows, cols = (_nearest_index(old, new, image.device) for old, new in zip(image.shape[:2], size, strict=True))
        return image[rows][:, cols]
    # Horizontal pass in exact integers, then vertical with OpenCV's order of shifts.
    left, right, left_w, right_w = _cv_taps(image.shape[1], width, image.device, border_is_whole=True)
    wide = image.to(torch.int32)
    across = wide[:, left] * left_w[None, :, None] + wide[:, right] * right_w[None, :, None]
    top, bottom, top_w, bottom_w = _cv_taps(image.shape[0], height, image.device, border_is_whole=False)
    upper = ((across[top] >> 4) * top_w[:, None, None]) >> 16
    lower = ((across[bottom] >> 4) * bottom_w[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).clamp(0, 255).to(torch.uint8)


def _cv_step(old: int, new: int) -> float:
    """Source pixels a target pixel; OpenCV inverts the factor new / old, which may differ from old / new by a bit."""
    return 1 / (new / old)


def _nearest_index(old: int, new: int, device: torch.device) -> Int[Tensor, " new"]:
    scaled = torch.arange(new, dtype=torch.float64, device=device) * _cv_step(old, new)
    return scaled.floor().long().clamp(max=old - 1)


def _cv_taps(old: int, new: int, device: torch.device, border_is_whole: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two source indices of each target pixel and their weights in units of 1/2048.

    Beyond the outermost pixel centres OpenCV gives the border pixel the whole weight in the pass across; in the pass
    down it takes the border pixel twice, and each part is rounded by itself.
    """
    # OpenCV computes the position in double and keeps it as float32 before it takes the fraction.
    target = torch.arange(new, dtype=torch.float64, device=device)
    position = ((target + 0.5) * _cv_step(old, new) - 0.5).to(torch.float32)
    index = position.floor().to(torch.int64)
    share = position - position.floor()
    if border_is_whole:
        share = torch.where((index < 0) | (index >= old - 1), torch.zeros_like(share), share)
    unit = float(1 << _CV_BITS)
    second = torch.round(share * unit).to(torch.int32)
    first = torch.round((1 - share) * unit).to(torch.int32)
    return index.clamp(0, old - 1), (index + 1).clamp(0, old - 1), first, second


def cut_windows(frame: UInt8[Tensor, "y x 3"], grid: WindowGrid) -> UInt8[Tensor, "N 3 p p"]:
    """Cut the windows of one grid, row by row.

    Returns
    -------
    uint8 tensor, (rows * cols) x 3 x window x window
    """
    patches = frame.permute(2, 0, 1).unfold(1, grid.window, grid.hop).unfold(2, grid.window, grid.hop)
    return patches.permute(1, 2, 0, 3, 4).reshape(-1, 3, grid.window, grid.window)


def to_encoder_input(
    crops: UInt8[Tensor, "N 3 p p"],
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    how: CropResize = "bicubic",
    out: Float[Tensor, "N 3 s s"] | None = None,
) -> Float[Tensor, "N 3 s s"]:
    """Bring crops to the encoder's input: resized with antialias as Pillow does it, to [0, 1], normalised.

    Parameters
    ----------
    crops : uint8 tensor, N x 3 x p x p
    size : int
        Side of the encoder's input, pixels.
    mean, std : three floats each
        Of the encoder's training images, on the scale [0, 1].
    how : {"bicubic", "bilinear"}
        How the encoder's training images were resized; bicubic is the official code's.
    out : float32 tensor, N x 3 x s x s, optional
        Where to put it.
    """
    made = torch.empty(len(crops), 3, size, size, device=crops.device) if out is None else out
    at_once = AT_ONCE if crops.device.type == "cpu" else max(len(crops), 1)
    for pixels, place in zip(torch.split(crops, at_once), torch.split(made, at_once), strict=True):
        normalise(place.copy_(_resized(pixels, size, how)), mean, std)
    return made


def normalise(
    pixels: Float[Tensor, "*images 3 h w"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "*images 3 h w"]:
    """Bring pixels from [0, 255] to what an encoder reads; in place.

    Parameters
    ----------
    pixels : float tensor, ... x 3 x h x w
    mean, std : three floats each
        Of the encoder's training images, on the scale [0, 1].
    """
    shift, scale = (torch.tensor(each, device=pixels.device).view(3, 1, 1) for each in (mean, std))
    return pixels.div_(255).sub_(shift).div_(scale)


def _resized(crops: UInt8[Tensor, "N 3 p p"], size: int, how: CropResize) -> Tensor:
    """Resize crops as Pillow does: across, rounded to 8 bits, then down, rounded again."""
    old = crops.shape[-1]
    if old == size:
        return crops
    # Pillow's weights are integers of 22 bits, here over 2**22; products and sums with 8-bit pixels have at most 31
    # bits, so these matrix products are exact in float64, on every device. What is added rounds half up, as Pillow's
    # shift does; in the product it costs no pass of its own.
    weights = torch.from_numpy(_pillow_weights(old, size, how)).to(crops.device)
    half = torch.full((1, 1, 1), 0.5, dtype=torch.float64, device=crops.device)
    rows = crops.reshape(1, -1, old).double()
    across = _whole_pixels(torch.baddbmm(half, rows, weights.T[None])).view(-1, old, size)
    down = torch.baddbmm(half, weights.expand(len(across), -1, -1), across)
    return _whole_pixels(down).view(len(crops), 3, size, size)


def _whole_pixels(values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Clip to 8 bits and drop the fraction; in place, because fresh memory would take longer than the arithmetic."""
    return values.clamp_(0, 255).floor_()


@lru_cache(maxsize=64)
def _pillow_weights(old: int, new: int, how: CropResize) -> npt.NDArray[np.float64]:
    """Weights of Pillow's resampling, multiples of 2**-22, shape (new, old) (Resample.c: bicubic with a = -0.5)."""
    reach, kernel = (2, _cubic) if how == "bicubic" else (1, _triangle)
    ratio = old / new
    stretch = max(ratio, 1.0)
    weights = np.zeros((new, old))
    for target in range(new):
        centre = (target + 0.5) * ratio
        low = max(int(centre - reach * stretch + 0.5), 0)
        high = min(int(centre + reach * stretch + 0.5), old)
        taps = kernel((np.arange(low, high) - centre + 0.5) / stretch)
        taps /= taps.sum()
        # C's conversion to int drops the fraction, so half a unit is added away from zero.
        weights[target, low:high] = np.trunc(taps * (1 << _PILLOW_BITS) + np.copysign(0.5, taps))
    return weights / (1 << _PILLOW_BITS)


def _triangle(x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    falling: npt.NDArray[np.floating] = np.maximum(1 - np.abs(x), 0.0)
    return falling


def _cubic(x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Keys' cubic convolution kernel with a = -0.5 (Keys, 1981)."""
    x = np.abs(x)
    near = 1 - 2.5 * x**2 + 1.5 * x**3
    far = 2 - 4 * x + 2.5 * x**2 - 0.5 * x**3
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def cosine(embedding: Float[Tensor, "rows cols D"], text: Float[Tensor, "L D"]) -> Float[Tensor, "rows cols L"]:
    """Cosine of each window with each label; no logit scale.

    Parameters
    ----------
    embedding, text : float tensors
        Unit vectors.
    """
    return embedding @ text.T


def best_phrase(
    cosines: Float[Tensor, "rows cols P"], counts: Sequence[int]
) -> tuple[Float[Tensor, "rows cols L"], Int[Tensor, "rows cols L"]]:
    """Take the best of each label's phrases in every window.

    The maximum is taken here and nowhere later, so that every map made of these values stays a weighted sum of them.

    Parameters
    ----------
    cosines : float tensor, rows x cols x phrases
        The phrases of a label stand together.
    counts : sequence of int
        Number of phrases of each label, in label order; they sum to the number of phrases.

    Returns
    -------
    float tensor, rows x cols x L
        Cosine of the best phrase.
    int64 tensor, rows x cols x L
        Its index among all phrases; the first of equals.
    """
    best = [part.max(dim=-1) for part in torch.split(cosines, list(counts), dim=-1)]
    firsts = torch.tensor([0, *counts[:-1]]).cumsum(0).to(cosines.device)
    return torch.stack([one.values for one in best], -1), torch.stack([one.indices for one in best], -1) + firsts


def upsample(
    similarity: Float[Tensor, "rows cols L"], down: Float[Tensor, "y rows"], across: Float[Tensor, "x cols"]
) -> Float[Tensor, "L y x"]:
    """Spread a grid of similarities over the frame with the matrices of `Grid.matrices`."""
    return down @ similarity.permute(2, 0, 1) @ across.T


def merge(logits: Float[Tensor, "G L y x"], weights: Sequence[float]) -> Float[Tensor, "L y x"]:
    """Weighted sum of the grids' maps divided by their number (not by the sum of the weights)."""
    factors = torch.tensor(weights, dtype=logits.dtype, device=logits.device) / len(weights)
    return torch.einsum("g,glyx->lyx", factors, logits)


def resize_saliency(saliency: Float[Tensor, "H W"], size: tuple[int, int]) -> Float[Tensor, "y x"]:
    """Bring a saliency map to the frame: bilinear without antialias, pixel centres aligned."""
    if tuple(saliency.shape) == size:
        return saliency
    return F.interpolate(saliency[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def harden(saliency: Float[Tensor, "y x"], threshold: float | None) -> Float[Tensor, "y x"]:
    """Make saliency 1 above a threshold and 0 elsewhere; None leaves it soft."""
    return saliency if threshold is None else (saliency > threshold).to(saliency.dtype)


def factors(saliency: Float[Tensor, "y x"], weight: float = 1.0) -> tuple[Float[Tensor, "y x"], Float[Tensor, "y x"]]:
    """Return the factor of the saliency on labels of the foreground, and that on the background label; see `guide`."""
    return (1 - weight) + weight * saliency, (1 - weight) + weight * (1 - saliency)


def guide(
    saliency: Float[Tensor, "y x"], labels: int, background: int | None, weight: float = 1.0
) -> Float[Tensor, "L y x"]:
    """Return the factor that saliency puts on each label.

    ``1 - s`` on the background label, ``s`` on every other; with weight w the factor is ``(1 - w) + w * guide``. The
    paper has w = 1; the weight is ours.

    Parameters
    ----------
    saliency : float tensor, y x x, in [0, 1]
    labels : int
        Number of labels.
    background : int or None
        Index of the background label; None: every label counts as foreground.
    weight : float
        0 (factor 1 everywhere) to 1 (the paper).
    """
    foreground, of_background = factors(saliency, weight)
    factor = foreground.expand(labels, *saliency.shape).clone()
    if background is not None:
        factor[background] = of_background
    return factor


def fuse(merged: Float[Tensor, "L y x"], guide: Float[Tensor, "L y x"]) -> Float[Tensor, "L y x"]:
    """Similarity times guide."""
    return merged * guide


def threshold_score(others: Float[Tensor, "K y x"], threshold: float, scale: float) -> Float[Tensor, "y x"]:
    """Score with which a background label wins exactly where no other label is probable enough.

    With m_l the scores of the other labels and p_l = exp(k m_l) / sum_j exp(k m_j) their softmax,
    ``p_top < t <=> k m_top - logsumexp(k m) < log t <=> m_top < (log t + logsumexp(k m)) / k``.
    The right-hand side is the score: with a background row of that height the plain argmax over all rows says what the
    threshold says. (The rule: ``prob_thd`` of wangf3014/SCLIP at b56bd30 and mc-lan/ClearCLIP at ad68a40.)

    Parameters
    ----------
    others : float tensor, K x y x x
        Scores of the labels other than the background.
    threshold : float
        t, 0 to 1. Below 1 / K nothing is background, since some label always has at least that probability.
    scale : float
        k > 0, the logit scale.
    """
    top = others.amax(0)
    # log 0 would be infinite; the smallest number that float32 has is below 1 / K as well and decides the same.
    lowest = math.log(max(threshold, torch.finfo(torch.float32).tiny))
    score = ((lowest + torch.logsumexp(others.double() * scale, dim=0)) / scale).to(others.dtype)
    # Equality means p_top = t, which is not below t; the argmax would give a tie to whichever label stands first.
    return torch.where(score == top, torch.nextafter(top, torch.full_like(top, -torch.inf)), score)


def probability(scores: Float[Tensor, "L y x"], temperature: float = 1.0) -> Float[Tensor, "L y x"]:
    """Softmax over the labels."""
    return torch.softmax(scores / temperature, dim=0)


def margin(scores: Float[Tensor, "L y x"]) -> Float[Tensor, "y x"]:
    """Score of the winner minus the runner-up's; 0 where it has no rival, or only such with minus infinity."""
    if scores.shape[0] == 1:
        return torch.zeros_like(scores[0])
    best = scores.topk(2, dim=0).values
    return torch.where(best[1].isinf(), 0.0, best[0] - best[1])


def resize_labels(labels: Integer[Tensor, "y x"], size: tuple[int, int]) -> Integer[Tensor, "H W"]:
    """Bring a label map to another size, nearest, as torch (and so the official evaluation) rounds."""
    rows, cols = (nearest(old, new) for old, new in zip(labels.shape, size, strict=True))
    return labels[rows[:, None], cols]


@lru_cache(maxsize=1024)
def nearest(old: int, new: int) -> Int[Tensor, " new"]:
    """Pixel of a side of `old` pixels that each of `new` pixels takes its value from: left edges, in float32."""
    places = np.floor(np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new)))
    return torch.from_numpy(np.minimum(places, old - 1).astype(np.int64))


def to_whole_patches(images: Float[Tensor, "B 3 H W"], patch: int, how: Remainder) -> Float[Tensor, "B 3 h w"]:
    """Bring normalised images to whole patches, as a method's rule for the remainder has it; see `LastBlock`."""
    if how == "cut":
        return images
    missing = [-side % patch for side in images.shape[-2:]]
    before = [side // 2 if how == "centre" else 0 for side in missing]
    (down, across), (top, left) = missing, before
    return F.pad(images, (left, across - left, top, down - top))
