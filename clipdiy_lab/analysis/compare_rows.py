"""Two rows of sweeps: by how much their mIoU differs, and how sure that is; IoU of labels without an interval."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.paired import RESULT, differing, verdict
from clipdiy_lab.analysis.trials import LABEL_NAMES, REPLICATE_SCORES, SALIENCY, plain_table
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config

_SAME: Final = ("dataset", "label_names", "images", "protocol", "interval")


def compare_rows(a: pd.Series[Any], b: pd.Series[Any], names: tuple[str, str]) -> xr.Dataset:
    """Compare two rows of `sweep`; see `compare`."""
    for row, name in zip((a, b), names, strict=True):
        _require_scored(row, name)
    for name in _SAME:
        if a.attrs[name] != b.attrs[name]:
            raise ConfigError(
                f"the rows are of sweeps that differ in {name} ({_short(a.attrs[name])} and {_short(b.attrs[name])}), "
                "so they cannot be compared."
            )
    labels = [str(name) for name in a.attrs["label_names"]]
    ious = np.array([[row[f"iou_percent[{label}]"] / 100 for label in labels] for row in (a, b)], dtype=np.float64)
    mious = [float(row["miou_percent"]) / 100 for row in (a, b)]
    totals = np.array(b.attrs[REPLICATE_SCORES][b["key"]]) - np.array(a.attrs[REPLICATE_SCORES][a["key"]])
    card = {"dataset": a.attrs["dataset"], "protocol": a.attrs["protocol"]["id"]}
    ratio = {"units": "1"}
    return xr.Dataset(
        {
            "iou": ((RESULT, s.LABEL), ious, {"long_name": "intersection over union", **ratio}),
            "difference": (s.LABEL, ious[1] - ious[0], {"long_name": f"IoU of {names[1]} minus {names[0]}", **ratio}),
        },
        coords={RESULT: np.array(names, dtype=object), s.LABEL: np.array(labels, dtype=object)},
        attrs={
            "kind": "rows",
            **card,
            "protocol_card": json.dumps(a.attrs["protocol"]),
            "differs": json.dumps(differing(_card(a), _card(b))),
            **verdict(names, mious, totals, a.attrs["images"], card),
        },
    )


def _require_scored(row: pd.Series[Any], name: str) -> None:
    if not isinstance(row.attrs.get(REPLICATE_SCORES), dict) or "key" not in row:
        raise ConfigError(f"the row {name!r} is not from a sweep's table; take one as table.iloc[0].")
    if row.get("error") or row["key"] not in row.attrs[REPLICATE_SCORES]:
        raise ConfigError(f"the row {name!r} has no score ({row.get('error')}); choose one that has.")


def _card(row: pd.Series[Any]) -> dict[str, Any]:
    """What a row was made with, as plain values."""
    settings = [*Config.knobs(), SALIENCY, LABEL_NAMES]
    plain = plain_table(pd.DataFrame([row[settings]])).iloc[0]
    knobs = {name: value if isinstance(value, str | bool) else _number(value) for name, value in plain.items()}
    facts = {str(name): value for name, value in row.attrs.items() if name not in (*_SAME, REPLICATE_SCORES)}
    return {**{f"config.{name}": value for name, value in knobs.items()}, **facts}


def _number(value: Any) -> Any:
    if value is None or value != value:
        return None
    return value.item() if isinstance(value, np.generic) else value


def _short(value: Any) -> str:
    text = str(value["id"] if isinstance(value, dict) else value)
    return text if len(text) <= 60 else f"{text[:59]}…"
