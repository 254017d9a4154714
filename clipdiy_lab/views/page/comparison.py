"""A comparison as one HTML page: summary, bars with intervals or pictures, tables, and differing settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, TypeGuard

import numpy as np
import pandas as pd
import xarray as xr
from markupsafe import Markup

from clipdiy_lab.analysis.results import image_differences, label_changes, label_differences, setting_differences
from clipdiy_lab.method import schema as s
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.colors import CHANGED, css, label_colors
from clipdiy_lab.views.html import html_table, render
from clipdiy_lab.views.page.sections import shares

_ENDS: Final = 5
"""Images at either end of the ranking."""


def is_comparison(given: object) -> TypeGuard[xr.Dataset]:
    """Whether something is what `compare` gives."""
    return isinstance(given, xr.Dataset) and {"kind", "differs"} <= given.attrs.keys()


def comparison_document(comparison: xr.Dataset) -> str:
    """Write the page of what `compare` gives."""
    names = [str(name) for name in comparison["result"].values]
    of_runs = comparison.attrs["kind"] == "runs"
    page = render(
        "comparison.html",
        title=f"{names[0]} and {names[1]}, compared",
        css=Markup("\n").join(_asset(name) for name in ("page.css", "comparison.css")),
        summary=comparison.attrs["summary"],
        names=names,
        settings=setting_differences(comparison).map(_spelled).to_numpy().tolist(),
        **(_of_runs(comparison) if of_runs else _of_scores(comparison)),
    )
    return str(page)


def _asset(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704  our own file


def _spelled(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _of_scores(comparison: xr.Dataset) -> dict[str, Any]:
    attrs = comparison.attrs
    labels = label_differences(comparison)
    tables = {"IoU of each label": html_table(labels, "{:.2f}".format)}
    if "image_difference" in comparison:
        images = image_differences(comparison)
        points = images["difference_points"]
        ends = {"helps most": images[points > 0].head(_ENDS), "hurts most": images[points < 0].tail(_ENDS).iloc[::-1]}
        second = str(comparison["result"].values[1])
        tables |= {
            f"Images that {second} {end}": html_table(rows, "{:.2f}".format) for end, rows in ends.items() if len(rows)
        }
    card = {name: attrs[name] for name in ("dataset", "images", "protocol", "interval")}
    zero, bars = _bars(comparison, labels)
    return {
        "how": f"mIoU in percent, differences in points; {attrs['images']} images of {attrs['dataset']}, protocol "
        f"{attrs['protocol']}; {attrs['interval']}.",
        "reading": "A filled mark means that the confidence interval excludes zero. Without an interval, it is open.",
        "zero": zero,
        "bars": bars,
        "tables": tables,
        "pictures": [],
        "keys": {},
        "card": json.dumps({**card, "rules": json.loads(attrs["protocol_card"])}, indent=2),
    }


def _bars(comparison: xr.Dataset, labels: pd.DataFrame) -> tuple[float, list[dict[str, Any]]]:
    """Return the place of zero, and name, value, interval and places of mIoU and of every label; places in percent."""
    attrs = comparison.attrs
    total = {"label": "mIoU", "difference_points": 100 * attrs["miou_difference"]}
    total |= {f"{end}_points": 100 * attrs[f"miou_difference_{end}"] for end in ("low", "high")}
    rows = pd.concat([pd.DataFrame([total]), labels.dropna(subset=["difference_points"])], ignore_index=True)
    columns = [name for name in ("difference_points", "low_points", "high_points") if name in rows]
    least, most = min(0.0, float(rows[columns].min().min())), max(0.0, float(rows[columns].max().max()))
    spread = max(most - least, 1e-9)

    def place(value: float) -> float:
        return round(3 + 94 * (value - least) / spread, 2)

    made = []
    for row in rows.to_dict("records"):
        points, low, high = (
            float(row.get(name, np.nan)) for name in ("difference_points", "low_points", "high_points")
        )
        known = np.isfinite(low) and np.isfinite(high)
        value = f"{points:+.2f}" + (f" ({low:+.1f} to {high:+.1f})" if known else "")
        made.append(
            {
                "name": str(row["label"]),
                "at": place(points),
                "left": place(low) if known else None,
                "width": round(place(high) - place(low), 2) if known else None,
                "sure": bool(known and (low > 0 or high < 0)),
                "value": value,
                "said": f"{row['label']}: {value} points",
            }
        )
    return place(0), made


def _of_runs(comparison: xr.Dataset) -> dict[str, Any]:
    names = list(s.labels_of(comparison["pixels"]))
    colors = label_colors(names)
    first, second = comparison["labels"].values
    titles = [str(name) for name in comparison["result"].values]
    changed = comparison["changed"].values
    pictures = [
        _picture("image", data_uris.photograph(comparison["image"].values), "The image", changed.shape),
        _picture(titles[0], data_uris.indexed(first, colors), shares(first, names), changed.shape),
        _picture(titles[1], data_uris.indexed(second, colors), shares(second, names), changed.shape),
        _picture(
            "where they differ (orange)",
            data_uris.indexed(changed.astype(np.uint8), CHANGED),
            f"{100 * comparison.attrs['changed_share']:.1f} % of the pixels",
            changed.shape,
        ),
    ]
    won = np.unique(np.concatenate([np.unique(first), np.unique(second)]))
    changes = label_changes(comparison).rename(columns={"label": titles[0], "other_label": titles[1]})
    return {
        "how": f"Comparison of one image ({_image(comparison)}), without a score or protocol.",
        "reading": "",
        "zero": 0,
        "bars": [],
        "tables": {"Label changes": html_table(changes.head(20), "{:.2f}".format)} if len(changes) else {},
        "pictures": pictures,
        "keys": {names[place]: css(colors[place]) for place in won},
        "card": "",
    }


def _image(comparison: xr.Dataset) -> str:
    return str(comparison.attrs["image_source"] or comparison.attrs["image_sha256"][:12])


def _picture(title: str, source: str, alt: str, shape: tuple[int, ...]) -> Mapping[str, str]:
    return {"title": title, "source": source, "alt": f"{title}: {alt}", "ratio": f"{shape[1]} / {shape[0]}"}
