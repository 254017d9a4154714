"""What a score is about, as attributes that travel with it, and the key by which the same work is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.datasets.capabilities import HasFilter, HasIds, HasSplit
from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ConfigError, DatasetError
from clipdiy_lab.method.outlines import BAND

_WIDEST = 0.5


def subject_card(dataset: Dataset, protocol: Protocol, images: int, boundary: float) -> dict[str, Any]:
    """Collect what dataset, protocol and the band of Boundary IoU decide about a score of so many images.

    Raises
    ------
    ConfigError
        If the band is no share of the diagonal.
    """
    if isinstance(boundary, bool) or not isinstance(boundary, int | float) or not 0 < boundary <= _WIDEST:
        raise ConfigError(
            f"boundary is {boundary!r}; expected the width of the band as a share of the diagonal, above 0 and at most "
            f"{_WIDEST}, such as {BAND}."
        )
    benchmark, split = _names(dataset)
    truth = "own size" if protocol.truth_short is None else f"short side {protocol.truth_short}, Pillow's nearest"
    names = json.dumps(list(dataset.label_names))
    return {
        "dataset": dataset.name,
        "benchmark": benchmark,
        "split": split,
        "images": images,
        "images_of_split": len(dataset),
        "filter": (dataset.filter if isinstance(dataset, HasFilter) else None) or "none",
        "protocol": protocol.id,
        "protocol_card": protocol.model_dump_json(),
        "truth_size": truth,
        "absent": "counts 0" if protocol.absent == "zero" else "left out of the mean",
        "boundary": float(boundary),
        "labels_sha256": hashlib.sha256(names.encode()).hexdigest(),
    }


def _names(dataset: Dataset) -> tuple[str, str]:
    """Name of the benchmark and of its part; a user-provided folder has no parts."""
    manifest = manifest_of(dataset)
    if manifest is not None:
        return manifest.id, dataset.name.removeprefix(f"{manifest.id}-")
    if isinstance(dataset, HasSplit) and dataset.split is not None:
        return dataset.name.partition(f"-{dataset.split}")[0], dataset.split
    return dataset.name, ""


def work_key(card: dict[str, Any], identity: str, dataset: Dataset, ends: Sequence[int]) -> str:
    """Hash what makes two runs the same: card, label names, ids, manifest, what is scored, two samples.

    Parameters
    ----------
    card : dict
    identity : str
        Of what is scored: equal identities, equal predictions.
    dataset : Dataset
    ends : sequence of int
        Places of the first and the last sample that count; their pixels are hashed.

    Raises
    ------
    DatasetError
        If the dataset has neither ids nor a repr of its own.
    """
    if isinstance(dataset, HasIds):
        ids: Any = dataset.ids
    else:
        if type(dataset).__repr__ is object.__repr__:
            raise DatasetError(
                f"the dataset {dataset.name!r} has neither `ids` nor a repr that tells it from others, so its result "
                "cannot be found again. Give it `ids`, or leave out `out`."
            )
        ids = repr(dataset)
    manifest = manifest_of(dataset)
    samples = [dataset[place] for place in ends]
    pixels = [hashlib.sha256(part.tobytes()).hexdigest() for one in samples for part in (one.image, one.mask)]
    described = None if manifest is None else manifest.model_dump_json()
    facts = [card, identity, list(dataset.label_names), ids, pixels, described]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
