"""A view as a file, of the kind that its ending names."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import xarray as xr

from clipdiy_lab.analysis.results import export
from clipdiy_lab.errors import StateError
from clipdiy_lab.pipeline.runs import save_run
from clipdiy_lab.views.report import label_table


def write(run: xr.DataTree, opacity: float, path: str | PathLike[str]) -> Path:
    """Write a run, its table of labels, or a figure of its labels over the image, by the ending.

    Raises
    ------
    StateError, OutputError, FigureError
        As `Explorer.export`.
    """
    target = Path(path)
    if target.suffix in (".nc", ".zarr"):
        return save_run(run, target)
    if target.suffix in (".csv", ".md", ".tex"):
        return export(label_table(run).reset_index(), target)
    if target.suffix in (".html", ".svg", ".pdf", ".png"):
        from clipdiy_lab.views import figures

        return figures.save(figures.overlay(run, opacity), target)
    raise StateError(
        f"{target.name!r} ends in {target.suffix or 'nothing'!r}; expected .html, .svg, .pdf or .png (figure), "
        ".nc or .zarr (run), .csv, .md or .tex (table)."
    )
