"""Many configurations on one dataset: every image is encoded once, every search for the best label is shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pandas as pd

from clipdiy_lab._version import __version__
from clipdiy_lab.analysis.evaluate import count_images, kept
from clipdiy_lab.analysis.protocols import Protocol, protocol_for
from clipdiy_lab.analysis.scoring.block import Block
from clipdiy_lab.analysis.scoring.counts import INTERVAL, TrialCounts, row_means
from clipdiy_lab.analysis.scoring.resume import PartialCounts, Rows
from clipdiy_lab.analysis.scoring.shared import in_order, text_key, text_of
from clipdiy_lab.analysis.scoring.workers import score
from clipdiy_lab.analysis.trials import LABEL_NAMES, ORACLE, REPLICATE_SCORES, SALIENCY, Grid, Trial, trials
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ClipdiyError, ClusterError, ConfigError, StoreError
from clipdiy_lab.method import metrics
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.caution import of_dataset, warn
from clipdiy_lab.pipeline.embeddings import layout
from clipdiy_lab.pipeline.embeddings.identity import digest
from clipdiy_lab.pipeline.embeddings.write import embed
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import (
    SegmenterSource,
    Source,
    Store,
    StoreSource,
    as_source,
    config_for,
)
from clipdiy_lab.pipeline.watch import UNWATCHED, ImageProgress, StoppedError, Watch, interruptible

if TYPE_CHECKING:
    from distributed import Client

MAX_ROWS = 1000
BLOCK_BYTES = 2**27
"""Memory of the counts of the configurations that are scored in one pass over the images."""


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
    watch: Watch = UNWATCHED,
    client: Client | None = None,
) -> pd.DataFrame:
    """Evaluate every configuration of a grid.

    Parameters
    ----------
    source : Segmenter, or store of embeddings (`EmbeddingStore`, its folder, or what `open_store` returned)
        A store holds a single encoding; with a segmenter, every encoding that the grid needs is computed.
    dataset : Dataset
    grid : mapping of knob to values, or sequence of Config
        A mapping gives every combination of the values, starting from `base`; the last knob varies fastest. Besides the
        knobs of `Config` it may contain ``saliency`` (names of saliency sources, or ``"oracle"``: the ground-truth
        foreground) and ``label_names`` (other words for the dataset's labels). An invalid combination gets a row with
        the reason.
    base : Config, optional
        Configuration that a mapping modifies. Default: that of the store, or `Config()`, with the knobs set by the
        benchmark's manifest.
    limit : int, optional
        Use only the first images.
    protocol : str, path or Protocol, optional
        As for `evaluate`, but without sliding windows.
    segmenter : Segmenter, optional
        Whose text encoder is used with a store; its saliency is either the store's or ``"none"``. Default: the
        encoder that the store names is loaded.
    stores : path, optional
        Folder for embedding stores, one per encoding; missing ones are created, existing ones are reused.
    out : path, optional
        File to which every finished row is appended (JSON lines). Rows in an existing file are not computed again.
        Counts of unfinished rows are kept next to it in a hidden folder, so that an interrupted sweep can resume.
    max_rows : int
        Maximum number of rows; a larger grid is refused.
    progress : bool
        Show a progress bar on stderr, counting images in every pass.
    on_row : callable, optional
        Called with every finished row.
    watch : Watch, optional
        Notified of every image of every pass (with a client: of every task). If it stops the work, the sweep returns
        the finished rows.
    client : distributed.Client, optional
        Its workers do the work, see `lab.connect`; a task is a shard of the store. Needs `out`: the workers write their
        counts next to it, so all machines must see that folder, the store and the dataset under the same paths.

    Returns
    -------
    pandas.DataFrame
        One row per configuration, in the grid's order: every knob; ``saliency``; ``key``, a hash of both;
        ``miou_percent`` with its interval ``miou_low_percent``, ``miou_high_percent`` (95 % bootstrap over images,
        see `TrialCounts`), ``pixel_accuracy_percent``, ``ignored_percent`` of the pixels, ``images``, ``protocol``,
        ``seconds`` (of its pass, divided by the rows of the pass), ``error``; ``iou_percent[LABEL]`` of every label.
        A row that failed has an error and no score. ``attrs`` holds what all rows have in common: dataset, protocol,
        encoder, hashes, how the intervals were computed, version; and ``replicates``, the mIoU in each bootstrap
        replicate by ``key``, from which `compare` and `results.standing` compute how certain a difference is.

    Raises
    ------
    ConfigError
        For an empty grid, an unknown knob, a value that is never valid, or too many rows.
    StoreError
        If `source` is neither a segmenter nor a store, the store was made from other images or with another encoder or
        saliency than those given, or `stores` is a store.
    DatasetError, ModelError
        If `dataset` or `segmenter` is not such an object, but for example a name.
    ClusterError
        If the workers have other versions, see other files, or fail repeatedly.

    Notes
    -----
    A `KeyboardInterrupt` carries a note (``__notes__``) that says what is kept.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    if client is not None and out is None:
        raise ConfigError(
            "a sweep with a client needs out= (command line: --out), because the workers write their counts next to it."
        )
    if chosen.slides:
        raise ConfigError(
            f"the protocol {chosen.id!r} uses sliding-window inference, which sweeps do not support; evaluate row by "
            "row."
        )
    if stores is not None and (Path(stores) / layout.HEADER).exists():
        raise StoreError(
            f"stores is {str(stores)!r}, which is a store itself. To read it, give it as the source (command line: "
            "--store); to keep new stores, name another folder."
        )
    given = as_source(source)
    store = None if isinstance(given, Segmenter) else StoreSource(given, dataset, segmenter)
    maker = given if isinstance(given, Segmenter) else cast(StoreSource, store).segmenter
    start = config_for(dataset, base, None if store is None else store.config)
    listed = trials(grid, start, max_rows)
    images = count_images(dataset, limit) if store is None else min(count_images(dataset, limit), len(store))
    if stores is None:  # where it fills stores, `embed` warns
        warn(of_dataset(maker.encoder, dataset))
    subject = _subject(dataset, maker, images, store, chosen)
    work = _Sweep(maker, store, dataset, chosen, images, subject, None if out is None else Rows(out, subject), on_row)
    asked = [trial for trial in {t.key: t for t in listed}.values() if trial.key not in work.rows]
    groups = work.groups(asked)
    passes = sum(len(blocks) for blocks in groups)
    with (
        interruptible(lambda: work.kept(len({trial.key for trial in listed}))),
        ImageProgress(passes * images, show=progress, watch=watch) as counting,
    ):
        try:
            for blocks in groups:
                work.run(blocks, stores, counting, progress, client)
        except StoppedError:
            pass
        else:
            if work.file is not None:
                PartialCounts.remove_all(work.file.path)
    rows = [table_row(trial, work.rows[trial.key]) for trial in listed if trial.key in work.rows]
    replicates = _Replicates({row["key"]: row.pop(REPLICATE_SCORES) for row in rows if REPLICATE_SCORES in row})
    table = pd.DataFrame(rows)
    table.attrs = cast("dict[Hashable | None, Any]", {**subject, REPLICATE_SCORES: replicates})
    return table


class _Replicates(dict[str, list[float]]):
    """mIoU of every replicate by the key of a row; shared, not copied, by the tables that pandas makes of a table."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


@dataclass
class _Sweep:
    """What all rows have in common, and the rows so far."""

    maker: Segmenter
    store: StoreSource | None
    dataset: Dataset
    protocol: Protocol
    images: int
    subject: dict[str, Any]
    file: Rows | None
    on_row: Callable[[dict[str, Any]], None] | None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    text_errors: dict[Hashable, str] = field(default_factory=dict)
    parts: PartialCounts | None = None

    def __post_init__(self) -> None:
        if self.file is not None:
            self.rows = dict(self.file.rows)

    def groups(self, asked: Sequence[Trial]) -> list[list[tuple[Trial, ...]]]:
        """Finish the trials that make no sense; sort the others by the encoding that they need, and into blocks."""
        problems = [(trial, self._problem(trial)) for trial in asked]
        self.finish([(trial, {"error": problem}) for trial, problem in problems if problem])
        groups: dict[Hashable, list[Trial]] = {}
        for trial in (trial for trial, problem in problems if not problem):
            source = None if trial.saliency == ORACLE else trial.saliency
            groups.setdefault((source, *(trial.config or Config()).key_at("encode")), []).append(trial)
        size = max(1, BLOCK_BYTES // TrialCounts.bytes_per_trial(len(self.dataset.label_names)))
        return [list(_cut(in_order(group), size)) for group in groups.values()]

    def run(
        self,
        blocks: Sequence[tuple[Trial, ...]],
        stores: str | PathLike[str] | None,
        counting: ImageProgress,
        progress: bool,
        client: Client | None,
    ) -> None:
        """Score the trials of one encoding, block by block."""
        trials = [trial for block in blocks for trial in block]
        try:
            source = self.store or self._encode(trials, stores, counting.watch, progress, client)
        except ClusterError:
            raise  # the next group would meet the same
        except ClipdiyError as error:
            self.finish([(trial, {"error": str(error)}) for trial in trials])
            counting.seen(len(blocks) * self.images)
            return
        for some in blocks:
            block = Block(source, some, self.protocol, self.images)
            if self.file is not None:
                made_of = [self.subject, source.identity, source.saliency, [trial.key for trial in some]]
                self.parts = PartialCounts.beside(self.file.path.absolute(), digest(made_of))
            start = time.perf_counter()
            counts = score(block, counting, self.parts, client)
            seconds = (time.perf_counter() - start) / len(some)
            self.finish([(trial, _scores(block, counts, place, seconds)) for place, trial in enumerate(some)])
            if self.parts is not None:
                self.parts.remove()

    def finish(self, rows: Sequence[tuple[Trial, dict[str, Any]]]) -> None:
        """Take rows over, and keep them."""
        keyed = {trial.key: row for trial, row in rows}
        if self.file is not None and keyed:
            self.file.add(keyed)
        self.rows |= keyed
        if self.on_row is not None:
            for trial, row in rows:
                self.on_row(table_row(trial, row))

    def kept(self, rows: int) -> str:
        """Say what is kept."""
        if self.file is None:
            return kept(None, self.images)
        lines = [f"{len(self.file.rows)} of {rows} rows are kept in {str(self.file.path)!r}"]
        if self.parts is not None and self.parts.images():
            lines.append(f"counts of {self.parts.images()} of {self.images} images for the next rows beside it")
        return f"{', '.join(lines)}; run the same command again to continue."

    def _encode(
        self,
        group: Sequence[Trial],
        stores: str | PathLike[str] | None,
        watch: Watch,
        progress: bool,
        client: Client | None,
    ) -> Source:
        configs = [trial.config or Config() for trial in group]
        named = next((t.saliency for t in group if t.saliency not in (None, ORACLE)), None)
        if stores is None and all(trial.saliency == ORACLE for trial in group):
            named = "none"  # the segmenter's own would be thrown away
        maker = self.maker
        if named is not None:
            maker = Segmenter(maker.encoder, named, batch_size=maker.batch_size)
        union = tuple(sorted({scale for config in configs for scale in config.scales}, reverse=True))
        shared = configs[0].plain_at("fuse").replace(scales=union)
        if stores is None:
            return SegmenterSource(maker, self.dataset, shared)
        Path(stores).mkdir(parents=True, exist_ok=True)
        made_of = [shared.to_json(), maker.encoder.fingerprint, maker.saliency.fingerprint, self.images]
        encoder = maker.encoder.name.replace("/", "-")
        folder = Path(stores) / f"{self.dataset.name}-{encoder}-{maker.saliency.name}-{digest(made_of)[:12]}"
        store = embed(
            maker,
            self.dataset,
            folder,
            shared,
            limit=self.images,
            progress=progress,
            watch=watch.silent,
            client=client,
        )
        return StoreSource(store, self.dataset, maker)

    def _problem(self, trial: Trial) -> str:
        """Why a trial cannot be scored; empty if it can."""
        return trial.error or self._unfit(trial) or self._text_error(trial)

    def _unfit(self, trial: Trial) -> str:
        if self.store is None or trial.config is None:
            return ""
        problem, held = self.store.unfit(trial.config), self.store.saliency[0]
        if problem or trial.saliency in (None, ORACLE, held):
            return problem
        has_not = f"the store holds the saliency {held!r}, not {trial.saliency!r}"
        return f"{has_not}; give a segmenter, and stores= to keep it."

    def _text_error(self, trial: Trial) -> str:
        key = (text_key(trial), (trial.config or Config()).keep_labels)
        if key not in self.text_errors:
            try:
                text_of(trial, self.maker, self.dataset)
                self.text_errors[key] = ""
            except ClipdiyError as error:
                self.text_errors[key] = str(error)
        return self.text_errors[key]


def _cut(trials: Sequence[Trial], size: int) -> Iterator[tuple[Trial, ...]]:
    for first in range(0, len(trials), size):
        yield tuple(trials[first : first + size])


_SHARES = ("miou", "miou_low", "miou_high", "pixel_accuracy", "ignored")
"""What a finished row keeps as shares, and the table shows in percent."""


def _scores(block: Block, counts: TrialCounts, place: int, seconds: float) -> dict[str, Any]:
    """Return the part of a row that the images decide, as plain JSON."""
    confusion, absent = counts.confusion[place], block.protocol.absent
    low, high = counts.interval(place, absent)
    names = block.source.dataset.label_names
    return {
        "miou": metrics.mean_iou(confusion, absent),
        "miou_low": low,
        "miou_high": high,
        "pixel_accuracy": metrics.pixel_accuracy(confusion),
        "ignored": counts.ignored_share,
        "images": block.images,
        "protocol": block.protocol.id,
        "seconds": seconds,
        "error": "",
        "saliency_source": block.source.saliency[0],
        REPLICATE_SCORES: row_means(counts.replicates(place).iou(absent)).tolist(),
        "iou": dict(zip(names, metrics.iou(confusion, absent).tolist(), strict=True)),
    }


def table_row(trial: Trial, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the table has it.

    Parameters
    ----------
    trial : Trial
    row : dict
        What the images decided, scores as shares; of a trial that failed its ``error``.
    """
    if trial.config is None:
        knobs = dict.fromkeys(Config.knobs()) | {k: v for k, v in trial.given if k in Config.knobs()}
    else:
        knobs = {name: getattr(trial.config, name) for name in Config.knobs()}
    scores = {f"{k}_percent" if k in _SHARES else k: 100 * v if k in _SHARES else v for k, v in row.items()}
    source = trial.saliency or scores.pop("saliency_source", None)
    scores.pop("saliency_source", None)
    of_labels = {f"iou_percent[{label}]": 100 * value for label, value in scores.pop("iou", {}).items()}
    told = {SALIENCY: source, LABEL_NAMES: trial.label_names, "key": trial.key[:16]}
    return {**knobs, **told, **scores, **of_labels}


def _subject(
    dataset: Dataset, segmenter: Segmenter, images: int, store: StoreSource | None, protocol: Protocol
) -> dict[str, Any]:
    """Return what all rows of a sweep have in common, and a file of rows must agree with."""
    source = SegmenterSource(segmenter, dataset, Config()) if store is None else store
    return {
        "dataset": dataset.name,
        "label_names": list(dataset.label_names),
        "images": images,
        "protocol": protocol.model_dump(),
        "encoder": segmenter.encoder.name,
        "encoder_fingerprint": segmenter.encoder.fingerprint,
        "saliency_fingerprint": source.saliency[1],
        "embeddings": source.embeddings,
        "interval": INTERVAL,
        "version": __version__,
    }
