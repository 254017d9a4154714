"""What a dataset is made of: samples, and the little that the lab asks of a dataset."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.datasets.capabilities import HasIds
from clipdiy_lab.errors import DatasetError, differing, lookalike, spelled

T = TypeVar("T")
IGNORE = 255  # the mask value of pixels that no measure counts


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image.

    Parameters
    ----------
    id : str
        Name of the image within its dataset; also its file name without extension.
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
    """Protocol of a dataset: a name, label names, a length, and samples by number."""

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


class Numbered(Protocol):
    """A dataset that has ids."""

    @property
    def name(self) -> str:
        """Short name."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the samples, in order."""
        ...

    def __len__(self) -> int: ...


def position(dataset: Numbered, index: int | str) -> int:
    """Place of a sample that is asked for by its number, from the end if negative, or by its id.

    Raises
    ------
    IndexError
        For a number outside.
    DatasetError
        For an id that the dataset does not have, or something else than a number or an id.
    """
    if isinstance(index, str):
        known = dataset.ids
        if index not in known:
            ends = f", from {known[0]!r} to {known[-1]!r}" if known else ""
            twin = lookalike(index, known)
            hint = "" if twin is None else f" {differing(index, twin)}."
            raise DatasetError(
                f"The dataset {dataset.name!r} has no sample {index!r}; its `ids` list the samples{ends}.{hint}"
            )
        return known.index(index)
    try:
        number = operator.index(index)
    except TypeError:
        raise DatasetError(
            f"The index of a sample is {index!r}; expected its number, 0 to {len(dataset) - 1}, or its id. Open "
            "several one by one."
        ) from None
    if not -len(dataset) <= number < len(dataset):
        raise IndexError(f"sample {number} of {len(dataset)}")
    return number % len(dataset)


def ids_of(dataset: Dataset, length: int) -> tuple[str, ...]:
    """Ids of the first samples; no image is decoded where the dataset has `ids`."""
    if isinstance(dataset, HasIds):
        return tuple(dataset.ids[:length])
    return tuple(dataset[index].id for index in range(length))


def ahead(read: Callable[[int], T], positions: Iterable[int]) -> Iterator[T]:
    """Yield samples, or what is made of them, in order; a thread reads the next while the caller works on the last.

    Parameters
    ----------
    read : callable
        Gives the sample at a position, such as ``dataset.__getitem__``. It is called once a position, by one thread;
        what it raises is raised where its sample would have come.
    positions : iterable of int
    """
    with ThreadPoolExecutor(1) as reader:
        coming: deque[Future[T]] = deque()
        for place in positions:
            coming.append(reader.submit(read, place))
            if len(coming) > 1:
                yield coming.popleft().result()
        for last in coming:
            yield last.result()
