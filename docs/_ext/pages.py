"""What all makers of pages share: where pages lie, writing them, tables in Markdown, and figures."""

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = DOCS / "_build" / "source"
SITE = DOCS / "_build" / "html"
EXTRA = DOCS / "_build" / "extra"
"""Files that stand in the site as they are."""


def write(path: Path, text: str) -> None:
    """Write a page if it is new or other than it was: sphinx reads again what is younger than its last reading."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown; a bar in a cell is escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def code(value: object) -> str:
    """Return a value as code in Markdown, or nothing where there is none."""
    return "" if value is None else f"`{value}`"


def figure_html(figure: dict[str, Any], title: str, own_paper: bool = False) -> str:
    """Return the place of a plotly figure on a page; `figures.js` draws it when it comes into view.

    Its paper is that of the page, unless it has `own_paper`.
    """
    layout = figure["layout"] if own_paper else {key: one for key, one in figure["layout"].items() if key != "template"}
    content = json.dumps({"data": figure["data"], "layout": layout}, separators=(",", ":")).replace("</", "<\\/")
    height, width = layout.get("height", 450), layout.get("width", 700)
    return (
        f'<div class="lab-scroll"><div class="lab-figure" role="img" aria-label="{html.escape(title)}" '
        f'style="height:{height}px;width:{width}px"><script type="application/json">{content}</script></div></div>'
    )
