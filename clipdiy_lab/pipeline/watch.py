"""Long work that says how far it is, can be stopped, and tells whoever interrupts it what is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tqdm.auto import tqdm

from clipdiy_lab.text import printable


class StoppedError(Exception):
    """Raised when long work is asked to stop."""


def _say_nothing(done: int, total: int) -> None:
    pass


def _go_on() -> bool:
    return False


@dataclass(frozen=True)
class Watch:
    """Receives the progress of long work and can stop it.

    Attributes
    ----------
    progress : callable
        Takes how much is done, and of how much: crops while one image is encoded, images while a dataset is.
    unwanted : callable
        Says whether to stop; asked between two pieces of work.
    every : int or None
        Most crops of an image between two questions; None: as many as the segmenter encodes at once.
    """

    progress: Callable[[int, int], None] = _say_nothing
    unwanted: Callable[[], bool] = _go_on
    every: int | None = None

    def check(self) -> None:
        """Raise `StoppedError` if the work is to stop.

        Raises
        ------
        StoppedError
        """
        if self.unwanted():
            raise StoppedError

    @property
    def silent(self) -> Watch:
        """The same without progress: for a part of work that counts something else."""
        return replace(self, progress=_say_nothing)


UNWATCHED = Watch()
"""Nobody watches."""


class ImageProgress:
    """Images that are done, told to a progress bar on stderr and to a watch.

    Parameters
    ----------
    total : int
        Images in all.
    name : str
        What stands before the bar.
    show : bool
        Whether there is a bar.
    watch : Watch, optional
    """

    def __init__(
        self, total: int = 0, name: str | None = None, *, show: bool = False, watch: Watch = UNWATCHED
    ) -> None:
        self.watch, self.done = watch, 0
        self._bar = tqdm(total=total, desc=None if name is None else printable(name), unit="image", disable=not show)
        self._total = total

    def __enter__(self) -> ImageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def seen(self, images: int = 1) -> None:
        """Count images.

        Raises
        ------
        StoppedError
            If the watch stops the work here.
        """
        self.done += images
        self._bar.update(images)
        self.watch.progress(self.done, self._total)
        self.watch.check()


@contextlib.contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Add to a `KeyboardInterrupt` that leaves the block a note (``__notes__``) that says what is kept.

    Parameters
    ----------
    kept : callable
        Gives the sentence; asked only when the block is interrupted.

    Examples
    --------
    >>> try:
    ...     with interruptible(lambda: "3 of 8 images are kept."):
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt as error:
    ...     error.__notes__
    ['3 of 8 images are kept.']
    """
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(kept())
        raise
