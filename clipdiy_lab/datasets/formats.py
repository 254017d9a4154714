"""Annotation formats: what each asks of a manifest, and what opens it. One entry per format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from clipdiy_lab.datasets.disk import is_folder
from clipdiy_lab.datasets.layouts import mask_entries
from clipdiy_lab.datasets.manifest_schema import Layout, Manifest
from clipdiy_lab.datasets.readers import FileDataset, MaskDataset, lookup_of
from clipdiy_lab.datasets.readers_json import CocoInstances, ContextJson
from clipdiy_lab.errors import DatasetError, nearest

_SOURCES: Final = ("auto", "masks", "json")


@dataclass(frozen=True)
class Request:
    """What is asked of a dataset, checked against its manifest; see `registry.open_benchmark`."""

    split: str
    root: Path
    names: str | None
    ids: Sequence[str] | None
    partial: bool
    source: str
    filter: str | None


@dataclass(frozen=True)
class Format:
    """An annotation format.

    Attributes
    ----------
    open : callable
        Takes a `Manifest` and a `Request`, gives a `FileDataset`.
    needs : tuple of str
        Fields of the manifest without which it cannot be opened; a dot leads into `layout`.
    placeholder : str
        What the templates of images and masks must hold.
    filters : bool
        Whether images can be left out by their annotations (the option `filter`).
    on_disk : bool
        Whether it consists of files.
    """

    open: Callable[[Manifest, Request], FileDataset]
    needs: tuple[str, ...] = ()
    placeholder: str = "{id}"
    filters: bool = False
    on_disk: bool = True


def _masks(manifest: Manifest, request: Request) -> FileDataset:
    entries = mask_entries(manifest, request.split, request.root, request.ids, request.partial)
    name, labels = f"{manifest.id}-{request.split}", manifest.names(request.names)
    return MaskDataset(name, labels, entries, lookup_of(manifest), manifest=manifest)


def _coco_instances(manifest: Manifest, request: Request) -> FileDataset:
    kept = manifest.filter if request.filter == "auto" else request.filter
    place = (manifest, request.split, request.root)
    return CocoInstances(*place, filter=kept, names=request.names, ids=request.ids, partial=request.partial)


def _context(manifest: Manifest, request: Request) -> FileDataset:
    """Masks that somebody converted, or the annotation file that they are made from."""
    source, layout = request.source, manifest.layout
    if source not in _SOURCES:
        raise DatasetError(f"There is no source {source!r} of {manifest.id!r}. {nearest(source, _SOURCES)}")
    converted = layout is not None and layout.mask is not None and is_folder((request.root / layout.mask).parent)
    if source == "masks" or (source == "auto" and converted):
        return _masks(manifest, request)
    place = (manifest, request.split, request.root)
    return ContextJson(*place, names=request.names, ids=request.ids, partial=request.partial)


def _scenes(manifest: Manifest, request: Request) -> NoReturn:
    raise DatasetError("Your own manifest cannot use the reader 'scenes'; use open_dataset('scenes').")


FORMATS: Final[Mapping[str, Format]] = {
    "masks": Format(_masks, needs=("layout.mask",)),
    "coco_instances": Format(
        _coco_instances, needs=("layout.annotations", "category_map"), placeholder="{file_name}", filters=True
    ),
    "context": Format(_context, needs=("layout.annotations", "category_map", "layout.mask")),
    "scenes": Format(_scenes, on_disk=False),
}
"""Value of a manifest's field `reader` to the format."""


def problem(manifest: Manifest) -> str | None:
    """What a manifest lacks for its format to be opened; None if nothing."""
    kind = FORMATS.get(manifest.reader)
    if kind is None:
        return f"there is no reader {manifest.reader!r}. {nearest(manifest.reader, FORMATS)}".rstrip(".")
    if not kind.on_disk:
        return None
    layout = manifest.layout
    if manifest.root is None or layout is None:
        return f"root and layout are needed by the reader {manifest.reader!r}"
    lacking = [name for name in kind.needs if not _has(manifest, layout, name)]
    if lacking:
        return (
            f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} needed by the reader {manifest.reader!r}"
        )
    if any(kind.placeholder not in template for template in (layout.image, layout.mask) if template is not None):
        return f"layout.image and layout.mask must hold {kind.placeholder}"
    return None


def _has(manifest: Manifest, layout: Layout, name: str) -> bool:
    inside = name.removeprefix("layout.")
    return bool(getattr(manifest if inside == name else layout, inside))
