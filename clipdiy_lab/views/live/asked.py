"""A screen made of one widget: the browser asks, the kernel answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.views.live.screen import Live


class AskedScreen:
    """Draws on a widget and answers what its browser asks.

    Parameters
    ----------
    live : Live
        What is shown.
    root : anywidget.AnyWidget
        With a trait ``status``, a dict.

    Attributes
    ----------
    acts : mapping of str to callable
        By what is asked for: takes the screen, what was asked and its buffers; returns more for the answer, or None.
    """

    acts: ClassVar[Mapping[str, Callable[[Any, Mapping[str, Any], Sequence[Any]], dict[str, Any] | None]]] = {}

    def __init__(self, live: Live[Any], root: Any) -> None:
        self._live, self.root = live, root
        self._guard = threading.Lock()
        root.on_msg(self._hear)

    def say(self, text: str, kind: str) -> None:
        """Show a sentence."""
        self.show_status(**{kind: text})

    def show_status(self, **status: Any) -> None:
        """Change the trait ``status``, from the thread that computes or from the kernel's own."""
        with self._guard:
            self.root.status = {**self.root.status, **status}

    def mimebundle(self) -> dict[str, Any]:
        """Return what Jupyter displays."""
        kind = "application/vnd.jupyter.widget-view+json"
        bundle: Any = self.root._repr_mimebundle_()
        # anywidget (0.11) gives the bundle alone or with metadata.
        return {kind: (bundle[0] if isinstance(bundle, tuple) else bundle)[kind]}

    def close(self) -> None:
        """Take the widget away."""
        self.root.layout.close()
        self.root.close()

    def before(self, asked: Mapping[str, Any]) -> None:
        """Take what the browser tells with whatever it asks."""

    def _hear(self, _: Any, asked: Any, buffers: Sequence[Any]) -> None:
        """Do what the browser asks and answer; what is refused is said in the answer."""
        act = self.acts.get(asked.get("what"))
        if act is None:
            return
        answer: dict[str, Any] = {"answer": asked.get("id"), "error": ""}
        try:
            self.before(asked)
            answer |= act(self, asked, buffers) or {}
        except ClipdiyError as error:
            answer["error"] = str(error)
        except BaseException as error:  # SystemExit of an encoder, say: the browser waits for an answer
            self._live.complain(error)
            answer["error"] = self._live.error
        self.root.send(answer)
