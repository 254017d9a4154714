"""Scenes: a synthetic benchmark of named drawings on textured grounds, with exact masks.

Everything follows from a seed through integer arithmetic alone, so a scene has the same bytes on every machine.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.datasets.dice import Dice
from clipdiy_lab.datasets.drawings import Thing, families, pixels, things
from clipdiy_lab.datasets.grounds import draw_ground
from clipdiy_lab.datasets.sample import Sample, position
from clipdiy_lab.errors import DatasetError, nearest

# VOC's 20 names in its order; there is no drawing of a dining table.
VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv/monitor"),
)
SIDES = (200, 420)
"""Smallest and largest side of a scene, in pixels."""
_LENGTHS = {"train": 2000, "val": 200, "val_unseen": 200}
_COUNTS = (1,) * 35 + (2,) * 30 + (3,) * 18 + (4,) * 10 + (5,) * 7  # objects of a scene, in percent
_TRIES = 8
_MOST_HIDDEN = 80  # percent
_LEAST_INSIDE = 60  # percent

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a scene.

    Parameters
    ----------
    thing : Thing
        What it is.
    label : int
        Index into the dataset's `label_names`.
    family : str
        The family of drawings it comes from.
    mask : ndarray of bool, height x width
        Where it is visible.
    box : tuple of int
        x, y, width, height of all of it that lies in the image, hidden parts included.
    """

    thing: Thing
    label: int
    family: str
    mask: Mask
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """The canonical name of the thing."""
        return self.thing.name


@dataclass(frozen=True, eq=False)
class Scene:
    """A finished scene and how it was put together.

    Parameters
    ----------
    image : ndarray of uint8, height x width x 3
        The picture.
    ground : ndarray of uint8, height x width x 3
        The picture before any object was placed.
    ground_names : tuple of str
        What the ground is, from top to bottom.
    touched : ndarray of bool, height x width
        Pixels that any object changed, soft edges included.
    instances : tuple of Instance
        The objects from back to front.
    """

    image: NDArray[np.uint8]
    ground: NDArray[np.uint8]
    ground_names: tuple[str, ...]
    touched: Mask
    instances: tuple[Instance, ...]


@functools.cache
def _vocabularies() -> dict[str, tuple[tuple[Thing, str], ...]]:
    """Vocabulary -> its things and what each is called there, in class order."""
    by_voc = {thing.voc: thing for thing in things() if thing.voc}
    coco = sorted((thing for thing in things() if thing.coco_id), key=lambda thing: thing.coco_id or 0)
    return {
        "voc": tuple((by_voc[name], name) for name in VOC_NAMES if name in by_voc),
        "coco": tuple((thing, thing.coco or "") for thing in coco),
        "open": tuple((thing, thing.name) for thing in things()),
    }


def _turned(drawing: NDArray[np.int32], side: int, angle: int) -> NDArray[np.int32]:
    """Scale the longer side of a premultiplied drawing to `side` and turn it by `angle` degrees.

    Inverse mapping in fixed point (1/65536), bilinear with integer weights, on a half-size copy where it shrinks.
    """
    while max(drawing.shape[:2]) >= 2 * side:
        height, width = (length // 2 * 2 for length in drawing.shape[:2])
        even = drawing[:height, :width]
        drawing = (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2] + 2) >> 2
    height, width = drawing.shape[:2]
    cosine = round(math.cos(math.radians(angle)) * 65536) * max(height, width) // side
    sine = round(math.sin(math.radians(angle)) * 65536) * max(height, width) // side
    # Two transparent pixels around: sampling may step over the edge by one.
    padded = np.pad(drawing, ((2, 2), (2, 2), (0, 0)))
    blur = side // max(height, width)  # how far bilinear sampling smears the edge
    reach_x = (
        (abs(cosine) * width + abs(sine) * height) * side * side // (65536 * max(height, width) ** 2) // 2 + 2 + blur
    )
    reach_y = (
        (abs(sine) * width + abs(cosine) * height) * side * side // (65536 * max(height, width) ** 2) // 2 + 2 + blur
    )
    across = np.arange(-reach_x, reach_x + 1, dtype=np.int64)[None, :]
    down = np.arange(-reach_y, reach_y + 1, dtype=np.int64)[:, None]
    u = np.clip(cosine * across + sine * down + (width + 3) * 32768, 0, (width + 3) * 65536 - 1)
    v = np.clip(cosine * down - sine * across + (height + 3) * 32768, 0, (height + 3) * 65536 - 1)
    column, row = u >> 16, v >> 16
    right, below = ((u >> 8) & 255).astype(np.int32)[..., None], ((v >> 8) & 255).astype(np.int32)[..., None]
    flat = padded.reshape(-1, 4)
    start = row * (width + 4) + column
    upper = flat[start] * (256 - right) + flat[start + 1] * right
    lower = flat[start + width + 4] * (256 - right) + flat[start + width + 5] * right
    turned: NDArray[np.int32] = (upper * (256 - below) + lower * below + 32768) >> 16
    return turned


def _throw_drawing(dice: Dice, thing: Thing, allowed: tuple[str, ...]) -> tuple[str, NDArray[np.int32]]:
    """Any drawing of a thing from the allowed families, perhaps mirrored, a little brighter or darker."""
    drawn = [family for family in allowed if family in thing.drawings]
    family = drawn[dice.below(len(drawn))]
    cells = thing.drawings[family]
    drawing = pixels(family, cells[dice.below(len(cells))])
    if dice.percent(50):
        drawing = drawing[:, ::-1]
    gain, bias = dice.between(205, 300), dice.between(-16, 16)
    alpha = drawing[..., 3:]
    colour = np.clip((drawing[..., :3] * gain >> 8) + bias * alpha // 255, 0, alpha)
    return family, np.concatenate([colour, alpha], axis=-1)


def _throw_angle(dice: Dice) -> int:
    """Return a random angle: mostly upright, one in eight arbitrary."""
    return dice.between(0, 359) if dice.percent(12) else (dice.between(-30, 30) + dice.between(-30, 30)) // 2


def _place(
    dice: Dice, drawing: NDArray[np.int32], shape: tuple[int, int], low: int, high: int
) -> tuple[NDArray[np.int32], tuple[slice, slice]] | None:
    """Size, turn and move a drawing; its visible part and where that goes, or nothing when too much is outside."""
    height, width = shape
    turned = _turned(drawing, min(shape) * dice.between(low, high) // 100, _throw_angle(dice))
    tall, wide = turned.shape[:2]
    top = dice.between(-tall // 5, height - tall + tall // 5)
    left = dice.between(-wide // 5, width - wide + wide // 5)
    y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + tall), min(width, left + wide)
    part = turned[y0 - top : y1 - top, x0 - left : x1 - left]
    solid, whole = int((part[..., 3] >= 128).sum()), int((turned[..., 3] >= 128).sum())
    if solid * 100 < whole * _LEAST_INSIDE or solid < 40:
        return None
    return part, (slice(y0, y1), slice(x0, x1))


def _hides_too_much(owner: NDArray[np.int16], full: list[int], solid: Mask, where: tuple[slice, slice]) -> bool:
    """Whether an object at `where` would leave too little to see of one behind it."""
    after = owner.copy()
    after[where][solid] = len(full)
    left = np.bincount(after[after >= 0], minlength=len(full) + 1)
    return any(left[number] * 100 < area * (100 - _MOST_HIDDEN) for number, area in enumerate(full))


def compose(dice: Dice, vocabulary: tuple[tuple[Thing, str], ...], allowed: tuple[str, ...]) -> Scene:
    """Compose one random scene.

    Parameters
    ----------
    dice : Dice
        Where the chance comes from.
    vocabulary : tuple of (Thing, str)
        What may occur, in class order; labels count from 1.
    allowed : tuple of str
        Families of drawings that may occur.
    """
    height, width = dice.between(*SIDES), dice.between(*SIDES)
    ground, ground_names = draw_ground(dice, height, width)
    image = ground.astype(np.int32)
    owner = np.full((height, width), -1, dtype=np.int16)
    touched = np.zeros((height, width), dtype=bool)
    usable = [number for number, (thing, _) in enumerate(vocabulary) if any(f in thing.drawings for f in allowed)]
    full: list[int] = []
    placed: list[tuple[Thing, int, str, tuple[int, int, int, int]]] = []
    for order in range(_COUNTS[dice.below(100)]):
        number = usable[dice.below(len(usable))]
        family, drawing = _throw_drawing(dice, vocabulary[number][0], allowed)
        # As in photographs: one main object, the others smaller or as large.
        low, high = (30, 65) if order == 0 else (15, 50)
        for _ in range(_TRIES):
            placement = _place(dice, drawing, (height, width), low, high)
            if placement is None:
                continue
            part, where = placement
            solid = part[..., 3] >= 128
            if _hides_too_much(owner, full, solid, where):
                continue
            image[where] = part[..., :3] + (image[where] * (255 - part[..., 3:]) + 127) // 255
            touched[where] |= part[..., 3] > 0
            owner[where][solid] = len(full)
            full.append(int(solid.sum()))
            placed.append((vocabulary[number][0], number + 1, family, _box(solid, where)))
            break
    instances = tuple(
        Instance(thing, label, family, owner == place, box) for place, (thing, label, family, box) in enumerate(placed)
    )
    return Scene(image.astype(np.uint8), ground, ground_names, touched, instances)


def _box(solid: Mask, where: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    left, top = int(columns[0]) + where[1].start, int(rows[0]) + where[0].start
    return left, top, int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


class Scenes:
    """The embedded benchmark: scenes made when they are asked for.

    Parameters
    ----------
    split : {"train", "val", "val_unseen"}
        `val_unseen` is drawn from a family that the other two never use.
    vocabulary : {"voc", "coco", "open"}
        Whose names occur: 19 of VOC's 20, COCO's where a drawing exists, or every name there is.
    length : int, optional
        Number of scenes; by default 2,000 for `train` and 200 for the others.
    seed : int
        Another seed, other scenes.

    Raises
    ------
    DatasetError
        If the split or the vocabulary is unknown, or the length negative.

    Examples
    --------
    >>> scenes = Scenes("val")
    >>> len(scenes), scenes.label_names[:3]
    (200, ('background', 'aeroplane', 'bicycle'))
    >>> scenes[0].mask.shape == scenes[0].image.shape[:2]
    True
    """

    def __init__(self, split: str = "val", vocabulary: str = "voc", length: int | None = None, seed: int = 0) -> None:
        if split not in _LENGTHS:
            raise DatasetError(f"There is no split {split!r} of the scenes. {nearest(split, _LENGTHS)}")
        if vocabulary not in _vocabularies():
            raise DatasetError(f"The scenes have no vocabulary {vocabulary!r}. {nearest(vocabulary, _vocabularies())}")
        if length is not None and length < 0:
            raise DatasetError(f"A dataset cannot have {length} scenes; give a length of 0 or more.")
        self.split, self.vocabulary, self.seed = split, vocabulary, seed
        self._length = _LENGTHS[split] if length is None else length
        self._things = _vocabularies()[vocabulary]
        self.label_names: tuple[str, ...] = ("background", *(name for _, name in self._things))

    @property
    def name(self) -> str:
        """`scenes`, the split and the vocabulary."""
        return f"scenes-{self.split}-{self.vocabulary}"

    @property
    def things(self) -> tuple[Thing, ...]:
        """The things that the labels from 1 on stand for."""
        return tuple(thing for thing, _ in self._things)

    @property
    def families(self) -> tuple[str, ...]:
        """The families of drawings that occur."""
        return families(unseen=self.split == "val_unseen")

    def __repr__(self) -> str:
        return f"Scenes({self.split!r}, {self.vocabulary!r}, length={self._length}, seed={self.seed})"

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | str) -> Sample:
        scene = self.scene(index)
        mask = np.zeros(scene.image.shape[:2], dtype=np.uint8)
        for instance in scene.instances:
            mask[instance.mask] = instance.label
        return Sample(self.id(index), scene.image, mask)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all scenes, in order."""
        return tuple(self.id(index) for index in range(len(self)))

    def id(self, index: int | str) -> str:
        """The id of a scene."""
        return f"{self.split}_{position(self, index):06d}"

    def scene(self, index: int | str) -> Scene:
        """Return a scene with all that is known about it."""
        place = position(self, index)
        # The place of a split in the key keeps the splits apart whatever seed is given.
        key = (tuple(_LENGTHS).index(self.split), tuple(_vocabularies()).index(self.vocabulary), self.seed, place)
        return compose(Dice(0x5CE7E5, *key), self._things, self.families)

    def instances(self, index: int | str) -> tuple[Instance, ...]:
        """The objects of a scene, from back to front."""
        return self.scene(index).instances
