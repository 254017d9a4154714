"""Where encodings of a dataset come from: a segmenter that encodes images when they are asked for, or a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.datasets.capabilities import HasMasks
from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.sample import Dataset, Sample, ahead
from clipdiy_lab.errors import StoreError, spelled
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.pipeline.cluster import require_path
from clipdiy_lab.pipeline.embeddings.opened import OpenedStore
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.prepared import Prepared
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.shipping import SentSegmenter
from clipdiy_lab.pipeline.stored import AnyStore, capital, places_in, require_same_image, text_segmenter, unfit
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch

MASK_BYTES = 2**28
"""Memory for masks that a store's images are compared with; the others are read again when they are asked for."""

Mask = npt.NDArray[np.uint8]
Store = AnyStore | xr.Dataset | str | PathLike[str]


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
        """How the images are encoded, the precision settled."""
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

    def __len__(self) -> int: ...

    def place(self, position: int) -> int:
        """Return where an image stands in the dataset."""
        ...

    def images(
        self, positions: Iterable[int], watch: Watch = UNWATCHED, *, frames: bool = False
    ) -> Iterator[EncodedImage]:
        """Yield images in the order asked for; with `frames`, each encoding has its frame.

        Raises
        ------
        StoppedError
            If the watch stops the work.
        StoreError
            If the dataset's image is not the one that a store holds.
        """
        ...

    def sent(self) -> SentSource:
        """Return what has to be sent for it to a worker."""
        ...


def as_source(given: object) -> Segmenter | AnyStore:
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
    manifest = manifest_of(dataset)
    return (base or Config()).replace(**({} if manifest is None else manifest.config))


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
        raise StoreError(capital(problem))
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
        self.segmenter, self.dataset, self.config = segmenter, dataset, segmenter.settled(config)

    @property
    def identity(self) -> str:
        """The configuration."""
        return self.config.to_json()

    @property
    def saliency(self) -> tuple[str, str]:
        """Name and fingerprint of the segmenter's saliency source."""
        return self.segmenter.saliency.name, self.segmenter.saliency.fingerprint

    def __len__(self) -> int:
        return len(self.dataset)

    def place(self, position: int) -> int:
        """Return where an image stands in the dataset: here at its own position."""
        return position

    def images(
        self, positions: Iterable[int], watch: Watch = UNWATCHED, *, frames: bool = True
    ) -> Iterator[EncodedImage]:
        """Encode images; their frames come with them."""

        def read(position: int) -> tuple[Sample, Prepared]:
            sample = self.dataset[position]
            return sample, self.segmenter.prepare(sample.image, self.config)

        wanted = list(positions)
        for position, (sample, ready) in zip(wanted, ahead(read, wanted), strict=True):
            encoding = self.segmenter.encoding(ready, self.config, watch=watch.silent)
            yield EncodedImage(position, sample.id, encoding, sample.mask)

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
        store: AnyStore | str | PathLike[str],
        dataset: Dataset,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.store = EmbeddingStore(store) if isinstance(store, str | PathLike) else store
        self.dataset = dataset
        self.segmenter = text_segmenter(self.store, segmenter)
        self._places = places_in(self.store, dataset)
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

    def __len__(self) -> int:
        return len(self.store.ids)

    @property
    def shard_size(self) -> int | None:
        """Images of a shard; None of a store that was opened as a Dataset."""
        return self.store.header.shard_size if isinstance(self.store, EmbeddingStore) else None

    def place(self, position: int) -> int:
        """Return where an image stands in the dataset."""
        return self._places[position]

    def images(
        self, positions: Iterable[int], watch: Watch = UNWATCHED, *, frames: bool = False
    ) -> Iterator[EncodedImage]:
        """Read images; masks are the dataset's. Its images are read for `frames` only, where it can do without."""
        for position in positions:
            watch.check()
            name, place = self.store.ids[position], self._places[position]
            if frames:
                sample = self.dataset[place]
                encoding = require_same_image(self.store, position, self.dataset, sample)
                yield EncodedImage(position, name, encoding.seen(sample.image), sample.mask)
            else:
                yield EncodedImage(position, name, self.store.encoding(position), self._mask(place))

    def _mask(self, place: int) -> Mask:
        if place in self._masks:
            return self._masks[place]
        dataset = self.dataset
        mask: Mask = dataset.mask(place) if isinstance(dataset, HasMasks) else dataset[place].mask
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
            raise StoreError(f"{capital(store.title)} has grown since the work began; run it again.")
        return StoreSource(store, self.dataset, segmenter)
