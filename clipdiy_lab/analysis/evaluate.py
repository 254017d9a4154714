"""One configuration on one dataset under one protocol: counts, scores, and a card that says how they came about."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm.auto import tqdm

from clipdiy_lab.analysis import parts
from clipdiy_lab.analysis.counting import Counted
from clipdiy_lab.analysis.diagnosis import diagnosed
from clipdiy_lab.analysis.journal import Journal, read_result, result_path, write_result
from clipdiy_lab.analysis.protocols import Protocol, config_for, get_protocol, protocol_for
from clipdiy_lab.analysis.sliding import sliding_labels
from clipdiy_lab.datasets.sample import Dataset, Sample, ahead, as_dataset
from clipdiy_lab.errors import ConfigError, DatasetError
from clipdiy_lab.method import metrics
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.prompts import templates
from clipdiy_lab.pipeline.fusion import label_map
from clipdiy_lab.pipeline.provenance import versions
from clipdiy_lab.pipeline.segmenter import Segmenter, as_segmenter
from clipdiy_lab.pipeline.shipping import SentSegmenter

if TYPE_CHECKING:
    from distributed import Client

IMAGE, TRUTH = "image_id", "true_label"


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    config: Config | None = None,
    limit: int | None = None,
    *,
    protocol: str | os.PathLike[str] | Protocol | None = None,
    out: str | os.PathLike[str] | None = None,
    oracle_saliency: bool = False,
    progress: bool = False,
    client: Client | None = None,
) -> xr.Dataset:
    """Score a configuration on a dataset.

    Parameters
    ----------
    segmenter : Segmenter
    dataset : Dataset
        Its ``label_names`` are the labels.
    config : Config, optional
        Default: `Config()` with the knobs that the benchmark's manifest sets, such as ``background="none"``.
    limit : int, optional
        Only the first images.
    protocol : str, path or Protocol, optional
        "mmseg" (masks at their own size, labels that never occur are left out of the mean), "official" (CLIP-DIY's
        own), "sliding", or a YAML file: see `get_protocol`. Default: the one that the benchmark's manifest names, else
        "mmseg".
    out : path, optional
        A ``.nc`` file, or a folder in which the result gets a name of its own. A run that was killed goes on where it
        was; a run whose result is there is read, not repeated. What makes two runs the same: dataset, ids and
        manifest, configuration, protocol, limit, the fingerprints of encoder and saliency, and the pixels of the
        first and the last sample; those between are not hashed.
    oracle_saliency : bool
        Use the true foreground (every pixel whose label is not the background's) as saliency: the most that any
        localiser could give.
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
        interval ``miou_low``, ``miou_high``, ``pixel_accuracy``, ``mean_accuracy``, ``frequency_weighted_iou``,
        ``ignored_share``, and everything that decided them.

    Warns
    -----
    ClipdiyWarning
        For labels that occur nowhere in a whole dataset, masks of which most is ignored, and foreground that seems to
        be saved as 255.

    Raises
    ------
    ConfigError
        For a limit, protocol or configuration that makes no sense here.
    DatasetError
        If it is no dataset or an empty one, masks hold other labels than it names, or, with `out`, it has neither ids
        nor a repr of its own.
    ModelError
        If `segmenter` is none.
    OutputError
        If `out` cannot be written to, or holds another result.
    ClusterError
        If the workers run other versions, see other files, or are lost again and again.
    """
    segmenter, dataset = as_segmenter(segmenter), as_dataset(dataset)
    config, chosen = config_for(dataset, config), protocol_for(dataset, protocol)
    if oracle_saliency and chosen.slides:
        raise ConfigError("oracle_saliency needs a protocol without sliding windows, such as 'mmseg'.")
    if client is not None and out is None:
        raise ConfigError("evaluate with a client needs out=: the workers put their counts beside the result.")
    length = count_images(dataset, limit)
    card = _card(segmenter, dataset, config, chosen, length, oracle_saliency)
    journal = None
    if out is not None:
        card["key"] = _key(card, dataset)
        target = result_path(out, f"{dataset.name}-{chosen.id}-{card['key'][:12]}.nc")
        held = read_result(target, card["key"])
        if held is not None:
            return diagnosed(held, dataset)
        journal = Journal(target, card["key"], len(dataset.label_names))
    counted = journal.read() if journal else Counted(len(dataset.label_names))
    start = len(counted.ids)
    if client is not None and journal is not None:
        folder = journal.folder.absolute()
        job = _CountJob(SentSegmenter.of(segmenter), dataset, config, chosen, oracle_saliency, folder)
        bar = tqdm(total=length, initial=start, desc=dataset.name, unit="image", disable=not progress)
        with bar:
            for arrays in parts.gather(client, job, folder, parts.ranges(length, start=start), bar.update):
                counted.append(Counted.of(arrays))
    else:
        fresh = predictions(
            segmenter, dataset, [config], length, oracle_saliency, progress, protocol=chosen, start=start
        )
        for sample, maps in fresh:
            counted.add(sample.id, chosen.truth(sample.mask), maps[0])
            if journal:
                journal.keep(counted)
    result = summarise(counted, dataset.label_names, chosen, card)
    if journal:
        write_result(result, journal.target)
        journal.remove()
    return diagnosed(result, dataset)


def predictions(
    segmenter: Segmenter,
    dataset: Dataset,
    configs: Sequence[Config],
    limit: int | None = None,
    oracle_saliency: bool = False,
    progress: bool = False,
    *,
    protocol: Protocol | None = None,
    start: int = 0,
) -> Iterator[tuple[Sample, list[npt.NDArray[np.int16]]]]:
    """Predict every image under several configurations that share their encoding; each image is encoded once.

    Scales may differ: the image is encoded at all of them.

    Yields
    ------
    Sample, list of int16 arrays
        The image, and for each configuration the label map at the size at which `protocol` compares; without one, at
        the mask's own. The first `start` images are passed over.

    Raises
    ------
    ConfigError
        If the limit is not positive or the configurations differ in an encode knob other than the scales.
    """
    length = count_images(dataset, limit)
    if len({encoding(config) for config in configs}) > 1:
        raise ConfigError("configurations that share an encoding may differ in scales and fuse knobs only.")
    union = tuple(dict.fromkeys(scale for config in configs for scale in config.scales))
    shared = encoding(configs[0]).replace(scales=union)
    background = dataset.label_names.index(configs[0].background_label) if oracle_saliency else None
    texts = [_texts(segmenter, dataset, config) for config in configs]
    protocol = protocol or get_protocol("mmseg")
    bar = tqdm(total=length, initial=start, desc=dataset.name, unit="image", disable=not progress)
    with bar:
        for sample in ahead(dataset.__getitem__, range(start, length)):
            if protocol.slides:
                size = protocol.size(sample.mask.shape)
                yield sample, sliding_labels(segmenter, sample.image, texts, list(configs), shared, protocol, size)
            else:
                truth = (sample.mask != background).astype(np.float32) if oracle_saliency else None
                encoded = segmenter.encode(sample.image, shared, saliency=truth)
                labels = [label_map(encoded, t, c).values for t, c in zip(texts, configs, strict=True)]
                yield sample, [protocol.prediction(one, sample.mask.shape) for one in labels]
            bar.update()


@dataclass(frozen=True)
class _CountJob:
    """What a worker needs to count; its tasks are ranges of images."""

    segmenter: SentSegmenter
    dataset: Dataset
    config: Config
    protocol: Protocol
    oracle_saliency: bool
    folder: Path

    def open(self) -> Callable[[range], None]:
        segmenter = self.segmenter.build()

        def count(images: range) -> parts.Arrays:
            counted = Counted(len(self.dataset.label_names))
            fresh = predictions(
                segmenter,
                self.dataset,
                [self.config],
                images.stop,
                self.oracle_saliency,
                protocol=self.protocol,
                start=images.start,
            )
            for sample, maps in fresh:
                counted.add(sample.id, self.protocol.truth(sample.mask), maps[0])
            return counted.arrays(0)

        return parts.committing(self.folder, self.dataset, count)


def encoding(config: Config) -> Config:
    """Return what a configuration asks of the encoder, apart from its scales: equal values can share an encoding."""
    plain = {name: getattr(Config(), name) for name in Config.knobs("fuse")}
    return config.replace(**plain, scales=(min(config.image_size),))


def _texts(segmenter: Segmenter, dataset: Dataset, config: Config) -> xr.DataArray:
    text = segmenter.text_embeddings(dataset.label_names, config)
    if s.labels_of(text) != tuple(dataset.label_names):
        raise ConfigError(
            f"background_label is {config.background_label!r}, which {dataset.name!r} does not have; "
            "use one of its labels, or background='none'."
        )
    return text


def count_images(dataset: Dataset, limit: int | None) -> int:
    """Return how many images are meant: all, or the first `limit`."""
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise ConfigError(f"limit is {limit!r}; expected a positive number of images, or None for all.")
    if not len(dataset):
        raise DatasetError(f"the dataset {dataset.name!r} has no images; choose another split or length.")
    return len(dataset) if limit is None else min(limit, len(dataset))


def summarise(
    counted: Counted, label_names: Sequence[str], protocol: Protocol, card: dict[str, Any] | None = None
) -> xr.Dataset:
    """Put counts and the scores from them into one dataset, with the card in its attributes."""
    pooled, hits = counted.tally.counts, counted.hits
    names = np.array(label_names, dtype=object)
    right, valid = hits.tp.sum(1), hits.tp.sum(1) + hits.fn.sum(1)
    low, high = metrics.bootstrap_miou(hits, protocol.absent)
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
            "ignored": (IMAGE, counted.ignored, {"long_name": "ignored pixels", **pixel}),
            "tp": ((IMAGE, s.LABEL), hits.tp, {"long_name": "true positives", **pixel}),
            "fp": ((IMAGE, s.LABEL), hits.fp, {"long_name": "false positives", **pixel}),
            "fn": ((IMAGE, s.LABEL), hits.fn, {"long_name": "false negatives", **pixel}),
        },
        coords={IMAGE: np.array(counted.ids, dtype=object), TRUTH: names, s.LABEL: names},
        attrs={
            "miou": metrics.mean_iou(pooled, protocol.absent),
            "miou_low": low,
            "miou_high": high,
            "interval": "95 % percentile bootstrap over images, 1000 draws, seed 0",
            "pixel_accuracy": metrics.pixel_accuracy(pooled),
            "mean_accuracy": metrics.mean_accuracy(pooled),
            "frequency_weighted_iou": metrics.frequency_weighted_iou(pooled),
            "ignored_share": counted.tally.ignored_share,
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


def _card(
    segmenter: Segmenter, dataset: Dataset, config: Config, protocol: Protocol, length: int, oracle: bool
) -> dict[str, Any]:
    """Collect everything that decides the score, as attributes that a file can hold."""
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
        "images": length,
        "images_of_split": len(dataset),
        "filter": getattr(dataset, "filter", None) or "none",
        "protocol": protocol.id,
        "protocol_card": protocol.model_dump_json(),
        "input": frame + (f" {protocol.image_short}" if protocol.slides else ""),
        "truth_size": truth,
        "absent": "counts 0" if protocol.absent == "zero" else "left out of the mean",
        "background_rule": config.background,
        "templates": json.dumps(templates(config)),
        "labels_sha256": hashlib.sha256(names.encode()).hexdigest(),
        "config": config.to_json(),
        "encoder": segmenter.encoder.name,
        "encoder_fingerprint": segmenter.encoder.fingerprint,
        "precision": getattr(segmenter.encoder, "precision", "fp32")
        if config.precision == "auto"
        else config.precision,
        "saliency_source": "oracle" if oracle else segmenter.saliency.name,
        "saliency_fingerprint": "" if oracle else segmenter.saliency.fingerprint,
        "versions": json.dumps(versions(segmenter.encoder)),
    }


def _names(dataset: Dataset) -> tuple[str, str]:
    """Name of the benchmark and of its part; a folder of one's own has no parts."""
    manifest, split = getattr(dataset, "manifest", None), getattr(dataset, "split", None)
    if manifest is not None:
        return manifest.id, dataset.name.removeprefix(f"{manifest.id}-")
    if split is not None:
        return dataset.name.partition(f"-{split}")[0], str(split)
    return dataset.name, ""


def _key(card: dict[str, Any], dataset: Dataset) -> str:
    """Hash of what makes two runs the same: the card, label names, ids, manifest, the first and the last sample."""
    ids = getattr(dataset, "ids", None)
    if ids is None:
        if type(dataset).__repr__ is object.__repr__:
            raise DatasetError(
                f"the dataset {dataset.name!r} has neither `ids` nor a repr that tells it from others, so its result "
                "cannot be found again. Give it `ids`, or leave out `out`."
            )
        ids = repr(dataset)
    manifest = getattr(dataset, "manifest", None)
    samples = [dataset[0], dataset[card["images"] - 1]]
    pixels = [hashlib.sha256(part.tobytes()).hexdigest() for one in samples for part in (one.image, one.mask)]
    facts = [card, list(dataset.label_names), ids, pixels, None if manifest is None else manifest.model_dump_json()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
