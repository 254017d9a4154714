"""Datasets by name."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import DatasetError, nearest

_BUILDERS = {"scenes": Scenes}


def open_dataset(name: str = "scenes", split: str = "val", **options: Any) -> Dataset:
    """Open a dataset by name.

    Parameters
    ----------
    name : str
        See `list_datasets`.
    split : str
    **options
        Of the dataset; for ``scenes``: ``vocabulary`` ("voc", "coco" or "open"), ``length``.

    Raises
    ------
    DatasetError
        For an unknown name, split or option.

    Examples
    --------
    >>> dataset = open_dataset("scenes", split="val")
    >>> len(dataset), dataset.label_names[:3]
    (200, ('background', 'aeroplane', 'bicycle'))
    """
    if name not in _BUILDERS:
        raise DatasetError(f"there is no dataset {name!r}. {nearest(name, _BUILDERS)}")
    return _BUILDERS[name](split=split, **options)


def list_datasets() -> pd.DataFrame:
    """List the datasets: name, split, number of images and labels, and whether they are on this machine."""
    rows = []
    for split in ("train", "val", "val_unseen"):
        dataset = Scenes(split=split)
        rows.append(
            {
                "name": "scenes",
                "split": split,
                "images": len(dataset),
                "labels": len(dataset.label_names),
                "here": True,
            }
        )
    return pd.DataFrame(rows)
