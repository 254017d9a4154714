"""Drawings as sections of a page: small pictures with words beside them, to be read aloud and laid out at any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipdiy_lab.views import data_uris
from clipdiy_lab.views.catalogue import OVERLAY
from clipdiy_lab.views.look import Drawing, Look, Values


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes
    ----------
    title : str
        Stands above it; empty where the section's heading says it.
    source : str
        Data URI.
    alt : str
        What it shows, for those who do not see it.
    """

    title: str
    source: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A drawing and its pictures."""

    drawing: Drawing
    panels: Sequence[Panel]


def section(look: Look, drawing: Drawing) -> Section:
    """Return the pictures of a drawing, each with a description."""
    panels = []
    for (row, column), values in drawing.maps.items():
        title = ", ".join(filter(None, (column, row)))
        panels.append(Panel(title, _source(drawing, values), _described(look, drawing, title, values)))
    return Section(drawing, panels)


def _source(drawing: Drawing, values: Values) -> str:
    if drawing.entry.scale is not None:
        return data_uris.colored(values, drawing.colors)
    if drawing.entry.kind == "photograph":
        return data_uris.photograph(values)
    nothing = len(drawing.names)
    palette = np.concatenate([drawing.palette, np.zeros((1, 3), np.uint8)])
    return data_uris.indexed(np.where(values < 0, nothing, values), palette, (nothing,))


def _described(look: Look, drawing: Drawing, title: str, values: Values) -> str:
    entry = drawing.entry
    title = title or entry.stage.title
    if entry.scale is not None:
        return f"{title}: {_range_of(values, entry.stage.unit)}"
    if entry is OVERLAY:
        return f"{title}: {shares(look['labels'], look.names)}"
    return title if entry.kind == "photograph" else f"{title}: {shares(values, drawing.names)}"


def _range_of(values: Values, unit: str) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return "no pixel has a value"
    share = "" if known.size == values.size else f" in {known.size / values.size:.0%} of the pixels"
    return f"{unit} from {known.min():.3g} to {known.max():.3g}{share}, {known.mean():.3g} on average"


def shares(indices: Values, names: Sequence[str]) -> str:
    """Say which names take how much of a map of indices, the largest shares first."""
    places, counts = np.unique(indices[indices >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{names[places[i]]} {counts[i] / indices.size:.0%}" for i in order[:12]) or "nothing"
