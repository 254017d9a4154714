"""The explorer's picture: a photograph, labels over it, and a click that names its pixel.

It is a widget of our own because plotly's image trace loses clicks: its FigureWidget (7.1) begins to listen when the
trace has loaded, and never hears of that if another source arrives before, which the first result does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent


class PictureWidget(anywidget.AnyWidget):
    """Two pictures of one size over each other, pixel for pixel.

    Attributes
    ----------
    photograph, labels : str
        Data URIs; an empty one leaves what is shown.
    opacity : float
        Of the labels, from 0 to 1.
    size : (int, int)
        Height and width of the frame in pixels, as clicks count them.
    side : int
        Length of the longer side on the page, in CSS pixels.
    mark : tuple of int
        Row and column of the pixel that is marked; empty for none.
    """

    _esm = (_HERE / "picture.js").read_text(encoding="utf-8")
    _css = (_HERE / "picture.css").read_text(encoding="utf-8")
    photograph = traitlets.Unicode("").tag(sync=True)
    labels = traitlets.Unicode("").tag(sync=True)
    opacity = traitlets.Float(1.0).tag(sync=True)
    size = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(1, 1)).tag(sync=True)
    side = traitlets.Int(400).tag(sync=True)
    mark = traitlets.List(traitlets.Int()).tag(sync=True)

    def on_click(self, heard: Callable[[int, int], None]) -> None:
        """Tell row and column of every click."""

        def hear(_: Any, content: Any, __: Any) -> None:
            if "pixel" in content:
                row, column = content["pixel"]
                heard(int(row), int(column))

        self.on_msg(hear)
