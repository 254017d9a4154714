"""What a dataset may offer beyond its protocol.

Each capability is a small protocol. An object has it if it has the attributes and methods below, and an object
without it works too.

=========== ========================================================================================================
capability  without it
=========== ========================================================================================================
HasIds      ids are read from the samples; a result that is written to a folder needs them, or a `repr` of its own
HasMasks    a store's images are compared with masks of whole samples, images decoded
HasFiles    workers do not look for the files before they begin
HasFilter   results say that nothing was filtered
HasSplit    results name no part of the dataset
a manifest  protocol, published cells and knobs are the lab's defaults
=========== ========================================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class HasIds(Protocol):
    """A dataset that knows the ids of its samples, in order."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids, one per sample."""
        ...


@runtime_checkable
class HasMasks(Protocol):
    """A dataset that reads a mask without its image."""

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Mask of a sample, height x width."""
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A dataset that is made of files, which workers of a cluster have to see."""

    def files(self, index: int) -> tuple[Path, ...]:
        """Files that a sample is read from."""
        ...


@runtime_checkable
class HasFilter(Protocol):
    """A dataset that may leave images out: how, or None."""

    filter: str | None


@runtime_checkable
class HasSplit(Protocol):
    """A part of a dataset that has several; None where it has none."""

    split: str | None
