"""Predictions as COCO's run-length encoding, which annotation tools and COCO's own evaluation read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from pycocotools import mask as coco_mask

from clipdiy_lab.datasets.prediction_files import ColourKey, read_label_map
from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import DatasetError
from clipdiy_lab.files import atomic_path


def export_coco(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """Write a folder of index PNGs as one JSON file in the format of COCO's results.

    Parameters
    ----------
    folder : path
        As written by `evaluate(..., predictions=folder)`, or any PNGs of label indices.
    path : path
        A ``.json`` file; an existing one is replaced.

    Returns
    -------
    int
        Number of records: one per image and label in it, with ``image_id`` (the file's name; a number where it is
        one), ``category_id`` (the label's index), ``segmentation`` (compressed RLE) and ``score`` 1.0. Pixels with the
        value 255 are not in any record.

    Raises
    ------
    DatasetError
        If there is no such folder, or it has no PNG, or one is not a label map.
    OutputError
        If the file cannot be written.
    """
    root = Path(folder)
    files = sorted(path for path in root.rglob("*.png") if not path.name.startswith("."))
    if not files:
        raise DatasetError(f"there is no PNG in {str(root)!r}; give a folder of predictions.")
    records: list[dict[str, Any]] = []
    for file in files:
        try:
            labels = read_label_map(file, ColourKey({}))
        except DatasetError as error:
            raise DatasetError(f"{file}: {error}") from error
        name = file.relative_to(root).with_suffix("").as_posix()
        records += _records(int(name) if name.isascii() and name.isdigit() else name, labels)
    with atomic_path(path) as part:
        part.write_text(json.dumps(records), encoding="utf-8")
    return len(records)


def _records(image_id: int | str, labels: Integer[np.ndarray, "y x"]) -> list[dict[str, Any]]:
    records = []
    for label in np.unique(labels[labels != IGNORE]):
        encoded = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        mask = {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}
        records.append({"image_id": image_id, "category_id": int(label), "segmentation": mask, "score": 1.0})
    return records
