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
    """Compare two results, two rows of a sweep, or two runs of one image.

    Parameters
    ----------
    a, b : xarray.Dataset, pandas.Series or xarray.DataTree
        Both results (of `evaluate`, `score` or `results.open_result`), both rows of `sweep` (``table.iloc[0]``), or
        both runs.
    names : two str
        Names for the two.
    common : bool
        For results: whether to use only the images that both contain.

    Returns
    -------
    xarray.Dataset
        The attribute ``kind`` tells which of the three was compared; ``differs`` is JSON that maps each differing
        setting to its two values, for `results.setting_differences`; ``summary`` is a sentence. `figures.differences`
        plots it, and `report` writes it to an HTML page.

        For results and rows: ``iou`` (result, label) and per label ``difference`` (b minus a, from -1 to 1). For
        results also its 95 % confidence interval ``difference_low``, ``difference_high``, and ``sign_holds``, the
        share of replicates in which the difference has the same sign, NaN for labels without an IoU in one of them;
        ``image_miou`` (result, image_id) and ``image_difference``. Attributes: ``mious``, ``miou_difference`` with
        ``_low``, ``_high`` and ``sign_holds``, protocol and number of images. `results.label_differences` and
        `results.image_differences` return tables of it.

        For runs: ``labels`` (result, y, x), indices into the coordinate ``label`` (all labels of both), at the
        image's own size; ``changed`` (y, x); ``pixels`` (label, other_label), the number of pixels with each label
        in the first run and each in the second; ``image``, the frame. `results.label_changes` returns a table of it.

    Raises
    ------
    ConfigError
        If they are not of the same kind, or have the same name; if results or rows differ in labels, protocol, images
        or ground truth (the message tells in what); if results have fewer than two images in common.
    RunError
        If the runs show different images, or have no labels.

    Notes
    -----
    The interval is that of a paired bootstrap: in every replicate, both results use the same resampled images (the
    draws of `TrialCounts`). Variation that affects both alike cancels out, so the interval of the difference is
    narrower than the intervals of the two scores suggest. It describes the sampling of images, not of training or
    labelling. Rows of a sweep keep the replicates of their mIoU only, not of the IoU of each label.
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
