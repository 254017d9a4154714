"""Names of dimensions and stages with their units and ranges, and the check that a tree follows them.

This is the only place where dimensions and stages are named; figures, documents and files take the names from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.errors import RunError
from clipdiy_lab.method.config import Config

Y, X, CHANNEL = "y", "x", "channel"
GRID, WINDOW, LABEL = "grid", "window", "label"
ROW, COL, FEATURE = "row", "col", "feature"
PHRASE, PHRASE_LABEL = "phrase", "phrase_label"
Y_FULL, X_FULL = "y_full", "x_full"
VARIATION, EXPLANATION, SHARE = "variation", "explanation", "share"
HEAD, LABEL_BEFORE = "head", "label_before"
INGREDIENT, LOSS, AREA = "ingredient", "loss", "area"

GRIDS = "grids"
"""Name of the node whose children are the grids, by name."""

SCHEMA_VERSION = 3
"""Written into every run; a reader refuses a run of another version rather than guess."""

SCORES = "scores"
"""What a stage needs that reads the scores that decide, whichever stage they are of; see `scores`."""

_MEASURES = ("pixel", "nat")
"""Units that are written into files; everything else has no dimension."""


def _always(config: Config) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Description of one stage of a run, or of one map that explains a run.

    Attributes
    ----------
    name : str
        Name of the variable in the tree.
    dims : tuple of str
        Its dimensions, in order.
    kind : {"u1", "f4", "i2", "i8", "b1"}
        Numpy kind and size of its values.
    title, sentence : str
        Its name for display, and a sentence on how to read it.
    unit : str
        What its values are, as written next to a colour scale.
    low, high : float or None
        Range of its values (None: no bound).
    needs : tuple of str
        Earlier stages from which it is computed, or `SCORES`.
    is_score : bool
        Whether labels are decided by this stage if no later score stage follows.
    asked : callable
        Whether a configuration includes the stage.
    """

    name: str
    dims: tuple[str, ...]
    kind: str
    title: str
    sentence: str = ""
    unit: str = "1"
    low: float | None = None
    high: float | None = None
    needs: tuple[str, ...] = ()
    is_score: bool = False
    asked: Callable[[Config], bool] = _always

    @property
    def of_grid(self) -> bool:
        """Whether it lies in the node of each grid, and not at the root."""
        return ROW in self.dims

    def attrs(self) -> dict[str, str]:
        """Attributes that an array of this stage carries."""
        return {"long_name": self.title, "units": self.unit if self.unit in _MEASURES else "1"}


_TABLE = (
    Stage(
        name="image", dims=(Y, X, CHANNEL), kind="u1", low=0, high=255, title="The image in the frame",
        sentence="The image resized to the frame; as in the paper, the aspect ratio is not preserved.",
    ),
    Stage(
        name="embedding", dims=(ROW, COL, FEATURE), kind="f4", needs=("image",), title="Embeddings of the windows",
        sentence="The encoder's embedding of each window, a unit vector.",
    ),
    Stage(
        name="text_embedding", dims=(PHRASE, FEATURE), kind="f4", title="Embeddings of the phrases",
        sentence="The encoder's embedding of each phrase of each label, a unit vector.",
    ),
    Stage(
        name="similarity", dims=(ROW, COL, LABEL), kind="f4", low=-1, high=1, unit="cosine",
        needs=("embedding", "text_embedding"), title="Similarity of every window to every label",
        sentence="Each cell is a crop that CLIP compared with the label; each row is a grid. Bright cells match well.",
    ),
    Stage(
        name="best_phrase", dims=(ROW, COL, LABEL), kind="i2", low=0, needs=("embedding", "text_embedding"),
        title="The best phrase",
        sentence="Index of the phrase of each label with the highest cosine similarity.",
    ),
    Stage(
        name="presence", dims=(LABEL,), kind="f4", low=-2, high=2, unit="cosine", needs=("similarity",),
        asked=lambda config: config.keep_labels is not None, title="Evidence that the label is present",
        sentence="Its largest lead over the best other label in any window; the background is set to 2.",
    ),
    Stage(
        name="kept", dims=(LABEL,), kind="b1", needs=("presence",), title="Whether the label competes",
        asked=lambda config: config.keep_labels is not None,
        sentence="The labels with the most evidence, and the background.",
    ),
    Stage(
        name="logits", dims=(GRID, LABEL, Y, X), kind="f4", low=-1, high=1, unit="cosine", needs=("similarity",),
        title="The maps of the grids",
        sentence="The same cosines, resized to the frame. Large windows show what is in the image, small ones where.",
    ),
    Stage(
        name="merged", dims=(LABEL, Y, X), kind="f4", unit="cosine", needs=("logits",), title="Merged",
        sentence="The weighted mean of the grids' maps, before saliency is applied.",
    ),
    Stage(
        name="saliency", dims=(Y, X), kind="f4", low=0, high=1, unit="foreground probability", needs=("image",),
        title="Saliency",
        sentence="Probability that a pixel belongs to any object, estimated without labels. 1 is foreground.",
    ),
    Stage(
        name="guide", dims=(LABEL, Y, X), kind="f4", low=0, high=1, unit="factor", needs=("merged",), title="Guide",
        sentence="The factor for every label: saliency for objects, one minus saliency for the background.",
    ),
    Stage(
        name="fused", dims=(LABEL, Y, X), kind="f4", unit="score", needs=("merged", "guide"), is_score=True,
        title="Fused",
        sentence="Merged times guide. With the policy 'threshold', the threshold is the score of the background.",
    ),
    Stage(
        name="refined", dims=(LABEL, Y, X), kind="f4", unit="score", needs=("image", "fused"), is_score=True,
        asked=lambda config: config.refine != "none", title="Refined",
        sentence="The fused scores aligned with image edges: each is a weighted sum of the scores around it.",
    ),
    Stage(
        name="probability", dims=(LABEL, Y, X), kind="f4", low=0, high=1, unit="probability", needs=(SCORES,),
        title="Probability",
        sentence="Softmax of the final scores. Nearly uniform at temperature 1, because cosines differ only slightly.",
    ),
    Stage(
        name="labels", dims=(Y, X), kind="i2", low=0, needs=(SCORES,), title="Labels",
        sentence="The label with the highest score at every pixel.",
    ),
    Stage(
        name="margin", dims=(Y, X), kind="f4", low=0, unit="score", needs=(SCORES,), title="Margin",
        sentence="Lead of the winning label over the runner-up. The labels of dark pixels change easily.",
    ),
    Stage(
        name="labels_full", dims=(Y_FULL, X_FULL), kind="i2", low=0, needs=("labels",),
        title="Labels at the image's own size",
        sentence="The labels resized to the image with nearest-neighbour interpolation.",
    ),
)  # fmt: skip

STAGES: dict[str, Stage] = {stage.name: stage for stage in _TABLE}
"""Every stage of a run, in the order in which they are made."""

RUN_ATTRS = ("config", "encoder", "encoder_fingerprint", "saliency_source", "image_sha256", "schema_version")
"""Attributes that every run carries; the rest are listed in `pipeline.stages`."""

CAUTION = "caution"
"""Attribute of runs and results whose images are not of the world that their encoder knows: a sentence that says so."""

_INDICES = ("labels", "labels_full")
# float32 cosines of unit vectors overshoot 1 by rounding.
_TOLERANCE = 1e-4


def stage(tree: xr.DataTree, name: str, grid: str | None = None) -> xr.DataArray:
    """Return one stage of a run, of one grid (by its name) where it has grids.

    Raises
    ------
    RunError
        If the run has no such stage.
    """
    path = name if grid is None else f"{GRIDS}/{grid}/{name}"
    try:
        found = tree[path]
    except KeyError:
        found = None
    if not isinstance(found, xr.DataArray):
        raise RunError(f"the run has no stage {path!r}; segment the image with labels (Segmenter.segment) first.")
    return found


def coords_of(dims: Collection[Hashable], coords: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Coordinates of some dimensions, and what stands beside them: the window sides beside the names of the grids."""
    wanted = [*dims, *([WINDOW] if GRID in dims else [])]
    return {name: coords[name] for name in wanted if name in coords}


def deciding(config: Config) -> str:
    """Name of the stage whose scores decide under a configuration: the last score that it asks for."""
    return [name for name, row in STAGES.items() if row.is_score and row.asked(config)][-1]


def scores(run: xr.DataTree) -> xr.DataArray:
    """Return the scores that decide: the last score stage that a run holds.

    Raises
    ------
    RunError
        If it holds none.
    """
    known = [name for name, row in STAGES.items() if row.is_score]
    held = [name for name in known if name in run.data_vars]
    return stage(run, held[-1] if held else known[0])


def competing(run: xr.DataTree) -> npt.NDArray[np.bool_]:
    """Whether each label of a run competes: all do where the configuration keeps them all."""
    if "kept" in run.data_vars:
        return np.asarray(stage(run, "kept").values, dtype=bool)
    return np.ones(len(labels_of(run)), dtype=bool)


def labels_of(data: xr.DataTree | xr.Dataset | xr.DataArray) -> tuple[str, ...]:
    """Return the names of the labels: of a run, of an array that has labels, or those that a text embedding is of.

    Raises
    ------
    RunError
        If there are no labels.
    """
    if LABEL in data.coords:
        return tuple(str(label) for label in data.coords[LABEL].values)
    if PHRASE_LABEL in data.coords:
        return tuple(phrases_of(data))
    raise RunError("the run has no labels; segment the image with labels (Segmenter.segment) first.")


def background_of(run: xr.DataTree | xr.Dataset) -> int | None:
    """Return the index of the background label; None where the policy has none.

    Raises
    ------
    RunError
        If the run does not say.
    """
    given = run.attrs.get("background_index")
    index = as_whole(given)
    if index is None:
        raise RunError(f"the run's attribute 'background_index' is {given!r}; segment the image again.")
    return None if index < 0 else index


def phrases_of(text: xr.DataTree | xr.Dataset | xr.DataArray) -> dict[str, tuple[str, ...]]:
    """Return the phrases of every label, in the order of the rows of a text embedding.

    Raises
    ------
    RunError
        If the array does not say which phrases it holds, or the phrases of a label do not stand together.
    """
    if PHRASE not in text.coords or PHRASE_LABEL not in text.coords:
        raise RunError(
            f"the text embedding lacks the coordinates {PHRASE!r} and {PHRASE_LABEL!r}; "
            "make it with Segmenter.text_embeddings."
        )
    owners = [str(owner) for owner in text.coords[PHRASE_LABEL].values]
    found: dict[str, list[str]] = {owner: [] for owner in owners}
    for owner, phrase in zip(owners, text.coords[PHRASE].values, strict=True):
        found[owner].append(str(phrase))
    if [owner for owner, phrases in found.items() for _ in phrases] != owners:
        raise RunError(
            "the text embedding mixes the phrases of several labels; make it with Segmenter.text_embeddings."
        )
    return {owner: tuple(phrases) for owner, phrases in found.items()}


def _check(where: str, array: xr.DataArray, known: Stage) -> None:
    if array.dims != known.dims:
        raise RunError(
            f"{where} has dimensions {array.dims}, expected {known.dims}; check that this is a run of clipdiy_lab."
        )
    kind = np.dtype(known.kind).kind
    if array.dtype.kind != kind and not (kind == "i" and array.dtype.kind == "u"):
        raise RunError(f"{where} holds {array.dtype}, expected {np.dtype(known.kind)} or another width of it.")
    if array.size == 0:
        raise RunError(f"{where} is empty; segment the image again.")
    values = array.values
    if kind == "f" and not np.isfinite(values).all():
        raise RunError(
            f"{where} holds NaN or infinite values; segment the image again, or check the array that replaced it."
        )
    low, high = float(values.min()), float(values.max())
    if (known.low is not None and low < known.low - _TOLERANCE) or (
        known.high is not None and high > known.high + _TOLERANCE
    ):
        raise RunError(f"{where} spans [{low:.4g}, {high:.4g}], expected [{known.low}, {known.high}].")


def as_whole(attr: Any) -> int | None:
    """Return the whole number that an attribute holds; None where it holds none."""
    try:
        return int(np.asarray(attr).item())  # some writers of HDF5 make an array of every attribute
    except (TypeError, ValueError):
        return None


def validate(tree: xr.DataTree, need: Iterable[str] = ("logits", "merged", SCORES, "labels")) -> None:
    """Check that a tree is a run: stages, dimensions, ranges, attributes.

    Parameters
    ----------
    tree : xarray.DataTree
        What `Segmenter.segment` gives or `open_run` reads.
    need : iterable of str
        Stages that must be there; `SCORES` stands for the scores that decide. Other stages are checked where they
        exist.

    Raises
    ------
    RunError
        With the name of the stage or attribute that is wrong and what was expected.
    """
    if not isinstance(tree, xr.DataTree):
        raise RunError(f"expected a run (xarray.DataTree), got {type(tree).__name__}; make one with segmenter.segment.")
    missing = [name for name in RUN_ATTRS if name not in tree.attrs]
    if missing:
        raise RunError(
            f"the tree lacks the attributes {missing}, so it is not a run of clipdiy_lab; make one with "
            "segmenter.segment."
        )
    if as_whole(tree.attrs["schema_version"]) != SCHEMA_VERSION:
        raise RunError(
            f"the run has schema version {tree.attrs['schema_version']}, this clipdiy_lab reads {SCHEMA_VERSION}; "
            "segment the image again."
        )
    if GRIDS not in tree.children:
        raise RunError(
            f"the tree lacks the node '{GRIDS}', so it is not a run of clipdiy_lab; make one with segmenter.segment."
        )
    for name in need:
        if name == SCORES:
            scores(tree)
        else:
            stage(tree, name)
    for name, known in STAGES.items():
        if name in tree.data_vars:
            if name in _INDICES and LABEL in tree.sizes:
                known = replace(known, high=tree.sizes[LABEL] - 1)
            _check(f"stage {name!r}", stage(tree, name), known)
    for node in tree.children[GRIDS].children.values():
        for name, known in STAGES.items():
            if name in node.data_vars:
                if name == "best_phrase" and PHRASE in tree.sizes:
                    known = replace(known, high=tree.sizes[PHRASE] - 1)
                _check(f"stage '{GRIDS}/{node.name}/{name}'", stage(node, name), known)
