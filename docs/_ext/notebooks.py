"""The tutorials, as they were executed: copies in which every figure is one that a page can draw."""

import json
from pathlib import Path
from typing import Any

from pages import ROOT, SOURCE, figure_html, write

FIGURE = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


def _shown(output: dict[str, Any]) -> dict[str, Any]:
    """Return an output of a cell without what a page cannot show: figures become HTML, widgets what they leave."""
    data = output.get("data", {})
    if FIGURE in data:
        text = data[FIGURE]["layout"].get("title", {})
        title = text.get("text", "") if isinstance(text, dict) else str(text)
        page = figure_html(data[FIGURE], title.replace("<br>", " ") or "Figure")
        return {"output_type": "display_data", "metadata": {}, "data": {"text/html": page}}
    if WIDGET in data:
        kept = {kind: value for kind, value in data.items() if kind != WIDGET}
        return {**output, "data": kept}
    return output


def copied(path: Path) -> str:
    """Return a notebook for the site; its links to documents lead to their pages."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = "".join(cell["source"]).replace("](../docs/", "](../")
        else:
            cell["outputs"] = [_shown(output) for output in cell["outputs"]]
    return json.dumps(notebook)


def make_pages() -> None:
    """Write the copies."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        write(SOURCE / "tutorials" / path.name, copied(path))
