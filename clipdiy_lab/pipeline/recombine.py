"""From one run to another: change labels, texts, saliency or fuse knobs without running the image encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.errors import LabelError, ModelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.models.prompts import check_labels, check_one_phrase, given_rows, phrases, prompts
from clipdiy_lab.models.saliency import validate_map
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.encoding import Encoding, saliency_in_frame
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.provenance import saliency_facts, same_weights
from clipdiy_lab.pipeline.segmenter import Segmenter, as_segmenter
from clipdiy_lab.text import listed


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
    """Change fuse-tier knobs of a run without running the image encoder.

    Parameters
    ----------
    run : xarray.DataTree
    config : Config, optional
        Start from this configuration instead of the run's own.
    labels : sequence of str, optional
        New list of labels. Labels of the run can be used as they are; other ones need `segmenter` or `text_embeddings`.
        If a label is removed, its synonyms are removed too.
    text_embeddings : array, labels x features, optional
        Text embeddings of `labels` (or of the run's labels), one row per label.
    saliency : array, height x width of the image or of the frame, in [0, 1], optional
        Saliency map to use instead of the run's.
    segmenter : Segmenter, optional
        Segmenter whose text encoder embeds new labels, phrases or templates.
    **knobs
        Fuse-tier fields of `Config`. ``scales`` may omit scales of the run. A new ``background_label`` replaces that of
        the run.

    Returns
    -------
    xarray.DataTree
        A new run; the given run is not changed.

    Raises
    ------
    RunError
        For an encode knob, or for labels, phrases or templates whose embeddings are neither in the run nor given.
    """
    encoding = Encoding.of(run)
    s.stage(run, "text_embedding")  # refused here, before anything is asked of it
    old = encoding.config
    new = (old if config is None else as_config(config)).replace(**knobs)
    wanted = _labels(run, new) if labels is None else check_labels(labels)
    if config is None and "synonyms" not in knobs:
        new = new.replace(synonyms=_synonyms_of(wanted, new))
    text = _text(run, old, new, wanted, text_embeddings, segmenter)
    if saliency is not None:
        encoding = _with_saliency(encoding, saliency, new)
    return fuse(encoding, text, new)


def _with_saliency(encoding: Encoding, saliency: npt.ArrayLike, config: Config) -> Encoding:
    try:
        shape = np.shape(saliency)
    except ValueError:
        shape = ()  # ragged: validate_map says so
    checked = validate_map(saliency, config.image_size if shape == config.image_size else encoding.size)
    return replace(
        encoding,
        saliency=saliency_in_frame(checked, config.image_size),
        provenance={**encoding.provenance, **saliency_facts(None)},
    )


def _labels(run: xr.DataTree, config: Config) -> tuple[str, ...]:
    """Labels of a run under another configuration: its background goes, or is renamed where it stands."""
    held = s.labels_of(s.stage(run, "text_embedding"))
    background = s.background_of(run)
    if background is None:
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
        require_same_encoder(run, segmenter)
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
                f"text_embeddings has {rows.shape[1]} features, but the run's have {held.shape[1]}; "
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
        raise RunError(f"the run holds no text embeddings for {listed(lost)}; pass segmenter= or text_embeddings=.")
    rows: npt.NDArray[np.float32] = text.values[[places_of_label.get(one, places[one[1]]) for one in needed]]
    return rows


def require_same_encoder(run: xr.DataTree, segmenter: Segmenter) -> Segmenter:
    """Return a segmenter whose encoder has the weights that a run was made with, however it runs them.

    Raises
    ------
    ModelError
        If it is no segmenter.
    RunError
        If it has other weights.
    """
    segmenter = as_segmenter(segmenter)
    if not same_weights(segmenter.encoder.fingerprint, run.attrs["encoder_fingerprint"]):
        raise RunError(
            f"the run was encoded by {run.attrs['encoder']!r} with other weights than {segmenter.encoder.name!r} has; "
            "give the segmenter that made the run, or segment the image again."
        )
    return segmenter
