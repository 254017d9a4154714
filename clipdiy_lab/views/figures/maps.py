"""Any map of numbers or names as a figure: an explanation of a run by its name, or an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.errors import FigureError, nearest
from clipdiy_lab.method import schema as s
from clipdiy_lab.views import catalogue
from clipdiy_lab.views.catalogue import Entry
from clipdiy_lab.views.colors import css
from clipdiy_lab.views.figures import inputs, panels
from clipdiy_lab.views.figures.inputs import Run
from clipdiy_lab.views.figures.layout import lay_out
from clipdiy_lab.views.look import Drawing, Look
from clipdiy_lab.views.scales import SEQUENTIAL, ColorRange

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

_NOTHING: Final = "rgba(127,127,127,0.35)"
"""What shows where a map is clear: on light and on dark paper no colour of a scale."""


def drawn(
    drawing: Drawing, title: str | None = None, unit: str | None = None, aspect: float | None = None
) -> go.Figure:
    """Show a drawing: numbers on one colour range with one colour bar, names with a legend.

    Parameters
    ----------
    drawing : Drawing
    title, unit : str, optional
        Default: those of the catalogue.
    aspect : float, optional
        Height over width of the image. Default: that of the maps.
    """
    title = drawing.entry.stage.title if title is None else title
    titled = {", ".join(filter(None, (column, row))): values for (row, column), values in drawing.maps.items()}
    if drawing.entry.scale is None:
        shown = [
            panels.Panel(
                name, (values.shape[0], values.shape[1]), panels.name_layers(values, drawing.names, drawing.palette)
            )
            for name, values in titled.items()
        ]
        keys = panels.legend_keys(list(drawing.keys), [css(color) for color in drawing.keys.values()])
        return lay_out(shown, title, aspect=aspect, legend=keys).update_layout(plot_bgcolor=_NOTHING)
    unit = drawing.entry.stage.unit if unit is None else unit
    shown = [panels.heat_map(name, values, drawing.colors, unit) for name, values in titled.items()]
    laid = lay_out(shown, title, aspect=aspect, coloraxis=panels.color_axis(drawing.colors, unit))
    return laid.update_layout(plot_bgcolor=_NOTHING)


def explanation(run: Run, name: str, segmenter: Segmenter | None = None) -> go.Figure:
    """Show an explanation map of a run by its name, such as ``flip_change``, ``grid_shapley`` or ``entropy``.

    Parameters
    ----------
    run : DataTree
    name : str
    segmenter : Segmenter, optional
        The one that made the run, for ``wording_sensitivity``.

    Raises
    ------
    FigureError
        If there is no such map, or it needs more than a run: then compute it with `explain` and use `pixel_map`.
    RunError
        If the run cannot have it.
    """
    for known in catalogue.EXPLANATIONS:
        entry = next((entry for entry in known.entries if entry.name == name), None)
        if entry is None:
            continue
        if known.make is None or (known.needs_segmenter and segmenter is None):
            raise FigureError(
                f"the map {name!r} asks for more than a run; make it with lab.explain and show it with pixel_map"
                + (", or give the segmenter." if known.needs_segmenter else ".")
            )
        tree = inputs.as_tree(run)
        drawing = Look(tree).draw(entry, {"": known.make(tree, segmenter)[name]})
        return drawn(drawing, aspect=inputs.aspect_of(tree))
    raise FigureError(f"there is no explanation map {name!r}. {nearest(name, catalogue.explanations())}")


def pixel_map(
    array: xr.DataArray, title: str | None = None, unit: str | None = None, *, run: Run | None = None
) -> go.Figure:
    """Show one map, or one per value of a further dimension with a common colour range; NaN is transparent.

    Stages and explanations of the lab have their own colours and range. In other arrays, values of both signs are
    coloured from blue over white to orange.

    Parameters
    ----------
    array : xarray.DataArray
        (y, x), or (y, x) and one more dimension, such as ``grid`` or ``label``, in any order.
    title, unit : str, optional
        Default: the array's ``long_name`` and ``units``.
    run : DataTree or Dataset, optional
        The run to which the map belongs: then it is shown in the aspect ratio of the image instead of the frame.

    Raises
    ------
    FigureError
        For other dimensions.
    """
    maps = {("", name): values for name, values in inputs.maps_of(array).items()}
    entry = catalogue.recognised(array)
    if entry is None or entry.kind == "photograph":
        entry = _own(array, ColorRange.of(maps.values(), SEQUENTIAL))
    return drawn(Drawing.of(entry, maps), title, unit, None if run is None else inputs.aspect_of(run))


def _own(array: xr.DataArray, colors: ColorRange) -> Entry:
    """Return an entry for an array of one's own."""
    name, unit = str(array.name or "value"), str(array.attrs.get("units", "1"))
    stage = s.Stage(
        name=name,
        dims=tuple(map(str, array.dims)),
        kind="f4",
        title=str(array.attrs.get("long_name", array.name or "")),
        unit=name if unit == "1" else unit,
    )
    return Entry(stage=stage, kind="diverging" if colors.low < 0 < colors.high else "sequential", whole=False)
