"""The named drawings of the embedded world, read from the atlases that the package carries."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipdiy_lab.datasets.disk import explain
from clipdiy_lab.errors import DatasetError

_FOLDER = resources.files("clipdiy_lab") / "assets" / "drawings"


@dataclass(frozen=True)
class Thing:
    """A kind of object that drawings exist for.

    Parameters
    ----------
    name : str
        The canonical name; PASCAL VOC's spelling where VOC knows the thing.
    synonyms : tuple of str
        Other spellings and words.
    voc, coco : str or None
        Its name among the classes of PASCAL VOC and of COCO.
    coco_id : int or None
        COCO's category number.
    drawings : dict
        Family -> its drawings, each (cell of the atlas, width, height).
    """

    name: str
    synonyms: tuple[str, ...]
    voc: str | None
    coco: str | None
    coco_id: int | None
    drawings: dict[str, tuple[tuple[int, int, int], ...]]


@functools.cache
def _index() -> dict[str, Any]:
    with _reading("index.json"):
        index: dict[str, Any] = json.loads((_FOLDER / "index.json").read_text(encoding="utf-8"))
    return index


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn a fault of the disk while a file of the package is read into one error."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"The lab's own drawings, {_FOLDER / name}, cannot be read: {explain(error)} If that does not help, "
            "reinstall clipdiy-lab."
        ) from error


@functools.cache
def things() -> tuple[Thing, ...]:
    """Every name, in the order of the index: VOC's, then COCO's, then the open set."""
    return tuple(
        Thing(
            name=entry["name"],
            synonyms=tuple(entry["synonyms"]),
            voc=entry["voc"],
            coco=entry["coco"],
            coco_id=entry["coco_id"],
            drawings={family: tuple((c, w, h) for c, w, h in cells) for family, cells in entry["drawings"].items()},
        )
        for entry in _index()["entries"]
    )


@functools.cache
def families(unseen: bool) -> tuple[str, ...]:
    """The families that training never sees, or those that it does."""
    return tuple(name for name, facts in _index()["families"].items() if facts["unseen"] == unseen)


@functools.cache
def _atlas(family: str) -> NDArray[np.uint8]:
    name = f"{family}/atlas.webp"
    with _reading(name), (_FOLDER / name).open("rb") as file, Image.open(file) as image:
        return np.asarray(image.convert("RGBA"))


@functools.lru_cache(maxsize=4096)
def pixels(family: str, cell: tuple[int, int, int]) -> NDArray[np.int32]:
    """Return one drawing, height x width x 4, RGB premultiplied by alpha, 0 to 255."""
    number, width, height = cell
    side, columns = _index()["side"], _index()["columns"]
    top, left = number // columns * side, number % columns * side
    drawing = _atlas(family)[top : top + height, left : left + width].astype(np.int32)
    drawing[..., :3] = (drawing[..., :3] * drawing[..., 3:] + 127) // 255
    return drawing
