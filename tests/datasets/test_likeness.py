"""Whether a picture may be a scene: no scene is doubted, however it is stored without loss, and photographs are."""

import io

import numpy as np
import pytest
from PIL import Image

from clipdiy_lab.datasets.images import read_image
from clipdiy_lab.datasets.likeness import may_be_scene
from clipdiy_lab.datasets.scenes import Scenes

SPLITS = ("train", "val", "val_unseen")


def saved(pixels, kind, **options):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return read_image(content.getvalue())


@pytest.mark.parametrize("vocabulary", ["voc", "coco", "open"])
@pytest.mark.parametrize("split", SPLITS)
def test_no_scene_is_doubted(split, vocabulary):
    scenes = Scenes(split, vocabulary)
    doubted = [place for place in range(0, len(scenes), len(scenes) // 8) if not may_be_scene(scenes[place].image)]
    assert doubted == []


def test_nor_one_of_another_seed_or_from_a_file_that_loses_nothing():
    scenes = Scenes("val", seed=11)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})):
        assert all(may_be_scene(saved(scenes[place].image, kind, **options)) for place in range(3))


def test_every_photograph_of_the_samples_is_told_by_its_size_or_its_colours(shared):
    photographs = sorted(shared("samples").rglob("*.jpg"))
    assert len({path.name for path in photographs}) > 100
    assert [path.name for path in photographs if may_be_scene(read_image(path))] == []
    for name in ("chelsea", "coffee", "voc_000030"):
        with np.load(shared(f"golden/input_{name}.npz")) as arrays:
            pictures = [array for array in arrays.values() if array.ndim == 3 and array.dtype == np.uint8]
        assert pictures
        assert not any(map(may_be_scene, pictures))


def test_photographs_of_the_size_of_scenes_are_told_by_their_colours(shared):
    """Size tells nothing here, so some go unnoticed: flat backgrounds, few colours."""
    paths = {path.name: path for path in shared("samples/coco").rglob("*.jpg")}
    small = []
    for path in paths.values():
        with Image.open(path) as photograph:
            photograph.thumbnail((400, 400))
            small.append(read_image(photograph.resize((max(200, photograph.width), max(200, photograph.height)))))
    noticed = sum(not may_be_scene(pixels) for pixels in small)
    assert noticed >= 0.9 * len(small) > 40


def test_other_pictures_of_the_size_of_scenes():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    gray = np.repeat(noise[..., :1] // 8, 3, axis=2)
    assert not may_be_scene(noise)
    assert not may_be_scene(gray)
