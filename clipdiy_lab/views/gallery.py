"""Pictures of a run as PNG has them: every stage, every explanation map, and the method in one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr
from PIL import Image

from clipdiy_lab.method import schema as s
from clipdiy_lab.views import catalogue, pictures
from clipdiy_lab.views.colors import Rgb
from clipdiy_lab.views.look import Drawing, Look, Values

_WIDE, _NARROW = 520, 360
"""Least widths of a colour bar under several maps, and under one."""


def gallery(run: xr.DataTree) -> Iterator[tuple[Drawing, Image.Image]]:
    """Draw every stage that a run has and that has pixels or cells, and the labels over the image.

    Raises
    ------
    RunError
        If it is not a whole run.
    """
    s.validate(run)
    for drawing in Look(run).stages():
        yield drawing, picture(drawing)


def picture(drawing: Drawing) -> Image.Image:
    """Draw the maps of an entry, with what their colours stand for under them.

    A single map has one image pixel for each of its pixels; several stand in rows and columns under their titles.
    """
    panels = {titles: _panel(drawing, values) for titles, values in drawing.maps.items()}
    if set(panels) == {("", "")}:
        made = Image.fromarray(panels["", ""])
    else:
        rows, columns = (list(dict.fromkeys(titles)) for titles in zip(*panels, strict=True))
        grid = [[panels[row, column] for column in columns] for row in rows]
        made = pictures.small_multiples(grid, columns, [] if rows == [""] else rows)
    if drawing.entry.scale is not None:
        caption = f"{drawing.entry.stage.unit}   {drawing.note}".strip()
        width = max(made.width, _NARROW if len(panels) == 1 else _WIDE)
        return pictures.stack([made, pictures.scale_bar(drawing.colors, width, caption)])
    return pictures.stack([made, _legend(drawing.keys, made.width)]) if drawing.keys else made


def _panel(drawing: Drawing, values: Values) -> Rgb:
    if drawing.entry.scale is not None:
        return pictures.cleared(drawing.colors.paint(values), ~np.isfinite(values))
    if drawing.entry.kind == "photograph":
        return values
    return pictures.cleared(pictures.paint(values, drawing.palette), values < 0)


def _legend(keys: Mapping[str, Rgb], width: int) -> Image.Image:
    return pictures.legend(list(keys), np.array(list(keys.values())), width)


def strip(run: xr.DataTree) -> Image.Image:
    """Draw the method in one row: image, each grid's map of the best foreground label, saliency, scores, labels."""
    look, known = Look(run), catalogue.stages()
    candidates = [i for i in range(len(look.names)) if i != look.background] or [0]
    shares = np.bincount(look["labels"].ravel(), minlength=len(look.names))
    decides = s.scores(run)
    best = max(candidates, key=lambda i: (shares[i], decides.values[i].max()))
    drawings = {"logits": Look(run, [best]).stage(known["logits"])}
    drawings |= {name: look.stage(known[name]) for name in ("saliency",) if name in run.data_vars}
    drawings[str(decides.name)] = Look(run, [best]).stage(known[str(decides.name)])
    columns, panels = ["image"], [look["image"]]
    for name, drawing in drawings.items():
        for (row, column), values in drawing.maps.items():
            columns.append(f"'{column}' {row or name}" if column else name)
            panels.append(_panel(drawing, values))
    grid = pictures.small_multiples([[*panels, look.overlay]], [*columns, "labels"])
    return pictures.stack([grid, _legend(look.won, grid.width)])
