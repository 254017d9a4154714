"""The gallery: the cells of docs/gallery/gallery.py, run, each beside the figure that it made."""

import inspect
import json
import re
from typing import Any

from pages import DOCS, SOURCE, figure_html, write

from clipdiy_lab.views import figures

GROUPS = {
    "stages": "Stages of a run",
    "paper": "Figures of papers",
    "maps": "Explanations",
    "pixel": "Explanations",
    "scores": "Scores and sweeps",
    "classes": "Labels and differences",
    "budget": "Where the mIoU is lost",
    "quality": "Outlines and probabilities",
    "extremes": "Images worth a look",
    "style": "On paper",
    "export": "On paper",
}
"""Module of a figure to the heading under which it is shown."""


def cells() -> dict[str, str]:
    """Return the code of every cell of the gallery by its title; the first makes what the others use."""
    text = (DOCS / "gallery" / "gallery.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% (.+)\n", text, flags=re.MULTILINE)[1:]
    return {title: code.strip() for title, code in zip(parts[::2], parts[1::2], strict=True)}


def _section(name: str, code: str, names: dict[str, Any]) -> str:
    exec(compile(code, f"gallery: {name}", "exec"), names)  # noqa: S102 - a file of this repository
    summary = (inspect.getdoc(getattr(figures, name)) or "").partition("\n\n")[0].replace("\n", " ")
    drawn = figure_html(json.loads(names["figure"].to_json()), f"What {name} draws", own_paper=name == "theme")
    link = f"{{py:obj}}`Reference <clipdiy_lab.figures.{name}>`"
    return f"### `{name}`\n\n{summary} {link}\n\n```python\n{code}\n```\n\n```{{raw}} html\n{drawn}\n```\n\n"


def make_page() -> None:
    """Write `gallery/index`, and what draws figures in the browser."""
    (first, preparation), *rest = cells().items()
    names: dict[str, Any] = {}
    exec(compile(preparation, "gallery", "exec"), names)  # noqa: S102 - a file of this repository
    groups: dict[str, str] = dict.fromkeys(GROUPS.values(), "")
    for name, code in rest:
        module = getattr(figures, name).__module__.rsplit(".", 1)[-1]
        groups[GROUPS[module]] += _section(name, code, names)
    text = (
        "# Gallery\n\n"
        "Every figure of `lab.figures`, made when this page was built, by the code that stands above it. Labels keep "
        "their colours in all of them; the pointer shows values.\n\n"
        f"## {first}\n\nDrawings of `scenes`, seen by `tiny`. The later pieces of code use these names.\n\n"
        f"```python\n{preparation}\n```\n\n"
    )
    write(SOURCE / "gallery" / "index.md", text + "".join(f"## {title}\n\n{part}" for title, part in groups.items()))
