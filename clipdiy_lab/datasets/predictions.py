"""Predictions as files: one PNG of label indices per image, `classes.txt`, and a card that says how they came about."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.palette import voc_colormap, write_label_png
from clipdiy_lab.datasets.prediction_files import CARD, CLASSES, read_label_map
from clipdiy_lab.datasets.sample import IGNORE, Dataset
from clipdiy_lab.errors import DatasetError, LabelError, OutputError, nearest
from clipdiy_lab.files import atomic_path, read_text
from clipdiy_lab.text import listed


@dataclass(frozen=True)
class PredictionFolder:
    """A folder that predictions are written to.

    Attributes
    ----------
    folder : Path
    label_names : tuple of str
        In the order of the indices.
    colours : uint8 array, labels x 3
        RGB, for the palette.
    soft : tuple of str
        Labels whose scores and probabilities are written too.
    """

    folder: Path
    label_names: tuple[str, ...]
    colours: UInt8[np.ndarray, "n 3"]
    soft: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: str | os.PathLike[str], dataset: Dataset, soft: Sequence[str] = ()) -> PredictionFolder:
        """Return the folder for predictions of a dataset, in the colours of the benchmark, else of PASCAL VOC.

        Raises
        ------
        LabelError
            If a label of `soft` is none of the dataset's, or stands there twice.
        """
        manifest, names = manifest_of(dataset), tuple(dataset.label_names)
        if manifest is not None and manifest.palette is not None:
            colours = np.array(manifest.palette.colours, dtype=np.uint8)
        elif len(names) <= IGNORE:
            colours = voc_colormap(len(names))
        else:
            colours = np.zeros((len(names), 3), dtype=np.uint8)  # gray of 16 bits, which has no palette
        return cls(Path(folder).absolute(), names, colours, _known(soft, names))

    def claim(self, card: Mapping[str, Any]) -> None:
        """Make the folder this run's, or find that it is.

        Parameters
        ----------
        card : mapping
            How the predictions come about, plain JSON; ``key`` tells runs apart.

        Raises
        ------
        OutputError
            If the folder holds anything else, or the predictions of another run, or cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            strange = sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be created or listed ({error.strerror}); choose another folder."
            ) from error
        if CARD in strange:
            self._require_same(card)
        elif strange:
            raise OutputError(
                f"{self.folder} holds {strange[0]!r} and no {CARD}, so it is not from evaluate; choose a new folder "
                "for the predictions."
            )
        else:
            with atomic_path(self.folder / CARD) as part:
                part.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        names = "".join(f"{name}\n" for name in self.label_names)
        if not (self.folder / CLASSES).exists():
            with atomic_path(self.folder / CLASSES) as part:
                part.write_text(names, encoding="utf-8")

    def _require_same(self, card: Mapping[str, Any]) -> None:
        held = read_card(self.folder)
        if held.get("key") == card["key"]:
            return
        differs = [name for name in {**card, **held} if name != "key" and held.get(name) != card.get(name)]
        what = ", ".join(differs[:4]) or "the images"
        raise OutputError(
            f"{self.folder} holds the predictions of another run, which differs in {what}; choose another folder."
        )

    def path(self, image_id: str, suffix: str = ".png") -> Path:
        """File of an image.

        Raises
        ------
        DatasetError
            If the id leads out of the folder.
        """
        name = PurePosixPath(image_id)
        if not image_id or name.is_absolute() or ".." in name.parts or "\0" in image_id or "\\" in image_id:
            raise DatasetError(f"the id {image_id!r} is not a valid file name, so nothing is written.")
        return self.folder / f"{image_id}{suffix}"

    def holds(self, ids: Iterable[str]) -> bool:
        """Whether there is a prediction of every image, with its scores where they are asked for."""
        suffixes = (".png", ".nc") if self.soft else (".png",)
        return all(self.path(str(image_id), suffix).exists() for image_id in ids for suffix in suffixes)

    def write(self, image_id: str, labels: Integer[np.ndarray, "y x"]) -> None:
        """Write the label map of an image, whole or not at all; one that is there already must be the same.

        Raises
        ------
        OutputError
            If another prediction is there, or the folder cannot be written to.
        """
        target = self.path(image_id)
        if target.exists():
            if not _holds(target, labels):
                raise OutputError(
                    f"{target} already exists and holds another prediction, so it is not replaced; remove it, or "
                    "choose another folder."
                )
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        write_label_png(target, labels, self.colours)


def _known(soft: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    asked = (soft,) if isinstance(soft, str) else tuple(soft)
    for label in asked:
        if label not in names:
            raise LabelError(f"the dataset has no label {label!r}, whose scores are asked for. {nearest(label, names)}")
    if len(set(asked)) < len(asked):
        raise LabelError(f"scores are asked for of {listed(asked)}, one of them twice; name each once.")
    return asked


def _holds(path: Path, labels: Integer[np.ndarray, "y x"]) -> bool:
    """Whether a file holds these labels."""
    try:
        return np.array_equal(read_label_map(path), labels)
    except DatasetError:
        return False


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a folder of predictions; empty where there is none.

    Raises
    ------
    OutputError
        If there is one that cannot be read.
    """
    if not (folder / CARD).exists():
        return {}
    try:
        card = json.loads(read_text(folder / CARD))
        if not isinstance(card, dict):
            raise ValueError(f"it holds a {type(card).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{folder / CARD} is not a card of predictions ({error}); choose another folder.") from error
    return card
