"""A folder of one's own, and the report of what is wrong with it."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from reading import check, indices, paint, pixels, refused
from scenes_files import voc_indices, write_voc

import clipdiy_lab as lab
from clipdiy_lab.datasets.palette import write_palette_png
from clipdiy_lab.datasets.readers_folder import validate_folder
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import DatasetError


@pytest.fixture
def own(tmp_path):
    rng = np.random.default_rng(5)
    root = tmp_path / "mine"
    for name, ending in (("b", "jpg"), ("a", "png"), ("c", "jpeg")):
        paint(root / f"images/{name}.{ending}", rng.integers(0, 256, (6, 9, 3)))
        paint(root / f"masks/{name}.png", rng.choice([0, 1, 2, 255], (6, 9)))
    (root / "classes.txt").write_text("background\ncat\nred car\n")
    (root / "images/.hidden").write_text("")
    (root / "images/Thumbs.db").write_text("")
    return root


def test_own_folder(own, monkeypatch):
    expected = {}
    for name, ending in (("a", "png"), ("b", "jpg"), ("c", "jpeg")):
        expected[name] = (pixels(own / f"images/{name}.{ending}"), indices(own / f"masks/{name}.png"))
    check(lab.open_dataset(str(own)), expected)
    dataset = lab.open_dataset(own)
    assert dataset.name == "mine"
    assert dataset.label_names == ("background", "cat", "red car")
    report = validate_folder(own)
    assert list(report.columns) == ["file", "problem", "level"]
    assert report.empty
    monkeypatch.chdir(own.parent)
    assert len(lab.open_dataset("mine")) == 3
    assert "takes neither" in refused(own, split="train")
    assert "takes neither" in refused(own, root=own)


def test_own_folder_of_scenes(tmp_path):
    scenes = Scenes("val", length=4)
    written = write_voc(scenes, tmp_path / "voc")
    (tmp_path / "own").mkdir()
    (written / "JPEGImages").rename(tmp_path / "own/images")
    (written / "SegmentationClass").rename(tmp_path / "own/masks")
    (written / "labels.txt").rename(tmp_path / "own/classes.txt")
    check(lab.open_dataset(tmp_path / "own"), {s.id: (s.image, voc_indices(scenes)[s.mask]) for s in scenes})
    report = validate_folder(tmp_path / "own")
    assert report["level"].tolist() == ["warning"]  # four scenes do not have all labels
    present = np.unique([voc_indices(scenes)[s.mask].max() for s in scenes])
    assert len(present) > 1
    assert "labels occur in no mask" in report["problem"][0]


def test_own_photographs_are_turned_upright(own):
    path = own / "images/b.jpg"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    with pytest.raises(DatasetError, match="was rotated"):
        lab.open_dataset(own)[1]
    paint(own / "masks/b.png", np.zeros((9, 6)))
    assert lab.open_dataset(own)[1].image.shape == (9, 6, 3)


def own_problem(own, file, said):
    """The problem is in the report, and opening or reading refuses with the file's name."""
    report = validate_folder(own)
    assert isinstance(report, pd.DataFrame)
    rows = report[report["file"] == file]["problem"]
    assert rows.str.contains(said, regex=False).any(), report.to_string()
    with pytest.raises(DatasetError) as caught:
        list(lab.open_dataset(own))
    assert file.rpartition("/")[2] in str(caught.value)


def test_own_folder_missing_mask(own):
    (own / "masks/b.png").unlink()
    own_problem(own, "images/b.jpg", "It has no mask")


def test_own_folder_missing_image(own):
    (own / "images/b.jpg").unlink()
    own_problem(own, "masks/b.png", "It has no image")


def test_own_folder_size_mode_and_value(own):
    paint(own / "masks/a.png", np.zeros((6, 8)))
    own_problem(own, "masks/a.png", "8 x 6, its image 9 x 6")
    paint(own / "masks/a.png", np.zeros((6, 9, 3)))
    own_problem(own, "masks/a.png", "mode 'RGB'")
    paint(own / "masks/a.png", np.full((6, 9), 3))
    own_problem(own, "masks/a.png", "the value 3. Expected 0..2, 255")
    (own / "images/b.jpg").write_bytes(b"no image")
    assert validate_folder(own)["level"].tolist() == ["error"] * 2


def test_own_folder_ids_twice(own):
    shutil.copy(own / "images/a.png", own / "images/a.jpg")
    own_problem(own, "images/a.png", "The id 'a' occurs twice: a.jpg and a.png")


def test_own_folder_strangers(own):
    (own / "images/notes.txt").write_text("")
    own_problem(own, "images/notes.txt", "does not belong here")
    (own / "images/notes.txt").unlink()
    (own / "masks/deep.png").mkdir()
    own_problem(own, "masks/deep.png", "does not belong here")


def test_own_folder_empty(own, tmp_path):
    shutil.rmtree(own / "images")
    own_problem(own, "images", "cannot be listed")
    (own / "images").mkdir()
    own_problem(own, "images", "This folder is empty")
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert list(validate_folder(tmp_path / "nowhere")["file"]) == ["."]
    (tmp_path / "bare").mkdir()
    assert set(validate_folder(tmp_path / "bare")["file"]) == {"classes.txt", "images", "masks"}
    assert "2 more" in refused(tmp_path / "bare")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "It is empty"),
        (b"a\n\nb\n", "Line 2 is empty"),
        (b"a\nb\na\n", "Lines 1 and 3 both say 'a'"),
        (b"background\nCat\ncat\n", "Lines 2 and 3, 'Cat' and 'cat', are the same name"),
        (b"\xff\xfe\xfa", "UTF-8"),
        ("\n".join(map(str, range(256))).encode(), "has 256 lines. Expected at most 255"),
    ],
)
def test_own_folder_class_names(own, content, said):
    (own / "classes.txt").write_bytes(content)
    own_problem(own, "classes.txt", said)
    (own / "classes.txt").unlink()
    own_problem(own, "classes.txt", "This file is missing")


# What opens, and is worth a look all the same


@pytest.mark.parametrize(
    ("content", "level", "said"),
    [
        ("0: background\n1: cat\n2: dog\n", "error", "Each line has a number, as in '0: background'"),
        ("unlabeled\ncat\ncar\n", "warning", "Line 1, 'unlabeled', looks like the background"),
        ("cat\n_background_\ncar\n", "warning", "score with Config(background_label='_background_')"),
        ("bg\ncat\ncar\n", "warning", "Line 1, 'bg', looks like the background"),
        ("cat\ndog\nbackground\n", "warning", "the mask value 2 means background, and 0 means 'cat'"),
        ("cat\ndog\ncar\n", "warning", "Score with Config(background='none') if every pixel"),
    ],
)
def test_class_lists_that_scoring_would_stumble_over(own, content, level, said):
    (own / "classes.txt").write_text(content)
    assert len(lab.open_dataset(own)) == 3
    report = validate_folder(own)
    assert report["file"].tolist() == ["classes.txt"]
    assert report["level"].tolist() == [level]
    assert said in report["problem"][0]


def binary(own, foreground):
    (own / "classes.txt").write_text("background\ncar\n")
    for path in (own / "masks").iterdir():
        mask = np.zeros((6, 9), np.uint8)
        mask[:2] = foreground
        paint(path, mask)


def test_foreground_saved_as_255(own):
    binary(own, 1)
    assert validate_folder(own).empty
    binary(own, 255)
    (problem,) = validate_folder(own).itertuples()
    assert (problem.file, problem.level) == ("masks", "error")
    assert "1 of 2 labels occurs in no mask: 'car'. 33.3 % of the pixels are ignored" in problem.problem
    assert "Painting tools save foreground as 255" in problem.problem
    assert "np.where(mask == 255, 1, mask)" in problem.problem


def test_a_label_that_is_nowhere_and_much_that_is_ignored(own):
    (own / "classes.txt").write_text("background\ncat\nred car\nbus\n")
    assert "1 of 4 labels occurs in no mask: 'bus'" in validate_folder(own)["problem"][0]
    (own / "masks/a.png").unlink()  # which may hold it
    assert validate_folder(own)["file"].tolist() == ["images/a.png"]
    for name in "ab":
        paint(own / f"masks/{name}.png", np.full((6, 9), 255))
    (own / "classes.txt").write_text("background\ncat\nred car\n")
    (problem,) = validate_folder(own).itertuples()
    assert problem.level == "warning"
    assert " % of the pixels are ignored" in problem.problem


def test_products_of_converters_are_no_samples(own):
    for ending in ("_labelTrainIds", "_instanceTrainIds", "_color"):
        paint(own / f"masks/a{ending}.png", np.zeros((3, 3)))
    assert lab.open_dataset(own).ids == ("a", "b", "c")
    assert validate_folder(own).empty
    paint(own / "images/a_color.png", np.zeros((3, 3, 3)))  # has an image: it is a sample after all
    assert lab.open_dataset(own).ids == ("a", "a_color", "b", "c")
    paint(own / "masks/z_labelTrainIds.png", np.zeros((3, 3)))
    own_problem(own, "masks/z_labelTrainIds.png", "It has no image")


def test_a_mask_that_an_editor_renumbered(own):
    mask = np.zeros((6, 9), np.uint8)
    mask[0], mask[1] = 1, 2
    for name in "abc":
        write_palette_png(own / f"masks/{name}.png", mask)
    assert validate_folder(own).empty
    with Image.open(own / "masks/b.png") as image:
        image.convert("RGB").quantize(16).save(own / "masks/b.png")
    own_problem(own, "masks/b.png", "but 2 of 3 have another index")
    own_problem(own, "masks/b.png", f"the colours are those of the mask {own / 'masks/a.png'}")
    assert len(validate_folder(own)) == 1
    assert lab.open_dataset(own)["c"].mask[1, 0] == 2
