"""The images on which a configuration does worst and best, and those whose masks it doubts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.errors import FigureError
from clipdiy_lab.views.colors import css
from clipdiy_lab.views.figures import inputs, panels
from clipdiy_lab.views.figures.layout import lay_out
from clipdiy_lab.views.figures.style import ACCENT
from clipdiy_lab.views.figures.truth import (
    Mask,
    colors_of,
    error_keys,
    error_layers,
    frame_of,
    predicted_layers,
    true_layers,
)

IMAGE, SCORE, SHARE = "image_id", "image_miou_percent", "image_share_percent"
_SIDES = ("top", "left", "bottom", "right")
Picture = npt.NDArray[np.uint8] | xr.DataTree


def worst_and_best(
    scores: pd.DataFrame,
    pictures: Mapping[str, Picture] | Callable[[str], Picture],
    count: int = 4,
    *,
    truth: Mapping[str, Mask] | Callable[[str], Mask] | None = None,
    names: Sequence[str] = (),
) -> go.Figure:
    """Show the images with the lowest and with the highest mIoU, the worst first.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``image_id`` (column or index) and ``image_miou_percent``, as `results.image_scores` gives them; rows
        without a score are left out.
    pictures : mapping of image id, or callable
        Returns the RGB image (height x width x 3, uint8), or a run, whose labels are drawn over the image. Used only
        for the images that are shown.
    count : int
        Number of worst and of best images; no image is shown twice.
    truth : mapping of image id, or callable, optional
        Returns the mask (height x width, indices into `names`, 255 = ignored). Then every image has a row of three:
        the run's labels, those of the mask, and where they differ. Needs runs as `pictures`.
    names : sequence of str
        With `truth`: the dataset's ``label_names``.

    Raises
    ------
    FigureError
        If a column is missing, no row has a score, there is no picture or mask of an image, or a mask does not fit.
    """
    table = inputs.columns(scores, IMAGE, SCORE)
    ranked = table.assign(**{SCORE: inputs.numbers(table, SCORE)}).dropna(subset=[SCORE])
    if count < 1 or ranked.empty:
        raise FigureError(f"{len(ranked)} images with a score and count={count}: there is nothing to show.")
    ranked = ranked.sort_values(SCORE, kind="stable")
    worst = ranked.head(count)
    best = ranked.iloc[len(worst) :].tail(count)
    titles = {
        str(getattr(row, IMAGE)): f"{getattr(row, IMAGE)}: {getattr(row, SCORE):.1f} %"
        for row in (*worst.itertuples(), *best.itertuples())
    }
    found = {image_id: _picture(pictures, image_id) for image_id in titles}
    title = f"The {len(worst)} worst and the {len(best)} best of {len(ranked)} images, by mIoU"
    if truth is not None:
        runs = {image_id: _run(picture, image_id) for image_id, picture in found.items()}
        return _with_truth(runs, {one: _mask(truth, one) for one in runs}, names, list(titles.values()), title)
    runs_there = [one for one in found.values() if isinstance(one, xr.DataTree)]
    colors = colors_of(runs_there, ()) if runs_there else {}
    shown, seen = [], set[str]()
    for image_id, picture in found.items():
        if isinstance(picture, xr.DataTree):
            layers, won = predicted_layers(picture, colors)
            shown.append(panels.Panel(titles[image_id], frame_of(picture), layers, inputs.aspect_of(picture)))
            seen |= set(won)
        else:
            shown.append(panels.photograph(titles[image_id], picture))
    keys = [name for name in colors if name in seen]
    legend = panels.legend_keys(keys, [css(colors[name]) for name in keys])
    return lay_out(shown, title, columns=min(count, 4), side=190, legend=legend)


def doubtful(
    regions: pd.DataFrame,
    runs: Mapping[str, xr.DataTree] | Callable[[str], xr.DataTree],
    truth: Mapping[str, Mask] | Callable[[str], Mask],
    names: Sequence[str],
    count: int = 4,
) -> go.Figure:
    """Show the images in which masks and confident predictions disagree most, with the regions outlined.

    Parameters
    ----------
    regions : pandas.DataFrame
        From `results.doubtful`.
    runs : mapping of image id, or callable
        Returns the run of an image, made with the configuration of the table.
    truth : mapping of image id, or callable
        Returns the mask: height x width, indices into `names`, 255 = ignored.
    names : sequence of str
        The dataset's ``label_names``.
    count : int
        Images.

    Raises
    ------
    FigureError
        If a column or every row is missing, there is no run or mask of an image, or a mask does not fit.
    """
    table = inputs.columns(regions, IMAGE, SHARE, *_SIDES)
    ids = [str(one) for one in dict.fromkeys(table[IMAGE])][:count]
    if count < 1 or not ids:
        raise FigureError(f"{len(table)} regions and count={count}: there is nothing to show.")
    found = {image_id: _run(_picture(runs, image_id), image_id) for image_id in ids}
    first = table.drop_duplicates(IMAGE).set_index(IMAGE)[SHARE]
    titles = [f"{image_id}: {first[image_id]:.1f} %" for image_id in ids]
    masks = {image_id: _mask(truth, image_id) for image_id in ids}
    title = f"Masks and confident predictions disagree: the first {len(ids)} of {table[IMAGE].nunique()} images"
    frames = {image_id: [_framed(row) for row in table[table[IMAGE] == image_id].itertuples()] for image_id in ids}
    return _with_truth(found, masks, names, titles, title, frames)


def _framed(row: tuple[object, ...]) -> go.Scatter:
    top, left, bottom, right = (float(getattr(row, name)) - 0.5 for name in _SIDES)
    return go.Scatter(
        x=[left, right, right, left, left],
        y=[top, top, bottom, bottom, top],
        mode="lines",
        line={"color": ACCENT, "width": 2},
        showlegend=False,
        hoverinfo="skip",
    )


def _with_truth(
    runs: Mapping[str, xr.DataTree],
    masks: Mapping[str, Mask],
    names: Sequence[str],
    titles: Sequence[str],
    title: str,
    frames: Mapping[str, Sequence[go.Scatter]] | None = None,
) -> go.Figure:
    """Show a row of three an image: predicted, in the mask, and where they are not the same."""
    colors = colors_of(list(runs.values()), names)
    made, seen = [], set[str]()
    for (image_id, run), heading in zip(runs.items(), titles, strict=True):
        shape, aspect, photo = frame_of(run), inputs.aspect_of(run), inputs.stage(run, "image").values
        predicted, won = predicted_layers(run, colors)
        true, there = true_layers(photo, masks[image_id], names, colors)
        differs = [*error_layers(run, masks[image_id], names), *(frames or {}).get(image_id, ())]
        made += [
            panels.Panel(heading, shape, predicted, aspect),
            panels.Panel("In the mask", shape, true, aspect),
            panels.Panel("Not the same", shape, differs, aspect),
        ]
        seen |= {*won, *there}
    keys = [name for name in colors if name in seen]
    legend = [*panels.legend_keys(keys, [css(colors[name]) for name in keys]), *error_keys()]
    return lay_out(made, title, columns=3, rows=True, side=190, legend=legend)


def _picture(pictures: Mapping[str, Picture] | Callable[[str], Picture], image_id: str) -> Picture:
    found = _given(pictures, image_id, "picture")
    if isinstance(found, xr.DataTree):
        return found
    array = np.asarray(found)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise FigureError(
            f"the picture of {image_id!r} is {array.dtype} {array.shape}; expected height x width x 3 uint8, or a run."
        )
    return array


def _run(picture: Picture, image_id: str) -> xr.DataTree:
    if not isinstance(picture, xr.DataTree):
        raise FigureError(f"the picture of {image_id!r} is an image; give its run, whose labels stand beside the mask.")
    return picture


def _mask(truth: Mapping[str, Mask] | Callable[[str], Mask], image_id: str) -> Mask:
    return np.asarray(_given(truth, image_id, "mask"))


def _given(given: object, image_id: str, what: str) -> object:
    try:
        return given[image_id] if isinstance(given, Mapping) else given(image_id)  # type: ignore[operator]
    except LookupError as error:
        raise FigureError(f"there is no {what} of {image_id!r}; give one for every image_id of the table.") from error
