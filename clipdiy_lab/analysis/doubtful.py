"""Where masks and a confident prediction disagree: images and regions worth a look, by whoever knows the dataset.

A disagreement says that one of the two is wrong, not which. What counts as confident is decided for every label by the
model's own agreement with the masks, as confident learning does it (Northcutt, Jiang and Chuang, "Confident Learning",
JAIR 2021, where the threshold of a class is the mean confidence on its own examples); the margin to the runner-up
stands for the confidence here, because the probabilities of cosines say little before they are calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr

from clipdiy_lab.analysis.evaluate import count_images
from clipdiy_lab.analysis.result_files import plain_attrs
from clipdiy_lab.analysis.scoring.shared import text_of
from clipdiy_lab.analysis.summary import IMAGE
from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.datasets.sample import IGNORE, Dataset, as_dataset
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.regions import regions
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store, as_source, open_source
from clipdiy_lab.pipeline.watch import ImageProgress

LEAST: Final = 0.005
"""Share of the frame below which a region is left out: outlines that differ by a pixel or two are no news."""
_QUANTILES: Final = np.linspace(0, 1, 101)
"""Of the margins of a region, which are kept until the thresholds are known."""
_COLUMNS: Final = (
    *(IMAGE, "image_share_percent", "mask_label", "label", "share_percent", "confident_percent", "threshold"),
    *("top", "left", "bottom", "right"),
)


def doubtful(
    result: xr.Dataset,
    source: Segmenter | Store,
    dataset: Dataset,
    *,
    limit: int | None = None,
    least: float = LEAST,
    segmenter: Segmenter | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Rank images, and regions in them, whose masks disagree with a confident prediction.

    A disagreement does not prove that a mask is wrong, because the model may be wrong. The list shows what to check
    first.

    Parameters
    ----------
    result : xarray.Dataset
        From `evaluate`; its configuration and images are used.
    source : Segmenter or store of embeddings
        The one that the result was made with.
    dataset : Dataset
    limit : int, optional
        Use only the first images.
    least : float
        Share of the frame that the confident pixels of a region must cover, above 0 and below 1.
    segmenter : Segmenter, optional
        As for `evaluate`.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    pandas.DataFrame
        One row per region in which mask and prediction have one label each, the image with most confident pixels in
        such regions first: ``image_id``; ``image_share_percent``, the share of the image's frame that these pixels
        take; ``mask_label`` and ``label`` (predicted); ``share_percent``, the region's share of the frame;
        ``confident_percent`` of the frame, its pixels whose margin (score of the best label less that of the runner-up)
        reaches the ``threshold``, the mean margin of the pixels where that label won and the masks agree (the median of
        the other labels' where that never happens); ``top``, ``left``, ``bottom``, ``right``, in pixels of the frame.
        Its ``attrs`` name dataset, protocol, encoder and configuration.

    Raises
    ------
    ConfigError
        If `result` is not from `evaluate`, or was made with another encoder, saliency or dataset, or `least` is
        invalid.
    DatasetError, StoreError
        As `evaluate`.

    Notes
    -----
    Masks are compared at the size of the frame, to which they are resized with nearest-neighbour interpolation; ignored
    pixels are left out. Memory use grows only with the number of regions found.
    """
    card = plain_attrs(result)
    if "config" not in card:
        raise ConfigError("the result has no configuration (score writes none); doubtful needs a result of evaluate.")
    if card["saliency_source"] == ORACLE:
        raise ConfigError(
            "the result used the ground-truth masks as saliency, so it cannot be used to check them; evaluate without."
        )
    if json.loads(card["protocol_card"])["image_short"] is not None:
        raise ConfigError(
            f"the protocol {card['protocol']!r} resizes images or uses sliding windows; doubtful needs whole frames."
        )
    if isinstance(least, bool) or not 0 < least < 1:
        raise ConfigError(f"least is {least!r}; expected a share of the frame above 0 and below 1, such as {LEAST}.")
    dataset = as_dataset(dataset)
    if dataset.name != card["dataset"]:
        raise ConfigError(f"the result is of {card['dataset']!r}, the dataset is {dataset.name!r}; give that one.")
    config = Config.from_json(card["config"])
    opened, config = open_source(as_source(source), dataset, config, segmenter)
    made = {"encoder_fingerprint": opened.segmenter.encoder.fingerprint, "saliency_fingerprint": opened.saliency[1]}
    differs = [name for name, value in made.items() if card[name] not in (value, "")]
    if differs:
        raise ConfigError(
            f"the result was made with another {' and '.join(differs)}; give the source it was made with."
        )
    images = min(count_images(dataset, limit), result.sizes[IMAGE], len(opened))
    names = dataset.label_names
    text = text_of(Trial(config=config), opened.segmenter, dataset)
    agreed = np.zeros((2, len(names)))
    found: list[dict[str, Any]] = []
    with ImageProgress(images, dataset.name, show=progress) as counting:
        for image in opened.images(range(images), counting.watch):
            run = fuse(image.encoding, text, config)
            labels, margin = s.stage(run, "labels").values, s.stage(run, "margin").values
            truth = ops.resize_labels(torch.tensor(image.mask), labels.shape).numpy()
            same = labels == truth
            agreed += _sums(labels[same], margin[same], len(names))
            found += [{IMAGE: image.id, **one} for one in _regions(labels, margin, truth, least)]
            counting.seen()
    means = np.divide(agreed[0], agreed[1], out=np.full(len(names), np.nan), where=agreed[1] > 0)
    if np.isfinite(means).any():  # a label that never agrees is held to what the others reach
        means[np.isnan(means)] = np.nanmedian(means)
    table = _ranked(found, means, names, least)
    kept = ("dataset", "split", "protocol", "encoder", "encoder_fingerprint", "saliency_source", "config")
    table.attrs = {**{name: card[name] for name in kept}, "images": images}
    return table


def _sums(labels: npt.NDArray[Any], margin: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    """Sum of the margins and number of the pixels of every label."""
    sums = np.bincount(labels, weights=margin.astype(np.float64), minlength=count)
    return np.stack([sums, np.bincount(labels, minlength=count).astype(np.float64)])


def _regions(
    labels: npt.NDArray[Any], margin: npt.NDArray[Any], truth: npt.NDArray[np.uint8], least: float
) -> Iterator[dict[str, Any]]:
    """Yield regions of one mask label and one other predicted label that are large enough."""
    differs = (labels != truth) & (truth != IGNORE)
    if differs.mean() < least:
        return
    pairs = np.where(differs, labels.astype(np.int64) * (IGNORE + 1) + truth, -1)
    numbered = regions(pairs)
    sizes = np.bincount(numbered.ravel())
    first = np.unique(numbered, return_index=True)[1]
    for number in np.flatnonzero(sizes >= least * labels.size):
        pair = int(pairs.ravel()[first[number]])
        if pair < 0:
            continue
        inside = numbered == number
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        yield {
            "label": pair // (IGNORE + 1),
            "mask_label": pair % (IGNORE + 1),
            "share_percent": 100 * float(sizes[number]) / labels.size,
            "margins": np.quantile(margin[inside], _QUANTILES),
            "top": int(rows[0]),
            "left": int(columns[0]),
            "bottom": int(rows[-1]) + 1,
            "right": int(columns[-1]) + 1,
        }


def _ranked(
    found: list[dict[str, Any]], means: npt.NDArray[np.float64], names: Sequence[str], least: float
) -> pd.DataFrame:
    """Keep regions with enough confident pixels; images by how many they have together, regions by their own."""
    kept = []
    for one in found:
        threshold = float(means[one["label"]])
        confident = one["share_percent"] * float((one["margins"] >= threshold).mean())
        if confident >= 100 * least:
            labels = {name: names[one[name]] for name in ("label", "mask_label")}
            kept.append({**one, **labels, "threshold": threshold, "confident_percent": confident})
    table = pd.DataFrame(kept, columns=[name for name in _COLUMNS if name != "image_share_percent"])
    table["image_share_percent"] = table.groupby(IMAGE)["confident_percent"].transform("sum")
    order = ["image_share_percent", IMAGE, "confident_percent"]
    return table.sort_values(order, ascending=[False, True, False], ignore_index=True)[list(_COLUMNS)]
