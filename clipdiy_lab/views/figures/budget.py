"""Where the mIoU goes: IoU and what is lost, as one bar of 100 % a label."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from clipdiy_lab.method import schema as s
from clipdiy_lab.views.figures import inputs
from clipdiy_lab.views.figures.charts import charted
from clipdiy_lab.views.figures.fitting import plain
from clipdiy_lab.views.figures.style import SERIES

_AS_IS = "as_is"
_WORDS = {
    "boundary": "boundary",
    "saliency_miss": "saliency miss",
    "false_foreground": "false foreground",
    "grid": "grid",
    "confusion": "confusion",
}


def error_budget(budget: xr.Dataset) -> go.Figure:
    """Show the mIoU and the IoU of every label, and how much is lost to each kind of error.

    Parameters
    ----------
    budget : xarray.Dataset
        Result of `explain.error_budget`. Labels that are neither true nor predicted are left out.

    Returns
    -------
    plotly Figure
        One trace for the IoU and one per kind of loss; all labels together come first, then the label that loses
        most. A bar sums to 100 %, except for the loss that a protocol assigns to absent labels.

    Raises
    ------
    FigureError
        If it is another object.
    """
    label, loss = s.LABEL, s.LOSS
    known = inputs.variables(budget, lost_iou=[loss, label], lost_miou=[loss], iou=[s.INGREDIENT, label], miou=[])
    lost = known["lost_iou"].transpose(loss, label)
    scored = lost.notnull().all(loss).values
    lost = lost.isel({label: scored})
    order = np.argsort(-lost.sum(loss).values, kind="stable")
    lost = lost.isel({label: order})
    kept = [known[name].sel({s.INGREDIENT: _AS_IS}) for name in ("miou", "iou")]
    names = ["all labels", *(plain(name) for name in s.labels_of(lost))]
    parts = {"IoU": [float(kept[0]), *kept[1].isel({label: scored}).values[order]]}
    for kind in map(str, lost[loss].values):
        whole = float(known["lost_miou"].sel({loss: kind}))
        parts[_WORDS.get(kind, kind)] = [whole, *lost.sel({loss: kind}).values]
    figure = go.Figure()
    for (name, shares), color in zip(parts.items(), SERIES, strict=False):
        figure.add_bar(
            x=100 * np.array(shares),
            y=names,
            orientation="h",
            name=plain(name),
            marker={"color": color, "line": {"width": 0}},
            hovertemplate=f"%{{y}}<br>{plain(name)}: %{{x:.1f}} %<extra></extra>",
        )
    figure.update_xaxes(title="IoU and what it loses, %", range=[0, 100.5])
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(barmode="stack", bargap=0.25)
    return charted(figure, "Where the mIoU goes", names=names)
