"""An annotation format is a reader and an entry of the table; manifests, `open_dataset`, checks and scoring follow."""

import numpy as np
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.datasets import formats
from clipdiy_lab.datasets.layouts import mask_entries
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.datasets.readers import FileDataset, lookup_of
from clipdiy_lab.datasets.verify import verify_dataset
from clipdiy_lab.pipeline.segmenter import Segmenter

MANIFEST = """
id: arrays
title: Masks saved by NumPy
summary: Two images.
reader: arrays
archives: []
root: arrays
layout: {image: "images/{id}.png", mask: "masks/{id}.npy", sources: [made here]}
splits: {val: {images: 2, source: made here}}
raw_ignore: [255]
label_names: [background, cat]
label_source: made here
licence: {images: none, annotations: none, redistribution: false, url: null, source: made here}
"""


class ArrayMasks(FileDataset):
    """The reader: what a mask file holds."""

    def _raw(self, entry):
        return np.load(entry.mask, allow_pickle=False)


def open_arrays(manifest, request):
    entries = mask_entries(manifest, request.split, request.root, request.ids, request.partial)
    return ArrayMasks("arrays-val", manifest.names(request.names), entries, lookup_of(manifest), manifest=manifest)


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(
        formats, "FORMATS", {**formats.FORMATS, "arrays": formats.Format(open_arrays, needs=("layout.mask",))}
    )
    for part in ("images", "masks"):
        (tmp_path / "data/arrays" / part).mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (32, 24), (90 * number, 40, 10)).save(tmp_path / f"data/arrays/images/{number}.png")
        np.save(tmp_path / f"data/arrays/masks/{number}.npy", np.full((24, 32), number, np.uint8))
    path = tmp_path / "arrays.yaml"
    path.write_text(MANIFEST)
    return path


def test_it_is_opened_verified_and_scored(manifest):
    dataset = lab.open_dataset(manifest)
    assert [int(dataset[index].mask.max()) for index in range(2)] == [0, 1]
    assert list(verify_dataset(load_manifest(manifest), deep=True)["problem"]) == [""]
    segmenter = Segmenter(lab.load("tiny").encoder, "none")
    with pytest.warns(errors.ClipdiyWarning, match="drawings"):
        result = lab.evaluate(segmenter, dataset, lab.Config(scales=(64,), image_size=(64, 64)))
    assert int(result["confusion"].sum()) == 2 * 24 * 32


def test_what_it_needs_is_asked_of_the_manifest(manifest):
    manifest.write_text(MANIFEST.replace('"masks/{id}.npy"', "null"))
    with pytest.raises(errors.DatasetError, match=r"line 5, field reader: layout.mask is needed"):
        lab.open_dataset(manifest)
    manifest.write_text(MANIFEST.replace("reader: arrays", "reader: array"))
    with pytest.raises(errors.DatasetError, match=r"field reader: there is no reader 'array'.*arrays"):
        lab.open_dataset(manifest)
