"""Where a sweep gets its embeddings from: a store, or a segmenter that encodes each image when it is its turn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.datasets.images import content_hash
from clipdiy_lab.datasets.sample import Dataset, ids_of
from clipdiy_lab.errors import ModelError, StoreError, spelled
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.weights import same_weights
from clipdiy_lab.pipeline.embeddings import contents as c
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.segmenter import Segmenter, as_segmenter


@dataclass(frozen=True, eq=False)
class Encoded:
    """What fusing needs of one image.

    Attributes
    ----------
    embeddings : mapping of grid to float32 tensor, rows x cols x features
        Unit vectors.
    saliency : float32 tensor, y x x, in [0, 1], or None
    mask : uint8 array, height x width, or None
        Labels of the image, where they came with it; None where the dataset is to be asked.
    """

    embeddings: Mapping[str, Tensor]
    saliency: Tensor | None
    mask: npt.NDArray[np.uint8] | None = None


class Encodings(Protocol):
    """Encoded images of one dataset, by position, and whose text encoder belongs to them."""

    segmenter: Segmenter

    @property
    def saliency_source(self) -> str:
        """Name of the saliency source that was applied."""
        ...

    def __len__(self) -> int: ...

    def encoded(self, index: int) -> Encoded:
        """Return what is known of an image."""
        ...


def as_source(given: object) -> Segmenter | EmbeddingStore:
    """Return what embeddings come from: a segmenter, or a store, opened where its folder is given.

    Raises
    ------
    StoreError
        If there is no such store, it is damaged, or something else was given.
    """
    if isinstance(given, Segmenter | EmbeddingStore):
        return given
    if isinstance(given, str | PathLike):
        try:
            return EmbeddingStore(given)
        except StoreError as error:
            if isinstance(given, PathLike) or os.path.lexists(given):
                raise
            raise StoreError(
                f"{error} If {given!r} is meant as a model, give a segmenter: lab.load({given!r})."
            ) from None
    opened = getattr(given, "encoding", {}).get("source") if isinstance(given, xr.Dataset) else None
    told = "" if opened is None else f" ({opened!r})"
    raise StoreError(
        f"source is {spelled(given)}; expected a segmenter (lab.load), or a store of embeddings: what lab.embed "
        f"returned, or its path{told}."
    )


class FromSegmenter:
    """Images encoded when they are asked for.

    Parameters
    ----------
    segmenter : Segmenter
    dataset : Dataset
    config : Config
        How; its grids are all that will be needed.
    """

    def __init__(self, segmenter: Segmenter, dataset: Dataset, config: Config) -> None:
        self.segmenter, self.dataset, self.config = segmenter, dataset, config

    @property
    def saliency_source(self) -> str:
        """Name of the segmenter's saliency source."""
        return self.segmenter.saliency.name

    def __len__(self) -> int:
        return len(self.dataset)

    def encoded(self, index: int) -> Encoded:
        """Encode an image."""
        sample = self.dataset[index]
        tree = self.segmenter.encode(sample.image, self.config)
        names = self.config.grids
        embeddings = {name: torch.from_numpy(s.stage(tree, "embedding", name).values) for name in names}
        found = torch.from_numpy(s.stage(tree, "saliency").values) if "saliency" in tree.data_vars else None
        return Encoded(embeddings, found, sample.mask)


class FromStore:
    """Images of a store, read shard by shard.

    Parameters
    ----------
    store : EmbeddingStore or path
    dataset : Dataset
        The one that the store was made of: its ids are compared.
    segmenter : Segmenter, optional
        Whose text encoder is used; its saliency is either the store's or ``"none"``. Default: the encoder that the
        store names is loaded.

    Raises
    ------
    StoreError
        If the store is of other images, of another encoder than the segmenter's, or of another saliency than a
        segmenter's that applies one.
    """

    def __init__(
        self, store: EmbeddingStore | str | PathLike[str], dataset: Dataset, segmenter: Segmenter | None = None
    ) -> None:
        self.store = store if isinstance(store, EmbeddingStore) else EmbeddingStore(store)
        header = self.store.header
        self.segmenter = _by_name(header.attrs["encoder"]) if segmenter is None else as_segmenter(segmenter)
        if not same_weights(self.segmenter.encoder.fingerprint, header.key["encoder_fingerprint"]):
            raise StoreError(
                f"The store {self.store.path} was made by {header.attrs['encoder']!r} with other weights than "
                f"{self.segmenter.encoder.name!r} has; give segmenter= with the same model."
            )
        _same_saliency(self.store, self.segmenter)
        _same_images(self.store, dataset)

    @property
    def saliency_source(self) -> str:
        """Name of the saliency source that the store was made with."""
        return str(self.store.header.attrs["saliency_source"])

    def __len__(self) -> int:
        return len(self.store.images)

    @property
    def saliency_fingerprint(self) -> str:
        """Fingerprint of the saliency source that the store was made with; empty where none was applied."""
        return str(self.store.header.key["saliency_fingerprint"])

    @property
    def config(self) -> Config:
        """How the images were encoded."""
        return self.store.config

    def unfit(self, config: Config) -> str:
        """Say why the store cannot answer for a configuration; empty if it can."""
        held = self.config.grids
        lost = [grid.title for grid in Plan.of(config) if grid.name not in held]
        if config.precision == "auto":
            config = config.replace(precision=self.config.precision)
        differs = [name for name in config.changed(self.config, "encode") if name != "scales"]
        if not lost and not differs:
            return ""
        asked = (
            f"the grids of {', '.join(lost)}"
            if lost
            else ", ".join(f"{name}={getattr(config, name)!r}" for name in differs)
        )
        return f"the store {self.store.path} was not encoded with {asked}; give a segmenter, and stores= to keep it."

    def encoded(self, index: int) -> Encoded:
        """Read an image's embeddings and saliency."""
        rows = np.array([index])
        embeddings = {}
        for name in self.config.grids:
            half = self.store.take(c.of_grid("embedding", name), rows)[0]
            # Half precision leaves lengths a little off 1.
            embeddings[name] = torch.nn.functional.normalize(torch.from_numpy(half).float(), dim=-1)
        if c.SALIENCY not in self.store.contents:
            return Encoded(embeddings, None)
        return Encoded(embeddings, torch.from_numpy(c.from_byte(self.store.take(c.SALIENCY, rows)[0])))


def _by_name(name: str) -> Segmenter:
    try:
        return Segmenter(name)
    except ModelError as error:
        raise StoreError(
            f"The store's encoder is {name!r}, which cannot be loaded by that name ({error}); give segmenter=."
        ) from error


def _same_saliency(store: EmbeddingStore, segmenter: Segmenter) -> None:
    """Refuse a segmenter whose saliency would be ignored: the maps come from the store."""
    source, held = segmenter.saliency, store.header.key
    if source.name == "none":  # a segmenter that is given for its words
        return
    if (source.name, source.fingerprint) != (held["saliency_source"], held["saliency_fingerprint"]):
        weights = " of other weights or settings" if source.name == held["saliency_source"] else ""
        raise StoreError(
            f"The store {store.path} holds the saliency {held['saliency_source']!r}, the segmenter has {source.name!r}"
            f"{weights}, which would be ignored. Make a store with it, or give a segmenter without saliency: "
            "lab.load(..., saliency='none')."
        )


def _same_images(store: EmbeddingStore, dataset: Dataset) -> None:
    """Compare the ids, and the pixels of the first and the last image."""
    ids = store.header.ids
    if not np.array_equal(store.images, np.arange(len(store.images))):
        raise StoreError(
            f"The store {store.path} is not finished, and lacks shards before others, so that its images do not stand "
            "where the dataset has them. Run `clipdiy-lab embed` again, which does the rest."
        )
    if len(dataset) < len(ids):
        raise StoreError(f"The store {store.path} has {len(ids)} images, {dataset.name!r} only {len(dataset)}.")
    for place, (known, there) in enumerate(zip(ids, ids_of(dataset, len(ids)), strict=True)):
        if there != known:
            raise StoreError(
                f"The store {store.path} is of other images: {known!r} stands at place {place}, {dataset.name!r} has "
                f"{there!r} there. Open the dataset that it was made of, with the same split."
            )
    ends = np.array([0, len(store.images) - 1])
    for place, hashed in zip(store.images[ends], store.take(c.HASH, ends), strict=True):
        if content_hash(dataset[int(place)].image) != hashed.tobytes().hex():
            raise StoreError(
                f"The store {store.path} is of other images: {ids[place]!r} shows something else in {dataset.name!r}. "
                "Open the dataset that it was made of, with the same options."
            )
