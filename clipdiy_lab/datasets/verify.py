"""Whether a benchmark on disk is whole: its archives, its files, its splits, and, on request, every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from clipdiy_lab.datasets import formats
from clipdiy_lab.datasets.disk import is_file, is_folder
from clipdiy_lab.datasets.get import Step, archives_folder, lost_files, plan, read_record
from clipdiy_lab.datasets.layouts import Listing, fill, find_root, is_here, mask_entries, missing, wrong_count
from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.datasets.manifests import load_manifest, manifest_names
from clipdiy_lab.datasets.registry import open_benchmark, open_dataset
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import problem_of
from clipdiy_lab.text import printable


def verify_dataset(manifest: Manifest, *, deep: bool = False, progress: bool = False) -> pd.DataFrame:
    """Check a benchmark in the data folder.

    Parameters
    ----------
    manifest : Manifest
        Which one.
    deep : bool
        Whether to read every image and mask, and to check that both can be decoded and have the same size, and that
        masks contain only valid labels.
    progress : bool
        Whether to show a progress bar on stderr while reading.

    Returns
    -------
    pandas.DataFrame
        One row per archive and per split: `kind` ("archive" or "split"), `name`, `expected` and `found` (bytes of an
        archive, images of a split; missing if unknown, or if an archive was not kept) and `problem`, the
        first problem, or "".

    Notes
    -----
    An archive that was kept is hashed; if it has no published hash, the hash at the time of the download is used. An
    archive that was not kept is not a problem. A split is correct if it has exactly the expected images, each with its
    mask.
    """
    rows = [_archive_row(manifest, step) for step in plan(manifest)]
    rows += [_split_row(manifest, split, deep, progress) for split in manifest.splits]
    return pd.DataFrame(rows).astype({"expected": "Int64", "found": "Int64"})


def where_datasets(manifests: list[Manifest] | None = None) -> pd.DataFrame:
    """Return where datasets are or would be stored.

    Parameters
    ----------
    manifests : list of Manifest, optional
        Which ones; default: all that the lab ships.

    Returns
    -------
    pandas.DataFrame
        One row per dataset: `name`, `state` ("embedded", "complete", "incomplete" or "absent"), `root` and `archives`
        (folders; None for an embedded one). Complete means that all files exist, by name and number; use
        `verify_dataset` to check their content.
    """
    chosen = [load_manifest(name) for name in manifest_names()] if manifests is None else manifests
    rows = []
    for manifest in chosen:
        embedded = manifest.layout is None
        root = None if embedded else str(find_root(manifest, None))
        archives = None if embedded else str(archives_folder())
        rows.append({"name": manifest.id, "state": _state(manifest), "root": root, "archives": archives})
    return pd.DataFrame(rows)


def _archive_row(manifest: Manifest, step: Step) -> dict[str, Any]:
    archive, size, problem = step.archive, None, ""
    if step.kept:
        size, recorded = step.file.stat().st_size, read_record(archive).sha256
        hashes = archive.hashes or ({"sha256": recorded} if recorded else {})
        if wrong := problem_of(step.file, archive.bytes, hashes):
            problem = f"{step.file} {wrong}. Delete it and run `clipdiy-lab data fetch {manifest.reference}`."
    lost = [] if problem else list(lost_files(manifest, archive))
    if lost:
        problem = (
            f"{lost[0]} is missing or of another size, and {len(lost) - 1} more of {archive.name}. Run "
            f"`clipdiy-lab data fetch {manifest.reference}`."
        )
    return {"kind": "archive", "name": archive.name, "expected": archive.bytes, "found": size, "problem": problem}


def _split_row(manifest: Manifest, split: str, deep: bool, progress: bool) -> dict[str, Any]:
    problem, count = "", 0
    try:
        dataset = _open(manifest, split)
        count = len(dataset)
        if deep:
            for index in tqdm(range(count), desc=printable(f"{manifest.id} {split}"), disable=not progress):
                dataset[index]
    except DatasetError as error:
        problem, count = str(error), count or _count(manifest, split)
    expected = manifest.splits[split].images
    return {"kind": "split", "name": split, "expected": expected, "found": count, "problem": problem}


def _open(manifest: Manifest, split: str, partial: bool = False) -> Dataset:
    kind = formats.FORMATS[manifest.reader]
    if not kind.on_disk:
        return open_dataset(manifest.id, split)
    options: dict[str, Any] = {"filter": None} if kind.filters else {}
    return open_benchmark(manifest, split, partial=partial, **options)


def _count(manifest: Manifest, split: str) -> int:
    """Count the complete samples of an incomplete split."""
    try:
        return len(_open(manifest, split, partial=True))
    except DatasetError:
        return 0


def _state(manifest: Manifest) -> str:
    if manifest.layout is None:
        return "embedded"
    root = find_root(manifest, None)
    if not is_folder(root):
        return "absent"
    try:
        for split in manifest.splits:
            _look_at(manifest, split, root)
    except DatasetError:
        return "incomplete"
    return "complete"


def _look_at(manifest: Manifest, split: str, root: Path) -> None:
    """Refuse a split with files missing, without opening an annotation file, which may be large."""
    layout, facts = manifest.layout, manifest.splits[split]
    annotations = layout and layout.annotations and root / fill(layout.annotations, facts)
    if layout is None or not annotations or not is_file(annotations):
        mask_entries(manifest, split, root, None, partial=False)
        return
    if not is_here(manifest, split):
        raise missing(manifest, annotations)
    count = len(Listing().names((root / fill(layout.image, facts)).parent))
    if count < facts.images:
        raise wrong_count(manifest, split, count)
