"""The ablation board: a grid, its rows as they arrive, published values beside them, the images behind a row."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd

from clipdiy_lab.analysis.results import published
from clipdiy_lab.analysis.sweep import sweep
from clipdiy_lab.analysis.trials import SALIENCY
from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning, ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.saliency import build
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import (
    SegmenterSource,
    Source,
    Store,
    StoreSource,
    as_source,
    config_for,
)
from clipdiy_lab.pipeline.watch import UNWATCHED, StoppedError, Watch
from clipdiy_lab.text import printable
from clipdiy_lab.views.board.grid import BoardPlan
from clipdiy_lab.views.board.results import BoardResults
from clipdiy_lab.views.board.row_images import RowImages, ScoredImage
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.live.scheduler import Job, LatestWins, Ticket
from clipdiy_lab.views.live.screen import Live, Screen

if TYPE_CHECKING:
    import plotly.graph_objects as go

LOOK: Final = 8
"""Images that are scored one by one for a row, unless more are asked for."""
_TRIED: Final = 2


class BoardScreen(Screen, Protocol):
    """Interface of a front end that displays a board."""

    def rows(self) -> None:
        """Draw table and figure again."""
        ...

    def progress(self, done: int, total: int, left: float) -> None:
        """Say how many images are scored, of how many, and the seconds left."""
        ...

    def images(self, scored_images: Sequence[ScoredImage]) -> None:
        """Draw the images of a row."""
        ...


@dataclass(frozen=True)
class _Rows:
    """Rows that arrived, by their place in the grid."""

    found: dict[int, dict[str, Any]]


class Board(Live[BoardScreen]):
    """An ablation: choose knobs and values, run them, look at what they did.

    Parameters
    ----------
    source : Segmenter, or store of embeddings (`EmbeddingStore`, its folder, or what `open_store` returned)
    dataset : Dataset
    base : Config, optional
        What the knobs start from. Default: the store's own, or `Config()`.
    limit : int, optional
        Only the first images.
    segmenter : Segmenter, optional
        Whose text encoder is used with a store. Default: the encoder that the store names is loaded.
    scheduler, looker : LatestWins, optional
        What runs sweeps, and what scores the images of a row.
    make_widgets : callable, optional
        See `Live`; `ablation_board` gives the board's widgets.
    make_explorer : callable, optional
        Takes the arguments of `Explorer`; opens images of a row. Default: an explorer without widgets.

    Attributes
    ----------
    grid : mapping of knob to values
        Beside the knobs of `Config`, ``saliency``: names of sources.
    methods : tuple of str
        Whose published values stand beside ours; empty: everybody's.
    error : str
        Why the last thing asked for was not done; empty where it was.

    Raises
    ------
    StoreError
        If `source` is neither a segmenter nor a store, or the store is of other images.
    DatasetError
        If `dataset` is something else, such as a name.

    Examples
    --------
    >>> import clipdiy_lab as lab
    >>> board = Board(lab.load("tiny"), lab.open_dataset("scenes"), limit=2)
    >>> board.choose(saliency_weight=[0.0, 1.0])
    >>> len(board.plan.trials)
    2
    >>> board.close()
    """

    def __init__(
        self,
        source: Segmenter | Store,
        dataset: Dataset,
        *,
        base: Config | None = None,
        limit: int | None = None,
        segmenter: Segmenter | None = None,
        scheduler: LatestWins | None = None,
        looker: LatestWins | None = None,
        make_widgets: Callable[[Any], Any] | None = None,
        make_explorer: Callable[..., Explorer] = Explorer,
    ) -> None:
        super().__init__(make_widgets)
        self._make_explorer = make_explorer
        self.source = given = as_source(source)
        self.dataset = as_dataset(dataset)
        self._opened: Source
        self._kept: Any = None
        own = None
        if isinstance(given, Segmenter):
            self._opened = SegmenterSource(given, dataset, Config())
            self._kept = tempfile.TemporaryDirectory(prefix="clipdiy-board-")
        else:
            self._opened = StoreSource(given, dataset, segmenter)
            own = self._opened.config
        self.base = config_for(self.dataset, base, own)
        self.limit = limit
        self.methods: tuple[str, ...] = ("CLIP-DIY",)
        self.grid: dict[str, Sequence[Any]] = {}
        self._ran: dict[str, Sequence[Any]] = {}
        self._plan: BoardPlan | None = None
        self._rows: dict[int, dict[str, Any]] = {}
        self._pace: tuple[float, float] | None = None
        self.scheduler = scheduler or LatestWins()
        self.looker = looker or LatestWins()

    # What is chosen

    def choose(self, **grid: Sequence[Any] | None) -> None:
        """Set the values of knobs; None takes a knob out.

        Raises
        ------
        ConfigError
            For an unknown knob, a value that never makes sense, or more rows than a sweep takes; nothing changes then.
        """
        wanted = {**self.grid, **{name: several for name, several in grid.items() if several is not None}}
        for name, several in grid.items():
            if several is None:
                wanted.pop(name, None)
        if wanted:
            BoardPlan.of(wanted, self.base)
        self.grid = wanted

    @property
    def plan(self) -> BoardPlan:
        """What the grid comes to.

        Raises
        ------
        ConfigError
            If no knob is chosen.
        """
        return BoardPlan.of(self.grid, self.base)

    @property
    def images_known(self) -> int:
        """Number of images that there are."""
        return len(self._opened)

    @property
    def images(self) -> int:
        """Number of images that every row is scored on."""
        return self.images_known if self.limit is None else min(self.limit, self.images_known)

    def estimate(self) -> float:
        """Return the seconds that the grid will take, from a trial on two images.

        The images of a segmenter are encoded once for each set of encode knobs; that is counted in.

        Raises
        ------
        ClipdiyError
            If the trial fails.
        """
        plan = self.plan
        if not plan.portions:
            return 0.0
        encode, score = self._paces(plan)
        encodings = {
            (trial.saliency, *trial.config.key_at("encode"))
            for portion in plan.portions
            for trial in portion.trials
            if trial.config is not None
        }
        rows = sum(len(portion.trials) for portion in plan.portions)
        return self.images * (encode * len(encodings) + score * rows)

    def _paces(self, plan: BoardPlan) -> tuple[float, float]:
        """Seconds to encode an image (0 from a store), and to score a row on it."""
        if self._pace is None:
            count = min(_TRIED, self.images)
            first = plan.portions[0].trials[0].config
            start = time.perf_counter()
            self._sweep([first], count)
            once = time.perf_counter() - start
            start = time.perf_counter()
            self._sweep([first], count)
            again = time.perf_counter() - start
            self._pace = (max(0.0, once - again) / count, again / count)
        return self._pace

    def _sweep(self, grid: Any, limit: int, watch: Watch = UNWATCHED) -> pd.DataFrame:
        stores = None if self._kept is None else self._kept.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)
            return sweep(self.source, self.dataset, grid, base=self.base, limit=limit, stores=stores, watch=watch,
                         segmenter=self._opened.segmenter)  # fmt: skip

    # Running

    def start(self) -> None:
        """Run the grid in the background; rows of another grid go."""
        try:
            plan = self.plan
        except ClipdiyError as error:
            self.complain(error)
            return
        self._plan, self._ran, self._rows, self.error = plan, dict(self.grid), {}, ""
        self.tell("", "error")
        job = Job(lambda ticket: self._work(plan, ticket), self._arrived, self.complain, self._ended)
        self.scheduler.submit(job)

    def cancel(self) -> None:
        """Stop after the image that is being scored; the rows that are finished stay."""
        self.scheduler.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs; whether that came about in time."""
        return self.scheduler.wait(timeout)

    def _work(self, plan: BoardPlan, ticket: Ticket) -> Iterator[_Rows]:
        place = {id(trial): number for number, trial in enumerate(plan.trials)}
        senseless = {n: {"error": trial.error} for n, trial in enumerate(plan.trials) if trial.config is None}
        yield _Rows(senseless)
        total, before, start = self.images * len(plan.portions), 0, time.perf_counter()
        encoding = False

        def scored(done: int, _: int) -> None:
            nonlocal encoding
            encoding, seen = False, before + done
            left = (time.perf_counter() - start) / seen * (total - seen)
            self.each(lambda screen: screen.progress(seen, total, left))

        def unwanted() -> bool:
            if encoding:
                self.tell(f"Encoding images, {time.perf_counter() - start:.0f} s …", "busy")
            return ticket.overtaken

        for portion in plan.portions:
            encoding = isinstance(self.source, Segmenter)
            table = self._sweep(portion.grid, self.images, Watch(scored, unwanted))
            before += self.images
            if ticket.overtaken:
                raise StoppedError
            self.tell("", "busy")
            rows = table.to_dict("records")
            yield _Rows(
                {place[id(trial)]: {str(k): v for k, v in row.items()}
                 for trial, row in zip(portion.trials, rows, strict=True)}
            )  # fmt: skip
        self._ended("Done.")

    def _arrived(self, rows: _Rows) -> None:
        self._rows |= rows.found
        if failure := self.each(lambda screen: screen.rows()):
            raise failure

    def _ended(self, text: str = "Stopped; the rows that were finished are kept.") -> None:
        self.tell(text, "busy")

    # What came of it

    @property
    def results(self) -> BoardResults:
        """What the board has found so far: table, figure, files."""
        return BoardResults(self.dataset.name, self._plan, self._ran, dict(self._rows), self.published)

    @property
    def table(self) -> pd.DataFrame:
        """The rows so far: the grid's knobs and the scores (mIoU and accuracy as shares), in the grid's order."""
        return self.results.table

    @property
    def published(self) -> pd.DataFrame:
        """Published values on the dataset by `methods`, as `results.published`; empty where there are none."""
        manifest = manifest_of(self.dataset)
        return published(self.dataset.name if manifest is None else manifest.id, list(self.methods) or None)

    def figure(self) -> go.Figure:
        """Draw the scores so far, see `BoardResults.figure`."""
        return self.results.figure()

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the table or the figure, see `BoardResults.export`."""
        return self.results.export(path)

    # The images behind a row

    def config_of(self, row: int) -> Config:
        """Return the configuration of a row.

        Raises
        ------
        ConfigError
            If there is no such row, or its combination makes no sense.
        """
        if self._plan is None or not 0 <= row < len(self._plan.trials):
            raise ConfigError(f"there is no row {row!r}; run a grid first.")
        trial = self._plan.trials[row]
        if trial.config is None:
            raise ConfigError(trial.error)
        return trial.config

    def _source_of(self, row: int) -> Segmenter | StoreSource:
        """Return what the images of a row come from: a row that names another saliency source has another segmenter."""
        named = dict(self._plan.trials[row].given).get(SALIENCY) if self._plan else None
        if named not in (None, self._opened.saliency[0]):
            return Segmenter(self._opened.segmenter.encoder, build(named))
        return self._opened if isinstance(self._opened, StoreSource) else self._opened.segmenter

    def scored_images(self, row: int, count: int = LOOK) -> list[ScoredImage]:
        """Score images of a row one by one, the worst first.

        Parameters
        ----------
        row : int
        count : int
            The first so many images.

        Raises
        ------
        ClipdiyError
            If the row has no configuration, or its saliency source cannot be made here (``oracle``).
        """
        labels = [name for name in self.dataset.label_names if name.lower() != self.base.background_label.lower()]
        behind = RowImages(row, self.config_of(row), self._source_of(row), self._opened, self.dataset)
        return behind.scored_images(min(count, self.images), labels, self._make_explorer)

    def show(self, row: int) -> None:
        """Draw the images of a row on every screen, in the background."""

        def work(_: Ticket) -> Iterator[list[ScoredImage]]:
            yield self.scored_images(row)

        def done(found: list[ScoredImage]) -> None:
            if failure := self.each(lambda screen: screen.images(found)):
                raise failure

        self.tell(f"Scoring {min(LOOK, self.images)} images of this row one by one …", "wait")
        self.looker.submit(Job(work, done, self.complain, lambda: None))

    # How it shows itself

    def close(self) -> None:
        """Stop work, take the widgets away, forget embeddings that were made for the board."""
        self.cancel()
        self.wait(60)
        self.close_screens()
        if self._kept is not None:
            self._kept.cleanup()

    def __repr__(self) -> str:
        return printable(f"Board of {self.dataset.name}, {len(self._rows)} rows")

    def static_html(self) -> str:
        """Return the table as HTML."""
        return self.results.html_table()
