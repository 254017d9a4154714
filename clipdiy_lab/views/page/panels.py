"""Maps as small pictures with words beside them, so that a page can be read aloud and laid out at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clipdiy_lab.views import data_uris, pictures
from clipdiy_lab.views.colors import css

Values = npt.NDArray[Any]

_BLUE_TO_ORANGE = ((0, 114, 178), (242, 242, 242), (213, 94, 0))


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes
    ----------
    title : str
        Stands above it.
    source : str
        Data URI.
    alt : str
        What it shows, for those who do not see it.
    """

    title: str
    source: str
    alt: str


@dataclass(frozen=True)
class Bar:
    """A colour scale: its ends, unit, and whether its middle is zero."""

    low: float
    high: float
    unit: str
    diverging: bool = False

    @property
    def ramp(self) -> npt.NDArray[np.uint8]:
        """Its 255 colours."""
        if not self.diverging:
            shades: npt.NDArray[np.uint8] = pictures.heat(np.linspace(0, 1, 255)[None], 0, 1)[0]
            return shades
        channels = [
            np.interp(np.linspace(0, 2, 255), range(3), channel) for channel in zip(*_BLUE_TO_ORANGE, strict=True)
        ]
        made: npt.NDArray[np.uint8] = np.stack(channels, -1).round().astype(np.uint8)
        return made

    @property
    def stops(self) -> list[str]:
        """Some of its colours at even steps, for CSS."""
        return [css(color) for color in self.ramp[:: 127 if self.diverging else 25]]


@dataclass(frozen=True)
class Section:
    """A stage or a map: its pictures and how to read them.

    Attributes
    ----------
    name, title, how : str
        `how` is the sentence on how to read it.
    panels : sequence of Panel
    bar : Bar, optional
        The colour scale that the panels share.
    keys : mapping of str to str
        Colours that stand for something: name to HTML colour.
    note : str
        Why there are no panels, or what they leave out.
    """

    name: str
    title: str
    how: str
    panels: Sequence[Panel] = ()
    bar: Bar | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def heats(maps: Mapping[str, Values], unit: str, *, diverging: bool = False) -> tuple[list[Panel], Bar]:
    """Draw maps, y x x, on one colour scale; pixels that are no number are clear."""
    known = np.concatenate([one[np.isfinite(one)].ravel() for one in maps.values()] or [np.zeros(0)])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if diverging:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    bar = Bar(low, high, unit, diverging)
    made = [
        Panel(title, data_uris.colored(values.astype(np.float64), low, high, bar.ramp), _range_of(title, values, unit))
        for title, values in maps.items()
    ]
    return made, bar


def _range_of(title: str, values: Values, unit: str) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return f"{title}: no pixel has a value"
    share = "" if known.size == values.size else f" in {known.size / values.size:.0%} of the pixels"
    return f"{title}: {unit} from {known.min():.3g} to {known.max():.3g}{share}, {known.mean():.3g} on average"


def areas(title: str, indices: Values, names: Sequence[str], colors: npt.NDArray[np.uint8], clear: int = -1) -> Panel:
    """Draw a map of names, y x x; pixels of the index `clear` are left clear."""
    drawn = np.where(indices == clear, len(names), indices) if (indices == clear).any() else indices
    palette = np.concatenate([colors, np.zeros((1, 3), np.uint8)])
    source = data_uris.indexed(drawn, palette, (len(names),))
    places, counts = np.unique(indices[indices != clear], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    parts = [f"{names[places[i]]} {counts[i] / indices.size:.0%}" for i in order[:12]]
    return Panel(title, source, f"{title}: {', '.join(parts) or 'nothing'}")
