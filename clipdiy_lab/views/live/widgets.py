"""Small widgets that the explorer and the board share; needs ipywidgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import ipywidgets as w
from markupsafe import Markup

_COLORS: Final = {"error": "#c0392b", "note": "#8a6d00", "wait": "#2f6fa7", "busy": "#2f6fa7"}


class Lines:
    """One line of text for every kind of sentence; an empty line takes no room.

    Parameters
    ----------
    kinds : iterable of str
        Of ``error``, ``note``, ``wait``, ``busy``.
    prefix : str
        Of the lines' CSS classes.
    """

    def __init__(self, kinds: Iterable[str], prefix: str) -> None:
        self._prefix = prefix
        self.widgets = {kind: w.HTML(layout={"display": "none"}) for kind in kinds}

    def say(self, text: str, kind: str) -> None:
        """Show a sentence; an empty one clears the line."""
        line = self.widgets[kind]
        style = f"color:{_COLORS[kind]};line-height:1.35;overflow-wrap:anywhere"
        line.value = (
            Markup('<div class="{}-{}" style="{}">{}</div>').format(self._prefix, kind, style, text) if text else ""
        )
        line.layout.display = "block" if text else "none"


class WidgetScreen:
    """A screen made of widgets.

    Attributes
    ----------
    root : ipywidgets.VBox
        Everything.
    said : Lines
        Where sentences are shown.
    """

    root: Any
    said: Lines

    def say(self, text: str, kind: str) -> None:
        """Show a sentence."""
        self.said.say(text, kind)

    def mimebundle(self) -> dict[str, Any]:
        """Return what Jupyter displays."""
        bundle: dict[str, Any] = self.root._repr_mimebundle_()
        return {"application/vnd.jupyter.widget-view+json": bundle["application/vnd.jupyter.widget-view+json"]}

    def close(self) -> None:
        """Take every widget away."""
        close(self.root)


def button(title: str, name: str) -> w.Button:
    """Make a button as wide as its title, with a CSS class."""
    made = w.Button(description=title, layout={"width": "auto"})
    made.add_class(name)
    return made


def everything(widget: Any) -> list[Any]:
    """List a widget and all that belongs to it, the innermost first; `close` of a box closes only the box."""
    inner = [item for child in getattr(widget, "children", ()) for item in everything(child)]
    own = [
        part for part in (getattr(widget, "layout", None), getattr(widget, "style", None)) if isinstance(part, w.Widget)
    ]
    return [*inner, widget, *own]


def close(root: Any) -> None:
    """Take a widget and everything in it away."""
    for widget in everything(root):
        widget.close()
