"""A run as one HTML page that needs nothing but itself, and as a folder of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from PIL import Image

from clipdiy_lab.analysis.tables import in_percent
from clipdiy_lab.datasets.images import content_hash, describe, read_image
from clipdiy_lab.datasets.palette import write_label_png
from clipdiy_lab.errors import FigureError, RunError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.gallery import picture, strip
from clipdiy_lab.views.instrument.scene import lifeless, scene
from clipdiy_lab.views.look import Look
from clipdiy_lab.views.page.comparison import comparison_document, is_comparison
from clipdiy_lab.views.page.document import document

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

_NEEDED: Final = ("image", "text_embedding", "logits", "merged", "guide", s.SCORES, "labels", "margin")


def label_table(run: xr.DataTree) -> pd.DataFrame:
    """Tabulate the labels of a run: share of the image, mean margin where they win, best score.

    Returns
    -------
    pandas.DataFrame
        Index ``label``; columns ``share`` (0 to 1), ``mean_margin`` (NaN for a label without pixels), ``best_score``;
        largest share first.
    """
    names, scores = s.labels_of(run), s.scores(run).values
    labels, margin = s.stage(run, "labels").values, s.stage(run, "margin").values
    pixels = np.bincount(labels.ravel(), minlength=len(names))
    margins = np.bincount(labels.ravel(), weights=margin.ravel(), minlength=len(names))
    table = pd.DataFrame(
        {
            "share": pixels / labels.size,
            "mean_margin": np.divide(margins, pixels, out=np.full(len(names), np.nan), where=pixels > 0),
            "best_score": scores.reshape(len(names), -1).max(1),
        },
        index=pd.Index(names, name="label"),
    )
    return table.sort_values(["share", "best_score"], ascending=False)


def report(
    run: xr.DataTree | Sequence[xr.DataTree] | xr.Dataset,
    path: str | PathLike[str],
    tables: Mapping[str, pd.DataFrame] | None = None,
    *,
    segmenter: Segmenter | None = None,
    image: Any = None,
) -> Path:
    """Write one self-contained HTML page that explains a run or shows a comparison.

    The page contains the instrument, in which every knob that needs no network can be changed without a kernel; every
    stage; the maps of `explain` with a sentence on how to read each; labels, configuration, prompts, and code to repeat
    the run.

    Parameters
    ----------
    run : xarray.DataTree, sequence of them, or xarray.Dataset of `compare`
        With several runs, the instrument shows all of them, and the sections below it explain the first.
    path : path
        The page appears there only when it is complete.
    tables : mapping of title to DataFrame, optional
        Shown after the labels.
    segmenter : Segmenter, optional
        The one that made the run. Its text encoder is then used to show the effect of the wording
        (`explain.prompt_sensitivity`).
    image : path, PIL image or array, or a sequence of them, optional
        The segmented images, one per run, shown at full resolution. Default: the frame stored in the run.

    Raises
    ------
    FigureError
        If it is a comparison with tables, a segmenter or an image.
    RunError
        If the run is incomplete, `segmenter` has another encoder, or the images are not those of the runs.
    ImageError
        If an image cannot be read.
    OutputError
        If the file cannot be written.
    """
    if is_comparison(run):
        if tables or segmenter is not None or image is not None:
            raise FigureError("the page of a comparison takes no tables, segmenter or image; leave them out.")
        return _written(comparison_document(run), Path(path))
    runs: list[Any] = list(run) if isinstance(run, list | tuple) else [run]  # `validate` says what is no run
    images = [image] * len(runs) if image is None or len(runs) == 1 else list(image)
    if not runs or len(images) != len(runs):
        raise RunError(f"{len(runs)} runs and {len(images)} images; give at least one run, and an image for each.")
    for one in runs:
        s.validate(one, need=_NEEDED)
    first = runs[0]
    if segmenter is not None:
        from clipdiy_lab.pipeline.recombine import require_same_encoder  # heavy, and loaded wherever there is one

        require_same_encoder(first, segmenter)
    pairs = zip(runs, images, strict=True)
    scenes = [] if any(map(lifeless, runs)) else [scene(one, photograph=_pixels(one, image)) for one, image in pairs]
    return _write_page(Look(first), scenes, Path(path), tables, segmenter)


def _pixels(run: xr.DataTree, image: Any) -> npt.NDArray[np.uint8] | None:
    """Read the image of a run, if it is given."""
    if image is None:
        return None
    pixels: npt.NDArray[np.uint8] = read_image(image)
    if content_hash(pixels) != run.attrs.get("image_sha256"):
        raise RunError(f"{describe(image)} is not the image of the run, {run.attrs.get('image_source', 'unnamed')!r}.")
    return pixels


def _write_page(
    look: Look,
    scenes: Sequence[Mapping[str, Any]],
    target: Path,
    tables: Mapping[str, pd.DataFrame] | None,
    segmenter: Segmenter | None = None,
) -> Path:
    page = document(look, scenes, {"Labels": in_percent(label_table(look.run), "share"), **(tables or {})}, segmenter)
    return _written(page, target)


def _written(page: str, target: Path) -> Path:
    with atomic_path(target) as part:
        part.write_text(page, encoding="utf-8")
    return target


def write_folder(
    run: xr.DataTree, folder: str | PathLike[str], tables: Mapping[str, pd.DataFrame] | None = None
) -> Path:
    """Write a run's pictures into a folder that exists: stages, explanations, strip, label map, and ``index.html``.

    ``labels.png`` is the label map at the image's own size: its pixel values are label indices, in a palette PNG, or of
    more than 255 labels in a gray PNG of 16 bits.

    Raises
    ------
    RunError, OutputError
        As `report`.
    """
    s.validate(run, need=_NEEDED)
    where, look = Path(folder), Look(run)
    for number, drawing in enumerate([*look.stages(), *look.explained()[0]], 1):
        _save(picture(drawing), where / f"{number:02d}_{drawing.entry.name}.png")
    _save(strip(run), where / "strip.png")
    write_label_png(where / "labels.png", s.stage(run, "labels_full").values, look.colors)
    return _write_page(look, [] if lifeless(run) else [scene(run)], where / "index.html", tables)


def _save(made: Image.Image, path: Path) -> None:
    with atomic_path(path) as part:
        made.save(part, format="PNG", optimize=True)
