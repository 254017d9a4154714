"""What the tests of the readers share: plain ways to read files, and comparisons."""

import shutil
import warnings

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import clipdiy_lab as lab
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import DatasetError


def indices(path):
    with Image.open(path) as image:
        return np.asarray(image)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def histogram(masks):
    return sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)


def check(dataset, expected):
    """Compare a dataset with {id: (image, mask)} in order, and the class histograms of both."""
    assert isinstance(dataset, Dataset)
    assert dataset.ids == tuple(expected)
    assert len(dataset) == len(expected)
    samples = list(dataset)
    for sample, (name, (image, mask)) in zip(samples, expected.items(), strict=True):
        assert sample.id == name
        assert sample.image.dtype == sample.mask.dtype == np.uint8
        assert np.array_equal(sample.image, image)
        assert np.array_equal(sample.mask, mask)
    counts = histogram(sample.mask for sample in samples)
    assert np.array_equal(counts, histogram(mask.astype(np.uint8) for _, mask in expected.values()))
    assert counts.sum() == sum(image.shape[0] * image.shape[1] for image, _ in expected.values())
    assert np.array_equal(dataset.mask(-1), samples[-1].mask)
    assert np.array_equal(dataset.mask(dataset.ids[-1]), samples[-1].mask)
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    with pytest.raises(DatasetError, match="has no sample 'none of these'"):
        dataset["none of these"]


def paint(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


def copy_voc(source, root):
    """The real official samples in VOC's layout, with a list of our own."""
    for part in ("JPEGImages", "SegmentationClass"):
        shutil.copytree(source / part, root / part)
    ids = ["2008_000533", "2007_000033", "2007_000129"]  # not sorted: the order of the list counts
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids))
    return root


def official_masks(content, numbers):
    """Restate the official loop: the first instance wins, crowds are kept, categories outside the list are skipped."""
    masks = {}
    for facts in content["images"]:
        height, width = facts["height"], facts["width"]
        mask = np.zeros((height, width), dtype=np.uint8)
        for one in content["annotations"]:
            if one["image_id"] != facts["id"] or one["category_id"] not in numbers:
                continue
            with warnings.catch_warnings():  # its decoder is not ready for NumPy 2
                warnings.simplefilter("ignore", DeprecationWarning)
                drawn = coco_mask.decode(coco_mask.frPyObjects(one["segmentation"], height, width))
            drawn = drawn.sum(axis=2) > 0 if drawn.ndim == 3 else drawn > 0
            mask += ((mask == 0) & drawn) * np.uint8(numbers.index(one["category_id"]))
        masks[facts["file_name"].removesuffix(".jpg").removesuffix(".png")] = mask
    return masks


def refused(*args, **options):
    with pytest.raises(DatasetError) as caught:
        lab.open_dataset(*args, **options)
    return str(caught.value)
