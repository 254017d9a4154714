"""A disk that fails at one call: what the tests of faults share."""

import contextlib
import errno
import io
import os
from pathlib import Path

# A file of Linux that is there, may be opened, and gives an input/output error when it is read.
UNREADABLE = Path("/proc/self/mem")


def make_unreadable(path):
    """Let reading a file fail with EIO, for real."""
    path.unlink()
    path.symlink_to(UNREADABLE)


class _FailingFile(io.FileIO):
    def __init__(self, path, count):
        super().__init__(path, "rb")
        self._count = count

    def readinto(self, buffer):
        self._count()
        return super().readinto(buffer)

    def readall(self):
        self._count()
        return super().readall()


class FailingDisk:
    """Let the `fail_at`-th call of the operating system on files below a folder end in EIO.

    Calls are those that open, read, list and look at files. `calls` counts them.
    """

    def __init__(self, monkeypatch, folder, fail_at):
        self.folder, self.fail_at, self.calls = os.fspath(folder), fail_at, 0
        self._monkeypatch = monkeypatch

    def _count(self):
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _guarded(self, function):
        def call(path, *args, **options):
            if self._concerns(path):
                self._count()
            return function(path, *args, **options)

        return call

    def _concerns(self, path):
        with contextlib.suppress(TypeError):
            return os.fsdecode(path).startswith(self.folder)
        return False

    def _open(self, path, mode="r", buffering=-1, encoding=None, errors=None, *args, **options):
        if not self._concerns(path) or set(mode) & set("wax+"):
            return self._real_open(path, mode, buffering, encoding, errors, *args, **options)
        self._count()
        stream = io.BufferedReader(_FailingFile(path, self._count), 4096)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding=encoding, errors=errors)

    def __enter__(self):
        self._real_open = io.open
        self._patch = self._monkeypatch.context()
        patch = self._patch.__enter__()
        for name in ("listdir", "scandir", "stat", "lstat", "open"):
            patch.setattr(os, name, self._guarded(getattr(os, name)))
        patch.setattr(io, "open", self._open)
        patch.setattr("builtins.open", self._open)
        return self

    def __exit__(self, *reason):
        self._patch.__exit__(*reason)
