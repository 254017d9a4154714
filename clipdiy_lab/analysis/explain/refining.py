"""What the refinement did: which pixels it gave another label, from what to what."""

from __future__ import annotations

import numpy as np
import xarray as xr

from clipdiy_lab.analysis.explain.reading import array, read
from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema as s

LABEL_UNREFINED = s.Stage(
    name="label_unrefined",
    dims=(s.Y, s.X),
    kind="i2",
    title="Labels before the refinement",
    sentence="The label that the fused scores alone would give.",
    low=0,
)
REFINE_CHANGED = s.Stage(
    name="refine_changed",
    dims=(s.Y, s.X),
    kind="b1",
    title="Where the refinement changes the label",
    sentence="Pixels at which the refined scores give another label than the fused ones.",
    unit="changes its label",
)
_MOVED = s.Stage(
    name="moved", dims=(s.LABEL_BEFORE, s.LABEL), kind="i8", title="Pixels by label before and after", low=0
)


def refine_changed(run: xr.DataTree) -> xr.Dataset:
    """Show which pixels change their label through the refinement.

    Parameters
    ----------
    run : xarray.DataTree
        With a refinement (``Config.refine``).

    Returns
    -------
    xarray.Dataset
        ``label_unrefined`` (y, x): index of the label before refinement; ``refine_changed`` (y, x): whether the label
        changes; ``moved`` (label_before, label): number of pixels with each label before and after, so that
        off-diagonal entries have changed. Attribute ``changed_share``: share of all pixels that change.

    Raises
    ------
    RunError
        If a stage is missing, or the run was not refined.
    """
    read(run, "fused", s.SCORES, "labels")
    decides = str(s.scores(run).name)
    if decides != "refined":
        raise RunError(
            f"the labels of this run come from the stage {decides!r}, so it has no refinement to explain; use "
            "recombine(run, refine='pamr')."
        )
    labels, competing = s.stage(run, "labels"), np.flatnonzero(s.competing(run))
    before = competing[s.stage(run, "fused").values[competing].argmax(0)]
    after = labels.values.astype(np.int64)
    names = s.labels_of(run)
    moved = np.bincount((before * len(names) + after).ravel(), minlength=len(names) ** 2)
    coords = {**labels.coords, s.LABEL_BEFORE: list(names), s.LABEL: list(names)}
    return xr.Dataset(
        {
            "label_unrefined": array(LABEL_UNREFINED, before, coords),
            "refine_changed": array(REFINE_CHANGED, before != after, coords),
            "moved": array(_MOVED, moved.reshape(len(names), -1), coords),
        },
        attrs={"changed_share": float((before != after).mean())},
    )
