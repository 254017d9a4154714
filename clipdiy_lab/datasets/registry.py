"""Datasets by name: the embedded one, the benchmarks that a manifest describes, and user-provided folders."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from clipdiy_lab.datasets import formats
from clipdiy_lab.datasets.disk import is_folder
from clipdiy_lab.datasets.formats import Request
from clipdiy_lab.datasets.layouts import check_ids, find_root, is_here, read_ids, split_of
from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.datasets.manifests import load_manifest, manifest_names
from clipdiy_lab.datasets.readers import FileDataset
from clipdiy_lab.datasets.readers_folder import open_folder
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import DatasetError, nearest, spelled

_OVERRIDES = ("image", "mask", "annotations", "folder", "list")


def open_dataset(name: str | os.PathLike[str] = "scenes", split: str = "val", **options: Any) -> Dataset:
    """Open a dataset by name or path.

    Parameters
    ----------
    name : str or path
        A name of `list_datasets`; your own folder with `images/`, `masks/` and `classes.txt`; or your own manifest, a
        `.yaml` file.
    split : str
        Split to open. Your own folder has no splits.
    **options
        For `scenes`: ``vocabulary`` ("voc", "coco" or "open"), ``length``, ``seed``. For benchmarks, those of
        `open_benchmark`: mainly ``root``, the folder of the dataset if it is not in the data folder, ``names`` and
        ``partial``.

    Returns
    -------
    Dataset
        Only names and lists are read until a sample is requested.

    Raises
    ------
    DatasetError
        For an unknown name, split or option, or if the root is missing or incomplete.

    Examples
    --------
    >>> dataset = open_dataset("scenes", split="val")
    >>> len(dataset), dataset.label_names[:3]
    (200, ('background', 'aeroplane', 'bicycle'))
    """
    if not isinstance(name, str | os.PathLike):
        raise DatasetError(f"name is {spelled(name)}; expected the name of a dataset, such as 'scenes', or a path.")
    reference = os.fspath(name)
    if reference == "scenes":
        _check_options(reference, Scenes, options)
        return Scenes(split=split, **options)
    if reference in manifest_names() or Path(reference).suffix in (".yaml", ".yml"):
        _check_options(reference, open_benchmark, options)
        return open_benchmark(load_manifest(reference), split, **options)
    if not isinstance(name, str) or os.sep in reference or "/" in reference or is_folder(Path(reference)):
        if options or split != "val":
            extra = ", ".join(options) or f"split={split!r}"
            raise DatasetError(f"The folder {reference!r} was opened with {extra}. Your own folder takes neither.")
        return open_folder(reference)
    raise DatasetError(
        f"There is no dataset {reference!r}. {nearest(reference, manifest_names())} "
        "To use your own folder, give its path, such as './mine'."
    )


def open_benchmark(
    manifest: Manifest,
    split: str = "val",
    *,
    root: str | os.PathLike[str] | None = None,
    names: str | None = None,
    ids: Sequence[str] | str | os.PathLike[str] | None = None,
    partial: bool = False,
    source: str = "auto",
    filter: str | None = "auto",
    **overrides: Any,
) -> FileDataset:
    """Open a benchmark that lies on disk.

    Parameters
    ----------
    manifest : Manifest
        What it is.
    split : str
        Which part.
    root : path, optional
        Where it is: the folder that the manifest's layout starts from, or one that holds it under the
        manifest's `root`. Default: below `data_folder`.
    names : str, optional
        Take the label names of a variant, such as "clip_dinoiser".
    ids : sequence of str, or path of a list file, optional
        Only these samples, in this order.
    partial : bool
        Take what is there: leave out samples with a missing file, and do not insist on the manifest's count.
    source : {"auto", "masks", "json"}
        Where Pascal Context's masks come from; "auto" takes converted masks where there are any.
    filter : {"auto", "official", None}
        Which images of COCO instances are left out: those that the manifest says, those with fewer than 1,000 labelled
        pixels, or none.
    **overrides
        `image`, `mask`, `annotations` (templates), `folder` and `list` of another layout.

    Returns
    -------
    FileDataset
        Its `manifest` is the one it was opened by.

    Raises
    ------
    DatasetError
        Unknown split or option; files that are missing; ids that stand twice; another number of images.
    """
    split_of(manifest, split)
    manifest = _adapted(manifest, split, overrides)
    place = find_root(manifest, root)
    wanted = read_ids(Path(ids)) if isinstance(ids, str | os.PathLike) else ids
    if wanted is not None:
        check_ids(wanted, "The option ids")
    kind = formats.FORMATS[manifest.reader]
    if filter != "auto" and not kind.filters:
        raise DatasetError(f"The option filter is for COCO instances; {manifest.id!r} has none. Leave it out.")
    return kind.open(manifest, Request(split, place, names, wanted, partial, source, filter))


def list_datasets() -> pd.DataFrame:
    """List the datasets that can be opened by name.

    Returns
    -------
    pandas.DataFrame
        One row per split: `name`, `title`, `split`, `images` (expected), `labels`, `access` ("embedded", "open" or
        "login") and `here`, whether its folders are in the data folder.
    """
    rows = []
    for name in manifest_names():
        manifest = load_manifest(name)
        for split, facts in manifest.splits.items():
            row = {"name": name, "title": manifest.title, "split": split, "images": facts.images}
            row |= {"labels": len(manifest.label_names), "access": manifest.access, "here": is_here(manifest, split)}
            rows.append(row)
    return pd.DataFrame(rows)


def _check_options(name: str, opener: Callable[..., object], options: dict[str, Any]) -> None:
    own = [
        parameter
        for parameter in inspect.signature(opener).parameters
        if parameter not in ("manifest", "split", "overrides")
    ]
    accepted = own if opener is Scenes else [*own, *_OVERRIDES]
    for option in options:
        if option not in accepted:
            raise DatasetError(f"The dataset {name!r} has no option {option!r}. {nearest(option, accepted)}")


def _adapted(manifest: Manifest, split: str, overrides: dict[str, Any]) -> Manifest:
    """Return the manifest with another layout put in, checked like one from a file."""
    content = manifest.model_dump(mode="json")
    for option, value in overrides.items():
        if option not in _OVERRIDES or content["layout"] is None:
            raise DatasetError(f"There is no option {option!r} of {manifest.id!r}. {nearest(option, _OVERRIDES)}")
        part = content["splits"][split] if option in ("folder", "list") else content["layout"]
        part[option] = None if value is None else os.fspath(value)
    try:
        adapted = Manifest.model_validate_json(json.dumps(content)).found_at(manifest.reference)
        problem = formats.problem(adapted)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
    if problem:
        raise DatasetError(f"The layout given for {manifest.id!r} does not fit: {problem}. See layout in its manifest.")
    return adapted
