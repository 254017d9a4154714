"""Tables of results: comparison with published ones, images ranked by score, and label confusions."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.doubtful import doubtful
from clipdiy_lab.analysis.methods import features_title
from clipdiy_lab.analysis.ranking import standing, standings
from clipdiy_lab.analysis.result_files import no_result, open_result, plain_attrs
from clipdiy_lab.analysis.tables import MIOU, export, in_percent, to_csv, to_latex, to_markdown
from clipdiy_lab.datasets.manifests import load_manifest, manifest_folder, manifest_names
from clipdiy_lab.datasets.prediction_rle import export_coco
from clipdiy_lab.errors import ConfigError, nearest
from clipdiy_lab.method.config import Config

__all__ = [
    "best",
    "calibration_bins",
    "confusions",
    "doubtful",
    "export",
    "export_coco",
    "image_differences",
    "image_label_scores",
    "image_scores",
    "in_percent",
    "label_changes",
    "label_differences",
    "label_scores",
    "open_result",
    "plain_attrs",
    "published",
    "setting_differences",
    "standing",
    "table",
    "to_csv",
    "to_latex",
    "to_markdown",
    "worst",
]

COLUMNS = (
    "dataset",
    "method",
    "backbone",
    *MIOU,
    "images",
    "protocol",
    "ours",
    "note",
    "source",
)
_CAUTION = "protocol as its source notes it; not known to be that of our rows"
_TWO_TRUTHS = "COCO-Object has two ground truths (first instance wins; stuff maps), and this source does not say which"


def table(*results: xr.Dataset, methods: list[str] | None = None) -> pd.DataFrame:
    """Tabulate results next to the published ones on the same benchmarks.

    Parameters
    ----------
    *results : xarray.Dataset
        From `evaluate`, `score` or `open_result`.
    methods : list of str, optional
        Only these published methods; by default all.

    Returns
    -------
    pandas.DataFrame
        One row per result or published cell, with its protocol and source. The column ``note`` lists what makes a
        published row differ from ours on the same benchmark; for our best result, it tells whether its lead over the
        runner-up is significant (see `ranking`). Nothing is averaged.

    Raises
    ------
    ConfigError
        If no results are given, for something that is not a result, or for a method without published results.
    """
    if not results:
        raise ConfigError("no results were given; give at least one result of evaluate.")
    ours = [_own_row(result) for result in results]
    for place, said in standings(results, ours).items():
        ours[place]["note"] = _joined(said, ours[place]["note"])
    rows: list[dict[str, Any]] = []
    for benchmark in dict.fromkeys(row["dataset"] for row in ours):
        own = [row for row in ours if row["dataset"] == benchmark]
        if len({row["protocol"] for row in own}) > 1:
            own = [{**row, "note": _joined("our rows differ in protocol", row["note"])} for row in own]
        rows += own
        cells = published(benchmark, methods)
        rows += [_published_row(benchmark, cell) for cell in cells.to_dict("records")]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _own_row(result: xr.Dataset) -> dict[str, Any]:
    facts = plain_attrs(result)
    images, whole = facts["images"], facts["images_of_split"]
    partial = f"only {images} of {whole} images" if images < whole else ""
    if "method" in facts:  # of `score`
        made = {"method": facts["method"], "backbone": "", "source": f"predictions {facts['predictions_sha256'][:12]}"}
    else:
        made = {
            "method": f"{features_title(Config.from_json(facts['config']))} (clipdiy_lab)",
            "backbone": f"{facts['encoder']} + {facts['saliency_source']}",
            "source": f"clipdiy_lab, weights {facts['encoder_fingerprint'][:12]}",
        }
    return {
        "dataset": facts["benchmark"],
        **made,
        **{name: 100 * facts[name.removesuffix("_percent")] for name in MIOU},
        "images": images,
        "protocol": facts["protocol"],
        "ours": True,
        "note": _joined(partial, f"split {facts['split']}", f"filter {facts['filter']}"),
    }


def _published_row(benchmark: str, cell: Mapping[Hashable, Any]) -> dict[str, Any]:
    return {
        **{name: cell[name] for name in ("method", "backbone", "miou_percent", "source")},
        "dataset": benchmark,
        **dict.fromkeys(MIOU[1:], np.nan),
        "images": pd.NA,
        "protocol": cell["protocol_notes"],
        "ours": False,
        "note": _joined(_CAUTION, _TWO_TRUTHS if benchmark.startswith("coco_object") else ""),
    }


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def published(benchmark: str, methods: list[str] | None = None) -> pd.DataFrame:
    """Return the published cells of a benchmark.

    Parameters
    ----------
    benchmark : str
        Name of a manifest, such as "voc21". Only benchmarks whose manifest names a published table have cells.
    methods : list of str, optional
        Only these methods; by default all.

    Returns
    -------
    pandas.DataFrame
        ``dataset``, ``method``, ``backbone``, ``miou_percent``, ``protocol_notes``, ``source``; empty if there are no
        published results.

    Raises
    ------
    ConfigError
        For a method without published results.
    """
    cells = pd.read_csv(manifest_folder() / "published_results.csv", keep_default_na=False)
    cells["miou_percent"] = pd.to_numeric(cells["miou_percent"])
    name = load_manifest(benchmark).published if benchmark in manifest_names() else None
    own = cells[cells["dataset"] == name]
    if methods is None:
        return own
    known = set(cells["method"])
    for method in methods:
        if method not in known:
            raise ConfigError(f"no published result of {method!r} is known. {nearest(method, known)}")
    return own[own["method"].isin(methods)]


def _frame(result: xr.Dataset, names: list[str]) -> pd.DataFrame:
    """Return variables of a result as a table.

    Raises
    ------
    ConfigError
        If it is no result of `evaluate`.
    """
    if not isinstance(result, xr.Dataset) or not set(names) <= set(result.data_vars):
        raise no_result(result)
    return result[names].to_dataframe().reset_index()


def label_scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per label: ``label``, IoU with its interval, Boundary IoU and accuracy in percent, confusion sizes."""
    shares = ("iou", "iou_low", "iou_high", "boundary_iou", "accuracy")
    return in_percent(_frame(result, [*shares, "confusion_size", "pixels"]), *shares)


def image_scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per image, worst first: ``image_id``, its mIoU and pixel accuracy in percent, ``ignored`` pixels.

    Images in which nothing was scored come last.
    """
    shares = ("image_miou", "image_pixel_accuracy")
    frame = in_percent(_frame(result, [*shares, "ignored"]), *shares)
    return frame.sort_values("image_miou_percent", kind="stable", na_position="last", ignore_index=True)


def image_label_scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per image and label that is in its mask or prediction: ids, ``tp``, ``fp``, ``fn`` in pixels, IoU."""
    frame = _frame(result, ["tp", "fp", "fn"])
    union = frame["tp"] + frame["fp"] + frame["fn"]
    frame = frame[union > 0].assign(iou_percent=100 * frame["tp"] / union[union > 0])
    return frame.reset_index(drop=True)


def worst(result: xr.Dataset, n: int = 5) -> pd.DataFrame:
    """Return the rows of `image_scores` with the lowest mean IoU, lowest first."""
    return image_scores(result).dropna(subset=["image_miou_percent"]).head(n)


def best(result: xr.Dataset, n: int = 5) -> pd.DataFrame:
    """Return the rows of `image_scores` with the highest mean IoU, highest first."""
    return image_scores(result).dropna(subset=["image_miou_percent"]).iloc[::-1].head(n).reset_index(drop=True)


def label_differences(comparison: xr.Dataset) -> pd.DataFrame:
    """One row per label of a comparison by `compare`, the largest gain first; IoU in percent, differences in points.

    Returns
    -------
    pandas.DataFrame
        ``label``, ``iou_percent`` of both results with their names, ``difference_points`` with its interval
        ``low_points``, ``high_points``, and ``sign_holds``, a share of the replicates. Rows of a sweep have
        only the first columns.
    """
    points = {"difference": "difference_points", "difference_low": "low_points", "difference_high": "high_points"}
    frame = _frame(comparison, ["difference", *(name for name in (*points, "sign_holds") if name in comparison)])
    points = {name: points[name] for name in points if name in frame}
    frame = frame.assign(**{name: 100 * frame[name] for name in points}).rename(columns=points)
    for place, name in enumerate(comparison["result"].values):
        frame.insert(1 + place, f"iou_percent {name}", 100 * comparison["iou"].values[place])
    return frame.sort_values("difference_points", ascending=False, kind="stable", ignore_index=True)


def label_changes(comparison: xr.Dataset) -> pd.DataFrame:
    """Label changes between two runs compared by `compare`, most pixels first.

    Returns
    -------
    pandas.DataFrame
        ``label`` (in the first), ``other_label`` (in the second), ``pixels``, ``share_percent`` of the image; changed
        pairs only.
    """
    if not isinstance(comparison, xr.Dataset) or comparison.attrs.get("kind") != "runs":
        raise ConfigError("label_changes needs a comparison of two runs; make one with lab.compare.")
    frame = _frame(comparison, ["pixels"])
    frame = frame.assign(share_percent=100 * frame["pixels"] / max(int(frame["pixels"].sum()), 1))
    frame = frame[(frame["label"] != frame["other_label"]) & (frame["pixels"] > 0)]
    return frame.sort_values("pixels", ascending=False, kind="stable", ignore_index=True)


def image_differences(comparison: xr.Dataset) -> pd.DataFrame:
    """One row per image of a comparison by `compare`, from the largest gain to the largest loss."""
    frame = _frame(comparison, ["image_difference"]).rename(columns={"image_difference": "difference_points"})
    frame["difference_points"] *= 100
    for place, name in enumerate(comparison["result"].values):
        frame.insert(1 + place, f"image_miou_percent {name}", 100 * comparison["image_miou"].values[place])
    return frame.sort_values("difference_points", ascending=False, kind="stable", ignore_index=True)


def setting_differences(comparison: xr.Dataset) -> pd.DataFrame:
    """One row per setting, weights or version that differs in a comparison by `compare`: ``setting``, both values."""
    if not isinstance(comparison, xr.Dataset) or "differs" not in comparison.attrs:
        raise ConfigError("this is not a comparison; make one with lab.compare.")
    names = [str(name) for name in comparison["result"].values]
    rows = [[name, *values] for name, values in json.loads(comparison.attrs["differs"]).items()]
    return pd.DataFrame(rows, columns=["setting", *names])


def calibration_bins(calibration: xr.Dataset) -> pd.DataFrame:
    """One row per temperature and non-empty bin of a `calibration` result; accuracy and confidence in percent."""
    frame = _frame(calibration, ["pixels", "bin_confidence", "bin_accuracy"])
    frame = frame[frame["pixels"] > 0].reset_index(drop=True)
    frame = frame.rename(columns={"bin_confidence": "confidence", "bin_accuracy": "accuracy"})
    return in_percent(frame, "confidence", "accuracy")


def confusions(result: xr.Dataset, n: int | None = None) -> pd.DataFrame:
    """Pairs of labels that are confused, most pixels first.

    Returns
    -------
    pandas.DataFrame
        ``true_label``, ``label`` (predicted), ``pixels``, ``share_percent`` of the true label's pixels; wrong pairs
        only.
    """
    frame = _frame(result, ["confusion"]).rename(columns={"confusion": "pixels"})
    true = frame.groupby("true_label")["pixels"].sum()
    frame = frame[(frame["true_label"] != frame["label"]) & (frame["pixels"] > 0)]
    frame = frame.assign(share_percent=100 * frame["pixels"] / frame["true_label"].map(true))
    frame = frame.sort_values("pixels", ascending=False, kind="stable", ignore_index=True)
    return frame if n is None else frame.head(n)
