"""Several images to look through: a folder, a dataset, or the images of a result, the worst first."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

import xarray as xr
from PIL import Image

from clipdiy_lab.analysis.results import image_scores
from clipdiy_lab.datasets.capabilities import HasIds
from clipdiy_lab.datasets.registry import open_dataset
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import ClipdiyError, DatasetError, ImageError
from clipdiy_lab.method import schema as s
from clipdiy_lab.pipeline.encoding import own_size
from clipdiy_lab.text import printable
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.explorer import image_sources
from clipdiy_lab.views.explorer.image_sources import Picture

WINDOW: Final = 24
"""Thumbnails that are made at once, round the image on show."""
_SIDE: Final = 72
"""Longer side of a thumbnail, pixels."""


@dataclass(frozen=True, eq=False)
class Album:
    """Images in an order.

    Attributes
    ----------
    titles : sequence of str
        One for each image.
    """

    titles: Sequence[str]
    _read: Callable[[int], Picture]

    def __len__(self) -> int:
        return len(self.titles)

    def take(self, place: int) -> Picture:
        """Read an image; places go round.

        Raises
        ------
        ClipdiyError
            If it cannot be read.
        """
        place %= len(self)
        return replace(self._read(place), place=place)

    def thumbnail(self, place: int) -> str:
        """Return an image as a small data URI; empty where it cannot be read."""
        try:
            image = Image.fromarray(self.take(place).pixels)
        except ClipdiyError:
            return ""
        image.thumbnail((2 * _SIDE, 2 * _SIDE))  # for screens with two dots a pixel
        return data_uris.picture(image)

    def window(self, place: int) -> range:
        """Places whose thumbnails are shown when an image is on show."""
        first = max(0, min(place - WINDOW // 2, len(self) - WINDOW))
        return range(first, min(first + WINDOW, len(self)))


def album_of(given: Any) -> Album | None:
    """Return the images of a folder or a dataset; None for anything else.

    Raises
    ------
    ImageError
        If a folder has no image.
    DatasetError
        If a dataset has none.
    """
    if isinstance(given, str | PathLike):
        return _of_folder(Path(given).expanduser()) if Path(given).expanduser().is_dir() else None
    if isinstance(given, Dataset) and not isinstance(given, type):
        return of_dataset(given, range(len(given)))
    return None


def _of_folder(path: Path) -> Album:
    files = image_sources.folder(path)
    return Album(tuple(printable(file.name) for file in files), lambda place: image_sources.file(files[place]))


def of_dataset(dataset: Dataset, order: Sequence[int], titles: Sequence[str] = ()) -> Album:
    """Return images of a dataset in an order.

    Parameters
    ----------
    dataset : Dataset
    order : sequence of int
        Numbers of the images.
    titles : sequence of str, optional
        Default: their ids, or their numbers.

    Raises
    ------
    DatasetError
        If there is none.
    """
    if not len(order):
        raise DatasetError(f"the dataset {dataset.name!r} has no image to show.")
    ids = dataset.ids if isinstance(dataset, HasIds) else [str(number) for number in range(len(dataset))]
    named = tuple(titles) or tuple(printable(ids[number]) for number in order)
    own = isinstance(dataset, Scenes) and (dataset.vocabulary, dataset.seed) == ("voc", 0)

    def read(place: int) -> Picture:
        if own:
            return image_sources.scene(str(getattr(dataset, "split", "")), order[place])
        sample = dataset[order[place]]
        picture = image_sources.as_picture(sample.image)
        name = f"{dataset.name} {ids[order[place]]}"
        return replace(picture, name=name, mask=sample.mask, names=tuple(dataset.label_names))

    return Album(named, read)


def of_result(result: xr.Dataset, dataset: Dataset | None) -> tuple[Album, Dataset]:
    """Return the images of an evaluation's result, the worst first, and their dataset.

    Parameters
    ----------
    result : xarray.Dataset
        Of `evaluate`.
    dataset : Dataset, optional
        Default: opened by the name that the result tells.

    Raises
    ------
    DatasetError
        If the dataset is not here under that name, or has other images.
    """
    attrs = result.attrs
    if dataset is None:
        try:
            dataset = open_dataset(str(attrs["benchmark"]), split=str(attrs["split"]))
        except ClipdiyError as error:
            raise DatasetError(f"the images of the result cannot be opened ({error}); give dataset=.") from error
    dataset = as_dataset(dataset)
    ids = dataset.ids if isinstance(dataset, HasIds) else ()
    scores = image_scores(result)
    lost = [name for name in scores["image_id"].astype(str) if name not in ids]
    if lost:
        raise DatasetError(
            f"the dataset {dataset.name!r} has no image {lost[0]!r}, which is in the result; give the evaluated "
            "dataset as dataset=."
        )
    places = {name: number for number, name in enumerate(ids)}
    order = [places[str(name)] for name in scores["image_id"]]
    titles = [
        printable(f"{name}  {'nothing scored' if score != score else f'{score:.1f} % mIoU'}")
        for name, score in zip(scores["image_id"], scores["image_miou_percent"], strict=True)
    ]
    return of_dataset(dataset, order, titles), dataset


def picture_of_run(run: xr.DataTree) -> Picture:
    """Return the image of a run: its file where that is still there, else its frame in the image's own shape.

    Raises
    ------
    RunError
        If the run has no image.
    """
    name = str(run.attrs.get("image_source", "an image"))
    try:
        found = image_sources.file(str(literal_eval(name)))  # a path is told as a literal, see `describe`
    except (ImageError, OSError, ValueError, SyntaxError):
        found = None
    if found is not None and found.sha256 == run.attrs.get("image_sha256"):
        return found
    frame = Image.fromarray(s.stage(run, "image").values)
    height, width = own_size(run)
    picture = image_sources.as_picture(frame.resize((width, height), Image.Resampling.BILINEAR))
    return replace(picture, name=name)
