"""The instrument in a notebook: the browser answers fuse knobs, the kernel encodes, embeds labels and keeps files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import anywidget
import traitlets

from clipdiy_lab.errors import RunError
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.explorer import image_sources
from clipdiy_lab.views.explorer.album import Album
from clipdiy_lab.views.explorer.asks import controls, read_controls
from clipdiy_lab.views.explorer.engine import Shown, scene_key
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.image_sources import MAX_UPLOAD, SPLITS
from clipdiy_lab.views.explorer.state import View
from clipdiy_lab.views.instrument.bundle import bundled, source
from clipdiy_lab.views.instrument.scene import KNOBS, knobs
from clipdiy_lab.views.live.asked import AskedScreen

_LOOK: Final = ("pixel", "opacity", "panel", "hidden")
"""What else than knobs the browser chooses by itself."""
_QUIET: Final = {"error": "", "note": "", "wait": "", "busy": "", "done": 0, "total": 0}


class InstrumentWidget(anywidget.AnyWidget):
    """The instrument in a cell.

    Attributes
    ----------
    scene : dict
        What the engine in the browser computes with, see `views.instrument.scene`; where it cannot, a picture,
        ``still``, and ``why``.
    chosen : dict
        The knobs that the browser turns, ``pixel``, ``opacity``, ``panel`` and ``hidden`` as the kernel knows them, and
        ``by``, the view that chose them (empty: Python).
    asks : list of dict
        Controls of what a network has to answer; see `asks.controls`.
    status : dict
        ``error``, ``note``, ``wait`` and ``busy`` are sentences, ``done`` and ``total`` crops of what is encoded.
    film : dict
        Of several images the ``count``, the ``place`` of the one on show, and ``frames`` round it: their place, title
        and thumbnail. Empty where there is one image.
    places : dict
        ``splits`` of the embedded benchmark and ``most``, the bytes that an upload may have.
    """

    _esm = bundled("widget", default=True)
    _css = source("instrument.css") + source("widget.css")
    scene = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    asks = traitlets.List(traitlets.Dict()).tag(sync=True)
    status = traitlets.Dict(_QUIET).tag(sync=True)
    film = traitlets.Dict().tag(sync=True)
    places = traitlets.Dict({"splits": list(SPLITS), "most": MAX_UPLOAD}).tag(sync=True)


class InstrumentScreen(AskedScreen):
    """The instrument of an explorer; an `ExplorerScreen`.

    Parameters
    ----------
    explorer : Explorer

    Attributes
    ----------
    root : InstrumentWidget
    painted : int
        Scenes and choices that went to the browser.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.painted = 0
        self._key: Any = None
        self._album: Album | None = None
        self._thumbnails: dict[int, str] = {}
        super().__init__(explorer, InstrumentWidget(chosen=_chosen(explorer), asks=controls(explorer.draft)))
        explorer.attach(self)
        explorer.refresh()

    # What the explorer says

    def show(self, shown: Shown, generation: int) -> None:
        """Send the scene where it is another one, and what is chosen."""
        key = scene_key(shown.view)
        scene = self._scene_of(shown) if key != self._key else None
        with self.root.hold_sync():
            if scene is not None:
                self._key, self.root.scene = None if "still" in scene else key, scene
            self.root.chosen = _chosen(self.explorer)
            self.root.asks = controls(self.explorer.draft)
        self.root.film = self._film(shown.view)
        self.show_status(done=0, total=0)
        self.painted += 1

    def _scene_of(self, shown: Shown) -> dict[str, Any]:
        """Return the scene of a view, or a still picture of one that the engine in the browser does not know."""
        try:
            return self.explorer.scene(shown.view)
        except RunError as error:
            return {"still": data_uris.picture(self.explorer.overlay()), "why": str(error)}

    def _film(self, view: View) -> dict[str, Any]:
        album, place = self.explorer.album, view.image.place
        if album is None or place is None or len(album) < 2:
            return {}
        if self._album is not album:
            self._album, self._thumbnails = album, {}
        known, window = self._thumbnails, album.window(place)
        known |= {at: album.thumbnail(at) for at in window if at not in known}
        frames = [{"place": at, "title": album.titles[at], "source": known[at]} for at in window]
        return {"count": len(album), "place": place, "frames": frames}

    def progress(self, done: int, total: int) -> None:
        """Say how many crops are encoded."""
        self.show_status(done=done, total=total)

    def say(self, text: str, kind: str) -> None:
        """Show a sentence; what the scene says itself of its model and its image is not said twice."""
        caution = (self.root.scene or {}).get("about", {}).get("caution", "")
        self.show_status(**{kind: text.replace(caution, "").strip() if caution and kind == "note" else text})

    def read_draft(self) -> None:
        """Show what the draft holds in the controls."""
        self.root.asks = controls(self.explorer.draft)

    # What the browser asks

    def before(self, asked: Mapping[str, Any]) -> None:
        """Take what is chosen in the browser."""
        if "chosen" in asked:
            self._follow(asked["chosen"], str(asked.get("by", "")))

    def _follow(self, chosen: Mapping[str, Any], by: str) -> None:
        look = {name: chosen[name] for name in _LOOK if name in chosen}
        turned = {name: value for name, value in chosen.get("knobs", {}).items() if name in KNOBS}
        self.explorer.follow(**turned, **look)
        self.root.chosen = {**_chosen(self.explorer), "by": by}

    def _add(self, asked: Mapping[str, Any], _: Any) -> None:
        self.explorer.take(labels=(*self.explorer.view.labels, *map(str, asked["words"])))

    def _encode(self, asked: Mapping[str, Any], _: Any) -> None:
        self.explorer.take(**read_controls(asked["values"], self.explorer.draft))
        self.explorer.apply()

    def _cancel(self, *_: Any) -> None:
        self.explorer.cancel()
        self.show_status(wait="", done=0, total=0)

    def _open(self, asked: Mapping[str, Any], _: Any) -> None:
        self.explorer.look_at(str(asked["path"]))
        self.explorer.apply()

    def _open_scene(self, asked: Mapping[str, Any], _: Any) -> None:
        self.explorer.look_at(image_sources.scene(str(asked["split"]), asked["number"]))
        self.explorer.apply()

    def _upload(self, asked: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        self.explorer.look_at(image_sources.upload(str(asked["name"]), buffers[0]))
        self.explorer.apply()

    def _turn(self, asked: Mapping[str, Any], _: Any) -> None:
        self.explorer.turn(int(asked["step"]))
        self.explorer.apply()

    def _choose(self, asked: Mapping[str, Any], _: Any) -> None:
        self.explorer.choose(int(asked["place"]))
        self.explorer.apply()

    def _code(self, *_: Any) -> dict[str, Any]:
        return {"text": self.explorer.code()}

    def _save(self, asked: Mapping[str, Any], _: Any) -> dict[str, Any]:
        return {"told": f"Saved to {self.explorer.save(asked['path'])}."}

    def _load(self, asked: Mapping[str, Any], _: Any) -> dict[str, Any]:
        self.explorer.load(asked["path"])
        self.explorer.apply()
        return {"told": f"Loaded {asked['path']}."}

    def _export(self, asked: Mapping[str, Any], _: Any) -> dict[str, Any]:
        return {"told": f"Exported to {self.explorer.export(asked['path'])}."}


InstrumentScreen.acts = {
    "follow": lambda *_: None,
    "add": InstrumentScreen._add,
    "encode": InstrumentScreen._encode,
    "cancel": InstrumentScreen._cancel,
    "open": InstrumentScreen._open,
    "scene": InstrumentScreen._open_scene,
    "upload": InstrumentScreen._upload,
    "turn": InstrumentScreen._turn,
    "choose": InstrumentScreen._choose,
    "code": InstrumentScreen._code,
    "save": InstrumentScreen._save,
    "load": InstrumentScreen._load,
    "export": InstrumentScreen._export,
}


def _chosen(explorer: Explorer) -> dict[str, Any]:
    view = explorer.view
    look = {name: getattr(view, name) for name in _LOOK}
    return {"knobs": knobs(view.config), **look, "by": ""}
