"""Where encodings of a dataset come from: a segmenter that encodes images when they are asked for, or a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.datasets.images import content_hash
from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.datasets.sample import Dataset, ahead, ids_of
from clipdiy_lab.errors import ModelError, StoreError, spelled
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.models.weights import same_weights
from clipdiy_lab.pipeline.cluster import require_path
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore, OpenedStore
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.segmenter import Segmenter, as_segmenter
from clipdiy_lab.pipeline.shipping import SentSegmenter
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch

MASK_BYTES = 2**28
"""Memory for masks that a store's images are compared with; the others are read again when they are asked for."""

Mask = npt.NDArray[np.uint8]
Store = EmbeddingStore | OpenedStore | xr.Dataset | str | PathLike[str]


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One image of a source.

    Attributes
    ----------
    position : int
        In the source.
    id : str
    encoding : Encoding
    mask : uint8 array, height x width
        Its labels at its own size.
    """

    position: int
    id: str
    encoding: Encoding
    mask: Mask


class Source(Protocol):
    """Encoded images of one dataset, by position, and whose text encoder belongs to them."""

    segmenter: Segmenter
    dataset: Dataset

    @property
    def config(self) -> Config:
        """How the images are encoded."""
        ...

    @property
    def identity(self) -> str:
        """Tells encodings of one dataset and encoder apart: equal identities, equal encodings."""
        ...

    @property
    def embeddings(self) -> str:
        """In which form they come, for tables."""
        ...

    @property
    def saliency(self) -> tuple[str, str]:
        """Name and fingerprint of the saliency source that is applied."""
        ...

    @property
    def shard_size(self) -> int | None:
        """Images that are read together; None where each is encoded by itself."""
        ...

    def precision(self, config: Config) -> str:
        """Return the precision in which the embeddings of a configuration are computed."""
        ...

    def __len__(self) -> int: ...

    def place(self, position: int) -> int:
        """Return where an image stands in the dataset."""
        ...

    def images(self, positions: Iterable[int], watch: Watch = UNWATCHED) -> Iterator[EncodedImage]:
        """Yield images in the order asked for.

        Raises
        ------
        StoppedError
            If the watch stops the work.
        """
        ...

    def unfit(self, config: Config) -> str:
        """Say why the source cannot answer for a configuration; empty if it can."""
        ...

    def sent(self) -> SentSource:
        """Return what has to be sent for it to a worker."""
        ...


def as_source(given: object) -> Segmenter | EmbeddingStore | OpenedStore:
    """Return what encodings come from: a segmenter, or a store, opened where its folder is given.

    Raises
    ------
    StoreError
        If there is no such store, it is damaged, or something else was given.
    """
    if isinstance(given, Segmenter | EmbeddingStore | OpenedStore):
        return given
    if isinstance(given, xr.Dataset):
        return OpenedStore(given)
    if not isinstance(given, str | PathLike):
        raise StoreError(
            f"source is {spelled(given)}; expected a segmenter (lab.load), or a store of embeddings: what lab.embed or "
            "lab.open_store returned, or its path."
        )
    try:
        return EmbeddingStore(given)
    except StoreError as error:
        if isinstance(given, PathLike) or os.path.lexists(given):
            raise
        raise StoreError(f"{error} If {given!r} is meant as a model, give a segmenter: lab.load({given!r}).") from None


def config_for(dataset: Dataset, given: Config | None, base: Config | None = None) -> Config:
    """Return the configuration that is asked for, else `base` with the knobs that the dataset's manifest sets.

    Parameters
    ----------
    dataset : Dataset
    given : Config or None
        Taken as it is; a manifest adds nothing to it.
    base : Config, optional
        Default: `Config()`.

    Raises
    ------
    ConfigError
        If `given` is no configuration, or the manifest's knobs do not fit `base`.
    """
    if given is not None:
        return as_config(given)
    manifest = getattr(dataset, "manifest", None)
    return (base or Config()).replace(**(manifest.config if isinstance(manifest, Manifest) else {}))


def open_source(
    given: object, dataset: Dataset, config: Config | None, segmenter: Segmenter | None
) -> tuple[Source, Config]:
    """Return the source for one configuration, and that configuration; see `config_for` for the default.

    Raises
    ------
    StoreError
        As for `as_source` and `StoreSource`, or if the store was encoded otherwise.
    """
    source = as_source(given)
    if isinstance(source, Segmenter):
        config = config_for(dataset, config)
        return SegmenterSource(source, dataset, config), config
    stored = StoreSource(source, dataset, segmenter)
    config = config_for(dataset, config, stored.config)
    problem = stored.unfit(config)
    if problem:
        raise StoreError(_capital(problem))
    return stored, config


class SegmenterSource:
    """Images encoded when they are asked for; the next one is read meanwhile.

    Parameters
    ----------
    segmenter : Segmenter
    dataset : Dataset
    config : Config
        How; its scales are all that will be needed.
    """

    embeddings = "float32"
    shard_size = None

    def __init__(self, segmenter: Segmenter, dataset: Dataset, config: Config) -> None:
        self.segmenter, self.dataset, self.config = segmenter, dataset, config

    @property
    def identity(self) -> str:
        """The configuration."""
        return self.config.to_json()

    @property
    def saliency(self) -> tuple[str, str]:
        """Name and fingerprint of the segmenter's saliency source."""
        return self.segmenter.saliency.name, self.segmenter.saliency.fingerprint

    def precision(self, config: Config) -> str:
        """Return the precision that a configuration asks for, or that the encoder has."""
        return getattr(self.segmenter.encoder, "precision", "fp32") if config.precision == "auto" else config.precision

    def __len__(self) -> int:
        return len(self.dataset)

    def place(self, position: int) -> int:
        """Return where an image stands in the dataset: here at its own position."""
        return position

    def images(self, positions: Iterable[int], watch: Watch = UNWATCHED) -> Iterator[EncodedImage]:
        """Encode images."""
        wanted = list(positions)
        for position, sample in zip(wanted, ahead(self.dataset.__getitem__, wanted), strict=True):
            encoding = self.segmenter.encoding(sample.image, self.config, watch=watch.silent)
            yield EncodedImage(position, sample.id, encoding, sample.mask)

    def unfit(self, config: Config) -> str:
        """Nothing: it is encoded as the configuration asks."""
        return ""

    def sent(self) -> SentSource:
        """Return what has to be sent for it to a worker."""
        return SentSource(SentSegmenter.of(self.segmenter), self.dataset, self.config)


class StoreSource:
    """Images of a store, read shard by shard.

    Parameters
    ----------
    store : EmbeddingStore, OpenedStore or path
    dataset : Dataset
        The one that the store was made of: its ids are compared, and the pixels of the first and the last image.
    segmenter : Segmenter, optional
        Whose text encoder is used; its saliency is either the store's or ``"none"``. Default: the encoder that the
        store names is loaded.

    Raises
    ------
    StoreError
        If the store is of other images, of another encoder than the segmenter's, or of another saliency than a
        segmenter's that applies one.
    """

    embeddings = "float16, from a store"

    def __init__(
        self,
        store: EmbeddingStore | OpenedStore | str | PathLike[str],
        dataset: Dataset,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.store = EmbeddingStore(store) if isinstance(store, str | PathLike) else store
        self.dataset = dataset
        self.segmenter = text_segmenter(self.store, segmenter)
        self._places = _places(self.store, dataset)
        self._masks: dict[int, Mask] = {}
        self._mask_bytes = 0

    @property
    def config(self) -> Config:
        """How the images were encoded."""
        return self.store.config

    @property
    def identity(self) -> str:
        """Hash of what the store holds."""
        return self.store.identity

    @property
    def saliency(self) -> tuple[str, str]:
        """Name and fingerprint of the saliency source that the store was made with."""
        attrs = self.store.attrs
        return str(attrs["saliency_source"]), str(attrs["saliency_fingerprint"])

    def precision(self, config: Config) -> str:
        """Return the precision in which the store was made."""
        return self.config.precision

    def __len__(self) -> int:
        return len(self.store.ids)

    @property
    def shard_size(self) -> int | None:
        """Images of a shard; None of a store that was opened as a Dataset."""
        return self.store.header.shard_size if isinstance(self.store, EmbeddingStore) else None

    def place(self, position: int) -> int:
        """Return where an image stands in the dataset."""
        return self._places[position]

    def images(self, positions: Iterable[int], watch: Watch = UNWATCHED) -> Iterator[EncodedImage]:
        """Read images; the masks are the dataset's, its images are left alone where it can do that."""
        for position in positions:
            watch.check()
            yield EncodedImage(
                position, self.store.ids[position], self.store.encoding(position), self._mask(self._places[position])
            )

    def _mask(self, place: int) -> Mask:
        if place in self._masks:
            return self._masks[place]
        alone: Any = getattr(self.dataset, "mask", None)
        mask: Mask = self.dataset[place].mask if alone is None else alone(place)
        if self._mask_bytes + mask.nbytes <= MASK_BYTES:
            self._masks[place] = mask
            self._mask_bytes += mask.nbytes
        return mask

    def unfit(self, config: Config) -> str:
        """Say why the store cannot answer for a configuration; empty if it can."""
        return unfit(self.store, config)

    def sent(self) -> SentSource:
        """Return what has to be sent for it to a worker."""
        store = self.store
        origin = (store.path.absolute(), len(store.ids)) if isinstance(store, EmbeddingStore) else store
        return SentSource(SentSegmenter.of(self.segmenter), self.dataset, origin)


def unfit(store: EmbeddingStore | OpenedStore, config: Config) -> str:
    """Say why a store cannot answer for a configuration; empty if it can."""
    lost = [scale for scale in config.scales if scale not in store.config.scales]
    if config.precision == "auto":
        config = config.replace(precision=store.config.precision)
    differs = [name for name in config.changed(store.config, "encode") if name != "scales"]
    if not lost and not differs:
        return ""
    asked = f"scales {lost}" if lost else ", ".join(f"{name}={getattr(config, name)!r}" for name in differs)
    return f"{store.title} was not encoded with {asked}; give a segmenter, and stores= to keep it."


@dataclass(frozen=True)
class SentSource:
    """A source on its way to a worker.

    Attributes
    ----------
    segmenter : SentSegmenter
    dataset : Dataset
    origin : Config, (Path, int) or OpenedStore
        How a segmenter encodes; or the folder of a store and its number of images; or a store opened as a Dataset.
    """

    segmenter: SentSegmenter
    dataset: Dataset
    origin: Config | tuple[Path, int] | OpenedStore

    def open(self) -> Source:
        """Make the source again, on a worker.

        Raises
        ------
        ClusterError
            If the store is not to be seen there.
        StoreError
            If it has grown since.
        """
        segmenter, origin = self.segmenter.build(), self.origin
        if isinstance(origin, Config):
            return SegmenterSource(segmenter, self.dataset, origin)
        if isinstance(origin, OpenedStore):
            return StoreSource(origin, self.dataset, segmenter)
        path, images = origin
        require_path(path)
        store = EmbeddingStore(path, partial=True)
        if len(store.ids) != images:
            raise StoreError(f"{_capital(store.title)} has grown since the work began; run it again.")
        return StoreSource(store, self.dataset, segmenter)


def shared_encoding(config: Config) -> Config:
    """Return what a configuration asks of the encoder, apart from its scales: equal values can share an encoding."""
    plain = {name: getattr(Config(), name) for name in Config.knobs("fuse")}
    return config.replace(**plain, scales=(min(config.image_size),))


def text_segmenter(store: EmbeddingStore | OpenedStore, segmenter: Segmenter | None = None) -> Segmenter:
    """Return the segmenter whose text encoder belongs to a store; by default it is loaded by its name.

    Raises
    ------
    StoreError
        If it cannot be loaded, has other weights, or applies another saliency than the store holds.
    """
    name, weights = str(store.attrs["encoder"]), str(store.attrs["encoder_fingerprint"])
    if segmenter is None:
        try:
            if ":" in name:  # of a hub, or a folder of this machine: nobody asked for that but the store
                raise ModelError("no name of the lab's list")
            segmenter = Segmenter(name)
        except ModelError as error:
            raise StoreError(
                f"The store's encoder is {name!r}, which cannot be loaded by that name ({error}); give segmenter=."
            ) from error
    segmenter = as_segmenter(segmenter)
    if not same_weights(segmenter.encoder.fingerprint, weights):
        raise StoreError(
            f"{_capital(store.title)} was made by {name!r} with other weights than "
            f"{segmenter.encoder.name!r} has; give segmenter= with the same model."
        )
    _require_same_saliency(store, segmenter)
    return segmenter


def _require_same_saliency(store: EmbeddingStore | OpenedStore, segmenter: Segmenter) -> None:
    """Refuse a segmenter whose saliency would be ignored: the maps come from the store."""
    source, held = segmenter.saliency, store.attrs
    if source.name == "none":  # a segmenter that is given for its words
        return
    if (source.name, source.fingerprint) != (held["saliency_source"], held["saliency_fingerprint"]):
        weights = " of other weights or settings" if source.name == held["saliency_source"] else ""
        raise StoreError(
            f"{_capital(store.title)} holds the saliency {held['saliency_source']!r}, the segmenter has {source.name!r}"
            f"{weights}, which would be ignored. Make a store with it, or give a segmenter without saliency: "
            "lab.load(..., saliency='none')."
        )


def _places(store: EmbeddingStore | OpenedStore, dataset: Dataset) -> list[int]:
    """Where the images of a store stand in its dataset; the pixels of the first and the last are compared."""
    ids = store.ids
    places = list(range(len(ids)))
    if ids_of(dataset, min(len(ids), len(dataset))) != ids:  # a selection, or a store with gaps
        known = {name: place for place, name in enumerate(ids_of(dataset, len(dataset)))}
        foreign = next((name for name in ids if name not in known), None)
        if foreign is not None:
            raise StoreError(
                f"{_capital(store.title)} is of other images: {foreign!r} is none of the {len(dataset)} images of "
                f"{dataset.name!r}. Open the dataset that it was made of, with the same split and length."
            )
        places = [known[name] for name in ids]
    for position in {0, len(ids) - 1}:
        expected = store.encoding(position).provenance["image_sha256"]
        if content_hash(dataset[places[position]].image) != expected:
            raise StoreError(
                f"{_capital(store.title)} is of other images: {ids[position]!r} shows something else in "
                f"{dataset.name!r}. Open the dataset that it was made of, with the same options."
            )
    return places


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
