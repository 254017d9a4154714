"""Opening an explorer with its widgets, on whatever somebody has at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.models import recipes
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency import names as saliency_names
from clipdiy_lab.pipeline.loading import load
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store
from clipdiy_lab.views.explorer.album import of_result, picture_of_run
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.state import MAX_LABELS


def explorer_widgets(explorer: Explorer) -> Any:
    """Make the instrument of an explorer.

    Raises
    ------
    ImportError
        Where anywidget is missing.
    """
    # Widgets are an extra: an explorer without them shows a picture.
    from clipdiy_lab.views.explorer.widgets import InstrumentScreen

    return InstrumentScreen(explorer)


def explore(
    image: Any = None,
    labels: Sequence[str] | None = None,
    segmenter: Segmenter | Store | None = None,
    *,
    dataset: Dataset | None = None,
) -> Explorer:
    """Open the explorer.

    Parameters
    ----------
    image : optional
        The path of an image, a PIL image or an array; the path of a folder, or a dataset, to browse; a run, which is
        shown as it is, without running the image encoder; or a result of `evaluate`, whose images are listed worst
        first, with their ground truth. Default: a scene of the embedded world.
    labels : sequence of str, optional
        Default: those of the run, result or dataset, otherwise five names that the embedded model knows.
    segmenter : Segmenter or store of embeddings, optional
        Default: the models that made the run or result, otherwise ``lab.load("tiny")``. With a store (`EmbeddingStore`,
        its folder, or what `open_store` returned), no network is run for the images that it holds.
    dataset : Dataset, optional
        Dataset of a result. Default: opened by the name stored in the result.

    Returns
    -------
    Explorer
        Displayed if it is the last line of a cell.

    Raises
    ------
    ClipdiyError
        For an invalid image or labels, or a model that cannot be loaded by its name.
    """
    if isinstance(image, xr.DataTree):
        return _of_run(image, labels, segmenter)
    if isinstance(image, xr.Dataset) and "image_miou" in image:
        return _of_result(image, labels, segmenter, dataset)
    if labels is None and isinstance(image, Dataset) and not isinstance(image, type):
        labels = _labels_of(image)
    return Explorer(image, labels, segmenter, make_widgets=explorer_widgets)


def _of_run(run: xr.DataTree, labels: Sequence[str] | None, segmenter: Segmenter | Store | None) -> Explorer:
    s.validate(run, need=("image", "labels"))
    config = Config.from_json(run.attrs["config"])
    source = _maker(run.attrs) if segmenter is None else segmenter
    if labels is None:
        labels = [name for name in s.labels_of(run) if name != config.background_label]
    explorer = Explorer(picture_of_run(run), labels, source, config=config, make_widgets=explorer_widgets)
    explorer.hold(run)
    return explorer


def _of_result(
    result: xr.Dataset, labels: Sequence[str] | None, segmenter: Segmenter | Store | None, dataset: Dataset | None
) -> Explorer:
    album, dataset = of_result(result, dataset)
    source = _maker(result.attrs) if segmenter is None else segmenter
    config = Config.from_json(result.attrs["config"])
    wanted = _labels_of(dataset) if labels is None else labels
    return Explorer(album, wanted, source, config=config, make_widgets=explorer_widgets)


def _labels_of(dataset: Dataset) -> list[str]:
    """Names of a dataset, as many as the explorer tells apart."""
    background = Config().background_label
    return [name for name in dataset.label_names if name != background][:MAX_LABELS]


def _maker(attrs: Mapping[Any, Any]) -> Segmenter:
    """Load what made a run or a result, by the names that it tells."""
    recipe = recipes.read(attrs.get("encoder_recipe", "null")) or Recipe(str(attrs["encoder"]))
    # A file, a folder or a hub that nobody names but the run is left alone.
    if recipe.without("device", "runtime").options or ":" in recipe.name:
        raise ModelError(f"{attrs['encoder']!r} cannot be loaded by its name alone; give segmenter=.")
    saliency = str(attrs.get("saliency_source", "none"))
    return load(recipe.name, saliency=saliency if saliency in saliency_names() else "none")
