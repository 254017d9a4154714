"""One pixel of a view explained: the crops that voted, what each grid gave each label, and what would flip it."""

from __future__ import annotations

import html
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from clipdiy_lab.analysis.explain import background_threshold, flip_weight, pixel, story
from clipdiy_lab.errors import ClipdiyError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.views.colors import label_css
from clipdiy_lab.views.explorer.markup import image_tag, rows_of, short, swatch

CROPS: Final = 6
LABELS: Final = 6
_THUMB: Final = 72
_BAR: Final = 180


def inspector(run: xr.DataTree, y: int, x: int) -> str:
    """Explain a pixel.

    Parameters
    ----------
    run : xarray.DataTree
        Whole.
    y, x : int
        Row and column in the frame.

    Returns
    -------
    str
        HTML.
    """
    names = s.labels_of(run)
    colors = label_css(names, s.background_of(run))
    won = names[int(s.stage(run, "labels").values[y, x])]
    head = f"<b>Pixel row {y}, column {x}: {swatch(colors[won])} {short(won)}</b>"
    start = f'<div class="clipdiy-inspector" data-pixel="{y},{x}" data-label="{html.escape(won)}">{head}'
    try:
        parts = pixel(run, y, x)
    except RunError as error:  # the scores that decide are no sum of windows
        return f"{start}{_paragraph(str(error))}</div>"
    scores = parts.groupby("label")["contribution"].sum().sort_values(ascending=False)
    return "".join(
        [
            start,
            _story(run, y, x),
            "<h4>What would flip it</h4>",
            _list(flips(run, parts, y, x)),
            "<h4>What each grid gives each label</h4>",
            _bars(parts, scores, colors),
            "<h4>The crops that voted</h4>",
            _crops(run, parts, scores, won),
            "</div>",
        ]
    )


def _paragraph(text: str) -> str:
    return f'<p style="margin:.3em 0;line-height:1.35">{html.escape(text)}</p>'


def _story(run: xr.DataTree, y: int, x: int) -> str:
    try:
        text = story(run, y, x)
    except ClipdiyError as error:  # a single label has nothing to be compared with
        text = str(error)
    return "".join(map(_paragraph, text.splitlines()))


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def flips(run: xr.DataTree, parts: pd.DataFrame, y: int, x: int) -> list[str]:
    """Say what would give the pixel another label: leaving a grid out, another saliency weight, other saliency."""
    names = s.labels_of(run)
    config = Config.from_json(run.attrs["config"])
    won = names[int(s.stage(run, "labels").values[y, x])]
    lines = []
    grids = [str(name) for name in parts[s.GRID].unique()]
    for name in grids if len(grids) > 1 and config.background != "threshold" else []:
        rest = parts[parts[s.GRID] != name].groupby("label", sort=False)["contribution"].sum()
        other = str(rest.idxmax())
        lines.append(f"Without {grid_title(name)}: {'still ' if other == won else ''}{other}.")
    return lines + _saliency_flips(run, config, names, y, x)


def _saliency_flips(run: xr.DataTree, config: Config, names: tuple[str, ...], y: int, x: int) -> list[str]:
    try:
        found, border = flip_weight(run), background_threshold(run)
    except ClipdiyError:
        return ["Saliency does not enter the scores here, so no weight of it flips anything."]
    change = float(found["flip_change"].values[y, x])
    if np.isnan(change):
        lines = ["No saliency weight from 0 to 1 flips it."]
    else:
        other = names[int(found["flip_label"].values[y, x])]
        side = "below" if change < 0 else "above"
        lines = [f"A saliency weight {side} {config.saliency_weight + change:.3f} gives {other}."]
    below = float(border["background_threshold"].values[y, x])
    here = float(s.stage(run, "saliency").values[y, x])
    if 0 <= below <= 1:
        lines.append(f"Below a saliency of {below:.3f} it is background; the saliency here is {here:.3f}.")
    return lines


def _bars(parts: pd.DataFrame, scores: pd.Series, colors: dict[str, str]) -> str:
    """Stack what the grids give each label; the first grid has the fullest shade."""
    grids = {str(name): grid_title(str(name)) for name in parts[s.GRID].unique()}
    shades = np.linspace(1, 0.4, len(grids))
    # Negative parts have no length; the number beside the bar is exact.
    widest = max(float(scores.max()), 1e-9)
    by = parts.pivot_table(index="label", columns=s.GRID, values="contribution", aggfunc="sum")
    rows = []
    for label in scores.index[:LABELS]:
        bars = "".join(
            f'<span title="{title}: {by.loc[label, name]:.4f}" style="display:inline-block;height:.9em;'
            f"width:{max(0.0, by.loc[label, name]) / widest * _BAR:.0f}px;background:{colors[label]};"
            f'opacity:{shade:.2f}"></span>'
            for (name, title), shade in zip(grids.items(), shades, strict=True)
        )
        each = [f"{by.loc[label, name]:+.4f}" for name in grids]
        bar = f'<span style="display:inline-block;width:{_BAR + 6}px;text-align:left;white-space:nowrap">{bars}</span>'
        rows.append([short(str(label), 18), bar, *each, f"<b>{scores[label]:.4f}</b>"])
    left = len(scores) - LABELS
    more = f"<div>{left} lower labels left out</div>" if left > 0 else ""
    return rows_of(["label", "", *grids.values(), "score"], rows) + more


def _crops(run: xr.DataTree, parts: pd.DataFrame, scores: pd.Series, won: str) -> str:
    """Show the windows with the largest say in the lead of the winner over the next label."""
    other = next((str(label) for label in scores.index if label != won), None)
    mine = parts[parts["label"] == won].reset_index(drop=True)
    if mine.empty:  # the background of the policy 'threshold' has no windows of its own
        mine = parts[parts["label"] == str(scores.index[0])].reset_index(drop=True)
        won = str(scores.index[0])
        other = next((str(label) for label in scores.index if label != won), None)
    rival = parts[parts["label"] == other].reset_index(drop=True) if other is not None else None
    say = mine["contribution"] - (0 if rival is None else rival["contribution"])
    frame = s.stage(run, "image").values
    rows = []
    for at in say.abs().sort_values(ascending=False, kind="stable").index[:CROPS]:
        one = mine.loc[at]
        top, left, bottom, right = (int(one[side]) for side in ("top", "left", "bottom", "right"))
        crop = Image.fromarray(frame[top:bottom, left:right]).resize((_THUMB, _THUMB))
        picture = image_tag(crop, f"crop at row {top}, column {left}", f"width:{_THUMB}px;height:{_THUMB}px")
        cosines = [f"{one['cosine']:.3f}"] + ([] if rival is None else [f"{rival.loc[at, 'cosine']:.3f}"])
        where = f"{grid_title(one[s.GRID])}<br>rows {top}-{bottom - 1}<br>columns {left}-{right - 1}"
        rows.append([picture, where, f"{one['interpolation_weight']:.2f}", *cosines, f"{say[at]:+.4f}"])
    versus = [f"cosine {won[:14]}"] + ([] if other is None else [f"cosine {other[:14]}"])
    return rows_of(["crop", "window", "weight here", *versus, "part of the lead"], rows)
