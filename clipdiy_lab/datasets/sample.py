"""What a dataset is made of: samples, and the little that the lab asks of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.errors import DatasetError, spelled

IGNORE = 255  # the mask value of pixels that no measure counts


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image.

    Parameters
    ----------
    id : str
        Name of the image within its dataset; also its file name without ending.
    image : ndarray of uint8, height x width x 3
        RGB.
    mask : ndarray of uint8, height x width
        Index into the dataset's `label_names`; 255 = ignore.
    """

    id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@runtime_checkable
class Dataset(Protocol):
    """Anything with a name, label names, a length and samples by number."""

    @property
    def name(self) -> str:
        """Short name, for tables and file names."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names in the order of the mask's indices."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def as_dataset(given: object) -> Dataset:
    """Return what was given as a dataset.

    Raises
    ------
    DatasetError
        If it is something else, such as a dataset's name.
    """
    if isinstance(given, Dataset) and not isinstance(given, type):
        return given
    named = given if isinstance(given, str) and given else "scenes"
    raise DatasetError(f"dataset is {spelled(given)}; expected a dataset: lab.open_dataset({named!r}).")


def ids_of(dataset: Dataset, length: int) -> tuple[str, ...]:
    """Ids of the first samples; no image is decoded where the dataset has `ids`."""
    known: tuple[str, ...] | None = getattr(dataset, "ids", None)
    return tuple(known[:length] if known is not None else (dataset[index].id for index in range(length)))
