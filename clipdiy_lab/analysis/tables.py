"""Tables as CSV, Markdown and LaTeX; a sweep's as a paper prints it: what varies, and one line with the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd

from clipdiy_lab.analysis.trials import LABEL_NAMES, SALIENCY, plain_table
from clipdiy_lab.errors import OutputError
from clipdiy_lab.files import atomic_path
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


def export(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a table as CSV, Markdown or LaTeX, by the suffix: ``.csv``, ``.md``, ``.tex``.

    Of a sweep's table Markdown and LaTeX have the settings that vary and the scores in percent; what is the same in all
    rows stands in a caption. CSV has every column, as it is.

    Raises
    ------
    OutputError
        For another suffix, or a place that cannot be written to.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise OutputError(f"{target} ends in {target.suffix!r}; expected one of {', '.join(_WRITERS)}.")
    with atomic_path(target) as part:
        part.write_text(_WRITERS[target.suffix](frame), encoding="utf-8")
    return target


def to_markdown(frame: pd.DataFrame) -> str:
    """Return a table in Markdown; floats with two digits. A sweep's is condensed, see `export`."""
    if is_sweep(frame):
        brief, caption = condensed(frame)
        return f"{to_markdown(brief)}\n{caption}\n"
    rows = [[cell.replace("|", r"\|") for cell in row] for row in _texts(frame)]
    rows.insert(1, ["---"] * len(frame.columns))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def to_latex(frame: pd.DataFrame) -> str:
    """Return a table as a LaTeX ``tabular``, for the package booktabs; floats with two digits.

    A sweep's is condensed, see `export`, and stands in a ``table``, which its caption needs.
    """
    if is_sweep(frame):
        brief, caption = condensed(frame)
        return f"\\begin{{table}}\n\\caption{{{_escape(caption)}}}\n{to_latex(brief)}\\end{{table}}\n"
    head, *body = [" & ".join(map(_escape, row)) + r" \\" for row in _texts(frame)]
    form = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in frame.dtypes)
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


_WRITERS: dict[str, Callable[[pd.DataFrame], str]] = {
    ".csv": lambda frame: frame.to_csv(index=False),
    ".md": to_markdown,
    ".tex": to_latex,
}
_ESCAPES = str.maketrans(
    {
        **{sign: rf"\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


def _texts(frame: pd.DataFrame) -> list[list[str]]:
    rows = [[_text(cell) for cell in row] for row in frame.itertuples(index=False)]
    return [[str(name) for name in frame.columns], *rows]


def _text(cell: Any) -> str:
    if pd.isna(cell):
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else " ".join(str(cell).split())
