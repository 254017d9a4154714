"""What the trials of a block share: text embeddings, and searches for the best label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import Inputs
from clipdiy_lab.method.labelling import AFTER_SEARCH, candidates, choose, knows, label_map
from clipdiy_lab.pipeline.encoding import Encoding, saliency_in_frame
from clipdiy_lab.pipeline.fusion import Texts
from clipdiy_lab.pipeline.segmenter import Segmenter

Labels = npt.NDArray[np.integer[Any]]


@dataclass(eq=False)
class SharedTexts:
    """Trials that share one set of text embeddings, by the search for the best label that they share.

    Attributes
    ----------
    texts : Texts
    searches : mapping of Config to list of (int, Trial)
        Under a configuration that decides a search, its trials with their places in the block.
    """

    texts: Texts
    searches: dict[Config, list[tuple[int, Trial]]] = field(default_factory=dict)

    def label_maps(self, encoding: Encoding, mask: npt.NDArray[np.uint8]) -> Iterator[tuple[int, Labels]]:
        """Yield the place of every trial and its labels in the frame, y x x."""
        similarities = self.texts.similarities(encoding)
        background = self.texts.background
        for shared, trials in self.searches.items():
            best = None
            if knows(shared):
                best = candidates([similarities[grid] for grid in shared.grids], shared, background)
            for place, trial in trials:
                config, saliency = trial.config or shared, encoding.saliency
                if trial.saliency == ORACLE:
                    saliency = true_saliency(mask, background, config)
                if best is None:
                    inputs = Inputs(
                        similarities=similarities,
                        saliency=saliency,
                        background=background,
                        config=config,
                        image=encoding.frame,
                    )
                    yield place, label_map(inputs).numpy()
                else:
                    yield place, choose(best, saliency, config).numpy()


def text_key(trial: Trial) -> tuple[Any, ...]:
    """Return what the text embeddings of a trial, and the similarities with them, depend on."""
    return (trial.label_names, *(trial.config or Config()).key_at("text", "similarity"))


def search_key(trial: Trial) -> Config:
    """Return what the search for the best label of a trial depends on: everything where a later score decides."""
    config = trial.config or Config()
    return config.plain_at(*AFTER_SEARCH) if knows(config) else config


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """Put trials that share texts and searches together, so that blocks do not repeat them."""
    return sorted(trials, key=lambda trial: (repr(text_key(trial)), repr(search_key(trial))))


def share(trials: Sequence[Trial], segmenter: Segmenter, dataset: Dataset) -> list[SharedTexts]:
    """Embed the texts of trials, and sort the trials into the searches that they share.

    Raises
    ------
    ConfigError, LabelError
        As for `text_of`.
    """
    groups: dict[tuple[Any, ...], SharedTexts] = {}
    for place, trial in enumerate(trials):
        key = text_key(trial)
        if key not in groups:
            groups[key] = SharedTexts(Texts.of(text_of(trial, segmenter, dataset), trial.config or Config()))
        groups[key].searches.setdefault(search_key(trial), []).append((place, trial))
    return list(groups.values())


def text_of(trial: Trial, segmenter: Segmenter, dataset: Dataset) -> xr.DataArray:
    """Embed the texts of a trial.

    Returns
    -------
    array (phrase, feature)
        As of `Segmenter.text_embeddings`, for the labels of the dataset.

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
    return text


def true_saliency(mask: npt.NDArray[np.uint8], background: int | None, config: Config) -> Tensor:
    """Bring the true foreground (every pixel that is not the background's) to the frame, bilinear."""
    return saliency_in_frame((mask != background).astype(np.float32), config.image_size)
