"""The images on which a configuration does worst and best."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.errors import FigureError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.figures import inputs, panels

IMAGE, SCORE = "image_id", "image_miou_percent"
Picture = npt.NDArray[np.uint8] | xr.DataTree


def worst_and_best(
    scores: pd.DataFrame, pictures: Mapping[str, Picture] | Callable[[str], Picture], count: int = 4
) -> go.Figure:
    """Show the images with the lowest and with the highest mIoU, the worst first.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``image_id`` (column or index) and ``image_miou_percent``, as `results.image_scores` gives them; rows
        without a score are left out.
    pictures : mapping of image id, or callable
        Gives the RGB image (height x width x 3, uint8), or a run, of which the labels are laid over the image. Asked
        only for what is shown.
    count : int
        Images at each end; an image is shown once.

    Raises
    ------
    FigureError
        If a column is missing, no row has a score, or there is no picture of an image.
    """
    table = inputs.columns(scores, IMAGE, SCORE)
    ranked = table.assign(**{SCORE: inputs.numbers(table, SCORE)}).dropna(subset=[SCORE])
    if count < 1 or ranked.empty:
        raise FigureError(f"{len(ranked)} images with a score and count={count}: there is nothing to show.")
    ranked = ranked.sort_values(SCORE, kind="stable")
    worst = ranked.head(count)
    best = ranked.iloc[len(worst) :].tail(count)
    shown: list[panels.Panel] = []
    labels: dict[str, str] = {}
    for row in (*worst.itertuples(), *best.itertuples()):
        image_id = str(getattr(row, IMAGE))
        picture = _picture(pictures, image_id)
        title = f"{image_id}: {getattr(row, SCORE):.1f} %"
        if isinstance(picture, xr.DataTree):
            panel, won = _labels(title, picture)
            labels |= won
        else:
            panel = panels.photograph(title, picture)
        shown.append(panel)
    keys = panels.legend_keys(list(labels), list(labels.values()))
    title = f"the {len(worst)} worst and the {len(best)} best of {len(ranked)} images, by mIoU"
    return panels.lay_out(shown, title, columns=min(count, 4), side=190, legend=keys)


def _picture(pictures: Mapping[str, Picture] | Callable[[str], Picture], image_id: str) -> Picture:
    try:
        found = pictures[image_id] if isinstance(pictures, Mapping) else pictures(image_id)
    except LookupError as error:
        raise FigureError(f"there is no picture of {image_id!r}; give one for every image_id of the table.") from error
    if isinstance(found, xr.DataTree):
        return found
    array = np.asarray(found)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise FigureError(
            f"the picture of {image_id!r} is {array.dtype} {array.shape}; expected height x width x 3 uint8, or a run."
        )
    return array


def _labels(title: str, run: xr.DataTree) -> tuple[panels.Panel, dict[str, str]]:
    names, background = s.labels_of(inputs.scores(run)), s.background_of(run)
    colors = label_colors(names, background)
    labels = inputs.stage(run, "labels").values
    layers = panels.label_layers(inputs.stage(run, "image").values, labels, names, colors, background, 0.55)
    panel = panels.Panel(title, (labels.shape[0], labels.shape[1]), layers)
    return panel, {names[i]: css(colors[i]) for i in np.unique(labels)}
