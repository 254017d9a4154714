"""Label maps that any tool wrote: which file belongs to which image, and what its pixels stand for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from clipdiy_lab.datasets.colour_tables import Colour, ColourTable, table_of_manifest
from clipdiy_lab.datasets.disk import explain
from clipdiy_lab.datasets.image_pixels import to_array
from clipdiy_lab.datasets.images import ENDINGS, decoding, describe, open_image
from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.palette import read_indices
from clipdiy_lab.datasets.readers import identity
from clipdiy_lab.datasets.sample import IGNORE, Dataset
from clipdiy_lab.errors import ConfigError, DatasetError, ImageError
from clipdiy_lab.files import read_text

CARD: Final = "card.json"
CLASSES: Final = "classes.txt"
_OPAQUE: Final = 255


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file of predictions.

    Attributes
    ----------
    file : str
        Relative to the folder.
    kind : str
        What all problems of the kind have in common, such as "missing".
    text : str
        What was found and what was expected.
    """

    file: str
    kind: str
    text: str


def find_predictions(folder: Path, ids: Sequence[str], wanted: int) -> tuple[dict[str, Path], list[Problem]]:
    """Find the prediction of every image, by the id or by its last part, as tools that write one flat folder have it.

    Parameters
    ----------
    folder : Path
        Its hidden files, and files that are no images, are left alone.
    ids : sequence of str
        Of all images of the dataset.
    wanted : int
        The first so many images need a prediction.

    Returns
    -------
    dict of str to Path
        By id.
    list of Problem
        Images without prediction, predictions without image, two predictions of one image.

    Raises
    ------
    DatasetError
        If the folder cannot be listed.
    """
    flat = Counter(image_id.rpartition("/")[2] for image_id in ids)
    known = {last: image_id for image_id in ids if flat[last := image_id.rpartition("/")[2]] == 1}
    known |= {image_id: image_id for image_id in ids}
    found: dict[str, Path] = {}
    problems, surplus = [], []
    for name in sorted(_images_in(folder)):
        stem = name.rpartition(".")[0]
        image_id = known.get(stem, known.get(stem.rpartition("/")[2]))
        if image_id is None:
            surplus.append(name)
        elif image_id in found:
            other = found[image_id].relative_to(folder).as_posix()
            problems.append(Problem(name, "twice", f"{other} is a prediction of {image_id!r} too; keep one"))
        else:
            found[image_id] = folder / name
    missing = [image_id for image_id in ids[:wanted] if image_id not in found]
    hints = [_renaming(missing, surplus), *[""] * len(missing)]  # said once
    problems += [
        Problem(f"{image_id}.png", "missing", f"there is no such file{hint}")
        for image_id, hint in zip(missing, hints, strict=False)
    ]
    problems += [Problem(name, "surplus", "the dataset has no such image") for name in surplus]
    return found, problems


def _images_in(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DatasetError(f"the predictions in {str(folder)!r} cannot be listed: {explain(error, folder)}") from error

    if not folder.is_dir():
        raise DatasetError(f"there is no folder {str(folder)!r}; give the folder that holds the predictions.")
    for base, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                yield Path(base, name).relative_to(folder).as_posix()


def _renaming(missing: Sequence[str], surplus: Sequence[str]) -> str:
    """Say what the names of surplus files have behind the ids, if that is what is wrong with them."""
    lost, endings = set(missing), Counter[str]()
    for name in surplus:
        stem = name.rpartition(".")[0].rpartition("/")[2]
        endings.update(stem[cut:] for cut in range(1, len(stem)) if stem[:cut] in lost)
    ending, times = endings.most_common(1)[0] if endings else ("", 0)
    return f" ({times} files have {ending!r} behind an id: rename them)" if times else ""


def name_problems(folder: Path, label_names: Sequence[str]) -> list[Problem]:
    """Compare the names in the `classes.txt` of a folder of predictions, if there is one, with a dataset's."""
    path = folder / CLASSES
    if not path.exists():
        return []
    try:
        lines = [line.strip() for line in read_text(path, encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, ValueError) as error:
        return [Problem(CLASSES, "classes", f"it cannot be read ({error})")]
    for index, (mine, theirs) in enumerate(zip(lines, label_names, strict=False)):
        if mine != theirs:
            return [Problem(CLASSES, "classes", f"label {index} is {mine!r} there and {theirs!r} in the dataset")]
    if len(lines) != len(label_names):
        return [Problem(CLASSES, "classes", f"it names {len(lines)} labels; the dataset has {len(label_names)}")]
    return []


@dataclass(frozen=True)
class ColourKey:
    """What the pixels of predictions stand for.

    Attributes
    ----------
    labels : mapping of (red, green, blue) to int
        Label of each colour of an RGB file; empty where no colours are known.
    palette : ColourTable or None
        Colours that the palette of an index file should have.
    """

    labels: Mapping[Colour, int]
    palette: ColourTable | None = None

    @classmethod
    def of(cls, dataset: Dataset, colours: Any = None) -> ColourKey:
        """Return the key of a dataset.

        Parameters
        ----------
        dataset : Dataset
        colours : integer array, labels x 3, optional
            RGB of each label. Default: those of the benchmark's manifest.

        Raises
        ------
        ConfigError
            If there is another number of colours than labels, or two labels share one.
        """
        manifest, count = manifest_of(dataset), len(dataset.label_names)
        palette, table = None, None
        if manifest is not None and count <= IGNORE:
            palette, table = manifest.palette, table_of_manifest(manifest, identity(count))
        if colours is None:
            known = {} if palette is None else dict(zip(palette.colours, range(count), strict=True))
            if len(known) < count:  # labels that share a colour cannot be told apart
                known = {}
            ignored = () if palette is None or not known else palette.ignored
            return cls({**dict.fromkeys(ignored, IGNORE), **known}, table)
        rows = np.asarray(colours)
        if rows.shape != (count, 3) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() > _OPAQUE:
            raise ConfigError(
                f"colours has the shape {rows.shape} and type {rows.dtype}; expected one RGB colour of whole numbers "
                f"from 0 to 255 for each of {count} labels."
            )
        labels = {(int(red), int(green), int(blue)): label for label, (red, green, blue) in enumerate(rows)}
        if len(labels) < count:
            raise ConfigError("two labels have the same colour, so they cannot be told apart; give each its own.")
        return cls(labels)


def read_label_map(path: str | os.PathLike[str], key: ColourKey | None = None) -> NDArray[np.integer[Any]]:
    """Read the labels of a PNG that any tool wrote.

    Parameters
    ----------
    path : str or path
        Indices as palette or gray, of 8 or 16 bits, or RGB. An alpha channel must be opaque everywhere.
    key : ColourKey, optional
        Needed for RGB.

    Returns
    -------
    integer array, height x width
        As stored.

    Raises
    ------
    DatasetError
        If it is damaged, no PNG, has transparent pixels, colours that the key does not know, or a palette that
        contradicts it.
    """
    name = describe(path)
    try:
        with open_image(path) as image, decoding(name):
            if not isinstance(image, PngImageFile):
                raise DatasetError(
                    f"it is a {image.format} file; expected a PNG, because lossy compression changes labels"
                )
            mode = image.mode
            if mode in ("I;16", "I;16B", "I"):
                return np.asarray(image).astype(np.uint16)
            if mode in ("LA", "RGBA"):
                _require_opaque(to_array(image.getchannel("A")))
            if mode == "LA":
                return to_array(image.getchannel("L"))
            if mode in ("RGB", "RGBA"):
                return _from_colours(np.asarray(image.convert("RGB")), {} if key is None else key.labels)
        indices, palette = read_indices(path)
        if palette is not None and key is not None and key.palette is not None:
            key.palette.check(indices, palette, f"the prediction {name}")
    except ImageError as error:
        raise DatasetError(str(error)) from error
    return indices


def _require_opaque(alpha: UInt8[np.ndarray, "y x"]) -> None:
    if int(alpha.min()) < _OPAQUE:
        raise DatasetError("it has transparent pixels, whose label is undefined; save it without alpha")


def _from_colours(pixels: UInt8[np.ndarray, "y x 3"], labels: Mapping[Colour, int]) -> NDArray[np.integer[Any]]:
    if not labels:
        gray = " (its three channels are equal: save one of them)" if np.ptp(pixels, axis=-1).max() == 0 else ""
        raise DatasetError(f"it is RGB, but no colours were given; give colours=, one per label, or indices{gray}")
    known = np.array([(red << 16) + (green << 8) + blue for red, green, blue in labels], dtype=np.int64)
    order = np.argsort(known)
    packed = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    places = order[np.minimum(np.searchsorted(known, packed, sorter=order), len(known) - 1)]
    strange = np.argwhere(known[places] != packed)
    if len(strange):
        colour = tuple(int(part) for part in pixels[tuple(strange[0])])
        raise DatasetError(
            f"{len(strange)} of its colours belong to no label, the first being {colour}; give the right colours=, "
            "or save it without smoothing"
        )
    indices: NDArray[np.integer[Any]] = np.array(list(labels.values()))[places]
    return indices
