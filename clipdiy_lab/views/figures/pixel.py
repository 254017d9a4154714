"""Why a pixel is what it is: what the windows of each grid contribute."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from clipdiy_lab.method import schema as s
from clipdiy_lab.method.naming import grid_title
from clipdiy_lab.views.colors import label_css
from clipdiy_lab.views.figures import inputs
from clipdiy_lab.views.figures.charts import charted
from clipdiy_lab.views.figures.fitting import plain
from clipdiy_lab.views.figures.panels import legend_keys
from clipdiy_lab.views.figures.stages import box
from clipdiy_lab.views.figures.style import OTHER

MAX_LABELS = 12
_MOST_WINDOWS = 4


def contributions(table: pd.DataFrame) -> go.Figure:
    """Show the contribution of each grid to each label's score at a pixel; the bars of a label sum to its score.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `explain.pixel`: columns ``grid``, ``label`` and ``contribution``, one row per window and label.
        Where there are ``top``, ``left`` and ``window``, hover lists the windows, with their ``cosine``.

    Returns
    -------
    plotly Figure
        One trace per grid in the order of the table, labels from the highest score down (at most twelve), in the
        labels' colours; the first grid has the fullest shade.

    Raises
    ------
    FigureError
        If a column is missing or there are no rows.
    """
    table = inputs.columns(table, s.GRID, s.LABEL, "contribution")
    table = table.assign(contribution=inputs.numbers(table, "contribution"), label=table[s.LABEL].astype(str))
    scores = table.groupby(s.LABEL)["contribution"].sum().sort_values(ascending=False)
    colors = label_css(list(scores.index))
    shown = scores.head(MAX_LABELS)
    grids = {name: grid_title(str(name)) for name in table[s.GRID].unique()}
    shades = np.linspace(1, 0.45, len(grids)) if len(grids) > 1 else np.ones(1)
    names = [plain(name) for name in shown.index]
    figure = go.Figure()
    for (grid, title), shade in zip(grids.items(), shades, strict=True):
        parts = [table[(table[s.GRID] == grid) & (table[s.LABEL] == label)] for label in shown.index]
        figure.add_bar(
            x=[float(part["contribution"].sum()) for part in parts],
            y=names,
            orientation="h",
            name=title,
            marker={"color": [colors[label] for label in shown.index], "opacity": shade, "line": {"width": 0}},
            customdata=[_windows(part) for part in parts],
            hovertemplate="%{y}, " + f"{title}: " + "%{x:.4f}%{customdata}<extra></extra>",
            showlegend=False,
        )
    figure.add_scatter(
        x=shown.to_numpy(),
        y=names,
        mode="markers+text",
        marker={"symbol": "line-ns-open", "size": 16, "color": OTHER},
        text=[f" {score:.3f}" for score in shown],
        textposition=["middle right" if score >= 0 else "middle left" for score in shown],
        cliponaxis=False,
        name="score",
        hovertemplate="%{y}: score %{x:.4f}<extra></extra>",
    )
    for key, shade in zip(legend_keys(list(grids.values()), [OTHER] * len(grids)), shades, strict=True):
        figure.add_trace(key.update(marker_opacity=shade))
    low, high = min(0.0, float(shown.min())), max(0.0, float(shown.max()))
    room = 0.15 * (high - low or 1.0)
    figure.update_xaxes(title="contribution to the score", range=[low - room * (low < 0), high + room])
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(barmode="relative", legend={"itemclick": False, "itemdoubleclick": False})
    return charted(figure, _title(len(scores)), names=names)


def _title(labels: int) -> str:
    left_out = labels - MAX_LABELS
    return "What each grid contributes" + (f" ({left_out} lower labels left out)" if left_out > 0 else "")


def _windows(part: pd.DataFrame) -> str:
    """List the strongest windows of a bar, as far as the table says which they were."""
    if not {"top", "left", s.WINDOW} <= set(part.columns):
        return ""
    strongest = part.reindex(part["contribution"].abs().sort_values(ascending=False).index).head(_MOST_WINDOWS)
    lines = []
    for row in strongest[strongest["contribution"] != 0].to_dict("records"):
        cosine = f", cosine {row['cosine']:.3f}" if "cosine" in row else ""
        lines.append(
            f"<br>{box(int(row['top']), int(row['left']), int(row[s.WINDOW]))}: {row['contribution']:.4f}{cosine}"
        )
    return "".join(lines)
