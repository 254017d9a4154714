"""Every reader on real samples and on `scenes` written in its format, against values computed here with plain means."""

import json
import shutil

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from reading import check, copy_voc, histogram, indices, official_masks, paint, pixels
from scenes_files import voc_indices, write_coco, write_voc

import clipdiy_lab as lab
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.datasets.readers_json import unpack_counts
from clipdiy_lab.datasets.scenes import VOC_NAMES, Scenes
from clipdiy_lab.errors import DatasetError

# VOC


@pytest.fixture
def voc(shared, tmp_path):
    return copy_voc(shared("samples/voc2012"), tmp_path / "data/VOCdevkit/VOC2012")


def test_voc21_on_real_samples(voc):
    expected = {
        one: (pixels(voc / f"JPEGImages/{one}.jpg"), indices(voc / f"SegmentationClass/{one}.png"))
        for one in ("2008_000533", "2007_000033", "2007_000129")
    }
    dataset = lab.open_dataset("voc21", root=voc, partial=True)
    check(dataset, expected)
    assert dataset.name == "voc21-val"
    assert dataset.manifest.id == "voc21"
    assert "3 images, 21 labels" in repr(dataset)
    assert dataset.label_names[0] == "background"
    assert {0, 1, 2, 3, 255} <= {int(v) for v in np.flatnonzero(histogram(m for _, m in expected.values()))}


def test_voc20_reduces_zero(voc):
    expected = {}
    for one in ("2007_000129", "2007_000032"):
        raw = indices(voc / f"SegmentationClass/{one}.png").astype(int)
        expected[one] = (pixels(voc / f"JPEGImages/{one}.jpg"), np.where((raw == 0) | (raw == 255), 255, raw - 1))
    dataset = lab.open_dataset("voc20", root=voc, ids=list(expected))
    check(dataset, expected)
    assert len(dataset.label_names) == 20


def test_root_may_be_the_data_folder_and_names_another_spelling(voc, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(tmp_path / "data"))
    here = lab.list_datasets().set_index(["name", "split"])["here"]
    assert here["voc21", "val"]
    assert not here["voc21", "train"]
    assert not here["context60", "val"]
    for options in ({}, {"root": tmp_path / "data"}, {"root": voc}):
        assert len(lab.open_dataset("voc21", partial=True, **options)) == 3
    dataset = lab.open_dataset("voc21", partial=True, names="clip_dinoiser")
    assert dataset.label_names[20] == "tvmonitor"
    with pytest.raises(DatasetError, match="Did you mean 'clip_dinoiser'"):
        lab.open_dataset("voc21", partial=True, names="dinoiser")


def test_scenes_written_as_voc(tmp_path):
    scenes = Scenes("val", length=5)
    root = write_voc(scenes, tmp_path / "voc")
    dataset = lab.open_dataset("voc21", root=root, image="JPEGImages/{id}.png", partial=True)
    assert dataset.label_names == ("background", *VOC_NAMES)
    check(dataset, {sample.id: (sample.image, voc_indices(scenes)[sample.mask]) for sample in scenes})


def test_a_manifest_of_ones_own(tmp_path):
    scenes = Scenes("val_unseen", length=4)
    (tmp_path / "data").mkdir()
    write_voc(scenes, tmp_path / "data/mine")
    text = (
        "id: mine\ntitle: mine\nsummary: mine\nreader: masks\narchives: []\nroot: mine\n"
        'layout: {image: "JPEGImages/{id}.png", mask: "SegmentationClass/{id}.png",\n'
        "  sources: [me]}\n"
        "splits: {val: {images: 4, list: ImageSets/Segmentation/val_unseen.txt, source: me}}\n"
        f"label_names: {json.dumps(['background', *VOC_NAMES])}\n"
        "label_source: me\npalette: null\n"
        "licence: {images: mine, annotations: mine, redistribution: true, url: null, source: me}\n"
    )
    (tmp_path / "mine.yaml").write_text(text)
    dataset = lab.open_dataset(tmp_path / "mine.yaml", root=tmp_path / "data")
    check(dataset, {sample.id: (sample.image, voc_indices(scenes)[sample.mask]) for sample in scenes})


# Directories without a list: ADE20K and Cityscapes


def test_ade_on_real_samples(shared):
    root = shared("samples/ade20k/ADEChallengeData2016")
    expected = {}
    for number in (1, 2, 3):
        name = f"ADE_val_{number:08d}"
        raw = indices(root / f"annotations/validation/{name}.png").astype(int)
        expected[name] = (pixels(root / f"images/validation/{name}.jpg"), np.where(raw == 0, 255, raw - 1))
    dataset = lab.open_dataset("ade20k150", root=root.parent, partial=True)
    check(dataset, expected)


CITY_LABELS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # evaluated ids, in order


def test_cityscapes_from_label_ids(shared, tmp_path):
    layout = shared("samples/cityscapes_synthetic/dataset")
    root = tmp_path / "cityscapes"
    shutil.copytree(layout, root)
    rng = np.random.default_rng(0)
    with pytest.raises(DatasetError, match=r"defaultcity_000001_000019_gtFine_labelIds\.png is missing"):
        lab.open_dataset("cityscapes19", root=root)
    places = [
        ("defaultcity", "defaultcity_000001_000019"),
        ("ulm", "ulm_000000_000019"),
        ("aachen", "aachen_000000_000019"),
    ]
    expected = {}
    for city, name in sorted(places):
        raw = np.arange(34, dtype=np.uint8).repeat(2)[rng.permutation(68)].reshape(4, 17)
        image = rng.integers(0, 256, (4, 17, 3), dtype=np.uint8)
        paint(root / f"gtFine/val/{city}/{name}_gtFine_labelIds.png", raw)
        paint(root / f"leftImg8bit/val/{city}/{name}_leftImg8bit.png", image)
        mask = np.full(raw.shape, 255)
        for label, number in enumerate(CITY_LABELS):
            mask[raw == number] = label
        expected[name] = (image, mask)
    check(lab.open_dataset("cityscapes19", root=root, partial=True), expected)
    one = lab.open_dataset("cityscapes19", root=root, ids=["ulm_000000_000019"])
    check(one, {"ulm_000000_000019": expected["ulm_000000_000019"]})
    shutil.copy(
        root / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png",
        root / "leftImg8bit/val/aachen/ulm_000000_000019_leftImg8bit.png",
    )
    with pytest.raises(DatasetError, match="'ulm_000000_000019' occurs 2 times"):
        lab.open_dataset("cityscapes19", root=root)


# COCO instances


@pytest.mark.parametrize(
    ("folder", "file", "kept"),
    [("coco", "instances_val2017.json", 47), ("coco_ccby", "instances_val2017_ccby.json", None)],
)
def test_coco_instances_on_real_samples(shared, folder, file, kept):
    root = shared(f"samples/{folder}")
    content = json.loads((root / "annotations" / file).read_text())
    numbers = [0, *sorted(one["id"] for one in content["categories"])]
    assert len(numbers) == 81
    masks = official_masks(content, numbers)
    large = {name: mask for name, mask in masks.items() if (mask > 0).sum() >= 1000}
    assert len(large) == (kept or len(large))
    options = {"root": root, "annotations": f"annotations/{file}", "partial": True}
    for dataset, expected in (
        (lab.open_dataset("coco_object_diy", **options), large),
        (lab.open_dataset("coco_object_diy", filter=None, **options), masks),
    ):
        check(dataset, {n: (pixels(root / f"images/val2017/{n}.jpg"), mask) for n, mask in expected.items()})


def test_coco_instances_are_the_golden_masks(golden, tmp_path):
    content = json.loads(golden("coco_instances.json").read_text())
    expected = np.load(golden("coco_masks.npz"))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content))
    for facts in content["images"]:
        paint(tmp_path / "images/val2017" / facts["file_name"], np.zeros((facts["height"], facts["width"], 3)))
    dataset = lab.open_dataset("coco_object_diy", root=tmp_path, partial=True)
    assert [int(one) for one in dataset.ids] == expected["kept_ids"].tolist()
    assert list(dataset.manifest.category_map.table) == expected["category_ids"].tolist()
    everything = lab.open_dataset("coco_object_diy", root=tmp_path, partial=True, filter=None)
    assert [int(one) for one in everything.ids] == expected["all_ids"].tolist()
    for number, one in enumerate(everything.ids):
        assert np.array_equal(everything[number].mask, expected[f"mask_{int(one)}"])


@pytest.mark.parametrize("vocabulary", ["coco", "voc"])
def test_scenes_written_as_coco(tmp_path, vocabulary):
    scenes = Scenes("val", vocabulary, length=5)
    root = write_coco(scenes, tmp_path / "coco")
    dataset = lab.open_dataset("coco_object_diy", root=root, folder="val", filter=None, partial=True)
    names = {thing.coco: number for number, thing in enumerate(scenes.things, start=1)}
    expected = {}
    for sample in scenes:
        mask = np.zeros_like(sample.mask)
        for index, name in enumerate(dataset.label_names[1:], start=1):
            if name in names:
                mask[sample.mask == names[name]] = index
        expected[sample.id] = (sample.image, mask)
    check(dataset, expected)


def test_text_run_lengths_are_read_as_pycocotools_reads_them(tmp_path):
    rng = np.random.default_rng(1)
    for number in range(100):
        mask = (rng.random((rng.integers(1, 40), rng.integers(1, 40))) < rng.random()).astype(np.uint8)
        mask = np.kron(mask, np.ones((1 + number % 9, 1 + number % 7), dtype=np.uint8))
        runs = unpack_counts(coco_mask.encode(np.asfortranarray(mask))["counts"].decode())
        back = np.repeat(np.arange(len(runs)) % 2, runs).reshape(mask.shape[::-1]).T
        assert np.array_equal(back, mask)


# stuffthingmaps


def test_stuff_maps_both_ways_on_real_samples(shared):
    root = shared("samples/coco_stuff164k")
    never = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    present = [value for value in range(182) if value not in never]
    stuff, objects = {}, {}
    for path in sorted((root / "annotations/val2017").glob("*.png")):
        image, raw = pixels(root / f"images/val2017/{path.stem}.jpg"), indices(path)
        packed = np.searchsorted(present, raw)
        stuff[path.stem] = (image, np.where(raw == 255, 255, packed))
        objects[path.stem] = (image, np.where(raw > 90, 0, packed + 1))
    assert len(stuff) == 8
    check(lab.open_dataset("coco_stuff171", root=root, partial=True), stuff)
    check(lab.open_dataset("coco_object_tcl", root=root, partial=True), objects)
    train = lab.open_dataset("coco_stuff171", root=root, partial=True, folder="train2017")
    assert len(train) == 13
    for name in ("coco_stuff171", "coco_object_tcl"):
        assert all(not load_manifest(name).label_map.table.keys() & {one} for one in never)


# Pascal Context


@pytest.fixture
def context(tmp_path):
    """Three images with converted masks, and the same in the merged JSON, drawn over each other."""
    root = tmp_path / "VOC2010"
    categories = list(load_manifest("context60").category_map.table)
    rng = np.random.default_rng(3)
    images, annotations, masks = [], [], {}
    for number, (name, phase) in enumerate([("2008_000007", "val"), ("2008_000002", "val"), ("2008_000009", "train")]):
        height, width = 20 + number, 30
        mask = np.zeros((height, width), dtype=np.uint8)
        images.append(
            {"image_id": number, "file_name": f"{name}.jpg", "height": height, "width": width, "phase": phase}
        )
        for _ in range(5):
            label, top, left = int(rng.integers(1, 60)), int(rng.integers(0, 15)), int(rng.integers(0, 20))
            part = np.zeros((height, width), dtype=np.uint8, order="F")
            part[top : top + 9, left : left + 12] = 1
            mask[part > 0] = label
            lengths = coco_mask.encode(part)
            segmentation = {"size": [height, width], "counts": lengths["counts"].decode()}
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": categories[label]}
                | {"segmentation": segmentation}
            )
        paint(root / f"JPEGImages/{name}.jpg", rng.integers(0, 256, (height, width, 3)))
        if phase == "val":
            masks[name] = mask
            paint(root / f"SegmentationClassContext/{name}.png", mask)
    (root / "ImageSets/SegmentationContext").mkdir(parents=True)
    (root / "ImageSets/SegmentationContext/val.txt").write_text("2008_000002\n2008_000007")
    content = {"images": images, "annos_segmentation": annotations}
    (root / "trainval_merged.json").write_text(json.dumps(content))
    return root, masks


@pytest.mark.parametrize("source", ["masks", "json"])
def test_context_from_masks_and_from_json(context, source):
    root, masks = context
    image = {name: pixels(root / f"JPEGImages/{name}.jpg") for name in sorted(masks)}
    options = {"root": root, "partial": True, "source": source}
    check(lab.open_dataset("context60", **options), {name: (image[name], masks[name]) for name in image})
    reduced = {name: np.where(mask == 0, 255, mask.astype(int) - 1) for name, mask in masks.items()}
    check(lab.open_dataset("context59", **options), {name: (image[name], reduced[name]) for name in image})


def test_context_takes_what_is_there(context):
    root, _ = context
    assert type(lab.open_dataset("context60", root=root, partial=True)).__name__ == "MaskDataset"
    shutil.rmtree(root / "SegmentationClassContext")
    dataset = lab.open_dataset("context60", root=root, partial=True)
    assert type(dataset).__name__ == "ContextJson"
    with pytest.raises(DatasetError, match="no source 'jsn'"):
        lab.open_dataset("context60", root=root, source="jsn")
    content = json.loads((root / "trainval_merged.json").read_text())
    content["annos_segmentation"][4]["category_id"] = 1
    (root / "trainval_merged.json").write_text(json.dumps(content))
    dataset = lab.open_dataset("context60", root=root, partial=True)
    with pytest.raises(DatasetError, match=r"'2008_000007'.*category 1\. Expected one of the 60"):
        dataset[1]
    (root / "trainval_merged.json").unlink()
    with pytest.raises(DatasetError, match=r"trainval_merged\.json is missing.*data fetch context60"):
        lab.open_dataset("context60", root=root)


# Scenes in the layouts of the others: every class that a scene has, as some value of the format


STUFF = [value for value in range(182) if value not in (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)]


def format_values(table, count):
    """Labels 0..count-1 -> the first raw value that a table of {value: label} maps to each."""
    return np.array([min(value for value, label in table.items() if label == index) for index in range(count)])


@pytest.mark.parametrize(
    ("name", "table", "image", "mask"),
    [
        ("ade20k150", {k: k - 1 for k in range(1, 151)}, "images/validation/{}.jpg", "annotations/validation/{}.png"),
        (
            "cityscapes19",
            {value: label for label, value in enumerate(CITY_LABELS)},
            "leftImg8bit/val/town/{}_leftImg8bit.png",
            "gtFine/val/town/{}_gtFine_labelIds.png",
        ),
        (
            "coco_stuff171",
            {value: label for label, value in enumerate(STUFF)},
            "images/val2017/{}.jpg",
            "annotations/val2017/{}.png",
        ),
        (
            "coco_object_tcl",
            {120: 0} | {value: label for label, value in enumerate(STUFF[:80], start=1)},
            "images/val2017/{}.jpg",
            "annotations/val2017/{}.png",
        ),
        ("voc20", {k: k - 1 for k in range(1, 21)}, "JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("context60", {k: k for k in range(60)}, "JPEGImages/{}.jpg", "SegmentationClassContext/{}.png"),
        ("context59", {k: k - 1 for k in range(1, 60)}, "JPEGImages/{}.jpg", "SegmentationClassContext/{}.png"),
    ],
)
def test_scenes_written_in_every_format_of_masks(tmp_path, name, table, image, mask):
    expected = {}
    for sample in Scenes("val", length=4):
        labels = np.minimum(sample.mask, 18)  # the fewest classes that a format has
        raw = format_values(table, 19)[labels]
        paint(tmp_path / image.format(sample.id), sample.image)
        paint(tmp_path / mask.format(sample.id), raw)
        # Labels are what the table says of the file's own values, read back.
        written = indices(tmp_path / mask.format(sample.id))
        back = np.zeros_like(written)
        for value, label in table.items():
            back[written == value] = label
        expected[sample.id] = (pixels(tmp_path / image.format(sample.id)), back)
    lists = {"voc20": "Segmentation", "context60": "SegmentationContext", "context59": "SegmentationContext"}
    if name in lists:
        path = tmp_path / "ImageSets" / lists[name] / "val.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(expected))
    dataset = lab.open_dataset(name, root=tmp_path, partial=True)
    check(dataset, expected)
    assert len(np.flatnonzero(histogram(mask for _, mask in expected.values()))) > 3


def test_scenes_written_as_the_json_of_context(tmp_path):
    categories = list(load_manifest("context60").category_map.table)
    images, annotations, expected = [], [], {}
    for number, sample in enumerate(Scenes("val", length=4)):
        facts = {"image_id": number, "file_name": f"{sample.id}.jpg", "phase": "val"}
        images.append(facts | dict(zip(("height", "width"), sample.mask.shape, strict=True)))
        for label in np.unique(sample.mask[sample.mask > 0]):
            lengths = coco_mask.encode(np.asfortranarray(sample.mask == label, dtype=np.uint8))
            segmentation = {"size": list(sample.mask.shape), "counts": lengths["counts"].decode()}
            one = {"id": len(annotations), "image_id": number, "category_id": categories[label]}
            annotations.append(one | {"segmentation": segmentation})
        paint(tmp_path / f"JPEGImages/{sample.id}.jpg", sample.image)
        expected[sample.id] = (pixels(tmp_path / f"JPEGImages/{sample.id}.jpg"), sample.mask)
    content = {"images": images, "annos_segmentation": annotations}
    (tmp_path / "trainval_merged.json").write_text(json.dumps(content))
    check(lab.open_dataset("context60", root=tmp_path, partial=True), expected)


# The table


def test_list_datasets(tmp_path, monkeypatch, shared):
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(tmp_path))
    table = lab.list_datasets()
    assert list(table.columns) == ["name", "title", "split", "images", "labels", "access", "here"]
    assert set(table[table["here"]]["name"]) == {"scenes"}
    assert set(table[table["access"] == "login"]["name"]) == {"cityscapes19"}
    expected = {"voc21": 1449, "context59": 5104, "coco_object_diy": 5000, "cityscapes19": 500, "ade20k150": 2000}
    counts = table[table["split"] == "val"].set_index("name")["images"]
    assert {name: counts[name] for name in expected} == expected
    (tmp_path / "coco").symlink_to(shared("samples/coco"))
    (tmp_path / "ADEChallengeData2016").symlink_to(shared("samples/ade20k/ADEChallengeData2016"))
    table = lab.list_datasets()
    assert set(table[table["here"]]["name"]) == {"scenes", "coco_object_diy", "ade20k150"}
