"""A picture and its legend as HTML, for places without the instrument."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from clipdiy_lab.views import data_uris
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.explorer.engine import Shown
from clipdiy_lab.views.html import render

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
