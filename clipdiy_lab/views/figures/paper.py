"""Figures as papers have them: the method on one image in one figure, and images segmented in several ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from clipdiy_lab.errors import FigureError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views import catalogue
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.figures import inputs, panels, stages
from clipdiy_lab.views.figures.inputs import Run
from clipdiy_lab.views.figures.layout import lay_out
from clipdiy_lab.views.figures.truth import colors_of, frame_of, predicted_layers, true_layers
from clipdiy_lab.views.look import worth_showing

_IMAGE, _TRUTH = "Image", "In the mask"


def overview(run: Run, label: str | None = None) -> go.Figure:
    """Show all steps for one image: image, maps of a label from every grid, merged map, saliency, scores, labels.

    The grids' maps and the merged map share one colour range, which is given in the title. Saliency is coloured
    from 0 to 1, the scores over their own range.

    Parameters
    ----------
    run : DataTree or Dataset
    label : str, optional
        Default: the label, other than the background, that won most pixels or came closest to winning.

    Raises
    ------
    RunError
        If a stage is missing.
    LabelError
        If the run has no such label.
    """
    decides = inputs.scores(run)
    shown = _foremost(run) if label is None else label
    together = stages.grids_and_merged(run, shown)
    made = [panels.photograph(_IMAGE, inputs.stage(run, "image").values)]
    made += [panels.heat_map(name, values, together.colors, "cosine") for (_, name), values in together.maps.items()]
    if "saliency" in run.data_vars:
        soft = inputs.stage(run, "saliency").values
        made.append(_map("saliency", soft))
    name, scores = str(decides.name), decides.values[inputs.label_index(decides, shown)]
    made.append(_map(name, scores))
    names = s.labels_of(decides)
    colors = dict(zip(names, label_colors(names, s.background_of(run)), strict=True))
    layers, won = predicted_layers(run, colors)
    made.append(panels.Panel(s.STAGES["labels"].title, frame_of(run), layers))
    title = f"'{shown}': cosines from {together.colors.low:.2f} (dark) to {together.colors.high:.2f} (bright)"
    keys = _legend(won, colors)
    return lay_out(made, title, aspect=inputs.aspect_of(run), coloraxis={"showscale": False}, legend=keys)


def _map(name: str, values: npt.NDArray[np.floating]) -> panels.Panel:
    """Show a stage over its own range, under its title."""
    entry = catalogue.stages()[name]
    return panels.heat_map(entry.stage.title, values, entry.colors([values]), entry.stage.unit)


def comparison(
    columns: Mapping[str, Sequence[Run]],
    truth: Sequence[npt.NDArray[np.uint8]] | None = None,
    names: Sequence[str] = (),
) -> go.Figure:
    """Show images segmented in several ways: one row per image, one column per way, and the ground truth if given.

    Parameters
    ----------
    columns : mapping of str to sequence of runs
        Title of a column to its runs, one per image, the images in the same order in all columns.
    truth : sequence of uint8 arrays, height x width, optional
        One mask per image, of any size: indices into `names`, 255 = ignored.
    names : sequence of str
        As a dataset's ``label_names``.

    Raises
    ------
    FigureError
        If columns have runs of different images or numbers, frames differ, or a mask does not fit `names`.
    RunError
        If a run lacks a stage.
    """
    rows = _rows(columns)
    if truth is not None and len(truth) != len(rows):
        raise FigureError(f"there are {len(truth)} masks for {len(rows)} images; give one mask an image.")
    colors = colors_of([run for row in rows for run in row], names)
    made, seen = [], set[str]()
    for number, row in enumerate(rows):
        titles = iter([_IMAGE, *columns, _TRUTH] if number == 0 else [""] * (len(row) + 2))
        photo, aspect = inputs.stage(row[0], "image").values, inputs.aspect_of(row[0])
        made.append(panels.photograph(next(titles), photo, aspect=aspect))
        for run in row:
            layers, won = predicted_layers(run, colors)
            made.append(panels.Panel(next(titles), frame_of(run), layers, aspect))
            seen |= set(won)
        if truth is not None:
            layers, won = true_layers(photo, truth[number], names, colors)
            made.append(panels.Panel(next(titles), frame_of(row[0]), layers, aspect))
            seen |= set(won)
    across = 1 + len(columns) + (truth is not None)
    keys = _legend([name for name in colors if name in seen], colors)
    title = "The same images, segmented in several ways"
    return lay_out(made, title, columns=across, rows=True, side=190, legend=keys)


def _rows(columns: Mapping[str, Sequence[Run]]) -> list[tuple[Run, ...]]:
    counts = {title: len(runs) for title, runs in columns.items()}
    if not counts or len(set(counts.values())) > 1 or 0 in counts.values():
        raise FigureError(f"the columns have {counts} runs; expected at least one column, each with one run an image.")
    rows = list(zip(*columns.values(), strict=True))
    for number, row in enumerate(rows):
        photos = [inputs.stage(run, "image").values for run in row]
        if any(not np.array_equal(photo, photos[0]) for photo in photos):
            raise FigureError(f"the runs of row {number} are of different images; list the images in the same order.")
    frames = {frame_of(row[0]) for row in rows}
    if len(frames) > 1:
        raise FigureError(f"the frames have the sizes {sorted(frames)}; compare runs with one image_size.")
    return rows


def _foremost(run: Run) -> str:
    names, background = s.labels_of(inputs.scores(run)), s.background_of(run)
    if len(names) == 1:
        return names[0]
    best = worth_showing(inputs.as_tree(run), 2)
    shares = np.bincount(inputs.stage(run, "labels").values.ravel(), minlength=len(names))
    return names[max((i for i in best if i != background), key=lambda i: shares[i])]


def _legend(names: Sequence[str], colors: Mapping[str, npt.NDArray[np.uint8]]) -> list[go.Scatter]:
    return panels.legend_keys(names, [css(colors[name]) for name in names])
