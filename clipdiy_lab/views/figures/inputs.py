"""What a figure may be made of, checked: one clear error for other dimensions, a missing column, an unknown label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from clipdiy_lab.errors import FigureError, LabelError, RunError, nearest
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan
from clipdiy_lab.method.naming import grid_name, grid_title

Run = xr.DataTree | xr.Dataset
"""A run, or the dataset at its root."""


def as_tree(run: Run) -> xr.DataTree:
    """Return a run as a tree.

    Raises
    ------
    RunError
        If it is another object.
    """
    if not isinstance(run, xr.DataTree | xr.Dataset):
        raise RunError(f"expected a run (xarray.DataTree or Dataset), got {type(run).__name__}.")
    return run if isinstance(run, xr.DataTree) else xr.DataTree(run)


def stage(run: Run, name: str, grid: str | None = None) -> xr.DataArray:
    """Return a stage of a run, with the dimensions that the schema gives it.

    Raises
    ------
    RunError
        If the run has no such stage or it has other dimensions.
    """
    array = s.stage(as_tree(run), name, grid)
    known = s.STAGES[name]
    if array.dims != known.dims:
        raise RunError(f"stage {name!r} has dimensions {array.dims}, expected {known.dims}; is this a run?")
    return array


def aspect_of(run: Run) -> float:
    """Height over width of the image of a run, which its frame squashes; of the frame where it does not say."""
    tree = as_tree(run)
    height, width = stage(tree, "labels_full" if "labels_full" in tree.data_vars else "image").shape[:2]
    return height / width


def plan_of(run: Run) -> Plan:
    """Return the grids of a run.

    Raises
    ------
    RunError
        If the run does not say how it was made.
    """
    config = as_tree(run).attrs.get("config")
    if config is None:
        raise RunError("the run lacks the attribute 'config', which says its grids; make it with segmenter.segment.")
    return Plan.of(Config.from_json(config))


def grid_of(run: Run, grid: str | int) -> Grid:
    """Return a grid of a run by its name or the side of its windows.

    Raises
    ------
    RunError
        If the run has no such grid.
    """
    plan = plan_of(run)
    name = grid_name(grid)
    if name not in plan.names:
        raise RunError(f"the run has no grid {name!r}. {nearest(name, plan.names)}")
    return plan[name]


def scores(run: Run) -> xr.DataArray:
    """Return the scores that decide the labels of a run.

    Raises
    ------
    RunError
        If it holds none, or they have other dimensions.
    """
    return stage(run, str(s.scores(as_tree(run)).name))


def label_index(array: xr.DataArray, label: str) -> int:
    """Place of a label.

    Raises
    ------
    LabelError
        If the array has no such label.
    """
    names = s.labels_of(array)
    if label not in names:
        raise LabelError(f"The run has no label {label!r}. {nearest(label, names)}")
    return names.index(label)


def maps_of(array: xr.DataArray) -> dict[str, npt.NDArray[np.floating]]:
    """Return name to (y, x) values of an array of one map, or of one per value of a further dimension.

    Raises
    ------
    FigureError
        For something else.
    """
    if not isinstance(array, xr.DataArray) or not {s.Y, s.X} <= set(array.dims) or array.ndim > 3 or not array.size:
        what = f"dimensions {array.dims}" if isinstance(array, xr.DataArray) else type(array).__name__
        raise FigureError(
            f"a map of pixels was expected: an xarray.DataArray with dimensions ('{s.Y}', '{s.X}') and at most one "
            f"more; got {what}. Select along the others first, e.g. array.sel(label='cat')."
        )
    if array.dtype.kind not in "biuf":
        raise FigureError(f"a map of numbers was expected, got {array.dtype}.")
    further = [dim for dim in array.dims if dim not in (s.Y, s.X)]
    ordered = array.transpose(*further, s.Y, s.X).astype(np.float64)
    if not further:
        return {"": ordered.values}
    ticks = map(str, ordered[further[0]].values)
    titles = map(grid_title, ticks) if further[0] == s.GRID else ticks
    return dict(zip(titles, ordered.values, strict=True))


def columns(table: pd.DataFrame, *needed: str) -> pd.DataFrame:
    """Check that a table has rows and columns that are needed; index levels count as columns.

    Raises
    ------
    FigureError
    """
    if not isinstance(table, pd.DataFrame):
        raise FigureError(f"expected a pandas.DataFrame with {', '.join(needed)}; got {type(table).__name__}.")
    flat = table.reset_index() if set(table.index.names) & set(needed) else table
    missing = [name for name in needed if name not in flat.columns]
    if missing:
        raise FigureError(
            f"the table lacks the column {missing[0]!r}. {nearest(missing[0], map(str, flat.columns))} "
            f"A figure of this kind needs {', '.join(needed)}."
        )
    if flat.empty:
        raise FigureError("the table has no rows, so there is nothing to draw.")
    return flat


def numbers(table: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Return a column as numbers.

    Raises
    ------
    FigureError
        If it holds something else.
    """
    try:
        return table[column].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FigureError(f"the column {column!r} holds {table[column].dtype}, expected numbers.") from error


def variables(data: Any, **needed: Sequence[str]) -> xr.Dataset:
    """Check that an evaluation's dataset has variables with these dimensions, whatever other dimensions they have.

    Raises
    ------
    FigureError
    """
    if not isinstance(data, xr.Dataset):
        raise FigureError(f"expected the xarray.Dataset of an evaluation, got {type(data).__name__}.")
    for name, dims in needed.items():
        if name not in data:
            raise FigureError(f"the dataset lacks {name!r}. {nearest(name, map(str, data.data_vars))}")
        lacking = [dim for dim in dims if dim not in data[name].dims]
        if lacking:
            raise FigureError(f"{name!r} has dimensions {data[name].dims}, expected {lacking[0]!r} among them.")
    return data


def knob_text(value: Any) -> str:
    """Spell a knob's value short: scales as ``256+128+64``, weights as ``s256: 2, s064: 0.5``.

    Examples
    --------
    >>> knob_text((256, 64)), knob_text({"s256": 2.0, "s064": 0.5}), knob_text(0.30)
    ('256+64', 's256: 2, s064: 0.5', '0.3')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {knob_text(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return "+".join(knob_text(one) for one in value)
    if isinstance(value, float | np.floating):
        return f"{value:g}"
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value has a place on an axis of numbers."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
