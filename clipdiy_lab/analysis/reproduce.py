"""Repeat a figure: what is missing for it, the run under its protocol, and how far what came out is away."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.evaluate import evaluate
from clipdiy_lab.analysis.expected import Expectation, expectations, expected_file, file_sha256
from clipdiy_lab.analysis.methods import PublishedMethod, load_method
from clipdiy_lab.analysis.result_files import plain_attrs
from clipdiy_lab.analysis.tables import to_markdown
from clipdiy_lab.analysis.trials import ORACLE
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.datasets.registry import open_dataset
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ClipdiyError, DatasetError, ModelError, OutputError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.models.absent import absent_encoder, absent_saliency
from clipdiy_lab.pipeline.loading import load

if TYPE_CHECKING:
    from distributed import Client

FORMAT: Final = "clipdiy_lab reproduction 1"
AGREES, DIFFERS, UNJUDGED = "agrees", "differs", "not judged"
_EMBEDDED: Final = "scenes"
_COLUMNS: Final = {
    "row": "row",
    "expected_percent": "expected, %",
    "got_percent": "got, %",
    "difference_points": "difference, points",
    "tolerance_points": "tolerance, points",
    "verdict": "verdict",
    "images": "images",
    "protocol": "protocol",
}
"""What of a row stands in the tables for people, and how it is headed there."""


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` found.

    Attributes
    ----------
    report : dict
        Everything, as it stands in the JSON file: what was asked for, manifest and archives with their hashes, and
        ``rows`` with figures, verdict, reasons and the protocol card of each.
    files : tuple of Path
        The report as JSON and as Markdown.
    """

    report: dict[str, Any] = field(repr=False)
    files: tuple[Path, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row per figure: mIoU in percent, differences and tolerances in points, verdict, images, protocol."""
        return pd.DataFrame(self.report["rows"])[list(_COLUMNS)]

    @property
    def agrees(self) -> bool:
        """Whether no figure is further away than its tolerance; one without tolerance is not judged."""
        return all(row["verdict"] != DIFFERS for row in self.report["rows"])


def reproduce(
    benchmark: str,
    method: str = "clip_diy",
    *,
    split: str = "val",
    root: str | os.PathLike[str] | None = None,
    partial: bool = False,
    limit: int | None = None,
    out: str | os.PathLike[str] = "out/reproduce",
    progress: bool = False,
    client: Client | None = None,
) -> Reproduction:
    """Run a method on a benchmark as published, and compare its scores with the expected ones.

    Parameters
    ----------
    benchmark : str
        Name of a manifest, such as "voc21". "scenes" checks the table of this repository and needs no files.
    method : str
        A published method, see `list_methods`.
    split : str
    root : path, optional
        Folder of the dataset, if it is not in the data folder.
    partial : bool
        Accept an incomplete dataset; the scores are then reported without a verdict.
    limit : int, optional
        Use only the first images. There is a verdict only if an expected score for exactly this number is known.
    out : path
        Folder for results and report. An interrupted run is resumed; finished results are reused.
    progress : bool
        Show a progress bar on stderr.
    client : distributed.Client, optional
        As for `evaluate`.

    Raises
    ------
    DatasetError, ModelError
        If the dataset or weights are not on this machine; the message tells what is missing and how to get it.
    ConfigError
        If no expected score is known for this method on this benchmark and split.
    OutputError
        If `out` cannot be written to.

    Notes
    -----
    A `KeyboardInterrupt` carries a note (``__notes__``) that says what is kept.
    """
    wanted = expectations(benchmark, method, split, limit)
    published = load_method(method).on(None if benchmark == _EMBEDDED else benchmark)
    dataset = _require_all(benchmark, split, root, partial, published.names, wanted)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be created ({error.strerror}); choose another folder.") from error
    rows, loaded = [], functools.cache(load)
    for one in wanted:
        oracle = one.saliency == ORACLE
        result = evaluate(
            loaded(one.model, saliency="none" if oracle else one.saliency),
            dataset,
            published.config.replace(**one.config),
            limit,
            protocol=one.protocol or published.protocol,
            out=folder,
            oracle_saliency=oracle,
            progress=progress,
            client=client,
        )
        rows.append(_row(one, published, result, partial))
    report = _report(benchmark, published, split, partial, limit, rows)
    name = "-".join([benchmark, method, split, *([] if limit is None else [f"first{limit}"])])
    return Reproduction(report, _write(report, folder / name))


def _require_all(
    benchmark: str,
    split: str,
    root: str | os.PathLike[str] | None,
    partial: bool,
    names: str | None,
    wanted: list[Expectation],
) -> Dataset:
    """Open the dataset, once neither it nor any weights are missing."""
    options: dict[str, Any] = {} if root is None else {"root": root}
    if benchmark != _EMBEDDED:
        options |= {"partial": partial, "names": names}
    dataset, problems = None, []
    try:
        dataset = open_dataset(benchmark, split=split, **options)
    except DatasetError as error:
        problems.append(str(error))
    missing = dict.fromkeys(
        what for one in wanted for what in (*absent_encoder(one.model), *absent_saliency(one.saliency))
    )
    if missing:
        first = wanted[0]
        code = f"import clipdiy_lab as lab; lab.load('{first.model}', saliency='{first.saliency}')"
        problems.append(
            f"{', '.join(missing)} must be fetched first, which this does where there is a network: "
            f'`python -c "{code}"`.'
        )
    if dataset is None or missing:
        kind: type[ClipdiyError] = DatasetError if dataset is None else ModelError
        told = " ".join(f"({place}) {one}" for place, one in enumerate(problems, 1)) if problems[1:] else problems[0]
        raise kind(f"{benchmark!r} cannot be reproduced here yet: {told}")
    return dataset


def _row(one: Expectation, method: PublishedMethod, result: xr.Dataset, partial: bool) -> dict[str, Any]:
    """Return a figure, what came out, the verdict, why it may differ, and everything that decided it."""
    card = plain_attrs(result)
    got, difference = 100 * card["miou"], 100 * card["miou"] - one.miou_percent
    comparable = card["images"] == (one.images or card["images_of_split"]) and not partial
    verdict = UNJUDGED
    if one.tolerance_points is not None and comparable:
        verdict = AGREES if abs(difference) <= one.tolerance_points else DIFFERS
    truth = (result["tp"] + result["fn"]).values.astype(np.int64)
    ids = json.dumps([str(image_id) for image_id in result["image_id"].values])
    return {
        "row": one.row,
        "expected_percent": one.miou_percent,
        "got_percent": got,
        "low_percent": 100 * card["miou_low"],
        "high_percent": 100 * card["miou_high"],
        "difference_points": round(difference, 2) + 0.0,  # as exact as figures are stated; + 0.0 turns -0.0 into 0.0
        "tolerance_points": one.tolerance_points,
        "verdict": verdict,
        "images": card["images"],
        "protocol": card["protocol"],
        "source": one.source,
        "why_it_may_differ": _reasons(one, method, card, partial),
        "image_ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
        "truth_sha256": hashlib.sha256(np.ascontiguousarray(truth).tobytes()).hexdigest(),
        "card": card,
    }


def _reasons(one: Expectation, method: PublishedMethod, card: dict[str, Any], partial: bool) -> list[str]:
    reasons = []
    of, whole = one.images or card["images_of_split"], card["images_of_split"]
    if card["images"] != of:
        reasons.append(
            f"The expected score is for {of} images and this run has {card['images']}; other samples of this size "
            "would "
            f"give {100 * card['miou_low']:.1f} to {100 * card['miou_high']:.1f} % (95 % confidence interval)."
        )
    if partial:
        reasons.append(f"Samples with missing files were left out; {whole} images were available.")
    if one.tolerance_points is None:
        reasons.append(
            "There is no tolerance, because the source does not state all settings, and therefore no verdict."
        )
    reasons += [f"{one.note[0].upper()}{one.note[1:]}."] if one.note else []
    reasons += method.not_reproduced
    for what in ("encoder", "saliency"):
        measured, used = getattr(one, f"{what}_fingerprint"), card[f"{what}_fingerprint"]
        if measured and measured != used:
            reasons.append(
                f"The {what}'s weights are {used[:12]}; the expected score was measured with {measured[:12]}."
            )
    if card["precision"] != "fp32":
        reasons.append(f"It was computed in {card['precision']}; cosines differ in the third digit or later.")
    arithmetic = "Another processor or version of torch rounds differently, which can change near-ties"
    if one.benchmark == _EMBEDDED:
        return [*reasons, f"{arithmetic}; on one machine the score is the same every time."]
    return [*reasons, f"{arithmetic}; another JPEG decoder gives pixels that differ by one or two grey levels."]


def _report(
    benchmark: str, method: PublishedMethod, split: str, partial: bool, limit: int | None, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    manifest = load_manifest(benchmark)
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchmark": benchmark,
        "split": split,
        "method": method.id,
        "title": method.title,
        "partial": partial,
        "limit": limit,
        "versions": json.loads(rows[0]["card"]["versions"]),
        "manifest_sha256": hashlib.sha256(manifest.model_dump_json().encode()).hexdigest(),
        "expected_results_sha256": file_sha256(),
        "archives": {archive.name: archive.hashes for archive in manifest.archives},
        "rows": rows,
    }


def _write(report: dict[str, Any], base: Path) -> tuple[Path, ...]:
    texts = {".json": json.dumps(report, indent=1) + "\n", ".md": to_document(report)}
    paths = []
    for suffix, text in texts.items():
        path = base.with_name(base.name + suffix)
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")
        paths.append(path)
    return tuple(paths)


def to_document(report: dict[str, Any]) -> str:
    """Return a report as Markdown: the table, why each figure may differ, and every hash."""
    shown = pd.DataFrame(report["rows"])[list(_COLUMNS)].rename(columns=_COLUMNS)
    parts = [
        f"# {report['title']} on {report['benchmark']}, {report['split']}\n",
        to_markdown(shown),
        f"Made {report['made']}; mIoU in percent, expected figures from `{expected_file().name}`.\n",
    ]
    for row in report["rows"]:
        card = row["card"]
        hashes = {
            "encoder": f"{card['encoder']} {card['encoder_fingerprint']}",
            "saliency": f"{card['saliency_source']} {card['saliency_fingerprint']}",
            "labels": card["labels_sha256"],
            "ids of the images": row["image_ids_sha256"],
            "counts of true pixels": row["truth_sha256"],
            "this run": card["key"],
        }
        parts += [
            f"## {row['row']}\n",
            f"Expected {row['expected_percent']:.2f} % ({row['source']}), got {row['got_percent']:.2f} % (95 %: "
            f"{row['low_percent']:.2f} to {row['high_percent']:.2f}): {row['verdict']}.\n",
            "Possible reasons for a difference:\n\n" + "".join(f"- {reason}\n" for reason in row["why_it_may_differ"]),
            to_markdown(pd.DataFrame({"what": list(hashes), "name and sha256": list(hashes.values())})),
            f"Configuration: `{card['config']}`\n\nProtocol: `{card['protocol_card']}`\n",
        ]
    facts = {name: report[name] for name in ("manifest_sha256", "expected_results_sha256")}
    facts |= {f"archive {name}": json.dumps(hashes) for name, hashes in report["archives"].items()}
    facts |= {f"version of {name}": version for name, version in report["versions"].items()}
    parts += ["## Data and versions\n", to_markdown(pd.DataFrame({"what": list(facts), "value": list(facts.values())}))]
    return "\n".join(parts)
