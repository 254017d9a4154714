"""Samples on disk, read one by one when they are asked for, and checked while they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.datasets.colour_tables import ColourTable, table_of_manifest
from clipdiy_lab.datasets.images import read_image
from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.datasets.palette import count_values, read_indices, translate
from clipdiy_lab.datasets.sample import IGNORE, Sample, position
from clipdiy_lab.errors import DatasetError, ImageError

OUTSIDE: Final = -1  # what a lookup table gives for a value that a mask must not hold


@dataclass(frozen=True)
class Entry:
    """The files of a sample.

    Parameters
    ----------
    id : str
        Its name.
    image : Path
        The image.
    mask : Path or None
        The mask; None where it is drawn from annotations.
    """

    id: str
    image: Path
    mask: Path | None


class FileDataset(ABC):
    """Images on disk with masks of labels; what all readers share.

    Parameters
    ----------
    name : str
        Short name, for tables and file names.
    label_names : sequence of str
        In the order of the mask's indices.
    entries : sequence of Entry
        The samples, in order.
    lookup : ndarray of int16, 256
        Label of each raw mask value; `OUTSIDE` where a mask must not hold it. See `identity`, `lookup_of`.
    upright : bool
        Whether to turn images as their EXIF says. The masks of the benchmarks belong to the pixels as stored.
    manifest : Manifest, optional
        What the dataset was opened by.
    """

    def __init__(
        self,
        name: str,
        label_names: Sequence[str],
        entries: Sequence[Entry],
        lookup: NDArray[np.int16],
        *,
        upright: bool = False,
        manifest: Manifest | None = None,
    ) -> None:
        if not entries:
            raise DatasetError(f"The dataset {name!r} has no images. Expected at least one; check its folder and list.")
        self._name, self._label_names = name, tuple(label_names)
        self._entries, self._lookup, self._upright = tuple(entries), lookup, upright
        self.manifest = manifest

    @property
    def name(self) -> str:
        """Short name, for tables and file names."""
        return self._name

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names in the order of the mask's indices."""
        return self._label_names

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the samples, in order."""
        return tuple(entry.id for entry in self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} images, {len(self.label_names)} labels)"

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int | str) -> Sample:
        entry = self._entry(index)
        image, mask = self._image(entry), self._mask(entry)
        if image.shape[:2] != mask.shape:
            raise DatasetError(
                f"The image {entry.image} is {_size(image)}, but {self._origin(entry)} is {_size(mask)}. "
                "Expected the same size; one of the two is the wrong file, was resized or was rotated."
            )
        return Sample(entry.id, image, mask)

    def files(self, index: int | str) -> tuple[Path, ...]:
        """Files that a sample is read from."""
        entry = self._entry(index)
        return (entry.image,) if entry.mask is None else (entry.image, entry.mask)

    def image(self, index: int | str) -> NDArray[np.uint8]:
        """Pixels of a sample, without reading its mask."""
        return self._image(self._entry(index))

    def mask(self, index: int | str) -> NDArray[np.uint8]:
        """Labels of a sample, without reading its image."""
        return self._mask(self._entry(index))

    def _entry(self, index: int | str) -> Entry:
        return self._entries[position(self, index)]

    def _image(self, entry: Entry) -> NDArray[np.uint8]:
        return read_pixels(entry.image, upright=self._upright)

    def _mask(self, entry: Entry) -> NDArray[np.uint8]:
        return to_labels(self._raw(entry), self._lookup, self._origin(entry), len(self.label_names))

    @abstractmethod
    def _raw(self, entry: Entry) -> NDArray[np.uint8]:
        """Values as the file stores them, height x width, before the label table."""

    def _origin(self, entry: Entry) -> str:
        """Name the source of the mask, for messages."""
        return f"the mask {entry.mask}"


class MaskDataset(FileDataset):
    """Masks that are PNG files of indices: palette or gray.

    A mask whose palette has the colours of the benchmark at other indices is refused, see `ColourTable`.
    """

    def _raw(self, entry: Entry) -> NDArray[np.uint8]:
        if entry.mask is None:
            raise DatasetError(f"The sample {entry.id!r} has no mask file. Give one for every image.")
        indices, palette = read_indices(entry.mask)
        if palette is not None and self._colours is not None:
            self._colours.check(indices, palette, self._origin(entry))
        return indices

    @cached_property
    def _colours(self) -> ColourTable | None:
        """Colours that the masks should have."""
        return None if self.manifest is None else table_of_manifest(self.manifest, self._lookup)


def read_pixels(path: Path, *, upright: bool) -> NDArray[np.uint8]:
    """RGB of a dataset's image.

    Parameters
    ----------
    path : Path
    upright : bool
        Whether to turn a photograph as its EXIF says. Official loaders, and the tools that drew the masks of the
        benchmarks, do not look at it.

    Raises
    ------
    DatasetError
        If it cannot be read.
    """
    try:
        return read_image(path, upright=upright)
    except ImageError as error:
        raise DatasetError(f"The image cannot be used. {error}") from error


def identity(count: int, raw_ignore: Sequence[int] = (IGNORE,)) -> NDArray[np.int16]:
    """Lookup table in which a value is its own label, from 0 to `count` - 1.

    Examples
    --------
    >>> identity(3)[[0, 2, 3, 255]].tolist()
    [0, 2, -1, 255]
    """
    table = np.full(256, OUTSIDE, dtype=np.int16)
    table[:count] = np.arange(count)
    table[list(raw_ignore)] = IGNORE
    return table


def lookup_of(manifest: Manifest) -> NDArray[np.int16]:
    """Lookup table of a manifest: its label map, or identity, with or without the zero reduced."""
    count = len(manifest.label_names)
    if manifest.label_map is not None:
        table = np.full(256, OUTSIDE, dtype=np.int16)
        for value, label in manifest.label_map.table.items():
            table[value] = label
        return table
    if not manifest.reduce_zero_label:
        return identity(count, manifest.raw_ignore)
    table = np.full(256, OUTSIDE, dtype=np.int16)
    table[1 : count + 1] = np.arange(count)
    table[[0, *manifest.raw_ignore]] = IGNORE
    return table


def to_labels(raw: NDArray[np.uint8], lookup: NDArray[np.int16], origin: str, count: int) -> NDArray[np.uint8]:
    """Labels of raw mask values.

    Raises
    ------
    DatasetError
        If there is a value that `lookup` does not know; `origin` says where.
    """
    present = np.flatnonzero(count_values(raw))
    strange = present[lookup[present] == OUTSIDE]
    if strange.size:
        expected = np.flatnonzero(lookup != OUTSIDE)
        values = f"{strange[0]}" if strange.size == 1 else f"{', '.join(map(str, strange[:6]))}"
        raise DatasetError(
            f"In {origin} there {'is the value' if strange.size == 1 else 'are the values'} {values}"
            f"{', ...' if strange.size > 6 else ''}. Expected {_ranges(expected)} ({count} labels; {IGNORE} means "
            "ignore where it is listed); check that the mask holds indices and belongs to this dataset."
        )
    return translate(raw, lookup.astype(np.uint8))


def _ranges(values: NDArray[np.intp]) -> str:
    """List values, with runs shortened.

    Examples
    --------
    >>> _ranges(np.array([0, 1, 2, 255]))
    '0..2, 255'
    """
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _size(array: NDArray[np.uint8]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
