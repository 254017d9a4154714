"""The ablation board: a grid, its rows as they arrive, published values beside them, the images behind a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from clipdiy_lab.analysis import protocols
from clipdiy_lab.analysis.results import published
from clipdiy_lab.analysis.trials import SALIENCY
from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.sample import Dataset, as_dataset
from clipdiy_lab.errors import ClipdiyError, ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.schema import CAUTION
from clipdiy_lab.pipeline.caution import of_dataset
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store, StoreSource, config_for
from clipdiy_lab.pipeline.watch import Watch
from clipdiy_lab.text import printable
from clipdiy_lab.views.board.grid import BoardPlan, Portion
from clipdiy_lab.views.board.pace import counted, spoken
from clipdiy_lab.views.board.passes import Passes
from clipdiy_lab.views.board.results import BoardResults
from clipdiy_lab.views.board.row_images import LOOK, RowImages, ScoredImage
from clipdiy_lab.views.board.screen import BoardScreen
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.live.scheduler import Job, LatestWins, Ticket
from clipdiy_lab.views.live.screen import Live

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
    protocol : Protocol
        By which every row is scored.
    caution : str
        What the model does not know of such images; empty where nothing is known against it.
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
        self.dataset = as_dataset(dataset)
        self.passes = Passes.over(source, self.dataset, segmenter)
        self.source = self.passes.source
        own = self.passes.base if isinstance(self.passes.opened, StoreSource) else None
        self.base = self.passes.base = config_for(self.dataset, base, own)
        self.protocol = protocols.protocol_for(self.dataset, None)
        self.caution = of_dataset(self.passes.opened.segmenter.encoder, self.dataset).get(CAUTION, "")
        self._limit = limit
        self.methods: tuple[str, ...] = ("CLIP-DIY",)
        self.grid: dict[str, Sequence[Any]] = {}
        self._ran: dict[str, Sequence[Any]] = {}
        self._plan: BoardPlan | None = None
        self._rows: dict[int, dict[str, Any]] = {}
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
        self._chosen()

    @property
    def limit(self) -> int | None:
        """Only the first so many images; None: all."""
        return self._limit

    @limit.setter
    def limit(self, images: int | None) -> None:
        if images is not None and not 1 <= images <= self.images_known:
            raise ConfigError(f"images is {images}; expected 1 to {self.images_known}, the number of images available.")
        self._limit = images
        self._chosen()

    def _chosen(self) -> None:
        self._clear()
        self.each(lambda screen: screen.choice())

    def _clear(self) -> None:
        """Take back what was said of an error before."""
        self.error = ""
        self.tell("", "error")

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
        return len(self.passes.opened)

    @property
    def images(self) -> int:
        """Number of images that every row is scored on."""
        return self.images_known if self.limit is None else min(self.limit, self.images_known)

    @property
    def left(self) -> list[Portion]:
        """What of the grid is not finished yet, in the portions in which it is run."""
        return self.passes.left(self.plan, self.images)

    def expected(self) -> float | None:
        """Return the seconds that the rest of the grid will take, from what was measured; None where nothing was."""
        return self.passes.expected(self.left, self.images)

    def estimate(self) -> float:
        """Return the seconds that the rest of the grid will take.

        What is like nothing that was run is tried on a few images first. Encoding is counted in, once for each set of
        encode knobs; rows that are finished take no time.

        Raises
        ------
        ClipdiyError
            If the trial fails.
        """
        return self.passes.estimate(self.left, self.images)

    def ask_estimate(self) -> None:
        """As `estimate`, in the background; every screen then shows it with the grid."""

        def work(ticket: Ticket) -> Iterator[None]:
            self.passes.estimate(self.left, self.images, Watch(unwanted=lambda: ticket.overtaken))
            yield None

        def done(_: None) -> None:
            self._ended("")

        if self.scheduler.busy:  # a grid that runs knows better
            return
        self._clear()
        self.tell("Trying a few images …", "busy")
        self.each(lambda screen: screen.progress(0, 1, None))
        self.scheduler.submit(Job(work, done, self._failed, self._ended))

    # Running

    def start(self) -> None:
        """Run the grid in the background; rows of another grid go, those of this one that are finished stay."""
        try:
            plan, images = self.plan, self.images
        except ClipdiyError as error:
            self.complain(error)
            return
        self._plan, self._ran, self._rows = plan, dict(self.grid), {}
        self.passes.forget_failed()
        self._clear()
        self.looker.cancel()
        self.each(lambda screen: screen.images([]))  # they were of another grid's row

        def stopped() -> None:
            kept = f"{len(self._rows)} of {counted(len(plan.trials), 'row')} are finished and kept"
            self._ended(f"Stopped; {kept}. Press Run to continue.")

        work = partial(self._work, plan, images)
        self.scheduler.submit(Job(work, self._arrived, self._failed, stopped))

    def cancel(self) -> None:
        """Stop after the image that is being scored; the rows that are finished stay."""
        self.scheduler.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs; whether that came about in time."""
        return self.scheduler.wait(timeout)

    def _work(self, plan: BoardPlan, images: int, ticket: Ticket) -> Iterator[dict[int, dict[str, Any]]]:
        portions, start = self.passes.left(plan, images), time.perf_counter()
        self.tell("Running …", "busy")
        yield self.passes.rows(plan, images)
        total, before = images * len(portions), 0
        self.each(lambda screen: screen.progress(0, total, None))
        for number, portion in enumerate(portions):
            watch = self._watch(portions[number + 1 :], images, before, total, ticket)
            self.passes.run(portion, images, watch)
            before += images
            yield self.passes.rows(plan, images)
        told = f"in {spoken(time.perf_counter() - start)}" if portions else "all already finished"
        self._ended(f"Done: {counted(len(plan.trials), 'row')}, {told}.")

    def _watch(self, later: Sequence[Portion], images: int, before: int, total: int, ticket: Ticket) -> Watch:
        """Return what hears of the images of one pass, and stops it."""
        start, first = time.perf_counter(), 0.0

        def scored(done: int, _: int) -> None:
            nonlocal first
            if not first:
                self.tell("Scoring …", "busy")
                first = time.perf_counter()
            rest, after = None, self.passes.expected(later, images)
            if done > 1 and after is not None:
                rest = (time.perf_counter() - first) / (done - 1) * (images - done) + after
            self.each(lambda screen: screen.progress(before + done, total, rest))

        def unwanted() -> bool:
            waited = time.perf_counter() - start
            if not first and waited > 1:
                self.tell(f"Encoding images, {waited:.0f} s …", "busy")
            return ticket.overtaken

        return Watch(scored, unwanted)

    def _arrived(self, rows: dict[int, dict[str, Any]]) -> None:
        self._rows = rows
        if failure := self.each(lambda screen: screen.rows()):
            raise failure

    def _failed(self, error: BaseException) -> None:
        self._ended("")
        self.complain(error)

    def _ended(self, text: str = "Stopped.") -> None:
        self.each(lambda screen: screen.progress(0, 0, None))
        self.each(lambda screen: screen.choice())
        self.tell(text, "busy")

    # What came of it

    @property
    def results(self) -> BoardResults:
        """What the board has found so far: table, figure, files."""
        facts = self.passes.facts
        return BoardResults(self.dataset.name, self._plan, self._ran, dict(self._rows), facts, self.published)

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
        config, given = self.config_of(row), dict(self._plan.trials[row].given if self._plan else ())
        source = self.passes.source_of(config, given.get(SALIENCY))
        behind = RowImages(row, config, source, self.passes.opened, self.dataset)
        return behind.scored_images(min(count, self.images), self._make_explorer)

    def show(self, row: int) -> None:
        """Draw the images of a row on every screen, in the background."""

        def work(_: Ticket) -> Iterator[list[ScoredImage]]:
            yield self.scored_images(row)

        def done(found: list[ScoredImage]) -> None:
            self.tell("", "wait")
            if failure := self.each(lambda screen: screen.images(found)):
                raise failure

        self._clear()
        self.tell(f"Scoring {min(LOOK, self.images)} images of this row one by one …", "wait")
        self.looker.submit(Job(work, done, self.complain, lambda: None))

    def complain(self, error: BaseException) -> None:
        """Say on every screen what went wrong, and nothing more of what was waited for."""
        self.tell("", "wait")
        super().complain(error)

    # How it shows itself

    def close(self) -> None:
        """Stop work, take the widgets away, forget embeddings that were made for the board."""
        self.cancel()
        self.wait(60)
        self.close_screens()
        self.passes.close()

    def __repr__(self) -> str:
        return printable(f"Board of {self.dataset.name}, {len(self._rows)} rows")

    def static_html(self) -> str:
        """Return the table as HTML."""
        return self.results.html_table()
