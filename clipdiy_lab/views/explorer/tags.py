"""A list of texts or numbers: a button for each, which takes it out, and a field that adds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w


class Tags:
    """A list that is typed and clicked.

    ipywidgets has TagsInput, but in JupyterLab (4.6) its Enter does nothing: the page cancels line breaks inside cells,
    and with them the browser's change event that TagsInput waits for. A text field is heard.

    Parameters
    ----------
    value : sequence
    changed : callable
        Hears of every list that the user makes.
    failed : callable
        Takes the error of a text that `read` refuses.
    read : callable
        Makes a value of a text.
    hint : str
        What the empty field says.

    Attributes
    ----------
    root : ipywidgets.HBox
    field : ipywidgets.Text
    """

    def __init__(
        self,
        value: Sequence[Any],
        changed: Callable[[list[Any]], None],
        failed: Callable[[Exception], None],
        read: Callable[[str], Any] = str,
        hint: str = "add",
    ) -> None:
        self._changed, self._failed, self._read = changed, failed, read
        self._value: list[Any] = []
        self._buttons: dict[Any, w.Button] = {}
        self.field = w.Text(placeholder=hint, continuous_update=False, layout={"width": "11em"})
        self.field.observe(self._add, "value")
        # A box makes the views of its children again when they change; beside the box the field keeps the focus.
        self._box = w.HBox(layout={"flex_flow": "row wrap"})
        self.root = w.HBox([self._box, self.field], layout={"flex_flow": "row wrap", "width": "98%"})
        self.value = value

    @property
    def value(self) -> list[Any]:
        """What is listed; setting it tells nobody."""
        return list(self._value)

    @value.setter
    def value(self, value: Sequence[Any]) -> None:
        if list(value) == self._value:
            return
        self._value = list(value)
        old, self._buttons = self._buttons, {}
        for one in self._value:
            self._buttons[one] = old.pop(one, None) or self._button(one)
        self._box.children = list(self._buttons.values())
        for button in old.values():
            for part in (button, button.layout, button.style):
                part.close()

    def _button(self, one: Any) -> w.Button:
        button = w.Button(description=str(one), icon="times", tooltip=f"remove {one}", layout={"width": "auto"})
        button.add_class("clipdiy-tag")
        button.on_click(lambda _: self._tell([other for other in self._value if other != one]))
        return button

    def _add(self, change: Any) -> None:
        text = str(change["new"]).strip()
        if not text:
            return
        self.field.value = ""
        try:
            one = self._read(text)
        except Exception as error:  # an exception in a callback would vanish in a log
            self._failed(error)
            return
        if one not in self._value:
            self._tell([*self._value, one])

    def _tell(self, value: list[Any]) -> None:
        self.value = value
        self._changed(self.value)
