"""Scenes written in VOC's and COCO's layouts read back as the arrays they were."""

import json

import numpy as np
import pytest
from PIL import Image
from scenes_files import run_lengths, voc_indices, write_coco, write_voc

from clipdiy_lab.datasets.palette import voc_colormap
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import OutputError

LENGTH = 6


def decoded(segmentation):
    flat = np.repeat(np.arange(len(segmentation["counts"])) % 2, segmentation["counts"])
    return flat.reshape(segmentation["size"][::-1]).T.astype(bool)


@pytest.mark.parametrize("vocabulary", ["voc", "coco", "open"])
def test_voc_reads_back(tmp_path, vocabulary):
    scenes = Scenes("val", vocabulary, length=LENGTH)
    steps = []
    root = write_voc(scenes, tmp_path / "voc", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(n + 1, LENGTH) for n in range(LENGTH)]
    ids = (root / "ImageSets/Segmentation/val.txt").read_text().split()
    names = (root / "labels.txt").read_text().splitlines()
    assert ids == [sample.id for sample in scenes]
    for sample in scenes:
        with Image.open(root / f"JPEGImages/{sample.id}.png") as image:
            assert np.array_equal(np.asarray(image), sample.image)
        with Image.open(root / f"SegmentationClass/{sample.id}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette() == voc_colormap().ravel().tolist()
            stored = np.asarray(mask)
        assert np.array_equal(stored, voc_indices(scenes)[sample.mask])
        for label in np.unique(sample.mask):
            assert names[voc_indices(scenes)[label]] == scenes.label_names[label]


def test_voc_has_vocs_own_numbers():
    scenes = Scenes("val")
    numbers = dict(zip(scenes.label_names, voc_indices(scenes).tolist(), strict=True))
    assert (numbers["background"], numbers["aeroplane"], numbers["dog"], numbers["tv/monitor"]) == (0, 1, 12, 20)


@pytest.mark.parametrize("vocabulary", ["voc", "coco", "open"])
def test_coco_reads_back(tmp_path, vocabulary):
    scenes = Scenes("val_unseen", vocabulary, length=LENGTH)
    root = write_coco(scenes, tmp_path / "coco")
    content = json.loads((root / "annotations/instances_val_unseen.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert len(names) == len(scenes.label_names) - 1
    assert len({annotation["id"] for annotation in content["annotations"]}) == len(content["annotations"])
    for number, facts in enumerate(content["images"]):
        with Image.open(root / "images/val_unseen" / facts["file_name"]) as image:
            assert np.array_equal(np.asarray(image), scenes[number].image)
        found = [one for one in content["annotations"] if one["image_id"] == facts["id"]]
        for annotation, instance in zip(found, scenes.instances(number), strict=True):
            mask = decoded(annotation["segmentation"])
            assert np.array_equal(mask, instance.mask)
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
            x, y, width, height = annotation["bbox"]
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert names[annotation["category_id"]] == (instance.thing.coco or instance.name)


def test_coco_keeps_cocos_numbers(tmp_path):
    root = write_coco(Scenes("val", "coco", length=1), tmp_path / "coco")
    content = json.loads((root / "annotations/instances_val.json").read_text())
    numbers = {category["name"]: category["id"] for category in content["categories"]}
    assert (numbers["person"], numbers["stop sign"], numbers["toothbrush"]) == (1, 13, 90)


def test_run_lengths_go_down_the_columns():
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 0] = mask[2, 3] = True
    assert run_lengths(mask) == {"counts": [1, 1, 9, 1], "size": [3, 4]}
    assert np.array_equal(decoded(run_lengths(~mask)), ~mask)


@pytest.mark.parametrize("write", [write_voc, write_coco])
def test_nothing_half_written_stays(tmp_path, write, monkeypatch):
    scenes = Scenes("val", length=2)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        write(scenes, taken)

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(scenes, tmp_path / "new", progress=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    write_voc(Scenes("val", length=1), tmp_path / "empty")
    assert (tmp_path / "empty" / "labels.txt").exists()
