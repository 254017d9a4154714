"""A folder of one's own: `images/`, `masks/` and `classes.txt`; and a report of everything that is wrong with one."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Final

import pandas as pd

from clipdiy_lab.datasets.palette import read_palette_png
from clipdiy_lab.datasets.readers import Entry, MaskDataset, identity, read_pixels, to_labels
from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import read_text

IMAGES, MASKS, CLASSES = "images", "masks", "classes.txt"
_ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
_CLUTTER: Final = frozenset({"thumbs.db", "desktop.ini"})
_HINT: Final = (
    "A folder of one's own holds images/ (JPEG, PNG, ...), masks/ (a PNG of the same name for each, whose palette "
    f"indices or gray levels are labels, {IGNORE} = ignore) and classes.txt (line n, from 0, names label n)."
)

Problem = tuple[str, str]  # file, relative to the folder, and what is wrong with it


def open_folder(folder: str | os.PathLike[str]) -> MaskDataset:
    """Open a folder of one's own.

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
        file, problem = problems[0]
        others = f" {len(problems) - 1} more: see lab.validate_folder." if len(problems) > 1 else ""
        raise DatasetError(f"{root / file}: {problem}{others} {_HINT}")
    return MaskDataset(root.resolve().name, names, entries, identity(len(names)), upright=True)


def validate_folder(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Report everything that is wrong with a folder of one's own.

    Every image and mask is read.

    Parameters
    ----------
    folder : path
        As for `open_folder`.

    Returns
    -------
    pandas.DataFrame
        One row a problem: `file` (relative to the folder) and `problem`. No rows: all is well.
    """
    root = Path(folder).expanduser()
    names, entries, problems = _survey(root)
    for entry in entries:
        problems += _pixel_problems(root, entry, len(names))
    return pd.DataFrame(sorted(problems), columns=["file", "problem"])


def _survey(root: Path) -> tuple[list[str], list[Entry], list[Problem]]:
    """Class names, pairs of files, and what names and pairs have wrong."""
    if not root.is_dir():
        return [], [], [(".", "This folder does not exist. Check the path.")]
    names, problems = _class_names(root)
    images, found = _by_stem(root, IMAGES, _ENDINGS)
    problems += found
    masks, found = _by_stem(root, MASKS, frozenset({".png"}))
    problems += found
    entries = []
    for stem in sorted(images):
        if stem in masks:
            entries.append(Entry(stem, root / IMAGES / images[stem], root / MASKS / masks[stem]))
        else:
            problems.append((f"{IMAGES}/{images[stem]}", f"It has no mask: there is no {MASKS}/{stem}.png."))
    for stem in sorted(masks.keys() - images.keys()):
        problems.append((f"{MASKS}/{masks[stem]}", f"It has no image: there is no {IMAGES}/{stem}.jpg, .png, ..."))
    return names, entries, problems


def _class_names(root: Path) -> tuple[list[str], list[Problem]]:
    try:
        names = read_text(root / CLASSES, encoding="utf-8-sig").rstrip().splitlines()
    except FileNotFoundError:
        return [], [(CLASSES, "This file is missing.")]
    except (OSError, UnicodeDecodeError) as error:
        return [], [(CLASSES, f"It cannot be read as UTF-8 text: {error}.")]
    names = [name.strip() for name in names]
    problems = []
    if not names:
        problems.append((CLASSES, "It is empty. Expected one class name a line."))
    if len(names) > IGNORE:
        problems.append((CLASSES, f"It has {len(names)} lines. Expected at most {IGNORE}, as masks are bytes."))
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if not name:
            problems.append((CLASSES, f"Line {number + 1} is empty. Expected a class name."))
        elif name in first:
            problems.append(
                (CLASSES, f"Lines {first[name] + 1} and {number + 1} both say {name!r}. Expected each once.")
            )
        first.setdefault(name, number)
    return names, problems


def _by_stem(root: Path, part: str, endings: frozenset[str]) -> tuple[dict[str, str], list[Problem]]:
    """Stem -> file name of the files in `images/` or `masks/`."""
    try:
        files = sorted(os.listdir(root / part))
    except OSError as error:
        return {}, [(part, f"This folder cannot be listed: {error.strerror}.")]
    groups: dict[str, list[str]] = defaultdict(list)
    problems = []
    for name in files:
        if name.startswith(".") or name.lower() in _CLUTTER:
            continue
        if Path(name).suffix.lower() not in endings or (root / part / name).is_dir():
            problems.append((f"{part}/{name}", f"It does not belong here. Expected files of {_listed(endings)} only."))
        else:
            groups[Path(name).stem].append(name)
    if not groups and not problems:
        problems.append((part, "This folder is empty. Expected one file a sample."))
    for stem, same in groups.items():
        if len(same) > 1:
            problems.append((f"{part}/{same[1]}", f"The id {stem!r} occurs twice: {' and '.join(same)}. Keep one."))
    return {stem: same[0] for stem, same in groups.items()}, problems


def _listed(endings: frozenset[str]) -> str:
    return ", ".join(sorted(endings))


def _pixel_problems(root: Path, entry: Entry, count: int) -> list[Problem]:
    problems: list[Problem] = []
    image = mask = None
    try:
        image = read_pixels(entry.image, upright=True)
    except DatasetError as error:
        problems.append((_relative(entry.image, root), str(error)))
    if entry.mask is None:
        return problems
    try:
        mask = read_palette_png(entry.mask)
        to_labels(mask, identity(count), f"the mask {entry.mask}", count)
    except DatasetError as error:
        problems.append((_relative(entry.mask, root), str(error)))
    if image is not None and mask is not None and image.shape[:2] != mask.shape:
        (height, width), (tall, wide) = image.shape[:2], mask.shape
        text = f"The mask is {wide} x {tall}, its image {width} x {height}. Expected the same size."
        problems.append((_relative(entry.mask, root), text))
    return problems


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
