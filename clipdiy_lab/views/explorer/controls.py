"""A widget for every form of control that `explorer.fields` knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets as w

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.views.explorer.fields import Field, read, spell
from clipdiy_lab.views.explorer.tags import Tags

_WIDE: Final = {"width": "98%"}
_STYLE: Final = {"description_width": "11em"}
_FINE: Final = 1000
"""Steps of a slider at most; a number with more is typed."""


class Control:
    """A widget that shows one knob.

    Parameters
    ----------
    field : Field
    value : object
        The knob's value.
    changed : callable
        Takes the name of the knob and its new value.
    failed : callable
        Takes the error of a value that cannot be read.
    """

    def __init__(
        self, field: Field, value: Any, changed: Callable[[str, Any], None], failed: Callable[[Exception], None]
    ) -> None:
        self.field, self._changed, self._failed = field, changed, failed
        self._quiet, self._last = False, value
        self.widget = self._make(field, value)
        self.widget.add_class(f"clipdiy-{field.name.replace('_', '-')}")

    def _make(self, field: Field, value: Any) -> Any:
        if field.form == "optional":
            return self._optional(field, value)
        if field.form in ("words", "numbers"):
            whole = field.form == "numbers"
            reader = (lambda text: _whole(field, text)) if whole else str
            self.tags = Tags(spell(field, value), self._hear, self._failed, reader)
            return self.tags.root
        widget = _make(field, spell(field, value))
        widget.observe(self._hear, "value")
        return widget

    def _optional(self, field: Field, value: float | None) -> w.HBox:
        on = w.Checkbox(value=value is not None, description=field.title, indent=False, layout={"width": "12em"})
        start = (field.meta["min"] + field.meta["max"]) / 2 if value is None else value
        slider = w.FloatSlider(value=start, disabled=value is None, tooltip=field.meta["help"],
                               layout={"width": "auto", "flex": "1"}, **bounds(field))  # fmt: skip
        self._parts = (on, slider)
        for one in self._parts:
            one.observe(self._hear, "value")
        return w.HBox(self._parts, layout=_WIDE)

    def _hear(self, _: Any) -> None:
        if self._quiet:
            return
        try:
            value = self._value()
        except Exception as error:
            self._failed(error)
            return
        # A slider answers its own display with 49.99999999999999 for 50; that is no change.
        if value != self._last:
            self._last = value
            self._changed(self.field.name, value)

    def _value(self) -> Any:
        if self.field.form == "optional":
            on, slider = self._parts
            slider.disabled = not on.value
            return tidy(slider.value) if on.value else None
        if self.field.form in ("words", "numbers"):
            return read(self.field, self.tags.value)
        return tidy(read(self.field, self.widget.value))

    def set(self, value: Any) -> None:
        """Show another value without telling anybody."""
        self._quiet, self._last = True, value
        try:
            if self.field.form == "optional":
                on, slider = self._parts
                on.value, slider.disabled = value is not None, value is None
                slider.value = slider.value if value is None else value
            elif self.field.form in ("words", "numbers"):
                self.tags.value = spell(self.field, value)
            else:
                self.widget.value = spell(self.field, value)
        finally:
            self._quiet = False


def bounds(field: Field) -> dict[str, float]:
    """Lowest and highest value and step of a slider."""
    return {name: field.meta[name] for name in ("min", "max", "step")}


def tidy(value: Any) -> Any:
    """Return a number without the last digits, which sliders get wrong.

    Examples
    --------
    >>> tidy(49.99999999999999), tidy("a")
    (50.0, 'a')
    """
    return round(value, 9) if isinstance(value, float) else value


def _make(field: Field, shown: Any) -> Any:
    """Make the widget of a form; knobs that need the network wait until the mouse is let go."""
    meta = field.meta
    shared = {"description": field.title, "tooltip": meta["help"], "style": _STYLE, "layout": _WIDE}
    if field.form == "number":
        if (meta["max"] - meta["min"]) / meta["step"] > _FINE:
            return w.BoundedFloatText(value=shown, **bounds(field), **shared)
        return w.FloatSlider(value=shown, continuous_update=meta["tier"] == "fuse", **bounds(field), **shared)
    if field.form == "count":
        return w.IntSlider(value=shown, continuous_update=False, **bounds(field), **shared)
    if field.form == "choice":
        return w.Dropdown(value=shown, options=meta["choices"], **shared)
    if field.form == "switch":
        return w.Checkbox(value=shown, **shared | {"indent": True})
    if field.form == "template":
        offered = meta["suggestions"]
        return w.Combobox(value=shown, options=offered, continuous_update=False, ensure_option=False, **shared)
    if field.form in ("phrases", "sides"):
        example = "sofa: sofa, couch" if field.form == "phrases" else "64: 96"
        return w.Textarea(value=shown, continuous_update=False, rows=2, placeholder=example, **shared)
    return w.Text(value=shown, continuous_update=False, **shared)


def _whole(field: Field, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{field.title}: {text!r} is no whole number; write one such as 96.")
    return int(text)


def titled(field: Field, widget: Any) -> Any:
    """Put the title before a widget that has no description of its own."""
    if field.form not in ("words", "numbers"):
        return widget
    return w.HBox([w.Label(field.title, layout={"width": "11em"}), widget], layout=_WIDE)
