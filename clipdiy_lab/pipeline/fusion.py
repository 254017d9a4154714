"""What never needs the image network: from embeddings and texts to a run, and from a run to another run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.errors import LabelError, ModelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.models.prompts import check_labels, given_rows, prompts, with_background
from clipdiy_lab.models.saliency import validate_map
from clipdiy_lab.pipeline import stages

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter


def fuse(encoded: xr.DataTree, text: xr.DataArray, config: Config) -> xr.DataTree:
    """Make a run from encoded windows and embedded labels; no network is touched.

    Parameters
    ----------
    encoded : xarray.DataTree
        What `Segmenter.encode` gives, or any run.
    text : array (label, feature)
        What `Segmenter.text_embeddings` gives.
    config : Config
        Its encode knobs must be those of `encoded`.

    Raises
    ------
    RunError
        If the embeddings are missing or of another width, or an encode knob differs.
    """
    config = _settled(encoded, text, config)
    names = s.labels_of(text)
    _, background = with_background(names, config)
    embeddings = {scale: s.stage(encoded, "embedding", scale) for scale in config.scales}
    similarities = {scale: stages.similarity(vectors, text) for scale, vectors in embeddings.items()}
    # Encodings read from a store come without the frame, which fusing never looks at.
    root = {"image": s.stage(encoded, "image")} if "image" in encoded.data_vars else {}
    root["text_embedding"] = text
    root["logits"] = stages.logits(similarities, config)
    root["merged"] = stages.merged(root["logits"], config)
    if "saliency" in encoded.data_vars:
        root["saliency"] = s.stage(encoded, "saliency")
    root["guide"] = stages.guide(root.get("saliency"), root["merged"], background, config)
    root["fused"] = stages.fused(root["merged"], root["guide"])
    root["probability"] = stages.probability(root["fused"], config)
    root["labels"] = stages.labels(root["fused"])
    root["margin"] = stages.margin(root["fused"])
    root["labels_full"] = stages.labels_full(root["labels"], _own_size(encoded))
    attrs = {
        **encoded.attrs,
        "config": config.to_json(),
        "prompts": json.dumps({name: prompts(name, config) for name in names}),
        "background_index": -1 if background is None else background,
    }
    nodes: dict[str, Any] = {"/": xr.Dataset(root, attrs=attrs)}
    for scale, vectors in embeddings.items():
        whole = xr.Dataset({"embedding": vectors, "similarity": similarities[scale]})
        nodes[f"/{s.SCALES}/{s.scale_node(scale)}"] = whole
    return xr.DataTree.from_dict(nodes)


def label_map(encoded: xr.DataTree, text: xr.DataArray, config: Config) -> xr.DataArray:
    """Return only the winning labels in the frame: the ``labels`` of `fuse`, without keeping the dense stages."""
    config = _settled(encoded, text, config)
    _, background = with_background(s.labels_of(text), config)
    similarities = {scale: stages.similarity(s.stage(encoded, "embedding", scale), text) for scale in config.scales}
    merged = stages.merged(stages.logits(similarities, config), config)
    saliency = s.stage(encoded, "saliency") if "saliency" in encoded.data_vars else None
    guide = stages.guide(saliency, merged, background, config)
    return stages.labels(stages.fused(merged, guide))


def _settled(encoded: xr.DataTree, text: xr.DataArray, config: Config) -> Config:
    """Check that encoding, texts and configuration belong together; return the configuration with its precision."""
    s.validate(encoded, need=())
    was = Config.from_json(encoded.attrs["config"])
    if config.precision == "auto":
        config = config.replace(precision=was.precision)
    changed = [name for name in config.changed(was, "encode") if name != "scales"]
    lost = [scale for scale in config.scales if s.scale_node(scale) not in encoded[s.SCALES].children]
    if changed or lost:
        what = f"scales {lost}" if lost else ", ".join(f"{name}={getattr(config, name)!r}" for name in changed)
        raise RunError(
            f"the run was not encoded with {what}; that needs the network: use Segmenter.encode or Segmenter.segment."
        )
    for scale in config.scales:
        width = s.stage(encoded, "embedding", scale).sizes[s.FEATURE]
        if width != text.sizes[s.FEATURE]:
            raise RunError(
                f"the run's embeddings have {width} features, the text embeddings {text.sizes[s.FEATURE]}; "
                f"use the text encoder of {encoded.attrs['encoder']!r}."
            )
    return config


def recombine(
    run: xr.DataTree,
    *,
    config: Config | None = None,
    labels: Sequence[str] | None = None,
    text_embeddings: npt.ArrayLike | None = None,
    saliency: npt.ArrayLike | None = None,
    segmenter: Segmenter | None = None,
    **knobs: Any,
) -> xr.DataTree:
    """Turn fuse-tier knobs of a run without touching the image network.

    Parameters
    ----------
    run : xarray.DataTree
    config : Config, optional
        Start from this configuration instead of the run's own.
    labels : sequence of str, optional
        Other labels. Labels that the run knows need nothing; new ones need `segmenter` or `text_embeddings`.
    text_embeddings : array, labels x features, optional
        Rows for `labels` (or for the run's labels).
    saliency : array, height x width of the image or of the frame, in [0, 1], optional
        Another saliency map.
    segmenter : Segmenter, optional
        Whose text encoder embeds new labels or templates.
    **knobs
        Fuse-tier fields of `Config`. ``scales`` may drop scales that the run has.

    Returns
    -------
    xarray.DataTree
        A new run; the one given is not changed.

    Raises
    ------
    RunError
        For an encode knob, or for labels or templates that the run does not hold and that nobody can embed.
    """
    s.validate(run, need=("text_embedding",))
    old = Config.from_json(run.attrs["config"])
    new = (old if config is None else as_config(config)).replace(**knobs)
    text = _text(run, old, new, labels, text_embeddings, segmenter)
    if saliency is not None:
        run = _with_saliency(run, saliency, new)
    return fuse(run, text, new)


def _own_size(run: xr.DataTree) -> tuple[int, int]:
    return _whole_attr(run, "image_height"), _whole_attr(run, "image_width")


def _whole_attr(run: xr.DataTree, name: str) -> int:
    try:
        return int(run.attrs[name])
    except (KeyError, TypeError, ValueError) as error:
        what = run.attrs.get(name, "missing")
        raise RunError(f"The run's attribute {name!r} is {what!r}, expected a whole number; segment again.") from error


def _with_saliency(run: xr.DataTree, saliency: npt.ArrayLike, config: Config) -> xr.DataTree:
    try:
        shape = np.shape(saliency)
    except ValueError:
        shape = ()  # ragged: validate_map says so
    checked = validate_map(saliency, config.image_size if shape == config.image_size else _own_size(run))
    changed = run.copy()
    changed["saliency"] = stages.saliency(checked, config.image_size)
    changed.attrs |= {"saliency_source": "given", "saliency_fingerprint": ""}
    return changed


def _text(
    run: xr.DataTree,
    old: Config,
    new: Config,
    labels: Sequence[str] | None,
    given: npt.ArrayLike | None,
    segmenter: Segmenter | None,
) -> xr.DataArray:
    """Text embeddings for the new configuration: from the run where it has them, else from whoever can make them."""
    held = s.labels_of(s.stage(run, "text_embedding"))
    background = _whole_attr(run, "background_index")
    if labels is None:
        drop = new.background == "none" and background >= 0
        wanted = tuple(label for i, label in enumerate(held) if not (drop and i == background))
    else:
        wanted = check_labels(labels)
    needed, _ = with_background(wanted, new)
    if segmenter is not None:
        _same_encoder(run, segmenter)
        return segmenter.text_embeddings(wanted, new, given)
    if given is not None:
        return _given_text(run, given, wanted, needed)
    same_prompts = all(prompts(label, old) == prompts(label, new) for label in needed)
    if not same_prompts or not set(needed) <= set(held):
        what = f"labels {[x for x in needed if x not in held]}" if same_prompts else "other prompts"
        raise RunError(f"the run holds no text embeddings for {what}; pass segmenter= or text_embeddings=.")
    return s.stage(run, "text_embedding").sel({s.LABEL: list(needed)})


def _same_encoder(run: xr.DataTree, segmenter: Segmenter) -> None:
    if segmenter.encoder.fingerprint != run.attrs["encoder_fingerprint"]:
        raise RunError(
            f"the run was encoded by {run.attrs['encoder']!r} with other weights than {segmenter.encoder.name!r} has; "
            "use the same model, or segment the image again."
        )


def _given_text(
    run: xr.DataTree, given: npt.ArrayLike, wanted: tuple[str, ...], needed: tuple[str, ...]
) -> xr.DataArray:
    rows = given_rows(given)
    if len(rows) != len(wanted):
        raise LabelError(f"text_embeddings has shape {rows.shape}; expected a row for each of {len(wanted)} labels.")
    if needed != wanted:
        held = s.stage(run, "text_embedding")
        if needed[0] not in s.labels_of(held):
            raise RunError(f"the run holds no text embedding for {needed[0]!r}; name it among labels with its row.")
        if rows.shape[1] != held.sizes[s.FEATURE]:
            raise ModelError(
                f"text_embeddings has {rows.shape[1]} features, the run's have {held.sizes[s.FEATURE]}; "
                f"use the text encoder of {run.attrs['encoder']!r}."
            )
        rows = np.concatenate([held.sel({s.LABEL: [needed[0]]}).values, rows])
    return stages.text_embedding(rows, needed)
