"""Disks that fail, links that lead nowhere, names that only look alike: one error that says so."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
from failing import FailingDisk, make_unreadable
from reading import copy_voc, paint, refused

import clipdiy_lab as lab
from clipdiy_lab.datasets import drawings
from clipdiy_lab.datasets.images import read_image
from clipdiy_lab.datasets.layouts import read_ids
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.datasets.verify import verify_dataset
from clipdiy_lab.errors import ClipdiyError, DatasetError, ImageError, nearest

MANIFEST = """
id: mine
title: mine
summary: mine
reader: masks
archives: []
root: mine
layout: {image: "images/{id}.png", mask: "masks/{id}.png", sources: [me]}
splits: {val: {images: 2, source: me}}
label_names: [background, cat]
label_source: me
licence: {images: me, annotations: me, redistribution: true, url: null, source: me}
"""


@pytest.fixture
def own(tmp_path):
    root = tmp_path / "mine"
    for name in "ab":
        paint(root / f"images/{name}.png", np.zeros((6, 9, 3)))
        paint(root / f"masks/{name}.png", np.arange(54).reshape(6, 9) % 2)
    (root / "classes.txt").write_text("background\ncat\n")
    return root


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / "coco"
    paint(root / "images/val2017/1.jpg", np.zeros((40, 40, 3)))
    (root / "annotations").mkdir()
    square = [[0, 0, 35, 0, 35, 35, 0, 35]]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 40, "width": 40}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "segmentation": square}],
    }
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return root


def says_eio(message, path):
    assert str(path) in message
    assert "cannot be read: Input/output error (EIO). The disk, or the server behind it, is at fault" in message


def test_a_real_input_output_error_is_named_wherever_a_file_is_read(own, coco, shared, tmp_path):
    make_unreadable(own / "images/b.png")
    with pytest.raises(ImageError) as caught:
        read_image(own / "images/b.png")
    says_eio(str(caught.value), own / "images/b.png")
    dataset = lab.open_dataset(own)
    with pytest.raises(DatasetError) as caught:
        dataset["b"]
    says_eio(str(caught.value), own / "images/b.png")
    make_unreadable(own / "masks/a.png")
    with pytest.raises(DatasetError) as caught:
        dataset["a"]
    says_eio(str(caught.value), own / "masks/a.png")
    report = lab.validate_folder(own)
    assert report["file"].tolist() == ["images/b.png", "masks/a.png"]
    assert report["problem"].str.contains("(EIO)", regex=False).all()
    make_unreadable(own / "classes.txt")
    assert "(EIO)" in refused(own)
    make_unreadable(coco / "annotations/instances_val2017.json")
    says_eio(refused("coco_object_diy", root=coco), coco / "annotations/instances_val2017.json")
    voc = copy_voc(shared("samples/voc2012"), tmp_path / "voc")
    make_unreadable(voc / "ImageSets/Segmentation/val.txt")
    says_eio(refused("voc21", root=voc), voc / "ImageSets/Segmentation/val.txt")
    (tmp_path / "mine.yaml").touch()
    make_unreadable(tmp_path / "mine.yaml")
    with pytest.raises(DatasetError) as caught:
        load_manifest(tmp_path / "mine.yaml")
    says_eio(str(caught.value), tmp_path / "mine.yaml")


def read_own(root):
    list(lab.open_dataset(root))


def read_coco(root):
    list(lab.open_dataset("coco_object_diy", root=root, partial=True))


def read_by_manifest(root):
    list(lab.open_dataset(root / "mine.yaml", root=root, list="list.txt"))


def verify(root):
    verify_dataset(load_manifest(root / "mine.yaml"), deep=True)


def validate(root):
    lab.validate_folder(root)


def error_of(work, root):
    try:
        work(root)
    except ClipdiyError as error:
        return str(error)
    return None


@pytest.mark.parametrize("work", [read_own, read_coco, read_by_manifest, verify, validate])
def test_whichever_call_of_the_system_fails_the_error_is_the_labs(own, coco, work, monkeypatch):
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(own.parent))
    (own / "mine.yaml").write_text(MANIFEST)
    (own / "list.txt").write_text("a\nb\n")
    root = coco if work is read_coco else own
    work(root)  # without a fault
    for fail_at in range(1, 200):
        with FailingDisk(monkeypatch, root, fail_at) as disk:
            said = error_of(work, root)
        # A file that cannot be looked at may also count as one that is not there.
        assert said is None or re.search(r"Input/output error|missing|no dataset|There is no", said), said
        if disk.calls < fail_at:
            break
    assert 8 < fail_at < 199


def test_a_disk_that_fails_in_the_middle_of_an_image(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif"):
        paint(tmp_path / name, rng.integers(0, 256, (200, 200, 3)))
        with FailingDisk(monkeypatch, tmp_path / name, 5) as disk, pytest.raises(ImageError) as caught:
            read_image(tmp_path / name)
        assert disk.calls >= 5
        says_eio(str(caught.value), name)


def test_the_drawings_of_the_package(monkeypatch):
    folder = Path(str(drawings._FOLDER))
    for read in (drawings._index, lambda: drawings._atlas(drawings.families(False)[0])):
        for cached in (drawings._index, drawings._atlas):
            cached.cache_clear()
        drawings._index()
        if read is drawings._index:
            drawings._index.cache_clear()
        with (
            FailingDisk(monkeypatch, folder, 1),
            pytest.raises(DatasetError, match=r"The lab's own drawings, .*\(EIO\)"),
        ):
            read()
        assert len(lab.open_dataset("scenes", length=1)[0].image)  # what failed is not remembered


def test_a_stream_that_fails():
    class Stream:
        def read(self):
            raise OSError(errno.ESTALE, "Stale file handle")

    with pytest.raises(ImageError, match=r"Stale file handle \(ESTALE\)\. The network disk does not answer: mount it"):
        read_image(Stream())


def test_links_that_lead_nowhere(own, tmp_path):
    gone = tmp_path / "gone"
    image = own / "images/a.png"
    image.unlink()
    image.symlink_to(gone)
    expected = rf"a\.png' cannot be opened: it is a link to '{gone}', which does not exist\. Put the target back"
    with pytest.raises(DatasetError, match=expected):
        lab.open_dataset(own)["a"]
    image.unlink()
    image.symlink_to(image)
    with pytest.raises(ImageError, match=r"it is a link to .*a\.png', which leads in a circle"):
        read_image(image)
    (own / "classes.txt").unlink()
    (own / "classes.txt").symlink_to(gone)
    assert "It cannot be read: it is a link to" in refused(own)
    (own / "masks").rename(own / "old")
    (own / "masks").symlink_to(gone)
    report = lab.validate_folder(own).set_index("file")["problem"]
    assert f"cannot be listed: it is a link to {str(gone)!r}" in report["masks"]
    (tmp_path / "link").symlink_to(gone)
    assert "It cannot be read: it is a link to" in refused(tmp_path / "link")
    with pytest.raises(ImageError, match=rf"'{own}/masks' is a link to '{gone}', which does not exist"):
        read_image(own / "masks/a.png")  # a link further up


def test_links_of_a_benchmark_that_lead_nowhere(shared, tmp_path):
    voc = copy_voc(shared("samples/voc2012"), tmp_path / "voc")
    gone = tmp_path / "gone"
    (voc / "SegmentationClass/2007_000033.png").unlink()
    (voc / "SegmentationClass/2007_000033.png").symlink_to(gone)
    with pytest.raises(DatasetError, match=f"it is a link to '{gone}'"):
        lab.open_dataset("voc21", root=voc, partial=True)["2007_000033"]
    (voc / "JPEGImages").rename(voc / "old")
    (voc / "JPEGImages").symlink_to(gone)
    assert f"it is a link to {str(gone)!r}" in refused("voc21", root=voc, partial=True)
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    (voc / "ImageSets/Segmentation/val.txt").symlink_to(gone)
    assert "it is a link to" in refused("voc21", root=voc, partial=True)


def test_names_too_long_for_the_system():
    assert "File name too long (ENAMETOOLONG). Give a shorter path." in refused("x" * 300)
    with pytest.raises(DatasetError, match="ENAMETOOLONG"):
        read_ids(Path("x" * 300))


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_that_only_look_alike_in_a_folder(own):
    (own / "images/a.png").rename(own / f"images/{DECOMPOSED}.png")
    (own / "masks/a.png").rename(own / f"masks/{COMPOSED}.png")
    report = lab.validate_folder(own)
    errors = report[report["level"] == "error"]
    assert errors["file"].tolist() == [f"images/{DECOMPOSED}.png"]  # one problem for the pair
    assert r"'cafe\u0301' and 'caf\xe9' look the same but have different code points" in errors["problem"].iloc[0]
    assert r"'cafe\u0301' and 'caf\xe9'" in refused(own)


def test_names_that_only_look_alike_elsewhere(own):
    (own / "images/a.png").rename(own / f"images/{DECOMPOSED}.png")
    (own / "masks/a.png").rename(own / f"masks/{DECOMPOSED}.png")
    with pytest.raises(ImageError, match=r"Did you mean 'cafe\\u0301\.png'\? 'caf\\xe9\.png' and 'cafe\\u0301\.png'"):
        read_image(own / f"images/{COMPOSED}.png")
    with pytest.raises(DatasetError, match=r"'caf\\xe9' and 'cafe\\u0301' look the same"):
        lab.open_dataset(own)[COMPOSED]
    (own / "mine.yaml").write_text(MANIFEST)
    (own / "list.txt").write_text(f"{COMPOSED}\nb\n")
    message = refused(own / "mine.yaml", root=own, list="list.txt")
    assert r"but its folder has 'cafe\u0301.png': 'caf\xe9.png' and 'cafe\u0301.png' look the same" in message
    (own / "classes.txt").write_text(f"background\n{COMPOSED}\n{DECOMPOSED}\n", encoding="utf-8")
    assert r"Lines 2 and 3 are the same name: 'caf\xe9' and 'cafe\u0301'" in refused(own)


def test_the_nearest_name_is_never_the_same_to_the_eye():
    said = nearest(COMPOSED, ["cat", DECOMPOSED])
    assert said.startswith(r"Did you mean 'cafe\u0301'? 'caf\xe9' and 'cafe\u0301' look the same")
    assert said.isascii()
    assert nearest("sofaa", ["sofa", DECOMPOSED]) == "Did you mean 'sofa'?"
