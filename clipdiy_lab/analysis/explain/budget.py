"""Where the mIoU goes: what each ingredient costs, and of which kind the wrong pixels are."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.evaluate import count_images
from clipdiy_lab.analysis.explain.losses import LOSSES, RIGHT, bins
from clipdiy_lab.analysis.explain.oracles import AS_IS, UNREFINED, Case, ingredients
from clipdiy_lab.analysis.protocols import Protocol, protocol_for
from clipdiy_lab.analysis.scoring.shared import text_of
from clipdiy_lab.analysis.summary import IMAGE
from clipdiy_lab.analysis.trials import Trial
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import metrics
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import needs_image
from clipdiy_lab.pipeline.caution import of_dataset, warn
from clipdiy_lab.pipeline.fusion import Texts
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Source, Store, open_source
from clipdiy_lab.pipeline.watch import ImageProgress

AREAS = (0.01, 0.05, 0.2)
"""Bounds between the areas of a label in an image, as shares of its pixels that count."""
AREA_NAMES = ("below 1 %", "1 to 5 %", "5 to 20 %", "20 % and more")
_WIDEST_BAND = 1000

Counts = npt.NDArray[np.int64]


def error_budget(
    source: Segmenter | Store,
    dataset: Dataset,
    config: Config | None = None,
    *,
    limit: int | None = None,
    band: int = 5,
    protocol: str | PathLike[str] | Protocol | None = None,
    segmenter: Segmenter | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Compute the mIoU with one ingredient replaced by ground truth, and classify the wrong pixels.

    Every term is defined in ``docs/understanding/explain.md``, section 8.

    Parameters
    ----------
    source : Segmenter, or store of embeddings (`EmbeddingStore`, its folder, or what `open_store` returned)
    dataset : Dataset
    config : Config, optional
        Default: that of the store, or `Config()`, with the knobs set by the benchmark's manifest.
    limit : int, optional
        Use only the first images.
    band : int
        Width of the boundary band in pixels at the size of comparison; 0: no band.
    protocol : str, path or Protocol, optional
        As for `evaluate`, but without sliding windows.
    segmenter : Segmenter, optional
        Segmenter whose text encoder is used with a store. Default: the encoder named in the store is loaded.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    xarray.Dataset
        Per ``ingredient`` (``as_is``; with refinement also ``unrefined``, and with `keep_labels` also ``all_labels``:
        the same without that step; ``saliency``, ``labels``, ``windows``: this one replaced by ground truth; ``all``:
        all three; ``frame``: the upper bound set by the frame): ``miou``, ``gain`` over ``as_is``,
        ``pixel_accuracy``; ``iou`` (ingredient, label); ``image_accuracy`` (ingredient, image_id); ``area_accuracy``
        (ingredient, area), the share of true foreground pixels that are found, by how much of the image their label
        covers. Per ``loss`` (``boundary``, ``saliency_miss``, ``false_foreground``, ``grid``, ``confusion``; every
        wrong pixel belongs to exactly one): ``wrong`` pixels and their ``wrong_share`` of all counted pixels;
        ``lost_miou``, which sums to 1 - ``miou`` (for a protocol in which an absent label counts 0, with the
        attribute ``lost_to_absent``); ``miou_if_right``, the mIoU if these pixels were right; ``lost_iou`` (loss,
        label), which sums to 1 - ``iou``; ``image_wrong`` (loss, image_id); ``area_wrong`` (loss, area); with
        refinement, ``repaired``, pixels of this kind that the refinement corrects, and ``broken``, pixels of this
        kind that are right without it. ``pixels`` (label), ``image_pixels`` (image_id), ``area_pixels`` (area):
        number of counted ground-truth pixels.

    Raises
    ------
    ConfigError
        For an invalid limit, band, protocol or configuration.
    StoreError
        If `source` is neither a segmenter nor a store, or the store was made from other images, with another encoder or
        saliency, or with other encode knobs.
    DatasetError
        If `dataset` is not a dataset, or its masks contain labels that it does not name.
    ModelError
        If `segmenter` is not a segmenter.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    if chosen.slides:
        raise ConfigError(
            f"the protocol {chosen.id!r} uses sliding windows, which an error budget does not support; use 'mmseg'."
        )
    if isinstance(band, bool) or not isinstance(band, int) or not 0 <= band <= _WIDEST_BAND:
        raise ConfigError(f"band is {band!r}; expected whole pixels, 0 to {_WIDEST_BAND}.")
    images = count_images(dataset, limit)
    opened, settings = open_source(source, dataset, config, segmenter)
    warn(of_dataset(opened.segmenter.encoder, dataset))
    images = min(images, len(opened))
    texts = Texts.of(text_of(Trial(config=settings), opened.segmenter, dataset), settings)
    counts, settled = _BudgetCounts(len(dataset.label_names), ingredients(settings)), settings.settled_by(opened.config)
    with ImageProgress(images, dataset.name, show=progress) as counting:
        for image in opened.images(range(images), frames=needs_image(settings)):
            case = Case(image.encoding, texts, settled, chosen.truth(image.mask), image.mask)
            counts.add(image.id, case, texts.background, band)
            counting.seen()
    return _summary(counts, dataset, chosen, settings, opened, band)


@dataclass(eq=False)
class _BudgetCounts:
    """Counts so far: pooled matrices, and a few numbers an image."""

    labels: int
    ingredients: tuple[str, ...]
    confusion: dict[str, Counts] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    image_right: list[list[int]] = field(default_factory=list)
    image_wrong: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        square = (self.labels, self.labels)
        self.confusion = {name: np.zeros(square, dtype=np.int64) for name in (*self.ingredients, *LOSSES)}
        areas = len(AREA_NAMES)
        self.area_pixels = np.zeros(areas, dtype=np.int64)
        self.area_found = np.zeros((len(self.ingredients), areas), dtype=np.int64)
        self.area_wrong = np.zeros((len(LOSSES), areas), dtype=np.int64)
        self.repaired, self.broken = np.zeros((2, len(LOSSES)), dtype=np.int64)

    def add(self, name: str, case: Case, background: int | None, band: int) -> None:
        """Count an image."""
        maps = dict(case.label_maps())
        fresh = {what: metrics.confusion(case.mask, labels, self.labels) for what, labels in maps.items()}
        singles = list(case.single_grids())
        kinds = bins(case.mask, maps[AS_IS], background, band, singles)
        if UNREFINED in maps:
            before = bins(case.mask, maps[UNREFINED], background, band, singles)
            for place in range(len(LOSSES)):
                self.repaired[place] += int(((before == place) & (kinds == RIGHT)).sum())
                self.broken[place] += int(((before == RIGHT) & (kinds == place)).sum())
        for place, loss in enumerate(LOSSES):
            hidden = np.where(kinds == place, case.mask, metrics.IGNORE).astype(np.uint8)
            fresh[loss] = metrics.confusion(hidden, maps[AS_IS], self.labels)
        for what, counts in fresh.items():
            self.confusion[what] += counts
        self.ids.append(name)
        self.image_right.append([int(fresh[what].trace()) for what in self.ingredients])
        self.image_wrong.append([int(fresh[what].sum()) for what in LOSSES])
        self._add_areas(fresh, background)

    def _add_areas(self, fresh: dict[str, Counts], background: int | None) -> None:
        true = fresh[AS_IS].sum(1)
        labels = [label for label in np.flatnonzero(true) if label != background]
        places = np.searchsorted(AREAS, true[labels] / max(int(true.sum()), 1), side="right")
        np.add.at(self.area_pixels, places, true[labels])
        for row, what in enumerate(self.ingredients):
            np.add.at(self.area_found[row], places, fresh[what].diagonal()[labels])
        for row, what in enumerate(LOSSES):
            np.add.at(self.area_wrong[row], places, fresh[what].sum(1)[labels])


def _summary(
    counts: _BudgetCounts, dataset: Dataset, protocol: Protocol, config: Config, source: Source, band: int
) -> xr.Dataset:
    by_ingredient = {what: counts.confusion[what] for what in counts.ingredients}
    by_loss = [counts.confusion[what] for what in LOSSES]
    miou = np.array([metrics.mean_iou(counts, protocol.absent) for counts in by_ingredient.values()])
    whole = by_ingredient[AS_IS]
    shares = _lost_iou(whole, by_loss)
    scored = np.isfinite(metrics.iou(whole, protocol.absent))
    pixels = whole.sum(1)
    wrong = np.array([counts.sum() for counts in by_loss])
    image_pixels = np.array(counts.image_right)[:, 0] + np.array(counts.image_wrong).sum(1)
    absent = scored & np.isnan(metrics.iou(whole, "nan"))
    parts: dict[Hashable, Any] = {
        "miou": (s.INGREDIENT, miou),
        "gain": (s.INGREDIENT, miou - miou[0]),
        "pixel_accuracy": (s.INGREDIENT, [metrics.pixel_accuracy(counts) for counts in by_ingredient.values()]),
        "iou": ((s.INGREDIENT, s.LABEL), [metrics.iou(counts, protocol.absent) for counts in by_ingredient.values()]),
        "image_accuracy": ((s.INGREDIENT, IMAGE), _share(np.array(counts.image_right).T, image_pixels)),
        "area_accuracy": ((s.INGREDIENT, s.AREA), _share(counts.area_found, counts.area_pixels)),
        "wrong": (s.LOSS, wrong),
        "wrong_share": (s.LOSS, _share(wrong, whole.sum())),
        "lost_miou": (s.LOSS, np.nansum(shares, axis=1) / max(int(scored.sum()), 1)),
        "miou_if_right": (s.LOSS, [metrics.mean_iou(_righted(whole, one), protocol.absent) for one in by_loss]),
        "lost_iou": ((s.LOSS, s.LABEL), shares),
        "image_wrong": ((s.LOSS, IMAGE), np.array(counts.image_wrong).T),
        "area_wrong": ((s.LOSS, s.AREA), counts.area_wrong),
        "pixels": (s.LABEL, pixels),
        "image_pixels": (IMAGE, image_pixels),
        "area_pixels": (s.AREA, counts.area_pixels),
    }
    if UNREFINED in counts.ingredients:
        parts |= {"repaired": (s.LOSS, counts.repaired), "broken": (s.LOSS, counts.broken)}
    return xr.Dataset(
        {name: (*given, _attrs(str(name))) for name, given in parts.items()},
        coords={
            s.INGREDIENT: list(counts.ingredients),
            s.LOSS: list(LOSSES),
            s.LABEL: np.array(dataset.label_names, dtype=object),
            s.AREA: list(AREA_NAMES),
            IMAGE: np.array(counts.ids, dtype=object),
        },
        attrs={
            "dataset": dataset.name,
            "images": len(counts.ids),
            "protocol": protocol.id,
            "band": band,
            "lost_to_absent": float(absent.sum() / max(int(scored.sum()), 1)),
            "config": config.to_json(),
            "encoder": source.segmenter.encoder.name,
            "encoder_fingerprint": source.segmenter.encoder.fingerprint,
            "saliency_source": source.saliency[0],
        },
    )


_LONG_NAMES = {
    "miou": "mean IoU",
    "gain": "mean IoU above that of as_is",
    "pixel_accuracy": "pixel accuracy",
    "iou": "intersection over union",
    "image_accuracy": "pixel accuracy of the image",
    "area_accuracy": "share of the true foreground pixels that are found",
    "wrong": "wrong pixels",
    "wrong_share": "share of all pixels that count",
    "lost_miou": "part of the lost mean IoU",
    "miou_if_right": "mean IoU if these pixels were right",
    "lost_iou": "part of the lost IoU",
    "image_wrong": "wrong pixels of the image",
    "area_wrong": "wrong pixels of labels with this share of their image",
    "repaired": "wrong pixels without the refinement that are right with it",
    "broken": "wrong pixels with the refinement that are right without it",
    "pixels": "true pixels",
    "image_pixels": "pixels of the image that count",
    "area_pixels": "true foreground pixels",
}


def _attrs(name: str) -> dict[str, str]:
    return {"long_name": _LONG_NAMES[name], "units": "pixel" if "pixels" in _LONG_NAMES[name][:14] else "1"}


def _lost_iou(whole: Counts, by_loss: list[Counts]) -> npt.NDArray[np.float64]:
    """Part of every label's lost IoU that falls to each bin, bins x labels; NaN for a label that is nowhere.

    1 - IoU = (FN + FP) / union, and every wrong pixel is one FN (of the true label) and one FP (of the other).
    """
    hits = metrics.Hits.of(whole)
    wrong = np.array([counts.sum(1) + counts.sum(0) for counts in by_loss])
    return _share(wrong, hits.tp + hits.fp + hits.fn)


def _righted(whole: Counts, wrong: Counts) -> Counts:
    """Return the counts as they were if the wrong pixels of a bin had their true labels."""
    righted: Counts = whole - wrong + np.diag(wrong.sum(1))
    return righted


def _share(parts: npt.NDArray[np.int64], wholes: npt.NDArray[np.int64] | np.int64) -> npt.NDArray[np.float64]:
    wholes = np.broadcast_to(wholes, parts.shape)
    found: npt.NDArray[np.float64] = np.divide(
        parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0, dtype=np.float64
    )
    return found
