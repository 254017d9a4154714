"""Arrays as pictures: maps, overlays, legends, colour bars, small multiples. Needs Pillow only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from clipdiy_lab.text import printable
from clipdiy_lab.views.colors import Rgb, outlines
from clipdiy_lab.views.scales import ColorRange

_INK, _PAPER, _QUIET = (28, 28, 32), (255, 255, 255), (110, 110, 118)
_GAP, _LINE = 6, 18
_TILE, _TILES = 8, np.array([(245, 245, 248), (217, 217, 224)], dtype=np.uint8)


def paint(labels: npt.NDArray[np.integer], colors: Rgb) -> Rgb:
    """Colour a label map, y x x."""
    painted: Rgb = colors[labels]
    return painted


def cleared(picture: Rgb, missing: npt.NDArray[np.bool_]) -> Rgb:
    """Put the chequers that stand for nothing where a map has no value, so that no colour is taken for one."""
    rows, columns = (np.arange(length) // _TILE for length in missing.shape)
    chequers = _TILES[(rows[:, None] + columns) % 2]
    made: Rgb = np.where(missing[..., None], chequers, picture)
    return made


def overlay(
    image: Rgb, labels: npt.NDArray[np.integer], colors: Rgb, background: int | None = None, opacity: float = 0.55
) -> Rgb:
    """Lay a label map with dark outlines over an image of the same size; the background stays as it is."""
    share = np.full(labels.shape, opacity)
    if background is not None:
        share[labels == background] = 0
    mixed = image * (1 - share[..., None]) + paint(labels, colors) * share[..., None]
    edge = edges(labels)
    mixed[edge] = paint(labels, outlines(colors))[edge]
    laid: Rgb = mixed.round().astype(np.uint8)
    return laid


def edges(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Where a label map has another label above or at the left, y x x."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    return edge


def font(size: int = 13) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def legend(names: Sequence[str], colors: Rgb, width: int) -> Image.Image:
    """Draw a legend that wraps at `width` pixels; a name that is wider is cut."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    names = [_fit(draw, name, width - _LINE - 3 * _GAP) for name in names]
    places, x, y = [], _GAP, _GAP
    for name in names:
        needed = _LINE + round(draw.textlength(name, font())) + 2 * _GAP
        if x > _GAP and x + needed > width:
            x, y = _GAP, y + _LINE + 2
        places.append((x, y))
        x += needed
    canvas = Image.new("RGB", (width, y + _LINE + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for name, color, (left, top) in zip(names, colors, places, strict=True):
        draw.rectangle((left, top + 2, left + 12, top + 14), fill=tuple(int(v) for v in color))
        draw.text((left + _LINE, top), name, _INK, font())
    return canvas


def scale_bar(colors: ColorRange, width: int, caption: str = "") -> Image.Image:
    """Draw a colour range with its two ends; a caption that is wider than the rest is cut."""
    canvas = Image.new("RGB", (width, 2 * _LINE), _PAPER)
    draw = ImageDraw.Draw(canvas)
    bar = min(180, width // 3)
    first, last = f"{colors.low:.3g}", f"{colors.high:.3g}   "
    left = _GAP + round(draw.textlength(first, font())) + 4
    right = left + bar + 4
    draw.text((_GAP, 8), first, _QUIET, font())
    canvas.paste(Image.fromarray(np.tile(colors.scale.at(np.linspace(0, 1, bar)), (10, 1, 1))), (left, 11))
    room = width - right - round(draw.textlength(last, font())) - _GAP
    draw.text((right, 8), last + _fit(draw, caption, room), _QUIET, font())
    return canvas


def small_multiples(
    panels: Sequence[Sequence[Rgb]], columns: Sequence[str], rows: Sequence[str] = (), side: int = 168
) -> Image.Image:
    """Lay out pictures in a grid with titles over the columns and, where given, words before the rows.

    Parameters
    ----------
    panels : rows of uint8 arrays, y x x x 3
    columns, rows : sequence of str
        Titles.
    side : int
        Height of a panel, pixels; the width follows the picture.
    """
    first = panels[0][0]
    width = max(1, round(side * first.shape[1] / first.shape[0]))
    gutter = 70 if rows else 0
    size = (gutter + len(columns) * (width + _GAP) + _GAP, _LINE + _GAP + len(panels) * (side + _GAP))
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    for c, title in enumerate(columns):
        draw.text((gutter + _GAP + c * (width + _GAP), 3), _fit(draw, title, width), _INK, font())
    for r, row in enumerate(panels):
        top = _LINE + _GAP + r * (side + _GAP)
        if rows:
            draw.text((_GAP, top + side // 2 - 8), rows[r], _INK, font())
        for c, panel in enumerate(row):
            # Label maps and grids keep their hard edges.
            picture = Image.fromarray(panel).resize((width, side), Image.Resampling.NEAREST)
            canvas.paste(picture, (gutter + _GAP + c * (width + _GAP), top))
    return canvas


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Cut a text that is wider than its place, visibly; what cannot be drawn in a line is spelt out."""
    text = printable(text)
    if draw.textlength(text, font()) <= width:
        return text
    while text and draw.textlength(text + "…", font()) > width:
        text = text[:-1]
    return text + "…"


def stack(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures under one another, left-aligned."""
    canvas = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), _PAPER)
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas
