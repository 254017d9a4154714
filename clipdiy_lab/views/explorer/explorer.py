"""The explorer: what is chosen and what it looks like. Knows no widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import xarray as xr
from PIL import Image

from clipdiy_lab.errors import ClipdiyError, StateError
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.prompts import check_labels
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store, StoreSource
from clipdiy_lab.pipeline.watch import Watch
from clipdiy_lab.text import printable
from clipdiy_lab.views import pictures
from clipdiy_lab.views.colors import label_colors
from clipdiy_lab.views.explorer import exports, image_sources, markup, state
from clipdiy_lab.views.explorer.album import Album, album_of
from clipdiy_lab.views.explorer.engine import Engine, Shown
from clipdiy_lab.views.explorer.state import Draft, View
from clipdiy_lab.views.live.scheduler import Job, LatestWins, Ticket
from clipdiy_lab.views.live.screen import Live, Screen
from clipdiy_lab.views.repeat import python_code

if TYPE_CHECKING:
    import plotly.graph_objects as go

PAUSE: Final = 1.0
"""Seconds without a change after which encode knobs take effect by themselves."""
LABELS: Final = ("cat", "dog", "car", "train", "bird")


class ExplorerScreen(Screen, Protocol):
    """Interface of a front end that displays an explorer. Called from the thread that computed, one call at a time."""

    def show(self, shown: Shown, generation: int) -> None:
        """Draw new labels."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Say how far the network is, in crops."""
        ...

    def read_draft(self) -> None:
        """Show what the explorer's draft holds."""
        ...


class Explorer(Live[ExplorerScreen]):
    """An image, labels and every knob, live.

    In a notebook it shows itself: with widgets where there are any, else as a picture. All of it works from Python too.

    Parameters
    ----------
    image : path of an image or folder, dataset, PIL image, array, Picture or Album, optional
        Default: a scene of the embedded world.
    labels : sequence of str, optional
        Default: five names that the embedded model knows.
    segmenter : Segmenter or store of embeddings, optional
        Default: the embedded one. A store (`EmbeddingStore`, its folder, or what `open_store` returned) spares
        the networks for the images that it holds.
    config : Config, optional
        Default: the store's own, or `Config()`.
    scheduler : LatestWins, optional
        What runs jobs; another one for tests.
    make_widgets : callable, optional
        See `Live`; `explore` gives the explorer's widgets.

    Attributes
    ----------
    view : View
        What is shown, or being computed.
    error : str
        Why the last change had no effect; empty where it had.

    Raises
    ------
    ClipdiyError
        For an image or labels that make no sense.

    Examples
    --------
    >>> explorer = Explorer(labels=["cat", "train"])
    >>> explorer.change(saliency_weight=0.4)
    >>> explorer.config.saliency_weight, dict(explorer.run["labels"].sizes)
    (0.4, {'y': 256, 'x': 256})
    """

    def __init__(
        self,
        image: Any = None,
        labels: Sequence[str] | None = None,
        segmenter: Segmenter | Store | StoreSource | None = None,
        *,
        config: Config | None = None,
        scheduler: LatestWins | None = None,
        make_widgets: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(make_widgets)
        self._bench = Engine.of(segmenter)
        first = self._bench.first() | ({} if config is None else {"config": config})
        self.album = image if isinstance(image, Album) else album_of(image)
        picture = image_sources.as_picture(image) if self.album is None else self.album.take(0)
        self.view = View(image=picture, labels=LABELS if labels is None else check_labels(labels), **first)
        self.draft = Draft.of(self.view)
        self._drawn: View | None = None
        self.scheduler = LatestWins() if scheduler is None else scheduler

    # What can be read

    @property
    def image(self) -> Any:
        """Pixels of the image, y x x x 3 uint8."""
        return self.view.image.pixels

    @property
    def config(self) -> Config:
        """The configuration of the view."""
        return self.view.config

    @property
    def run(self) -> xr.DataTree:
        """The run of the view, every stage, without the labels that are hidden; computed when it is asked for."""
        return self._bench.run(self.view.competing)

    def scene(self, view: View) -> dict[str, Any]:
        """Return what the instrument needs of a view, hidden labels included, for JSON."""
        return self._bench.scene(view)

    def hold(self, run: xr.DataTree) -> None:
        """Take what a run of the view's image holds, so that the view needs no network."""
        own = Draft.of(self.view).changed(saliency=str(run.attrs.get("saliency_source", "none")))
        self.view, self.draft = own.view(), own
        self._bench.hold(self.view, run)

    def code(self) -> str:
        """Return the Python that makes the view.

        It runs as it stands, except where it says which of your own objects it needs.
        """
        view = self.view.competing
        maker = self._bench.maker(view)
        shown = f"run.diy.overlay(opacity={view.opacity:g})"
        return python_code(maker, view.image.code, view.labels, view.config, shown)

    # What can be changed

    def change(self, **values: Any) -> None:
        """Turn knobs: fields of `View`, knobs of `Config`, and ``scales_off``, scales that are switched off.

        Never raises for a value that makes no sense: the view stays, `error` and every screen say why. Fuse knobs take
        effect at once, encode knobs after a pause of one second or with `apply`.

        Raises
        ------
        ConfigError
            For a name that is no knob.
        """
        draft = self.draft.changed(**values)
        try:
            self._enter(draft)
        except ClipdiyError as error:
            self.complain(error)

    def take(self, **values: Any) -> None:
        """As `change`, but a value that makes no sense raises, and labels are embedded first.

        Raises
        ------
        ClipdiyError
            The view stays.
        """
        draft = self.draft.changed(**values)
        if "labels" in values:
            self._bench.embed(draft.view())
        self._enter(draft)

    def _enter(self, draft: Draft) -> None:
        view = draft.view()
        self.draft = draft
        self.each(lambda screen: screen.read_draft())
        if view != self.view or self.error:
            self._take(view)

    def follow(self, **values: Any) -> None:
        """Take over what a screen shows already: as `change`, but nothing is computed or drawn.

        Raises
        ------
        ClipdiyError
            For a value that makes no sense; the view stays.
        """
        draft = self.draft.changed(**values)
        self.view, self.draft = draft.view(), draft
        if self._drawn is not None:
            self._drawn = Draft.of(self._drawn).changed(**values).view()

    def open(self, image: Any) -> None:
        """Show another image, or the first of a folder or dataset; what cannot be read is said, and the view stays."""
        self.attempt(lambda: self.look_at(image))

    def open_scene(self, split: str, number: int) -> None:
        """Show a scene of the embedded benchmark."""
        self.attempt(lambda: self.look_at(image_sources.scene(split, number)))

    def upload(self, name: str, content: bytes | memoryview) -> None:
        """Show what somebody uploaded."""
        self.attempt(lambda: self.look_at(image_sources.upload(name, content)))

    def look_at(self, image: Any) -> None:
        """As `open`, but what cannot be read raises.

        Raises
        ------
        ClipdiyError
            The view stays.
        """
        album = album_of(image)
        picture = image_sources.as_picture(image) if album is None else album.take(0)
        self.album = album
        self.take(image=picture, pixel=None)

    def choose(self, place: int) -> None:
        """Show an image of the album.

        Raises
        ------
        StateError
            If there is no album.
        ClipdiyError
            If the image cannot be read; the view stays.
        """
        if self.album is None:
            raise StateError("there is only one image; open a folder, a dataset or a result to have several.")
        self.take(image=self.album.take(place), pixel=None)

    def turn(self, step: int) -> None:
        """Show the image some steps on in the album; as `choose`."""
        self.choose((self.view.image.place or 0) + step)

    def apply(self) -> None:
        """Let encode knobs take effect now; also those of work that was cancelled."""
        if not self.scheduler.now():
            self.refresh()

    def cancel(self) -> None:
        """Stop what is being computed; the picture stays, and with it the view that it shows."""
        self.scheduler.cancel()
        self._go_back()
        self.tell("", "busy")

    def refresh(self) -> None:
        """Compute the view again and draw it."""
        self._submit(0.0)

    def _take(self, view: View) -> None:
        self.view, self.error = view, ""
        self.tell("", "error")
        ready = self._bench.ready(view)
        if not ready and self.screens:
            self.tell(
                "This change needs the network. It starts after a pause of one second, or click to start now.", "wait"
            )
        if self.screens:
            self._submit(0.0 if ready else PAUSE)

    def _submit(self, after: float) -> None:
        view = self.view
        job = Job(
            lambda ticket: self._work(view, ticket),
            self._deliver,
            lambda error: self._failed(view, error),
            lambda: self.tell("Stopped.", "wait"),
        )
        self.scheduler.submit(job, after)

    def _failed(self, view: View, error: BaseException) -> None:
        if self.view == view:
            self._go_back()
        self.complain(error)

    def _go_back(self) -> None:
        """Return to the view of the last picture."""
        if self._drawn is not None and self.view != self._drawn:
            self.view, self.draft = self._drawn, Draft.of(self._drawn)
            self.each(lambda screen: screen.read_draft())

    # What runs in the background

    def _work(self, view: View, ticket: Ticket) -> Iterator[Any]:
        def progress(done: int, total: int) -> None:
            self.each(lambda screen: screen.progress(done, total))

        if not self._bench.ready(view):
            self.tell("Encoding …", "busy")
        shown = self._bench.labels(view.competing, Watch(progress, lambda: ticket.overtaken))
        yield ticket.generation, replace(shown, view=view)

    def _deliver(self, result: tuple[int, Shown]) -> None:
        generation, shown = result
        self._drawn = shown.view

        def draw(screen: ExplorerScreen) -> None:
            screen.show(shown, generation)
            screen.say("", "wait")
            screen.say("", "busy")
            screen.say(" ".join(shown.notes), "note")

        if failure := self.each(draw):
            raise failure

    # Files

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the view to a small JSON file (the image by name and hash); see `load`."""
        return state.save(self.view, path)

    def load(self, path: str | PathLike[str], image: Any = None) -> None:
        """Show a view that `save` wrote.

        Parameters
        ----------
        path : path
        image : optional
            The image, where it was uploaded or given and is not on show.

        Raises
        ------
        StateError
            If the file is missing, cut short, or of another version.
        ClipdiyError
            If its image is not there any more, or a value makes no sense.
        """
        at_hand = [self.view.image] + ([] if image is None else [image_sources.as_picture(image)])
        view = state.load(path, at_hand)
        self.draft = Draft.of(view)
        self._take(view)
        self.each(lambda screen: screen.read_draft())

    def export(self, path: str | PathLike[str]) -> Path:
        """Write what is shown, by the ending.

        ``.html``, ``.svg``, ``.pdf``, ``.png``: the figure; ``.nc``, ``.zarr``: the whole run; ``.csv``, ``.md``,
        ``.tex``: the table of labels.

        Raises
        ------
        StateError
            For another ending.
        OutputError, FigureError
            If it cannot be written.
        """
        return exports.write(self.run, self.view.opacity, path)

    # How it shows itself

    def static(self) -> go.Figure:
        """Return the view as a plotly figure, for places without a kernel."""
        from clipdiy_lab.views import figures

        return figures.overlay(self.run, self.view.opacity)

    def shown(self) -> Shown:
        """Return the labels of the view with their names."""
        return self._bench.labels(self.view.competing)

    def overlay(self) -> Image.Image:
        """Return the labels over the image, in the frame's size."""
        shown = self.shown()
        colors = label_colors(shown.names, shown.background)
        laid = pictures.overlay(shown.frame, shown.labels, colors, shown.background, self.view.opacity)
        return Image.fromarray(laid)

    def picture(self) -> Image.Image:
        """Return the view as one picture with its legend; needs Pillow only."""
        shown, laid = self.shown(), self.overlay()
        colors = label_colors(shown.names, shown.background)
        won = sorted(set(shown.labels.ravel().tolist()))
        width = max(laid.width, 360)
        names = [name if len(name) < 40 else name[:39] + "…" for name in (shown.names[i] for i in won)]
        return pictures.stack([laid, pictures.legend(names, colors[won], width)])

    def close(self) -> None:
        """Stop work and take the widgets away."""
        self.cancel()
        self.close_screens()

    def __repr__(self) -> str:
        return printable(f"Explorer of {self.view.image.kind} {self.view.image.name} with {self.view.model!r}")

    def static_html(self) -> str:
        """Return the picture of the view as an HTML tag."""
        return markup.image_tag(self.picture(), "labels over the image")
