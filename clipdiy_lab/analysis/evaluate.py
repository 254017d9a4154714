"""One configuration on one dataset: confusion counts, IoU of every label, IoU of every image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm.auto import tqdm

from clipdiy_lab.datasets.sample import Dataset, Sample
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import metrics
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.pipeline.fusion import label_map
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.stages import labels_full

IMAGE, TRUTH = "image_id", "true_label"


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    config: Config | None = None,
    limit: int | None = None,
    *,
    oracle_saliency: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """Score a configuration on a dataset, at the masks' own size, nearest.

    Parameters
    ----------
    segmenter : Segmenter
    dataset : Dataset
        Its ``label_names`` are the labels.
    config : Config, optional
        Default: `Config()`.
    limit : int, optional
        Only the first images.
    oracle_saliency : bool
        Use the true foreground (every pixel whose label is not the background's) as saliency: the most that any
        localiser could give.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    xarray.Dataset
        ``confusion`` (image_id, true_label, label) int64 counts; ``iou`` (label), NaN for a label that is neither true
        nor predicted anywhere; attributes ``miou`` (pooled over all pixels of all images), ``pixel_accuracy``,
        ``images`` and the configuration.
    """
    config = as_config(config)
    counts, ids = [], []
    for sample, maps in predictions(segmenter, dataset, [config], limit, oracle_saliency, progress):
        counts.append(metrics.confusion(sample.mask, maps[0], len(dataset.label_names)))
        ids.append(sample.id)
    return summarise(np.stack(counts), ids, dataset, segmenter, config)


def predictions(
    segmenter: Segmenter,
    dataset: Dataset,
    configs: Sequence[Config],
    limit: int | None = None,
    oracle_saliency: bool = False,
    progress: bool = False,
) -> Iterator[tuple[Sample, list[npt.NDArray[np.int16]]]]:
    """Predict every image under several configurations that share their encoding; each image is encoded once.

    Scales may differ: the image is encoded at all of them.

    Yields
    ------
    Sample, list of int16 arrays
        The image, and for each configuration the label map at the mask's own size.

    Raises
    ------
    ConfigError
        If the limit is not positive or the configurations differ in an encode knob other than the scales.
    """
    length = _length(dataset, limit)
    if len({encoding(config) for config in configs}) > 1:
        raise ConfigError("configurations that share an encoding may differ in scales and fuse knobs only.")
    union = tuple(dict.fromkeys(scale for config in configs for scale in config.scales))
    shared = encoding(configs[0]).replace(scales=union)
    background = dataset.label_names.index(configs[0].background_label) if oracle_saliency else None
    texts = [_texts(segmenter, dataset, config) for config in configs]
    for index in tqdm(range(length), desc=f"{dataset.name}", unit="image", disable=not progress):
        sample = dataset[index]
        truth = (sample.mask != background).astype(np.float32) if oracle_saliency else None
        encoded = segmenter.encode(sample.image, shared, saliency=truth)
        size = sample.mask.shape[0], sample.mask.shape[1]
        maps = [labels_full(label_map(encoded, t, c), size).values for t, c in zip(texts, configs, strict=True)]
        yield sample, maps


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


def _length(dataset: Dataset, limit: int | None) -> int:
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise ConfigError(f"limit is {limit!r}; expected a positive number of images, or None for all.")
    return len(dataset) if limit is None else min(limit, len(dataset))


def summarise(
    counts: npt.NDArray[np.int64], ids: Sequence[str], dataset: Dataset, segmenter: Segmenter, config: Config
) -> xr.Dataset:
    """Put per-image confusion counts (images x labels x labels) and the scores from them into one dataset."""
    pooled = counts.sum(0)
    names = np.array(dataset.label_names, dtype=object)
    return xr.Dataset(
        {
            "confusion": ((IMAGE, TRUTH, s.LABEL), counts, {"long_name": "pixels", "units": "pixel"}),
            "iou": (s.LABEL, metrics.iou(pooled), {"long_name": "intersection over union", "units": "1"}),
        },
        coords={IMAGE: np.array(ids, dtype=object), TRUTH: names, s.LABEL: names},
        attrs={
            "dataset": dataset.name,
            "images": len(ids),
            "miou": metrics.mean_iou(pooled),
            "pixel_accuracy": metrics.pixel_accuracy(pooled),
            "absent": "left out of the mean",
            "config": config.to_json(),
            "encoder": segmenter.encoder.name,
            "encoder_fingerprint": segmenter.encoder.fingerprint,
            "saliency_source": segmenter.saliency.name,
        },
    )
