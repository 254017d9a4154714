"""The ablation board's widgets: knobs and values, progress, table and figure as rows arrive, the images of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ipywidgets as w
import plotly.graph_objects as go
from markupsafe import Markup

from clipdiy_lab.analysis.trials import SALIENCY
from clipdiy_lab.errors import ConfigError, FigureError
from clipdiy_lab.method.config import Config
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.board.grid import spelled, suggested, values
from clipdiy_lab.views.board.row_images import ScoredImage
from clipdiy_lab.views.explorer import markup
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.live.widgets import Lines, WidgetScreen, button, close

_SHOWN: Final = 4
"""Images of a row at each end."""


class BoardWidgets(WidgetScreen):
    """Widgets of a board; a `BoardScreen`.

    Parameters
    ----------
    board : Board

    Attributes
    ----------
    root : ipywidgets.VBox
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.drawn = 0
        self._texts: dict[str, w.Text] = {}
        self.open_explorer: Explorer | None = None
        self.figure = go.FigureWidget(layout={"width": 640, "height": 120, "template": "none"})
        self.table, self.cost = w.HTML(), w.HTML()
        self.count = w.HTML(_counted(0, 0))
        self.said = Lines(("error", "wait", "busy"), "clipdiy-board")
        self.bar = w.IntProgress(min=0, max=1, layout={"width": "16em"})
        self.left = w.HTML()
        self.gallery, self.opened = w.HBox(layout={"flex_flow": "row wrap"}), w.VBox()
        self.root = self._lay_out()
        self.root.add_class("clipdiy-board")
        board.attach(self)
        for knob, several in board.grid.items():
            self._offer(knob, several)
        self._price()

    def _lay_out(self) -> w.VBox:
        names = [SALIENCY, *(name for name, meta in Config.knobs().items() if meta["form"] != "settled")]
        self.knob = w.Dropdown(options=names, value="saliency_weight", description="knob")
        self.knob.add_class("clipdiy-knob")
        buttons = {name: button(title, f"clipdiy-board-{name}") for name, title in _BUTTONS.items()}
        acts = {"add": self._add, "estimate": self._estimate, "run": self.board.start, "cancel": self.board.cancel,
                "export": self._export,
                "images": self._show}  # fmt: skip
        for name, act in acts.items():
            buttons[name].on_click(lambda _, act=act: self._guarded(act))
        self.limit = w.BoundedIntText(value=self.board.images, min=1, max=self.board.images_known, description="images")
        self.limit.add_class("clipdiy-board-limit")
        self.limit.observe(lambda change: self._guarded(lambda: self._limit(change["new"])), "value")
        self.chosen = w.VBox()
        self.row = w.Dropdown(options=[], description="row", layout={"width": "34em"})
        self.out = w.Text(value="board.csv", layout={"width": "12em"})
        middle = {"align_items": "center"}
        return w.VBox(
            [
                w.HBox([self.knob, buttons["add"], self.limit], layout=middle),
                self.chosen,
                w.HBox([buttons["estimate"], buttons["run"], buttons["cancel"], self.bar, self.left, self.count],
                       layout=middle),
                self.cost,
                *self.said.widgets.values(),
                w.HBox([self.table, self.figure], layout={"flex_flow": "row wrap", "align_items": "flex-start"}),
                w.HBox([self.out, buttons["export"], w.Label(".csv .tex .md (table), .html .svg .pdf .png (figure)")]),
                w.HBox([self.row, buttons["images"]]),
                self.gallery,
                self.opened,
            ],
            layout={"width": "100%"},
        )  # fmt: skip

    # What the user does

    def _guarded(self, act: Any) -> None:
        self.board.attempt(act)

    def _add(self) -> None:
        if self.knob.value in self._texts:
            raise ConfigError(f"the knob {self.knob.value!r} is there already; change its values.")
        several = suggested(self.knob.value)
        self.board.choose(**{self.knob.value: several})
        self._offer(self.knob.value, several)
        self._price()

    def _offer(self, knob: str, several: Sequence[Any]) -> None:
        text = w.Text(value=spelled(several), description=knob, continuous_update=False,
                      style={"description_width": "11em"}, layout={"width": "46em"})  # fmt: skip
        text.add_class(f"clipdiy-values-{knob.replace('_', '-')}")
        text.observe(lambda change: self._guarded(lambda: self._choose(knob, change["new"])), "value")
        off = button("remove", "clipdiy-board-remove")
        line = w.HBox([text, off])
        off.on_click(lambda _: self._guarded(lambda: self._remove(knob, line)))
        self._texts[knob] = text
        self.chosen.children = [*self.chosen.children, line]

    def _choose(self, knob: str, text: str) -> None:
        self.say("", "error")
        self.board.choose(**{knob: values(text)})
        self._price()

    def _remove(self, knob: str, line: Any) -> None:
        self.board.choose(**{knob: None})
        del self._texts[knob]
        self.chosen.children = [one for one in self.chosen.children if one is not line]
        close(line)
        self._price()

    def _limit(self, images: int) -> None:
        self.board.limit = images
        self._price()

    def _export(self) -> None:
        self.say(f"exported to {self.board.export(self.out.value)}", "wait")

    def _show(self) -> None:
        if self.row.value is None:
            raise ConfigError("there is no row yet; run the grid first.")
        self.board.show(self.row.value)

    def _price(self, seconds: float | None = None) -> None:
        """Say how many runs the grid is and, once it was tried, how long they take."""
        if not self.board.grid:
            self.cost.value = "Choose a knob and add it."
            return
        rows = len(self.board.plan.trials)
        long = "" if seconds is None else f", about {_spoken(seconds)}"
        text = f"{rows} {'run' if rows == 1 else 'runs'} on {self.board.images} images{long}"
        self.cost.value = Markup('<b class="clipdiy-cost">{}</b>').format(text)

    def _estimate(self) -> None:
        self.say("Trying two images …", "busy")
        self._price(self.board.estimate())
        self.say("", "busy")

    def _click(self, _: Any, points: Any, __: Any) -> None:
        if not points.point_inds:
            return
        row = self.board.results.row_at(points.xs[0], points.ys[0])
        if row is not None:
            self.row.value = row
            self._guarded(lambda: self.board.show(row))

    # What the board says

    def rows(self) -> None:
        """Draw table and figure again."""
        results = self.board.results
        self.table.value = results.html_table()
        chosen = self.row.value
        options = [(f"{row}: {results.name_of(int(row))}", int(row)) for row in results.table.index]
        self.row.options = options
        if chosen in [row for _, row in options]:
            self.row.value = chosen
        try:
            made = results.figure()
        except FigureError:  # no row has a score yet
            made = None
        if made is not None:
            with self.figure.batch_update():
                self.figure.data = ()
                self.figure.add_traces(list(made.data))
                self.figure.layout = made.layout
            for trace in self.figure.data:
                trace.on_click(self._click)
        self.drawn += 1
        self.count.value = _counted(self.drawn, len(results.table))

    def progress(self, done: int, total: int, left: float) -> None:
        """Move the bar."""
        self.bar.max, self.bar.value = total, done
        self.left.value = f"{_spoken(left)} left" if done < total else ""

    def images(self, scored_images: Sequence[ScoredImage]) -> None:
        """Draw the worst and the best images of a row, each with a button that opens the explorer."""
        self.say("", "wait")
        for card in self.gallery.children:
            close(card)
        ends = (
            scored_images if len(scored_images) <= 2 * _SHOWN else [*scored_images[:_SHOWN], *scored_images[-_SHOWN:]]
        )
        self.gallery.children = [self._card(look) for look in ends]

    def _card(self, look: ScoredImage) -> w.VBox:
        score = "nothing to score" if look.miou_percent != look.miou_percent else f"{look.miou_percent:.1f} %"
        truth, wrong = look.truth()
        beside = {f"{look.image_id}, in the mask": truth, f"{look.image_id}, where they differ (orange)": wrong}
        tag = markup.image_tag(look.explorer.overlay(), look.image_id, "width:180px")
        for alt, picture in beside.items():
            tag += markup.image_tag(picture, alt, "width:88px;margin-right:4px")
        keys = markup.legend(look.explorer.shown())
        card = Markup('<div style="line-height:1.4">{}<br><b>{}: {}</b>{}</div>')
        text = w.HTML(card.format(tag, look.image_id, score, keys))
        opener = button("open in the explorer", "clipdiy-board-open")
        opener.on_click(lambda _: self._guarded(lambda: self._open(look)))
        return w.VBox([text, opener], layout={"width": "200px"})

    def _open(self, look: ScoredImage) -> None:
        self.open_explorer = look.explorer
        self.opened.children = [look.explorer.widget.root]


_BUTTONS: Final = {
    "add": "Add knob",
    "estimate": "How long?",
    "run": "Run",
    "cancel": "Cancel",
    "export": "Export",
    "images": "Show its images",
}


def _spoken(seconds: float) -> str:
    """Say a duration.

    Examples
    --------
    >>> _spoken(3.2), _spoken(200)
    ('4 s', '3 min 20 s')
    """
    whole = int(-(-seconds // 1))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _counted(drawn: int, rows: int) -> str:
    data = Markup('data-drawn="{}" data-rows="{}"').format(drawn, rows)
    return Markup('<span class="clipdiy-board-count" {} style="opacity:.6">{} rows</span>').format(data, rows)
