"""The explorer's workbench: models, embeddings, saliency maps and runs, kept as long as they serve the view."""

from __future__ import annotations

import json
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from clipdiy_lab.errors import ClipdiyWarning
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.encoders import Encoder, load_encoder
from clipdiy_lab.models.prompts import with_background
from clipdiy_lab.models.saliency import Saliency, build, validate_map
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.fusion import fuse, label_map
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.views.explorer.state import View
from clipdiy_lab.views.live.scheduler import StoppedError

_KEPT = 16
"""Things in memory: models, embeddings of images, saliency maps, runs (a run with 50 labels takes 80 MB)."""
_BATCH = 8
"""Crops between two looks at whether anybody still waits."""
T = TypeVar("T")


@dataclass(eq=False)
class Watch:
    """What long work reports to, and asks.

    Attributes
    ----------
    progress : callable
        Takes the crops that are encoded and how many there are.
    unwanted : callable
        Says whether to stop.
    """

    progress: Callable[[int, int], None] = lambda done, total: None
    unwanted: Callable[[], bool] = lambda: False

    def look(self) -> None:
        """Stop if nobody waits any more.

        Raises
        ------
        StoppedError
        """
        if self.unwanted():
            raise StoppedError


class Watched:
    """An encoder that counts the crops it has seen and can be stopped between two batches; else the one that it wraps.

    Parameters
    ----------
    encoder : Encoder
    watch : Watch
    total : int
        Crops that will come, as far as one knows.
    """

    def __init__(self, encoder: Encoder, watch: Watch, total: int) -> None:
        self._encoder, self._watch, self._total, self._done = encoder, watch, total, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def with_precision(self, precision: str) -> Watched:
        """Return the encoder in another precision, as well watched."""
        return Watched(self._encoder.with_precision(precision), self._watch, self._total)  # type: ignore[attr-defined]

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts."""
        return self._encoder.encode_texts(texts)

    def encode_crops(self, crops: Tensor) -> Tensor:
        """Embed crops, and tell.

        Raises
        ------
        StoppedError
            Before the work, if nobody waits for it any more.
        """
        self._watch.look()
        vectors = self._encoder.encode_crops(crops)
        self._done += len(crops)
        self._watch.progress(self._done, self._total)
        return vectors


@dataclass(frozen=True, eq=False)
class Shown:
    """The labels of a view, ready to be painted.

    Attributes
    ----------
    view : View
    frame : uint8 array, y x x x 3
    labels : int array, y x x
    names : tuple of str
        With the background, as they are fused.
    background : int or None
    notes : tuple of str
        Warnings worth showing.
    """

    view: View
    frame: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    names: tuple[str, ...]
    background: int | None
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Bench:
    """Makes what a view asks for, and nothing twice in a row.

    Parameters
    ----------
    given : Segmenter, optional
        Used for the views that name its encoder and its saliency source.
    """

    given: Segmenter | None = None
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _kept: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)

    def ready(self, view: View) -> bool:
        """Whether the view needs no image network: only fuse knobs differ from what was encoded.

        Never waits for work that runs.
        """
        known = self._kept.get(_embeddings_of(view), {})
        return set(view.config.grids) <= set(known) and _saliency_of(view) in self._kept

    def segmenter(self, view: View) -> Segmenter:
        """Return the segmenter of a view.

        Raises
        ------
        ModelError
            If a model or a saliency source is not there.
        SaliencyError
            If the file of a saliency source is not there.
        """
        with self._guard:
            return Segmenter(self._maker(view.model).encoder, self._source(view))

    def labels(self, view: View, watch: Watch | None = None) -> Shown:
        """Return the labels of a view; only a view that is not `ready` touches the image network.

        Raises
        ------
        StoppedError
            If the watch says so.
        ClipdiyError
            A child of it for whatever does not fit.
        """
        with self._guard, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ClipdiyWarning)
            encoded, text = self._parts(view, watch or Watch())
            found = label_map(encoded, text, view.config).values
        names, background = with_background(s.labels_of(text), view.config)
        notes = tuple(dict.fromkeys(str(one.message) for one in caught))
        return Shown(view, s.stage(encoded, "image").values, found, names, background, notes)

    def run(self, view: View) -> xr.DataTree:
        """Return the whole run of a view, every stage."""
        with self._guard, warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)  # `labels` has told them
            encoded, text = self._parts(view, Watch())
            key = ("run", _embeddings_of(view), _saliency_of(view), view.labels, view.config)
            return self._keep(key, lambda: fuse(encoded, text, view.config))

    def _parts(self, view: View, watch: Watch) -> tuple[xr.DataTree, xr.DataArray]:
        """Return windows and saliency of the image as one encoding, and the texts."""
        maker = self._maker(view.model)
        text = maker.text_embeddings(view.labels, view.config)  # labels that make no sense fail before the long work
        encoded = self._embeddings(view, maker, watch)
        source, found = self._keep(_saliency_of(view), lambda: self._saliency(view, encoded))
        if found is not None:
            encoded["saliency"] = found
        encoded.attrs |= source
        return encoded, text

    def _embeddings(self, view: View, maker: Segmenter, watch: Watch) -> xr.DataTree:
        """Return an encoding with the grids of the view; those that were encoded before are not encoded again."""
        trees: dict[str, xr.DataTree] = self._keep(_embeddings_of(view), dict)
        missing = [name for name in view.config.grids if name not in trees]
        if missing:
            config = view.config.only(*missing)
            watched = Watched(maker.encoder, watch, Plan.of(config).windows)
            tree = Segmenter(watched, "none", batch_size=_BATCH).encode(view.image.pixels, config)
            trees |= dict.fromkeys(missing, tree)
        some = trees[view.config.grids[0]]
        nodes: dict[str, Any] = {"/": some.to_dataset()}
        for name in view.config.grids:
            nodes[f"/{s.GRIDS}/{name}"] = xr.Dataset({"embedding": s.stage(trees[name], "embedding", name)})
        encoded = xr.DataTree.from_dict(nodes)
        settled = view.config.replace(precision=Config.from_json(some.attrs["config"]).precision)
        named = f"{view.image.kind} {view.image.name}"
        encoded.attrs = {**some.attrs, "config": settled.to_json(), "image_source": named}
        return encoded

    def _saliency(self, view: View, encoded: xr.DataTree) -> tuple[dict[str, Any], xr.DataArray | None]:
        """Return what the source says of itself, and its map in the frame."""
        source = self._source(view)
        named = {
            "saliency_source": source.name,
            "saliency_options": json.dumps(getattr(source, "options", {}), default=str),
            "saliency_fingerprint": source.fingerprint,
        }
        if source.name == "none":
            return named | {"saliency_fingerprint": ""}, None
        in_frame = view.config.saliency_input == "frame"
        seen = s.stage(encoded, "image").values if in_frame else view.image.pixels
        return named, stages.saliency(validate_map(source(seen), seen.shape[:2]), view.config.image_size)

    def _maker(self, model: str) -> Segmenter:
        if self.given is not None and self.given.encoder.name == model:
            return self.given
        made: Segmenter = self._keep(("model", model), lambda: Segmenter(load_encoder(model), "none"))
        return made

    def _source(self, view: View) -> Saliency:
        given = self.given
        if given is not None and given.saliency.name == view.saliency and not view.saliency_options:
            return given.saliency
        # A file may have changed since it was read.
        if view.saliency == "file":
            return build("file", path=view.saliency_path)
        key = ("saliency", view.saliency, tuple(view.saliency_options.items()))
        made: Saliency = self._keep(key, lambda: build(view.saliency, **view.saliency_options))
        return made

    def _keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what stands under a key, or make it; what was not asked for longest goes."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        kept: T = self._kept[key]
        return kept


def _embeddings_of(view: View) -> Hashable:
    return ("embeddings", view.asks_the_network)


def _saliency_of(view: View) -> Hashable:
    config = view.config
    options = tuple(view.saliency_options.items())
    return ("map", view.image.sha256, view.saliency, options, config.saliency_input, config.image_size,
            config.image_resize if config.saliency_input == "frame" else "")  # fmt: skip
