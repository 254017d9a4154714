"""One pixel taken apart: which window of which grid gave which part of its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.explain.parts import parts_of, side_by_side
from clipdiy_lab.analysis.explain.reading import Floats, Frame, at_pixel, read
from clipdiy_lab.errors import LabelError
from clipdiy_lab.method import schema as s


def pixel(
    run: xr.DataTree, y: int, x: int, labels: Sequence[str] | None = None, *, frame: Frame = "frame"
) -> pd.DataFrame:
    """Decompose the score of a pixel exactly.

    Parameters
    ----------
    run : xarray.DataTree
    y, x : int
        The pixel, counted from 0.
    labels : sequence of str, optional
        Default: all labels whose score is a weighted sum of windows. (With ``background="threshold"`` the background's
        score is a function of the others' and is left out.)
    frame : {"frame", "image"}
        Whether y and x count pixels of the frame or of the image at its own size.

    Returns
    -------
    pandas.DataFrame
        One row per window and label. Windows: ``grid`` (its name), ``window`` (side in pixels), ``row``, ``col`` and
        their box in pixels of the frame, ``top left bottom right`` (bottom and right excluded).
        ``interpolation_weight`` of the window at the pixel, ``cosine`` of window and label, ``grid_weight`` (the
        grid's weight divided by the number of grids), ``saliency_factor`` (the guide), and ``contribution``, the
        product of the four. The contributions of a label sum to its score at the pixel. A refined score is a weighted
        sum of the scores of surrounding pixels. Then ``interpolation_weight`` is the window's weighted sum over those
        pixels, and ``saliency_factor`` its mean guide there. The guided filter also has negative weights, so both may
        lie outside [0, 1].

    Raises
    ------
    RunError
        For a pixel outside the image, a run without the required stages, or a label whose score is not a weighted sum
        of windows.
    LabelError
        For a label that is not in the run.
    """
    config = read(run, "guide", s.SCORES, "labels")
    at_y, at_x = at_pixel(run, y, x, frame)
    return parts_of(run, config, alone(run, at_y, at_x), labels, f"the score of {{label}} at y={at_y}, x={at_x}")


def alone(run: xr.DataTree, y: int, x: int) -> Floats:
    """Weights of the pixels of the frame, of which one pixel has all."""
    weights = np.zeros(s.scores(run).shape[1:])
    weights[y, x] = 1
    return weights


def contrast(run: xr.DataTree, y: int, x: int, label: str, against: str, *, frame: Frame = "frame") -> pd.DataFrame:
    """Decompose the lead of one label over another at a pixel.

    Parameters
    ----------
    run : xarray.DataTree
    y, x : int
    label, against : str
    frame : {"frame", "image"}
        See `pixel`.

    Returns
    -------
    pandas.DataFrame
        One row per window, the largest contribution to the lead first: the window as in `pixel`; ``cosine``,
        ``saliency_factor`` and ``contribution`` of `label`; the same for `against` with the suffix ``_against``; and
        the ``difference`` of the contributions. The differences sum to the lead in the scores.

    Raises
    ------
    RunError, LabelError
        As `pixel`; also if both labels are the same.
    """
    if label == against:
        raise LabelError(f"label and against are both {label!r}; give two labels to compare.")
    return side_by_side(pixel(run, y, x, [label, against], frame=frame), label, against)
