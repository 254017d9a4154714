"""Refinement: scores moved to where the image has its edges. Linear in the scores, given the image.

Every refined score is a weighted sum of the scores around it, with weights that only the image decides. The weights
behind a pixel or a region can be asked for, so that refined scores can still be taken apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from clipdiy_lab.method.config import Config


class Refinement(ABC):
    """What an image does to maps of scores: a linear map, the same for every label."""

    @abstractmethod
    def __call__(self, scores: Float[Tensor, "L y x"]) -> Float[Tensor, "L y x"]:
        """Refine the scores of every label."""

    @abstractmethod
    def sources(self, weights: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Weight of every pixel's score in a weighted sum of refined scores: the adjoint map.

        Parameters
        ----------
        weights : float64 tensor, y x x
            Such as 1 at one pixel and 0 elsewhere.

        Returns
        -------
        float64 tensor, y x x
            With the same sum.
        """


def refinement(image: Shaped[Tensor, "y x 3"], config: Config) -> Refinement:
    """Return the refinement that a configuration asks for, on the frame.

    Raises
    ------
    ValueError
        If it asks for none.
    """
    if config.refine == "pamr":
        return Pamr(image, config.refine_iterations, config.refine_dilations)
    if config.refine == "guided":
        return Guided(image, config.refine_radius, config.refine_eps)
    raise ValueError("the configuration has no refinement")


class Pamr(Refinement):
    """Pixel-adaptive mask refinement (PAMR).

    In every iteration the scores of a pixel become the mean of those of its 8 neighbours at each dilation, weighted by
    the softmax over the neighbours n of ``mean over channels of -|I - I_n| / (1e-8 + 0.1 s)``, where s is the unbiased
    standard deviation of the 3 x 3 pixels of every dilation together. The pixel itself is not among its neighbours.
    Beyond the border stand the pixels of the border.

    Parameters
    ----------
    image : uint8 or float tensor, y x x x 3
        On any scale: a channel's own scale falls out.
    iterations : int
        0 leaves the scores as they are.
    dilations : sequence of int
        Distances to the neighbours in pixels, below the sides of the image.

    Notes
    -----
    Araslanov and Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020, section 4.3.
    """

    def __init__(
        self, image: Shaped[Tensor, "y x 3"], iterations: int = 10, dilations: Sequence[int] = (8, 16)
    ) -> None:
        self._iterations, self._size = iterations, (image.shape[0], image.shape[1])
        self._nearby, self._affinity = _affinity(image, tuple(dilations))

    def __call__(self, scores: Float[Tensor, "L y x"]) -> Float[Tensor, "L y x"]:
        """Refine the scores of every label."""
        weights = self._affinity.to(scores.dtype)
        columns = scores.flatten(1).T
        for _ in range(self._iterations):  # a bag is a pixel's neighbours: several times faster than shifting maps
            columns = F.embedding_bag(self._nearby, columns.contiguous(), per_sample_weights=weights, mode="sum")
        return columns.T.reshape(scores.shape)

    def sources(self, weights: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Weight of every pixel's score in a weighted sum of refined scores, see `Refinement.sources`."""
        row = weights.flatten()
        for _ in range(self._iterations):
            shares = self._affinity * row[:, None]
            row = torch.bincount(self._nearby.flatten(), shares.flatten(), minlength=len(row))
        return row.reshape(self._size)


@lru_cache(
    maxsize=2
)  # two thirds of PAMR's time, and the same for all trials of an image; a tensor is known by identity
def _affinity(
    image: Shaped[Tensor, "y x 3"], dilations: tuple[int, ...]
) -> tuple[Int[Tensor, "N K"], Float[Tensor, "N K"]]:
    """Index of every neighbour of every pixel, and its weight; the weights of a pixel sum to 1."""
    height, width, _ = image.shape
    places = torch.arange(height * width).reshape(height, width)
    steps = [(d * y, d * x) for d in dilations for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    rows, cols = torch.arange(height), torch.arange(width)
    nearby = torch.stack(
        [places[(rows + y).clamp(0, height - 1)][:, (cols + x).clamp(0, width - 1)].flatten() for y, x in steps]
    )
    pixels = image.flatten(0, 1).T.float()
    unlike = torch.zeros(nearby.shape)
    for channel in pixels:
        away = channel[nearby] - channel
        # Deviations are from the pixel itself, which counts once per dilation, so nothing large cancels.
        count = len(nearby) + len(dilations)
        spread = ((away.square().sum(0) - away.sum(0).square() / count).clamp(min=0) / (count - 1)).sqrt()
        unlike += away.abs() / (1e-8 + 0.1 * spread)
    return nearby.T.contiguous(), torch.softmax(-unlike / len(pixels), dim=0).T.contiguous()


class Guided(Refinement):
    """Guided filter: in every window the scores become the linear function of the colours that fits them best.

    Parameters
    ----------
    image : uint8 tensor, y x x x 3
        Brought to [0, 1] here.
    radius : int
        Of the windows, 2 * radius + 1 pixels wide; below the sides of the image. Mirrored at the border.
    eps : float
        How much variance of a colour, on the scale [0, 1], counts as no edge; above 0.

    Notes
    -----
    He, Sun and Tang, Guided Image Filtering, TPAMI 2013, equations 14 to 16 (a guide of three channels). Equal to
    OpenCV's ``ximgproc.guidedFilter`` within the rounding of float32.
    """

    def __init__(self, image: Shaped[Tensor, "y x 3"], radius: int = 8, eps: float = 1e-3) -> None:
        self._colours = image.permute(2, 0, 1).double() / 255
        self._down, self._across = (_box(side, radius) for side in self._colours.shape[1:])
        self._usual = self._mean(self._colours)
        covariance = self._mean(self._colours[:, None] * self._colours) - self._usual[:, None] * self._usual
        self._inverse = torch.linalg.inv(covariance.permute(2, 3, 0, 1) + eps * torch.eye(3, dtype=torch.float64))

    def _mean(self, maps: Float[Tensor, "*n y x"]) -> Float[Tensor, "*n y x"]:
        return self._down @ maps @ self._across.T

    def __call__(self, scores: Float[Tensor, "L y x"]) -> Float[Tensor, "L y x"]:
        """Refine the scores of every label."""
        return torch.stack([self._refined(score) for score in scores.double()]).to(scores.dtype)

    def _refined(self, score: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        level = self._mean(score)
        together = self._mean(self._colours * score) - self._usual * level
        slopes = torch.einsum("yxij,jyx->iyx", self._inverse, together)
        return (self._mean(slopes) * self._colours).sum(0) + self._mean(level - (slopes * self._usual).sum(0))

    def sources(self, weights: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Weight of every pixel's score in a weighted sum of refined scores, see `Refinement.sources`.

        The filter is linear, so they are the gradient of that sum, whatever the scores are.
        """
        with torch.inference_mode(False), torch.enable_grad():
            score = torch.zeros(self._colours.shape[1:], dtype=torch.float64, requires_grad=True)
            (found,) = torch.autograd.grad((self._refined(score) * weights).sum(), score)
        return found


def _box(side: int, radius: int) -> Float[Tensor, "side side"]:
    """Matrix of the running mean over 2 * radius + 1 pixels of a side, mirrored at its ends."""
    reached = torch.arange(side)[:, None] + torch.arange(-radius, radius + 1)
    mirrored = torch.where(reached < 0, -1 - reached, torch.minimum(reached, 2 * side - 1 - reached))
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, torch.full(reached.shape, 1 / (2 * radius + 1), dtype=torch.float64))
