"""What the words do: how many pixels change their label when a prompt or the set of labels changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.explain.reading import Floats, array, label_index, read
from clipdiy_lab.errors import ClipdiyWarning, LabelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.recombine import recombine
from clipdiy_lab.text import quoted

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

TEMPLATES = ("{label}", "a picture of a {label}", "a photo of the {label}", "a close-up photo of a {label}")
"""Templates that `prompt_sensitivity` tries unless it is given others."""

LABEL_CHANGED = s.Stage(
    name="label_changed",
    dims=(s.VARIATION, s.Y, s.X),
    kind="b1",
    title="Where the wording changes the label",
    sentence="Pixels that get another label from a variation of the wording, or in another run.",
    unit="changes its label",
)
WORDING_SENSITIVITY = s.Stage(
    name="wording_sensitivity",
    dims=(s.Y, s.X),
    kind="f4",
    title="Sensitivity to the wording",
    sentence="Share of the variations of the wording (article, template, one label removed) that change the label. "
    "Bright pixels depend on the wording.",
    unit="share of the variations",
    low=0,
    high=1,
)
_CHANGED_SHARE = s.Stage(
    name="changed_share", dims=(s.VARIATION,), kind="f4", title="Share of changed pixels", low=0, high=1
)
_CHANGED_SHARE_OF_LABEL = s.Stage(
    name="changed_share_of_label",
    dims=(s.VARIATION, s.LABEL),
    kind="f4",
    title="Share of a label's pixels, before or after, that changed",
    low=0,
    high=1,
)

Places = npt.NDArray[np.int64]


def prompt_sensitivity(
    run: xr.DataTree,
    segmenter: Segmenter,
    *,
    templates: Sequence[str] | None = None,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    added: Sequence[str] = (),
) -> xr.Dataset:
    """Vary the wording and count the pixels that change their label; only the text encoder is run.

    The run's own labels are embedded again, so text embeddings that were passed in are not used.

    Variations: the other article; each template; each synonym instead of its label; each label removed (except the
    background, and only if another label remains); each of `added` in addition to the run's labels. Removing a label
    without pixels changes nothing, so this is not computed (with ``background="threshold"``, where such labels do
    matter, only labels with pixels are removed).

    Parameters
    ----------
    run : xarray.DataTree
    segmenter : Segmenter
        The one that made the run, or one with the same encoder.
    templates : sequence of str, optional
        Default: `TEMPLATES`, except those that make a prompt too long for the text encoder.
    synonyms : mapping of label to sequence of str, optional
    added : sequence of str
        Labels that are not in the run.

    Returns
    -------
    xarray.Dataset
        ``label_changed`` (variation, y, x) bool; ``wording_sensitivity`` (y, x): share of the variations that change
        the pixel; ``changed_share`` (variation): share of the image's pixels; ``changed_share_of_label`` (variation,
        label): of the pixels that have the label before or after, the share that have it in only one of the two (NaN
        if there are none). A synonym counts as its label. The attribute ``left_out`` lists the variations that were
        left out.

    Raises
    ------
    RunError
        If a stage is missing, or the encoder is not that of the run.
    LabelError
        For a synonym of a label that is not in the run, or words that cannot be used in a prompt.

    Warns
    -----
    ClipdiyWarning
        If variations are left out.
    """
    config = read(run, "labels", s.SCORES, "text_embedding")
    known = s.labels_of(run)
    before = s.stage(run, "labels").values.astype(np.int64)
    found: dict[str, Places] = {}
    left_out: dict[str, str] = {}
    for name, changes, meant in _variations(run, config, templates, synonyms or {}, added):
        try:
            other = recombine(run, segmenter=segmenter, **changes) if changes else run
        except LabelError as error:
            if not _by_itself(name, templates):
                raise
            left_out[name] = str(error)
        else:
            found[name] = _places(other, known, meant)
    if left_out:
        _warn_of_left_out(left_out)
    after = np.stack(list(found.values())) if found else np.empty((0, *before.shape), dtype=np.int64)
    changed = after != before
    often = changed.mean(0) if found else np.zeros(before.shape)
    coords = {**s.stage(run, "labels").coords, s.VARIATION: np.array(list(found), dtype=object), s.LABEL: list(known)}
    of_label = np.array([_changed_share_of(before, one, len(known)) for one in after]).reshape(-1, len(known))
    return xr.Dataset(
        {
            "label_changed": array(LABEL_CHANGED, changed, coords),
            "wording_sensitivity": array(WORDING_SENSITIVITY, often, coords),
            "changed_share": array(_CHANGED_SHARE, changed.mean((1, 2)), coords),
            "changed_share_of_label": array(_CHANGED_SHARE_OF_LABEL, of_label, coords),
        },
        attrs={"left_out": list(left_out)},
    )


def _by_itself(name: str, templates: Sequence[str] | None) -> bool:
    """Whether a variation is tried without having been asked for."""
    return name.startswith("article: ") or (templates is None and name.startswith("template: "))


def _warn_of_left_out(left_out: Mapping[str, str]) -> None:
    name, reason = next(iter(left_out.items()))
    warnings.warn(
        f"Left out {len(left_out)} of the variations of the wording, the first being {quoted(name)}: {reason}",
        ClipdiyWarning,
        stacklevel=3,
    )


def _variations(
    run: xr.DataTree,
    config: Config,
    templates: Sequence[str] | None,
    synonyms: Mapping[str, Sequence[str]],
    added: Sequence[str],
) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name of a variation, what to recombine with (nothing: the run stays), and which new word stands for a label."""
    known = s.labels_of(run)
    background = s.background_of(run)
    article = "grammatical" if config.article == "official" else "official"
    yield f"article: {article}", {"article": article}, {}
    for template in TEMPLATES if templates is None else templates:
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
    yield from _drops(run, config, known, background)
    for label in added:
        yield f"added: {label}", {"labels": [*known, label]}, {}


def _drops(
    run: xr.DataTree, config: Config, known: tuple[str, ...], background: int | None
) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    droppable = [place for place in range(len(known)) if place != background]
    winners = set(np.unique(s.stage(run, "labels").values).tolist())
    for place in droppable if len(droppable) > 1 else []:
        changes = {"labels": [*known[:place], *known[place + 1 :]]} if place in winners else {}
        if changes or config.background != "threshold":
            yield f"dropped: {known[place]}", changes, {}


def _places(run: xr.DataTree, known: tuple[str, ...], meant: Mapping[str, str]) -> Places:
    """Label map of a run as places among the labels `known`; labels of two runs need not have the same positions."""
    places = {label: place for place, label in enumerate(known)}
    for label in s.labels_of(run):
        places.setdefault(meant.get(label, label), len(places))
    own = np.array([places[meant.get(label, label)] for label in s.labels_of(run)])
    found: Places = own[s.stage(run, "labels").values]
    return found


def _changed_share_of(before: Places, after: Places, count: int) -> Floats:
    """Of the pixels that have one of the first `count` labels before or after, the share that has it only once."""
    had, has, kept = (
        np.bincount(one.ravel(), minlength=count)[:count] for one in (before, after, before[before == after])
    )
    either = had + has - kept
    shares: Floats = np.divide(either - kept, either, out=np.full(count, np.nan), where=either > 0)
    return shares


def label_changed(run: xr.DataTree, other: xr.DataTree, *, differing: Sequence[str] = ()) -> xr.DataArray:
    """Map of the pixels at which two runs of one image have different labels: the effect of one knob.

    `clipdiy_lab.compare` compares any two runs of an image: which label became which, and which settings differ.

    Parameters
    ----------
    run, other : xarray.DataTree
    differing : sequence of str
        Knobs of `Config` in which the runs may differ; a difference in any other knob is an error, so that an effect is
        not attributed to the wrong knob.

    Returns
    -------
    array of bool (y, x)

    Raises
    ------
    RunError
        If the runs have different images, frames, encoders or saliency, or their configurations differ in other knobs.
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
    known = s.labels_of(run)
    changed = (_places(run, known, {}) != _places(other, known, {}))[None]
    coords = s.stage(run, "labels").coords
    return array(LABEL_CHANGED, changed, coords).isel({s.VARIATION: 0})
