"""Whether a probability means what it says: counts by confidence, calibration error, likelihood at other temperatures.

Sources
-------
Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017: reliability diagram and expected
calibration error (ECE, after Naeini et al., AAAI 2015) over 15 bins of equal width; temperature scaling.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdiy_lab.method.metrics import Counts

BINS: Final = 15
TEMPERATURES: Final = tuple(float(f"{value:.6g}") for value in np.logspace(-3, 2, 26))
"""Temperatures at which the likelihood is taken; between them it is interpolated."""
_STEP: Final = 2.0**-20
"""What sums of numbers that are not whole are rounded to, so that they add up in any order."""

Floats = npt.NDArray[np.float64]


class Reliability(NamedTuple):
    """Pixels by the probability of their label, at several temperatures.

    Attributes
    ----------
    pixels, right : int64 array, temperatures x bins
        Pixels that count, and those of them whose label is right.
    confidence : int64 array, temperatures x bins
        Sum of the probabilities of the labels that won, in steps of 2**-16.
    nll : int64 array, temperatures
        Sum of the negative log-likelihood of the true labels in nats, in steps of 2**-16.
    """

    pixels: Counts
    right: Counts
    confidence: Counts
    nll: Counts

    @classmethod
    def empty(cls, temperatures: int) -> Reliability:
        """Return counts of nothing."""
        pixels, right, confidence = np.zeros((3, temperatures, BINS), dtype=np.int64)
        return cls(pixels, right, confidence, np.zeros(temperatures, dtype=np.int64))

    @classmethod
    def of(cls, scores: Tensor, pairs: Tensor, counts: Tensor, temperatures: tuple[float, ...]) -> Reliability:
        """Count an image.

        Parameters
        ----------
        scores : float tensor, labels x pixels
            Before the softmax.
        pairs : int64 tensor, 2 x n
            Pixel and true label.
        counts : int64 tensor, n
            How often each pair occurs.
        temperatures : tuple of float
        """
        pixel, truth = pairs
        best = scores.max(0)
        right = (best.indices[pixel] == truth).to(torch.float64)
        times = counts.to(torch.float64)
        found = cls.empty(len(temperatures))
        lead = (scores[truth, pixel] - best.values[pixel]).to(torch.float64)
        below = scores - best.values
        for place, temperature in enumerate(temperatures):
            # Softmax of the winner is 1 / sum(exp((score - best) / T)).
            total = torch.exp(below / temperature).sum(0, dtype=torch.float64)[pixel]
            confidence = 1 / total
            bin_of = (torch.ceil(confidence * BINS).long() - 1).clamp(0, BINS - 1)
            found.nll[place] = _whole((times * (torch.log(total) - lead / temperature)).sum())
            sums = torch.zeros(3, BINS, dtype=torch.float64)
            for row, values in zip(sums, (times, times * right, times * confidence), strict=True):
                row.index_add_(0, bin_of, values)
            found.pixels[place], found.right[place] = (row.round().long().numpy() for row in sums[:2])
            found.confidence[place] = (sums[2] / _STEP).round().long().numpy()
        return found

    def add(self, other: Reliability) -> None:
        """Add the counts of other images."""
        for mine, theirs in zip(self, other, strict=True):
            mine += theirs

    @property
    def accuracy(self) -> Floats:
        """Share of right pixels, temperatures x bins; NaN in an empty bin."""
        return _means(self.right, self.pixels)

    @property
    def mean_confidence(self) -> Floats:
        """Mean probability of the labels that won, temperatures x bins; NaN in an empty bin."""
        return _means(self.confidence * _STEP, self.pixels)

    @property
    def ece(self) -> Floats:
        """Expected calibration error at every temperature: mean gap of accuracy and confidence over the pixels."""
        gaps = np.abs(self.right - self.confidence * _STEP).sum(1)
        return _means(gaps, self.pixels.sum(1))

    @property
    def mean_nll(self) -> Floats:
        """Mean negative log-likelihood at every temperature, in nats per pixel."""
        return _means(self.nll * _STEP, self.pixels.sum(1))


def best_temperature(temperatures: npt.ArrayLike, nll: npt.ArrayLike) -> float:
    """Temperature of the least likelihood loss, by the polynomial through the lowest point and two on either side.

    Parameters
    ----------
    temperatures : floats, increasing, in equal steps of their logarithms
    nll : floats
        At each; convex in the inverse temperature, so it has one minimum.

    Returns
    -------
    float
        An end of the range where the loss is least there.

    Examples
    --------
    >>> round(best_temperature([0.01, 0.1, 1.0, 10.0, 100.0], [5.0, 2.0, 1.0, 2.0, 5.0]), 3)
    1.0
    """
    logs, losses = np.log(np.asarray(temperatures, dtype=np.float64)), np.asarray(nll, dtype=np.float64)
    low = int(losses.argmin())
    if low in (0, len(losses) - 1):
        return float(np.exp(logs[low]))
    near = slice(max(low - 2, 0), low + 3)
    curve = np.polynomial.Polynomial.fit(logs[near], losses[near], len(losses[near]) - 1)
    fine = np.linspace(logs[low - 1], logs[low + 1], 2001)
    return float(np.exp(fine[curve(fine).argmin()]))


def _whole(value: Tensor) -> int:
    return round(float(value) / _STEP)


def _means(parts: npt.NDArray[np.floating] | Counts, wholes: Counts) -> Floats:
    means: Floats = np.divide(parts, wholes, out=np.full(np.shape(wholes), np.nan), where=wholes > 0, dtype=np.float64)
    return means
