"""What a board has found so far: the table of its rows, their figure, and both as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from clipdiy_lab.analysis.ranking import behind, standing
from clipdiy_lab.analysis.results import export
from clipdiy_lab.analysis.scoring.counts import INTERVAL
from clipdiy_lab.analysis.sweep import table_row
from clipdiy_lab.analysis.tables import MIOU, SCORES, to_latex
from clipdiy_lab.analysis.trials import REPLICATE_SCORES, plain_table
from clipdiy_lab.errors import FigureError, OutputError
from clipdiy_lab.method.naming import knob_title
from clipdiy_lab.views.board.grid import BoardPlan
from clipdiy_lab.views.figures.inputs import knob_text
from clipdiy_lab.views.html import table, tables

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS: Final = (*SCORES, "images", "protocol", "seconds", "error")


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
    facts : mapping
        What all rows have in common: ``attrs`` of a sweep's table, without its replicates.
    published : pandas.DataFrame
        As of `results.published`.
    """

    dataset: str
    plan: BoardPlan | None
    ran: Mapping[str, Sequence[Any]]
    rows: Mapping[int, Mapping[str, Any]]
    facts: Mapping[str, Any]
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
        """The rows so far: the grid's knobs and the scores, in the grid's order."""
        made = []
        for number, row in sorted(self.rows.items()):
            given = dict(self.plan.trials[number].given) if self.plan else {}
            made.append({"row": number, **given, **{name: row.get(name) for name in COLUMNS}})
        columns = ["row", *self.ran, *COLUMNS]
        table = pd.DataFrame(made, columns=columns).set_index("row")
        scores = [*SCORES, "images", "seconds"]
        table[scores] = table[scores].astype(float)
        table["error"] = table["error"].fillna("")
        return table

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """The rows so far as `sweep` gives them: every knob and score, and how sure they are in ``attrs``."""
        rows = [self._sweep_row(number) for number in sorted(self.rows)]
        replicates = {row["key"]: row.pop(REPLICATE_SCORES) for row in rows if REPLICATE_SCORES in row}
        table = pd.DataFrame(rows, index=sorted(self.rows))
        table.attrs.update(self.facts)
        table.attrs[REPLICATE_SCORES] = replicates
        return table

    def _sweep_row(self, number: int) -> dict[str, Any]:
        row = dict(self.rows[number])
        return row if self.plan is None or "key" in row else table_row(self.plan.trials[number], row)

    @cached_property
    def behind(self) -> pd.DataFrame:
        """How far each row is behind the best one, and whether the images tell it apart: see `ranking.behind`."""
        return behind(self.sweep) if len(self.rows) else pd.DataFrame()

    @property
    def standing(self) -> str:
        """Which row is best, and whether the images tell the others apart from it; empty before two have a score."""
        return standing(self.sweep, [self.name_of(number) for number in self.sweep.index]) if len(self.rows) else ""

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
        slim = table[[*vary, *MIOU, "protocol"]]
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
        table = table[table["miou_percent"].notna()]
        if table.empty:
            raise FigureError("no row has a score yet; choose knobs and run the grid.")
        return table

    def name_of(self, row: int) -> str:
        """Spell what distinguishes a row."""
        given = self.table.loc[row]
        return ", ".join(f"{knob_title(name)} {knob_text(given[name])}" for name in self.varied or self.knobs)

    def latex(self) -> str:
        """Return the rows so far in LaTeX, captioned as `results.to_latex` captions a sweep.

        Raises
        ------
        OutputError
            If there is no row yet.
        """
        return to_latex(self._arrived())

    def _arrived(self) -> pd.DataFrame:
        if self.sweep.empty or not self.facts:
            raise OutputError("there are no rows yet; run the grid first.")
        return self.sweep

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the table (``.csv``, ``.md``, ``.tex``) or the figure (``.html``, ``.svg``, ``.pdf``, ``.png``).

        The tables are those that `results.export` writes of a sweep.

        Raises
        ------
        OutputError
            For another ending, no row yet, or a place that cannot be written to.
        FigureError
            If there is nothing to draw, or nothing to draw it with.
        """
        target = Path(path)
        if target.suffix in (".csv", ".md", ".tex"):
            table = self._arrived()
            return export(plain_table(table) if target.suffix == ".csv" else table, target)
        if target.suffix in (".html", ".svg", ".pdf", ".png"):
            from clipdiy_lab.views import figures

            return figures.save(self.figure(), target)
        raise OutputError(
            f"{target.name!r} ends in {target.suffix or 'nothing'!r}; expected .csv, .md or .tex for the table, .html, "
            ".svg, .pdf or .png for the figure."
        )

    @property
    def note(self) -> str:
        """What the scores are of, under which protocol, and which row is best."""
        scored = self.table[self.table["miou_percent"].notna()]
        if scored.empty:
            return ""
        images, protocol = int(scored["images"].iloc[0]), scored["protocol"].iloc[0]
        return f"{images} images of {self.dataset}, protocol {protocol}; {INTERVAL}. {self.standing}".strip()

    def html_table(self) -> str:
        """Return the rows so far as HTML, scores in percent, the best one marked."""
        rows, best = [], self.table["miou_percent"].max()
        for _, row in self.table.iterrows():
            miou, low, high = (row[name] for name in MIOU)
            cells = [f"{miou:.1f}", f"{low:.1f} to {high:.1f}"] if miou == miou else ["", row["error"]]
            cells[0] += " (best)" if miou == best else ""
            rows.append([*(knob_text(row[name]) for name in self.ran), *cells])
        ours = table([*map(knob_title, self.ran), "mIoU, %", "95 % interval"], rows, "clipdiy-rows")
        if self.published.empty:
            return tables([ours], f"{self.note} No published values on {self.dataset} are known.".strip())
        columns = ["method", "backbone", "miou_percent", "protocol_notes", "source"]
        theirs = self.published[columns].to_numpy().tolist()
        head = ["published", "backbone", "mIoU, %", "protocol as noted", "source"]
        return tables([ours, table(head, theirs)], self.note)
