"""What a killed run leaves, so that the same run goes on: counts of ranges of images, and the rows of a sweep.

Counts lie in a hidden folder beside the output whose name holds the key of the work, one file a range of images, each
whole or not there. They are whole numbers, so whoever counts the rest, here or on a cluster, comes to the same sums.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clipdiy_lab.analysis.scoring.counts import Arrays
from clipdiy_lab.errors import OutputError, RunError
from clipdiy_lab.files import atomic_path, read_bytes
from clipdiy_lab.pipeline.embeddings.identity import brief

KEEP_SECONDS = 2.0
"""At most this much work, or one image, is lost to a kill (more where writing the counts takes long)."""
WRITING_SHARE = 0.05
"""The most of the time that goes into writing counts."""
_RANGE = re.compile(r"(\d{9})-(\d{9})\.npz")
ROWS_FORMAT = "clipdiy_lab sweep 2"
_MAX_BYTES = 2**28  # a row has about 1 kB


class KeptCounts(Protocol):
    """Counts that can be written down and added up."""

    def arrays(self) -> Arrays:
        """Everything counted, as arrays for a file."""
        ...

    def merge(self, arrays: Arrays) -> object:
        """Add what `arrays` of others gave, for the images that follow."""
        ...


class PartialCounts:
    """Counts of unfinished work, file by file.

    Parameters
    ----------
    folder : Path
        Made where it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept = time.monotonic()
        self._pause = KEEP_SECONDS
        self._make()

    @classmethod
    def beside(cls, out: Path, key: str) -> PartialCounts:
        """Return the place for counts of work.

        Parameters
        ----------
        out : Path
            Where the finished work goes.
        key : str
            What the work is, so that counts of other work are never taken up.
        """
        return cls(out.with_name(f".{out.name}.{key[:16]}.unfinished"))

    def _make(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be created ({error.strerror}); choose another folder.") from error

    def take_up(self, counts: KeptCounts) -> int:
        """Add to counts what is kept of the first images, and return of how many."""
        images = 0
        for part in self._ranges():  # of those with one start, the longest first
            arrays = self.read(part) if part.start == images else None
            if arrays is not None:
                counts.merge(arrays)
                images = part.stop
        return images

    def keep(self, counts: KeptCounts, images: int) -> None:
        """Write the counts of the first images, if enough time has gone by since the last time."""
        start = time.monotonic()
        if start - self._kept < self._pause:
            return
        self.write(range(images), counts.arrays())
        for part in self._ranges():
            if part.stop <= images and part != range(images):
                self._path(part).unlink(missing_ok=True)
        self._kept = time.monotonic()
        self._pause = max(KEEP_SECONDS, (self._kept - start) / WRITING_SHARE)

    def write(self, images: range, arrays: Arrays) -> None:
        """Write the counts of a range of images, whole or not at all."""
        self._make()  # another process that did the same may have finished meanwhile
        with atomic_path(self._path(images)) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def read(self, images: range) -> Arrays | None:
        """Return the counts of a range; None where there are none, or damaged ones."""
        try:
            with self._path(images).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
            return None

    def images(self) -> int:
        """Return the number of images whose counts are kept."""
        images, end = 0, 0
        for part in self._ranges():
            images += max(0, part.stop - max(part.start, end))
            end = max(end, part.stop)
        return images

    def remove(self) -> None:
        """Clear the counts away, once the work is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def remove_all(out: Path) -> None:
        """Clear away the counts of all work that belongs to an output."""
        for folder in out.parent.glob(f".{glob.escape(out.name)}.*.unfinished"):
            shutil.rmtree(folder, ignore_errors=True)

    def _ranges(self) -> list[range]:
        names = [_RANGE.fullmatch(path.name) for path in self.folder.glob("*.npz")]
        parts = [range(int(name[1]), int(name[2])) for name in names if name]
        return sorted(parts, key=lambda part: (part.start, -part.stop))

    def _path(self, images: range) -> Path:
        return self.folder / f"{images.start:09d}-{images.stop:09d}.npz"


class Rows:
    """The file of one sweep: its first line says of what, every other line is a finished row with its key, as JSON.

    A line is whole when it ends; what a killed process left of a line is cut off before the next one is written.

    Parameters
    ----------
    path : path
        Made where it is missing.
    subject : mapping
        What every row is about: dataset, images, weights, protocol. Plain JSON.

    Attributes
    ----------
    rows : dict of str to dict
        By key.

    Raises
    ------
    RunError
        If the file is something else, or of a sweep of something else: the message says what differs.
    OutputError
        If it cannot be read or written.
    """

    def __init__(self, path: str | PathLike[str], subject: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.subject = dict(json.loads(json.dumps(subject)))
        self.rows: dict[str, dict[str, Any]] = {}
        try:
            if self.path.exists() and not self.path.is_file():
                raise OSError(errno.EINVAL, "it is a pipe, a device or a folder, not a file")
            if self.path.exists() and self.path.stat().st_size:
                self._read()
            else:
                self._append([{"format": ROWS_FORMAT, "subject": self.subject}])
        except OSError as error:
            raise OutputError(
                f"The sweep's file {str(self.path)!r} cannot be used ({error.strerror}); choose another."
            ) from error

    def _read(self) -> None:
        data = read_bytes(self.path, _MAX_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        try:
            first, *rows = [json.loads(line) for line in whole.splitlines()]
            if first["format"] != ROWS_FORMAT:
                raise ValueError(f"format {first['format']!r}")
            there = dict(first["subject"])
            self.rows = {str(row.pop("key")): row for row in rows}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{self.path} is not a sweep file, or it is damaged ({error}); name another file, or remove it."
            ) from error
        differs = [name for name in {**self.subject, **there} if there.get(name) != self.subject.get(name)]
        if differs:
            pairs = ((name, brief(there.get(name)), brief(self.subject.get(name))) for name in differs)
            told = "; ".join(f"{name} is {other} there, {wanted} is asked" for name, other, wanted in pairs)
            raise RunError(f"{self.path} holds a sweep with other settings: {told}. Name another file.")
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))

    def add(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Append rows by their keys, in one piece; they are on the disk when this returns.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        try:
            self._append([{"key": key, **row} for key, row in rows.items()])
        except OSError as error:
            raise OutputError(
                f"Rows could not be written to {str(self.path)!r} ({error.strerror}); the earlier rows are safe. "
                "Free disk space and run again: the sweep continues where it stopped."
            ) from error
        self.rows |= {key: dict(row) for key, row in rows.items()}

    def _append(self, lines: list[dict[str, Any]]) -> None:
        # Without a buffer, which would be written after all when the file is closed.
        with self.path.open("ab", buffering=0) as file:
            start = file.tell()
            try:
                left = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, start)
                if not start:
                    self.path.unlink()
                raise
