"""A sweep's table as a paper prints it: the settings that vary, the scores, and one line that says all the rest."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from clipdiy_lab.analysis.trials import LABEL_NAMES, SALIENCY, plain_table
from clipdiy_lab.method.config import Config

SCORES: Final = ("miou", "miou_low", "miou_high", "pixel_accuracy")
_SETTINGS: Final = (*Config.knobs(), SALIENCY, LABEL_NAMES, "images", "protocol")
_FACTS: Final = ("dataset", "encoder", "interval")


def is_sweep(table: pd.DataFrame) -> bool:
    """Whether a table has all columns of a sweep's."""
    return {*_SETTINGS, *SCORES, "error"} <= set(table.columns)


def condensed(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the columns of a sweep's table that tell its rows apart, and a caption that says what all have in common.

    Parameters
    ----------
    table : pandas.DataFrame
        What `sweep` gives, sorted or cut as one likes.

    Returns
    -------
    pandas.DataFrame
        The settings that vary, as texts; the scores in percent; ``error`` where a row has one.
    str
        The settings that are constant, and where the remaining columns are.
    """
    failed = table["error"].fillna("") != ""
    spelled = plain_table(table[list(_SETTINGS)]).map(_spelled)
    shown: list[str] = []
    constant: dict[str, Any] = {name: table.attrs[name] for name in _FACTS if name in table.attrs}
    for name in _SETTINGS:
        # A row that made no sense knows only what its grid gave.
        values = {*spelled.loc[~failed, name], *spelled.loc[failed & table[name].notna(), name]}
        if len(values) > 1:
            shown.append(name)
        elif values and (name != LABEL_NAMES or table[name].notna().any()):
            constant[name] = values.pop()
    brief = pd.concat([spelled[shown], 100 * table[list(SCORES)].astype(float)], axis=1)
    if failed.any():
        brief["error"] = table["error"]
    listed = "; ".join(f"{name}: {value}" for name, value in constant.items())
    return brief, f"Scores in percent. In all rows, {listed}. IoU of each label and seconds: in the CSV."


def _spelled(value: Any) -> str:
    if pd.isna(value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
