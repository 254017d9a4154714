"""What the explorer shows beside the overlay, as HTML with small pictures: legend, stages, grids, maps, numbers."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image

from clipdiy_lab.analysis.explain import flip_weight, grid_importance, uncertainty
from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.pipeline.fusion import label_map
from clipdiy_lab.views import pictures
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.explorer.engine import Engine, Shown
from clipdiy_lab.views.explorer.state import View
from clipdiy_lab.views.gallery import gallery
from clipdiy_lab.views.report import label_table

LEGEND: Final = 14
"""Labels in the legend; the rest is counted."""
_QUALITY: Final = 80


def image_tag(picture: Image.Image, alt: str, style: str = "max-width:100%") -> str:
    """Return a picture as HTML: palette PNG where few colours make it exact and small, else WebP."""
    buffer = BytesIO()
    few = picture.convert("RGB").getcolors(256) is not None
    if few:
        picture.convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "WEBP", quality=_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    kind = "png" if few else "webp"
    return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/{kind};base64,{data}">'


def swatch(color: str) -> str:
    """Return a small square of a colour."""
    return (
        f'<span style="display:inline-block;width:.8em;height:.8em;border:1px solid #8888;background:{color}"></span>'
    )


def short(text: str, most: int = 28) -> str:
    """Return a label as HTML, cut visibly where it is longer than most."""
    return html.escape(text if len(text) <= most else text[: most - 1] + "…")


def legend(shown: Shown) -> str:
    """List the labels that won pixels, the largest share first."""
    colors = label_colors(shown.names, shown.background)
    counts = np.bincount(shown.labels.ravel(), minlength=len(shown.names))
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    rows = "".join(
        f'<tr title="{html.escape(shown.names[i])}"><td>{swatch(css(colors[i]))}</td>'
        f'<td style="text-align:left">{short(shown.names[i])}</td>'
        f'<td style="text-align:right">{counts[i] / shown.labels.size:.1%}</td></tr>'
        for i in order[:LEGEND]
    )
    rest = len(shown.names) - len(order[:LEGEND])
    more = f"<div>{rest} more without pixels or with fewer</div>" if rest else ""
    return f'<table class="clipdiy-legend">{rows}</table>{more}'


def panel(view: View, engine: Engine) -> str:
    """Draw the panel that a view asks for; nothing for the overlay, which is drawn by itself."""
    if view.panel not in _PANELS:
        return ""
    return _PANELS[view.panel](view, engine)


def _card(title: str, picture: Image.Image, caption: str, width: str = "auto") -> str:
    return (
        f'<figure style="margin:0 1.2em 1.2em 0;display:inline-block;vertical-align:top;max-width:100%;width:{width}">'
        f"<b>{html.escape(title)}</b><br>{image_tag(picture, title)}"
        f'<figcaption style="opacity:.75;max-width:36em">{html.escape(caption)}</figcaption></figure>'
    )


def _stages(view: View, engine: Engine) -> str:
    return "".join(_card(one.title, one.picture, one.caption) for one in gallery(engine.run(view)))


def _grids(view: View, engine: Engine) -> str:
    """Each grid's answer alone beside the answer of all, and under it what each grid says of the labels."""
    run = engine.run(view)
    names, background = s.labels_of(run), s.background_of(run)
    colors = label_colors(names, background)
    frame = s.stage(run, "image").values
    found = {}
    config, text = Config.from_json(run.attrs["config"]), s.stage(run, "text_embedding")
    for name in config.grids:
        found[f"{grid_title(name)} alone"] = label_map(run, text, config.only(name)).values
    found["together"] = s.stage(run, "labels").values
    answers = [_laid(frame, labels, colors, background, view.opacity) for labels in found.values()]
    won = np.unique(np.stack(list(found.values())))
    picture = pictures.small_multiples([answers], list(found), side=220)
    keys = pictures.legend([names[i] for i in won], colors[won], picture.width)
    cards = [_card("Labels of each grid", pictures.stack([picture, keys]), "Saliency applies to all alike.")]
    maps = {one.name: one for one in gallery(run)}
    return "".join(
        [*cards, *(_card(maps[n].title, maps[n].picture, maps[n].caption) for n in ("logits", "similarity"))]
    )


def _laid(
    frame: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    colors: npt.NDArray[np.uint8],
    background: int | None,
    opacity: float,
) -> npt.NDArray[np.uint8]:
    return pictures.overlay(frame, labels, colors, background, opacity)


def _why(view: View, engine: Engine) -> str:
    """Draw maps of what decided; one that this run cannot have says why."""
    run = engine.run(view)
    cards = []
    for make in (_decided, _sure, _flips):
        try:
            cards += make(run)
        except ClipdiyError as error:
            cards.append(f"<p>{html.escape(str(error))}</p>")
    return "".join(cards)


def _decided(run: xr.DataTree) -> list[str]:
    found = grid_importance(run)
    titles = [grid_title(str(name)) for name in found[s.GRID].values]
    shades = pictures.heat(np.linspace(0.1, 0.95, len(titles))[None], 0, 1)[0]
    picture = Image.fromarray(pictures.paint(found["deciding_grid"].values, shades))
    keys = pictures.legend(titles, shades, picture.width)
    caption = "The grid with the largest Shapley value of the winner's lead."
    return [
        _card("Deciding grid", pictures.stack([picture, keys]), caption, "22em"),
        *_heat(
            "Share of each grid in the lead",
            dict(zip(titles, found["grid_shapley"].values, strict=True)),
            "Shapley values; they sum to the margin.",
            "score",
        ),
    ]


def _sure(run: xr.DataTree) -> list[str]:
    found = uncertainty(run, temperature=0.01)
    return [
        *_heat("Margin", {"": found["margin"].values}, "How far the winner is ahead.", "score"),
        *_heat("Entropy", {"": found["entropy"].values}, "Of the labels, at CLIP's temperature 0.01.", "nats"),
        *_heat("Agreement", {"": found["grid_agreement"].values}, "Share of the grids that say the same.", "share"),
    ]


def _flips(run: xr.DataTree) -> list[str]:
    change = flip_weight(run)["flip_change"].values
    size = np.where(np.isfinite(change), np.abs(change), 1.0)
    return _heat(
        "Change of the saliency weight that flips", {"": size}, "Dark: a small change; 1: none does.", "change"
    )


def _heat(title: str, maps: dict[str, npt.NDArray[np.floating]], caption: str, unit: str) -> list[str]:
    low = min(float(one.min()) for one in maps.values())
    high = max(float(one.max()) for one in maps.values())
    shown = [pictures.heat(one, low, high) for one in maps.values()]
    grid = pictures.small_multiples([shown], list(maps), side=200)
    return [_card(title, pictures.stack([grid, pictures.scale_bar(low, high, max(grid.width, 300), unit)]), caption)]


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
    changed = Config.paper().changed(view.config)
    facts = [[name, html.escape(repr(getattr(view.config, name)))] for name in changed if name != "precision"]
    facts = [
        ["image", html.escape(f"{view.image.kind} {view.image.name}")],
        ["model", html.escape(str(run.attrs["encoder"]))],
        ["saliency", html.escape(str(run.attrs["saliency_source"]))],
        *(facts or [["configuration", "the paper's"]]),
    ]
    return rows_of(["label", "share", "mean margin", "best score"], rows) + rows_of(
        ["differs from the paper", ""], facts
    )


def rows_of(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "clipdiy-table") -> str:
    """Return a table; the cells are HTML already."""
    style = 'style="text-align:{};padding:.1em .8em"'
    sides = ["left", *["right"] * (len(head) - 1)]
    top = "".join(f"<th {style.format(side)}>{html.escape(name)}</th>" for name, side in zip(head, sides, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td {style.format(side)}>{cell}</td>" for cell, side in zip(row, sides, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<table class="{kind}"><tr>{top}</tr>{body}</table>'


_PANELS: dict[str, Callable[[View, Engine], str]] = {
    "stages": _stages,
    "grids": _grids,
    "why": _why,
    "numbers": _numbers,
}
