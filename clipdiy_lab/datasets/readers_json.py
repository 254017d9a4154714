"""Masks drawn from annotation files when a sample is read: COCO instances, and Pascal Context's merged JSON."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from clipdiy_lab.datasets.disk import explain
from clipdiy_lab.datasets.images import MAX_PIXELS
from clipdiy_lab.datasets.layouts import Listing, check_ids, fill, missing, split_of, wrong_count
from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.datasets.readers import OUTSIDE, Entry, FileDataset, lookup_of
from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import open_file

FEWEST_LABELLED: Final = 1000  # pixels; the official code drops images with fewer
_FARTHEST: Final = 65_535  # a polygon's memory grows with its length, so a far corner would eat it all

Facts = dict[str, Any]


class JsonDataset(FileDataset):
    """Images whose masks are drawn from one JSON file, which is read once.

    Parameters
    ----------
    manifest : Manifest
        With `category_map` and `layout.annotations`.
    split : str
    root : Path
    names : str or None
        Variant of the label names.
    ids : sequence of str or None
        Only these, in this order; default: all, in the order that `_ordered` gives.
    partial : bool
        Leave out images that are not there, and take any number.

    Raises
    ------
    DatasetError
        If the file or an image is missing, or the file is not what it should be.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        root: Path,
        *,
        names: str | None = None,
        ids: Sequence[str] | None = None,
        partial: bool = False,
    ) -> None:
        layout, facts = manifest.layout, split_of(manifest, split)
        if layout is None or layout.annotations is None or manifest.category_map is None:
            raise DatasetError(f"The manifest {manifest.id!r} has no annotations or category_map; give both in it.")
        self.annotations = root / fill(layout.annotations, facts)
        self._category_map = manifest.category_map.table
        seen = Listing()
        if not seen.has(self.annotations):
            raise missing(manifest, self.annotations)
        content = _load(self.annotations, self._tables, self._image_key)
        pictures = {_stem(picture["file_name"]): picture for picture in self._ordered(content, split)}
        check_ids([picture["file_name"] for picture in pictures.values()], f"The split {split!r} of {self.annotations}")
        if ids is None and not partial and len(pictures) != facts.images:
            raise wrong_count(manifest, split, len(pictures))
        entries = []
        for image_id in _chosen(pictures, ids, self.annotations):
            file_name = pictures[image_id]["file_name"]
            path = root / fill(layout.image, facts, file_name=file_name, id=image_id)
            if seen.has(path):
                entries.append(Entry(image_id, path, None))
            elif not partial:
                raise missing(manifest, path)
        self._pictures = {entry.id: pictures[entry.id] for entry in entries}
        self._of_image = self._grouped(content)
        name = f"{manifest.id}-{split}"
        super().__init__(name, manifest.names(names), self._kept(entries), lookup_of(manifest), manifest=manifest)

    _tables: tuple[str, str]  # names of the tables of images and of annotations
    _image_key: str

    @abstractmethod
    def _ordered(self, content: Facts, split: str) -> list[Facts]:
        """Pictures of a split, in the order in which the dataset counts them."""

    def _kept(self, entries: list[Entry]) -> list[Entry]:
        return entries

    def _grouped(self, content: Facts) -> dict[Any, list[Facts]]:
        groups: dict[Any, list[Facts]] = {picture[self._image_key]: [] for picture in self._pictures.values()}
        for annotation in content[self._tables[1]]:
            if annotation["image_id"] in groups:
                groups[annotation["image_id"]].append(annotation)
        return groups

    def _instances(self, entry: Entry) -> list[tuple[int, Any]]:
        """(category, run lengths) of a sample's annotations, in the order of the file."""
        facts = self._pictures[entry.id]
        height, width = facts["height"], facts["width"]
        instances = []
        for annotation in self._of_image[facts[self._image_key]]:
            where = f"the annotation {annotation.get('id')!r} of {self.annotations}"
            instances.append(
                (annotation["category_id"], run_lengths(annotation.get("segmentation"), height, width, where))
            )
        return instances

    def _blank(self, entry: Entry) -> NDArray[np.int32]:
        facts = self._pictures[entry.id]
        return np.zeros((facts["height"], facts["width"]), dtype=np.int32)

    def _origin(self, entry: Entry) -> str:
        return f"the annotation of {entry.id!r} in {self.annotations}"


class CocoInstances(JsonDataset):
    """COCO instances drawn the way the official CLIP-DIY code does.

    The first annotation wins, in the order of the file; crowds are kept; a category that the manifest does not name is
    left out; every other pixel is background.

    Parameters
    ----------
    *args, **options
        As for `JsonDataset`.
    filter : {"official", None}
        "official" drops images with fewer than 1,000 labelled pixels; None keeps all.
    """

    _tables = ("images", "annotations")
    _image_key = "id"

    def __init__(self, *args: Any, filter: str | None = "official", **options: Any) -> None:
        if filter not in ("official", None):
            raise DatasetError(f"There is no filter {filter!r}. Expected 'official' (1,000 labelled pixels) or None.")
        self.filter = filter
        super().__init__(*args, **options)

    def _ordered(self, content: Facts, split: str) -> list[Facts]:
        pictures: list[Facts] = content["images"]
        check_ids([_stem(picture["file_name"]) for picture in pictures], f"The file {self.annotations}")
        return pictures

    def _kept(self, entries: list[Entry]) -> list[Entry]:
        """Entries that pass the filter; areas of run lengths tell it exactly, without drawing a mask."""
        if self.filter is None:
            return entries
        kept = [entry for entry in entries if self._labelled(entry) >= FEWEST_LABELLED]
        if entries and not kept:
            raise DatasetError(
                f"Each of the {len(entries)} images of {self.annotations} has fewer than {FEWEST_LABELLED} labelled "
                "pixels, so the official filter drops them all. Pass filter=None to keep them."
            )
        return kept

    def _labelled(self, entry: Entry) -> int:
        drawn = [lengths for category, lengths in self._instances(entry) if self._category_map.get(category)]
        return sum(unpack_counts(coco.merge(drawn)["counts"].decode())[1::2]) if drawn else 0

    def _raw(self, entry: Entry) -> NDArray[np.uint8]:
        mask = self._blank(entry)
        for category, lengths in self._instances(entry):
            label = self._category_map.get(category, 0)
            if label:
                mask[(mask == 0) & drawn_from(lengths)] = label
        return mask.astype(np.uint8)


class ContextJson(JsonDataset):
    """Pascal Context straight from `trainval_merged.json`: a later annotation covers an earlier one."""

    _tables = ("images", "annos_segmentation")
    _image_key = "image_id"

    def _ordered(self, content: Facts, split: str) -> list[Facts]:
        pictures = [picture for picture in content["images"] if picture.get("phase") == split]
        check_ids([_stem(picture["file_name"]) for picture in pictures], f"The split {split!r} of {self.annotations}")
        return sorted(pictures, key=lambda picture: _stem(picture["file_name"]))

    def _raw(self, entry: Entry) -> NDArray[np.uint8]:
        drawn = self._blank(entry)
        for category, lengths in self._instances(entry):
            drawn[drawn_from(lengths)] = category
        mask = np.full(drawn.shape, OUTSIDE, dtype=np.int16)
        for category in np.unique(drawn):
            if int(category) not in self._category_map:
                raise DatasetError(
                    f"In {self._origin(entry)} there is the category {category}. Expected one of the "
                    f"{len(self._category_map)} of the merged labels; download trainval_merged.json again."
                )
            mask[drawn == category] = self._category_map[int(category)]
        return mask.astype(np.uint8)


def run_lengths(segmentation: object, height: int, width: int, where: str) -> Any:
    """Compressed run lengths of an annotation, whichever way it was written down.

    Checked here, because the C code behind it believes what it is given: runs that are too few decode to whatever the
    memory held before.

    Raises
    ------
    DatasetError
        If it is neither polygons nor run lengths of an image of this size; `where` says which one.
    """
    if isinstance(segmentation, list) and segmentation and all(_is_polygon(part) for part in segmentation):
        return coco.merge(coco.frPyObjects(segmentation, height, width))
    if isinstance(segmentation, dict) and segmentation.get("size") == [height, width]:
        counts = segmentation.get("counts")
        runs = unpack_counts(counts) if isinstance(counts, str) else counts
        if isinstance(runs, list) and _fills(runs, height * width):
            return coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    raise DatasetError(
        f"In {where} the segmentation is {str(segmentation)[:60]!r}. Expected polygons or run lengths of an image of "
        f"{width} x {height}; download the annotations again."
    )


def unpack_counts(text: str) -> list[int]:
    """Run lengths from COCO's text form: five bits a character; the fourth run and later ones relative to two before.

    Examples
    --------
    >>> unpack_counts("52203")
    [5, 2, 2, 2, 5]
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def drawn_from(lengths: Any) -> NDArray[np.bool_]:
    """Pixels that compressed run lengths stand for; pycocotools' own decoder warns with every NumPy from 2.0 on."""
    height, width = lengths["size"]
    runs = unpack_counts(lengths["counts"].decode())
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _fills(runs: list[Any], pixels: int) -> bool:
    return all(type(run) is int and run >= 0 for run in runs) and sum(runs) == pixels


def _is_polygon(part: object) -> bool:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        return False
    # `nan` compares as false, so it is refused as well.
    return all(isinstance(value, int | float) and abs(value) <= _FARTHEST for value in part)


def _stem(file_name: str) -> str:
    return Path(file_name).stem


def _chosen(pictures: dict[str, Facts], ids: Sequence[str] | None, path: Path) -> Sequence[str]:
    if ids is None:
        return list(pictures)
    unknown = next((image_id for image_id in ids if image_id not in pictures), None)
    if unknown is not None:
        raise DatasetError(f"The id {unknown!r} is not in {path}. Expected ids such as {next(iter(pictures), '')!r}.")
    return ids


def _load(path: Path, tables: tuple[str, str], image_key: str) -> Facts:
    """Content of an annotation file, its two tables checked as far as the readers rely on them."""
    try:
        with open_file(path) as file:
            content = json.load(file)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {explain(error, path)}") from error
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or no text
        raise DatasetError(
            f"{path} cannot be read: {error}. Expected a complete JSON file; download it again."
        ) from error
    for table in tables:
        rows = content.get(table) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DatasetError(
                f"{path} has no table {table!r}. Expected the annotation file of the dataset; check its name."
            )
    for row in content[tables[0]]:
        sides = (row.get("height"), row.get("width"))
        named = isinstance(row.get("file_name"), str) and type(row.get(image_key)) is int
        sized = all(type(side) is int and 0 < side <= _FARTHEST for side in sides)
        if not named or not sized or sides[0] * sides[1] > MAX_PIXELS:
            raise DatasetError(
                f"{path} has an image {str(row)[:80]}. Expected {image_key}, file_name, height and width of each, and "
                f"at most {MAX_PIXELS} pixels."
            )
    if len({row[image_key] for row in content[tables[0]]}) != len(content[tables[0]]):
        raise DatasetError(f"{path} gives two images the same {image_key}. Expected each once; download it again.")
    for row in content[tables[1]]:
        if type(row.get("category_id")) is not int or type(row.get("image_id")) is not int:
            raise DatasetError(
                f"{path} has an annotation {str(row)[:80]}. Expected image_id and category_id, both whole numbers."
            )
    return content  # type: ignore[no-any-return]
