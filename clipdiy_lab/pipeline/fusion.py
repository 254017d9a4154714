"""From embeddings of windows and texts to labels or a run, without the image encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr
from torch import Tensor

from clipdiy_lab.errors import RunError
from clipdiy_lab.method import labelling, ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import Inputs
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.models.prompts import phrases, prompts, with_background
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.text import listed
from clipdiy_lab.threads import one_thread


@dataclass(frozen=True, eq=False)
class Texts:
    """Embedded labels as the fast way to labels wants them.

    Attributes
    ----------
    vectors : float32 tensor, phrases x features
        Unit vectors; the phrases of a label stand together.
    phrases : tuple of int
        Number of phrases of each label.
    background : int or None
        Index of the background label.
    """

    vectors: Tensor
    phrases: tuple[int, ...]
    background: int | None

    @classmethod
    def of(cls, text: xr.DataArray, config: Config) -> Texts:
        """Read what `Segmenter.text_embeddings` gave for a configuration."""
        names = s.phrases_of(text)
        _, background = with_background(tuple(names), config)
        return cls(stages.tensor(text), tuple(len(phrases) for phrases in names.values()), background)

    def similarities(self, encoding: Encoding) -> dict[str, Tensor]:
        """Cosine of every cell with every label, rows x cols x labels, by the name of the grid."""
        cosines = {name: ops.cosine(vectors, self.vectors) for name, vectors in encoding.embeddings.items()}
        if max(self.phrases) == 1:
            return cosines
        return {name: ops.best_phrase(values, self.phrases)[0] for name, values in cosines.items()}


@one_thread()
def fuse(encoded: Encoding | xr.DataTree, text: xr.DataArray, config: Config) -> xr.DataTree:
    """Make a run from encoded windows and embedded labels; no network is run.

    Parameters
    ----------
    encoded : Encoding or xarray.DataTree
        Result of `Segmenter.encode`, or any run.
    text : array (phrase, feature)
        Result of `Segmenter.text_embeddings`.
    config : Config
        Its encode knobs must equal those of `encoded`.

    Raises
    ------
    RunError
        If the embeddings are missing or have another width, an encode knob differs, the text embeddings belong to other
        phrases than those of the configuration, or a stage that another one needs is missing.
    """
    encoding = encoded if isinstance(encoded, Encoding) else Encoding.of(encoded)
    config = _settled(encoding, text, config)
    names = s.labels_of(text)
    _, background = with_background(names, config)
    embeddings = {grid.name: stages.embedding(encoding.embeddings[grid.name], grid) for grid in Plan.of(config)}
    compared = {grid: stages.similarity(vectors, text) for grid, vectors in embeddings.items()}
    similarities = {grid: stages.tensor(cosines) for grid, (cosines, _) in compared.items()}
    root = {**encoding.root(), "text_embedding": text}
    root |= stages.of_frame(_inputs(encoding, similarities, background, config), names)
    root["labels_full"] = stages.labels_full(root["labels"], encoding.size)
    attrs = {
        **encoding.attrs(),
        "config": config.to_json(),
        "labels": json.dumps(names),
        "prompts": json.dumps(_prompts(text, config)),
        "background_index": -1 if background is None else background,
    }
    nodes: dict[str, Any] = {"/": xr.Dataset({name: root[name] for name in s.STAGES if name in root}, attrs=attrs)}
    for grid, vectors in embeddings.items():
        cosines, which = compared[grid]
        whole = xr.Dataset({"embedding": vectors, "similarity": cosines, "best_phrase": which})
        nodes[f"/{s.GRIDS}/{grid}"] = whole
    return xr.DataTree.from_dict(nodes)


def _prompts(text: xr.DataArray, config: Config) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the prompts of every phrase of every label."""
    return {
        label: {phrase: prompts(phrase, config) for phrase in phrases} for label, phrases in s.phrases_of(text).items()
    }


def _inputs(encoding: Encoding, similarities: Mapping[str, Tensor], background: int | None, config: Config) -> Inputs:
    return Inputs(
        similarities=similarities,
        saliency=encoding.saliency,
        background=background,
        config=config,
        image=encoding.frame,
    )


@one_thread()
def label_map(encoded: Encoding | xr.DataTree, text: xr.DataArray, config: Config) -> xr.DataArray:
    """Return only the winning labels in the frame: the ``labels`` of `fuse`, without keeping the other stages."""
    encoding = encoded if isinstance(encoded, Encoding) else Encoding.of(encoded)
    config = _settled(encoding, text, config)
    texts = Texts.of(text, config)
    inputs = _inputs(encoding, texts.similarities(encoding), texts.background, config)
    return stages.label_indices(labelling.label_map(inputs))


def _settled(encoding: Encoding, text: xr.DataArray, config: Config) -> Config:
    """Check that encoding, texts and configuration belong together; return the configuration settled."""
    was = encoding.config
    changed = config.unlike(was)
    lost = [grid_title(name) for name in config.grids if name not in encoding.embeddings]
    if changed or lost:
        grids = f"the grids of {', '.join(lost)}"
        what = grids if lost else ", ".join(f"{name}={getattr(config, name)!r}" for name in changed)
        raise RunError(
            f"the run was not encoded with {what}, and changing it needs the encoder: use Segmenter.encode or "
            "Segmenter.segment."
        )
    config = config.settled_by(was)
    for grid in config.grids:
        width = encoding.embeddings[grid].shape[-1]
        if width != text.sizes[s.FEATURE]:
            raise RunError(
                f"the run's embeddings have {width} features, but the text embeddings have {text.sizes[s.FEATURE]}; "
                f"use the text encoder of {encoding.provenance['encoder']!r}."
            )
    if phrases(s.labels_of(text), config) != s.phrases_of(text):
        raise RunError(
            f"the text embeddings are of the phrases {listed(list(text[s.PHRASE].values))}, which are not those of the "
            "configuration; make them with Segmenter.text_embeddings and the same configuration."
        )
    return config
