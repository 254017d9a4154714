"""The explorer's workbench: models, embeddings, saliency maps and runs, kept as long as they serve the view."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.errors import ClipdiyWarning
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.knobs import Place
from clipdiy_lab.models import recipes
from clipdiy_lab.models.capabilities import precision_of, recipe_of
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.prompts import with_background
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency import Saliency, build
from clipdiy_lab.pipeline.caution import caution
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.fusion import fuse, label_map
from clipdiy_lab.pipeline.loading import load
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store, StoreSource, as_source
from clipdiy_lab.pipeline.stored import AnyStore, text_segmenter
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch
from clipdiy_lab.text import printable
from clipdiy_lab.views.explorer.image_sources import Picture
from clipdiy_lab.views.explorer.state import View
from clipdiy_lab.views.instrument.scene import KNOBS, knobs, scene
from clipdiy_lab.views.repeat import Maker

_KEPT = 16
"""Things in memory: models, embeddings of images, saliency maps, runs (a run with 50 labels takes 80 MB)."""
_BATCH = 8
"""Crops between two looks at whether anybody still waits."""
T = TypeVar("T")


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
class Engine:
    """Makes what a view asks for, and nothing twice in a row.

    Parameters
    ----------
    given : Segmenter, optional
        Used for the views that name its encoder and its saliency source.
    store : EmbeddingStore or OpenedStore, optional
        Spares the networks for the images that it holds, as long as the view asks for what they were encoded with;
        `given` then has its encoder.
    """

    given: Segmenter | None = None
    store: AnyStore | None = None
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _kept: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)

    @classmethod
    def of(cls, source: Segmenter | Store | StoreSource | None) -> Engine:
        """Return the engine for a segmenter, a store, or a store with the segmenter whose text encoder belongs to it.

        Raises
        ------
        StoreError
            If it is something else, or the encoder of a store cannot be loaded by its name.
        """
        if isinstance(source, StoreSource):
            return cls(source.segmenter, source.store)
        given = load() if source is None else as_source(source)
        return cls(given) if isinstance(given, Segmenter) else cls(text_segmenter(given), given)

    def hold(self, view: View, run: xr.DataTree) -> None:
        """Keep what a run holds of the image of a view, so that the view needs no network."""
        encoding = Encoding.of(run)
        names = ("saliency_source", "saliency_recipe", "saliency_fingerprint")
        source = {name: run.attrs[name] for name in names if name in run.attrs}
        self._put(_embeddings_of(view), encoding)
        self._put(_saliency_of(view), (source, encoding.saliency))

    def first(self) -> dict[str, Any]:
        """Return what a view shows at first, apart from image and labels."""
        given = self.given or Segmenter()
        name, recipe, config = given.saliency.name, recipe_of(given.saliency), Config()
        if self.store is not None:
            attrs, config = self.store.attrs, self.store.config
            name, recipe = attrs["saliency_source"], _saliency_recipe(attrs)
        options = recipe.options if recipe is not None and recipe.name in ("file", "constant") else {}
        return {
            "model": given.encoder.name,
            "saliency": name,
            "saliency_path": str(options.get("path", "")),
            "saliency_value": float(options.get("value", 0.5)),
            "config": config,
        }

    def ready(self, view: View) -> bool:
        """Whether the view needs no image network: only fuse knobs differ from what was encoded.

        Never waits for work that runs.
        """
        known: Encoding | None = self._kept.get(_embeddings_of(view))
        return known is not None and _has(known, view.config) and _saliency_of(view) in self._kept

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

    def embed(self, view: View) -> None:
        """Embed the labels of a view, without waiting for work that runs.

        Raises
        ------
        LabelError
            If the text encoder cannot read one.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)  # `labels` tells them
            self._maker(view.model).text_embeddings(view.labels, view.config)

    def labels(self, view: View, watch: Watch = UNWATCHED) -> Shown:
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
            encoding, frame, text = self._parts(view, watch)
            labels = label_map(encoding, text, view.config).values
        names, background = with_background(s.labels_of(text), view.config)
        cautions = [encoding.provenance[s.CAUTION]] if s.CAUTION in encoding.provenance else []
        notes = tuple(dict.fromkeys([*cautions, *(str(one.message) for one in caught)]))
        return Shown(view, frame.numpy(), labels, names, background, notes)

    def run(self, view: View) -> xr.DataTree:
        """Return the whole run of a view, every stage."""
        with self._guard, warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipdiyWarning)  # `labels` has told them
            encoding, _, text = self._parts(view, UNWATCHED)
            key = ("run", _embeddings_of(view), _saliency_of(view), view.labels, view.config)
            return self._keep(key, lambda: fuse(encoding, text, view.config))

    def scene(self, view: View) -> dict[str, Any]:
        """Return what the instrument needs of a view, for JSON; see `views.instrument.scene`.

        A view without background gets one all the same where it can have one, so that the instrument may turn it on.
        """
        others = [name for name in view.labels if name != view.config.background_label]
        config = view.config
        if config.background == "none" and others:
            config = config.replace(background="prompt")
        run = self.run(replace(view, config=config))
        made = scene(run, photograph=view.image.pixels, truth=_truth(view.image, run))
        return {**made, "title": printable(view.image.title), "knobs": knobs(view.config)}

    def _parts(self, view: View, watch: Watch) -> tuple[Encoding, Tensor, xr.DataArray]:
        """Return the image as one encoding, its frame, and the texts."""
        maker = self._maker(view.model)
        text = maker.text_embeddings(view.labels, view.config)  # labels that make no sense fail before the long work
        encoding = self._encoding(view, maker, replace(watch, every=_BATCH))
        frame = cast(Tensor, encoding.frame)
        source, applied = self._keep(_saliency_of(view), lambda: self._saliency(view, frame))
        named = {"image_source": f"{view.image.kind} {view.image.name}"}
        # Embeddings are kept when a knob of the saliency changes.
        settled = view.config.settled_by(encoding.config)
        provenance = {**encoding.provenance, **source, **named}
        return replace(encoding, config=settled, saliency=applied, provenance=provenance), frame, text

    def _encoding(self, view: View, maker: Segmenter, watch: Watch) -> Encoding:
        """Return an encoding with the grids of the view; those that were encoded before are not encoded again."""
        known: Encoding | None = self._kept.get(_embeddings_of(view)) or self._stored(view, "embedding")
        if known is None or not _has(known, view.config):
            held = {} if known is None else known.embeddings
            config = view.config.only(*(grid for grid in view.config.grids if grid not in held))
            more = Segmenter(maker.encoder, "none").encoding(view.image.pixels, config, watch=watch)
            known = replace(known or more, embeddings={**held, **more.embeddings})
        self._put(_embeddings_of(view), known)
        return known

    def _stored(self, view: View, place: Place) -> Encoding | None:
        """Return what the store holds of the image of a view; None where embedding or saliency are made otherwise."""
        store = self.store
        if store is None or view.model != store.attrs["encoder"]:
            return None
        if view.config.unlike(store.config, place):
            return None
        position = self._keep(("position", view.image.sha256), lambda: store.find(view.image.sha256))
        if position is None:
            return None
        encoding = store.encoding(position).seen(view.image.pixels)
        cautioned = caution(self._maker(view.model).encoder, view.image.pixels)
        return replace(encoding, provenance={**encoding.provenance, **cautioned})

    def _saliency(self, view: View, frame: Tensor) -> tuple[dict[str, Any], Tensor | None]:
        """Return what the source says of itself, and its map in the frame."""
        names = ("saliency_source", "saliency_recipe", "saliency_fingerprint")
        stored = self._stored(view, "saliency")
        if stored is not None and view.saliency == stored.provenance["saliency_source"]:
            recipe = _saliency_recipe(stored.provenance)
            if not view.source.options or view.source == recipe:
                return {name: stored.provenance[name] for name in names}, stored.saliency
        segmenter = self.segmenter(view)
        described = segmenter.provenance(view.config)
        return {name: described[name] for name in names}, segmenter.saliency_map(view.image.pixels, frame, view.config)

    def maker(self, view: View) -> Maker:
        """What makes the run of a view, for the code that repeats it."""
        given = self.given
        encoder: Recipe | None = Recipe(view.model)
        source: Recipe | None = view.source
        precision = "auto"
        if given is not None and given.encoder.name == view.model:
            encoder, precision = recipe_of(given.encoder), precision_of(given.encoder)
        if given is not None and given.saliency.name == view.saliency and not view.source.options:
            source = recipe_of(given.saliency)
        return Maker(view.model, encoder, view.saliency, source, precision)

    def _maker(self, model: str) -> Segmenter:
        if self.given is not None and self.given.encoder.name == model:
            return self.given
        made: Segmenter = self._keep(("model", model), lambda: Segmenter(load_encoder(model), "none"))
        return made

    def _source(self, view: View) -> Saliency:
        given = self.given
        if given is not None and given.saliency.name == view.saliency and not view.source.options:
            return given.saliency
        # A file may have changed since it was read.
        if view.saliency == "file":
            return build("file", path=view.saliency_path)
        made: Saliency = self._keep(view.source, lambda: build(view.source.name, **view.source.options))
        return made

    def _keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what stands under a key, or make it; what was not asked for longest goes."""
        kept: T = self._kept[key] if key in self._kept else make()
        self._put(key, kept)
        return kept

    def _put(self, key: Hashable, value: Any) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def scene_key(view: View) -> Hashable:
    """Return what a scene depends on: everything but what the instrument turns by itself."""
    knobs = tuple((name, getattr(view.config, name)) for name in Config.knobs() if name not in KNOBS)
    words = view.config.background == "words"
    return (view.image.sha256, view.image.name, view.labels, view.model, view.source, knobs, words)


def _truth(image: Picture, run: xr.DataTree) -> npt.NDArray[np.int16] | None:
    """Return the true labels in the frame by the run's indices, -1 where they are none of them."""
    if image.mask is None:
        return None
    height, width = s.stage(run, "image").shape[:2]
    mask = ops.resize_labels(torch.from_numpy(image.mask.astype(np.int64)), (height, width)).numpy()
    known = {name: index for index, name in enumerate(s.labels_of(run))}
    table = np.full(max(256, len(image.names)), -1, np.int16)
    for index, name in enumerate(image.names):
        table[index] = known.get(name, -1)
    known_there: npt.NDArray[np.int16] = table[mask]
    return known_there


def _saliency_recipe(attrs: Mapping[Any, Any]) -> Recipe | None:
    return recipes.read(attrs.get("saliency_recipe", "null"))


def _has(encoding: Encoding, config: Config) -> bool:
    return set(config.grids) <= set(encoding.embeddings)


def _embeddings_of(view: View) -> Hashable:
    return ("embeddings", view.image.sha256, view.model, *view.config.key_at("embedding"))


def _saliency_of(view: View) -> Hashable:
    return ("map", view.image.sha256, view.source, *view.config.key_at("saliency"))
