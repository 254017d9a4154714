"""From embedded windows and texts to a run, without the image network."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.prompts import phrases, prompts, with_background
from clipdiy_lab.pipeline import stages


def fuse(encoded: xr.DataTree, text: xr.DataArray, config: Config) -> xr.DataTree:
    """Make a run from encoded windows and embedded labels; no network is touched.

    Parameters
    ----------
    encoded : xarray.DataTree
        What `Segmenter.encode` gives, or any run.
    text : array (phrase, feature)
        What `Segmenter.text_embeddings` gives.
    config : Config
        Its encode knobs must be those of `encoded`.

    Raises
    ------
    RunError
        If the embeddings are missing or of another width, an encode knob differs, the text embeddings are of other
        phrases than those of the configuration, or a stage needs one that is not there.
    """
    config = _settled(encoded, text, config)
    names = s.labels_of(text)
    _, background = with_background(names, config)
    embeddings = {name: s.stage(encoded, "embedding", name) for name in config.grids}
    compared = {name: stages.similarity(vectors, text) for name, vectors in embeddings.items()}
    similarities = {name: cosines for name, (cosines, _) in compared.items()}
    # Encodings read from a store come without the frame.
    root = {name: s.stage(encoded, name) for name in ("image", "saliency") if name in encoded.data_vars}
    given = stages.inputs(similarities, root.get("saliency"), background, config, root.get("image"))
    root |= stages.dense(given, names)
    root |= {"text_embedding": text, "labels_full": stages.labels_full(root["labels"], own_size(encoded))}
    root = {name: root[name] for name in s.STAGES if name in root}
    attrs = {
        **encoded.attrs,
        "config": config.to_json(),
        "labels": json.dumps(names),
        "prompts": json.dumps(_prompts(text, config)),
        "background_index": -1 if background is None else background,
    }
    nodes: dict[str, Any] = {"/": xr.Dataset(root, attrs=attrs)}
    for name, vectors in embeddings.items():
        cosines, which = compared[name]
        whole = xr.Dataset({"embedding": vectors, "similarity": cosines, "best_phrase": which})
        nodes[f"/{s.GRIDS}/{name}"] = whole
    return xr.DataTree.from_dict(nodes)


def _prompts(text: xr.DataArray, config: Config) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the prompts of every phrase of every label."""
    return {
        label: {phrase: prompts(phrase, config) for phrase in several} for label, several in s.phrases_of(text).items()
    }


def label_map(encoded: xr.DataTree, text: xr.DataArray, config: Config) -> xr.DataArray:
    """Return only the winning labels in the frame: the ``labels`` of `fuse`, without keeping the dense stages."""
    config = _settled(encoded, text, config)
    _, background = with_background(s.labels_of(text), config)
    names = config.grids
    similarities = {name: stages.similarity(s.stage(encoded, "embedding", name), text)[0] for name in names}
    at_hand = {name: s.stage(encoded, name) for name in ("image", "saliency") if name in encoded.data_vars}
    given = stages.inputs(similarities, at_hand.get("saliency"), background, config, at_hand.get("image"))
    return stages.label_map(given)


def _settled(encoded: xr.DataTree, text: xr.DataArray, config: Config) -> Config:
    """Check that encoding, texts and configuration belong together; return the configuration with its precision."""
    s.validate(encoded, need=())
    was = Config.from_json(encoded.attrs["config"])
    if config.precision == "auto":
        config = config.replace(precision=was.precision)
    changed = [name for name in config.changed(was, "encode") if name != "scales"]
    plan = Plan.of(config)
    lost = [grid.title for grid in plan if grid.name not in encoded[s.GRIDS].children]
    if changed or lost:
        grids = f"the grids of {', '.join(lost)}"
        what = grids if lost else ", ".join(f"{name}={getattr(config, name)!r}" for name in changed)
        raise RunError(
            f"the run was not encoded with {what}; that needs the network: use Segmenter.encode or Segmenter.segment."
        )
    for grid in plan:
        width = s.stage(encoded, "embedding", grid.name).sizes[s.FEATURE]
        if width != text.sizes[s.FEATURE]:
            raise RunError(
                f"the run's embeddings have {width} features, the text embeddings {text.sizes[s.FEATURE]}; "
                f"use the text encoder of {encoded.attrs['encoder']!r}."
            )
    if phrases(s.labels_of(text), config) != s.phrases_of(text):
        raise RunError(
            f"the text embeddings are of the phrases {list(text[s.PHRASE].values)}, which are not those of the "
            "configuration; make them with Segmenter.text_embeddings and the same configuration."
        )
    return config


def own_size(run: xr.DataTree) -> tuple[int, int]:
    """Return height and width of the image of a run, before it became a frame."""
    return whole_attribute(run, "image_height"), whole_attribute(run, "image_width")


def whole_attribute(run: xr.DataTree, name: str) -> int:
    """Return an attribute of a run that is a whole number.

    Raises
    ------
    RunError
        If it is missing or something else.
    """
    try:
        return int(run.attrs[name])
    except (KeyError, TypeError, ValueError) as error:
        what = run.attrs.get(name, "missing")
        raise RunError(f"The run's attribute {name!r} is {what!r}, expected a whole number; segment again.") from error
