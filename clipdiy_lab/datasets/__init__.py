"""Images, datasets and label maps: the input of the method.

These functions deal with the data files: where they come from and whether they are complete. Use
`clipdiy_lab.open_dataset` to open a dataset.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipdiy_lab.datasets.get import fetch_dataset
    from clipdiy_lab.datasets.manifests import load_manifest
    from clipdiy_lab.datasets.verify import verify_dataset, where_datasets

_WHERE = {
    "fetch_dataset": "get",
    "load_manifest": "manifests",
    "verify_dataset": "verify",
    "where_datasets": "verify",
}

__all__ = ["fetch_dataset", "load_manifest", "verify_dataset", "where_datasets"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'clipdiy_lab.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"clipdiy_lab.datasets.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    """List the public names alone, for tab completion."""
    return __all__
