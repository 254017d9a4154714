"""Colour scales: the one place that says which colour a number has, in figures, pages and pictures alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clipdiy_lab.views.colors import Rgb

LEVELS: Final = 255
"""Colours of a scale in a palette picture, which keeps one more for pixels without a value."""
_LEEWAY: Final = 0.05

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Scale:
    """Colours of the numbers from a lowest to a highest one.

    Attributes
    ----------
    colors : tuple of str
        HTML colours at even steps.
    diverging : bool
        Whether the middle stands for zero.
    """

    colors: tuple[str, ...]
    diverging: bool = False

    def at(self, places: float | Values) -> Rgb:
        """Return the colours, ... x 3, of places from 0 (lowest) to 1 (highest)."""
        stops = np.array([list(bytes.fromhex(color[1:])) for color in self.colors])
        steps = np.linspace(0, 1, len(stops))
        mixed = np.stack([np.interp(np.asarray(places), steps, channel) for channel in stops.T], axis=-1)
        return mixed.round().astype(np.uint8)

    @property
    def ramp(self) -> Rgb:
        """Its colours in `LEVELS` even steps."""
        return self.at(np.linspace(0, 1, LEVELS))

    @property
    def stops(self) -> list[list[float | str]]:
        """Places and colours, as plotly writes a colour scale."""
        places = np.linspace(0, 1, len(self.colors)).tolist()
        return [[place, color] for place, color in zip(places, self.colors, strict=True)]

    @property
    def css(self) -> str:
        """The scale from left to right, as a background in CSS."""
        return f"linear-gradient(to right, {', '.join(self.colors)})"


# Viridis at ten even steps (matplotlib's colour map, CC0): even in lightness, readable without colour vision.
SEQUENTIAL: Final = Scale(
    ("#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
)
# Blue and orange of Okabe and Ito, which no kind of colour blindness confuses.
DIVERGING: Final = Scale(("#0072b2", "#f2f2f2", "#d55e00"), diverging=True)
MARK: Final = DIVERGING.at(1.0)
"""Colour of what is marked in a map of yes and no."""


def grid_colors(count: int) -> Rgb:
    """Return the colours, count x 3, of grids in maps of grids, the first grid the darkest."""
    return SEQUENTIAL.at(np.linspace(0.1, 0.9, count))


@dataclass(frozen=True)
class ColorRange:
    """A scale between two numbers: what all maps of one picture share.

    Attributes
    ----------
    scale : Scale
    low, high : float
        The numbers of its two ends; what lies beyond has the colour of the end.
    """

    scale: Scale
    low: float
    high: float

    @classmethod
    def of(
        cls, maps: Iterable[Values], scale: Scale, low: float = -float("inf"), high: float = float("inf")
    ) -> ColorRange:
        """Return the range of some maps within bounds; the ends of a diverging scale are equally far from 0."""
        known = [values[np.isfinite(values)] for values in maps]
        least = min((float(values.min()) for values in known if values.size), default=0.0)
        most = max((float(values.max()) for values in known if values.size), default=1.0)
        least, most = (min(max(end, low), high) for end in (least, most))
        if scale.diverging:
            least, most = -max(abs(least), abs(most)), max(abs(least), abs(most))
        # A range of no width would be widened by plotly, and its colour bar would differ from the picture.
        return cls(scale, least, most) if most > least else cls(scale, least - _LEEWAY, least + _LEEWAY)

    def paint(self, values: Values) -> Rgb:
        """Return the colours of a map, y x x x 3; those of pixels without a value mean nothing."""
        places = (np.where(np.isfinite(values), values, self.low) - self.low) / (self.high - self.low)
        return self.scale.at(np.clip(places, 0, 1))
