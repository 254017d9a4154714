"""Whether the probabilities of a configuration mean what they say, and the temperature at which they do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from clipdiy_lab.analysis.cards import work_key
from clipdiy_lab.analysis.evaluate import block_card, count_images, kept
from clipdiy_lab.analysis.protocols import Protocol, protocol_for
from clipdiy_lab.analysis.result_files import read_result, result_path, write_result
from clipdiy_lab.analysis.scoring.block import Block
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.scoring.shared import text_of
from clipdiy_lab.analysis.summary import IMAGE
from clipdiy_lab.analysis.trials import Trial
from clipdiy_lab.datasets.sample import IGNORE, Dataset, as_dataset
from clipdiy_lab.errors import ConfigError, DatasetError
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.reliability import BINS, TEMPERATURES, Reliability, best_temperature
from clipdiy_lab.pipeline.caution import warn
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import EncodedImage, Store, as_source, open_source
from clipdiy_lab.pipeline.watch import ImageProgress, interruptible

TEMPERATURE, TRIED, BIN = "temperature", "tried_temperature", "confidence_bin"
_SAME: Final = ("config", "encoder_fingerprint", "saliency_fingerprint", "labels_sha256", "protocol_card", "embeddings")
"""What a temperature must have been fitted with to say anything about another split."""


def calibration(
    source: Segmenter | Store,
    dataset: Dataset,
    config: Config | None = None,
    limit: int | None = None,
    *,
    fitted: xr.Dataset | None = None,
    protocol: str | os.PathLike[str] | Protocol | None = None,
    out: str | os.PathLike[str] | None = None,
    segmenter: Segmenter | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Compare the stage ``probability`` with the share of correctly labelled pixels.

    Without `fitted`, the likelihood of the ground truth is computed at many temperatures, and the attribute
    ``fitted_temperature`` is the one that maximises it. Pass this result as `fitted` to a call on another split, which
    then reports the calibration error at the configuration's temperature and at the fitted one.

    Parameters
    ----------
    source, dataset, config, limit, protocol, segmenter, progress
        As for `evaluate`, with a protocol without sliding windows. The same pixels as in `evaluate` are counted, each
        with the probability of the nearest pixel of the frame.
    fitted : xarray.Dataset, optional
        Result of this function on another split.
    out : path, optional
        As for `evaluate`. Workers are not used here.

    Returns
    -------
    xarray.Dataset
        Over ``temperature`` (the configuration's own, then the fitted one) and ``confidence_bin`` (15 of equal width,
        by their upper bounds): ``pixels`` and ``right``, int64; ``bin_accuracy`` and ``bin_confidence``,
        shares, NaN in an empty bin. Over ``temperature``: ``ece`` (expected calibration error), ``nll`` (nats per
        pixel). Without `fitted` also ``tried_nll`` (tried_temperature). The attributes are the card of `evaluate`, and
        ``fitted_temperature``, ``fitted_on`` (dataset and number of images).

    Raises
    ------
    ConfigError
        For a protocol with sliding windows; if `fitted` is for the same split, or for another configuration, weights,
        labels or protocol.
    DatasetError, StoreError, OutputError
        As for `evaluate`; also for a dataset with one label, whose probability is always 1.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    if chosen.slides:
        raise ConfigError(
            f"the protocol {chosen.id!r} uses sliding windows, which give no stage 'probability'; use 'mmseg'."
        )
    if len(dataset.label_names) < 2:
        raise DatasetError(f"{dataset.name!r} has one label, whose probability is always 1; calibration needs two.")
    images = count_images(dataset, limit)
    opened, config = open_source(as_source(source), dataset, config, segmenter)
    block = Block(opened, (Trial(config=config),), chosen, min(images, len(opened)))
    card = {**block_card(block, config), "kind": "calibration"}
    warn(card)
    if fitted is None:
        temperatures: tuple[float, ...] = (config.temperature, *TEMPERATURES)
    else:
        card |= _fitted_card(fitted, card)
        temperatures = (config.temperature, card["fitted_temperature"])
    target = parts = None
    if out is not None:
        card["key"] = work_key(card, opened.identity, dataset, (opened.place(0), opened.place(block.images - 1)))
        target = result_path(out, f"{dataset.name}-calibration-{card['key'][:12]}.nc")
        held = read_result(target, card["key"])
        if held is not None:
            return held
        parts = PartialCounts.beside(target, card["key"])
    counts = CalibrationCounts(len(temperatures))
    text = text_of(block.trials[0], opened.segmenter, dataset)
    with (
        interruptible(lambda: kept(parts, block.images)),
        ImageProgress(block.images, dataset.name, show=progress) as counting,
    ):
        done = 0 if parts is None else parts.take_up(counts)
        counting.seen(done)
        for image in opened.images(range(done, block.images), counting.watch):
            counts.add(image.id, _count(image, text, config, chosen, temperatures))
            if parts is not None:
                parts.keep(counts, image.position + 1)
            counting.seen()
    result = _summary(counts, temperatures, card)
    if target is not None and parts is not None:
        write_result(result, target)
        parts.remove()
    return result


def _fitted_card(fitted: xr.Dataset, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a fitted temperature adds to the card, once it is of another split and the same method."""
    theirs = getattr(fitted, "attrs", {})
    if theirs.get("kind") != "calibration" or "tried_nll" not in fitted:
        raise ConfigError("fitted must be a result of lab.calibration made without fitted=, on another split.")
    differs = [name for name in _SAME if theirs[name] != card[name]]
    if differs:
        raise ConfigError(f"the temperature was fitted with another {', '.join(differs)}; fit it with the same.")
    if (theirs["dataset"], theirs["benchmark"], theirs["split"]) == (card["dataset"], card["benchmark"], card["split"]):
        raise ConfigError(
            f"the temperature was fitted on {card['dataset']!r} itself, so the calibration error would be "
            "underestimated; "
            "fit it on another split."
        )
    fitted_on = f"{theirs['dataset']}, {theirs['images']} images"
    return {"fitted_temperature": float(theirs["fitted_temperature"]), "fitted_on": fitted_on}


def _count(
    image: EncodedImage, text: xr.DataArray, config: Config, protocol: Protocol, temperatures: tuple[float, ...]
) -> Reliability:
    scores = torch.from_numpy(s.scores(fuse(image.encoding, text, config)).values)
    labels, height, width = scores.shape
    truth = protocol.truth(image.mask)
    if int(truth[truth != IGNORE].max(initial=0)) >= labels:
        raise DatasetError(f"the mask of {image.id!r} holds a label above {labels - 1}; check the label map.")
    rows, cols = (ops.nearest(old, new).numpy() for old, new in zip((height, width), truth.shape, strict=True))
    valid = truth != IGNORE
    pixel = (rows[:, None] * width + cols)[valid]
    pairs, times = np.unique(pixel * labels + truth[valid], return_counts=True)
    both = torch.from_numpy(np.stack([pairs // labels, pairs % labels]))
    return Reliability.of(scores.reshape(labels, -1), both, torch.from_numpy(times), temperatures)


class CalibrationCounts:
    """Counts of `Reliability` over images, as files of unfinished work keep them."""

    def __init__(self, temperatures: int) -> None:
        self.total, self.ids = Reliability.empty(temperatures), np.array([], dtype=np.str_)

    def add(self, image_id: str, found: Reliability) -> None:
        """Add an image."""
        self.total.add(found)
        self.ids = np.append(self.ids, image_id)

    def merge(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add what `arrays` of another one gave."""
        self.total.add(Reliability(*(arrays[name] for name in Reliability._fields)))
        self.ids = np.concatenate([self.ids, arrays["id"]])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything counted, as arrays for a file."""
        return {**self.total._asdict(), "id": self.ids}


def _summary(counts: CalibrationCounts, temperatures: tuple[float, ...], card: dict[str, Any]) -> xr.Dataset:
    total = counts.total
    fit = "fitted_temperature" not in card
    shown = slice(0, 1) if fit else slice(0, 2)
    over, ratio = (TEMPERATURE, BIN), {"units": "1"}
    data: dict[str, Any] = {
        "pixels": (over, total.pixels[shown], {"long_name": "pixels", "units": "pixel"}),
        "right": (over, total.right[shown], {"long_name": "pixels whose label is right", "units": "pixel"}),
        "bin_accuracy": (over, total.accuracy[shown], {"long_name": "share of right pixels", **ratio}),
        "bin_confidence": (over, total.mean_confidence[shown], {"long_name": "mean probability", **ratio}),
        "ece": (TEMPERATURE, total.ece[shown], {"long_name": "expected calibration error", **ratio}),
        "nll": (TEMPERATURE, total.mean_nll[shown], {"long_name": "negative log-likelihood", "units": "nat"}),
    }
    coords: dict[str, Any] = {
        TEMPERATURE: np.array(temperatures[shown]),
        BIN: np.arange(1, BINS + 1) / BINS,
        IMAGE: counts.ids.astype(object),
    }
    attrs = dict(card)
    if fit:
        tried = total.mean_nll[1:]
        data["tried_nll"] = (TRIED, tried, {"long_name": "negative log-likelihood", "units": "nat"})
        coords[TRIED] = np.array(temperatures[1:])
        attrs |= {"fitted_temperature": best_temperature(temperatures[1:], tried), "fitted_on": "these images"}
    return xr.Dataset(data, coords=coords, attrs=attrs)
