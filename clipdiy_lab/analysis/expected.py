"""Figures that a run should repeat: which run each is of, how close is close enough, and where it comes from.

They are data, in ``data_manifests/expected_results.csv``: published ones, and this repository's own on `scenes`, which
``tools/renew_expected.py`` measures anew.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clipdiy_lab.datasets.manifests import manifest_folder, manifest_names
from clipdiy_lab.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One figure.

    Attributes
    ----------
    benchmark, split : str
        Name of a manifest, and a part of it.
    method : str
        Name of a published method, see `list_methods`.
    row : str
        What tells it from other figures of the same benchmark and method.
    model : str
        For `load`.
    saliency : str
        For `load`; or "oracle", the truth.
    config : dict
        Knobs on top of the method's.
    protocol : str or None
        Name of a protocol; None: the method's own.
    images : int or None
        The first so many images that it is of; None: all of the split.
    miou_percent : float
    tolerance_points : float or None
        How far a repetition may be away; None where nobody can say, so that a difference is shown and not judged.
    encoder_fingerprint, saliency_fingerprint : str
        Of the weights that it was measured with; empty where they are not known.
    source : str
    note : str
        Why it may not be comparable; empty where nothing is known to stand in the way.
    """

    benchmark: str
    split: str
    method: str
    row: str
    model: str
    saliency: str
    config: dict[str, Any]
    protocol: str | None
    images: int | None
    miou_percent: float
    tolerance_points: float | None
    encoder_fingerprint: str
    saliency_fingerprint: str
    source: str
    note: str

    @classmethod
    def of_row(cls, row: dict[str, str]) -> Self:
        """Read a row of the file."""
        texts = ("benchmark", "split", "method", "row", "model", "saliency", "source", "note")
        return cls(
            **{name: row[name] for name in (*texts, "encoder_fingerprint", "saliency_fingerprint")},
            config=json.loads(row["config"] or "{}"),
            protocol=row["protocol"] or None,
            images=int(row["images"]) if row["images"] else None,
            miou_percent=float(row["miou_percent"]),
            tolerance_points=float(row["tolerance_points"]) if row["tolerance_points"] else None,
        )


def expected_file() -> Path:
    """Return the file of expected figures."""
    return manifest_folder() / "expected_results.csv"


def file_sha256() -> str:
    """Hash the file of expected figures."""
    return hashlib.sha256(expected_file().read_bytes()).hexdigest()


def expectations(benchmark: str, method: str, split: str, limit: int | None = None) -> list[Expectation]:
    """Return what a method should reach on a benchmark.

    Parameters
    ----------
    benchmark, method, split : str
    limit : int, optional
        The first so many images. Figures that are of exactly so many are returned where there are any, else those of
        the whole split.

    Raises
    ------
    ConfigError
        If there is none, with what there is.

    Examples
    --------
    >>> [one.miou_percent for one in expectations("voc21", "clip_diy", "val")]
    [59.9]
    """
    with expected_file().open(encoding="utf-8", newline="") as file:
        known = [Expectation.of_row(row) for row in csv.DictReader(file)]
    if benchmark not in {one.benchmark for one in known}:
        raise ConfigError(
            f"no figure is known for the benchmark {benchmark!r}. {nearest(str(benchmark), manifest_names())}"
        )
    of_benchmark = [one for one in known if one.benchmark == benchmark]
    methods = dict.fromkeys(one.method for one in of_benchmark)
    if method not in methods:
        raise ConfigError(f"no figure of {method!r} is known for {benchmark!r}. {nearest(str(method), methods)}")
    splits = dict.fromkeys(one.split for one in of_benchmark)
    if split not in splits:
        raise ConfigError(f"no figure is known for the split {split!r} of {benchmark!r}. {nearest(str(split), splits)}")
    asked = [one for one in of_benchmark if (one.method, one.split) == (method, split)]
    if not asked:
        raise ConfigError(f"no figure of {method!r} is known for the split {split!r} of {benchmark!r}.")
    exactly = [one for one in asked if limit is not None and one.images == limit]
    largest = max((one.images or 10**9) for one in asked)
    return exactly or [one for one in asked if (one.images or 10**9) == largest]
