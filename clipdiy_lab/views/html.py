"""HTML by templates: the engine escapes every word that a template shows, and writes out what steers or hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from clipdiy_lab.analysis.tables import with_row_names
from clipdiy_lab.text import printable
from clipdiy_lab.views.colors import css

if TYPE_CHECKING:
    import pandas as pd


def render(template: str, **values: Any) -> Markup:
    """Fill a template of ``views/templates``; a value is text unless it is `Markup`, which templates give.

    What leaves the lab is made a plain str: text that is added to `Markup` is escaped.

    Raises
    ------
    jinja2.UndefinedError
        If the template asks for a value that is not given.
    """
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704  the engine has escaped it


def table(head: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "clipdiy-table") -> dict[str, Any]:
    """Return a table for `tables`; its first column stands at the left, the others at the right."""
    return {"head": list(head), "rows": [list(row) for row in rows], "kind": kind}


def tables(made: Sequence[dict[str, Any]], note: str = "") -> str:
    """Return tables as HTML, with a sentence under them."""
    return render("tables.html", tables=made, note=note)


def html_table(table: pd.DataFrame, float_format: Callable[[float], str] = "{:.4g}".format) -> Markup:
    """Return a table of numbers and texts as HTML; row names that are no numbers become its first columns."""
    shown = with_row_names(table).map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    shown.columns = [printable(str(name)).replace("_", " ") for name in shown.columns]
    return Markup(shown.to_html(index=False, float_format=float_format, na_rep="–", border=0))  # noqa: S704  escaped


class _Lines(str):
    """A text whose lines have been made printable."""


def short(text: str, most: int = 28) -> str:
    """Return a text, cut visibly where it is longer than most."""
    return text if len(text) <= most else text[: most - 1] + "…"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipdiy_lab.views"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup | _Lines) else printable(str(value)),
    )
    environment.filters |= {
        "lines": lambda text: _Lines("\n".join(map(printable, text.split("\n")))),
        "css": css,
        "short": short,
    }
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment
