"""The embedded benchmark: the same bytes everywhere, masks that are what was drawn, splits that share nothing."""

import hashlib
import re

import numpy as np
import pytest

from clipdiy_lab.datasets.dice import Dice
from clipdiy_lab.datasets.drawings import families, pixels, things
from clipdiy_lab.datasets.grounds import GROUNDS, draw_ground
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.datasets.scenes import Scenes, _turned
from clipdiy_lab.errors import DatasetError

SPLITS = ("train", "val", "val_unseen")
SOME = 40


def digest(scenes: Scenes, index: int) -> str:
    sample = scenes[index]
    shape = repr(sample.image.shape).encode()
    return hashlib.sha256(shape + sample.image.tobytes() + sample.mask.tobytes()).hexdigest()[:16]


PINNED = {
    ("train", "voc", 0): "2b518a033dc30cf0",
    ("train", "voc", 1999): "4a25253945c03de3",
    ("train", "open", 7): "83ae9b90e4af97c3",
    ("val", "voc", 0): "b502905a490d84db",
    ("val", "voc", 1): "76200bc4664f9122",
    ("val", "voc", 199): "d2e713d88f8cfb46",
    ("val", "coco", 3): "c4ef461a513c3084",
    ("val", "open", 11): "d8efd1daba15dc1e",
    ("val_unseen", "voc", 0): "ce142f7a048c4feb",
    ("val_unseen", "voc", 57): "7045c0adee2f9c3c",
    ("val_unseen", "open", 2): "aed0cda3a9a00e9d",
}
DICE = [64, 916, 411]
FIELD = [[96, 167, 234], [148, 241, 165]]


@pytest.mark.parametrize(("key", "expected"), PINNED.items())
def test_the_bytes_are_these(key, expected):
    split, vocabulary, index = key
    assert digest(Scenes(split, vocabulary), index) == expected


@pytest.mark.parametrize("name", GROUNDS)
def test_grounds_fill_any_size_and_are_not_flat(name):
    for height, width in ((200, 420), (420, 201), (317, 333)):
        picture = GROUNDS[name](Dice(3), height, width)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 4


def test_grounds_come_in_all_kinds():
    seen = {name for seed in range(200) for name in draw_ground(Dice(seed), 40, 40)[1]}
    assert seen == set(GROUNDS)


def test_dice_are_the_known_sequence():
    dice = Dice(1, 2)
    assert [dice.below(1000) for _ in range(3)] == DICE
    assert Dice(5).field(2, 3).tolist() == FIELD


@pytest.mark.parametrize("split", SPLITS)
def test_the_mask_is_what_was_drawn(split):
    scenes = Scenes(split)
    for index in range(SOME):
        scene, sample = scenes.scene(index), scenes[index]
        assert np.array_equal(sample.image, scene.image)
        assert np.array_equal(sample.image[~scene.touched], scene.ground[~scene.touched])
        assert not sample.mask[~scene.touched].any()
        together = np.zeros(sample.mask.shape, dtype=int)
        for instance in scene.instances:
            assert (sample.mask[instance.mask] == instance.label).all()
            assert scenes.label_names[instance.label] == (instance.thing.voc or instance.name)
            together += instance.mask
            x, y, width, height = instance.box
            inside = np.zeros_like(instance.mask)
            inside[y : y + height, x : x + width] = True
            assert not (instance.mask & ~inside).any()
        assert together.max() <= 1
        assert np.array_equal(together > 0, sample.mask > 0)


def test_drawings_keep_their_area_when_scaled_and_turned():
    drawing = pixels("noto", next(t for t in things() if t.name == "bus").drawings["noto"][0])
    solid = (drawing[..., 3] >= 128).sum()
    side = max(drawing.shape[:2])
    for length in (20, 47, 96, 200):
        for angle in (0, 30, 90, 215):
            turned = _turned(drawing, length, angle)
            assert turned[0].max() == turned[-1].max() == turned[:, 0].max() == turned[:, -1].max() == 0
            assert (turned[..., 3] >= 128).sum() == pytest.approx(solid * (length / side) ** 2, rel=0.06)
    assert np.array_equal(_turned(drawing, side, 0)[..., 3].max(), 255)


@pytest.mark.parametrize("split", SPLITS)
def test_objects_are_seen_and_labels_are_spread(split):
    scenes = Scenes(split, length=200)
    count = np.zeros(len(scenes.label_names), dtype=int)
    covered, sizes = [], set()
    for index in range(200):
        scene = scenes.scene(index)
        sizes.add(scene.image.shape[:2])
        assert all(200 <= side <= 420 for side in scene.image.shape[:2])
        assert len(scene.instances) <= 5
        for instance in scene.instances:
            count[instance.label] += 1
            assert instance.mask.any()
        covered.append(np.mean([scene.touched.mean()]))
    assert len(sizes) > 150
    assert count[1:].min() >= 5
    assert count[1:].max() <= 5 * count[1:].min()
    assert 0.05 < np.mean(covered) < 0.4


def test_splits_and_seeds_share_no_scene():
    found = [digest(Scenes(split), index) for split in SPLITS for index in range(SOME)]
    found += [digest(Scenes("val", seed=1), index) for index in range(SOME)]
    assert len(set(found)) == len(found)


def test_a_longer_dataset_starts_with_the_same_scenes():
    assert digest(Scenes("val", length=5), 4) == digest(Scenes("val"), 4)


def test_families_are_respected():
    assert families(unseen=True) == ("twemoji",)
    for split in SPLITS:
        used = {instance.family for index in range(SOME) for instance in Scenes(split).instances(index)}
        assert ("twemoji" in used) == (split == "val_unseen")
        assert used <= set(families(unseen=split == "val_unseen"))


def test_vocabularies():
    voc, coco, everything = (Scenes("val", vocabulary) for vocabulary in ("voc", "coco", "open"))
    assert len(voc.label_names) == 20
    assert voc.label_names[-1] == "tv/monitor"
    assert coco.label_names[:4] == ("background", "person", "bicycle", "car")
    assert len(coco.label_names) > 60
    assert sum(thing.voc is None and thing.coco is None for thing in things()) >= 150
    # The mask is bytes, and 255 says ignore.
    assert len(everything.label_names) <= 255
    for scenes in (voc, coco, everything):
        assert len(set(scenes.label_names)) == len(scenes.label_names)
        assert len(scenes.things) == len(scenes.label_names) - 1


def test_no_word_means_two_things():
    words = [word for thing in things() for word in {thing.name, *thing.synonyms}]
    assert len(set(words)) == len(words)


def test_every_thing_has_a_seen_and_an_unseen_drawing():
    for thing in things():
        assert "twemoji" in thing.drawings
        assert len(thing.drawings) >= 2
        for family, cells in thing.drawings.items():
            for cell in cells:
                drawing = pixels(family, cell)
                assert drawing.shape == (cell[2], cell[1], 4)
                assert (drawing[..., 3] >= 128).mean() > 0.02
                assert (drawing[..., :3] <= drawing[..., 3:]).all()


def test_it_is_a_dataset_with_python_indices():
    scenes = Scenes("val")
    assert isinstance(scenes, Dataset)
    assert scenes.name == "scenes-val-voc"
    assert scenes[-1].id == scenes[199].id == "val_000199"
    for index in (200, -201):
        with pytest.raises(IndexError):
            scenes[index]
    assert [sample.id for sample in Scenes("val", length=2)] == ["val_000000", "val_000001"]
    assert (len(Scenes("train")), len(scenes), len(Scenes("val_unseen"))) == (2000, 200, 200)
    assert "val" in repr(scenes)


def test_a_sample_is_found_by_its_id_too():
    scenes = Scenes("val")
    assert scenes["val_000199"].id == "val_000199"
    assert np.array_equal(scenes["val_000001"].image, scenes[1].image)
    with pytest.raises(DatasetError, match=r"no sample 'val_00001'; its `ids` list .* to 'val_000199'"):
        scenes["val_00001"]
    for index in (slice(0, 3), 1.5, None):
        with pytest.raises(DatasetError, match=rf"{re.escape(repr(index))}; expected its number, 0 to 199, or its id"):
            scenes[index]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"split": "test"}, "Known"),
        ({"split": "vall"}, "'val'"),
        ({"vocabulary": "cocoo"}, "'coco'"),
        ({"length": -1}, "0 or more"),
    ],
)
def test_bad_arguments_are_explained(arguments, hint):
    with pytest.raises(DatasetError, match=hint):
        Scenes(**arguments)
