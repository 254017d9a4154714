"""Scores of label maps that any tool wrote, counted as `evaluate` counts its own."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.cards import subject_card, work_key
from clipdiy_lab.analysis.diagnosis import diagnosed
from clipdiy_lab.analysis.evaluate import count_images, kept
from clipdiy_lab.analysis.protocols import Protocol, protocol_for
from clipdiy_lab.analysis.result_files import read_result, result_path, write_result
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.summary import summarise
from clipdiy_lab.datasets.capabilities import HasMasks
from clipdiy_lab.datasets.prediction_files import ColourKey, Problem, find_predictions, name_problems, read_label_map
from clipdiy_lab.datasets.predictions import read_card
from clipdiy_lab.datasets.sample import IGNORE, Dataset, as_dataset, ids_of
from clipdiy_lab.errors import DatasetError, OutputError, PredictionError
from clipdiy_lab.method import metrics
from clipdiy_lab.method.outlines import BAND, Outlines
from clipdiy_lab.pipeline.provenance import versions
from clipdiy_lab.pipeline.watch import ImageProgress, interruptible


def score(
    folder: str | os.PathLike[str],
    dataset: Dataset,
    limit: int | None = None,
    *,
    protocol: str | os.PathLike[str] | Protocol | None = None,
    method: str | None = None,
    colours: npt.ArrayLike | None = None,
    boundary: float = BAND,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Score label maps written by `evaluate` or any other tool.

    Parameters
    ----------
    folder : path
        One PNG per image at the image's own size, named after the image's id or the last part of it: label indices in
        a palette or 8- or 16-bit gray PNG, or RGB. Subfolders are searched. If there is a ``classes.txt``, it must
        list the labels of the dataset in order. Predictions at ignored pixels do not count.
    dataset : Dataset
    limit : int, optional
        Use only the first images.
    protocol : str, path or Protocol, optional
        As for `evaluate`. Sliding-window inference does not apply here; only the size at which masks are compared and
        the treatment of absent labels matter.
    method : str, optional
        Name of the method, for tables. Default: the name of the folder.
    colours : integer array, labels x 3, optional
        RGB colour of each label, for RGB files. Default: the colours of the benchmark, if it has any.
    boundary : float
        As for `evaluate`.
    out : path, optional
        As for `evaluate`; two runs are the same only if all files are identical.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    xarray.Dataset
        As `evaluate` gives it. Instead of configuration and weights, the card has ``method``, ``predictions_sha256``
        (of names and bytes of all files) and ``predictions_card``, the card stored in the folder.

    Raises
    ------
    PredictionError
        If a prediction is missing, superfluous, damaged, of another size than its image, or contains values that are
        not labels. The attribute ``problems`` lists all problems of all files.
    ConfigError, DatasetError, OutputError
        As `evaluate`; also if the folder cannot be listed, or the colours do not fit.

    Notes
    -----
    Predictions of `evaluate` get exactly the same counts as that run under protocols that compare at the masks' own
    size. Under "official" they are resized one more time (from their own size instead of the frame's), so a few
    pixels differ.
    """
    dataset = as_dataset(dataset)
    chosen = protocol_for(dataset, protocol)
    images, key, root = count_images(dataset, limit), ColourKey.of(dataset, colours), Path(folder).expanduser()
    ids = ids_of(dataset, len(dataset))
    files, problems = find_predictions(root, ids, images)
    problems += name_problems(root, dataset.label_names)
    card = {
        **subject_card(dataset, chosen, images, boundary),
        "method": method or root.resolve().name,
        "predictions_sha256": _fingerprint(files),
        "predictions_card": _origin(root),
        "versions": json.dumps(versions()),
    }
    parts = target = None
    if out is not None:
        card["key"] = work_key(card, repr(key.labels), dataset, (0, images - 1))
        target = result_path(out, f"{dataset.name}-{chosen.id}-{card['method']}-{card['key'][:12]}.nc")
        held = None if problems else read_result(target, card["key"])
        if held is not None:
            return diagnosed(held, dataset)
        parts = PartialCounts.beside(target, card["key"])
    counts = TrialCounts(1, len(dataset.label_names), per_image=True)
    work = _Work(dataset, chosen, root, files, key, problems, boundary)
    with (
        interruptible(lambda: kept(parts, images)),
        ImageProgress(images, dataset.name, show=progress) as counting,
    ):
        done = 0 if parts is None else parts.take_up(counts)
        counting.seen(done)
        for position in range(done, images):
            work.count(position, ids[position], counts)
            if parts is not None and not problems:
                parts.keep(counts, position + 1)
            counting.seen()
    if problems:
        if parts is not None:
            parts.remove()
        raise _report(root, problems, images)
    result = summarise(counts, dataset.label_names, chosen, card)
    if parts is not None and target is not None:
        write_result(result, target)
        parts.remove()
    return diagnosed(result, dataset)


class _Work:
    """Counts predictions, and collects what is wrong with them."""

    def __init__(
        self,
        dataset: Dataset,
        protocol: Protocol,
        root: Path,
        files: Mapping[str, Path],
        key: ColourKey,
        problems: list[Problem],
        boundary: float,
    ) -> None:
        self.boundary = boundary
        self.dataset, self.protocol, self.root, self.files, self.key = dataset, protocol, root, files, key
        self.problems = problems

    def count(self, position: int, image_id: str, counts: TrialCounts) -> None:
        """Add an image to the counts, or a problem to the problems."""
        path = self.files.get(image_id)
        if path is None:
            return  # among the problems already
        dataset = self.dataset
        mask = dataset.mask(position) if isinstance(dataset, HasMasks) else dataset[position].mask
        misfit: tuple[str, str] | tuple[()]
        try:
            labels = read_label_map(path, self.key).astype(np.int32)
        except DatasetError as error:
            misfit = ("file", str(error).rstrip("."))
        else:
            misfit = _misfit(labels, mask, len(self.dataset.label_names))
        if misfit:
            self.problems.append(Problem(path.relative_to(self.root).as_posix(), *misfit))
        if self.problems:
            return
        # Where the truth is ignored any value may stand, which resizing could move by a pixel.
        labels[labels >= len(self.dataset.label_names)] = 0
        truth = self.protocol.truth(mask)
        predicted = self.protocol.prediction(labels, mask.shape)
        confusion = metrics.confusion(truth, predicted, len(self.dataset.label_names))
        near = Outlines.of(truth, predicted, len(self.dataset.label_names), self.boundary)
        counts.add(position, image_id, [confusion], truth.size - int(confusion.sum()), [near])


def _misfit(
    labels: npt.NDArray[np.integer[Any]], mask: npt.NDArray[np.uint8], count: int
) -> tuple[str, str] | tuple[()]:
    """Return kind and text of what keeps a label map from being scored against a mask; empty if nothing does."""
    if labels.shape != mask.shape:
        (tall, wide), (height, width) = labels.shape, mask.shape
        return "size", f"it is {wide} x {tall}, its image {width} x {height}; predict at the image's own size"
    beyond = labels[(labels >= count) & (mask != IGNORE)]
    if not beyond.size:
        return ()
    values = ", ".join(map(str, np.unique(beyond)[:6]))
    return "values", f"{beyond.size} pixels that count have the values {values}; labels end at {count - 1}"


def _origin(root: Path) -> str:
    """What the folder says of its origin, as JSON; nothing if its card is that of another program."""
    try:
        return json.dumps(read_card(root), sort_keys=True)
    except OutputError:
        return "{}"


def _fingerprint(files: Mapping[str, Path]) -> str:
    """Hash names and bytes of all predictions."""
    digest = hashlib.sha256()
    for image_id, path in sorted(files.items()):
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            content = "unreadable"  # said when it is decoded
        digest.update(json.dumps([image_id, content]).encode())
    return digest.hexdigest()


def _report(root: Path, problems: Sequence[Problem], images: int) -> PredictionError:
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    told = []
    for kind, title in _KINDS.items():
        if several := kinds[kind]:
            more = f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
            listed = ", ".join(f"{problem.file!r}: {problem.text}" for problem in several[:_SHOWN])
            told.append(f"{len(several)} {title} ({listed}{more})")
    return PredictionError(
        f"the predictions in {str(root)!r} cannot be scored on {images} images: {'; '.join(told)}.",
        [(problem.file, problem.text) for problem in problems],
    )


_SHOWN = 3  # problems of a kind that the message lists; all of them are in `PredictionError.problems`
_KINDS = {
    "missing": "missing",
    "surplus": "surplus",
    "twice": "twice",
    "classes": "of other labels",
    "size": "of another size",
    "values": "with values beyond the labels",
    "file": "that cannot be read as labels",
}
