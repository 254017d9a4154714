"""Many configurations on one dataset: every image is encoded once, every search for the best label is shared."""

from __future__ import annotations

import glob
import shutil
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from clipdiy_lab._version import __version__
from clipdiy_lab.analysis import parts
from clipdiy_lab.analysis.encodings import Encodings, FromSegmenter, FromStore, as_source
from clipdiy_lab.analysis.evaluate import count_images, encoding
from clipdiy_lab.analysis.ledger import Ledger
from clipdiy_lab.analysis.passes import Masks, Words, prepare, score, search_key, tallies, text_key
from clipdiy_lab.analysis.protocols import Protocol, config_for, protocol_for
from clipdiy_lab.analysis.tally import INTERVAL, ResampledTally
from clipdiy_lab.analysis.trials import LABEL_NAMES, ORACLE, SALIENCY, Grid, Trial, trials
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ClipdiyError, ClusterError, ConfigError, StoreError
from clipdiy_lab.method import metrics
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.cluster import require_path
from clipdiy_lab.pipeline.embeddings import layout
from clipdiy_lab.pipeline.embeddings.key import digest
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.embeddings.write import embed
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.shipping import SentSegmenter

if TYPE_CHECKING:
    from distributed import Client

MAX_ROWS = 1000
BLOCK_BYTES = 2**27
"""Memory of the counts of the configurations that are scored in one pass over the images."""
Store = EmbeddingStore | str | PathLike[str]


def sweep(
    source: Segmenter | Store,
    dataset: Dataset,
    grid: Grid,
    *,
    base: Config | None = None,
    limit: int | None = None,
    protocol: str | PathLike[str] | Protocol | None = None,
    segmenter: Segmenter | None = None,
    stores: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    max_rows: int = MAX_ROWS,
    progress: bool = False,
    on_row: Callable[[dict[str, Any]], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    client: Client | None = None,
) -> pd.DataFrame:
    """Score every configuration of a grid.

    Parameters
    ----------
    source : Segmenter, or store of embeddings (`EmbeddingStore` or its folder)
        A store answers for one encoding; with a segmenter, every encoding that the grid asks for is made.
    dataset : Dataset
    grid : mapping of knob to values, or sequence of Config
        A mapping gives every combination of the values, from `base` on, the last knob fastest. Beside the knobs of
        `Config` it may vary ``saliency`` (names of saliency sources, and ``"oracle"``: the true foreground) and
        ``label_names`` (other words for the dataset's labels). A combination that makes no sense gets a row that says
        why.
    base : Config, optional
        What a mapping's combinations start from. Default: the store's own, or `Config()`, with the knobs that the
        benchmark's manifest sets.
    limit : int, optional
        Only the first images.
    protocol : str, path or Protocol, optional
        As for `evaluate`, but without sliding windows.
    segmenter : Segmenter, optional
        Whose text encoder is used with a store; its saliency is either the store's or ``"none"``. Default: the
        encoder that the store names is loaded.
    stores : path, optional
        Folder for one store of embeddings an encoding, made where they are missing and used from then on.
    out : path, optional
        File that every finished row is appended to (JSON lines). With a file that is there, the rows it has are taken
        from it: a killed sweep goes on.
    max_rows : int
        Refuse a grid of more rows.
    progress : bool
        Show a progress bar with the remaining time on stderr.
    on_row : callable, optional
        Called with every finished row.
    cancelled : callable, optional
        Asked after every image (with a client: after every task); when it says True, the sweep ends with the rows that
        are finished.
    client : distributed.Client, optional
        Let its workers score, see `pipeline.cluster.connect`; a task is a shard of the store. Needs `out`: the workers
        put their counts beside it, so all machines must see that folder, the store and the dataset under the same
        paths.

    Returns
    -------
    pandas.DataFrame
        One row a configuration, in the grid's order: every knob; ``saliency``; ``miou``, ``miou_low``, ``miou_high``
        (95 % bootstrap over images, see `ResampledTally`), ``pixel_accuracy``, ``ignored`` (share of the pixels),
        ``images``, ``protocol``, ``seconds`` (of its pass, divided by the rows of the pass), ``error``;
        ``iou[LABEL]`` of every label. A row that failed has an error and no score. ``attrs`` say what all rows have in
        common: dataset, protocol, encoder, hashes, how the intervals were made, version.

    Raises
    ------
    ConfigError
        For an empty grid, an unknown knob, a value that never makes sense, or too many rows.
    StoreError
        If `source` is neither a segmenter nor a store, or the store is of other images, another encoder or another
        saliency than those given, or `stores` is a store.
    DatasetError, ModelError
        If `dataset` or `segmenter` is something else, such as a name.
    ClusterError
        If the workers run other versions, see other files, or are lost again and again.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    if client is not None and out is None:
        raise ConfigError(
            "a sweep with a client needs out= (command line: --out): the workers put their counts beside that file."
        )
    if chosen.slides:
        raise ConfigError(
            f"the protocol {chosen.id!r} slides windows, which sweeps do not; evaluate row by row instead."
        )
    if stores is not None and (Path(stores) / layout.HEADER).exists():
        raise StoreError(
            f"stores is {str(stores)!r}, which is a store itself. To read it, give it as the source (command line: "
            "--store); to keep new stores, name another folder."
        )
    source = as_source(source)
    store = None if isinstance(source, Segmenter) else FromStore(source, dataset, segmenter)
    start = config_for(dataset, base, None if store is None else store.config)
    listed = trials(grid, start, max_rows)
    images = count_images(dataset, limit) if store is None else min(count_images(dataset, limit), len(store))
    maker = source if isinstance(source, Segmenter) else (store.segmenter if store else None)
    subject = _subject(dataset, maker, images, store, chosen)
    ledger = None if out is None else Ledger(out, subject)
    rows: dict[str, dict[str, Any]] = {} if ledger is None else dict(ledger.rows)
    asked = [trial for trial in {t.key: t for t in listed}.values() if trial.key not in rows]
    watch = _Watch(tqdm(total=len(asked) * images, unit="image", disable=not progress), cancelled)

    def finish(trial: Trial, row: dict[str, Any]) -> None:
        rows[trial.key] = row
        if ledger is not None:
            ledger.add(trial.key, row)
        if on_row is not None:
            on_row(_row(trial, row))

    masks = Masks(dataset, chosen)
    apart = None if client is None or ledger is None else _Apart(client, ledger.path.absolute(), digest(subject))
    with watch.bar:
        for group in _groups(asked):
            try:
                made = store if store is not None else _encode(maker, dataset, group, images, stores, client)
                _run(group, made, masks, images, finish, watch, apart)
            except _CancelledError:
                break
        else:
            if apart is not None:
                apart.clear()
    table = pd.DataFrame([_row(trial, rows[trial.key]) for trial in listed if trial.key in rows])
    table.attrs = cast("dict[Hashable | None, Any]", subject)
    return table


class _CancelledError(Exception):
    """The caller wants no more rows."""


@dataclass
class _Watch:
    """Progress, and whether to go on."""

    bar: Any
    cancelled: Callable[[], bool] | None

    def seen_images(self, rows: int, images: int) -> None:
        self.seen(rows * images)

    def seen(self, rows: int) -> None:
        self.bar.update(rows)
        if self.cancelled is not None and self.cancelled():
            raise _CancelledError


def _groups(asked: Sequence[Trial]) -> list[list[Trial]]:
    """Trials by the encoding that they need."""
    groups: dict[tuple[Config | None, str | None], list[Trial]] = {}
    for trial in asked:
        source = None if trial.saliency == ORACLE else trial.saliency
        key = (None, None) if trial.config is None else (encoding(trial.config), source)
        groups.setdefault(key, []).append(trial)
    return list(groups.values())


def _encode(
    segmenter: Segmenter | None,
    dataset: Dataset,
    group: Sequence[Trial],
    images: int,
    stores: str | PathLike[str] | None,
    client: Client | None,
) -> Encodings | ClipdiyError:
    """Encodings for a group of trials, or why there are none."""
    configs = [trial.config for trial in group if trial.config is not None]
    if segmenter is None or not configs:
        return ConfigError("no combination of the grid makes sense.")
    try:
        source = next((t.saliency for t in group if t.saliency not in (None, ORACLE)), None)
        maker = segmenter if source is None else Segmenter(segmenter.encoder, source, batch_size=segmenter.batch_size)
        union = tuple(sorted({scale for config in configs for scale in config.scales}, reverse=True))
        shared = encoding(configs[0]).replace(scales=union)
        if stores is None:
            return FromSegmenter(maker, dataset, shared)
        Path(stores).mkdir(parents=True, exist_ok=True)
        made_of = [shared.to_json(), maker.encoder.fingerprint, maker.saliency.fingerprint, images]
        folder = f"{dataset.name}-{maker.encoder.name.replace('/', '-')}-{maker.saliency.name}-{digest(made_of)[:12]}"
        store = embed(maker, dataset, Path(stores) / folder, shared, limit=images, client=client)
        return FromStore(store, dataset, maker)
    except ClusterError:
        raise  # the next group would meet the same
    except ClipdiyError as error:
        return error


def _run(
    group: list[Trial],
    made: Encodings | ClipdiyError,
    masks: Masks,
    images: int,
    finish: Callable[[Trial, dict[str, Any]], None],
    watch: _Watch,
    apart: _Apart | None,
) -> None:
    """Score the trials of one encoding, in passes over the images."""
    able: list[Trial] = []
    for trial in group:
        problem = trial.error or (str(made) if isinstance(made, ClipdiyError) else _unfit(trial, made))
        if problem:
            finish(trial, {"error": problem})
            watch.bar.update(images)
        else:
            able.append(trial)
    if isinstance(made, ClipdiyError):
        return
    # Trials that share texts and searches stand together, so that passes do not repeat them.
    able.sort(key=lambda trial: (repr(text_key(trial)), repr(search_key(trial))))
    labels = len(masks.dataset.label_names)
    size = max(1, BLOCK_BYTES // ResampledTally.bytes_each(labels))
    for first in range(0, len(able), size):
        block = able[first : first + size]
        start = time.perf_counter()
        words, failed = prepare(block, made.segmenter, masks)
        for trial, error in failed:
            finish(trial, {"error": str(error)})
            watch.bar.update(images)
        count_rows = len(block) - len(failed)
        if count_rows and apart is not None:
            apart.score(block, words, made, masks, images, partial(watch.seen_images, count_rows))
        elif count_rows:
            for index in range(images):
                score(words, made.encoded(index), masks, index)
                watch.seen(count_rows)
        spent = time.perf_counter() - start
        for trial, tally in tallies(words):
            finish(trial, _scores(tally, images, spent / count_rows, made, masks))


@dataclass(frozen=True)
class _Apart:
    """Passes whose images the workers of a cluster score; their counts lie beside the sweep's file."""

    client: Client
    out: Path
    subject: str

    def score(
        self,
        block: Sequence[Trial],
        words: Sequence[Words],
        made: Encodings,
        masks: Masks,
        images: int,
        seen: Callable[[int], None],
    ) -> None:
        """Add the counts of all images to the tallies of a block."""
        if isinstance(made, FromStore):
            source: Path | Config = made.store.path.absolute()
            size, identity = made.store.header.shard_size, digest(made.store.header.key)
        elif isinstance(made, FromSegmenter):
            source, size, identity = made.config, parts.IMAGES_A_TASK, made.config.to_json()
        else:
            raise TypeError(f"encodings of type {type(made).__name__} cannot be sent to workers")
        of = digest([self.subject, identity, made.saliency_source, images, [trial.key for trial in block]])
        folder = self.out.with_name(f".{self.out.name}.{of[:16]}.unfinished")
        job = _PassJob(SentSegmenter.of(made.segmenter), masks.dataset, source, tuple(block), masks.protocol, folder)
        for arrays in parts.gather(self.client, job, folder, parts.ranges(images, size), seen):
            for row, (_, tally) in enumerate(tallies(words)):
                tally.merge(ResampledTally.of({name: several[row] for name, several in arrays.items()}))

    def clear(self) -> None:
        """Remove counts of passes whose rows are all in the file."""
        for folder in self.out.parent.glob(f".{glob.escape(self.out.name)}.*.unfinished"):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _PassJob:
    """What a worker needs to score the trials of a pass; its tasks are ranges of images."""

    segmenter: SentSegmenter
    dataset: Dataset
    source: Path | Config
    block: tuple[Trial, ...]
    protocol: Protocol
    folder: Path

    def open(self) -> Callable[[range], None]:
        segmenter, masks = self.segmenter.build(), Masks(self.dataset, self.protocol)
        made: Encodings
        if isinstance(self.source, Config):
            made = FromSegmenter(segmenter, self.dataset, self.source)
        else:
            require_path(self.source)
            made = FromStore(self.source, self.dataset, segmenter)

        def count(images: range) -> parts.Arrays:
            words, _ = prepare(self.block, segmenter, masks)
            for index in images:
                score(words, made.encoded(index), masks, index)
            counted = [tally.arrays() for _, tally in tallies(words)]
            return {name: np.stack([one[name] for one in counted]) for name in counted[0]}

        return parts.committing(self.folder, self.dataset, count)


def _unfit(trial: Trial, made: Encodings) -> str:
    """Why a store cannot answer for a trial; empty if it can."""
    if not isinstance(made, FromStore) or trial.config is None:
        return ""
    problem = made.unfit(trial.config)
    if problem:
        return problem
    if trial.saliency not in (None, ORACLE, made.saliency_source):
        has_not = f"the store holds the saliency {made.saliency_source!r}, not {trial.saliency!r}"
        return f"{has_not}; give a segmenter, and stores= to keep it."
    return ""


def _scores(tally: ResampledTally, images: int, seconds: float, made: Encodings, masks: Masks) -> dict[str, Any]:
    """Return the part of a row that the images decide, as plain JSON."""
    low, high = tally.interval()
    return {
        "miou": metrics.mean_iou(tally.counts, tally.absent),
        "miou_low": low,
        "miou_high": high,
        "pixel_accuracy": metrics.pixel_accuracy(tally.counts),
        "ignored": tally.ignored_share,
        "images": images,
        "protocol": masks.protocol.id,
        "seconds": seconds,
        "error": "",
        "saliency_source": made.saliency_source,
        "iou": dict(zip(masks.dataset.label_names, metrics.iou(tally.counts, tally.absent).tolist(), strict=True)),
    }


def _row(trial: Trial, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the table has it."""
    if trial.config is None:
        knobs = dict.fromkeys(Config.knobs()) | {k: v for k, v in trial.given if k in Config.knobs()}
    else:
        knobs = {name: getattr(trial.config, name) for name in Config.knobs()}
    scores = {name: value for name, value in row.items() if name != "iou"}
    source = trial.saliency or scores.pop("saliency_source", None)
    scores.pop("saliency_source", None)
    of_labels = {f"iou[{label}]": value for label, value in row.get("iou", {}).items()}
    return {**knobs, SALIENCY: source, LABEL_NAMES: trial.label_names, **scores, **of_labels}


def _subject(
    dataset: Dataset, segmenter: Segmenter | None, images: int, store: FromStore | None, protocol: Protocol
) -> dict[str, Any]:
    """Return what all rows of a sweep have in common, and a file of rows must agree with."""
    encoder = None if segmenter is None else segmenter.encoder
    own = "" if segmenter is None else segmenter.saliency.fingerprint
    return {
        "dataset": dataset.name,
        "label_names": list(dataset.label_names),
        "images": images,
        "protocol": protocol.model_dump(),
        "encoder": getattr(encoder, "name", ""),
        "encoder_fingerprint": getattr(encoder, "fingerprint", ""),
        "saliency_fingerprint": own if store is None else store.saliency_fingerprint,
        "embeddings": "float32" if store is None else "float16, from a store",
        "interval": INTERVAL,
        "version": __version__,
    }
