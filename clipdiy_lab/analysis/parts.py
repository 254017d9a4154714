"""Counting apart: workers of a cluster count ranges of images into files, the client adds the files up."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ClusterError, OutputError
from clipdiy_lab.files import atomic_path
from clipdiy_lab.pipeline import cluster

if TYPE_CHECKING:
    from distributed import Client

IMAGES_A_TASK = 16
"""Images that a worker counts at once where no store says otherwise; what the loss of a worker costs at most."""

Arrays = Mapping[str, npt.NDArray[Any]]


def ranges(length: int, size: int | None = None, start: int = 0) -> list[range]:
    """Positions of the images of each task, `IMAGES_A_TASK` by default: the same cuts wherever one starts.

    Examples
    --------
    >>> ranges(10, size=4, start=5)
    [range(5, 8), range(8, 10)]
    """
    size = IMAGES_A_TASK if size is None else size
    return [range(max(at, start), min(at + size, length)) for at in range(start - start % size, length, size)]


def committing(folder: Path, dataset: Dataset, count: Callable[[range], Arrays]) -> Callable[[range], None]:
    """Return what a worker does with a range: count it, and write the counts whole, unless they are there."""
    cluster.require_path(folder)

    def commit(images: range) -> None:
        if _read(folder, images) is None:
            cluster.require_files(dataset, images.start)
            with atomic_path(_path(folder, images)) as part, part.open("wb") as file:
                np.savez(file, allow_pickle=False, **count(images))

    return commit


def gather(
    client: Client, job: cluster.Job, folder: Path, images: Sequence[range], seen: Callable[[int], object]
) -> Iterator[Arrays]:
    """Let workers count ranges, whoever is free first, and then give the counts in the ranges' order.

    Parameters
    ----------
    client : distributed.Client
    job : cluster.Job
        Opens into what `committing` returns.
    folder : Path
        Where the counts go; made where it is missing.
    images : sequence of range
    seen : callable
        Told the number of images that were counted; what it raises ends the work.

    Raises
    ------
    ClusterError
        If counts that a worker wrote are not to be found here; and see `cluster.run`.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another place.") from error
    with contextlib.closing(cluster.run(client, job, images)) as done:
        for counted, _ in done:
            seen(len(counted))
    for one in images:
        arrays = _read(folder, one)
        if arrays is None:
            raise ClusterError(
                f"A worker wrote {_path(folder, one)}, which is not to be found whole here; use a folder that every "
                "machine sees under the same path."
            )
        yield arrays


def _path(folder: Path, images: range) -> Path:
    return folder / f"{images.start:09d}-{images.stop:09d}.npz"


def _read(folder: Path, images: range) -> Arrays | None:
    """Counts of a range; None where there are none, or damaged ones."""
    try:
        with _path(folder, images).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
