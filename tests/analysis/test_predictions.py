"""Predictions that an evaluation writes, and label maps of any tool that are scored: the same counts."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from killed_run import MeanColour
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab.analysis.scoring import resume
from clipdiy_lab.analysis.scoring.counts import draws
from clipdiy_lab.datasets.palette import read_palette_png, voc_colormap
from clipdiy_lab.datasets.readers_json import drawn_from
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.errors import ConfigError, DatasetError, LabelError, OutputError, PredictionError
from clipdiy_lab.method.metrics import Hits
from clipdiy_lab.method.outlines import WIDTHS, Outlines

COUNTS = ["confusion", "tp", "fp", "fn", "ignored", "iou", "accuracy", "pixels", "image_miou"]
CONFIG = lab.Config(scales=(16, 8), image_size=(16, 24))


class Pictures:
    """Random pictures of several sizes with random masks, ignored pixels among them."""

    name, split = "pictures", "val"

    def __init__(self, length=6, labels=("background", "cat", "sofa")):
        self.label_names, self.ids = labels, tuple(f"p{index:03d}" for index in range(length))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        size = (12 + index % 3, 20)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, rng.choice([0, 1, 2, 255], size).astype(np.uint8))


@pytest.fixture(scope="module")
def segmenter():
    return lab.Segmenter(MeanColour(), "none")


def evaluate(segmenter, dataset, **options):
    return lab.evaluate(segmenter, dataset, CONFIG, **options)


def same_counts(one, other):
    for name in COUNTS:
        xr.testing.assert_identical(one[name], other[name])
    for name in ("miou", "miou_low", "miou_high", "pixel_accuracy", "ignored_share", "protocol", "labels_sha256"):
        assert one.attrs[name] == other.attrs[name]


@pytest.mark.parametrize("protocol", ["mmseg", "small_windows"])
def test_what_is_written_scores_as_it_did(segmenter, tmp_path, protocol):
    dataset = Pictures()
    if protocol == "small_windows":
        protocol = tmp_path / "small_windows.yaml"
        protocol.write_text("id: small_windows\nsummary: small\nabsent: zero\nimage_short: 16\nwindow: 16\nstride: 8\n")
    evaluated = evaluate(segmenter, dataset, predictions=tmp_path / "masks", protocol=protocol)
    scored = lab.score(tmp_path / "masks", dataset, protocol=protocol)
    same_counts(scored, evaluated)
    assert evaluated.attrs["miou"] == evaluate(segmenter, dataset, protocol=protocol).attrs["miou"]
    card = json.loads((tmp_path / "masks/card.json").read_text())
    assert card == {**json.loads(scored.attrs["predictions_card"])}
    assert card["config"] == CONFIG.to_json()
    assert (tmp_path / "masks/classes.txt").read_text().split() == list(dataset.label_names)
    for index, image_id in enumerate(dataset.ids):
        written = read_palette_png(tmp_path / f"masks/{image_id}.png")
        run = segmenter.segment(dataset[index].image, dataset.label_names, CONFIG)
        if evaluated.attrs["protocol"] == "mmseg":
            np.testing.assert_array_equal(written, run["labels_full"].values)
        assert written.shape == dataset[index].mask.shape
    (row,) = lab.results.table(scored).to_dict("records")
    assert (row["method"], row["miou_percent"]) == ("masks", 100 * scored.attrs["miou"])


def test_beyond_255_labels_the_indices_have_16_bits(segmenter, tmp_path):
    names = ("background", *(f"thing {'x' * (index % 7)} {index}" for index in range(1, 300)))
    dataset = Pictures(length=2, labels=names)
    evaluated = evaluate(segmenter, dataset, predictions=tmp_path / "masks")
    with Image.open(tmp_path / "masks/p000.png") as image:
        assert image.mode == "I;16"
    same_counts(lab.score(tmp_path / "masks", dataset), evaluated)


def test_predictions_have_the_colours_of_the_benchmark(segmenter, tmp_path):
    scenes = lab.open_dataset("scenes", length=1)
    lab.evaluate(segmenter, scenes, lab.Config(scales=(256,)), predictions=tmp_path / "masks")
    with Image.open(tmp_path / f"masks/{scenes.ids[0]}.png") as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(palette, voc_colormap())


class Interrupting(MeanColour):
    def __init__(self, at):
        self.calls, self.at = 0, at

    def encode_crops(self, crops):
        if self.calls == self.at:
            raise KeyboardInterrupt
        self.calls += 1
        return super().encode_crops(crops)


@pytest.mark.parametrize("out", [None, "result.nc"])
def test_an_interrupted_run_goes_on_behind_what_it_wrote(monkeypatch, tmp_path, segmenter, out):
    monkeypatch.setattr(resume, "KEEP_SECONDS", 0)
    monkeypatch.setattr(resume, "WRITING_SHARE", np.inf)
    dataset, masks, out = Pictures(), tmp_path / "masks", out and tmp_path / out
    config = lab.Config(scales=(16,), image_size=16)
    with pytest.raises(KeyboardInterrupt) as caught:
        lab.evaluate(lab.Segmenter(Interrupting(3), "none"), dataset, config, predictions=masks, out=out)
    assert "3 of 6 images" in caught.value.__notes__[0]
    assert sorted(path.stem for path in masks.glob("*.png")) == ["p000", "p001", "p002"]
    encoder = Interrupting(None)
    result = lab.evaluate(lab.Segmenter(encoder, "none"), dataset, config, predictions=masks, out=out)
    assert encoder.calls == 3
    same_counts(result, lab.evaluate(segmenter, dataset, config))
    same_counts(lab.score(masks, dataset), result)
    assert {path.name for path in masks.iterdir()} == {"card.json", "classes.txt", *(f"{i}.png" for i in dataset.ids)}


def test_a_result_that_is_there_does_not_keep_predictions_from_being_written(segmenter, tmp_path):
    dataset, out, masks = Pictures(), tmp_path / "result.nc", tmp_path / "masks"
    first = evaluate(segmenter, dataset, out=out)
    second = evaluate(segmenter, dataset, out=out, predictions=masks)
    xr.testing.assert_identical(second, first)
    (masks / "p003.png").unlink()
    third = evaluate(segmenter, dataset, out=out, predictions=masks)
    xr.testing.assert_identical(third, first)
    same_counts(lab.score(masks, dataset), first)


def test_nothing_is_replaced_that_is_not_of_the_run(segmenter, tmp_path):
    dataset, masks = Pictures(), tmp_path / "masks"
    masks.mkdir()
    (masks / "p000.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"holds 'p000.png' and no card.json"):
        evaluate(segmenter, dataset, predictions=masks)
    assert [path.read_bytes() for path in masks.iterdir()] == [b"mine"]
    masks = tmp_path / "others"
    evaluate(segmenter, dataset, predictions=masks, limit=2)
    with pytest.raises(OutputError, match="another run, which differs in images"):
        evaluate(segmenter, dataset, predictions=masks, limit=3)
    Image.fromarray(np.zeros((12, 20), np.uint8)).save(masks / "p000.png")
    before = (masks / "p000.png").read_bytes()
    with pytest.raises(OutputError, match="holds another prediction, so it is not replaced"):
        evaluate(segmenter, dataset, predictions=masks, limit=2)
    assert (masks / "p000.png").read_bytes() == before
    (masks / "card.json").write_text("[]")
    with pytest.raises(OutputError, match="not a card of predictions"):
        evaluate(segmenter, dataset, predictions=masks, limit=2)


def test_an_id_does_not_lead_out_of_the_folder(segmenter, tmp_path):
    dataset = Pictures(length=1)
    dataset.ids = ("../outside",)
    with pytest.raises(DatasetError, match="not a valid file name"):
        evaluate(segmenter, dataset, predictions=tmp_path / "masks")
    assert not (tmp_path / "outside.png").exists()


@pytest.fixture
def folder(tmp_path):
    """Predictions of another tool: right where the truth is not ignored, but one pixel of each image."""
    dataset, folder = Pictures(), tmp_path / "sclip"
    folder.mkdir()
    labels = {}
    for sample in map(dataset.__getitem__, range(len(dataset))):
        labels[sample.id] = np.where(sample.mask == 255, 0, sample.mask).astype(np.uint8)
        labels[sample.id][np.unravel_index(np.argmax(sample.mask == 1), sample.mask.shape)] = 2
        Image.fromarray(labels[sample.id]).save(folder / f"{sample.id}.png")
    return dataset, folder, labels


def test_every_way_to_write_indices_gives_one_score(folder, tmp_path):
    dataset, masks, labels = folder
    expected = lab.score(masks, dataset)
    assert int(expected["fn"].sum()) == len(dataset)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    ways = {
        "rgb": lambda values: Image.fromarray(colours[values]),
        "rgba": lambda values: Image.fromarray(np.dstack([colours[values], np.full(values.shape, 255, np.uint8)])),
        "16-bit": lambda values: Image.fromarray(values.astype(np.uint16)),
        "gray-alpha": lambda values: Image.merge(
            "LA", [Image.fromarray(values), Image.fromarray(np.full(values.shape, 255, np.uint8))]
        ),
    }
    for name, make in ways.items():
        other = tmp_path / name / "deeper"  # tools put folders around their files
        other.mkdir(parents=True)
        for image_id, values in labels.items():
            make(values).save(other / f"{image_id}.png")
        same_counts(lab.score(tmp_path / name, dataset, colours=colours), expected)


def test_all_problems_stand_in_one_report(folder, tmp_path):
    dataset, masks, labels = folder
    (masks / "p000.png").unlink()
    Image.fromarray(labels["p001"][:-1]).save(masks / "p001.png")
    wrong = labels["p002"].copy()
    wrong[np.unravel_index(np.argmax(dataset[2].mask == 1), wrong.shape)] = 7
    Image.fromarray(wrong).save(masks / "p002.png")
    Image.fromarray(labels["p003"]).save(masks / "p003.jpg")
    (masks / "p003.png").unlink()
    Image.fromarray(labels["p004"]).save(masks / "q004.png")
    Image.fromarray(np.dstack([labels["p005"]] * 3)).save(masks / "p005.png")
    (masks / "classes.txt").write_text("background\nsofa\ncat\n")
    with pytest.raises(PredictionError) as caught:
        lab.score(masks, dataset, out=tmp_path / "result.nc")
    problems = dict(caught.value.problems)
    assert set(problems) == {
        "p000.png", "p001.png", "p002.png", "p003.jpg", "q004.png", "p005.png", "classes.txt"
    }  # fmt: skip
    assert problems["p001.png"].startswith("it is 20 x 12, its image 20 x 13")
    assert problems["p002.png"] == "1 pixels that count have the values 7; labels end at 2"
    assert "lossy compression" in problems["p003.jpg"]
    assert "its three channels are equal" in problems["p005.png"]
    assert "label 1 is 'sofa' there and 'cat' in the dataset" in problems["classes.txt"]
    for file, text in problems.items():
        assert file in str(caught.value)
        assert text in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sclip"]


def test_what_is_predicted_where_the_truth_is_ignored_does_not_matter(folder):
    dataset, masks, labels = folder
    expected = lab.score(masks, dataset)
    for sample in map(dataset.__getitem__, range(len(dataset))):
        Image.fromarray(np.where(sample.mask == 255, 255, labels[sample.id])).save(masks / f"{sample.id}.png")
    same_counts(lab.score(masks, dataset), expected)
    assert lab.score(masks, dataset, protocol="official").attrs["images"] == len(dataset)


def test_names_with_an_ending_are_explained(folder):
    dataset, masks, _ = folder
    for path in list(masks.glob("*.png")):
        path.rename(path.with_stem(f"{path.stem}_pred"))
    with pytest.raises(PredictionError, match="6 files have '_pred' behind an id: rename them"):
        lab.score(masks, dataset)


def test_ids_in_folders_are_found_in_flat_ones(folder):
    dataset, masks, _ = folder
    expected = lab.score(masks, dataset)
    dataset.ids = tuple(f"town/{image_id}" for image_id in dataset.ids)
    np.testing.assert_array_equal(lab.score(masks, dataset)["tp"], expected["tp"])
    (masks / "town").mkdir()
    (masks / "town/p000.png").write_bytes((masks / "p000.png").read_bytes())
    with pytest.raises(PredictionError, match="is a prediction of 'town/p000' too; keep one"):
        lab.score(masks, dataset)


def test_colours_that_do_not_fit(folder):
    dataset, masks, labels = folder
    for colours, said in (([[0, 0, 0]], "one RGB colour"), ([[0, 0, 0]] * 3, "two labels have the same colour")):
        with pytest.raises(ConfigError, match=said):
            lab.score(masks, dataset, colours=colours)
    Image.fromarray(np.dstack([labels["p000"] * 9] * 3)).save(masks / "p000.png")
    with pytest.raises(PredictionError, match="colours belong to no label"):
        lab.score(masks, dataset, colours=[[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    with pytest.raises(DatasetError, match="there is no folder"):
        lab.score(masks / "nowhere", dataset)


def test_a_scored_folder_is_read_again_and_other_bytes_are_another_result(folder, tmp_path):
    dataset, masks, labels = folder
    out = tmp_path / "results"
    first = lab.score(masks, dataset, out=out, method="SCLIP")
    xr.testing.assert_identical(lab.score(masks, dataset, out=out, method="SCLIP"), first)
    assert lab.results.table(first).loc[0, "method"] == "SCLIP"
    Image.fromarray(np.zeros_like(labels["p000"])).save(masks / "p000.png")
    assert lab.score(masks, dataset, out=out, method="SCLIP").attrs["miou"] < first.attrs["miou"]
    assert len(list(out.iterdir())) == 2
    (masks / "card.json").write_text("another program's")
    lab.score(masks, dataset, out=out, method="SCLIP")
    Image.fromarray(labels["p001"]).save(masks / "surplus.png")
    with pytest.raises(PredictionError, match="1 surplus"):
        lab.score(masks, dataset, out=out, method="SCLIP")


def test_intervals_of_labels_and_scores_near_outlines(segmenter, tmp_path):
    dataset = Pictures()
    result = evaluate(segmenter, dataset, predictions=tmp_path / "masks", boundary=0.1)
    near = [
        Outlines.of(dataset[index].mask, read_palette_png(tmp_path / f"masks/{image_id}.png"), 3, 0.1)
        for index, image_id in enumerate(dataset.ids)
    ]
    for place, part in enumerate(("tp", "fp", "fn")):
        np.testing.assert_array_equal(result[f"boundary_{part}"], [one.boundary[place] for one in near])
    pooled = Hits(*sum(one.boundary for one in near))
    np.testing.assert_array_equal(result["boundary_iou"], pooled.iou())
    assert result.attrs["boundary_miou"] == np.nanmean(pooled.iou())
    assert result.attrs["boundary_miou_low"] <= result.attrs["boundary_miou"] <= result.attrs["boundary_miou_high"]
    trimap = sum(one.trimap for one in near)
    expected = [np.nanmean(Hits(*counts).iou()) for counts in trimap]
    np.testing.assert_array_equal(result["trimap_miou"], expected)
    assert result["trimap_width"].values.tolist() == list(WIDTHS)
    assert ((result["iou_low"] <= result["iou"]) & (result["iou"] <= result["iou_high"])).all()
    times = np.stack([draws(position) for position in range(len(dataset))])
    cats = [np.einsum("ir,i->r", times, result[part].sel(label="cat").values) for part in ("tp", "fp", "fn")]
    scores = cats[0] / sum(cats)
    assert float(result["iou_low"].sel(label="cat")) == pytest.approx(np.quantile(scores, 0.025), abs=1e-12)
    scored = lab.score(tmp_path / "masks", dataset, boundary=0.1)
    xr.testing.assert_identical(scored["boundary_tp"], result["boundary_tp"])
    for bad in (0, 0.6, True, "wide"):
        with pytest.raises(ConfigError, match="width of the band"):
            lab.score(tmp_path / "masks", dataset, boundary=bad)


def test_predictions_become_run_lengths_and_back(folder, tmp_path):
    _, masks, labels = folder
    (masks / "p005.png").rename(masks / "000139.png")
    count = lab.results.export_coco(masks, tmp_path / "coco.json")
    records = json.loads((tmp_path / "coco.json").read_text())
    assert len(records) == count
    back = {image_id: np.full(values.shape, 255, np.uint8) for image_id, values in labels.items()}
    for record in records:
        image_id = "p005" if record["image_id"] == 139 else record["image_id"]
        size, counts = record["segmentation"]["size"], record["segmentation"]["counts"].encode()
        back[image_id][drawn_from({"size": size, "counts": counts})] = record["category_id"]
    for image_id, values in labels.items():
        np.testing.assert_array_equal(back[image_id], values)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(masks / "rgb.png")
    with pytest.raises(DatasetError, match=r"rgb\.png: it is RGB"):
        lab.results.export_coco(masks, tmp_path / "other.json")
    with pytest.raises(DatasetError, match="no PNG in"):
        lab.results.export_coco(tmp_path / "nowhere", tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()


@pytest.fixture
def voc(shared, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "datasets"))
    from reading import copy_voc

    root = copy_voc(shared("samples/voc2012"), tmp_path / "VOCdevkit/VOC2012")
    return lab.open_dataset("voc21", root=root, partial=True), root / "SegmentationClass"


@pytest.mark.filterwarnings("ignore::clipdiy_lab.errors.ClipdiyWarning")
def test_real_masks_score_as_perfect_predictions_by_index_and_by_colour(voc, tmp_path):
    dataset, masks = voc
    indices, colours = tmp_path / "indices", tmp_path / "colours"
    for folder in (indices, colours):
        folder.mkdir()
    for image_id in dataset.ids:
        (indices / f"{image_id}.png").write_bytes((masks / f"{image_id}.png").read_bytes())
        Image.open(masks / f"{image_id}.png").convert("RGB").save(colours / f"{image_id}.png")
    for folder in (indices, colours):
        found = lab.score(folder, dataset, protocol="mmseg")
        assert found.attrs["miou"] == 1
        assert found.attrs["boundary_miou"] == 1
        assert int(found["confusion"].sum()) == sum(int((dataset.mask(i) != 255).sum()) for i in range(len(dataset)))
    table = lab.results.table(found)
    assert table["ours"].sum() == 1
    assert len(table) > 10  # beside the published ones
    first = dataset.ids[0]
    renumbered = Image.open(masks / f"{first}.png").convert("RGB").quantize(dither=Image.Dither.NONE)
    renumbered.save(indices / f"{first}.png")
    transparent = Image.open(masks / f"{dataset.ids[1]}.png").convert("RGBA")
    transparent.putalpha(200)
    transparent.save(indices / f"{dataset.ids[1]}.png")
    with pytest.raises(PredictionError) as caught:
        lab.score(indices, dataset, protocol="mmseg")
    problems = dict(caught.value.problems)
    assert "have another index" in problems[f"{first}.png"]
    assert "transparent pixels" in problems[f"{dataset.ids[1]}.png"]


def test_scores_of_chosen_labels_are_written_beside_the_labels(segmenter, tmp_path):
    dataset, folder = Pictures(), tmp_path / "masks"
    result = evaluate(segmenter, dataset, predictions=folder, soft=["sofa", "background"])
    for image_id in dataset.ids:
        sample = dataset[dataset.ids.index(image_id)]
        run = segmenter.segment(sample.image, list(dataset.label_names), config=CONFIG)
        with xr.open_dataset(folder / f"{image_id}.nc") as held:
            assert list(held["label"].values) == ["sofa", "background"]
            for name, stage in (("score", "fused"), ("probability", "probability")):
                np.testing.assert_array_equal(held[name].values, run[stage].sel(label=["sofa", "background"]).values)
            assert (held.attrs["height"], held.attrs["width"]) == sample.mask.shape
            assert held.attrs["encoder_fingerprint"] == result.attrs["encoder_fingerprint"]
    same_counts(lab.score(folder, dataset), result)
    (folder / "p002.nc").unlink()
    stamp = (folder / "p001.nc").stat().st_mtime_ns
    evaluate(segmenter, dataset, predictions=folder, soft=["sofa", "background"])
    assert (folder / "p002.nc").exists()
    assert (folder / "p001.nc").stat().st_mtime_ns == stamp
    (folder / "p002.nc").unlink()
    (folder / "p001.nc").write_bytes(b"other")
    with pytest.raises(OutputError, match=r"p001\.nc already exists and holds other scores"):
        evaluate(segmenter, dataset, predictions=folder, soft=["sofa", "background"])
    with pytest.raises(OutputError, match="another run, which differs in soft_labels"):
        evaluate(segmenter, dataset, predictions=folder)


def test_scores_of_the_truth_as_saliency_are_those_that_decide(segmenter, tmp_path):
    dataset = Pictures(2)
    evaluate(segmenter, dataset, predictions=tmp_path, soft=dataset.label_names, oracle_saliency=True)
    for image_id in dataset.ids:
        with xr.open_dataset(tmp_path / f"{image_id}.nc") as held:
            best = held["score"].values.argmax(0)
        shape = dataset[dataset.ids.index(image_id)].mask.shape
        rows, columns = (np.arange(new) * old // new for new, old in zip(shape, best.shape, strict=True))
        np.testing.assert_array_equal(read_palette_png(tmp_path / f"{image_id}.png"), best[np.ix_(rows, columns)])


def test_scores_that_cannot_be_written_are_refused_first(segmenter, tmp_path):
    dataset = Pictures(2)
    with pytest.raises(LabelError, match=r"no label 'sofaa', whose scores are asked for\. Did you mean 'sofa'"):
        evaluate(segmenter, dataset, predictions=tmp_path / "a", soft=["sofaa"])
    with pytest.raises(LabelError, match="one of them twice"):
        evaluate(segmenter, dataset, predictions=tmp_path / "a", soft=["sofa", "sofa"])
    with pytest.raises(ConfigError, match="soft needs predictions="):
        evaluate(segmenter, dataset, soft=["sofa"])
    with pytest.raises(ConfigError, match="without sliding-window"):
        evaluate(segmenter, dataset, predictions=tmp_path / "a", soft=["sofa"], protocol="sliding")
    assert not (tmp_path / "a").exists()
