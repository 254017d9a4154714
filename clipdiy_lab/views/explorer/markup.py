"""A picture as HTML, for places without the instrument."""

from __future__ import annotations

from PIL import Image

from clipdiy_lab.views import data_uris
from clipdiy_lab.views.html import render


def image_tag(picture: Image.Image, alt: str, style: str = "max-width:100%") -> str:
    """Return a picture as HTML."""
    return render("picture.html", source=data_uris.picture(picture), alt=alt, style=style)
