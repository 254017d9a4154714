"""What a board computes: passes over the images for some rows at a time, what is finished, how long it takes."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from clipdiy_lab.analysis.sweep import sweep
from clipdiy_lab.analysis.trials import ORACLE, REPLICATE_SCORES
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.saliency import build
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import SegmenterSource, Source, Store, StoreSource, as_source
from clipdiy_lab.pipeline.watch import UNWATCHED, StoppedError, Watch
from clipdiy_lab.views.board.grid import BoardPlan, Portion
from clipdiy_lab.views.board.pace import Pace

_TRIED: Final = 4
"""Images that a pass is tried on."""


@dataclass(eq=False)
class Passes:
    """Scores portions of a grid, none of whose rows twice.

    Attributes
    ----------
    source : Segmenter, EmbeddingStore or OpenedStore
    dataset : Dataset
    opened : Source
        Knows which image of the dataset stands where.
    base : Config
        What the knobs start from.
    finished : dict
        Rows by their keys and the number of images.
    facts : dict
        What all rows have in common: ``attrs`` of the last sweep's table, without its replicates.
    """

    source: Any
    dataset: Dataset
    opened: Source
    base: Config
    finished: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    _kept: Any = None
    _encoded: set[Hashable] = field(default_factory=set)

    @classmethod
    def over(cls, source: Segmenter | Store, dataset: Dataset, segmenter: Segmenter | None) -> Passes:
        """Open a source; embeddings that a segmenter makes are kept until `close`.

        Raises
        ------
        StoreError
            As of `Board`.
        """
        given = as_source(source)
        if not isinstance(given, Segmenter):
            stored = StoreSource(given, dataset, segmenter)
            return cls(given, dataset, stored, stored.config)
        kept = tempfile.TemporaryDirectory(prefix="clipdiy-board-")
        return cls(given, dataset, SegmenterSource(given, dataset, Config()), Config(), _kept=kept)

    def left(self, plan: BoardPlan, images: int) -> list[Portion]:
        """Return the portions of a plan whose rows are not finished."""
        return plan.portions({key for key, number in self.finished if number == images})

    def run(self, portion: Portion, images: int, watch: Watch = UNWATCHED) -> None:
        """Score the rows of a portion.

        Raises
        ------
        StoppedError
            If the watch says so; nothing is kept then.
        ClipdiyError
            If the sweep fails as a whole.
        """
        table = self._measured(portion, images, watch)
        if len(table) < len(portion.trials):
            raise StoppedError
        replicates = table.attrs[REPLICATE_SCORES]
        self.facts = {str(name): value for name, value in table.attrs.items() if name != REPLICATE_SCORES}
        for trial, row in zip(portion.trials, table.to_dict("records"), strict=True):
            more = {REPLICATE_SCORES: replicates[row["key"]]} if row["key"] in replicates else {}
            self.finished[trial.key, images] = {**{str(name): value for name, value in row.items()}, **more}

    def rows(self, plan: BoardPlan, images: int) -> dict[int, dict[str, Any]]:
        """Return the rows of a plan that are finished by their places, those that make no sense among them."""
        known = self.finished
        found = {n: known[t.key, images] for n, t in enumerate(plan.trials) if (t.key, images) in known}
        return {n: {"error": t.error} for n, t in enumerate(plan.trials) if t.config is None} | found

    def forget_failed(self) -> None:
        """Let rows that failed be tried again."""
        self.finished = {key: row for key, row in self.finished.items() if not row.get("error")}

    # How long it takes

    def expected(self, portions: Sequence[Portion], images: int) -> float | None:
        """Return the seconds that portions will take, from what was measured; None where that says nothing."""
        known, seconds = set(self._encoded), 0.0
        for portion in portions:
            parts = [self.pace.scoring(portion, images)]
            fresh = {} if self._kept is None else _encodings(portion, images)
            parts += [self.pace.encoding(config, images) for key, config in fresh.items() if key not in known]
            known |= set(fresh)
            for part in parts:
                if part is None:
                    return None
                seconds += part
        return seconds

    def estimate(self, portions: Sequence[Portion], images: int, watch: Watch = UNWATCHED) -> float:
        """As `expected`, but what nothing is known of is tried on some images first.

        Raises
        ------
        StoppedError
            If the watch says so.
        ClipdiyError
            If a trial fails.
        """
        for portion in portions:
            if self.expected([portion], images) is None:
                self._try(portion, min(_TRIED, images), watch)
        return self.expected(portions, images) or 0.0

    def _try(self, portion: Portion, images: int, watch: Watch) -> None:
        """Measure a portion on few images: what is fixed, what an image takes, what its encoding takes."""
        if not self.pace.passes:
            self._timed(portion, 1, watch)  # the first pass of all warms up
        self._measured(portion, images, watch)
        several = self._timed(portion, images, watch)
        if not self.pace.fixed and images > 1:
            one = self._timed(portion, 1, watch)
            self.pace.fixed = max(0.0, (images * one - several) / (images - 1))
        self.pace.scored(portion, images, several)

    def _timed(self, portion: Portion, images: int, watch: Watch) -> float:
        began = time.perf_counter()
        self._sweep(portion, images, watch)
        return time.perf_counter() - began

    def _measured(self, portion: Portion, images: int, watch: Watch) -> pd.DataFrame:
        """Score a portion, and remember what its encoding and its pass took."""
        first: list[float] = []

        def progress(done: int, total: int) -> None:
            if not first:
                first.append(time.perf_counter())
            watch.progress(done, total)

        began = time.perf_counter()
        table = self._sweep(portion, images, Watch(progress, watch.unwanted))
        whole = time.perf_counter() - began
        if len(table) < len(portion.trials) or not first or table["error"].astype(bool).any():
            return table
        fresh = {} if self._kept is None else _encodings(portion, images)
        fresh = {key: config for key, config in fresh.items() if key not in self._encoded}
        if len(fresh) == 1:  # of several it is not known which took how long
            self.pace.encoded(next(iter(fresh.values())), images, first[0] - began)
            whole -= first[0] - began
        self._encoded |= set(fresh)
        if len(fresh) < 2:
            self.pace.scored(portion, images, whole)
        return table

    def _sweep(self, portion: Portion, images: int, watch: Watch) -> pd.DataFrame:
        stores = None if self._kept is None else self._kept.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)
            table = sweep(self.source, self.dataset, portion.grid, base=self.base, limit=images, stores=stores,
                          watch=watch, segmenter=self.opened.segmenter)  # fmt: skip
        watch.check()
        return table

    # Where the images of a row come from

    def source_of(self, config: Config, saliency: str | None) -> Segmenter | StoreSource:
        """Return what has the images of a configuration: a store where one fits, else a segmenter.

        Raises
        ------
        ClipdiyError
            If the saliency source cannot be made here (``oracle``).
        """
        stored = self._stored(config, saliency)
        if stored is not None:
            return stored
        if saliency not in (None, self.opened.saliency[0]):
            return Segmenter(self.opened.segmenter.encoder, build(saliency))
        return self.opened.segmenter

    def _stored(self, config: Config, saliency: str | None) -> StoreSource | None:
        """Return the largest store that holds what a configuration asks for."""
        if isinstance(self.opened, StoreSource):
            found = [self.opened]
        else:
            found = [one for path in sorted(Path(self._kept.name).iterdir()) if (one := self._open(path)) is not None]
        wanted = self.opened.saliency[0] if saliency is None else saliency
        fitting = [one for one in found if one.saliency[0] == wanted and not one.unfit(config)]
        return max(fitting, key=len, default=None)

    def _open(self, path: Path) -> StoreSource | None:
        try:
            return StoreSource(path, self.dataset, Segmenter(self.opened.segmenter.encoder, "none"))
        except ClipdiyError:  # its embedding was stopped
            return None

    def close(self) -> None:
        """Forget embeddings that were made here."""
        if self._kept is not None:
            self._kept.cleanup()


def _encodings(portion: Portion, images: int) -> dict[Hashable, Config]:
    """Return the encodings that a portion asks for, each with all its scales."""
    found: dict[Hashable, list[Config]] = {}
    for trial in portion.trials:
        if trial.config is not None:
            source = None if trial.saliency == ORACLE else trial.saliency
            found.setdefault((source, *trial.config.key_at("encode")), []).append(trial.config)
    unions = {key: sorted({scale for one in several for scale in one.scales}) for key, several in found.items()}
    return {
        (key, tuple(unions[key]), images): several[0].replace(scales=tuple(reversed(unions[key])))
        for key, several in found.items()
    }
