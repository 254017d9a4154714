"""`run.diy`: the common figures of a run, and a summary to read, on every xarray.DataTree and Dataset.

Importing this module registers the accessor; the front door `clipdiy_lab` does so as soon as it opens a name that
brings xarray. Methods only delegate; plotly is imported when the first figure is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import xarray as xr
from markupsafe import Markup

from clipdiy_lab.errors import ClipdiyError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.text import printable
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.colors import label_css
from clipdiy_lab.views.gallery import strip
from clipdiy_lab.views.html import render
from clipdiy_lab.views.report import label_table

if TYPE_CHECKING:
    import plotly.graph_objects as go

NAME: Final = "diy"
MAX_LABELS: Final = 12
_STRIP_WIDTH: Final = 1100


class DiyAccessor:
    """What `run.diy` is.

    Parameters
    ----------
    data : xarray.DataTree or Dataset
        A run, or the dataset at its root.
    """

    def __init__(self, data: xr.DataTree | xr.Dataset) -> None:
        self._data = data

    def image(self, grid: str | int | None = None) -> go.Figure:
        """Show the image, with the windows of a grid; see `figures.image`."""
        from clipdiy_lab.views import figures

        return figures.image(self._data, grid)

    def similarity(self, label: str) -> go.Figure:
        """Show the windows' cosines with a label; see `figures.similarity`."""
        from clipdiy_lab.views import figures

        return figures.similarity(self._data, label)

    def grids(self, label: str) -> go.Figure:
        """Show a label's map of every grid; see `figures.grids`."""
        from clipdiy_lab.views import figures

        return figures.grids(self._data, label)

    def merged(self, labels: Sequence[str] | None = None) -> go.Figure:
        """Show the weighted mean of the grids; see `figures.merged`."""
        from clipdiy_lab.views import figures

        return figures.merged(self._data, labels)

    def saliency(self) -> go.Figure:
        """Show the foreground probability; see `figures.saliency`."""
        from clipdiy_lab.views import figures

        return figures.saliency(self._data)

    def guided(self, label: str) -> go.Figure:
        """Show what saliency does to a label; see `figures.guided`."""
        from clipdiy_lab.views import figures

        return figures.guided(self._data, label)

    def fused(self, labels: Sequence[str] | None = None) -> go.Figure:
        """Show merged similarity times guide; see `figures.fused`."""
        from clipdiy_lab.views import figures

        return figures.fused(self._data, labels)

    def overlay(self, opacity: float = 0.55) -> go.Figure:
        """Show the labels over the image; see `figures.overlay`."""
        from clipdiy_lab.views import figures

        return figures.overlay(self._data, opacity)

    def margin(self) -> go.Figure:
        """Show the lead of the winner; see `figures.margin`."""
        from clipdiy_lab.views import figures

        return figures.margin(self._data)

    @property
    def _tree(self) -> xr.DataTree:
        return self._data if isinstance(self._data, xr.DataTree) else xr.DataTree(self._data)

    def __repr__(self) -> str:
        try:
            return "\n".join(f"{key:14} {printable(value)}" for key, value in _facts(self._tree).items())
        except ClipdiyError as error:
            return f"not a run: {error}"

    def _repr_html_(self) -> str:
        try:
            return _summary(self._tree)
        except ClipdiyError as error:
            return str(Markup("<p>Not a run of clipdiy_lab, so there is no summary: {}</p>").format(str(error)))


class DiyDatasetAccessor(DiyAccessor):
    """`DiyAccessor` with the figures of an evaluation, which is a Dataset.

    Parameters
    ----------
    data : xarray.Dataset
        What `evaluate` gives, or the root of a run.
    """

    _data: xr.Dataset

    def confusion(self) -> go.Figure:
        """Show an evaluation's confusion; see `figures.confusion`."""
        from clipdiy_lab.views import figures

        return figures.confusion(self._data)

    def dumbbells(self, after: xr.Dataset, names: tuple[str, str] = ("before", "after")) -> go.Figure:
        """Show an evaluation's IoU of each label beside another's; see `figures.dumbbells`."""
        from clipdiy_lab.views import figures

        return figures.dumbbells(self._data, after, names)


def _facts(run: xr.DataTree) -> dict[str, str]:
    """Say what made the run, and what it found."""
    missing = [name for name in ("config", "encoder", "saliency_source") if name not in run.attrs]
    if missing:
        raise RunError(f"it lacks the attribute {missing[0]!r}; make a run with segmenter.segment.")
    config, paper = Config.from_json(run.attrs["config"]), Config.paper()
    changed = [f"{name}={getattr(config, name)!r}" for name in config.changed(paper) if name != "precision"]
    table = label_table(run)
    found = [f"{name} {share:.0%}" for name, share in table["share"].items() if share > 0][:MAX_LABELS]
    height, width = config.image_size
    return {
        "image": f"{run.attrs.get('image_source', 'unnamed')}, seen at {height} x {width}",
        "encoder": str(run.attrs["encoder"]),
        "saliency": f"{run.attrs['saliency_source']}, weight {config.saliency_weight:g}",
        "grids": ", ".join(f"{grid.title} (weight {config.weight(grid.name):g})" for grid in Plan.of(config)),
        "configuration": "the paper's" if not changed else "the paper's but " + ", ".join(changed),
        "labels": ", ".join(found),
    }


def _summary(run: xr.DataTree) -> str:
    """Write the summary as HTML that stands on light and on dark paper, the same at every call."""
    facts = _facts(run)
    del facts["labels"]
    names = s.labels_of(run)
    colors = label_css(names, s.background_of(run))
    table = label_table(run)
    shown = table[table["share"] > 0].head(MAX_LABELS)
    rows = [
        {"name": name, "color": colors[name], "share": f"{row.share:.1%}", "margin": f"{row.mean_margin:.3f}"}
        for name, row in zip(shown.index, shown.itertuples(index=False), strict=True)
    ]
    return str(render("summary.html", facts=facts, rows=rows, rest=len(names) - len(shown), strip=_strip(run)))


def _strip(run: xr.DataTree) -> str:
    picture = strip(run)
    return data_uris.picture(picture.resize((_STRIP_WIDTH, round(picture.height * _STRIP_WIDTH / picture.width))))


xr.register_datatree_accessor(NAME)(DiyAccessor)  # type: ignore[no-untyped-call]
xr.register_dataset_accessor(NAME)(DiyDatasetAccessor)  # type: ignore[no-untyped-call]
