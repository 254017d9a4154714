"""What a run has counted so far: one pooled matrix, and three short vectors an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clipdiy_lab.method.metrics import Counts, Hits, Tally


class Counted:
    """Counts of the images in order. A matrix an image would be 1.2 GB for COCO-Stuff; three vectors are 20 MB.

    Parameters
    ----------
    labels : int
        Number of labels.

    Attributes
    ----------
    tally : Tally
        Pooled.
    ids : list of str
        The images counted, in order.
    """

    def __init__(self, labels: int) -> None:
        self.tally = Tally(labels)
        self.ids: list[str] = []
        self._hits: list[Hits] = []
        self._ignored: list[int] = []

    def add(self, image_id: str, truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> None:
        """Count an image; arguments as in `metrics.confusion`."""
        counts = self.tally.update(truth, predicted)
        self.ids.append(image_id)
        self._hits.append(Hits.of(counts))
        self._ignored.append(truth.size - int(counts.sum()))

    @property
    def hits(self) -> Hits:
        """Of every image, images x labels."""
        shape = (len(self.ids), len(self.tally.counts))
        return Hits(*(np.array([one[i] for one in self._hits], dtype=np.int64).reshape(shape) for i in range(3)))

    @property
    def ignored(self) -> Counts:
        """Ignored pixels of every image."""
        return np.array(self._ignored, dtype=np.int64)

    def arrays(self, start: int) -> dict[str, npt.NDArray[Any]]:
        """Return the images from `start` on, and the pooled counts of all, as arrays for a file."""
        hits = np.array(self._hits[start:], dtype=np.int64)
        return {
            "counts": self.tally.counts,
            "hits": hits,
            "ids": np.array(self.ids[start:], dtype=np.str_),
            "ignored": self.ignored[start:],
        }

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return what `arrays` gave from the first image on."""
        counted = cls(len(arrays["counts"]))
        counted.extend(arrays)
        return counted

    def append(self, part: Counted) -> None:
        """Take over the images of a part that follows, with its own pooled counts."""
        self.tally.merge(part.tally)
        self.ids += part.ids
        self._hits += part._hits
        self._ignored += part._ignored

    def extend(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `arrays` gave for the images that follow."""
        self.ids += [str(one) for one in arrays["ids"]]
        self._hits += [Hits(*one) for one in arrays["hits"]]
        self._ignored += [int(one) for one in arrays["ignored"]]
        self.tally.counts = arrays["counts"].astype(np.int64)
        self.tally.ignored = sum(self._ignored)
