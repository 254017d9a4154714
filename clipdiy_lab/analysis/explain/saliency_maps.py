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
    sentence="The smallest change at which another label wins. Blue: the weight falls; orange: it rises; pale: very "
    "little is enough. Clear pixels keep their label at every weight.",
    unit="change of the weight",
    low=-1,
    high=1,
)
FLIP_LABEL = s.Stage(
    name="flip_label",
    dims=(s.Y, s.X),
    kind="i2",
    title="Label that takes over",
    sentence="The label that wins beyond that change of the saliency weight. Clear where none does.",
    low=-1,
)
BACKGROUND_THRESHOLD = s.Stage(
    name="background_threshold",
    dims=(s.Y, s.X),
    kind="f4",
    title="Background threshold",
    sentence="The saliency below which the pixel is background. Where it is high, the windows see no object worth "
    "keeping.",
    unit="saliency",
)
THRESHOLD_DISTANCE = s.Stage(
    name="threshold_distance",
    dims=(s.Y, s.X),
    kind="f4",
    title="Distance to the background threshold",
    sentence="Saliency minus the threshold. Orange pixels are foreground, blue ones background; where it is pale, the "
    "localiser decides by a hair.",
    unit="saliency",
)


def flip_weight(run: xr.DataTree) -> xr.Dataset:
    """Smallest change of the saliency weight at which each pixel changes its label, and to which.

    Every label's score is a line in the weight w, refined or not, so the crossing has a closed form
    (``docs/understanding/explain.md``); both directions within [0, 1] are looked at.

    Parameters
    ----------
    run : xarray.DataTree
        With saliency applied (``background="saliency"``).

    Returns
    -------
    xarray.Dataset
        ``flip_change`` (y, x): signed change of the weight; beyond it the new label wins; NaN where no weight in [0, 1]
        flips. ``flip_label`` (y, x): index of the label that takes over, -1 where none does.

    Raises
    ------
    RunError
        If a stage is missing, saliency does not enter the scores, or an unknown score decides.
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
    """Saliency below which each pixel is background, and how far the localiser is from it.

    Parameters
    ----------
    run : xarray.DataTree
        With saliency applied and a label beside the background.

    Returns
    -------
    xarray.Dataset
        ``background_threshold`` (y, x): c_bg / (c_bg + max_c) at saliency weight 1, for other weights see
        ``docs/understanding/explain.md``; outside [0, 1] where no saliency changes the outcome, NaN where the weight
        is 0 or c_bg + max_c is not positive. ``threshold_distance``: saliency minus threshold, negative on
        background; near 0 the localiser decides.

    Raises
    ------
    RunError
        If a stage is missing, saliency does not enter the scores, or there is no label beside the background; also
        where a refinement decides, since a pixel's score then depends on the saliency around it.
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
