"""What never needs the image network: from embeddings and texts to a run, and from a run to another run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.errors import LabelError, ModelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.prompts import check_labels, check_one_phrase, given_rows, phrases, prompts, with_background
from clipdiy_lab.models.saliency import validate_map
from clipdiy_lab.models.weights import same_weights
from clipdiy_lab.pipeline import stages

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter


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
        If the embeddings are missing or of another width, an encode knob differs, or the text embeddings are of other
        phrases than those of the configuration.
    """
    config = _settled(encoded, text, config)
    names = s.labels_of(text)
    _, background = with_background(names, config)
    embeddings = {name: s.stage(encoded, "embedding", name) for name in config.grids}
    compared = {name: stages.similarity(vectors, text) for name, vectors in embeddings.items()}
    similarities = {name: cosines for name, (cosines, _) in compared.items()}
    # Encodings read from a store come without the frame, which fusing never looks at.
    root = {"image": s.stage(encoded, "image")} if "image" in encoded.data_vars else {}
    root["text_embedding"] = text
    root["logits"] = stages.logits(similarities, config)
    root["merged"] = stages.merged(root["logits"], config)
    if "saliency" in encoded.data_vars:
        root["saliency"] = s.stage(encoded, "saliency")
    root["guide"] = stages.guide(root.get("saliency"), root["merged"], background, config)
    root["fused"] = stages.fused(root["merged"], root["guide"], background, config)
    root["probability"] = stages.probability(root["fused"], config)
    root["labels"] = stages.labels(root["fused"])
    root["margin"] = stages.margin(root["fused"])
    root["labels_full"] = stages.labels_full(root["labels"], _own_size(encoded))
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
    saliency = s.stage(encoded, "saliency") if "saliency" in encoded.data_vars else None
    return stages.labels_alone(similarities, saliency, background, config)


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
        Other labels. Labels that the run knows need nothing; new ones need `segmenter` or `text_embeddings`. Synonyms
        of labels that are left out are left out with them.
    text_embeddings : array, labels x features, optional
        Rows for `labels` (or for the run's labels), one a label.
    saliency : array, height x width of the image or of the frame, in [0, 1], optional
        Another saliency map.
    segmenter : Segmenter, optional
        Whose text encoder embeds new labels, phrases or templates.
    **knobs
        Fuse-tier fields of `Config`. ``scales`` may drop scales that the run has. Another ``background_label`` takes
        the place of the run's.

    Returns
    -------
    xarray.DataTree
        A new run; the one given is not changed.

    Raises
    ------
    RunError
        For an encode knob, or for labels, phrases or templates that the run does not hold and that nobody can embed.
    """
    s.validate(run, need=("text_embedding",))
    old = Config.from_json(run.attrs["config"])
    new = (old if config is None else as_config(config)).replace(**knobs)
    wanted = _labels(run, new) if labels is None else check_labels(labels)
    if config is None and "synonyms" not in knobs:
        new = new.replace(synonyms=_synonyms_of(wanted, new))
    text = _text(run, old, new, wanted, text_embeddings, segmenter)
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


def _labels(run: xr.DataTree, config: Config) -> tuple[str, ...]:
    """Labels of a run under another configuration: its background goes, or is renamed where it stands."""
    held = s.labels_of(s.stage(run, "text_embedding"))
    background = _whole_attr(run, "background_index")
    if background < 0:
        return held
    name = config.background_label
    others = [label for i, label in enumerate(held) if i != background]
    if config.background == "none" or name.lower() in (label.lower() for label in others):
        return check_labels(others)
    renamed = held[background] if held[background].lower() == name.lower() else name
    return (*held[:background], renamed, *held[background + 1 :])


def _synonyms_of(labels: tuple[str, ...], config: Config) -> dict[str, tuple[str, ...]]:
    kept = {label.lower() for label in (*labels, config.background_label)}
    return {label: several for label, several in config.synonyms.items() if label.lower() in kept}


def _text(
    run: xr.DataTree,
    old: Config,
    new: Config,
    labels: tuple[str, ...],
    given: npt.ArrayLike | None,
    segmenter: Segmenter | None,
) -> xr.DataArray:
    """Text embeddings for the new configuration: from the run where it has them, else from whoever can make them."""
    if segmenter is not None:
        _same_encoder(run, segmenter)
        return segmenter.text_embeddings(labels, new, given)
    wanted = phrases(labels, new)
    if given is None:
        return stages.text_embedding(_held_rows(run, old, new, wanted), wanted)
    rows = given_rows(given)
    if len(rows) != len(labels):
        raise LabelError(f"text_embeddings has shape {rows.shape}; expected a row for each of {len(labels)} labels.")
    check_one_phrase(labels, wanted)
    added = {label: several for label, several in wanted.items() if label not in labels}
    if added:
        held = _held_rows(run, old, new, added)
        if rows.shape[1] != held.shape[1]:
            raise ModelError(
                f"text_embeddings has {rows.shape[1]} features, the run's have {held.shape[1]}; "
                f"use the text encoder of {run.attrs['encoder']!r}."
            )
        rows = np.concatenate([held, rows])
    return stages.text_embedding(rows, wanted)


def _held_rows(
    run: xr.DataTree, old: Config, new: Config, wanted: Mapping[str, tuple[str, ...]]
) -> npt.NDArray[np.float32]:
    """Rows of the run's text embedding for phrases, in their order."""
    text = s.stage(run, "text_embedding")
    owned = [(label, phrase) for label, several in s.phrases_of(text).items() for phrase in several]
    places = {phrase: row for row, (_, phrase) in reversed(list(enumerate(owned)))}
    # A row that was given is its label's alone, so a label's own row goes before another label's of the same phrase.
    places_of_label = {pair: row for row, pair in enumerate(owned)}
    needed = [(label, phrase) for label, several in wanted.items() for phrase in several]
    if any(prompts(phrase, old) != prompts(phrase, new) for _, phrase in needed):
        raise RunError("the run holds no text embeddings for other prompts; pass segmenter= or text_embeddings=.")
    lost = [phrase for _, phrase in needed if phrase not in places]
    if lost:
        raise RunError(f"the run holds no text embeddings for {lost}; pass segmenter= or text_embeddings=.")
    rows: npt.NDArray[np.float32] = text.values[[places_of_label.get(one, places[one[1]]) for one in needed]]
    return rows


def _same_encoder(run: xr.DataTree, segmenter: Segmenter) -> None:
    from clipdiy_lab.pipeline.segmenter import as_segmenter  # which imports this module

    segmenter = as_segmenter(segmenter)
    if not same_weights(segmenter.encoder.fingerprint, run.attrs["encoder_fingerprint"]):
        raise RunError(
            f"the run was encoded by {run.attrs['encoder']!r} with other weights than {segmenter.encoder.name!r} has; "
            "use the same model, or segment the image again."
        )
