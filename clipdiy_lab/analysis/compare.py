"""What two runs, two results or two rows of a sweep differ in, and how sure that is: one entrance for all three."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.compare_results import compare_results
from clipdiy_lab.analysis.compare_rows import compare_rows
from clipdiy_lab.analysis.compare_runs import compare_runs
from clipdiy_lab.errors import ConfigError, spelled


def compare(a: Any, b: Any, *, names: tuple[str, str] = ("a", "b"), common: bool = False) -> xr.Dataset:
    """Compare two results, two rows of a sweep or two runs of one image, whatever they differ in.

    Parameters
    ----------
    a, b : xarray.Dataset, pandas.Series or xarray.DataTree
        Both results (of `evaluate`, `score` or `results.open_result`), both rows of `sweep` (``table.iloc[0]``), or
        both runs.
    names : two str
        What to call them.
    common : bool
        Of results: whether to take only the images that both have, where they have others too.

    Returns
    -------
    xarray.Dataset
        The attribute ``kind`` says which of the three was compared; ``differs`` is JSON, setting to both values, for
        `results.setting_differences`; ``summary`` is a sentence. `figures.differences` draws it, and `report` makes a
        page of it.

        Of results and rows: ``iou`` (result, label) and per label ``difference`` (b minus a, a share). Of results also
        its 95 % interval ``difference_low``, ``difference_high``, and ``sign_holds``, the share of replicates in which
        the difference has the same sign, NaN for labels that one of them has no IoU of; ``image_miou`` (result,
        image_id) and ``image_difference``. Attributes: ``mious``, ``miou_difference`` with ``_low``, ``_high`` and
        ``sign_holds``, protocol and number of images. `results.label_differences` and `results.image_differences`
        make tables of it.

        Of runs: ``labels`` (result, y, x), indices into the coordinate ``label`` (all labels of both), at the
        image's own size; ``changed`` (y, x); ``pixels`` (label, other_label), how many have which label in the first
        and which in the second; ``image``, the frame's. `results.label_changes` makes a table of it.

    Raises
    ------
    ConfigError
        If they are no two of a kind, or names are alike; results or rows that differ in labels, protocol, images or
        the truth of an image, with what differs; results with fewer than two images in common.
    RunError
        If runs are of different images, or lack labels.

    Notes
    -----
    The interval is that of a paired bootstrap: in every replicate both results count each image the same number of
    times (the draws of `TrialCounts`), so what makes an image hard for both cancels out, and the interval of the
    difference is narrower than those of the scores suggest. It is about images, not about training or labels. Rows of a
    sweep keep the replicates of their mIoU, not those of every label.
    """
    if len(names) != 2 or names[0] == names[1]:
        raise ConfigError(f"names is {names!r}; expected two different names, one per result.")
    if isinstance(a, xr.DataTree) and isinstance(b, xr.DataTree):
        return compare_runs(a, b, names)
    if isinstance(a, pd.Series) and isinstance(b, pd.Series):
        return compare_rows(a, b, names)
    if isinstance(a, xr.Dataset) and isinstance(b, xr.Dataset):
        return compare_results(a, b, names, common)
    raise ConfigError(
        f"{spelled(a)} and {spelled(b)} are given; expected two results of evaluate, two rows of a sweep "
        "(table.iloc[0]), or two runs."
    )
