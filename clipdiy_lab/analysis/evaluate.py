"""One configuration on one dataset under one protocol: counts, scores, and a card that says how they came about."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.diagnosis import diagnosed
from clipdiy_lab.analysis.protocols import Protocol, protocol_for
from clipdiy_lab.analysis.results import read_result, result_path, write_result
from clipdiy_lab.analysis.scoring.block import Block
from clipdiy_lab.analysis.scoring.counts import INTERVAL, TrialCounts
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.scoring.workers import score
from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.datasets.capabilities import HasFilter, HasIds, HasSplit
from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ConfigError, DatasetError
from clipdiy_lab.method import metrics
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.prompts import templates
from clipdiy_lab.pipeline.caution import of_dataset, warn
from clipdiy_lab.pipeline.provenance import versions
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Source, Store, as_source, open_source
from clipdiy_lab.pipeline.watch import ImageProgress, interruptible

if TYPE_CHECKING:
    from distributed import Client

IMAGE, TRUTH = "image_id", "true_label"


def evaluate(
    source: Segmenter | Store,
    dataset: Dataset,
    config: Config | None = None,
    limit: int | None = None,
    *,
    protocol: str | os.PathLike[str] | Protocol | None = None,
    out: str | os.PathLike[str] | None = None,
    oracle_saliency: bool = False,
    segmenter: Segmenter | None = None,
    progress: bool = False,
    client: Client | None = None,
) -> xr.Dataset:
    """Score a configuration on a dataset.

    Parameters
    ----------
    source : Segmenter, or store of embeddings (`EmbeddingStore`, its folder, or what `open_store` returned)
    dataset : Dataset
        Its ``label_names`` are the labels.
    config : Config, optional
        Default: the store's own, or `Config()`, with the knobs that the benchmark's manifest sets, such as
        ``background="none"``.
    limit : int, optional
        Only the first images.
    protocol : str, path or Protocol, optional
        "mmseg" (masks at their own size, labels that never occur are left out of the mean), "official" (CLIP-DIY's
        own), "sliding" (from a segmenter only), or a YAML file: see `get_protocol`. Default: the one that the
        benchmark's manifest names, else "mmseg".
    out : path, optional
        A ``.nc`` file, or a folder in which the result gets a name of its own. A run that was killed goes on where it
        was; a run whose result is there is read, not repeated. What makes two runs the same: dataset, ids and
        manifest, configuration, protocol, limit, the fingerprints of encoder and saliency, and the pixels of the
        first and the last sample; those between are not hashed.
    oracle_saliency : bool
        Use the true foreground (every pixel whose label is not the background's) as saliency: the most that any
        localiser could give.
    segmenter : Segmenter, optional
        Whose text encoder is used with a store. Default: the encoder that the store names is loaded.
    progress : bool
        Show a progress bar on stderr.
    client : distributed.Client, optional
        Let its workers count, see `pipeline.cluster.connect`. Needs `out`: the workers put their counts beside it, so
        all machines must see that folder, and the dataset, under the same paths.

    Returns
    -------
    xarray.Dataset
        Pooled ``confusion`` (true_label, label), int64 pixels. Per label: ``iou``; ``accuracy``, NaN for a label that
        is nowhere true; ``pixels``, the true ones. Per image: ``image_miou`` (over the labels that are true or
        predicted there), ``image_pixel_accuracy``, ``ignored`` pixels; ``tp``, ``fp``, ``fn`` (image_id, label).
        The attributes are the protocol card: ``miou`` (pooled over all pixels of all images) with its 95 % bootstrap
        interval ``miou_low``, ``miou_high`` (the same as in a sweep, see `TrialCounts`), ``pixel_accuracy``,
        ``mean_accuracy``, ``frequency_weighted_iou``, ``ignored_share``, and everything that decided them.

    Raises
    ------
    ConfigError
        For a limit, protocol or configuration that makes no sense here.
    DatasetError
        If it is no dataset or an empty one, masks hold other labels than it names, or, with `out`, it has neither ids
        nor a repr of its own.
    StoreError
        If `source` is neither a segmenter nor a store, or the store is of other images, another encoder or saliency, or
        was encoded otherwise.
    OutputError
        If `out` cannot be written to, or holds another result.
    ClusterError
        If the workers run other versions, see other files, or are lost again and again.

    Notes
    -----
    A `KeyboardInterrupt` leaves with a note (``__notes__``) that says what is kept.

    Warns
    -----
    ClipdiyWarning
        For labels that occur nowhere in a whole dataset, masks of which most is ignored, and foreground that seems to
        be saved as 255.
    OutOfDistributionWarning
        If the embedded model meets another dataset than scenes; the attribute ``caution`` says it too.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    if oracle_saliency and chosen.slides:
        raise ConfigError("oracle_saliency needs a protocol without sliding windows, such as 'mmseg'.")
    if client is not None and out is None:
        raise ConfigError("evaluate with a client needs out=: the workers put their counts beside the result.")
    images = count_images(dataset, limit)
    given = as_source(source)
    if oracle_saliency and isinstance(given, Segmenter):
        given = Segmenter(given.encoder, "none", batch_size=given.batch_size)  # its own would be thrown away
    opened, config = open_source(given, dataset, config, segmenter)
    if chosen.slides and not isinstance(given, Segmenter):
        raise ConfigError(f"the protocol {chosen.id!r} slides windows, which a store does not hold; give a segmenter.")
    trial = Trial(config=config, saliency=ORACLE if oracle_saliency else None)
    block = Block(opened, (trial,), chosen, min(images, len(opened)), per_image=True)
    card = _card(block, config)
    warn(card)
    parts = None
    if out is not None:
        card["key"] = _key(card, opened)
        target = result_path(out, f"{dataset.name}-{chosen.id}-{card['key'][:12]}.nc")
        held = read_result(target, card["key"])
        if held is not None:
            return diagnosed(held, dataset)
        parts = PartialCounts.beside(target, card["key"])
    with (
        interruptible(lambda: kept(parts, block.images)),
        ImageProgress(block.images, dataset.name, show=progress) as counting,
    ):
        counts = score(block, counting, parts, client)
    result = summarise(counts, dataset.label_names, chosen, card)
    if parts is not None:
        write_result(result, target)
        parts.remove()
    return diagnosed(result, dataset)


def kept(parts: PartialCounts | None, images: int) -> str:
    """Say what is kept of unfinished work on so many images."""
    if parts is None:
        return "Nothing is kept, because no place was given for it (out=, on the command line --out)."
    return (
        f"{parts.images()} of {images} images are counted and kept in {str(parts.folder)!r}; the same command goes on."
    )


def count_images(dataset: Dataset, limit: int | None) -> int:
    """Return how many images are meant: all, or the first `limit`."""
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise ConfigError(f"limit is {limit!r}; expected a positive number of images, or None for all.")
    if not len(dataset):
        raise DatasetError(f"the dataset {dataset.name!r} has no images; choose another split or length.")
    return len(dataset) if limit is None else min(limit, len(dataset))


def summarise(
    counts: TrialCounts, label_names: Sequence[str], protocol: Protocol, card: dict[str, Any] | None = None
) -> xr.Dataset:
    """Put the counts of the first trial and the scores from them into one dataset, with the card in its attributes."""
    pooled, hits = counts.confusion[0], counts.hits()
    names = np.array(label_names, dtype=object)
    right, valid = hits.tp.sum(1), hits.tp.sum(1) + hits.fn.sum(1)
    low, high = counts.interval(0, protocol.absent)
    ratio = {"units": "1"}
    pixel = {"units": "pixel"}
    return xr.Dataset(
        {
            "confusion": ((TRUTH, s.LABEL), pooled, {"long_name": "pixels", **pixel}),
            "iou": (s.LABEL, metrics.iou(pooled, protocol.absent), {"long_name": "intersection over union", **ratio}),
            "accuracy": (s.LABEL, metrics.accuracy(pooled), {"long_name": "recall", **ratio}),
            "pixels": (s.LABEL, pooled.sum(1), {"long_name": "true pixels", **pixel}),
            "image_miou": (IMAGE, _row_means(hits.iou()), {"long_name": "mean IoU of the image", **ratio}),
            "image_pixel_accuracy": (IMAGE, _shares(right, valid), {"long_name": "pixel accuracy", **ratio}),
            "ignored": (IMAGE, counts.image_ignored, {"long_name": "ignored pixels", **pixel}),
            "tp": ((IMAGE, s.LABEL), hits.tp, {"long_name": "true positives", **pixel}),
            "fp": ((IMAGE, s.LABEL), hits.fp, {"long_name": "false positives", **pixel}),
            "fn": ((IMAGE, s.LABEL), hits.fn, {"long_name": "false negatives", **pixel}),
        },
        coords={IMAGE: np.array(counts.ids, dtype=object), TRUTH: names, s.LABEL: names},
        attrs={
            "miou": metrics.mean_iou(pooled, protocol.absent),
            "miou_low": low,
            "miou_high": high,
            "interval": INTERVAL,
            "pixel_accuracy": metrics.pixel_accuracy(pooled),
            "mean_accuracy": metrics.mean_accuracy(pooled),
            "frequency_weighted_iou": metrics.frequency_weighted_iou(pooled),
            "ignored_share": counts.ignored_share,
            **(card or {}),
        },
    )


def _row_means(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of every row's finite values; NaN where there is none."""
    return _shares(np.nansum(scores, axis=1), np.isfinite(scores).sum(1))


def _shares(parts: npt.NDArray[Any], wholes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.divide(
        parts, wholes, out=np.full(len(wholes), np.nan), where=wholes > 0, dtype=np.float64
    )
    return shares


def _card(block: Block, config: Config) -> dict[str, Any]:
    """Collect everything that decides the score, as attributes that a file can hold."""
    source, protocol, dataset = block.source, block.protocol, block.source.dataset
    encoder, oracle = source.segmenter.encoder, block.trials[0].saliency == ORACLE
    benchmark, split = _names(dataset)
    truth = "own size" if protocol.truth_short is None else f"short side {protocol.truth_short}, Pillow's nearest"
    windows = (
        f"; windows of {protocol.window}, stride {protocol.stride}, of an image at short side"
        if protocol.slides
        else ""
    )
    frame = f"{config.image_size[0]} x {config.image_size[1]}, {config.image_resize}{windows}"
    names = json.dumps(list(dataset.label_names))
    return {
        "dataset": dataset.name,
        "benchmark": benchmark,
        "split": split,
        "images": block.images,
        "images_of_split": len(dataset),
        "filter": (dataset.filter if isinstance(dataset, HasFilter) else None) or "none",
        "protocol": protocol.id,
        "protocol_card": protocol.model_dump_json(),
        "input": frame + (f" {protocol.image_short}" if protocol.slides else ""),
        "truth_size": truth,
        "absent": "counts 0" if protocol.absent == "zero" else "left out of the mean",
        "background_rule": config.background,
        "templates": json.dumps(templates(config)),
        "labels_sha256": hashlib.sha256(names.encode()).hexdigest(),
        "config": config.to_json(),
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "precision": "fp32" if source.config.precision == "auto" else source.config.precision,
        "embeddings": source.embeddings,
        "saliency_source": ORACLE if oracle else source.saliency[0],
        "saliency_fingerprint": "" if oracle else source.saliency[1],
        "versions": json.dumps(versions(encoder)),
        **of_dataset(encoder, source.dataset),
    }


def _names(dataset: Dataset) -> tuple[str, str]:
    """Name of the benchmark and of its part; a folder of one's own has no parts."""
    manifest = manifest_of(dataset)
    if manifest is not None:
        return manifest.id, dataset.name.removeprefix(f"{manifest.id}-")
    if isinstance(dataset, HasSplit) and dataset.split is not None:
        return dataset.name.partition(f"-{dataset.split}")[0], dataset.split
    return dataset.name, ""


def _key(card: dict[str, Any], source: Source) -> str:
    """Hash of what makes two runs the same: card, label names, ids, manifest, store, the first and the last sample."""
    dataset = source.dataset
    if isinstance(dataset, HasIds):
        told: Any = dataset.ids
    else:
        if type(dataset).__repr__ is object.__repr__:
            raise DatasetError(
                f"the dataset {dataset.name!r} has neither `ids` nor a repr that tells it from others, so its result "
                "cannot be found again. Give it `ids`, or leave out `out`."
            )
        told = repr(dataset)
    manifest = manifest_of(dataset)
    samples = [dataset[source.place(position)] for position in (0, card["images"] - 1)]
    pixels = [hashlib.sha256(part.tobytes()).hexdigest() for one in samples for part in (one.image, one.mask)]
    described = None if manifest is None else manifest.model_dump_json()
    facts = [card, source.identity, list(dataset.label_names), told, pixels, described]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
