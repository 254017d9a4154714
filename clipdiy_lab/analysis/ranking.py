"""Which row is best, and whether the images tell it apart from the one behind it.

The interval of a difference is that of a paired bootstrap, see `compare`. The best of many rows is partly best by
chance, which no interval of two rows corrects: a winner among hundreds should be scored again on other images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.compare_results import compare_results
from clipdiy_lab.analysis.scoring.counts import bounds
from clipdiy_lab.analysis.tables import short_form
from clipdiy_lab.analysis.trials import REPLICATE_SCORES
from clipdiy_lab.errors import ConfigError

_BEHIND: Final = ("points", "low_points", "high_points", "apart")


def standing(table: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """Report the best row of a sweep, and how many other rows do not differ significantly from it.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `sweep`; it may be sorted or filtered.
    names : sequence of str, optional
        One per row. Default: the settings that vary.

    Returns
    -------
    str
        Empty if fewer than two rows with different settings have a score.

    Raises
    ------
    ConfigError
        If the table was not returned by `sweep`.
    """
    found = behind(table)
    if found.empty:
        return ""
    listed = _names(table) if names is None else list(names)
    scored = {name: place for place, name in enumerate(listed) if found["points"].iloc[place] >= 0}
    best, *others = sorted(scored, key=lambda name: found["points"].iloc[scored[name]])
    if not others:
        return ""
    second = found.iloc[scored[others[0]]]
    near = sum(not found["apart"].iloc[scored[name]] for name in others)
    said = _said(best, float(table["miou_percent"].iloc[scored[best]]), others[0], second, table.attrs["images"])
    more = f" {near} of {len(others)} other rows cannot be told apart from the best." if len(others) > 1 else ""
    return said + more


def behind(table: pd.DataFrame) -> pd.DataFrame:
    """Say of every row of a sweep how far it is behind the best, and whether the images tell it apart.

    Parameters
    ----------
    table : pandas.DataFrame
        What `sweep` gives, sorted or cut as one likes.

    Returns
    -------
    pandas.DataFrame
        With the table's index: ``points`` by which the row is behind the best, with their paired interval
        ``low_points``, ``high_points``, NaN without a score; ``apart``, whether the interval leaves 0 out. Empty where
        every row failed.

    Raises
    ------
    ConfigError
        If it is no table that `sweep` made.
    """
    if not isinstance(table, pd.DataFrame) or REPLICATE_SCORES not in table.attrs or "key" not in table:
        raise ConfigError(
            "standing needs a table returned by sweep; a table read from a file has no bootstrap replicates."
        )
    if "miou_percent" not in table:  # every row failed
        return pd.DataFrame(columns=list(_BEHIND))
    replicates = table.attrs[REPLICATE_SCORES]
    scores = table["miou_percent"].astype(float).where(table["key"].isin(list(replicates)))
    if scores.isna().all():
        return pd.DataFrame(columns=list(_BEHIND))
    best = np.array(replicates[table["key"].iloc[int(np.nanargmax(scores))]])
    rows = []
    for key, score in zip(table["key"], scores, strict=True):
        low, high = bounds(100 * (best - np.array(replicates[key]))) if score == score else (np.nan, np.nan)
        rows.append((scores.max() - score, low, high, bool(low > 0)))
    return pd.DataFrame(rows, columns=list(_BEHIND), index=table.index)


def _names(table: pd.DataFrame) -> list[str]:
    varied = short_form(table)[0]
    settings = [name for name in varied.columns if not str(name).endswith("_percent") and name != "error"]
    return [", ".join(f"{name} {row[name]}" for name in settings) for _, row in varied.iterrows()]


def _said(best: str, score: float, second: str, found: pd.Series[Any], images: int) -> str:
    verdict = "can be told apart from it" if found["apart"] else "cannot be told apart from it"
    return (
        f"Best: {best} ({score:.2f} %). The runner-up, {second}, is {found['points']:.2f} points behind (95 %, paired: "
        f"{found['low_points']:+.2f} to {found['high_points']:+.2f}) and {verdict} on these {images} images."
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
