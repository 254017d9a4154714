"""Whether a prompted label is in the image at all: its scores against those of labels that nobody asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.explain.reading import read
from clipdiy_lab.errors import LabelError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline.recombine import recombine

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter


def absent(run: xr.DataTree, pool: Sequence[str], segmenter: Segmenter) -> pd.DataFrame:
    """Compare every prompted label with a pool of other labels; only the text encoder is run.

    The run's own labels are embedded again, so text embeddings that were passed in are not used.

    CLIP-DIY assigns every pixel to a prompted label, so a label that is not in the image can still get pixels. A label
    that is in the image should match its best window better than most labels of the pool do, and should keep its area
    when the pool competes.

    Parameters
    ----------
    run : xarray.DataTree
    pool : sequence of str
        Labels to compare with; labels of the run are left out.
    segmenter : Segmenter
        The one that made the run, or one with the same encoder.

    Returns
    -------
    pandas.DataFrame
        One row per label (without the background), most doubtful first: ``label``; ``area``, its share of the image,
        which is all false positive if the label is absent; ``best_cosine`` over all windows; ``pool_rank``, the
        share of the pool whose best cosine is at least as high; ``pool_z``, the best cosine in standard deviations
        above the pool's mean (NaN where the pool has no spread); ``area_kept``, the share of ``area`` that it keeps
        when the pool competes (NaN without area).

    Raises
    ------
    LabelError
        For an empty pool, or words that cannot be used in a prompt.
    RunError
        If a stage is missing, or the encoder is not that of the run.
    """
    config = read(run, "labels", s.SCORES, "text_embedding")
    known = s.labels_of(run)
    lower = {label.lower() for label in known}
    others = [] if isinstance(pool, str) else [label for label in pool if str(label).strip().lower() not in lower]
    if not others:
        raise LabelError(f"pool is {pool!r}; expected a list with at least one label that is not in the run.")
    contest = recombine(run, labels=[*known, *others], segmenter=segmenter)
    best = _best(contest, config)
    rivals = best[len(known) :]
    spread = rivals.std()
    before, after = (s.stage(tree, "labels").values for tree in (run, contest))
    rows = []
    for place, label in enumerate(known):
        if place == s.background_of(run):
            continue
        own = before == place
        rows.append(
            {
                "label": label,
                "area": own.mean(),
                "best_cosine": best[place],
                "pool_rank": (rivals >= best[place]).mean(),
                "pool_z": (best[place] - rivals.mean()) / spread if spread > 0 else np.nan,
                "area_kept": (after[own] == place).mean() if own.any() else np.nan,
            }
        )
    return pd.DataFrame(rows).sort_values("pool_z", kind="stable", ignore_index=True)


def _best(run: xr.DataTree, config: Config) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Highest cosine of each label over the windows of the grids that count."""
    used = [grid.name for grid in Plan.of(config) if config.weight(grid.name) > 0]
    best = [s.stage(run, "similarity", name).values.max((0, 1)) for name in used]
    found: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = np.max(best, axis=0)
    return found
