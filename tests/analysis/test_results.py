"""Tables: ours beside the published cells, never without protocol and source; exports; images and confusions."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.analysis.protocols import get_protocol
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.summary import summarise
from clipdiy_lab.datasets.manifests import manifest_folder
from clipdiy_lab.errors import ConfigError, OutputError
from clipdiy_lab.method import metrics

NAMES = ("background", "cat", "sofa")
TRUTHS = ([[0, 0, 1]], [[2, 255, 1]], [[255, 255, 255]])
GUESSES = ([[0, 1, 1]], [[1, 0, 1]], [[0, 1, 2]])


def result(benchmark="voc21", protocol="official", images=3, **facts):
    counts = TrialCounts(1, 3, per_image=True)
    for i, (truth, guess) in enumerate(zip(TRUTHS, GUESSES, strict=True)):
        confusion = metrics.confusion(np.array(truth), np.array(guess), 3)
        counts.add(i, f"image{i}", [confusion], 3 - int(confusion.sum()))
    chosen = get_protocol(protocol)
    card = {
        "benchmark": benchmark,
        "images": images,
        "images_of_split": 3,
        "split": "val",
        "filter": "none",
        "protocol": chosen.id,
        "protocol_card": chosen.model_dump_json(),
        "config": lab.Config.paper().to_json(),
        "encoder": "tiny",
        "encoder_fingerprint": "0123456789abcdef",
        "saliency_source": "found-tiny",
    }
    return summarise(counts, NAMES, chosen, card | facts)


def published(dataset):
    with (manifest_folder() / "published_results.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["dataset"] == dataset]


@pytest.mark.parametrize(("benchmark", "theirs"), [("voc21", "VOC21"), ("coco_object_tcl", "COCO-Object")])
def test_ours_stands_beside_every_published_cell(benchmark, theirs):
    table = lab.results.table(result(benchmark))
    cells = published(theirs)
    assert len(table) == 1 + len(cells)
    assert table["ours"].tolist() == [True] + [False] * len(cells)
    assert table["miou_percent"].tolist()[1:] == [float(cell["miou_percent"]) for cell in cells]
    assert table["source"].tolist()[1:] == [cell["source"] for cell in cells]
    assert table["protocol"].tolist() == ["official", *(cell["protocol_notes"] for cell in cells)]
    assert (table["protocol"] != "").all()
    assert (table["source"] != "").all()
    assert table["miou_percent"][0] == pytest.approx(100 * (1 / 2 + 2 / 4 + 0) / 3)
    assert all("not known to be that of our rows" in note for note in table["note"][1:])
    assert table["note"].str.contains("two ground truths").sum() == (len(cells) if benchmark != "voc21" else 0)


def test_published_cells_are_those_of_the_file():
    methods = ["CLIP-DIY", "TCL"]
    cells = lab.results.published("voc21", methods)
    wanted = [(row["source"], float(row["miou_percent"])) for row in published("VOC21") if row["method"] in methods]
    assert sorted(zip(cells["source"], cells["miou_percent"], strict=True)) == sorted(wanted)
    assert len(lab.results.published("voc21")) == len(published("VOC21"))
    assert lab.results.published("scenes").empty


def test_every_published_cell_is_there_once_with_backbone_benchmark_and_source():
    with (manifest_folder() / "published_results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), len({row["method"] for row in rows})) == (1539, 72)
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    assert all(row["backbone"] and row["dataset"] and row["protocol_notes"] and row["source"] for row in rows)
    assert all(0 < float(row["miou_percent"]) < 100 for row in rows)
    # SC-CLIP's authors' row and the line of RF-CLIP with its refinement, as other papers print them.
    cells = lab.results.published("voc21", ["SC-CLIP", "RF-CLIP"])
    assert {64.6, 65.0} <= set(cells["miou_percent"])
    assert cells[cells["protocol_notes"].str.contains("PAMR")]["miou_percent"].tolist() == [67.2]


def test_the_published_score_of_the_paper_is_there():
    table = lab.results.table(result("voc21"), result("coco_object_diy"), methods=["CLIP-DIY"])
    theirs = table[~table["ours"].astype(bool)]
    assert set(theirs["method"]) == {"CLIP-DIY"}
    assert set(theirs.loc[theirs["dataset"] == "voc21", "miou_percent"]) == {59.9}
    assert set(theirs.loc[theirs["dataset"] == "coco_object_diy", "miou_percent"]) == {31.0}


def test_protocols_are_not_mixed_in_silence():
    table = lab.results.table(result(), result(protocol="mmseg"), methods=["CLIP-DIY"])
    ours = table[table["ours"].astype(bool)]
    assert ours["protocol"].tolist() == ["official", "mmseg"]
    assert all("our rows differ in protocol" in note for note in ours["note"])
    alone = lab.results.table(result(), methods=["CLIP-DIY"])
    assert "differ" not in alone["note"][0]


def test_a_part_of_the_images_is_named():
    assert "only 2 of 3 images" in lab.results.table(result(images=2))["note"][0]
    assert len(lab.results.table(result("scenes"))) == 1


def test_exports(tmp_path):
    table = lab.results.table(result(saliency_source="a|b_c & 5 %"), methods=["CLIP-DIY"])
    back = pd.read_csv(lab.results.export(table, tmp_path / "t.csv"))
    np.testing.assert_allclose(back["miou_percent"], table["miou_percent"])
    lines = lab.results.export(table, tmp_path / "t.md").read_text().splitlines()
    assert len(lines) == len(table) + 2
    assert {line.replace(r"\|", "").count("|") for line in lines} == {len(table.columns) + 1}
    latex = lab.results.export(table, tmp_path / "t.tex").read_text()
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {row.replace(r"\&", "").count("&") for row in rows} == {len(table.columns) - 1}
    assert r"a|b\_c \& 5 \%" in latex
    with pytest.raises(OutputError, match=r"expected one of \.csv, \.md, \.tex"):
        lab.results.export(table, tmp_path / "t.xlsx")


def test_images_from_worst_to_best():
    scores = lab.results.image_scores(result())
    assert scores["image_id"].tolist() == ["image1", "image0", "image2"]
    # image0: background 1/2, cat 1/2; image1: cat 1/2, sofa 0; nothing is scored in image2.
    np.testing.assert_array_equal(scores["image_miou_percent"], [25, 50, np.nan])
    assert scores["ignored"].tolist() == [1, 0, 3]
    assert lab.results.worst(result(), 1)["image_id"].tolist() == ["image1"]
    assert lab.results.best(result(), 9)["image_id"].tolist() == ["image0", "image1"]


def test_labels_of_every_image():
    rows = lab.results.image_label_scores(result())
    found = {(row.image_id, row.label): row.iou_percent for row in rows.itertuples()}
    assert found == {
        ("image0", "background"): 50,
        ("image0", "cat"): 50,
        ("image1", "cat"): 50,
        ("image1", "sofa"): 0,
    }


def test_what_is_taken_for_what():
    wrong = lab.results.confusions(result())
    pairs = list(wrong[["true_label", "label", "pixels", "share_percent"]].itertuples(index=False, name=None))
    assert pairs == [("background", "cat", 1, 50), ("sofa", "cat", 1, 100)]
    assert len(lab.results.confusions(result(), 1)) == 1


def test_bad_input(tmp_path):
    with pytest.raises(ConfigError, match="no results were given"):
        lab.results.table()
    with pytest.raises(ConfigError, match="Dataset is given where a result of evaluate is expected"):
        lab.results.table(xr.Dataset())
    with pytest.raises(ConfigError, match="Did you mean 'CLIP-DIY'"):
        lab.results.table(result(), methods=["CLIP-DYI"])
    with pytest.raises(OutputError, match="no result at"):
        lab.results.open_result(tmp_path / "none.nc")


@pytest.mark.parametrize(
    "read",
    ["worst", "best", "confusions", "label_scores", "image_scores", "image_label_scores", "plain_attrs"],
)
@pytest.mark.parametrize("given", [xr.DataTree(), xr.Dataset(), None], ids=["run", "dataset", "none"])
def test_what_is_no_result(read, given):
    with pytest.raises(ConfigError, match=f"{type(given).__name__} is given where .* make one with lab.evaluate, or"):
        getattr(lab.results, read)(given)


def test_the_attributes_are_plain():
    made = result()
    back = json.loads(json.dumps(lab.results.plain_attrs(made)))
    assert back.keys() == made.attrs.keys()
    assert all(back[name] == made.attrs[name] for name in ("miou", "images", "protocol", "encoder"))
