"""Manifests: what they say is what the notes say, and what is wrong with one is said with file, line and field."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from clipdiy_lab.datasets import manifest_schema, manifests
from clipdiy_lab.datasets.layouts import data_folder
from clipdiy_lab.datasets.manifests import load_manifest, manifest_names
from clipdiy_lab.errors import ClipdiyWarning, DatasetError
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.segmenter import Segmenter

NAMES = {
    "ade20k150": ("ade20k150__mmseg", "ade20k150"),
    "cityscapes19": ("cityscapes19__official", "cityscapes19"),
    "coco_object_diy": ("coco_object81__clip_diy", "coco_object81"),
    "coco_object_tcl": ("coco_object81__clip_diy", "coco_object81"),
    "coco_stuff171": ("coco_stuff171__mmseg", "coco_stuff171"),
    "context59": ("context59__mmseg", "context59"),
    "context60": ("context60__mmseg", "context60"),
    "voc20": ("voc20__clip_diy_minus_bg", "voc20"),
    "voc21": ("voc21__clip_diy", "voc21"),
}
VARIANT_FILES = {
    ("voc20", "mmseg"): "voc20__tcl_mmseg",
    ("coco_object_diy", "tcl"): "coco_object81__tcl_sclip",
}


def lines(path):
    return [line.strip() for line in path.read_text().splitlines()]


def test_all_are_there():
    assert set(manifest_names()) == {*NAMES, "scenes"}
    for name in manifest_names():
        assert load_manifest(name).id == name


@pytest.mark.parametrize("name", NAMES)
def test_names_and_colours_are_those_that_were_collected(shared, name):
    manifest = load_manifest(name)
    stem, palette = NAMES[name]
    assert list(manifest.label_names) == lines(shared(f"classes/{stem}.txt"))
    if manifest.reader == "coco_instances":
        assert manifest.palette is None  # its masks are drawn, and have no colours
    else:
        colours = json.loads(shared("classes/palettes.json").read_text())[palette]
        assert [list(colour) for colour in manifest.palette.colours] == colours
    assert len(manifest.label_names) == int(re.search(r"\d+$", stem.split("__")[0])[0])


@pytest.mark.parametrize("name", NAMES)
def test_variants_are_those_that_were_collected(shared, name):
    manifest = load_manifest(name)
    assert manifest.names() == manifest.label_names
    for variant in manifest.variants:
        prefix = NAMES[name][0].split("__")[0]
        expected = lines(shared(f"classes/{VARIANT_FILES.get((name, variant), f'{prefix}__{variant}')}.txt"))
        if expected[0] == "sky":  # the first of the phrases that stand for the background
            expected[0] = "background"
            assert len(manifest.variants[variant].synonyms[0]) == 26
        assert list(manifest.names(variant)) == expected
    with pytest.raises(DatasetError, match="has no label names called 'nobody'"):
        manifest.names("nobody")


@pytest.mark.parametrize(
    ("name", "variant", "file"),
    [
        ("voc21", "sclip", "voc21__sclip_synonyms"),
        ("voc20", "sclip", "voc20__sclip_synonyms"),
        ("coco_object_diy", "sclip", "coco_object81__sclip_synonyms"),
        ("coco_object_tcl", "sclip", "coco_object81__sclip_synonyms"),
        ("ade20k150", None, "ade20k150__objectinfo150_synonyms"),
    ],
)
def test_synonyms_by_label_name_are_those_that_were_collected(shared, name, variant, file):
    manifest = load_manifest(name)
    collected = [line.split(",") for line in lines(shared(f"classes/{file}.txt"))]
    phrases = manifest.phrases(variant)
    config = Config(synonyms=phrases)
    for label, listed in zip(manifest.names(variant), collected, strict=True):
        several = [one.strip() for one in listed]
        if len(several) > 1:
            assert set(config.synonyms[label]) == {label, *several} if variant is None else set(several)
        else:
            assert label not in config.synonyms
    with pytest.raises(DatasetError, match="has no label names called 'nobody'"):
        manifest.phrases("nobody")


def test_published_synonyms_are_embedded_with_a_warning_for_what_is_shared(counting_encoder):
    words = load_manifest("coco_object_diy")
    config = Config(synonyms=words.phrases("sclip"), background="prompt")
    with pytest.warns(ClipdiyWarning, match=r"\('bed' for 'background' and 'bed'\)"):
        text = Segmenter(counting_encoder).text_embeddings(words.names("sclip"), config)
    assert text.sizes["phrase"] == 81 - 2 + 26 + 8


def test_tables_are_those_that_were_collected(shared):
    with shared("classes/coco_stuff164k_labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["coco_stuff171_trainid"]]
    for name, column in (("coco_stuff171", "coco_stuff171_trainid"), ("coco_object_tcl", "coco_object81_tcl_id")):
        expected = {int(row["stuffthingmap_pixel_0_181"]): int(row[column]) for row in rows}
        assert load_manifest(name).label_map.table == expected
    with shared("classes/cityscapes_labels.csv").open() as file:
        city = {int(row["id"]): int(row["trainId"]) for row in csv.DictReader(file)}
    city.pop(-1)
    assert load_manifest("cityscapes19").label_map.table == city


def test_synonyms_of_ade_are_the_authors(shared):
    manifest = load_manifest("ade20k150")
    for index, line in enumerate(lines(shared("classes/ade20k150__objectinfo150_synonyms.txt"))):
        words = tuple(word.strip() for word in line.split(","))
        assert manifest.synonyms.get(index, words) == words
        assert (index in manifest.synonyms) == (len(words) > 1)


def test_counts_are_the_lines_of_the_lists(shared):
    for name, file in (
        ("voc21", "voc2012/split_lists/deeplab_val_1449.txt"),
        ("context60", "pascal_context/split_lists/pascalcontext_val_5104.txt"),
        ("coco_stuff171", "coco_stuff164k/split_lists/coco_val2017_ids_5000.txt"),
    ):
        assert load_manifest(name).splits["val"].images == len(set(lines(shared(f"samples/{file}"))))


def test_every_hash_and_size_stands_in_the_notes(shared):
    notes = shared("NOTES-datasets.md").read_text()
    archives = {archive.name: archive for name in NAMES for archive in load_manifest(name).archives}
    assert len(archives) == 9
    for archive in archives.values():
        known = [archive.bytes, archive.md5, archive.sha1, archive.sha256]
        assert all(str(fact) in notes for fact in known if fact is not None)
        assert archive.name in notes


def test_the_same_archive_is_described_in_the_same_way_everywhere():
    seen = {}
    for name in NAMES:
        for archive in load_manifest(name).archives:
            assert seen.setdefault(archive.name, archive) == archive


def test_both_ground_truths_of_coco_object_name_the_other():
    for name, other in (("coco_object_diy", "coco_object_tcl"), ("coco_object_tcl", "coco_object_diy")):
        notes = " ".join(load_manifest(name).notes)
        assert "Two ground truths" in notes
        assert other in notes


def test_access():
    assert load_manifest("scenes").access == "embedded"
    assert load_manifest("voc21").access == "open"
    assert load_manifest("cityscapes19").access == "login"
    assert not load_manifest("cityscapes19").licence.redistribution


@pytest.fixture
def text():
    return (manifests.manifest_folder() / "voc21.yaml").read_text()


def refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        load_manifest(path)
    message = str(caught.value)
    assert str(path) in message
    return message


def line_of(text, start):
    return next(number for number, line in enumerate(text.splitlines(), start=1) if line.startswith(start))


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("protocol: official", "protokol: official", "protokol", "Did you mean 'protocol'"),
        ("protocol: official", "config: {backgrund: none}", "config", "Did you mean 'background'"),
        ("protocol: official", "config: {background: no}", "config", "background is False"),
        ("    images: 1449", "    images: '1449'", "splits.val.images", "integer, but it is \"1449\""),
        ("    images: 1449", "    images: 0", "splits.val.images", "greater than 0"),
        ("    images: 1449", "    image: 1449", "splits.val.image", "Did you mean 'images'"),
        ("reduce_zero_label: false", "reduce_zero_label: 1", "reduce_zero_label", "boolean"),
        ("    bytes: 1999639040", "    bytes: about 2 GB", "archives.0.bytes", "integer"),
        ("    access: open", "    access: free", "archives.0.access", "'open' or 'login'"),
        ("reader: masks", "reader: mask", "reader", "'masks'"),
        ("raw_ignore: [255]", "raw_ignore: [300]", "raw_ignore.0", "255"),
        ("  redistribution: false", "  redistribution: 2020-01-01", "licence.redistribution", "boolean"),
    ],
)  # fmt: skip
def test_line_and_field_of_a_mistake(tmp_path, text, old, new, field, said):
    assert text.count(old) >= 1
    broken = text.replace(old, new, 1)
    message = refused(tmp_path, broken)
    assert f"line {line_of(broken, new)}, field {field}:" in message
    assert said in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sheep, sofa, train", "sheep, sheep, train", "'sheep' twice"),
        ("    [0, 0, 0], ", "    ", "20 colours for 21"),
        ("    changes: {11:", "    changes: {33:", "index 33"),
        ('image: "JPEGImages/{id}.jpg"', "image: JPEGImages/id.jpg", "must hold {id}"),
        ("root: VOCdevkit/VOC2012", "root: null", "needed by the reader 'masks'"),
        ("reader: masks", "reader: context", "category_map"),
        ("reduce_zero_label: false", "label_map: {table: {0: 0}, source: me}", "one or the other"),
        ("reduce_zero_label: false\nraw_ignore: [255]", "label_map: {table: {0: 99}, source: me}", "leads to 99"),
    ],
)
def test_facts_that_contradict_each_other(tmp_path, text, old, new, said):
    assert old in text
    assert said in refused(tmp_path, text.replace(old, new, 1))


def test_other_ways_to_be_no_manifest(tmp_path, text):
    assert "field title: this field is missing" in refused(tmp_path, re.sub(r"title: .*\n", "", text, count=1))
    assert "line 2: field 'id' occurs twice" in refused(tmp_path, "id: voc21\n" + text)
    assert "line 3: not valid YAML" in refused(tmp_path, 'id: a\ntitle: "b\n')
    assert "the whole file" in refused(tmp_path, "- 1\n")
    assert "the whole file" in refused(tmp_path, "")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfd")
    for name in ("bytes.yaml", "none.yaml"):
        with pytest.raises(DatasetError, match="cannot be read"):
            load_manifest(tmp_path / name)


def test_python_objects_are_not_built(tmp_path):
    message = refused(tmp_path, "id: !!python/object/apply:os.system ['true']\n")
    assert "line 1" in message


def test_unknown_names():
    with pytest.raises(DatasetError, match=r"no manifest 'voc22'. Did you mean 'voc2"):
        load_manifest("voc22")


def test_found_in_a_wheel_as_in_a_checkout(tmp_path, monkeypatch, text):
    inside, beside = tmp_path / "clipdiy_lab/data_manifests", tmp_path / "data_manifests"
    monkeypatch.setattr(manifests, "_FOLDERS", (inside, beside))
    with pytest.raises(DatasetError, match="reinstall"):
        manifest_names()
    beside.mkdir()
    (beside / "voc21.yaml").write_text(text)
    assert manifest_names() == ("voc21",)
    inside.mkdir(parents=True)
    (inside / "other.yaml").write_text(text.replace("id: voc21", "id: other"))
    assert load_manifest("other").id == "other"


def test_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIY_LAB_CACHE", str(tmp_path))
    monkeypatch.delenv("CLIPDIY_LAB_DATA", raising=False)
    assert data_folder() == tmp_path / "data"
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(tmp_path / "elsewhere"))
    assert data_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("CLIPDIY_LAB_DATA")
    monkeypatch.delenv("CLIPDIY_LAB_CACHE")
    assert data_folder().name == "data"


def test_every_file_is_plain_yaml_of_plain_width():
    for name in manifest_names():
        text = (manifests.manifest_folder() / f"{name}.yaml").read_text()
        assert yaml.safe_load(text)["id"] == name
        assert max(map(len, text.splitlines())) <= 120
        assert len(text.splitlines()) <= 400


def test_every_field_is_told_by_its_class():
    """The site's page of manifests is made from these docstrings."""
    models = [one for one in vars(manifest_schema).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    told = {one: re.findall(r"^    ([\w, ]+) : ", one.__doc__ or "", re.MULTILINE) for one in models}
    fields = {(one, field) for one in models for field in one.model_fields}
    assert len(fields) > 40
    assert {(one, field) for one, lines in told.items() for line in lines for field in line.split(", ")} == fields


def test_the_documentation_names_every_benchmark():
    text = (Path(__file__).parents[2] / "docs/howto/datasets.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", text, flags=re.MULTILINE))
    for name in manifest_names():
        manifest = load_manifest(name)
        assert f"{manifest.splits['val'].images:,}" in rows[name]
        assert {"login": "account", "open": "open", "embedded": "embedded"}[manifest.access] in rows[name]
        sizes = [one.bytes or one.bytes_about for one in manifest.archives]
        if sizes and all(one.bytes for one in manifest.archives) and "same" not in rows[name]:
            assert abs(float(re.search(r"([\d.]+) GB", rows[name])[1]) - sum(sizes) / 1e9) < 0.05
