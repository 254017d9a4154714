"""Whether a dataset keeps what the lab relies on."""

from __future__ import annotations

from functools import partial

import numpy as np

from clipdiy_lab.datasets.capabilities import HasIds, HasMasks
from clipdiy_lab.datasets.sample import IGNORE, Dataset, Sample, as_dataset
from clipdiy_lab.pipeline.conformance.report import Conformance, UnmetError, named, require, travelled


def check_dataset(dataset: object, limit: int = 8) -> Conformance:
    """Check that your own dataset meets all requirements of the lab.

    Parameters
    ----------
    dataset : object
        Should meet `datasets.sample.Dataset`.
    limit : int
        Number of samples to read.

    Returns
    -------
    Conformance
        ``ok``, ``table``, and a text that explains what to fix. `lab.validate_folder` checks all files of a folder.

    Examples
    --------
    >>> import clipdiy_lab as lab
    >>> lab.check_dataset(lab.open_dataset("scenes"), limit=2).ok
    True
    """
    report = Conformance(named(dataset))

    def protocol() -> str:
        as_dataset(dataset)
        return "name, label_names, a length, samples by number"

    advice = "Give the object all of these; see clipdiy_lab.datasets.sample.Dataset."
    if not report.look("protocol", advice, protocol):
        return report
    subject = as_dataset(dataset)
    advice = "Name every label once; a mask of 8 bits holds at most 255, and 255 itself means: ignore."
    if not report.look("labels", advice, lambda: _labels(subject)):
        return report
    if not report.look("length", "Return the number of samples, at least one.", lambda: _length(subject)):
        return report
    places = range(min(limit, len(subject)))
    advice = "Return objects with id, image (H x W x 3 uint8) and mask (H x W uint8, indices of label_names, or 255)."
    whole = [report.look(f"sample {n}", advice, partial(_sample, subject, n)) for n in places]
    if not all(whole):
        return report
    report.look("ids", "Give every sample an id of its own, a text.", lambda: _ids(subject, len(places)))
    advice = "Read the same pixels every time, and hand out copies: no random crops, no shared arrays."
    report.look("determinism", advice, lambda: _again(subject))
    report.look("end", "Raise IndexError for a number past the end, so that loops end.", lambda: _end(subject))
    advice = "Let the object be pickled (no open files): workers get a copy."
    report.look("pickle", advice, lambda: _equal(subject[0], travelled(subject)[0]))
    if isinstance(subject, HasMasks):
        mask = subject.mask
        advice = "Let mask(number) return the mask of that sample."
        report.look("mask", advice, lambda: require(np.array_equal(mask(0), subject[0].mask), "the mask of sample 0"))
    return report


def _labels(dataset: Dataset) -> str:
    names = list(dataset.label_names)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UnmetError(f"label_names is {names[:5]}, expected strings")
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"twice: {', '.join(twice)}")
    return require(len(names) <= IGNORE, f"{len(names)} labels")


def _length(dataset: Dataset) -> str:
    return require(len(dataset) > 0, f"{len(dataset)} samples")


def _sample(dataset: Dataset, place: int) -> str:
    sample = dataset[place]
    image, mask = sample.image, sample.mask
    for name, array, dims in (("image", image, 3), ("mask", mask, 2)):
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != dims or not array.size:
            what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise UnmetError(f"{name} is {what}")
    require(image.shape == (*mask.shape, 3), f"image {image.shape}, mask {mask.shape}")
    values = np.unique(mask)
    strange = [int(value) for value in values if value >= len(dataset.label_names) and value != IGNORE]
    require(not strange, f"mask values {strange[:5]}, but there are {len(dataset.label_names)} labels")
    return f"{sample.id!r}, {mask.shape[0]} x {mask.shape[1]}, {len(values)} values"


def _ids(dataset: Dataset, count: int) -> str:
    ids = [dataset[place].id for place in range(count)]
    require(all(isinstance(one, str) and one for one in ids), f"ids {ids[:3]}")
    require(len(set(ids)) == len(ids), "two samples have the same id")
    if isinstance(dataset, HasIds):
        known = dataset.ids
        same = len(known) == len(dataset) and list(known[:count]) == ids
        require(same, "`ids` lists the samples in their order" if same else "`ids` lists other samples")
    return f"{len(ids)} different ones"


def _again(dataset: Dataset) -> str:
    first = dataset[0]
    kept = Sample(first.id, first.image.copy(), first.mask.copy())
    if first.image.flags.writeable:
        np.bitwise_not(first.image, out=first.image)
    return _equal(kept, dataset[0])


def _equal(one: Sample, other: Sample) -> str:
    same = one.id == other.id and np.array_equal(one.image, other.image) and np.array_equal(one.mask, other.mask)
    return require(same, "equal" if same else "the sample differs from itself")


def _end(dataset: Dataset) -> str:
    try:
        dataset[len(dataset)]
    except IndexError:
        return "IndexError"
    raise UnmetError(f"a sample number {len(dataset)} of {len(dataset)}")
