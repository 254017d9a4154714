"""Tables of results: ours beside the published ones, images from worst to best, which label is taken for which."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.tables import MIOU, export, in_percent, to_csv, to_latex, to_markdown
from clipdiy_lab.datasets.manifests import load_manifest, manifest_folder, manifest_names
from clipdiy_lab.datasets.prediction_rle import export_coco
from clipdiy_lab.errors import ConfigError, OutputError, nearest
from clipdiy_lab.pipeline.netcdf import read_netcdf, write_netcdf

__all__ = [
    "best",
    "calibration_bins",
    "confusions",
    "export",
    "export_coco",
    "image_differences",
    "image_label_scores",
    "image_scores",
    "in_percent",
    "label_differences",
    "label_scores",
    "open_result",
    "plain_attrs",
    "published",
    "setting_differences",
    "table",
    "to_csv",
    "to_latex",
    "to_markdown",
    "worst",
]

_HASH = "content_sha256"
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


def open_result(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a result that `evaluate` wrote.

    Raises
    ------
    OutputError
        If there is none, or it is damaged.
    """
    result = read_result(Path(path))
    if result is None:
        raise OutputError(f"there is no result at {os.fspath(path)}; expected a file that evaluate wrote.")
    return result


def table(*results: xr.Dataset, methods: list[str] | None = None) -> pd.DataFrame:
    """Put results beside the published cells of the same benchmarks.

    Parameters
    ----------
    *results : xarray.Dataset
        From `evaluate`, `score` or `open_result`.
    methods : list of str, optional
        Only these published methods; by default all.

    Returns
    -------
    pandas.DataFrame
        One row a result or published cell. Every row carries its protocol and its source; ``note``
        says what stands between the row and ours of the same benchmark. Nothing is averaged.

    Raises
    ------
    ConfigError
        For no result, something else than a result, or a method that nobody published.
    """
    if not results:
        raise ConfigError("there is nothing to tabulate; give at least one result of evaluate.")
    ours = [_own_row(result) for result in results]
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
            "method": "CLIP-DIY (clipdiy_lab)",
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
        Name of a manifest, such as "voc21", which says what the table calls it; others have no cells.
    methods : list of str, optional
        Only these methods; by default all.

    Returns
    -------
    pandas.DataFrame
        ``dataset``, ``method``, ``backbone``, ``miou_percent``, ``protocol_notes``, ``source``; no rows where nobody
        published any.

    Raises
    ------
    ConfigError
        For a method that nobody published.
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


def plain_attrs(result: xr.Dataset) -> dict[str, Any]:
    """Return a result's protocol card with Python's own numbers.

    Raises
    ------
    ConfigError
        If it is no result of `evaluate`.
    """
    if not isinstance(result, xr.Dataset) or not {"protocol_card", "miou"} <= result.attrs.keys():
        raise _no_result(result)
    return {str(k): v.item() if isinstance(v, np.generic) else v for k, v in result.attrs.items()}


def _no_result(given: object) -> ConfigError:
    return ConfigError(
        f"{type(given).__name__} is given where a result of evaluate is expected; make one with lab.evaluate, or open "
        "one with lab.results.open_result."
    )


def _frame(result: xr.Dataset, names: list[str]) -> pd.DataFrame:
    """Return variables of a result as a table.

    Raises
    ------
    ConfigError
        If it is no result of `evaluate`.
    """
    if not isinstance(result, xr.Dataset) or not set(names) <= set(result.data_vars):
        raise _no_result(result)
    return result[names].to_dataframe().reset_index()


def label_scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per label: ``label``, IoU with its interval, Boundary IoU and accuracy in percent, ``pixels``."""
    shares = ("iou", "iou_low", "iou_high", "boundary_iou", "accuracy")
    return in_percent(_frame(result, [*shares, "pixels"]), *shares)


def image_scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per image, worst first: ``image_id``, its mIoU and pixel accuracy in percent, ``ignored`` pixels.

    Images in which nothing was scored come last.
    """
    shares = ("image_miou", "image_pixel_accuracy")
    frame = in_percent(_frame(result, [*shares, "ignored"]), *shares)
    return frame.sort_values("image_miou_percent", kind="stable", na_position="last", ignore_index=True)


def image_label_scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per image and label that is true or predicted there: ids, ``tp``, ``fp``, ``fn`` in pixels, IoU."""
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
    """One row per label of what `compare` gives, the largest gain first; IoU in percent, differences in points.

    Returns
    -------
    pandas.DataFrame
        ``label``, ``iou_percent`` of both results with their names, ``difference_points`` with its interval
        ``low_points``, ``high_points``, and ``sign_holds``, a share of the replicates.
    """
    frame = _frame(comparison, ["difference", "difference_low", "difference_high", "sign_holds"])
    points = {"difference": "difference_points", "difference_low": "low_points", "difference_high": "high_points"}
    frame = frame.assign(**{name: 100 * frame[name] for name in points}).rename(columns=points)
    for place, name in enumerate(comparison["result"].values):
        frame.insert(1 + place, f"iou_percent {name}", 100 * comparison["iou"].values[place])
    return frame.sort_values("difference_points", ascending=False, kind="stable", ignore_index=True)


def image_differences(comparison: xr.Dataset) -> pd.DataFrame:
    """One row per image of what `compare` gives, from the largest gain to the largest loss; in percent and points."""
    frame = _frame(comparison, ["image_difference"]).rename(columns={"image_difference": "difference_points"})
    frame["difference_points"] *= 100
    for place, name in enumerate(comparison["result"].values):
        frame.insert(1 + place, f"image_miou_percent {name}", 100 * comparison["image_miou"].values[place])
    return frame.sort_values("difference_points", ascending=False, kind="stable", ignore_index=True)


def setting_differences(comparison: xr.Dataset) -> pd.DataFrame:
    """One row per setting, weight or version in which the two results of `compare` differ: ``setting``, both values."""
    _frame(comparison, ["difference"])
    names = [str(name) for name in comparison["result"].values]
    rows = [[name, *values] for name, values in json.loads(comparison.attrs["differs"]).items()]
    return pd.DataFrame(rows, columns=["setting", *names])


def calibration_bins(calibration: xr.Dataset) -> pd.DataFrame:
    """One row per temperature and bin with pixels of what `calibration` gives; accuracy and confidence in percent."""
    frame = _frame(calibration, ["pixels", "bin_confidence", "bin_accuracy"])
    frame = frame[frame["pixels"] > 0].reset_index(drop=True)
    frame = frame.rename(columns={"bin_confidence": "confidence", "bin_accuracy": "accuracy"})
    return in_percent(frame, "confidence", "accuracy")


def confusions(result: xr.Dataset, n: int | None = None) -> pd.DataFrame:
    """Which label is taken for which, most pixels first.

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


def result_path(out: str | os.PathLike[str], name: str) -> Path:
    """Return the file of a result: `out` itself if it ends in .nc, else `name` in the folder `out`; folders are made.

    Raises
    ------
    OutputError
        If the suffix is another one or the folder cannot be made.
    """
    given = Path(out)
    if given.suffix and given.suffix != ".nc" and not given.is_dir():
        raise OutputError(f"{given} ends in {given.suffix!r}; a result is a .nc file, or a folder to put it into.")
    target = given if given.suffix == ".nc" else given / re.sub(r"[^\w.-]+", "_", name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be made ({error.strerror}); choose another place.") from error
    return target


def write_result(result: xr.Dataset, target: Path) -> None:
    """Write a result whole, with a hash of its counts."""
    write_netcdf(result.assign_attrs({_HASH: _content_hash(result)}), target)


def read_result(target: Path, key: str | None = None) -> xr.Dataset | None:
    """Read a result that `write_result` wrote; None where there is no file.

    Parameters
    ----------
    target : path
    key : str, optional
        Of the run that it must be the result of.

    Raises
    ------
    OutputError
        If the file is damaged, no result, or the result of another run.
    """
    if not target.exists():
        return None
    try:
        result = read_netcdf(target).to_dataset()
        expected = result.attrs.pop(_HASH)
        whole = expected == _content_hash(result)
    except (OSError, ValueError, KeyError, MemoryError) as error:  # KeyError: what every result has is missing
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OutputError(f"{target} is no result of the lab ({what}); remove it first.") from error
    if not whole:
        raise OutputError(f"{target} is damaged: its content does not have the hash written with it; remove it first.")
    if key is not None and result.attrs.get("key") != key:
        raise OutputError(
            f"{target} holds the result of another run ({result.attrs.get('dataset')}, protocol "
            f"{result.attrs.get('protocol')}, {result.attrs.get('images')} images); choose another file, or a folder."
        )
    return result


def _content_hash(result: xr.Dataset) -> str:
    digest = hashlib.sha256(repr([str(one) for one in result["image_id"].values]).encode())
    for name in sorted(map(str, result.data_vars)):
        digest.update(name.encode() + np.ascontiguousarray(result[name].values).tobytes())
    digest.update(repr(sorted((name, str(value)) for name, value in result.attrs.items() if name != _HASH)).encode())
    return digest.hexdigest()
