"""User-provided folders with `images/`, `masks/` and `classes.txt`, and a report of all problems in one."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from clipdiy_lab.datasets.checks import Finding, label_findings, name_errors, name_findings
from clipdiy_lab.datasets.colour_tables import ColourTable, table_of_palette
from clipdiy_lab.datasets.disk import broken_link, explain, is_folder
from clipdiy_lab.datasets.images import ENDINGS
from clipdiy_lab.datasets.layouts import derived
from clipdiy_lab.datasets.palette import count_values, read_indices
from clipdiy_lab.datasets.readers import Entry, MaskDataset, identity
from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import DatasetError, differing, lookalike
from clipdiy_lab.files import read_text

IMAGES, MASKS, CLASSES = "images", "masks", "classes.txt"
_CLUTTER: Final = frozenset({"thumbs.db", "desktop.ini"})
_HINT: Final = (
    "Your own folder holds images/ (JPEG, PNG, ...), masks/ (a PNG of the same name for each, whose palette "
    f"indices or gray levels are labels, {IGNORE} = ignore) and classes.txt (line n, from 0, names label n)."
)


class FolderDataset(MaskDataset):
    """User-provided folder. Its colour table is the palette of its first mask, if that has one."""

    @cached_property
    def _colours(self) -> ColourTable | None:
        first, palette = self._entries[0].mask, None
        with contextlib.suppress(DatasetError):  # said when that mask is asked for
            palette = None if first is None else read_indices(first)[1]
        return None if palette is None else table_of_palette(palette, f"the mask {first}")


@dataclass(frozen=True)
class _Problem(Finding):
    """A finding about one file of a folder.

    Parameters
    ----------
    file : str
        Relative to the folder.
    """

    file: str


def open_folder(folder: str | os.PathLike[str]) -> FolderDataset:
    """Open a user-provided folder.

    Parameters
    ----------
    folder : path
        Holds `images/`, `masks/` and `classes.txt`. Samples come in the order of their names. Names and pairs are
        checked now, pixels when a sample is read; `validate_folder` checks everything at once.

    Raises
    ------
    DatasetError
        With the first thing that is wrong, and how many there are.
    """
    root = Path(folder).expanduser()
    names, entries, problems = _survey(root)
    if problems:
        first = problems[0]
        others = f" {len(problems) - 1} more: see lab.validate_folder." if len(problems) > 1 else ""
        raise DatasetError(f"{root / first.file}: {first.text}{others} {_HINT}")
    return _dataset(root, names, entries)


def validate_folder(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Report all errors and possible problems in your own dataset folder.

    Every image and mask is read.

    Parameters
    ----------
    folder : path
        As for `open_folder`.

    Returns
    -------
    pandas.DataFrame
        One row per finding: `file` (relative to the folder), `problem` and `level`. An "error" must be fixed: the
        folder cannot be opened or read, or its content is certainly wrong. A "warning" may be intended: a label that
        occurs nowhere, a background that scoring does not find by itself. If there are no problems, the table is empty.
    """
    root = Path(folder).expanduser()
    names, entries, problems = _survey(root)
    if names and len(names) <= IGNORE and entries:
        problems += _read_all(root, _dataset(root, names, entries), entries, complete=not problems)
    problems += [_Problem(finding.level, finding.text, CLASSES) for finding in name_findings(names)]
    rows = [(problem.file, problem.text, problem.level) for problem in problems]
    return pd.DataFrame(sorted(rows), columns=["file", "problem", "level"])


def _dataset(root: Path, names: list[str], entries: list[Entry]) -> FolderDataset:
    return FolderDataset(root.resolve().name, names, entries, identity(len(names)), upright=True)


def _survey(root: Path) -> tuple[list[str], list[Entry], list[_Problem]]:
    """Return the class names, the pairs of files, and the problems of both."""
    try:
        exists = is_folder(root)
    except DatasetError as error:
        return [], [], [_Problem("error", str(error), ".")]
    if not exists:
        broken = broken_link(root)
        missing = "This folder does not exist. Check the path." if broken is None else f"It cannot be read: {broken}"
        return [], [], [_Problem("error", missing, ".")]
    names, problems = _class_names(root)
    images, faults = _by_stem(root, IMAGES, ENDINGS)
    problems += faults
    masks, faults = _by_stem(root, MASKS, frozenset({".png"}))
    problems += faults
    masks = {stem: name for stem, name in masks.items() if not derived(stem, images)}
    pairs = sorted(images.keys() & masks.keys())
    entries = [Entry(stem, root / IMAGES / images[stem], root / MASKS / masks[stem]) for stem in pairs]
    return names, entries, problems + _without_partner(images, masks)


def _without_partner(images: dict[str, str], masks: dict[str, str]) -> list[_Problem]:
    """Images without mask and masks without image; one problem where their names only look the same."""
    problems = []
    lonely = masks.keys() - images.keys()
    for stem in sorted(images.keys() - masks.keys()):
        file, twin = f"{IMAGES}/{images[stem]}", lookalike(stem, lonely)
        if twin is None:
            problems.append(_Problem("error", f"It has no mask: there is no {MASKS}/{stem}.png.", file))
        else:
            lonely = lonely - {twin}
            message = f"Its mask is named otherwise: {differing(stem, twin)}. Rename one of the two."
            problems.append(_Problem("error", message, file))
    for stem in sorted(lonely):
        message = f"It has no image: there is no {IMAGES}/{stem}.jpg, .png, ..."
        problems.append(_Problem("error", message, f"{MASKS}/{masks[stem]}"))
    return problems


def _class_names(root: Path) -> tuple[list[str], list[_Problem]]:
    try:
        names = read_text(root / CLASSES, encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        lost = isinstance(error, FileNotFoundError) and broken_link(root / CLASSES) is None
        message = "This file is missing." if lost else f"It cannot be read: {explain(error, root / CLASSES)}"
        return [], [_Problem("error", message, CLASSES)]
    except UnicodeDecodeError as error:
        return [], [_Problem("error", f"It cannot be read as UTF-8 text: {error}.", CLASSES)]
    names = [name.strip() for name in names]
    texts = [] if names else ["It is empty. Expected one class name per line."]
    if len(names) > IGNORE:
        texts.append(f"It has {len(names)} lines. Expected at most {IGNORE}, as masks are bytes.")
    texts += [finding.text for finding in name_errors(names)]
    return names, [_Problem("error", text, CLASSES) for text in texts]


def _by_stem(root: Path, part: str, endings: frozenset[str]) -> tuple[dict[str, str], list[_Problem]]:
    """Stem -> file name of the files in `images/` or `masks/`."""
    try:
        files = sorted(os.listdir(root / part))
    except OSError as error:
        return {}, [_Problem("error", f"This folder cannot be listed: {explain(error, root / part)}", part)]
    groups: dict[str, list[str]] = defaultdict(list)
    problems = []
    for name in files:
        if name.startswith(".") or name.lower() in _CLUTTER:
            continue
        if Path(name).suffix.lower() not in endings or is_folder(root / part / name):
            message = f"It does not belong here. Expected files of {_listed(endings)} only."
            problems.append(_Problem("error", message, f"{part}/{name}"))
        else:
            groups[Path(name).stem].append(name)
    if not groups and not problems:
        problems.append(_Problem("error", "This folder is empty. Expected one file per sample.", part))
    for stem, same in groups.items():
        if len(same) > 1:
            message = f"The id {stem!r} occurs twice: {' and '.join(same)}. Keep one."
            problems.append(_Problem("error", message, f"{part}/{same[1]}"))
    return {stem: same[0] for stem, same in groups.items()}, problems


def _listed(endings: frozenset[str]) -> str:
    return ", ".join(sorted(endings))


def _read_all(root: Path, dataset: FolderDataset, entries: list[Entry], complete: bool) -> list[_Problem]:
    """Read every image and mask; return the problems of the files and of their labels.

    `complete`: no mask is missing. Masks that are missing or cannot be read may hold labels that occur nowhere else.
    """
    problems = []
    counts = np.zeros(IGNORE + 1, dtype=np.int64)
    for index, entry in enumerate(entries):
        try:
            image = dataset.image(index)
        except DatasetError as error:
            problems.append(_Problem("error", str(error), _relative(entry.image, root)))
            image = None
        try:
            mask = dataset.mask(index)
        except DatasetError as error:
            problems.append(_Problem("error", str(error), _relative(entry.mask, root)))
            continue
        counts += count_values(mask)
        if image is not None and image.shape[:2] != mask.shape:
            (height, width), (tall, wide) = image.shape[:2], mask.shape
            message = f"The mask is {wide} x {tall}, its image {width} x {height}. Expected the same size."
            problems.append(_Problem("error", message, _relative(entry.mask, root)))
    names = dataset.label_names
    whole = complete and not problems
    findings = label_findings(names, counts[: len(names)], int(counts[IGNORE]), whole=whole)
    return problems + [_Problem(finding.level, finding.text, MASKS) for finding in findings]


def _relative(path: Path | None, root: Path) -> str:
    return "." if path is None else path.relative_to(root).as_posix()
