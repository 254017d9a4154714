"""Somebody who swaps a file at the worst moment."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


@contextmanager
def swapped_when_opened(path: Path, content: bytes) -> Iterator[None]:
    """Put another file in the place of `path` as soon as it has been opened once.

    Whoever opened it reads the old content on; whoever opens it again, Python or not, gets the new one.
    """
    other = path.with_name(f"other-{path.name}")
    other.write_bytes(content)
    original = io.open

    def opening(file: Any, *args: Any, **options: Any) -> Any:
        opened = original(file, *args, **options)
        if isinstance(file, str | os.PathLike) and Path(file) == path and other.exists():
            os.replace(other, path)
        return opened

    with mock.patch.object(io, "open", opening):
        yield
    assert not other.exists(), f"{path} was never opened"
