"""One configuration on one dataset under one protocol: counts, scores, and a card that says how they came about."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from clipdiy_lab.analysis.cards import subject_card, work_key
from clipdiy_lab.analysis.diagnosis import diagnosed
from clipdiy_lab.analysis.protocols import Protocol, protocol_for
from clipdiy_lab.analysis.result_files import read_result, result_path, write_result
from clipdiy_lab.analysis.scoring.block import Block
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.scoring.workers import score
from clipdiy_lab.analysis.summary import IMAGE, summarise
from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.datasets.prediction_files import CARD
from clipdiy_lab.datasets.predictions import PredictionFolder
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ConfigError, DatasetError, OutputError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.outlines import BAND
from clipdiy_lab.models.prompts import templates
from clipdiy_lab.pipeline.caution import of_dataset, warn
from clipdiy_lab.pipeline.provenance import versions
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store, as_source, open_source
from clipdiy_lab.pipeline.watch import ImageProgress, interruptible

if TYPE_CHECKING:
    from distributed import Client


def evaluate(
    source: Segmenter | Store,
    dataset: Dataset,
    config: Config | None = None,
    limit: int | None = None,
    *,
    protocol: str | os.PathLike[str] | Protocol | None = None,
    out: str | os.PathLike[str] | None = None,
    predictions: str | os.PathLike[str] | None = None,
    soft: Sequence[str] = (),
    boundary: float = BAND,
    oracle_saliency: bool = False,
    segmenter: Segmenter | None = None,
    progress: bool = False,
    client: Client | None = None,
) -> xr.Dataset:
    """Evaluate a configuration on a dataset.

    Parameters
    ----------
    source : Segmenter, or store of embeddings (`EmbeddingStore`, its folder, or what `open_store` returned)
    dataset : Dataset
        Its ``label_names`` are used as labels.
    config : Config, optional
        Default: that of the store, or `Config()`, with the knobs set by the benchmark's manifest, such as
        ``background="none"``.
    limit : int, optional
        Use only the first images.
    protocol : str, path or Protocol, optional
        "mmseg" (masks at their own size; labels that never occur are left out of the mean), "official" (that of
        CLIP-DIY), "sliding" (sliding windows; needs a segmenter), or a YAML file: see `get_protocol`. Default: the one
        named in the benchmark's manifest, otherwise "mmseg".
    out : path, optional
        A ``.nc`` file, or a folder in which the result gets an automatic name. An interrupted run is resumed; if the
        result exists, it is read and not computed again. Two runs are the same if they agree in dataset, ids and
        manifest, configuration, protocol, limit, the fingerprints of encoder and saliency, and the pixels of the
        first and the last sample; the samples in between are not hashed.
    predictions : path, optional
        A folder for the predictions: one PNG of label indices per image, named by its id, at the image's own size and
        in the benchmark's palette (16-bit gray beyond 255 labels); ``classes.txt``; the protocol card, ``card.json``.
        It must be new, or hold predictions of the same run, which is then resumed. `score` can read it.
    soft : sequence of str
        With `predictions`: labels whose ``score`` and ``probability`` are also written, as one NetCDF file per image,
        at the size of the frame.
    boundary : float
        Width of the band for Boundary IoU (Cheng et al., CVPR 2021, see `Outlines`), as a share of the
        diagonal of the mask at the size of comparison.
    oracle_saliency : bool
        Use the ground-truth foreground (every pixel whose label is not the background) as saliency: an upper bound for
        any localiser.
    segmenter : Segmenter, optional
        Segmenter whose text encoder is used with a store. Default: the encoder named in the store is loaded.
    progress : bool
        Show a progress bar on stderr.
    client : distributed.Client, optional
        Its workers do the work, see `lab.connect`. Needs `out`: the workers write their counts next to it, so all
        machines must see that folder, and the dataset, under the same paths.

    Returns
    -------
    xarray.Dataset
        Pooled ``confusion`` (true_label, label), int64 pixels. Per label: ``iou`` with its 95 % interval ``iou_low``,
        ``iou_high``; ``boundary_iou``; ``accuracy`` and ``confusion_size`` (see `metrics.confusion_size`), NaN
        for a label that does not occur in the masks; ``pixels``, the number of true pixels.
        Over ``trimap_width`` (pixels): ``trimap_miou`` and ``trimap_accuracy`` near true outlines. Per image:
        ``image_miou`` (over the labels in the mask or the prediction), ``image_pixel_accuracy``, ``ignored`` pixels;
        ``tp``, ``fp``, ``fn`` (image_id, label), and the same for Boundary IoU with the prefix ``boundary_``.
        The attributes are the protocol card: ``miou`` (pooled over all pixels of all images) with its 95 % bootstrap
        interval ``miou_low``, ``miou_high`` (the same as in a sweep, see `TrialCounts`), ``boundary_miou`` with its
        own, ``pixel_accuracy``, ``mean_accuracy``, ``confusion_size``, ``frequency_weighted_iou``, ``ignored_share``,
        and all settings that affect them.

    Raises
    ------
    ConfigError
        For an invalid limit, protocol or configuration.
    LabelError
        If `soft` names a label that is not in the dataset.
    DatasetError
        If it is not a dataset or is empty, if masks contain labels that it does not name, or, with `out`, if it has
        neither ids nor its own repr.
    StoreError
        If `source` is neither a segmenter nor a store, or the store was made from other images, with another encoder or
        saliency, or with other encode knobs.
    OutputError
        If `out` cannot be written to, or holds another result; if `predictions` holds anything else than predictions
        of the same run.
    ClusterError
        If the workers have other versions, see other files, or fail repeatedly.

    Notes
    -----
    A `KeyboardInterrupt` carries a note (``__notes__``) that says what is kept.

    Warns
    -----
    ClipdiyWarning
        For labels that occur nowhere in a complete dataset, masks that are mostly ignored, and foreground that seems to
        be saved as 255.
    OutOfDistributionWarning
        If the embedded model is given a dataset other than scenes; the attribute ``caution`` contains the same warning.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    if oracle_saliency and chosen.slides:
        raise ConfigError("oracle_saliency needs a protocol without sliding-window inference, such as 'mmseg'.")
    if client is not None and out is None:
        raise ConfigError(
            "evaluate with a client needs out=, because the workers write their counts next to the result."
        )
    images = count_images(dataset, limit)
    given = as_source(source)
    if oracle_saliency and isinstance(given, Segmenter):
        given = Segmenter(given.encoder, "none", batch_size=given.batch_size)  # its own would be thrown away
    opened, config = open_source(given, dataset, config, segmenter)
    if chosen.slides and not isinstance(given, Segmenter):
        raise ConfigError(
            f"the protocol {chosen.id!r} uses sliding-window inference, which a store does not support; give a "
            "segmenter."
        )
    trial = Trial(config=config, saliency=ORACLE if oracle_saliency else None)
    if soft and (predictions is None or chosen.slides):
        raise ConfigError(
            "soft needs predictions=, and a protocol without sliding-window inference, so that all scores share one "
            "frame."
        )
    folder = None if predictions is None else PredictionFolder.of(predictions, dataset, soft)
    block = Block(
        opened, (trial,), chosen, min(images, len(opened)), per_image=True, boundary=boundary, predictions=folder
    )
    card = block_card(block, config)
    warn(card)
    target = None
    if folder is not None and folder.soft:
        card["soft_labels"] = json.dumps(folder.soft)
    if out is not None or folder is not None:
        ends = (opened.place(0), opened.place(block.images - 1))
        card["key"] = work_key(card, opened.identity, dataset, ends)
    if folder is not None:
        folder.claim(card)
    if out is not None:
        target = result_path(out, f"{dataset.name}-{chosen.id}-{card['key'][:12]}.nc")
        held = read_result(target, card["key"])
        if held is not None and (folder is None or folder.holds(held[IMAGE].values)):
            return diagnosed(held, dataset)
    beside = target if folder is None else folder.folder / CARD  # counts go the way of the files that belong to them
    parts = None if beside is None else PartialCounts.beside(beside, card["key"])
    with (
        interruptible(lambda: kept(parts, block.images)),
        ImageProgress(block.images, dataset.name, show=progress) as counting,
    ):
        counts = score(block, counting, parts, client)
    result = summarise(counts, dataset.label_names, chosen, card)
    if target is not None and (folder is None or folder.holds(counts.ids)):
        write_result(result, target)
    if parts is not None:
        parts.remove()
    if folder is not None and not folder.holds(counts.ids):
        raise OutputError(f"predictions disappeared from {folder.folder} during the run; run it again to write them.")
    return diagnosed(result, dataset)


def kept(parts: PartialCounts | None, images: int) -> str:
    """Say what is kept of unfinished work on so many images."""
    if parts is None:
        return "Nothing is kept, because no place was given for it (out=, on the command line --out)."
    kept = f"{parts.images()} of {images} images are counted in {str(parts.folder)!r}"
    return f"{kept}; run the same command again to continue."


def count_images(dataset: Dataset, limit: int | None) -> int:
    """Return how many images are meant: all, or the first `limit`."""
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise ConfigError(f"limit is {limit!r}; expected a positive number of images, or None for all.")
    if not len(dataset):
        raise DatasetError(f"the dataset {dataset.name!r} has no images; choose another split or length.")
    return len(dataset) if limit is None else min(limit, len(dataset))


def block_card(block: Block, config: Config) -> dict[str, Any]:
    """Collect everything that decides the score, as attributes that a file can hold."""
    source, protocol, dataset = block.source, block.protocol, block.source.dataset
    encoder, oracle = source.segmenter.encoder, block.trials[0].saliency == ORACLE
    windows = "" if protocol.window is None else f"; windows of {protocol.window}, stride {protocol.stride},"
    resized = f"{windows or '; whole'} of an image at short side {protocol.image_short}" if protocol.slides else ""
    frame = f"{config.image_size[0]} x {config.image_size[1]}, {config.image_resize}{resized}"
    return {
        **subject_card(dataset, protocol, block.images, block.boundary),
        "input": frame,
        "background_rule": config.background,
        "templates": json.dumps(templates(config)),
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
