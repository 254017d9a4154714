"""What saliency decides: the weight at which a pixel changes its label, and the saliency at which it is background."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from clipdiy_lab.analysis.explain.reading import applied_saliency, array, read, refined, two_labels, values
from clipdiy_lab.method import attribution, ops
from clipdiy_lab.method import schema as s

FLIP_CHANGE = s.Stage(
    name="flip_change",
    dims=(s.Y, s.X),
    kind="f4",
    title="Change of the saliency weight that flips the label",
    sentence="The smallest change of the weight at which another label wins. Blue: decrease; orange: increase; pale: a "
    "small change is enough. Transparent pixels keep their label at every weight.",
    unit="change of the weight",
    low=-1,
    high=1,
)
FLIP_LABEL = s.Stage(
    name="flip_label",
    dims=(s.Y, s.X),
    kind="i2",
    title="Label that would win",
    sentence="The label that wins beyond that change of the saliency weight. Transparent where there is none.",
    low=-1,
)
BACKGROUND_THRESHOLD = s.Stage(
    name="background_threshold",
    dims=(s.Y, s.X),
    kind="f4",
    title="Background threshold",
    sentence="The saliency below which the pixel is background. Where it is high, no object label has a high "
    "similarity.",
    unit="saliency",
)
THRESHOLD_DISTANCE = s.Stage(
    name="threshold_distance",
    dims=(s.Y, s.X),
    kind="f4",
    title="Distance to the background threshold",
    sentence="Saliency minus the threshold. Orange pixels are foreground, blue ones background; pale pixels are close "
    "to the threshold.",
    unit="saliency",
)


def flip_weight(run: xr.DataTree) -> xr.Dataset:
    """Smallest change of the saliency weight that flips the label of each pixel, and the new label.

    The score of every label is linear in the weight w, with or without refinement, so the crossing has a closed form
    (``docs/understanding/explain.md``). Both directions within [0, 1] are considered.

    Parameters
    ----------
    run : xarray.DataTree
        With saliency applied (``background="saliency"``).

    Returns
    -------
    xarray.Dataset
        ``flip_change`` (y, x): signed change of the weight beyond which the new label wins; NaN where no weight in
        [0, 1] changes the label. ``flip_label`` (y, x): index of the new label, -1 where there is none.

    Raises
    ------
    RunError
        If a stage is missing, saliency does not affect the scores, or the labels come from an unknown score.
    """
    config = read(run, "merged", s.SCORES, "labels")
    soft, background = applied_saliency(run, config, "fused", "refined")
    merged = values(run, "merged")
    guide = ops.guide(torch.from_numpy(soft), len(merged), background).numpy()
    winner = s.stage(run, "labels").values.astype(np.int64)
    plain, guided = (refined(run, config, maps) for maps in (merged, merged * guide))
    competing = np.flatnonzero(s.competing(run))
    winner = np.searchsorted(competing, winner)
    change, rival = attribution.flip_weights(plain[competing], guided[competing], config.saliency_weight, winner)
    rival = np.where(rival < 0, rival, competing[rival])
    coords = s.stage(run, "merged").coords
    return xr.Dataset(
        {"flip_change": array(FLIP_CHANGE, change, coords), "flip_label": array(FLIP_LABEL, rival, coords)},
        attrs={"saliency_weight": config.saliency_weight},
    )


def background_threshold(run: xr.DataTree) -> xr.Dataset:
    """Saliency below which each pixel is background, and the distance of the actual saliency from it.

    Parameters
    ----------
    run : xarray.DataTree
        With saliency applied and at least one label besides the background.

    Returns
    -------
    xarray.Dataset
        ``background_threshold`` (y, x): c_bg / (c_bg + max_c) at saliency weight 1, for other weights see
        ``docs/understanding/explain.md``; outside [0, 1] where no saliency value would change the outcome, NaN where
        the weight is 0 or c_bg + max_c is not positive. ``threshold_distance``: saliency minus threshold, negative on
        background; near 0, a small change of saliency changes the label.

    Raises
    ------
    RunError
        If a stage is missing, saliency does not affect the scores, or there is no label besides the background; also
        for refined runs, because the score of a pixel then depends on the saliency around it.
    """
    config = read(run, "merged", s.SCORES)
    two_labels(run)
    soft, background = applied_saliency(run, config, "fused")
    competing = np.flatnonzero(s.competing(run))
    place = int(np.searchsorted(competing, background))
    found = attribution.background_thresholds(values(run, "merged")[competing], place, config.saliency_weight)
    coords = s.stage(run, "merged").coords
    return xr.Dataset(
        {
            "background_threshold": array(BACKGROUND_THRESHOLD, found, coords),
            "threshold_distance": array(THRESHOLD_DISTANCE, soft - found, coords),
        }
    )
