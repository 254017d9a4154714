"""Tables as CSV, Markdown and LaTeX; a sweep's as a paper prints it: what varies, and one line with the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd

from clipdiy_lab.analysis.trials import LABEL_NAMES, SALIENCY, plain_table
from clipdiy_lab.errors import OutputError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.method.config import Config
from clipdiy_lab.text import printable

MIOU: Final = ("miou_percent", "miou_low_percent", "miou_high_percent")
"""Columns of a score and its interval, in every table."""
SCORES: Final = (*MIOU, "pixel_accuracy_percent")
_FACTS: Final = ("dataset", "encoder", "interval")

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"), in full width too.
_FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
# What makes a link, an image, HTML, code or emphasis of a cell in Markdown, or ends the cell. GitHub's Markdown makes
# links of plain addresses too.
_MARKUP: Final = re.compile(r"[\\`*\[\]<>|~&@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def in_percent(frame: pd.DataFrame, *shares: str) -> pd.DataFrame:
    """Return a table with shares converted to percent, and ``_percent`` appended to the names of their columns.

    Arrays (results, runs, files of finished rows) hold shares from 0 to 1; tables and everything else meant for reading
    hold percent, with differences in percentage points.

    Parameters
    ----------
    frame : pandas.DataFrame
    *shares : str
        Columns.

    Examples
    --------
    >>> in_percent(pd.DataFrame({"label": ["cat"], "iou": [0.5]}), "iou").to_dict("records")
    [{'label': 'cat', 'iou_percent': 50.0}]
    """
    return frame.assign(**{name: 100 * frame[name] for name in shares}).rename(
        columns={name: f"{name}_percent" for name in shares}
    )


def _settings() -> list[str]:
    """Columns of a sweep's table that say what a row is of."""
    return [*Config.knobs(), SALIENCY, LABEL_NAMES, "images", "protocol"]


def subject_line(table: pd.DataFrame) -> str:
    """Describe the scores of a sweep's table: dataset, protocol, encoder and confidence intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        What `sweep` gives, with its ``attrs``.
    """
    facts = table.attrs
    return (
        f"mIoU in percent over the first {facts['images']} images of {facts['dataset']}, protocol "
        f"{facts['protocol']['id']} ({facts['protocol']['summary']}), encoder {facts['encoder']}; low and high: "
        f"{facts['interval']}."
    )


def is_sweep(table: pd.DataFrame) -> bool:
    """Whether a table has all columns of a sweep's."""
    return {*_settings(), *SCORES, "error"} <= set(table.columns)


def short_form(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the columns of a sweep's table in which its rows differ, and a caption with what they have in common.

    Parameters
    ----------
    table : pandas.DataFrame
        What `sweep` gives, sorted or cut as one likes.

    Returns
    -------
    pandas.DataFrame
        The settings that vary, as texts; the scores; ``error`` where a row has one.
    str
        The settings that are constant, and where the remaining columns are.
    """
    failed = table["error"].fillna("") != ""
    settings = _settings()
    spelled = plain_table(table[settings]).map(_spelled)
    shown: list[str] = []
    constant: dict[str, Any] = {name: table.attrs[name] for name in _FACTS if name in table.attrs}
    for name in settings:
        # A row that made no sense knows only what its grid gave.
        values = {*spelled.loc[~failed, name], *spelled.loc[failed & table[name].notna(), name]}
        if len(values) > 1:
            shown.append(name)
        elif values and (name != LABEL_NAMES or table[name].notna().any()):
            constant[name] = values.pop()
    brief = pd.concat([spelled[shown], table[list(SCORES)].astype(float)], axis=1)
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

    See `to_csv`, `to_markdown` and `to_latex` for how texts in cells are escaped. Row names become the first column;
    row numbers are left out. For a sweep's table, Markdown and LaTeX show the settings that vary and the scores in
    percent; a caption lists what all rows have in common. CSV has every column.

    Raises
    ------
    OutputError
        For another suffix, or a file that cannot be written.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise OutputError(f"{target} ends in {target.suffix!r}; expected one of {', '.join(_WRITERS)}.")
    with atomic_path(target) as part:
        part.write_text(_WRITERS[target.suffix](frame), encoding="utf-8")
    return target


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV, numbers in full.

    A text that a spreadsheet would run as a formula (it begins with ``=``, ``+``, ``-`` or ``@`` and is not a number)
    is prefixed with an apostrophe, which spreadsheets use to mark text. Control characters are escaped.
    """
    frame = with_row_names(frame)
    safe = frame.apply(lambda column: column if _is_plain(column) else column.map(_inert))
    return str(safe.set_axis([_inert(str(name)) for name in frame.columns], axis=1).to_csv(index=False))


def _is_plain(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)


def _inert(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if _FORMULA.match(cell) and not _is_number(cell) else printable(cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def to_markdown(frame: pd.DataFrame) -> str:
    """Return a table in Markdown; floats with two digits. That of a sweep is given in its short form, see `export`.

    Text that Markdown would read as a link, an image, HTML, code or the end of a cell is escaped.
    """
    if is_sweep(frame):
        brief, caption = short_form(frame)
        return f"{to_markdown(brief)}\n{_MARKUP.sub(_escape_markup, caption)}\n"
    rows = [[_MARKUP.sub(_escape_markup, cell) for cell in row] for row in _texts(with_row_names(frame))]
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _escape_markup(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def to_latex(frame: pd.DataFrame) -> str:
    """Return a table as a LaTeX ``tabular`` for booktabs; floats with two digits, special characters escaped.

    The table of a sweep is given in its short form, see `export`, inside a ``table`` environment with a caption.
    """
    if is_sweep(frame):
        brief, caption = short_form(frame)
        return f"\\begin{{table}}\n\\caption{{{_escape(caption)}}}\n{to_latex(brief)}\\end{{table}}\n"
    named = with_row_names(frame)
    head, *body = [_protected(" & ".join(map(_escape, row))) + r" \\" for row in _texts(named)]
    form = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in named.dtypes)
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def to_text(frame: pd.DataFrame, float_format: Callable[[float], str] | None = None) -> str:
    """Return a table for a terminal, without row names, control characters escaped."""
    safe = frame.apply(lambda column: column if _is_plain(column) else column.map(_shown))
    return str(
        safe.set_axis([printable(str(name)) for name in frame.columns], axis=1).to_string(
            index=False, float_format=float_format
        )
    )


def _shown(cell: Any) -> Any:
    return printable(cell) if isinstance(cell, str) else cell


_WRITERS: dict[str, Callable[[pd.DataFrame], str]] = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
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


def _protected(row: str) -> str:
    r"""Keep the beginning of a row from being read as an option of the ``\\`` or the rule before it."""
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def with_row_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Table whose row names, where it has any, are its first columns; numbers without a name are none."""
    index = frame.index
    if index.nlevels == 1 and index.name is None and pd.api.types.is_integer_dtype(index):
        return frame
    return frame.reset_index(names=["" if name is None else name for name in index.names], allow_duplicates=True)


def _texts(frame: pd.DataFrame) -> list[list[str]]:
    rows = [[_text(cell) for cell in row] for row in frame.itertuples(index=False)]
    return [[_text(str(name)) for name in frame.columns], *rows]


def _text(cell: Any) -> str:
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else printable(" ".join(str(cell).split()))
