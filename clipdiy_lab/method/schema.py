"""One vocabulary: dimensions, stages, units and ranges, and the check that a tree speaks it.

Nothing else in the lab spells a dimension or a stage name; figures, documents and files take them from here.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from clipdiy_lab.errors import RunError

Y, X, CHANNEL = "y", "x", "channel"
GRID, WINDOW, LABEL = "grid", "window", "label"
ROW, COL, FEATURE = "row", "col", "feature"
PHRASE, PHRASE_LABEL = "phrase", "phrase_label"
Y_FULL, X_FULL = "y_full", "x_full"
VARIATION, EXPLANATION, SHARE = "variation", "explanation", "share"
INGREDIENT, LOSS, AREA = "ingredient", "loss", "area"

GRIDS = "grids"
"""Name of the node whose children are the grids, by name."""

SCHEMA_VERSION = 3
"""Written into every run; a reader refuses a run of another version rather than guess."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage of a run is.

    Attributes
    ----------
    name : str
        Name of the variable in the tree.
    dims : tuple of str
        Its dimensions, in order.
    kind : {"u1", "f4", "i2"}
        Numpy kind and size of its values.
    low, high : float or None
        Range that every value keeps (None: no bound).
    long_name, units : str
        As they stand in the attributes of the array and beside every figure.
    """

    name: str
    dims: tuple[str, ...]
    kind: str
    long_name: str
    low: float | None = None
    high: float | None = None
    units: str = "1"

    def attrs(self) -> dict[str, str]:
        """Attributes that an array of this stage carries."""
        return {"long_name": self.long_name, "units": self.units}


_RUN = (
    Stage(name="image", dims=(Y, X, CHANNEL), kind="u1", long_name="image in the frame", low=0, high=255),
    Stage(name="text_embedding", dims=(PHRASE, FEATURE), kind="f4", long_name="unit text embedding of a phrase"),
    Stage(name="logits", dims=(GRID, LABEL, Y, X), kind="f4", long_name="similarity map of one grid", low=-1, high=1),
    Stage(name="merged", dims=(LABEL, Y, X), kind="f4", long_name="weighted mean of the grids"),
    Stage(name="saliency", dims=(Y, X), kind="f4", long_name="foreground probability", low=0, high=1),
    Stage(name="guide", dims=(LABEL, Y, X), kind="f4", long_name="factor that saliency puts on a label", low=0, high=1),
    Stage(name="fused", dims=(LABEL, Y, X), kind="f4", long_name="merged similarity times guide"),
    Stage(name="probability", dims=(LABEL, Y, X), kind="f4", long_name="softmax of fused", low=0, high=1),
    Stage(name="labels", dims=(Y, X), kind="i2", long_name="index of the winning label", low=0),
    Stage(name="margin", dims=(Y, X), kind="f4", long_name="fused score of the winner minus the runner-up", low=0),
    Stage(name="labels_full", dims=(Y_FULL, X_FULL), kind="i2", long_name="labels at the image's own size", low=0),
)
_PER_GRID = (
    Stage(name="embedding", dims=(ROW, COL, FEATURE), kind="f4", long_name="unit image embedding of a window"),
    Stage(name="similarity", dims=(ROW, COL, LABEL), kind="f4", long_name="cosine of window and label", low=-1, high=1),
    Stage(name="best_phrase", dims=(ROW, COL, LABEL), kind="i2", long_name="index of the phrase that won", low=0),
)

RUN_STAGES: dict[str, Stage] = {stage.name: stage for stage in _RUN}
"""Stages at the root of a run, in the order in which they are made."""
GRID_STAGES: dict[str, Stage] = {stage.name: stage for stage in _PER_GRID}
"""Stages of each node below `grids`."""

_MAPS = (
    Stage(name="flip_change", dims=(Y, X), kind="f4", long_name="smallest change of the saliency weight that flips"),
    Stage(name="flip_label", dims=(Y, X), kind="i2", long_name="index of the label that takes over", low=-1),
    Stage(name="background_threshold", dims=(Y, X), kind="f4", long_name="saliency below which it is background"),
    Stage(name="threshold_distance", dims=(Y, X), kind="f4", long_name="saliency minus background threshold"),
    Stage(name="grid_flips", dims=(GRID, Y, X), kind="b1", long_name="label changes without the grid"),
    Stage(name="grid_contribution", dims=(GRID, Y, X), kind="f4", long_name="part of the grid in the margin"),
    Stage(name="grid_shapley", dims=(GRID, Y, X), kind="f4", long_name="Shapley value of the grid on the margin"),
    Stage(name="deciding_grid", dims=(Y, X), kind="i2", long_name="index of the grid of the largest value", low=0),
    Stage(name="entropy", dims=(Y, X), kind="f4", long_name="entropy of the labels", low=0, units="nat"),
    Stage(name="grid_agreement", dims=(Y, X), kind="f4", long_name="share of grids that agree", low=0, high=1),
    Stage(name="label_changed", dims=(VARIATION, Y, X), kind="b1", long_name="label differs from the run's"),
    Stage(name="changed_share", dims=(VARIATION,), kind="f4", long_name="share of changed pixels", low=0, high=1),
    Stage(
        name="changed_share_of_label",
        dims=(VARIATION, LABEL),
        kind="f4",
        long_name="share of a label's pixels, before or after, that changed",
        low=0,
        high=1,
    ),
    Stage(name="occlusion", dims=(Y, X), kind="f4", long_name="fall of the cosine when the part is hidden"),
    Stage(name="attention", dims=(Y, X), kind="f4", long_name="gradient times attention, all layers", low=0),
    Stage(name="deletion", dims=(EXPLANATION, SHARE), kind="f4", long_name="cosine with the share hidden"),
    Stage(name="insertion", dims=(EXPLANATION, SHARE), kind="f4", long_name="cosine with only the share shown"),
    Stage(name="deletion_auc", dims=(EXPLANATION,), kind="f4", long_name="area under deletion (low is faithful)"),
    Stage(name="insertion_auc", dims=(EXPLANATION,), kind="f4", long_name="area under insertion (high is faithful)"),
)

EXPLAIN_STAGES: dict[str, Stage] = {stage.name: stage for stage in _MAPS}
"""What `analysis.explain` makes of a run; no part of a run."""

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


def labels_of(array: xr.DataArray) -> tuple[str, ...]:
    """Return the label names along an array's label dimension, or those whose phrases a text embedding holds."""
    if PHRASE_LABEL in array.coords:
        return tuple(phrases_of(array))
    return tuple(str(label) for label in array[LABEL].values)


def phrases_of(text: xr.DataArray) -> dict[str, tuple[str, ...]]:
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
    owners = [str(owner) for owner in text[PHRASE_LABEL].values]
    found: dict[str, list[str]] = {owner: [] for owner in owners}
    for owner, phrase in zip(owners, text[PHRASE].values, strict=True):
        found[owner].append(str(phrase))
    if [owner for owner, phrases in found.items() for _ in phrases] != owners:
        raise RunError(
            "the text embedding mixes the phrases of several labels; make it with Segmenter.text_embeddings."
        )
    return {owner: tuple(phrases) for owner, phrases in found.items()}


def _check(where: str, array: xr.DataArray, known: Stage) -> None:
    if array.dims != known.dims:
        raise RunError(f"{where} has dimensions {array.dims}, expected {known.dims}; is this a run of clipdiy_lab?")
    kind = np.dtype(known.kind).kind
    if array.dtype.kind != kind and not (kind == "i" and array.dtype.kind == "u"):
        raise RunError(f"{where} holds {array.dtype}, expected {np.dtype(known.kind)} or another width of it.")
    if array.size == 0:
        raise RunError(f"{where} is empty; segment the image again.")
    values = array.values
    if kind == "f" and not np.isfinite(values).all():
        raise RunError(f"{where} holds NaN or infinite values; segment the image again or check what was injected.")
    low, high = float(values.min()), float(values.max())
    if (known.low is not None and low < known.low - _TOLERANCE) or (
        known.high is not None and high > known.high + _TOLERANCE
    ):
        raise RunError(f"{where} spans [{low:.4g}, {high:.4g}], expected [{known.low}, {known.high}].")


def as_version(attr: Any) -> int | None:
    """Return the version that an attribute holds; None where it holds none."""
    try:
        return int(np.asarray(attr).item())  # some writers of HDF5 make an array of every attribute
    except (TypeError, ValueError):
        return None


def validate(tree: xr.DataTree, need: Iterable[str] = ("logits", "merged", "fused", "labels")) -> None:
    """Check that a tree is a run: stages, dimensions, ranges, attributes.

    Parameters
    ----------
    tree : xarray.DataTree
        What `Segmenter.segment` gives or `open_run` reads.
    need : iterable of str
        Stages that must be there. Other known stages are checked where they exist.

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
    if as_version(tree.attrs["schema_version"]) != SCHEMA_VERSION:
        raise RunError(
            f"the run has schema version {tree.attrs['schema_version']}, this clipdiy_lab reads {SCHEMA_VERSION}; "
            "segment the image again."
        )
    if GRIDS not in tree.children:
        raise RunError(
            f"the tree lacks the node '{GRIDS}', so it is not a run of clipdiy_lab; make one with segmenter.segment."
        )
    for name in need:
        stage(tree, name)
    for name, known in RUN_STAGES.items():
        if name in tree.data_vars:
            if name in _INDICES and LABEL in tree.sizes:
                known = replace(known, high=tree.sizes[LABEL] - 1)
            _check(f"stage {name!r}", stage(tree, name), known)
    for node in tree.children[GRIDS].children.values():
        for name, known in GRID_STAGES.items():
            if name in node.data_vars:
                if name == "best_phrase" and PHRASE in tree.sizes:
                    known = replace(known, high=tree.sizes[PHRASE] - 1)
                _check(f"stage '{GRIDS}/{node.name}/{name}'", stage(node, name), known)
