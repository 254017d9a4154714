"""One pass over the images for many configurations: texts, searches and masks are shared where they can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdiy_lab.analysis.encodings import Encoded
from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.analysis.tally import ResampledTally, count
from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ClipdiyError, ConfigError
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.dense import Inputs, check, dense_stages
from clipdiy_lab.method.labelling import candidates, choose, knows
from clipdiy_lab.models.prompts import with_background
from clipdiy_lab.pipeline.segmenter import Segmenter

MASK_BYTES = 2**28
"""Memory for masks that are kept from pass to pass; the others are read again."""
_TEXT_KNOBS = ("template", "article", "synonyms", "background", "background_label", "background_words")
_AFTER_SEARCH = ("saliency_weight", "saliency_threshold", "temperature")
"""Knobs that the search for the best label does not look at."""


@dataclass(eq=False)
class Search:
    """Trials that share one search for the best label."""

    config: Config
    tallies: list[tuple[Trial, ResampledTally]] = field(default_factory=list)


@dataclass(eq=False)
class Words:
    """Searches that share one set of text embeddings."""

    text: Tensor
    phrases: list[int]
    background: int | None
    searches: dict[Config, Search] = field(default_factory=dict)

    def similarities(self, encoded: Encoded) -> dict[str, Tensor]:
        """Cosine of every window with every label, by grid."""
        found = {grid: ops.cosine(vectors, self.text) for grid, vectors in encoded.embeddings.items()}
        if max(self.phrases) == 1:
            return found
        return {grid: ops.best_phrase(cosines, self.phrases)[0] for grid, cosines in found.items()}


class Masks:
    """Masks of a dataset at their own size; the first ones are kept, as many as fit.

    Parameters
    ----------
    dataset : Dataset
    protocol : Protocol
        Under which they are compared.
    """

    def __init__(self, dataset: Dataset, protocol: Protocol) -> None:
        self.dataset, self.protocol = dataset, protocol
        self._kept: dict[int, npt.NDArray[np.uint8]] = {}
        self._bytes = 0

    def of(self, index: int, encoded: Encoded) -> npt.NDArray[np.uint8]:
        """Return the mask of an image; neither it nor the image is decoded again where that can be spared."""
        if index in self._kept:
            return self._kept[index]
        mask = own_mask(self.dataset, index, encoded)
        if self._bytes + mask.nbytes <= MASK_BYTES:
            self._kept[index] = mask
            self._bytes += mask.nbytes
        return mask


def own_mask(dataset: Dataset, index: int, encoded: Encoded) -> npt.NDArray[np.uint8]:
    """Mask of an image at its own size: what came with it, else the dataset's, the image left alone where possible."""
    if encoded.mask is not None:
        return encoded.mask
    alone: Any = getattr(dataset, "mask", None)
    mask: npt.NDArray[np.uint8] = dataset[index].mask if alone is None else alone(index)
    return mask


def text_key(trial: Trial) -> tuple[Any, ...]:
    """Return what the text embeddings of a trial depend on."""
    config = trial.config or Config()
    return (trial.label_names, *(getattr(config, name) for name in _TEXT_KNOBS))


def search_key(trial: Trial) -> Config:
    """Return what the search for the best label of a trial depends on: everything where a later score decides."""
    plain = Config()
    config = trial.config or plain
    if not knows(config):
        return config
    return config.replace(**{name: getattr(plain, name) for name in _AFTER_SEARCH})


def prepare(
    block: Sequence[Trial], segmenter: Segmenter, masks: Masks
) -> tuple[list[Words], list[tuple[Trial, ClipdiyError]]]:
    """Embed the texts of a block, and sort its trials into the searches that they share."""
    words: dict[tuple[Any, ...], Words | ClipdiyError] = {}
    failed: list[tuple[Trial, ClipdiyError]] = []
    for trial in block:
        key = text_key(trial)
        try:
            check(trial.config or Config(), ("saliency",))
        except ClipdiyError as error:
            failed.append((trial, error))
            continue
        if key not in words:
            try:
                words[key] = words_of(trial, segmenter, masks.dataset)
            except ClipdiyError as error:
                words[key] = error
        made_of = words[key]
        if isinstance(made_of, ClipdiyError):
            failed.append((trial, made_of))
            continue
        search = search_key(trial)
        shared = made_of.searches.setdefault(search, Search(search))
        shared.tallies.append((trial, ResampledTally(len(masks.dataset.label_names), masks.protocol.absent)))
    return [one for one in words.values() if isinstance(one, Words)], failed


def words_of(trial: Trial, segmenter: Segmenter, dataset: Dataset) -> Words:
    """Embed the texts of a trial.

    Raises
    ------
    ConfigError
        If the words are not as many as the labels, or the background is none of them.
    LabelError
        For words that cannot be prompted.
    """
    config, names = trial.config or Config(), trial.label_names or tuple(dataset.label_names)
    if len(names) != len(dataset.label_names):
        raise ConfigError(
            f"label_names has {len(names)} words, {dataset.name!r} has {len(dataset.label_names)} labels; give a word "
            "for each, in their order."
        )
    text = segmenter.text_embeddings(names, config)
    if s.labels_of(text) != names:
        raise ConfigError(
            f"background_label is {config.background_label!r}, which is not among the labels of {dataset.name!r}; use "
            "one of them, or background='none'."
        )
    _, background = with_background(names, config)
    phrases = [len(several) for several in s.phrases_of(text).values()]
    return Words(torch.from_numpy(text.values), phrases, background)


def score(words: Sequence[Words], encoded: Encoded, masks: Masks, index: int) -> None:
    """Count one image for every trial."""
    mask = masks.of(index, encoded)
    truth = masks.protocol.truth(mask)
    for one in words:
        similarities = one.similarities(encoded)
        for search in one.searches.values():
            found = None
            if knows(search.config):
                ordered = [similarities[grid] for grid in search.config.grids]
                found = candidates(ordered, search.config, one.background)
            for trial, tally in search.tallies:
                config = trial.config or search.config
                saliency = encoded.saliency
                if trial.saliency == ORACLE:
                    saliency = true_saliency(mask, one.background, config)
                if found is None:
                    inputs = Inputs(
                        similarities=similarities, saliency=saliency, background=one.background, config=config
                    )
                    labels = dense_stages(inputs)["labels"].numpy()
                else:
                    labels = choose(found, saliency, config).numpy()
                tally.add(index, *count(truth, to_size(labels, truth.shape), len(tally.counts)))


def true_saliency(mask: npt.NDArray[np.uint8], background: int | None, config: Config) -> Tensor:
    """Bring the true foreground (every pixel that is not the background's) to the frame, bilinear."""
    truth = torch.from_numpy((mask != background).astype(np.float32))
    return ops.resize_saliency(truth, config.image_size).clamp(0, 1)


def to_size(labels: npt.NDArray[np.integer], size: tuple[int, ...]) -> npt.NDArray[np.integer]:
    """Labels at another size, nearest, rounded as `ops.resize_labels` does, but by picking rows and columns."""
    rows, columns = (_picks(old, new) for old, new in zip(labels.shape, size, strict=True))
    return labels[rows[:, None], columns]


@lru_cache(maxsize=1024)
def _picks(old: int, new: int) -> npt.NDArray[np.intp]:
    step = np.float32(old) / np.float32(new)
    places = np.floor(np.arange(new, dtype=np.float32) * step)
    picked: npt.NDArray[np.intp] = np.minimum(places, old - 1).astype(np.intp)
    return picked


def tallies(words: Sequence[Words]) -> Iterator[tuple[Trial, ResampledTally]]:
    """Yield every trial with its counts."""
    for one in words:
        for search in one.searches.values():
            yield from search.tallies
