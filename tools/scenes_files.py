"""Scenes on disk, in the layouts of PASCAL VOC and COCO, so that the real readers read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipdiy_lab.datasets.palette import write_palette_png
from clipdiy_lab.datasets.scenes import VOC_NAMES, Instance, Scenes
from clipdiy_lab.files import atomic_path

Progress = Callable[[int, int], None]  # scenes done, scenes in all


def voc_indices(dataset: Scenes) -> NDArray[np.uint8]:
    """Index in VOC's files of each of the dataset's labels.

    VOC's own 0 to 20 for the "voc" vocabulary (11, the dining table, stays free), the dataset's own otherwise.

    Examples
    --------
    >>> voc_indices(Scenes("val"))[[0, 10, 11, 19]].tolist()
    [0, 10, 12, 20]
    """
    if dataset.vocabulary != "voc":
        return np.arange(len(dataset.label_names), dtype=np.uint8)
    return np.array([0, *(VOC_NAMES.index(name) + 1 for name in dataset.label_names[1:])], dtype=np.uint8)


def write_voc(dataset: Scenes, folder: str | PathLike[str], progress: Progress | None = None) -> Path:
    """Write a dataset in VOC's folder layout.

    Parameters
    ----------
    dataset : Scenes
        What to write.
    folder : path
        New or empty; appears only when it is complete. Gets `JPEGImages/{id}.png` (PNG, so that pixels are exact),
        `SegmentationClass/{id}.png` (palette PNG with VOC's colours and the indices of `voc_indices`),
        `ImageSets/Segmentation/{split}.txt` and `labels.txt` (line n, from 0, names index n).
    progress : callable, optional
        Called after each scene with the number done and the number of all.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If the folder exists and is not empty, or cannot be written.
    """
    with atomic_path(folder, folder=True) as part:
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (part / name).mkdir(parents=True)
        indices = voc_indices(dataset)
        for number in range(len(dataset)):
            sample = dataset[number]
            Image.fromarray(sample.image).save(part / "JPEGImages" / f"{sample.id}.png")
            write_palette_png(part / "SegmentationClass" / f"{sample.id}.png", indices[sample.mask])
            if progress is not None:
                progress(number + 1, len(dataset))
        ids = "".join(f"{dataset.id(number)}\n" for number in range(len(dataset)))
        (part / "ImageSets" / "Segmentation" / f"{dataset.split}.txt").write_text(ids)
        names = ("background", *VOC_NAMES) if dataset.vocabulary == "voc" else dataset.label_names
        (part / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    return Path(folder)


def write_coco(dataset: Scenes, folder: str | PathLike[str], progress: Progress | None = None) -> Path:
    """Write a dataset as COCO instances.

    Parameters
    ----------
    dataset : Scenes
        What to write.
    folder : path
        New or empty; appears only when it is complete. Gets `images/{split}/{id}.png` and
        `annotations/instances_{split}.json`. Segmentations are uncompressed run lengths, which are exact (polygons
        would not be); pycocotools reads them also where `iscrowd` is 0. Categories have COCO's numbers and names;
        things that COCO does not know count from 1001 under their own.
    progress : callable, optional
        Called after each scene with the number done and the number of all.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If the folder exists and is not empty, or cannot be written.
    """
    categories = _categories(dataset)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with atomic_path(folder, folder=True) as part:
        (part / "images" / dataset.split).mkdir(parents=True)
        (part / "annotations").mkdir()
        for number in range(len(dataset)):
            scene, name = dataset.scene(number), f"{dataset.id(number)}.png"
            Image.fromarray(scene.image).save(part / "images" / dataset.split / name)
            height, width = scene.image.shape[:2]
            images.append({"id": number + 1, "file_name": name, "height": height, "width": width})
            for instance in scene.instances:
                category = categories[instance.label - 1]["id"]
                annotations.append(_annotation(len(annotations) + 1, number + 1, category, instance))
            if progress is not None:
                progress(number + 1, len(dataset))
        content = {
            "info": {"description": dataset.name},
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        (part / "annotations" / f"instances_{dataset.split}.json").write_text(json.dumps(content))
    return Path(folder)


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Encode a mask the way COCO does: column by column, lengths of runs, the first of zeros.

    Examples
    --------
    >>> run_lengths(np.array([[True, False], [True, True]]))
    {'counts': [0, 2, 1, 1], 'size': [2, 2]}
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def _categories(dataset: Scenes) -> list[dict[str, Any]]:
    found = []
    for number, thing in enumerate(dataset.things):
        identity = 1001 + number if thing.coco_id is None else thing.coco_id
        found.append({"id": identity, "name": thing.coco or thing.name, "supercategory": "thing"})
    return found


def _annotation(identity: int, image: int, category: int, instance: Instance) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(instance.mask.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "id": identity,
        "image_id": image,
        "category_id": category,
        "segmentation": run_lengths(instance.mask),
        "area": int(instance.mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 0,
    }
