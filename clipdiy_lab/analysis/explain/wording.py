"""What the words do: how many pixels change their label when a prompt or the set of labels changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.explain.reading import Floats, array, label_index, read
from clipdiy_lab.errors import LabelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.recombine import recombine

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

TEMPLATES = ("{label}", "a picture of a {label}", "a photo of the {label}", "a close-up photo of a {label}")
"""Templates that `prompt_sensitivity` tries unless it is given others."""

Names = npt.NDArray[np.object_]


def prompt_sensitivity(
    run: xr.DataTree,
    segmenter: Segmenter,
    *,
    templates: Sequence[str] = TEMPLATES,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    added: Sequence[str] = (),
) -> xr.Dataset:
    """Change the words one at a time and count the pixels that change their label; only the text encoder runs.

    The run's own labels are embedded anew too, so text embeddings that were given by hand are not kept.

    Variations: the other article; each template; each synonym in the place of its label; each label dropped (not the
    background, and only where another label stays); each of `added` beside the run's labels.

    Parameters
    ----------
    run : xarray.DataTree
    segmenter : Segmenter
        The one that made the run, or one with the same encoder.
    templates : sequence of str
    synonyms : mapping of label to sequence of str, optional
    added : sequence of str
        Labels that are not in the run.

    Returns
    -------
    xarray.Dataset
        ``label_changed`` (variation, y, x) bool; ``changed_share`` (variation): share of the image's pixels;
        ``changed_share_of_label`` (variation, label): of the pixels that have the label before or after, the share that
        has it only once (NaN where there are none). A synonym counts as its label.

    Raises
    ------
    RunError
        A missing stage, or another encoder than the run's.
    LabelError
        A synonym for a label that the run does not have, or words that cannot be prompted.
    """
    config = read(run, "labels", s.SCORES, "text_embedding")
    before = _names(run)
    known = s.labels_of(run)
    what, maps = [], []
    for name, changes, meant in _variations(run, config, templates, synonyms or {}, added):
        other = recombine(run, segmenter=segmenter, **changes)
        what.append(name)
        maps.append(_names(other, meant))
    after = np.stack(maps) if maps else np.empty((0, *before.shape), dtype=object)
    changed = after != before
    coords = {**s.stage(run, "labels").coords, s.VARIATION: np.array(what, dtype=object), s.LABEL: list(known)}
    of_label = np.stack([_share_of(before == label, after == label) for label in known], axis=1)
    return xr.Dataset(
        {
            "label_changed": array("label_changed", changed, coords),
            "changed_share": array("changed_share", changed.mean((1, 2)), coords),
            "changed_share_of_label": array("changed_share_of_label", of_label, coords),
        }
    )


def _variations(
    run: xr.DataTree,
    config: Config,
    templates: Sequence[str],
    synonyms: Mapping[str, Sequence[str]],
    added: Sequence[str],
) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name of a variation, what to recombine with, and which new word stands for which label."""
    known = s.labels_of(run)
    background = s.background_of(run)
    article = "grammatical" if config.article == "official" else "official"
    yield f"article: {article}", {"article": article}, {}
    for template in templates:
        if template != config.template:
            yield f"template: {template}", {"template": template}, {}
    for label, words in synonyms.items():
        place = label_index(run, label)
        if isinstance(words, str):
            raise LabelError(f"the synonyms of {label!r} are {words!r}; expected a list of words.")
        for word in words:
            labels = [*known[:place], word, *known[place + 1 :]]
            name = {"background_label": word} if place == background else {}
            yield f"synonym: {label} = {word}", {"labels": labels, **name}, {word: label}
    droppable = [label for place, label in enumerate(known) if place != background]
    for label in droppable if len(droppable) > 1 else []:
        yield f"dropped: {label}", {"labels": [other for other in known if other != label]}, {}
    for label in added:
        yield f"added: {label}", {"labels": [*known, label]}, {}


def _names(run: xr.DataTree, meant: Mapping[str, str] | None = None) -> Names:
    """Map of label names; labels of two runs need not have the same positions."""
    labels = s.labels_of(run)
    names = np.array([(meant or {}).get(label, label) for label in labels], dtype=object)
    found: Names = names[s.stage(run, "labels").values]
    return found


def _share_of(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Floats:
    either, both = (before | after).sum((1, 2)), (before & after).sum((1, 2))
    found: Floats = np.divide(either - both, either, out=np.full(len(either), np.nan), where=either > 0)
    return found


def compare(run: xr.DataTree, other: xr.DataTree, *, differing: Sequence[str] = ()) -> xr.DataArray:
    """Where two runs of one image have different labels, by name.

    Parameters
    ----------
    run, other : xarray.DataTree
    differing : sequence of str
        Knobs of `Config` in which the runs are meant to differ; a difference in any other is an error, so that an
        effect is not put down to the wrong knob.

    Returns
    -------
    array of bool (y, x)

    Raises
    ------
    RunError
        If the runs are of different images, frames, encoders or saliency, or their configurations differ elsewhere.
    """
    configs = read(run, "labels", s.SCORES), read(other, "labels", s.SCORES)
    fixed = ("image_sha256", "encoder", "encoder_fingerprint", "saliency_source", "saliency_fingerprint")
    for attr in fixed:
        if run.attrs.get(attr) != other.attrs.get(attr):
            raise RunError(
                f"the runs differ in {attr} ({run.attrs.get(attr)!r} and {other.attrs.get(attr)!r}); compare runs of "
                "one image made with the same models."
            )
    knobs = [knob for knob in configs[0].changed(configs[1]) if knob not in differing or knob == "image_size"]
    if knobs:
        listed = ", ".join(f"{k} ({getattr(configs[0], k)!r} and {getattr(configs[1], k)!r})" for k in knobs)
        raise RunError(
            f"the runs' configurations differ in {listed}; compare runs that differ only in what differing=... names "
            "(never in image_size)."
        )
    changed = (_names(run) != _names(other))[None]
    coords = s.stage(run, "labels").coords
    return array("label_changed", changed, coords).isel({s.VARIATION: 0})
