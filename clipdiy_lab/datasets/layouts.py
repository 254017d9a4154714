"""Which files a split consists of, and whether they are there."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import platformdirs

from clipdiy_lab.datasets.disk import broken_link, explain, is_file, is_folder
from clipdiy_lab.datasets.manifest_schema import Layout, Manifest, Split
from clipdiy_lab.datasets.readers import Entry
from clipdiy_lab.errors import DatasetError, differing, lookalike, nearest
from clipdiy_lab.files import read_text

# What the converters of Cityscapes, COCO-Stuff and iSAID, and of annotation tools, write beside a mask.
_DERIVED: Final = (
    *("_labeltrainids", "_instancetrainids", "_labelids", "_instanceids", "_color", "_colour", "_panoptic"),
    *("_instance_color_rgb", "_instance_id_rgb", "_viz", "_overlay"),
)


class Listing:
    """Cached listings of folders: checking ten thousand files one by one is slow on a network disk."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def names(self, folder: Path) -> frozenset[str]:
        """Return the names in a folder; none if it does not exist."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError) as error:
                broken = broken_link(folder)
                if broken is not None:
                    raise DatasetError(f"The folder {folder} cannot be read: {broken}") from error
                self._names[folder] = frozenset()
            except OSError as error:
                raise DatasetError(f"The folder {folder} cannot be read: {explain(error, folder)}") from error
        return self._names[folder]

    def has(self, path: Path) -> bool:
        """Whether a file exists."""
        return path.name in self.names(path.parent)


def data_folder() -> Path:
    """Folder that datasets are kept in: `$CLIPDIY_LAB_DATA`, or else `data` in the lab's cache. It need not exist."""
    chosen = os.environ.get("CLIPDIY_LAB_DATA", "")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("CLIPDIY_LAB_CACHE", "")
    return (Path(cache).expanduser() if cache else platformdirs.user_cache_path("clipdiy_lab")) / "data"


def find_root(manifest: Manifest, root: str | os.PathLike[str] | None) -> Path:
    """Folder that the manifest's templates start from.

    `root` may be that folder itself, or the data folder that holds it under its usual name; default: `data_folder()`.
    """
    if root is None:
        return data_folder() / (manifest.root or "")
    base = Path(root).expanduser()
    inside = base / (manifest.root or "")
    return inside if is_folder(inside) else base


def split_of(manifest: Manifest, split: str) -> Split:
    """Facts of a split.

    Raises
    ------
    DatasetError
        If the dataset has no such split.
    """
    if split not in manifest.splits:
        raise DatasetError(f"There is no split {split!r} of {manifest.id!r}. {nearest(split, manifest.splits)}")
    return manifest.splits[split]


def is_here(manifest: Manifest, split: str) -> bool:
    """Whether the folders and files of a split are in the data folder; their content is not checked."""
    if manifest.layout is None:
        return True
    layout, facts, root = manifest.layout, split_of(manifest, split), find_root(manifest, None)
    folders = [_fixed_part(fill(template, facts)) for template in (layout.image, layout.mask) if template]
    images, *masks = [is_folder(root / folder) for folder in folders]
    listed = facts.list is None or is_file(root / facts.list)
    annotations = layout.annotations is not None and is_file(root / fill(layout.annotations, facts))
    return images and (annotations or (bool(masks) and all(masks) and listed))


def missing(manifest: Manifest, path: Path) -> DatasetError:
    """Return the error for a file that is missing, or whose name exists in other code points."""
    with contextlib.suppress(OSError):
        twin = lookalike(path.name, os.listdir(path.parent))
        if twin is not None:
            return DatasetError(
                f"{path} is missing, which is part of {manifest.id!r}, but its folder has {twin!a}: "
                f"{differing(path.name, twin)}. Rename the file."
            )
    return DatasetError(
        f"{path} is missing, which is part of {manifest.id!r}: {manifest.title}. "
        f"{_how_to_get(manifest)}, or pass root= the folder that it was extracted to."
    )


def wrong_count(manifest: Manifest, split: str, count: int) -> DatasetError:
    """Return the error for a split of another size."""
    return DatasetError(
        f"The split {split!r} of {manifest.id!r} has {count} images here. Expected {manifest.splits[split].images}; "
        f"the dataset is only partly extracted, or its list is a different one. {_how_to_get(manifest)}, "
        "or pass partial=True to use the images that are present."
    )


def _how_to_get(manifest: Manifest) -> str:
    if not manifest.archives:
        return "Put it there (its manifest names nothing to fetch)"
    return f"Run `clipdiy-lab data fetch {shlex.quote(manifest.reference)}`"


def fill(template: str, facts: Split, **values: str) -> str:
    """Put a split's folder, and other values, into a template."""
    filled = template.replace("{folder}", facts.folder or "")
    for key, value in values.items():
        filled = filled.replace("{" + key + "}", value)
    return filled


def read_ids(path: Path) -> list[str]:
    """Ids of a list file, one per line; empty lines do not count, nor does a missing end of the last line.

    Raises
    ------
    DatasetError
        If it cannot be read, holds no id, one twice, or lines that are no ids.
    """
    try:
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DatasetError(f"The list {path} cannot be read: {explain(error, path)}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"The list {path} cannot be read: {error}. Expected a text file with one id per line."
        ) from error
    ids = [line.strip() for line in lines]
    for number, image_id in enumerate(ids, start=1):
        if len(image_id.split()) > 1:
            raise DatasetError(
                f"{path}, line {number}, is {image_id[:60]!r}. Expected one id per line, such as 2007_000033."
            )
    ids = [image_id for image_id in ids if image_id]
    check_ids(ids, f"The list {path}")
    return ids


def check_ids(ids: Sequence[str], origin: str) -> None:
    """Refuse no ids at all, an id that stands twice, and one that leads out of the dataset's folder.

    Raises
    ------
    DatasetError
        With `origin`, a capitalised phrase, as the one to blame.
    """
    if not ids:
        raise DatasetError(f"{origin} lists no images. Expected at least one id; download the dataset again.")
    twice = [image_id for image_id, times in Counter(ids).items() if times > 1]
    if twice:
        raise DatasetError(
            f"{origin} names {twice[0]!r} {ids.count(twice[0])} times ({len(twice)} ids in all are not unique). "
            "Expected each once, because duplicates would count twice in a score; remove them."
        )
    for image_id in ids:
        path = PurePosixPath(image_id)
        if path.is_absolute() or ".." in path.parts or "\\" in image_id or "\0" in image_id:
            raise DatasetError(
                f"{origin} names {image_id[:60]!r}. Expected a name inside the dataset; use another list."
            )


def mask_entries(
    manifest: Manifest, split: str, root: Path, ids: Sequence[str] | None, partial: bool, seen: Listing | None = None
) -> list[Entry]:
    """Samples of a dataset whose masks are files.

    Parameters
    ----------
    manifest, split
        What to look for.
    root : Path
        Where.
    ids : sequence of str or None
        Only these, in this order; default: the split's list, or else every image of its folder, ordered by path.
    partial : bool
        Leave out what is not there, and take any number.

    Raises
    ------
    DatasetError
        If a file is missing, an id stands twice, or there are not as many images as there should be.
    """
    seen = seen or Listing()
    layout, facts = manifest.layout, split_of(manifest, split)
    if layout is None or layout.mask is None:
        raise DatasetError(f"The manifest {manifest.id!r} has no template for masks: give layout.mask in it.")
    wanted, groups = list(ids) if ids is not None else None, {}
    if wanted is None and facts.list is not None:
        if not seen.has(root / facts.list):
            raise missing(manifest, root / facts.list)
        wanted = read_ids(root / facts.list)
    if wanted is None or "{group}" in layout.image:
        groups = _look(layout, facts, root, seen, images_only=partial)
    if wanted is None:
        wanted = [image_id for image_id, _ in sorted(groups.items(), key=lambda pair: _place(layout, facts, *pair))]
        if not wanted:
            raise missing(manifest, root / _example(layout.image, facts))
    entries = [_entry(layout, facts, root, image_id, groups.get(image_id, "")) for image_id in wanted]
    complete = [_complete(manifest, entry, seen, partial) for entry in entries]
    entries = [entry for entry, present in zip(entries, complete, strict=True) if present]
    if not entries:
        raise missing(manifest, root / _example(layout.image, facts))
    if ids is None and not partial and len(entries) != facts.images:
        raise wrong_count(manifest, split, len(entries))
    return entries


def _complete(manifest: Manifest, entry: Entry, seen: Listing, partial: bool) -> bool:
    for path in (entry.image, entry.mask):
        if path is not None and not seen.has(path):
            if partial:
                return False
            raise missing(manifest, path)
    return True


def _entry(layout: Layout, facts: Split, root: Path, image_id: str, group: str) -> Entry:
    image, mask = (fill(part or "", facts, group=group, id=image_id) for part in (layout.image, layout.mask))
    return Entry(image_id, root / image, root / mask)


def _place(layout: Layout, facts: Split, image_id: str, group: str) -> str:
    return fill(layout.image, facts, group=group, id=image_id)


def _look(layout: Layout, facts: Split, root: Path, seen: Listing, images_only: bool) -> dict[str, str]:
    """Id -> group of every image, and of every mask: a mask without image is a sign of half an extraction."""
    group_of: dict[str, str] = {}
    for template in (layout.image,) if images_only else (layout.image, layout.mask or ""):
        pairs = [pair for pair in _ids_in(fill(template, facts), root, seen) if not derived(pair[0], group_of)]
        check = Counter(image_id for image_id, _ in pairs)
        twice = [image_id for image_id, times in check.items() if times > 1]
        if twice:
            raise DatasetError(
                f"In {root / _fixed_part(fill(template, facts))} the id {twice[0]!r} occurs {check[twice[0]]} times, "
                "in different folders. Expected each once; remove the others."
            )
        group_of |= dict(pairs)
    return group_of


def derived(stem: str, images: Container[str]) -> bool:
    """Whether a mask was made from the mask of one of the images by a converter, and is no sample of its own.

    Examples
    --------
    >>> derived("street_labelTrainIds", {"street"}), derived("street_color", {"street_color", "street"})
    (True, False)
    """
    endings = [ending for ending in _DERIVED if stem.lower().endswith(ending)]
    return stem not in images and any(stem[: -len(ending)] in images for ending in endings)


def _ids_in(template: str, root: Path, seen: Listing) -> Iterable[tuple[str, str]]:
    path = PurePosixPath(template)
    before, _, after = path.name.partition("{id}")
    groups = [""]
    if "{group}" in template:
        above = root / _fixed_part(template)
        groups = sorted(name for name in seen.names(above) if is_folder(above / name))
    for group in groups:
        for name in seen.names(root / str(path.parent).replace("{group}", group)):
            inside = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
            if inside and not name.startswith("."):
                yield name[len(before) : len(name) - len(after)], group


def _fixed_part(template: str) -> str:
    """Folders of a template up to the first that is not fixed."""
    return template.partition("{")[0].rpartition("/")[0]


def _example(template: str, facts: Split) -> str:
    return fill(template, facts).replace("{id}", "*").replace("{group}", "*").replace("{file_name}", "*")
