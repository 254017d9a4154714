"""Rows of a sweep on disk: one line of JSON a row, appended when the row is done, so that a killed sweep goes on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from clipdiy_lab.errors import OutputError, RunError
from clipdiy_lab.files import read_bytes
from clipdiy_lab.pipeline.embeddings.key import brief

FORMAT = "clipdiy_lab sweep 1"
_MAX_BYTES = 2**28  # a row has about 1 kB


class Ledger:
    """The file of one sweep: its first line says of what, every other line is a row with its key.

    A line is whole when it ends; what a killed process left of a line is cut off before the next one is written.

    Parameters
    ----------
    path : path
        Made where it is missing.
    subject : mapping
        What every row is about: dataset, images, weights, protocol. Plain JSON.

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
                self._append({"format": FORMAT, "subject": self.subject})
        except OSError as error:
            raise OutputError(
                f"The sweep's file {str(self.path)!r} cannot be used ({error.strerror}); choose another."
            ) from error

    def _read(self) -> None:
        data = read_bytes(self.path, _MAX_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        try:
            first, *rows = [json.loads(line) for line in whole.splitlines()]
            if first["format"] != FORMAT:
                raise ValueError(f"format {first['format']!r}")
            there = dict(first["subject"])
            self.rows = {str(row.pop("key")): row for row in rows}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{self.path} is no file of a sweep, or it is damaged ({error}); name another file, or remove it."
            ) from error
        differs = [name for name in {**self.subject, **there} if there.get(name) != self.subject.get(name)]
        if differs:
            pairs = ((name, brief(there.get(name)), brief(self.subject.get(name))) for name in differs)
            told = "; ".join(f"{name} is {other} there, {wanted} is asked" for name, other, wanted in pairs)
            raise RunError(f"{self.path} holds a sweep of something else: {told}. Name another file.")
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Append a row; it is on the disk when this returns.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        try:
            self._append({"key": key, **row})
        except OSError as error:
            raise OutputError(
                f"A row could not be written to {str(self.path)!r} ({error.strerror}); the rows before it are safe. "
                "Free the disk and run again: the sweep goes on where it was."
            ) from error
        self.rows[key] = dict(row)

    def _append(self, line: Mapping[str, Any]) -> None:
        # Without a buffer, which would be written after all when the file is closed.
        with self.path.open("ab", buffering=0) as file:
            start = file.tell()
            try:
                left = json.dumps(line).encode() + b"\n"
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, start)
                if not start:
                    self.path.unlink()
                raise
