"""What a benchmark's manifest decides when nothing is asked for, and what a result says about its masks."""

import re
import warnings

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.analysis.diagnosis import findings
from clipdiy_lab.analysis.protocols import PROTOCOLS, protocol_for
from clipdiy_lab.cli import app
from clipdiy_lab.datasets.manifests import load_manifest, manifest_folder, manifest_names
from clipdiy_lab.datasets.palette import write_palette_png
from clipdiy_lab.errors import ClipdiyWarning, ConfigError, OutOfDistributionWarning
from clipdiy_lab.pipeline.sources import config_for

FAST = {"scales": (128,), "precision": "fp32"}


@pytest.fixture
def segmenter(counting_encoder):
    return lab.Segmenter(counting_encoder, "spectral")


def write_voc(root, masks):
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(2)
    for name, mask in masks.items():
        Image.fromarray(rng.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.jpg")
        write_palette_png(root / f"SegmentationClass/{name}.png", mask)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(masks))
    return root


@pytest.fixture
def voc(tmp_path):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 5:15], mask[20:], mask[4] = 15, 9, 255
    return write_voc(tmp_path / "voc", {"a": mask, "b": mask.T.copy()})


def own_folder(root, classes, mask, count=3):
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rng = np.random.default_rng(3)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)).save(root / f"images/{index}.png")
        Image.fromarray(mask).save(root / f"masks/{index}.png")
    (root / "classes.txt").write_text("\n".join(classes))
    return lab.open_dataset(root)


# Protocol and configuration


def test_every_manifest_names_a_protocol_and_a_configuration_that_its_labels_fit():
    for name in manifest_names():
        manifest = load_manifest(name)
        assert manifest.protocol in PROTOCOLS
        config = lab.Config.paper().replace(**manifest.config)
        assert ("background" in manifest.label_names) == (config.background != "none")


def test_a_benchmark_is_scored_as_its_manifest_says(segmenter, voc):
    with_background = lab.open_dataset("voc21", root=voc, partial=True)
    without = lab.open_dataset("voc20", root=voc, partial=True)
    card = lab.evaluate(segmenter, with_background, limit=1).attrs
    assert (card["protocol"], card["background_rule"]) == ("official", "saliency")
    same = lab.evaluate(segmenter, with_background, lab.Config(), limit=1, protocol="official")
    assert card["config"] == same.attrs["config"]
    assert card["miou"] == same.attrs["miou"]
    card = lab.evaluate(segmenter, without, limit=1).attrs
    assert (card["protocol"], card["background_rule"]) == ("mmseg", "none")
    same = lab.evaluate(segmenter, without, lab.Config(background="none"), limit=1, protocol="mmseg")
    assert card["miou"] == same.attrs["miou"]


def test_what_is_given_counts(segmenter, voc):
    dataset = lab.open_dataset("voc21", root=voc, partial=True)
    card = lab.evaluate(segmenter, dataset, limit=1, protocol="mmseg").attrs
    assert (card["protocol"], card["background_rule"]) == ("mmseg", "saliency")
    card = lab.evaluate(segmenter, dataset, lab.Config(background="prompt"), limit=1).attrs
    assert (card["protocol"], card["background_rule"]) == ("official", "prompt")
    without = lab.open_dataset("voc20", root=voc, partial=True)
    assert config_for(without, lab.Config(stride=1)) == lab.Config(stride=1)  # nothing of the manifest is mixed in
    assert config_for(without, None, lab.Config.paper()) == lab.Config.paper().replace(background="none")
    with pytest.raises(
        ConfigError, match="background_label is 'background', which is not among the labels of 'voc20-val'"
    ):
        lab.evaluate(segmenter, without, lab.Config(), limit=1)


def test_a_sweep_and_an_error_budget_are_scored_alike(segmenter, voc, tmp_path):
    without = lab.open_dataset("voc20", root=voc, partial=True)
    alone = lab.evaluate(segmenter, without)
    table = lab.sweep(segmenter, without, {"saliency_weight": [1.0]})
    assert table["error"].tolist() == [""]
    assert table["miou_percent"][0] == 100 * alone.attrs["miou"]
    store = lab.embed(segmenter, without, tmp_path / "store")
    stored = lab.sweep(store, without, {"saliency_weight": [1.0]}, segmenter=segmenter)
    assert stored["error"].tolist() == [""]
    assert stored["background"].tolist() == ["none"]
    with_background = lab.open_dataset("voc21", root=voc, partial=True)
    alone = lab.evaluate(segmenter, with_background)
    table = lab.sweep(segmenter, with_background, {"saliency_weight": [1.0]})
    assert table["protocol"].tolist() == ["official"]
    assert table["miou_percent"][0] == 100 * alone.attrs["miou"]
    assert lab.explain.error_budget(segmenter, with_background).attrs["protocol"] == "official"


def test_a_manifest_of_ones_own(segmenter, voc, tmp_path):
    facts = yaml.safe_load((manifest_folder() / "voc20.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(facts | {"id": "mine", "protocol": "oficial"}))
    dataset = lab.open_dataset(path, root=voc, partial=True)
    with pytest.raises(ConfigError, match=r"manifest '.*mine\.yaml' names its protocol, but .*Did you mean 'official'"):
        lab.evaluate(segmenter, dataset)
    assert protocol_for(dataset, "mmseg").id == "mmseg"
    facts = facts | {"id": "mine", "config": {"background": "none", "stride": 1}}
    del facts["protocol"]
    path.write_text(yaml.safe_dump(facts))
    dataset = lab.open_dataset(path, root=voc, partial=True)
    assert protocol_for(dataset, None).id == "mmseg"
    assert config_for(dataset, None) == lab.Config(background="none", stride=1)


# `tiny` says that it never learned one of the labels, which is not what is tested.
@pytest.mark.filterwarnings("ignore:The model .tiny. never learned:clipdiy_lab.errors.ClipdiyWarning")
def test_the_command_line_needs_no_options(voc, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = ["--root", str(voc), "--partial", "--limit", "1", "--saliency", "none", "--out", "r"]

    def run(*arguments):
        with pytest.warns(OutOfDistributionWarning):
            done = CliRunner().invoke(app, ["evaluate", *arguments, *command])
        assert done.exit_code == 0, done.output
        return done.stdout

    said = run("voc21")
    assert "protocol official" in said
    assert "18 of 21 labels occur in no mask, " in said
    assert "protocol mmseg" in run("voc20")
    assert "protocol mmseg" in run("voc21", "--protocol", "mmseg")
    files = list((tmp_path / "r").glob("voc2*.nc"))
    assert len(files) == 3
    configs = {
        path.name.split("-")[0]: lab.Config.from_json(lab.results.open_result(path).attrs["config"]) for path in files
    }
    assert configs == {"voc21": lab.Config.paper(), "voc20": lab.Config.paper().replace(background="none")}


# What a result says about its masks


def evaluated(segmenter, dataset, **options):
    """A result, and the warnings that came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = lab.evaluate(segmenter, dataset, lab.Config(**FAST), **options)
    return result, [str(one.message) for one in caught if issubclass(one.category, ClipdiyWarning)]


def test_foreground_saved_as_255_is_said(segmenter, tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:15] = 1
    _, said = evaluated(segmenter, own_folder(tmp_path / "right", ["background", "car"], mask))
    assert said == []
    dataset = own_folder(tmp_path / "wrong", ["background", "car"], mask * 255)
    out = tmp_path / "r.nc"
    result, said = evaluated(segmenter, dataset, out=out)
    (only,) = said
    assert only.startswith("wrong: 1 of 2 labels occurs in no mask: 'car'. 16.7 % of the pixels are ignored")
    assert "Painting tools save foreground as 255" in only
    assert findings(result) == [only.removeprefix("wrong: ")]
    assert evaluated(segmenter, dataset, out=out)[1] == said  # also where the result is read
    assert evaluated(segmenter, dataset, limit=1)[1] == said  # a part shows it too


def test_a_label_that_is_nowhere_is_said_of_a_whole_dataset_only(segmenter, tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:15], mask[0] = 1, 255
    dataset = own_folder(tmp_path / "mine", ["background", "car", "dog"], mask)
    _, said = evaluated(segmenter, dataset)
    assert len(said) == 1
    assert "1 of 3 labels occurs in no mask: 'dog'" in said[0]
    assert "If 255 stands for 'dog' in the masks, write 2 instead." in said[0]
    assert evaluated(segmenter, dataset, limit=2)[1] == []


def test_a_part_of_a_benchmark_lacks_labels_without_a_word(segmenter, voc):
    assert evaluated(segmenter, lab.open_dataset("voc21", root=voc, partial=True))[1] == []


def test_masks_that_are_mostly_ignored_are_said(segmenter, tmp_path):
    mask = np.full((20, 30), 255, np.uint8)
    mask[:2], mask[2:4] = 0, 1
    _, said = evaluated(segmenter, own_folder(tmp_path / "mine", ["background", "car"], mask))
    assert len(said) == 1
    assert said[0].startswith("mine: 80.0 % of the pixels are ignored (mask value 255).")


def test_the_document_of_published_scores_says_what_the_manifests_say():
    text = (manifest_folder().parent / "docs/howto/reproduce.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `clipdiy-lab evaluate (\w+)(?: \$M)?` \| (\w+) \| (\w+) \|", text, re.MULTILINE)
    said = {name: (protocol, background) for name, protocol, background in rows}
    manifests = {name: load_manifest(name) for name in manifest_names()}
    assert said == {
        name: (manifest.protocol, lab.Config(**manifest.config).background) for name, manifest in manifests.items()
    }


def test_published_cells_go_by_the_name_in_the_manifest():
    cells = {name: lab.results.published(name, ["CLIP-DIY"]) for name in manifest_names()}
    assert {name for name, found in cells.items() if found.empty} == {"scenes"}
    assert set(cells["voc21"]["dataset"]) == {"VOC21"}
    assert cells["voc21"]["miou_percent"].tolist() == [59.9] * len(cells["voc21"])
    assert cells["coco_object_diy"].equals(cells["coco_object_tcl"])
