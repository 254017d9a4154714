"""The truth beside a run: its labels over the image, and where the run's labels are others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import FigureError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.figures import inputs, panels
from clipdiy_lab.views.figures.inputs import Run

OPACITY: Final = 0.55
HOVER: Final = 16
"""Samples a side for hover: names weigh more than numbers, and these pictures are small and many."""
IGNORED: Final = "ignored"
_VERDICTS: Final = ("as in the mask", "another label", IGNORED)
# Beside labels in their colours: no colour that a label has.
_VERDICT_COLORS: Final = np.array([[236, 236, 240], [32, 32, 38], [170, 170, 178]], dtype=np.uint8)

Mask = npt.NDArray[np.uint8]
Colors = Mapping[str, npt.NDArray[np.uint8]]


def frame_of(run: Run) -> tuple[int, int]:
    """Height and width of a run's frame."""
    height, width = inputs.stage(run, "labels").shape
    return height, width


def colors_of(runs: Sequence[Run], names: Sequence[str]) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the colour of every label of runs and masks of one figure."""
    listed = [IGNORED, *names, *(name for run in runs for name in s.labels_of(inputs.scores(run)))]
    known = list(dict.fromkeys(listed))
    return dict(zip(known, label_colors(known, s.background_of(runs[0])), strict=True))


def predicted_layers(run: Run, colors: Colors) -> tuple[Sequence[go.Image | go.Heatmap], list[str]]:
    """Labels of a run over its image, and the names of those that won pixels."""
    names = s.labels_of(inputs.scores(run))
    found, photo = inputs.stage(run, "labels").values, inputs.stage(run, "image").values
    ours = np.stack([colors[name] for name in names])
    layers = panels.label_layers(photo, found, names, ours, s.background_of(run), OPACITY, HOVER)
    return layers, [names[i] for i in np.unique(found)]


def true_layers(
    photo: npt.NDArray[np.uint8], mask: Mask, names: Sequence[str], colors: Colors
) -> tuple[Sequence[go.Image | go.Heatmap], list[str]]:
    """Labels of a mask of any size over the image of a frame, and the names of those that it has.

    Raises
    ------
    FigureError
        If the mask does not fit the names.
    """
    inside = _in_frame(mask, photo.shape, names)
    listed = [*names, IGNORED]
    ours = np.stack([colors[name] for name in listed])
    background = next((i for i, name in enumerate(names) if name.lower() == "background"), None)
    layers = panels.label_layers(photo, inside, listed, ours, background, OPACITY, HOVER)
    return layers, [listed[i] for i in np.unique(inside)]


def error_layers(run: Run, mask: Mask, names: Sequence[str]) -> Sequence[go.Image | go.Heatmap]:
    """Where a run has another label than the mask, by name.

    Raises
    ------
    FigureError
        If the mask does not fit the names.
    """
    labels = inputs.stage(run, "labels").values
    inside = _in_frame(mask, labels.shape, names)
    truth = np.array([*names, IGNORED], dtype=object)[inside]
    predicted = np.array(s.labels_of(inputs.scores(run)), dtype=object)[labels]
    verdict = np.where(inside == len(names), 2, (truth != predicted).astype(np.int64))
    return panels.name_layers(verdict, _VERDICTS, _VERDICT_COLORS, cells=HOVER)


def error_keys() -> list[go.Scatter]:
    """Return the keys of `error_layers` for a legend."""
    return panels.legend_keys(_VERDICTS, [css(color) for color in _VERDICT_COLORS])


def _in_frame(mask: Mask, shape: tuple[int, ...], names: Sequence[str]) -> npt.NDArray[np.int64]:
    known = np.where(mask == IGNORE, len(names), mask).astype(np.int64)
    if mask.ndim != 2 or known.max() > len(names):
        raise FigureError(f"a mask of shape {mask.shape} holds {known.max()}; expected height x width of {len(names)}.")
    (height, width), (tall, wide) = shape[:2], mask.shape
    brought: npt.NDArray[np.int64] = known[np.ix_(np.arange(height) * tall // height, np.arange(width) * wide // width)]
    return brought
