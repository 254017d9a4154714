"""What a board has found so far: the table of its rows, their figure, and both as files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from clipdiy_lab.analysis.results import export
from clipdiy_lab.analysis.trials import plain_table
from clipdiy_lab.errors import FigureError, OutputError
from clipdiy_lab.views.board.grid import BoardPlan
from clipdiy_lab.views.figures.inputs import knob_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCORES: Final = ("miou", "miou_low", "miou_high", "pixel_accuracy", "images", "seconds", "error")


@dataclass(frozen=True)
class BoardResults:
    """Rows of a grid that have arrived, and the published values beside them.

    Attributes
    ----------
    dataset : str
        Its name.
    plan : BoardPlan or None
        The grid's trials; None where nothing was run.
    ran : mapping of knob to values
        The grid.
    rows : mapping of int to mapping
        Knobs and scores of each row that has arrived, by its place in the grid.
    published : pandas.DataFrame
        As of `results.published`.
    """

    dataset: str
    plan: BoardPlan | None
    ran: Mapping[str, Sequence[Any]]
    rows: Mapping[int, Mapping[str, Any]]
    published: pd.DataFrame

    @property
    def knobs(self) -> list[str]:
        """Knobs of the grid that was run, those with one value last."""
        return sorted(self.ran, key=lambda name: len(self.ran[name]) < 2)

    @property
    def varied(self) -> list[str]:
        """Knobs with several values."""
        return [name for name in self.knobs if len(self.ran[name]) > 1]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows so far: the grid's knobs and the scores (mIoU and accuracy as shares), in the grid's order."""
        made = []
        for number, row in sorted(self.rows.items()):
            given = dict(self.plan.trials[number].given) if self.plan else {}
            made.append({"row": number, **given, **{name: row.get(name) for name in SCORES}})
        columns = ["row", *self.ran, *SCORES]
        table = pd.DataFrame(made, columns=columns).set_index("row")
        scores = [name for name in SCORES if name != "error"]
        table[scores] = table[scores].astype(float)
        table["error"] = table["error"].fillna("")
        return table

    def figure(self) -> go.Figure:
        """Draw the scores: a line over one knob, a heat map over two, bars over more or where values are published.

        Raises
        ------
        FigureError
            If no row has a score yet.
        """
        from clipdiy_lab.views import figures

        table = self._scored()
        vary = self.varied
        known = self.published
        # Rows differ in the grid's knobs only, which is what the figures look at.
        slim = table[[*vary, "miou", "miou_low", "miou_high"]]
        if known.empty and len(vary) == 1:
            return figures.sweep_line(slim, vary[0])
        if known.empty and len(vary) == 2:
            return figures.sweep_heat(slim, vary[0], vary[1])
        # The same result is often tabulated by several papers; the table has all of them, the figure one a backbone.
        named = known.assign(method=known["method"] + ", " + known["backbone"]).drop_duplicates(["method", "dataset"])
        others = None if known.empty else named
        return figures.miou_bars(slim, [self.name_of(int(row)) for row in table.index], others)

    def _scored(self) -> pd.DataFrame:
        table = self.table
        table = table[table["miou"].notna()]
        if table.empty:
            raise FigureError("no row has a score yet; choose knobs and run.")
        return table

    def name_of(self, row: int) -> str:
        """Spell what distinguishes a row."""
        given = self.table.loc[row]
        vary = self.varied or self.knobs
        return ", ".join(f"{name.replace('_', ' ')} {knob_text(given[name])}" for name in vary)

    def row_at(self, x: Any, y: Any) -> int | None:
        """Return the row of a point of `figure`, by plotly's coordinates; None for a published value."""
        table = self._scored()
        for row in table.index:
            given = [table.loc[row, name] for name in self.varied]
            texts = [knob_text(one) for one in given]
            line = len(given) == 1 and (x in (given[0], texts[0]))
            if line or texts == [x, y] or self.name_of(int(row)) == y:
                return int(row)
        return None

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the table (``.csv``, ``.md``, ``.tex``) or the figure (``.html``, ``.svg``, ``.pdf``, ``.png``).

        Raises
        ------
        OutputError
            For another ending, or a place that cannot be written to.
        FigureError
            If there is nothing to draw, or nothing to draw it with.
        """
        target = Path(path)
        if target.suffix in (".csv", ".md", ".tex"):
            table = self.table.assign(miou=lambda t: 100 * t["miou"], miou_low=lambda t: 100 * t["miou_low"],
                                      miou_high=lambda t: 100 * t["miou_high"])  # fmt: skip
            return export(plain_table(table), target)
        if target.suffix in (".html", ".svg", ".pdf", ".png"):
            from clipdiy_lab.views import figures

            return figures.save(self.figure(), target)
        raise OutputError(
            f"{target.name!r} ends in {target.suffix or 'nothing'!r}; expected .csv, .md or .tex for the table, .html, "
            ".svg, .pdf or .png for the figure."
        )

    def html_table(self) -> str:
        """Return the rows so far as HTML, scores in percent."""
        from clipdiy_lab.views.explorer.markup import rows_of

        rows = []
        known = self.published
        for number, row in self.table.iterrows():
            knobs = [html.escape(knob_text(row[name])) for name in self.ran]
            score = [f"{100 * row['miou']:.1f}", f"{100 * row['miou_low']:.1f} to {100 * row['miou_high']:.1f}"]
            cells = score if row["miou"] == row["miou"] else ["", html.escape(row["error"])]
            rows.append([str(number), *knobs, *cells])
        ours = rows_of(["row", *self.ran, "mIoU, %", "95 % interval"], rows, "clipdiy-rows")
        if known.empty:
            return f"{ours}<p>No published values on {html.escape(self.dataset)} are known.</p>"
        columns = ["method", "backbone", "miou", "protocol_notes", "source"]
        theirs = [[html.escape(str(cell[name])) for name in columns] for cell in known.to_dict("records")]
        return ours + rows_of(["published", "backbone", "mIoU, %", "protocol as noted", "source"], theirs)
