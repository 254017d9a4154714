"""How something that works in the background is drawn: screens, what is said on them, and what a notebook shows."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from markupsafe import Markup

from clipdiy_lab.errors import ClipdiyError, StateError

NEEDS: Final = (
    "needs ipywidgets and anywidget in the kernel and a widget manager in the notebook "
    "(pip install 'clipdiy-lab[lab]', then reload the page)"
)
_log = logging.getLogger(__name__)


class Screen(Protocol):
    """Interface of a front end. Called from the thread that computed, one call at a time."""

    def say(self, text: str, kind: str) -> None:
        """Show a sentence of a kind, such as ``error``, ``wait`` or ``busy``; an empty one clears it."""
        ...

    def close(self) -> None:
        """Take away what was drawn."""
        ...


ScreenT = TypeVar("ScreenT", bound=Screen)


class Live(ABC, Generic[ScreenT]):
    """Something with screens. In a notebook it shows its widgets where there are any, else a picture.

    Parameters
    ----------
    make_widgets : callable, optional
        Takes the object, returns a screen made of widgets with a method ``mimebundle``; raises ImportError where
        ipywidgets or anywidget is missing. None: there are no widgets.

    Attributes
    ----------
    error : str
        Why the last thing asked for had no effect; empty where it had.
    """

    def __init__(self, make_widgets: Callable[[Any], Any] | None = None) -> None:
        self.error = ""
        self.screens: list[ScreenT] = []
        self._make_widgets = make_widgets
        self._widget: Any = None

    def attach(self, screen: ScreenT) -> None:
        """Draw on one more screen."""
        self.screens.append(screen)

    def each(self, draw: Callable[[ScreenT], None]) -> BaseException | None:
        """Draw on every screen; one that fails is logged, and the others are served.

        Returns
        -------
        BaseException or None
            What the first screen that failed raised.
        """
        failure: BaseException | None = None
        for screen in tuple(self.screens):
            try:
                draw(screen)
            except (Exception, SystemExit) as error:
                _log.error("a screen of %r failed", self, exc_info=error)
                failure = failure or error
        return failure

    def tell(self, text: str, kind: str) -> None:
        """Show a sentence on every screen that can show one."""
        self.each(lambda screen: screen.say(text, kind))

    def attempt(self, act: Callable[[], object]) -> None:
        """Do what a callback of a widget asks for; say what went wrong.

        An exception would vanish in a log there; SystemExit and KeyboardInterrupt would end the kernel.
        """
        try:
            act()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self.complain(error)

    def complain(self, error: BaseException) -> None:
        """Say on every screen what went wrong."""
        if isinstance(error, ClipdiyError):
            self.error = str(error)
        elif isinstance(error, SystemExit | KeyboardInterrupt):
            self.error = f"The work was ended by {error!r}; what is shown is the state before it."
        else:
            # Not foreseen, so whoever reports it needs the place; the work goes on.
            self.error = f"{type(error).__name__}: {error}. This is a defect of the lab; the log has the place."
            _log.error("%r failed", self, exc_info=error)
        self.tell("", "busy")
        self.tell(self.error, "error")

    @property
    def widget(self) -> Any:
        """The widgets; made when they are first asked for.

        Raises
        ------
        ImportError
            Where ipywidgets or anywidget is missing.
        StateError
            If the object was made without widgets.
        """
        if self._make_widgets is None:
            raise StateError(f"{self!r} has no widgets; lab.explore and lab.ablation_board make one with widgets.")
        if self._widget is None:
            self._widget = self._make_widgets(self)
        return self._widget

    def close_screens(self) -> None:
        """Take every screen away."""
        self.each(lambda screen: screen.close())
        self.screens.clear()
        self._widget = None

    @abstractmethod
    def static_html(self) -> str:
        """Return a picture or table for places without widgets."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Show the widgets; a frontend without a widget manager finds a picture and a sentence beside them."""
        sentence = f"Live, this {NEEDS}."
        shown = str(self.static_html()) + str(Markup("<p>{}</p>").format(sentence))
        bundle = {"text/plain": repr(self), "text/html": shown}
        if self._make_widgets is not None:
            try:
                bundle |= self.widget.mimebundle()
            except ImportError:
                _log.info("ipywidgets or anywidget is missing, so there is a picture instead")
        return bundle
