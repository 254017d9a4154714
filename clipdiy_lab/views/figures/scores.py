"""Tables of scores: bars beside published values, sweeps of one and two knobs, cost against quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from clipdiy_lab.analysis.tables import MIOU, SCORES
from clipdiy_lab.analysis.trials import LABEL_NAMES, SALIENCY
from clipdiy_lab.errors import FigureError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.naming import knob_title
from clipdiy_lab.views.figures import inputs
from clipdiy_lab.views.figures.charts import charted
from clipdiy_lab.views.figures.fitting import plain
from clipdiy_lab.views.figures.style import ACCENT, DASHES, OTHER, SERIES, SYMBOLS
from clipdiy_lab.views.scales import SEQUENTIAL

_MIOU, _LOW, _HIGH = MIOU
WINDOWS: Final = "windows"
_COSTS: Final = {WINDOWS: "windows that the network reads of an image"}
_TELL: Final = {"scales", "stride", "image_size", "dense", "dense_from"}
_APART: Final = 0.02
"""Distance of two lines of `sweep_line`, in widths of the axis."""


def miou_bars(
    table: pd.DataFrame, names: Sequence[str] | None = None, published: pd.DataFrame | None = None
) -> go.Figure:
    """Show the mIoU of the rows of a sweep as bars, with published values below them.

    Parameters
    ----------
    table : pandas.DataFrame
        ``miou_percent``; intervals are drawn where there are ``miou_low_percent`` and ``miou_high_percent``.
    names : sequence of str, optional
        One per row. Default: the column ``name``, ``method`` or ``configuration``, else, of a sweep, what varies, else
        the index.
    published : pandas.DataFrame, optional
        ``method``, ``dataset``, ``miou_percent`` and ``source``, which hover shows.

    Raises
    ------
    FigureError
        If a column is missing, or there is another number of names than rows.
    """
    table = inputs.columns(table, _MIOU)
    figure = go.Figure()
    listed = _names(table, names)
    ours = inputs.numbers(table, _MIOU)
    _add_bars(figure, ours, listed, "measured here", {"color": ACCENT}, interval=_interval(table, ours))
    if published is not None:
        known = inputs.columns(published, "method", "dataset", _MIOU, "source")
        shape = {"shape": "/", "size": 6, "fgcolor": "#ffffff", "fgopacity": 0.6, "fillmode": "overlay"}
        theirs = _published_names(known)
        values, sources = inputs.numbers(known, _MIOU), [plain(str(one)) for one in known["source"]]
        _add_bars(figure, values, theirs, "published", {"color": OTHER, "pattern": shape}, sources)
        listed += theirs
    figure.update_yaxes(autorange="reversed", type="category").update_xaxes(title=_axis(table), rangemode="tozero")
    figure.update_layout(bargap=0.3, barmode="overlay", showlegend=published is not None)
    return charted(figure, "mIoU", names=listed)


def _axis(table: pd.DataFrame) -> str:
    """Name of the scores, with the protocol where the table has one for all rows."""
    protocols = set(table["protocol"].dropna()) if "protocol" in table.columns else set()
    return f"mIoU, % ({protocols.pop()})" if len(protocols) == 1 else "mIoU, %"


def _add_bars(
    figure: go.Figure,
    values: npt.NDArray[np.float64],
    names: Sequence[str],
    group: str,
    marker: dict[str, Any],
    sources: Sequence[str] = (),
    interval: dict[str, Any] | None = None,
) -> None:
    """Add bars with their numbers behind them, or behind the end of the interval, so that it strikes nothing out."""
    source = "<br>%{customdata}" if sources else ""
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        error_x=interval,
        marker=marker,
        name=group,
        customdata=sources or None,
        hovertemplate=f"%{{y}}<br>mIoU %{{x:.2f}} %{source}<extra></extra>",
    )
    figure.add_scatter(
        x=values + (interval["array"] if interval else 0),
        y=names,
        mode="text",
        text=[f" {value:.1f}" for value in values],
        textposition="middle right",
        cliponaxis=False,
        showlegend=False,
        hoverinfo="skip",
    )


def _names(table: pd.DataFrame, names: Sequence[str] | None) -> list[str]:
    if names is None:
        names = _own_names(table)
    if len(names) != len(table):
        raise FigureError(f"there are {len(names)} names for {len(table)} rows; give one name per row.")
    if len(set(names)) < len(names):
        raise FigureError("two rows have the same name, so their bars would hide each other; give each its own name.")
    return [plain(str(one)) for one in names]


def _own_names(table: pd.DataFrame) -> list[str]:
    """Names that a table has for its rows, or what distinguishes them."""
    column = next((one for one in ("name", "method", "configuration") if one in table.columns), None)
    if column is not None:
        return [str(one) for one in table[column]]
    vary = _varying(table)
    if not vary:
        return [str(one) for one in table.index]
    spelled = table[vary].map(inputs.knob_text).to_numpy()
    return [", ".join(f"{knob_title(name)} {value}" for name, value in zip(vary, row, strict=True)) for row in spelled]


def _varying(table: pd.DataFrame) -> list[str]:
    """Knobs, source of the saliency and label names that are not the same in all rows of a sweep."""
    settings = [name for name in (*Config.knobs(), SALIENCY, LABEL_NAMES) if name in table.columns]
    return [name for name in settings if table[name].map(inputs.knob_text).nunique() > 1]


def _published_names(known: pd.DataFrame) -> list[str]:
    many = known["dataset"].nunique() > 1
    rows = known[["method", "dataset"]].itertuples(index=False)
    names = [plain(f"{row.method}, {row.dataset}" if many else str(row.method)) + " (published)" for row in rows]
    if len(set(names)) < len(names):
        raise FigureError(
            "two published rows have the same method and dataset; keep one of them, or rename the method."
        )
    return names


def _interval(table: pd.DataFrame, values: npt.NDArray[np.float64], color: str = OTHER) -> dict[str, Any] | None:
    """Return plotly's error bars where the table has an interval."""
    if not {_LOW, _HIGH} <= set(table.columns):
        return None
    low, high = (inputs.numbers(table, name) for name in (_LOW, _HIGH))
    return {"type": "data", "array": high - values, "arrayminus": values - low, "color": color, "thickness": 1.5}


def sweep_heat(table: pd.DataFrame, x: str, y: str) -> go.Figure:
    """Show the mIoU over two knobs as a heat map with numbers.

    Parameters
    ----------
    table : pandas.DataFrame
        A sweep: a column per knob, and ``miou_percent``. Combinations that are missing stay empty.
    x, y : str
        Columns of the two knobs.

    Raises
    ------
    FigureError
        If a column is missing, or several rows share a cell because further knobs vary (they are named).
    """
    table = inputs.columns(table, x, y, _MIOU)
    _one_row_each(table, [x, y])
    across, down = (list(dict.fromkeys(map(inputs.knob_text, table[name]))) for name in (x, y))
    cells = np.full((len(down), len(across)), np.nan)
    for score, column, row in zip(
        inputs.numbers(table, _MIOU), map(inputs.knob_text, table[x]), map(inputs.knob_text, table[y]),
        strict=True,
    ):  # fmt: skip
        cells[down.index(row), across.index(column)] = score
    figure = go.Figure(
        go.Heatmap(
            z=cells,
            x=[plain(one) for one in across],
            y=[plain(one) for one in down],
            texttemplate="%{z:.1f}",
            coloraxis="coloraxis",
            hoverongaps=False,
            xgap=2,
            ygap=2,
            hovertemplate=f"{knob_title(x)} %{{x}}<br>{knob_title(y)} %{{y}}<br>mIoU %{{z:.2f}} %<extra></extra>",
        )
    )
    bar = {"title": {"text": _axis(table), "side": "right"}}
    figure.update_xaxes(title=plain(knob_title(x)), type="category", showgrid=False)
    figure.update_yaxes(title=plain(knob_title(y)), type="category", showgrid=False, autorange="reversed")
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL.stops, "colorbar": bar})
    return charted(
        figure, f"mIoU over {knob_title(x)} and {knob_title(y)}", names=list(figure.data[0].y), cells=(62, 44)
    )


def sweep_line(table: pd.DataFrame, knob: str, by: str | None = None) -> go.Figure:
    """Show the mIoU over the values of one knob, with its confidence interval if the table has one.

    Parameters
    ----------
    table : pandas.DataFrame
        A sweep; ``miou_percent`` and, for intervals, ``miou_low_percent`` and ``miou_high_percent``.
    knob : str
        Column for the x axis; numbers are placed to scale, other values at equal distances. With several lines, the
        points are shifted so that no interval hides another.
    by : str, optional
        Column of a second knob: one line per value.

    Raises
    ------
    FigureError
        As `sweep_heat`.
    """
    table = inputs.columns(table, knob, *([] if by is None else [by]), _MIOU)
    _one_row_each(table, [knob] if by is None else [knob, by])
    groups = [""] if by is None else list(dict.fromkeys(map(inputs.knob_text, table[by])))
    numeric = all(map(inputs.is_number, table[knob]))
    places = {value: place for place, value in enumerate(dict.fromkeys(map(inputs.knob_text, table[knob])))}
    placed = numeric or len(groups) > 1
    span = float(np.ptp(inputs.numbers(table, knob))) if numeric else len(places) - 1.0
    apart = _APART * (span or 1.0) if {_LOW, _HIGH} <= set(table.columns) else 0.0
    figure = go.Figure()
    for number, group in enumerate(groups):
        rows = table if by is None else table[[inputs.knob_text(one) == group for one in table[by]]]
        rows = rows.sort_values(knob) if numeric else rows
        scores = inputs.numbers(rows, _MIOU)
        style = number % len(SERIES)
        spelled = [inputs.knob_text(one) for one in rows[knob]]
        along = inputs.numbers(rows, knob) if numeric else np.array([places[one] for one in spelled], dtype=np.float64)
        figure.add_scatter(
            x=along + apart * (number - (len(groups) - 1) / 2) if placed else [plain(one) for one in spelled],
            y=scores,
            error_y=_interval(rows, scores, SERIES[style]),
            customdata=[plain(one) for one in spelled],
            mode="lines+markers",
            name=plain(f"{knob_title(by)} {group}" if by else "mIoU"),
            line={"color": SERIES[style], "dash": DASHES[style], "width": 2},
            marker={"symbol": SYMBOLS[style], "size": 9},
            hovertemplate=f"{knob_title(knob)} %{{customdata}}<br>mIoU %{{y:.2f}} %<extra></extra>",
        )
    figure.update_xaxes(title=plain(knob_title(knob)), type="linear" if placed else "category")
    figure.update_yaxes(title=_axis(table))
    if placed and not numeric:
        figure.update_xaxes(tickvals=list(places.values()), ticktext=[plain(one) for one in places])
    figure.update_layout(showlegend=by is not None)
    return charted(figure, f"mIoU over {knob_title(knob)}")


def cost(table: pd.DataFrame, spent: str = "windows", names: Sequence[str] | None = None) -> go.Figure:
    """Show mIoU against cost; Pareto-optimal configurations are labelled and joined by a line.

    The cost axis is logarithmic if the largest cost is more than ten times the smallest.

    Parameters
    ----------
    table : pandas.DataFrame
        ``miou_percent`` and a column of costs, or a sweep; intervals as in `miou_bars`.
    spent : str
        Column of the cost, for example seconds that were measured for each row. Default: the windows that the network
        reads of one image, which a sweep's knobs tell. The ``seconds`` of a sweep are no cost of a row: rows share a
        pass over the images.
    names : sequence of str, optional
        As for `miou_bars`.

    Raises
    ------
    FigureError
        As `miou_bars`, or if all rows cost the same.
    """
    if spent == WINDOWS and isinstance(table, pd.DataFrame) and {*table.columns} >= _TELL and spent not in table:
        table = table.assign(**{spent: [_windows(row) for _, row in table.iterrows()]})
    table = inputs.columns(table, spent, _MIOU)
    listed, costs = _names(table, names), inputs.numbers(table, spent)
    scores = inputs.numbers(table, _MIOU)
    if len(costs) > 1 and np.ptp(costs) == 0:
        raise FigureError(
            f"all rows have the same {spent}, {costs[0]:g}, so there is no cost to compare. Rows of a sweep share "
            "their passes over the images: measure each row, and give the column; or compare other rows."
        )
    best, wide = _front(costs, scores), 0 < 10 * costs.min() < costs.max()
    figure = go.Figure(
        go.Scatter(x=costs[best], y=scores[best], mode="lines", line={"color": OTHER, "dash": "dot", "shape": "hv"},
                   name="no other is better in both", hoverinfo="skip")
    )  # fmt: skip
    hover = "%{customdata}<br>" + plain(knob_title(spent)) + " %{x:.4g}<br>mIoU %{y:.2f} %<extra></extra>"
    beaten = np.setdiff1d(np.arange(len(costs)), best)
    for place, rows in enumerate([*best[:, None], beaten] if len(beaten) else best[:, None]):
        first = rows is not beaten
        color = SERIES[place % len(SERIES)] if first else OTHER
        figure.add_scatter(
            x=costs[rows],
            y=scores[rows],
            error_y=_interval(table.iloc[rows], scores[rows], color),
            mode="markers",
            customdata=[listed[row] for row in rows],
            marker={"color": color, "size": 10, "symbol": SYMBOLS[place % len(SYMBOLS)] if first else "circle-open"},
            name=listed[rows[0]] if first else "beaten by another",
            hovertemplate=hover,
        )
    figure.update_xaxes(title=_COSTS.get(spent, plain(knob_title(spent))), rangemode="tozero").update_yaxes(
        title=_axis(table)
    )
    if wide:
        low, high = costs.min() / 1.2, costs.max() * 1.2
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        figure.update_xaxes(type="log", range=[math.log10(low), math.log10(high)], tickvals=ticks)
        figure.update_xaxes(ticktext=[f"{tick:g}" for tick in ticks])
    return charted(figure, f"{knob_title(spent).capitalize()} against mIoU", height=310)


def _windows(row: pd.Series[Any]) -> int:
    """Count what the network reads of one image: crops, and the frame where its patch tokens are asked for."""
    config = Config(**{name: row[name] for name in _TELL})
    return Plan.of(config).windows + (config.dense != "none" and config.dense_from == "frame")


def _front(costs: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the indices of the points that no other beats in both, by cost."""
    order = np.lexsort((-scores, costs))
    ahead = np.r_[True, scores[order][1:] > np.maximum.accumulate(scores[order])[:-1]]
    front: npt.NDArray[np.intp] = order[ahead]
    return front


def _one_row_each(table: pd.DataFrame, knobs: Sequence[str]) -> None:
    """Refuse a table in which several rows have the same values of the knobs; say what else varies."""
    spelled = table.map(inputs.knob_text)
    twice = spelled[spelled.duplicated(list(knobs), keep=False)]
    if twice.empty:
        return
    scores = [name for name in spelled.columns if str(name).startswith("iou_percent[")]
    results = {*SCORES, "ignored_percent", "seconds", "key", *scores, *knobs}
    first = twice[(twice[list(knobs)] == twice[list(knobs)].iloc[0]).all(axis=1)]
    vary = [name for name in spelled.columns if name not in results and first[name].nunique() > 1]
    raise FigureError(
        f"several rows have the same {' and '.join(knobs)}; "
        + (f"{', '.join(map(str, vary))} vary too: " if vary else "")
        + "keep one row each first, e.g. table[table.scales == (256, 128, 64)] or table.query('saliency_weight == 1')."
    )
