"""Which row is best, and whether the images tell it apart from the one behind it.

The interval of a difference is that of a paired bootstrap, see `compare`. The best of many rows is partly best by
chance, which no interval of two rows corrects: a winner among hundreds should be scored again on other images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.compare_results import compare_results
from clipdiy_lab.analysis.scoring.counts import bounds
from clipdiy_lab.analysis.tables import short_form
from clipdiy_lab.analysis.trials import REPLICATE_SCORES
from clipdiy_lab.errors import ConfigError


def standing(table: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """Say which row of a sweep is best, and which others the images do not tell apart from it.

    Parameters
    ----------
    table : pandas.DataFrame
        What `sweep` gives, sorted or cut as one likes.
    names : sequence of str, optional
        One per row. Default: the settings that vary.

    Returns
    -------
    str
        Empty where fewer than two rows with different settings have a score.

    Raises
    ------
    ConfigError
        If it is no table that `sweep` made.
    """
    if not isinstance(table, pd.DataFrame) or REPLICATE_SCORES not in table.attrs or "key" not in table:
        raise ConfigError("standing needs a table that sweep made; those read from a file have lost their replicates.")
    if "miou_percent" not in table:  # every row failed
        return ""
    listed = _names(table) if names is None else list(names)
    replicates = table.attrs[REPLICATE_SCORES]
    known = [
        (float(score), name, np.array(replicates[key]))
        for score, name, key in zip(table["miou_percent"], listed, table["key"], strict=True)
        if key in replicates and score == score
    ]
    ranked = sorted({name: (score, name, values) for score, name, values in known}.values(), key=lambda one: -one[0])
    if len(ranked) < 2:
        return ""
    (best, name, values), *others = ranked
    intervals = [bounds(100 * (values - theirs)) for _, _, theirs in others]
    near = sum(low <= 0 for low, _ in intervals)
    said = _said(name, best, others[0][1], best - others[0][0], intervals[0], table.attrs["images"])
    more = f" {near} of {len(others)} other rows cannot be told apart from the best." if len(others) > 1 else ""
    return said + more


def _names(table: pd.DataFrame) -> list[str]:
    varied = short_form(table)[0]
    settings = [name for name in varied.columns if not str(name).endswith("_percent") and name != "error"]
    return [", ".join(f"{name} {row[name]}" for name in settings) for _, row in varied.iterrows()]


def _said(best: str, score: float, second: str, points: float, interval: tuple[float, float], images: int) -> str:
    verdict = "cannot be told apart from it" if interval[0] <= 0 else "can be told apart from it"
    return (
        f"Best: {best} ({score:.2f} %). The runner-up, {second}, is {points:.2f} points behind (95 %, paired: "
        f"{interval[0]:+.2f} to {interval[1]:+.2f}) and {verdict} on these {images} images."
    )


def standings(results: Sequence[xr.Dataset], rows: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Say of the best result of each benchmark and protocol whether the runner-up can be told apart.

    Parameters
    ----------
    results : sequence of results
    rows : sequence of dict
        What stands in a table about each: ``dataset``, ``protocol``, ``method``, ``backbone``, ``miou_percent``.

    Returns
    -------
    dict of int to str
        By the place of the best.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((row["dataset"], row["protocol"]), []).append(place)
    said = {}
    for places in groups.values():
        first, *others = sorted(places, key=lambda place: -rows[place]["miou_percent"])
        if others:
            said[first] = _against(results[first], results[others[0]], rows[others[0]])
    return said


def _against(best: xr.Dataset, second: xr.Dataset, row: dict[str, Any]) -> str:
    who = " with ".join(part for part in (row["method"], row["backbone"]) if part)
    try:
        found = compare_results(second, best, ("second", "best"), False)
    except ConfigError as error:
        return f"best of ours; the runner-up ({who}) cannot be compared: {error}"
    points, low, high = (100 * found.attrs[f"miou_difference{end}"] for end in ("", "_low", "_high"))
    verdict = "not distinguishable" if low <= 0 <= high else "distinguishable"
    return f"best of ours; runner-up ({who}) {points:.2f} points behind (95 %: {low:+.2f} to {high:+.2f}): {verdict}"
