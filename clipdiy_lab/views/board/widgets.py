"""The ablation board in a notebook: the browser draws form, table, plot and images, the kernel runs the grid."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anywidget
import ipywidgets
import traitlets

from clipdiy_lab.errors import ConfigError, StateError
from clipdiy_lab.views.board import told
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.board.grid import suggested, values
from clipdiy_lab.views.board.pace import spoken
from clipdiy_lab.views.board.row_images import ScoredImage
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.instrument.bundle import bundled, source
from clipdiy_lab.views.live.asked import AskedScreen

_QUIET: Final = {"error": "", "wait": "", "busy": "", "running": False, "done": 0, "total": 0, "left": ""}
_PAUSE: Final = 0.1
"""Seconds between two messages of progress."""


class BoardWidget(anywidget.AnyWidget):
    """The board in a cell.

    Attributes
    ----------
    head, form, rows : dict
        See `told.head`, `told.form` and `told.rows`.
    status : dict
        ``error``, ``wait`` and ``busy`` are sentences; ``running``; ``done`` and ``total`` images, ``left`` the time.
    images : dict
        Of a row, ``row`` and ``name``: ``cards``, see `told.cards`, and ``count``, the images that were scored.
    opened : ipywidgets.Widget or None
        The instrument of the image that is open.
    heading : str
        What it shows.
    """

    _esm = bundled("board", default=True)
    _css = source("instrument.css") + source("widget.css") + source("board.css")
    head = traitlets.Dict().tag(sync=True)
    form = traitlets.Dict().tag(sync=True)
    rows = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict(_QUIET).tag(sync=True)
    images = traitlets.Dict().tag(sync=True)
    opened = traitlets.Instance(ipywidgets.Widget, allow_none=True).tag(sync=True, **ipywidgets.widget_serialization)
    heading = traitlets.Unicode().tag(sync=True)


class BoardPanel(AskedScreen):
    """The widget of a board; a `BoardScreen`.

    Parameters
    ----------
    board : Board

    Attributes
    ----------
    root : BoardWidget
    explorer : Explorer or None
        Of the image that is open.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.explorer: Explorer | None = None
        self._scored: Sequence[ScoredImage] = ()
        self._told = 0.0
        super().__init__(board, BoardWidget(head=told.head(board), form=told.form(board)))
        board.attach(self)
        if board.results.rows:
            self.rows()

    # What the board says

    def choice(self) -> None:
        """Show the grid, the number of images and what they cost again."""
        with self.root.hold_sync():
            self.root.head, self.root.form = told.head(self.board), told.form(self.board)

    def rows(self) -> None:
        """Draw table and plot again."""
        self.root.rows = told.rows(self.board.results)
        self.choice()

    def progress(self, done: int, total: int, left: float | None) -> None:
        """Move the bar."""
        now = time.monotonic()
        if 0 < done < total and now - self._told < _PAUSE:
            return
        self._told = now
        said = "" if left is None or done >= total else f"about {spoken(left)} left"
        self.show_status(done=done, total=total, left=said, running=total > 0)

    def images(self, scored_images: Sequence[ScoredImage]) -> None:
        """Draw the worst and the best images of a row."""
        self._forget_images()
        self._scored = scored_images
        if scored_images:
            row = scored_images[0].row
            self.root.images = {"row": row, "name": self.board.results.name_of(row), "count": len(scored_images),
                                "cards": told.cards(scored_images)}  # fmt: skip

    def _forget_images(self) -> None:
        self._shut()
        self._scored, self.root.images = (), {}

    def close(self) -> None:
        """Take the widgets away."""
        self._shut()
        super().close()

    # What the browser asks

    def _add(self, asked: Mapping[str, Any], _: Any) -> None:
        knob = str(asked["knob"])
        if knob in self.board.grid:
            raise ConfigError(f"the knob {knob!r} was already added; change its values.")
        self.board.choose(**{knob: suggested(knob)})

    def _choose(self, asked: Mapping[str, Any], _: Any) -> None:
        knob = str(asked["knob"])
        self.board.choose(**{knob: values(str(asked["text"]), knob)})

    def _remove(self, asked: Mapping[str, Any], _: Any) -> None:
        self.board.choose(**{str(asked["knob"]): None})

    def _limit(self, asked: Mapping[str, Any], _: Any) -> None:
        text = str(asked["images"]).strip()
        if not text.isdecimal():
            raise ConfigError(f"images is {text!r}; expected a whole number from 1 to {self.board.images_known}.")
        self.board.limit = int(text)

    def _estimate(self, *_: Any) -> None:
        self.board.ask_estimate()

    def _run(self, *_: Any) -> None:
        if not self.board.grid:
            raise ConfigError("no knob varies yet; add one first.")
        self.board.start()

    def _cancel(self, *_: Any) -> None:
        self.board.cancel()

    def _show(self, asked: Mapping[str, Any], _: Any) -> None:
        self.board.config_of(int(asked["row"]))
        self.board.show(int(asked["row"]))

    def _open(self, asked: Mapping[str, Any], _: Any) -> None:
        place = int(asked["place"])
        if not 0 <= place < len(self._scored):
            raise StateError("the images of another row are shown now; choose one of them.")
        self._shut()
        look = self._scored[place]
        self.explorer = look.open()
        self.root.heading = f"{look.image_id}, {self.board.results.name_of(look.row)}"
        self.root.opened = self.explorer.widget.root

    def _shut(self, *_: Any) -> None:
        if self.explorer is not None:
            self.root.opened, self.root.heading = None, ""
            self.explorer.close()
            self.explorer = None

    def _export(self, asked: Mapping[str, Any], _: Any) -> dict[str, Any]:
        return {"told": f"Exported to {self.board.export(str(asked['path']))}."}

    def _latex(self, *_: Any) -> dict[str, Any]:
        return {"text": self.board.results.latex()}


BoardPanel.acts = {
    "add": BoardPanel._add,
    "choose": BoardPanel._choose,
    "remove": BoardPanel._remove,
    "limit": BoardPanel._limit,
    "estimate": BoardPanel._estimate,
    "run": BoardPanel._run,
    "cancel": BoardPanel._cancel,
    "show": BoardPanel._show,
    "open": BoardPanel._open,
    "shut": BoardPanel._shut,
    "export": BoardPanel._export,
    "latex": BoardPanel._latex,
}
