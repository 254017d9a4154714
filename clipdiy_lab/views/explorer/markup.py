"""What the explorer shows beside the overlay, as HTML with small pictures: legend, stages, grids, maps, numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.pipeline.fusion import label_map
from clipdiy_lab.views import data_uris, pictures
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.explorer.engine import Engine, Shown
from clipdiy_lab.views.explorer.state import View
from clipdiy_lab.views.gallery import picture
from clipdiy_lab.views.html import render, short, table, tables
from clipdiy_lab.views.look import Drawing, Look
from clipdiy_lab.views.report import label_table

LEGEND: Final = 14
"""Labels in the legend; the rest is counted."""


def image_tag(picture: Image.Image, alt: str, style: str = "max-width:100%") -> str:
    """Return a picture as HTML."""
    return render("picture.html", source=data_uris.picture(picture), alt=alt, style=style)


def legend(shown: Shown) -> str:
    """List the labels that won pixels, the largest share first."""
    colors = label_colors(shown.names, shown.background)
    counts = np.bincount(shown.labels.ravel(), minlength=len(shown.names))
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]][:LEGEND]
    rows = [{"name": shown.names[i], "color": css(colors[i]), "share": counts[i] / shown.labels.size} for i in order]
    return render("explorer_legend.html", rows=rows, rest=len(shown.names) - len(order))


def panel(view: View, engine: Engine) -> str:
    """Draw the panel that a view asks for; nothing for the overlay, which is drawn by itself."""
    if view.panel not in _PANELS:
        return ""
    return _PANELS[view.panel](view, engine)


def _card(title: str, made: Image.Image, caption: str) -> dict[str, Any]:
    # A caption is as wide as its picture, so that cards stand beside one another.
    return {"title": title, "source": data_uris.picture(made), "caption": caption, "width": f"{max(made.width, 280)}px"}


def _drawn(drawing: Drawing) -> dict[str, Any]:
    return _card(drawing.heading, picture(drawing), f"{drawing.entry.stage.sentence} {drawing.note}")


def _cards(cards: Sequence[dict[str, Any]], reasons: Mapping[str, Sequence[str]] | None = None) -> str:
    return render("explorer_cards.html", cards=cards, reasons=reasons or {})


def _stages(view: View, engine: Engine) -> str:
    return _cards([_drawn(drawing) for drawing in Look(engine.run(view)).stages()])


def _grids(view: View, engine: Engine) -> str:
    """Each grid's answer alone beside the answer of all, and under it what each grid says of the labels."""
    look = Look(engine.run(view))
    found = {}
    text = s.stage(look.run, "text_embedding")
    for name in look.config.grids:
        found[f"{grid_title(name)} alone"] = label_map(look.run, text, look.config.only(name)).values
    found["together"] = look["labels"]
    frame = look["image"]
    answers = [pictures.overlay(frame, labels, look.colors, look.background, view.opacity) for labels in found.values()]
    won = np.unique(np.stack(list(found.values())))
    made = pictures.small_multiples([answers], list(found), side=220)
    keys = pictures.legend([look.names[i] for i in won], look.colors[won], made.width)
    cards = [_card("Labels of each grid", pictures.stack([made, keys]), "Saliency applies to all alike.")]
    maps = {drawing.entry.name: drawing for drawing in look.stages()}
    return _cards([*cards, *(_drawn(maps[name]) for name in ("logits", "similarity"))])


def _why(view: View, engine: Engine) -> str:
    """Draw the maps of what decided, and say why this run cannot have the others."""
    drawings, reasons = Look(engine.run(view)).explained()
    return _cards([_drawn(drawing) for drawing in drawings], reasons)


def _numbers(view: View, engine: Engine) -> str:
    run = engine.run(view)
    rows = [
        [
            short(str(row["label"])),
            f"{row['share']:.1%}",
            f"{row['mean_margin']:.4f}" if row["share"] else "",
            f"{row['best_score']:.4f}",
        ]
        for row in label_table(run).reset_index().to_dict("records")
    ]
    changed = [name for name in Config.paper().changed(view.config) if name != "precision"]
    facts = [
        ["image", f"{view.image.kind} {view.image.name}"],
        ["model", run.attrs["encoder"]],
        ["saliency", run.attrs["saliency_source"]],
        *([[name, repr(getattr(view.config, name))] for name in changed] or [["configuration", "the paper's"]]),
    ]
    return tables(
        [table(["label", "share", "mean margin", "best score"], rows), table(["differs from the paper", ""], facts)]
    )


_PANELS: dict[str, Callable[[View, Engine], str]] = {
    "stages": _stages,
    "grids": _grids,
    "why": _why,
    "numbers": _numbers,
}
