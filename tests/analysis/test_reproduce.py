"""Repeating a figure: what is missing is said at once, a tolerance decides, the report says everything."""

import csv
import hashlib
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.analysis.expected import Expectation, expectations, expected_file
from clipdiy_lab.analysis.methods import features_title
from clipdiy_lab.cli import app
from clipdiy_lab.datasets import manifests
from clipdiy_lab.datasets.manifests import load_manifest, manifest_folder
from clipdiy_lab.errors import ConfigError, DatasetError, ModelError, OutputError

LIMIT = 4


def rows() -> list[dict[str, str]]:
    with expected_file().open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return lab.reproduce("scenes", limit=LIMIT, out=tmp_path_factory.mktemp("reproduce"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No dataset and no weights on this machine."""
    for name in ("CLIPDIY_LAB_DATA", "CLIPDIY_LAB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def own_table(tmp_path, monkeypatch):
    """A copy of the manifests whose expected figures a test may change."""
    folder = tmp_path / "data_manifests"
    shutil.copytree(manifest_folder(), folder)
    monkeypatch.setattr(manifests, "_FOLDERS", (folder,))
    return folder / "expected_results.csv"


def test_this_repositorys_own_table_comes_out(scenes):
    assert scenes.agrees
    assert list(scenes.table["verdict"]) == ["agrees"] * 4
    assert (scenes.table["difference_points"].abs() <= scenes.table["tolerance_points"]).all()
    assert set(scenes.table["images"]) == {LIMIT}
    assert set(scenes.table["protocol"]) == {"mmseg"}


def test_the_report_holds_every_hash(scenes):
    written, document = scenes.files
    report = json.loads(written.read_text())
    assert report == scenes.report
    assert report["expected_results_sha256"] == hashlib.sha256(expected_file().read_bytes()).hexdigest()
    tiny = lab.load("tiny")
    for row in report["rows"]:
        assert row["card"]["encoder_fingerprint"] == tiny.encoder.fingerprint
        assert len(row["card"]["labels_sha256"]) == len(row["truth_sha256"]) == len(row["image_ids_sha256"]) == 64
        assert row["why_it_may_differ"]
        for text in (row["row"], row["card"]["key"], row["card"]["encoder_fingerprint"], row["truth_sha256"]):
            assert text in document.read_text()
        bounds = f"{row['low_percent']:.2f} to {row['high_percent']:.2f}"
        assert f"(95 %: {bounds}): {row['verdict']}." in document.read_text()
    assert len({row["truth_sha256"] for row in report["rows"]}) == 1


def test_a_finished_run_is_read_again(scenes):
    folder = scenes.files[0].parent
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")}
    again = lab.reproduce("scenes", limit=LIMIT, out=folder)
    assert len(stamps) == 4
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")} == stamps
    assert again.report["rows"] == scenes.report["rows"]


def test_a_score_beyond_its_tolerance_differs_and_says_that_the_weights_do(scenes, own_table):
    changed = rows()
    for row in changed:
        if row["benchmark"] == "scenes":
            row |= {"miou_percent": str(float(row["miou_percent"]) + 0.5), "encoder_fingerprint": "f" * 64}
    with own_table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(changed[0]))
        writer.writeheader()
        writer.writerows(changed)
    folder = scenes.files[0].parent
    found = lab.reproduce("scenes", limit=LIMIT, out=folder)
    assert not found.agrees
    assert set(found.table["verdict"]) == {"differs"}
    assert "measured with ffffffffffff" in " ".join(found.report["rows"][0]["why_it_may_differ"])
    done = CliRunner().invoke(app, ["reproduce", "scenes", "--limit", str(LIMIT), "--out", str(folder)])
    assert done.exit_code == 1
    assert "differs from the expected one by more than the tolerance" in done.stderr


def test_the_command_prints_what_python_finds(scenes):
    command = ["reproduce", "scenes", "--limit", str(LIMIT), "--out", str(scenes.files[0].parent)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    for row in scenes.report["rows"]:
        assert row["row"] in done.stdout
        assert f"{row['got_percent']:.2f}" in done.stdout
    assert "possible reasons for a difference:" in done.stdout
    assert f"written: {scenes.files[0]}" in done.stdout
    said = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert said["rows"] == scenes.report["rows"]
    dashed = CliRunner().invoke(app, ["reproduce", "voc21", "--method", "clip-dyi"])
    assert "no figure of 'clip_dyi' is known for 'voc21'. Did you mean 'clip_diy'" in str(dashed.exception)


def test_another_number_of_images_is_shown_and_not_judged(own_table, tmp_path):
    kept = [row for row in rows() if row["row"] == "256 px alone, found-tiny" and row["split"] == "val"]
    with own_table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    found = lab.reproduce("scenes", limit=2, out=tmp_path / "out")
    assert found.agrees
    assert list(found.table["verdict"]) == ["not judged"]
    assert "is for 200 images and this run has 2" in found.report["rows"][0]["why_it_may_differ"][0]


def test_what_is_missing_is_said_at_once_with_the_commands(elsewhere):
    with pytest.raises(DatasetError) as caught:
        lab.reproduce("voc21", out=elsewhere / "out")
    told = str(caught.value)
    assert "(1) " in told
    assert "`clipdiy-lab data fetch voc21`" in told
    assert "(2) the weights of 'ViT-B-32/laion2b_s34b_b79k', dino_deitsmall8_300ep_pretrain.pth" in told
    assert "lab.load('ViT-B-32/laion2b_s34b_b79k', saliency='found')" in told
    assert not (elsewhere / "out").exists()


@pytest.fixture
def half(elsewhere, shared):
    """Three images of PASCAL VOC in its layout."""
    root = elsewhere / "voc"
    for part in ("JPEGImages", "SegmentationClass"):
        shutil.copytree(shared(f"samples/voc2012/{part}"), root / part)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000033\n2007_000129\n2008_000533\n")
    return root


def test_weights_alone_are_missing(elsewhere, half):
    with pytest.raises(ModelError, match=r"^'voc21' cannot be reproduced here yet: the weights of 'ViT-B-16/openai'"):
        lab.reproduce("voc21", "naclip", root=half, partial=True, out=elsewhere)


def test_half_a_dataset_advises_partial(elsewhere, half):
    with pytest.raises(DatasetError, match="pass partial=True to use the images that are present"):
        lab.reproduce("voc21", root=half, out=elsewhere)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("voc22",), "no figure is known for the benchmark 'voc22'. Did you mean 'voc21'"),
        (("voc21", "naclib"), "no figure of 'naclib' is known for 'voc21'. Did you mean 'naclip'"),
        (("scenes", "naclip"), "no figure of 'naclip' is known for 'scenes'. Did you mean 'clip_diy'"),
    ],
)
def test_unknown_names(arguments, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        lab.reproduce(*arguments, out=tmp_path)
    with pytest.raises(ConfigError, match="no figure is known for the split 'train' of 'scenes'"):
        lab.reproduce("scenes", split="train", out=tmp_path)


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be created"):
        lab.reproduce("scenes", limit=LIMIT, out=tmp_path / "file" / "out")


def test_every_expected_figure_can_be_asked_for():
    listed = [Expectation.of_row(row) for row in rows()]
    methods = {name: yaml.safe_load((manifest_folder() / f"methods/{name}.yaml").read_text()) for name in
               {one.method for one in listed}}  # fmt: skip
    for one in listed:
        assert one in expectations(one.benchmark, one.method, one.split, one.images)
        assert one.split in load_manifest(one.benchmark).splits
        assert 0 < one.miou_percent < 100
        assert one.source
        lab.Config(**{**methods[one.method]["config"], **one.config})
        if one.benchmark != "scenes":
            title = features_title(lab.Config(**methods[one.method]["config"])).partition(" (")[0]
            cells = lab.results.published(one.benchmark, [title])
            sources = set(cells["source"][cells["miou_percent"] == one.miou_percent])
            assert sources, one
            assert one.source in sources or one.source.startswith("Wysoczanska et al., WACV 2024"), one
    assert {one.encoder_fingerprint for one in listed if one.benchmark == "scenes"} == {
        lab.load("tiny").encoder.fingerprint
    }
