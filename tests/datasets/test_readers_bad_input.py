"""Benchmarks that are missing, incomplete or damaged: one error that names the file and says what to do."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from reading import copy_voc, indices, official_masks, paint, refused

import clipdiy_lab as lab
from clipdiy_lab.datasets import manifests
from clipdiy_lab.datasets.layouts import read_ids
from clipdiy_lab.errors import DatasetError


@pytest.fixture
def voc(shared, tmp_path):
    return copy_voc(shared("samples/voc2012"), tmp_path / "data/VOCdevkit/VOC2012")


def test_a_missing_root_names_a_file_and_the_command(tmp_path):
    for name, file in (
        ("voc21", "ImageSets/Segmentation/val.txt"),
        ("ade20k150", "images/validation/*.jpg"),
        ("cityscapes19", "leftImg8bit/val/*/*_leftImg8bit.png"),
        ("coco_object_diy", "annotations/instances_val2017.json"),
        ("coco_stuff171", "images/val2017/*.jpg"),
        ("context60", "trainval_merged.json"),
    ):
        message = refused(name, root=tmp_path / "nothing")
        assert f"{file} is missing" in message
        assert f"`clipdiy-lab data fetch {name}`" in message


def test_half_extracted_roots_name_the_first_missing_file(voc, shared, tmp_path):
    (voc / "JPEGImages/2007_000033.jpg").unlink()
    assert "2007_000033.jpg is missing" in refused("voc21", root=voc)
    assert lab.open_dataset("voc21", root=voc, partial=True).ids == ("2008_000533", "2007_000129")
    (voc / "SegmentationClass/2008_000533.png").unlink()
    assert "2008_000533.png is missing" in refused("voc21", root=voc)
    # Without a list, a mask whose image is missing gives it away.
    ade = tmp_path / "ade"
    shutil.copytree(shared("samples/ade20k/ADEChallengeData2016"), ade)
    (ade / "images/validation/ADE_val_00000002.jpg").unlink()
    assert "ADE_val_00000002.jpg is missing" in refused("ade20k150", root=ade)
    shutil.rmtree(ade / "annotations")
    assert "ADE_val_00000001.png is missing" in refused("ade20k150", root=ade)
    assert "is missing" in refused("ade20k150", root=ade, partial=True)


def test_products_of_converters_are_no_samples(shared, tmp_path):
    root = tmp_path / "coco"
    shutil.copytree(shared("samples/coco_stuff164k"), root)
    masks = root / "annotations/val2017"
    ids = lab.open_dataset("coco_stuff171", root=root, partial=True).ids
    for ending in ("_labelTrainIds", "_instanceTrainIds"):
        for path in [masks / f"{name}.png" for name in ids]:
            shutil.copyfile(path, path.with_name(f"{path.stem}{ending}.png"))
    for name in ("coco_stuff171", "coco_object_tcl"):
        assert lab.open_dataset(name, root=root, partial=True).ids == ids
        assert f"has {len(ids)} images here. Expected 5000" in refused(name, root=root)
    stray = masks / "stray_labelTrainIds.png"  # not beside an image of that name: half an extraction after all
    shutil.copyfile(masks / f"{ids[0]}.png", stray)
    assert "stray_labelTrainIds.jpg is missing" in refused("coco_stuff171", root=root)


def test_another_number_of_images(voc, shared):
    assert "has 3 images here. Expected 1449" in refused("voc21", root=voc)
    assert "has 50 images here. Expected 5000" in refused("coco_object_diy", root=shared("samples/coco"))
    assert "partial=True" in refused("coco_stuff171", root=shared("samples/coco_stuff164k"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no images"),
        (" \n\n", "lists no images"),
        ("a\nb\na\nb\n", r"names 'a' 2 times \(2 ids in all"),
        ("a\n../b\n", r"names '\.\./b'. Expected a name inside"),
        ("/b\n", "Expected a name inside"),
        ("a 1\n", "line 1, is 'a 1'. Expected one id per line"),
    ],
)
def test_lists(tmp_path, voc, text, said):
    path = voc / "ImageSets/Segmentation/val.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=said):
        lab.open_dataset("voc21", root=voc)
    with pytest.raises(DatasetError, match=said):
        lab.open_dataset("voc21", root=voc, ids=path)


def test_lists_without_a_last_newline_with_windows_ends_or_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf2007_000033\r\n2007_000042")
    assert read_ids(tmp_path / "a.txt") == ["2007_000033", "2007_000042"]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("b.txt", "c.txt"):
        with pytest.raises(DatasetError, match="cannot be read"):
            read_ids(tmp_path / name)


def test_ids_of_ones_own(voc, shared):
    with pytest.raises(DatasetError, match="The option ids names 'a' 2 times"):
        lab.open_dataset("voc21", root=voc, ids=["a", "a"])
    with pytest.raises(DatasetError, match="The option ids lists no images"):
        lab.open_dataset("voc21", root=voc, ids=[])
    with pytest.raises(DatasetError, match=r"none\.jpg is missing"):
        lab.open_dataset("voc21", root=voc, ids=["none"])
    with pytest.raises(DatasetError, match="The id 'none' is not in"):
        lab.open_dataset("coco_object_diy", root=shared("samples/coco"), ids=["none"])
    two = ["000000565778", "000000006818"]
    assert lab.open_dataset("coco_object_diy", root=shared("samples/coco"), ids=two, filter=None).ids == tuple(two)


def test_masks_that_do_not_fit(voc):
    path = voc / "SegmentationClass/2007_000033.png"
    raw = indices(path).copy()
    dataset = lab.open_dataset("voc21", root=voc, partial=True)
    good = raw.copy()
    for array, said in (
        (np.where(raw == 1, 77, raw), r"2007_000033\.png there is the value 77\. Expected 0\.\.20, 255"),
        (np.arange(raw.size).reshape(raw.shape) % 200, r"the values 21, 22, 23, 24, 25, 26, \.\.\."),
        (raw[:-1], r"500 x 366, but the mask .*2007_000033\.png is 500 x 365"),
        (raw.T, "was rotated"),
        (np.zeros((*raw.shape, 3)), r"2007_000033\.png' is a PNG of mode 'RGB'"),
        (np.zeros((*raw.shape, 4)), "mode 'RGBA'"),
    ):
        paint(path, array)
        with pytest.raises(DatasetError, match=said):
            dataset[1]
    Image.fromarray(good.astype(np.uint16)).save(path)
    with pytest.raises(DatasetError, match="mode 'I;16'"):
        dataset[1]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"2007_000033\.png"):
        dataset[1]
    path.unlink()
    with pytest.raises(DatasetError, match=r"2007_000033\.png"):
        dataset[1]
    assert dataset[0].id == "2008_000533"  # the others are none the worse


def test_images_that_do_not_fit(voc):
    dataset = lab.open_dataset("voc21", root=voc, partial=True)
    path = voc / "JPEGImages/2007_000033.jpg"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"The image .*2007_000033\.jpg"):
            dataset[1]


def test_benchmark_photographs_stay_as_stored(voc):
    path = voc / "JPEGImages/2007_000033.jpg"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # "turn me by 90 degrees"
        image.save(path, exif=exif)
    assert lab.open_dataset("voc21", root=voc, ids=["2007_000033"])[0].image.shape == (366, 500, 3)


def test_unknown_words(voc):
    assert "Did you mean 'voc21'" in refused("voc_21")
    assert "no split 'test' of 'voc21'" in refused("voc21", split="test")
    assert "has no option 'rot'. Did you mean 'root'" in refused("voc21", rot=voc)
    assert "has no option 'lenght'. Did you mean 'length'" in refused("scenes", lenght=3)
    assert "The option filter is for COCO" in refused("voc21", root=voc, filter=None)
    assert "no filter 'big'" in refused("coco_object_diy", root=voc, filter="big")
    assert "must hold {id}" in refused("voc21", root=voc, image="JPEGImages/x.jpg")


def test_no_samples_are_no_dataset(shared):
    root = shared("samples/coco")
    content = json.loads((root / "annotations/instances_val2017.json").read_text())
    masks = official_masks(content, [0, *sorted(one["id"] for one in content["categories"])])
    small = [name for name, mask in masks.items() if (mask > 0).sum() < 1000]
    assert len(small) == 3
    assert "official filter drops them all" in refused("coco_object_diy", root=root, ids=small)


SQUARE = [0, 0, 4, 0, 4, 4, 0, 4]


@pytest.mark.parametrize(
    "segmentation",
    [
        *(None, [], {}, "text", 3, [SQUARE[:4]], [[*SQUARE, 1]], [["a"] * 6], [[float("nan")] * 6], [[1e300] * 6]),
        *({"size": [8, 8], "counts": [1, 62]}, {"size": [8, 8], "counts": [1, -1, 64]}, {"size": [8, 8]}),
        *({"size": [8, 9], "counts": [72]}, {"size": [8, 8], "counts": [64.0]}, {"size": 8, "counts": [64]}),
        *({"size": [8, 8], "counts": "1"}, {"size": [8, 8], "counts": "\u20ac"}, {"size": [8, 8], "counts": ""}),
        [SQUARE, [1]],
    ],
)
def test_segmentations_that_c_code_should_not_see(tmp_path, segmentation):
    paint(tmp_path / "images/val2017/1.jpg", np.zeros((8, 8, 3)))
    (tmp_path / "annotations").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 8, "width": 8}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    }
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content))
    dataset = lab.open_dataset("coco_object_diy", root=tmp_path, partial=True, filter=None)
    with pytest.raises(DatasetError, match=r"In the annotation 7 of .*Expected polygons or run lengths"):
        dataset[0]


IMAGE = {"id": 1, "file_name": "1.jpg", "height": 8, "width": 8}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"images": [', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no table 'images'"),
        ({"images": [1], "annotations": []}, "no table 'images'"),
        ({"images": [IMAGE]}, "no table 'annotations'"),
        ({"images": [IMAGE | {"height": "8"}], "annotations": []}, "Expected id, file_name, height and width"),
        ({"images": [IMAGE | {"id": [1]}], "annotations": []}, "Expected id, file_name, height and width"),
        ({"images": [IMAGE | {"height": 60_000, "width": 60_000}], "annotations": []}, "and at most 67108864 pixels"),
        ({"images": [IMAGE, IMAGE], "annotations": []}, "two images the same id"),
        ({"images": [IMAGE, IMAGE | {"id": 2}], "annotations": []}, "names '1' 2 times"),
        ({"images": [IMAGE | {"file_name": "../1.jpg"}], "annotations": []}, "Expected a name inside"),
        ({"images": [IMAGE], "annotations": [{"image_id": [1], "category_id": 1}]}, "both whole numbers"),
        ({"images": [], "annotations": []}, "lists no images"),
        ({"images": [IMAGE], "annotations": []}, r"1\.jpg is missing"),
    ],
)
def test_annotation_files_that_are_none(tmp_path, content, said):
    (tmp_path / "annotations").mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "annotations/instances_val2017.json").write_text(text)
    (tmp_path / "images/val2017").mkdir(parents=True)
    ids = ["1"] if said.endswith("is missing") else None
    with pytest.raises(DatasetError, match=said):
        lab.open_dataset("coco_object_diy", root=tmp_path, ids=ids)


def test_an_annotation_file_of_other_sizes(tmp_path):
    paint(tmp_path / "images/val2017/1.jpg", np.zeros((8, 9, 3)))
    (tmp_path / "annotations").mkdir()
    text = json.dumps({"images": [IMAGE], "annotations": []})
    (tmp_path / "annotations/instances_val2017.json").write_text(text)
    dataset = lab.open_dataset("coco_object_diy", root=tmp_path, partial=True, filter=None)
    with pytest.raises(DatasetError, match=r"1\.jpg is 9 x 8, but the annotation of '1' in .* is 8 x 8"):
        dataset[0]


def test_annotations_without_any_image(tmp_path, shared):
    (tmp_path / "annotations").mkdir()
    shutil.copy(shared("samples/coco/annotations/instances_val2017.json"), tmp_path / "annotations")
    assert "'coco_object_diy-val' has no images" in refused("coco_object_diy", root=tmp_path, partial=True)


def test_a_manifest_that_poses_as_scenes(tmp_path):
    shutil.copy(manifests.manifest_folder() / "scenes.yaml", tmp_path / "mine.yaml")
    assert "cannot use the reader 'scenes'" in refused(tmp_path / "mine.yaml")
    assert "There is no option 'folder' of 'scenes'" in refused(tmp_path / "mine.yaml", folder="x")
