"""Jobs of which only the last counts: at most one runs, at most one waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from clipdiy_lab.pipeline.watch import StoppedError

Start = Callable[[Callable[[], None]], None]
Later = Callable[[float, Callable[[], None]], Callable[[], None]]
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Ticket:
    """What a running job can ask.

    Attributes
    ----------
    generation : int
        Number of the job, from 1.
    overtaken : bool
        Whether a newer job waits or somebody cancelled: what takes long should raise `StoppedError` now.
    """

    generation: int
    overtaken: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """A piece of work and who hears of it.

    Attributes
    ----------
    work : callable
        Takes its `Ticket`, yields results; the first is always delivered, later ones only while nothing newer waits.
    done, failed : callable
        Hear of a result or an exception. What `done` raises goes to `failed`; so do SystemExit and KeyboardInterrupt.
    stopped : callable
        Hears that the work ended early.

    What `failed` and `stopped` raise is logged; the next job runs.
    """

    work: Callable[[Ticket], Iterator[Any]]
    done: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    stopped: Callable[[], None]


def in_thread(run: Callable[[], None]) -> None:
    """Run in a thread of its own, which does not keep Python alive."""
    threading.Thread(target=run, name="clipdiy-lab-explorer", daemon=True).start()


def in_timer(seconds: float, run: Callable[[], None]) -> Callable[[], None]:
    """Run after a pause; what is returned calls it off."""
    timer = threading.Timer(seconds, run)
    timer.daemon = True
    timer.start()
    return timer.cancel


@dataclass(eq=False)
class LatestWins:
    """Runs the last job that was submitted.

    There is one worker at most, so results arrive in the order of the submissions and never an older one after a newer.
    A job that waits is replaced by the next; the one that runs is told that it is overtaken.

    Parameters
    ----------
    start : callable
        Runs a function in the background. Default: in a thread.
    later : callable
        Takes seconds and a function, runs it then; returns a function that calls it off. Default: a timer.
    """

    start: Start = in_thread
    later: Later = in_timer
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _idle: threading.Event = field(default_factory=threading.Event)
    _generation: int = 0
    _running: Ticket | None = None
    _waiting: tuple[Ticket, Job] | None = None
    _paused: tuple[Ticket, Job] | None = None
    _call_off: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        """Nothing to do at first."""
        self._idle.set()

    def submit(self, job: Job, after: float = 0.0) -> int:
        """Take a job instead of every one that has not started; with a pause, once nothing else came for so long.

        Returns
        -------
        int
            Its generation.
        """
        with self._guard:
            self._generation += 1
            entry = (Ticket(self._generation), job)
            self._drop()
            if after > 0:
                self._paused = entry
                self._call_off = self.later(after, lambda: self._due(entry))
            else:
                self._waiting = entry
        self._go()
        return entry[0].generation

    def now(self) -> bool:
        """Start the job that waits for a pause; whether there was one."""
        with self._guard:
            paused = self._paused
            self._due(paused)
        return paused is not None

    def cancel(self) -> None:
        """Forget what waits, and tell what runs to stop."""
        with self._guard:
            self._drop()
            self._set_idle()

    @property
    def busy(self) -> bool:
        """Whether a job runs, waits or is paused."""
        return not self._idle.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; whether that came about in time."""
        return self._idle.wait(timeout)

    def _drop(self) -> None:
        self._waiting = self._paused = None
        if self._call_off is not None:
            self._call_off()
            self._call_off = None
        if self._running is not None:
            self._running.overtaken = True

    def _due(self, entry: tuple[Ticket, Job] | None) -> None:
        with self._guard:
            # A timer that was called off too late finds another job, or none, in its place.
            if entry is None or self._paused is not entry:
                return
            self._paused, self._waiting = None, entry
        self._go()

    def _go(self) -> None:
        with self._guard:
            self._set_idle()
            entry = self._next() if self._running is None else None
        if entry is None:
            return
        try:
            self.start(lambda: self._work(entry))
        except RuntimeError as error:  # no further thread is to be had
            with self._guard:
                self._running = None
                self._set_idle()
            _tell(entry[1].failed, error)

    def _next(self) -> tuple[Ticket, Job] | None:
        entry, self._waiting = self._waiting, None
        self._running = None if entry is None else entry[0]
        return entry

    def _set_idle(self) -> None:
        if self._running is None and self._waiting is None and self._paused is None:
            self._idle.set()
        else:
            self._idle.clear()

    def _work(self, entry: tuple[Ticket, Job] | None) -> None:
        while entry is not None:
            _run(*entry)
            with self._guard:
                entry = self._next()
                self._set_idle()


def _run(ticket: Ticket, job: Job) -> None:
    """Do a job and tell what became of it; raises nothing, so that the next job runs."""
    try:
        for result in job.work(ticket):
            job.done(result)
            if ticket.overtaken:
                break
    except StoppedError:
        _tell(job.stopped)
    except BaseException as error:  # SystemExit of an encoder, say: it would end the thread without a word
        _tell(job.failed, error)


def _tell(hear: Callable[..., None], *what: BaseException) -> None:
    try:
        hear(*what)
    except BaseException:
        _log.exception("whoever was told how a job ended failed")
