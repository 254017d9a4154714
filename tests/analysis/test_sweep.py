"""Sweeps: rows equal single evaluations, from a segmenter and from a store; they fail row by row, and stop."""

import re

import numpy as np
import pandas as pd
import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.analysis import tables
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.models.saliency import build
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.embeddings.write import embed
from clipdiy_lab.pipeline.watch import Watch

LIMIT = 4
SCORES = ("miou", "miou_low", "miou_high")
GRID = {
    "scales": [(256, 128, 64), (64,)],
    "saliency_weight": [0.0, 0.5, 1.0],
    "background": ["saliency", "threshold"],
}


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val", length=LIMIT)


@pytest.fixture(scope="module")
def segmenter():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def store(segmenter, scenes, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "store"
    embed(segmenter, scenes, path, lab.Config(), shard_size=3)
    return path


@pytest.fixture(scope="module")
def table(segmenter, scenes):
    return lab.sweep(segmenter, scenes, GRID)


def test_every_row_is_what_a_single_evaluation_gives_its_interval_too(table, segmenter, scenes):
    assert len(table) == 12
    assert list(table["error"]) == [""] * 12
    for row in table.itertuples():
        config = lab.Config(scales=row.scales, saliency_weight=row.saliency_weight, background=row.background)
        alone = lab.evaluate(segmenter, scenes, config)
        scores = (row.miou_percent, row.miou_low_percent, row.miou_high_percent)
        assert scores == tuple(100 * alone.attrs[name] for name in SCORES)
        per_label = [table.loc[row.Index, f"iou_percent[{label}]"] for label in scenes.label_names]
        np.testing.assert_array_equal(per_label, 100 * alone["iou"].values)
        assert scores[1] <= scores[0] <= scores[2]


def test_a_store_gives_the_same_rows_up_to_half_precision(table, store, scenes, segmenter):
    from_store = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    by_name = lab.sweep(store, scenes, GRID)  # the store names its encoder
    pd.testing.assert_frame_equal(from_store.drop(columns="seconds"), by_name.drop(columns="seconds"))
    assert (from_store["miou_percent"] - table["miou_percent"]).abs().max() < 0.5
    assert list(from_store["scales"]) == list(table["scales"])


def test_encode_knobs_get_a_store_each(segmenter, scenes, tmp_path):
    grid = {"image_size": [(128, 128), (64, 64)], "scales": [(64,)], "saliency_weight": [0.0, 1.0]}
    first = lab.sweep(segmenter, scenes, grid, stores=tmp_path, limit=2)
    assert len(list(tmp_path.iterdir())) == 2
    again = lab.sweep(segmenter, scenes, grid, stores=tmp_path, limit=2)
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), again.drop(columns="seconds"))
    assert len(list(tmp_path.iterdir())) == 2


def test_saliency_sources_and_label_words_are_knobs_too(segmenter, scenes):
    words = tuple({"sofa": "couch"}.get(name, name) for name in scenes.label_names)
    grid = {"saliency": ["none", "found-tiny", "oracle"], "label_names": [scenes.label_names, words]}
    table = lab.sweep(segmenter, scenes, grid, limit=2)
    assert list(table["saliency"]) == ["none", "none", "found-tiny", "found-tiny", "oracle", "oracle"]
    oracle = lab.evaluate(segmenter, scenes, limit=2, oracle_saliency=True)
    assert table["miou_percent"][4] == pytest.approx(100 * oracle.attrs["miou"], abs=1e-10)
    assert table["label_names"][1] == words


def test_a_failing_row_is_recorded_and_the_others_go_on(store, scenes):
    grid = {"scales": [(256,), (200,)], "placement": ["centred", "stretched"], "align_corners": [True, False]}
    table = lab.sweep(store, scenes, grid)
    assert len(table) == 8
    failed = table[table["error"] != ""]
    assert table["miou_percent"].isna().equals(table["error"] != "")
    assert failed["error"].str.contains("align_corners").any()
    assert failed["error"].str.contains("was not encoded with the grids of").sum() == 3
    assert (table["error"] == "").sum() == 3


def test_a_sweep_stops_when_asked_and_keeps_its_rows(store, scenes, segmenter, monkeypatch):
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 1)  # one row per pass
    done = []
    watch = Watch(unwanted=lambda: len(done) == 2)
    table = lab.sweep(store, scenes, GRID, segmenter=segmenter, on_row=done.append, watch=watch)
    assert len(table) == len(done) == 2
    assert table["miou_percent"].notna().all()


def test_passes_do_not_change_a_row(store, scenes, segmenter, monkeypatch):
    together = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 1)
    monkeypatch.setattr("clipdiy_lab.pipeline.sources.MASK_BYTES", 0)
    alone = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    pd.testing.assert_frame_equal(together.drop(columns="seconds"), alone.drop(columns="seconds"))


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"saliency_wieght": [1]}, "saliency_weight"),
        ({}, "empty"),
        ({"saliency_weight": []}, "empty list"),
        ({"placement": "centred"}, "not a list"),
        ({"saliency_weight": 0.5}, "not a list"),
        ([], "empty"),
        ([1], "Config"),
        (None, "the grid is None; expected knobs with values"),
        (lab.Config(), "the grid is a Config; expected knobs with values, .* or a list of Configs"),
        ({"saliency_weight": [2.0, 1.0]}, "saliency_weight=2.0 is never valid"),
        ({"label_names": ["cat"]}, "one word per label"),
        ({"saliency": [3]}, "names of saliency sources"),
        ({"saliency_weight": np.linspace(0, 1, 101), "temperature": range(1, 21)}, r"2,020 rows \(101 .* --yes"),
    ],
)
def test_bad_grids(counting_encoder, scenes, grid, says):
    with pytest.raises(errors.ConfigError, match=says):
        lab.sweep(lab.Segmenter(counting_encoder), scenes, grid, limit=1)


def test_a_store_of_other_images_or_another_encoder(store, counting_encoder):
    with pytest.raises(errors.StoreError, match="other images"):
        lab.sweep(store, lab.open_dataset("scenes", split="val_unseen"), {"saliency_weight": [1]})
    with pytest.raises(errors.StoreError, match="other weights"):
        lab.sweep(
            store, lab.open_dataset("scenes"), {"saliency_weight": [1]}, segmenter=lab.Segmenter(counting_encoder)
        )


def test_the_saliency_of_the_store_goes_into_the_table_and_another_is_not_ignored(store, scenes, segmenter):
    for given in (None, segmenter, lab.Segmenter(segmenter.encoder)):  # the store's own, and one for its words only
        table = lab.sweep(store, scenes, {"saliency_weight": [1]}, limit=1, segmenter=given)
        assert table.attrs["saliency_fingerprint"] == segmenter.saliency.fingerprint
    half, third = (lab.Segmenter(segmenter.encoder, build("constant", value=value)) for value in (0.5, 0.3))
    made_with_half = embed(half, scenes, store.with_name("half"), limit=1)
    for source, other, says in (
        (store, half, "holds the saliency 'found-tiny', but the segmenter has 'constant', which would be ignored"),
        (made_with_half, third, "the segmenter has 'constant' of other weights or settings, which would be ignored"),
    ):
        with pytest.raises(errors.StoreError, match=says):
            lab.sweep(source, scenes, {"saliency_weight": [1]}, segmenter=other)


def test_the_table_says_how_its_intervals_were_made(table):
    assert table.attrs["interval"] == "95 % Poisson bootstrap over images, 200 replicates"


def test_a_store_of_scenes_of_another_seed(store, segmenter):
    """The ids are the same, the pictures are not."""
    with pytest.raises(errors.StoreError, match="has other pixels"):
        lab.sweep(
            store, lab.open_dataset("scenes", length=LIMIT, seed=1), {"saliency_weight": [1]}, segmenter=segmenter
        )


def test_a_store_with_a_gap(segmenter, scenes, tmp_path):
    """Its first images are not the dataset's first: each is compared with its own mask."""
    embed(segmenter, scenes, tmp_path / "store", shard_size=2)
    (tmp_path / "store/shards/000000.ok").unlink()
    partial = EmbeddingStore(tmp_path / "store", partial=True)
    assert partial.images.tolist() == [2, 3]
    rest = Chosen(scenes, [2, 3])
    expected = lab.sweep(embed(segmenter, rest, tmp_path / "rest"), rest, {"saliency": [None, "oracle"]})
    for source in (partial, lab.open_store(tmp_path / "store", partial=True)):
        found = lab.sweep(source, scenes, {"saliency": [None, "oracle"]}, segmenter=segmenter)
        pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected.drop(columns="seconds"))


class Chosen:
    """Some samples of a dataset, in an order of one's own."""

    def __init__(self, dataset, places):
        self.name, self.label_names, self.samples = "chosen", dataset.label_names, [dataset[i] for i in places]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_an_opened_store_is_a_source_and_so_are_some_images_of_it(store, scenes, segmenter):
    opened, grid = lab.open_store(store), {"saliency": [None, "oracle"]}
    whole = lab.sweep(store, scenes, grid, segmenter=segmenter)
    table = lab.sweep(opened, scenes, grid, segmenter=segmenter)
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), whole.drop(columns="seconds"))
    result = lab.evaluate(opened.isel(image=[3, 1]), scenes)
    assert list(result["image_id"].values) == [scenes[3].id, scenes[1].id]
    every = lab.evaluate(store, scenes)
    for name in ("tp", "fp", "fn"):
        np.testing.assert_array_equal(result[name], every[name][[3, 1]])
    without = lab.evaluate(opened.assign(saliency=opened["saliency"] * 0 + 1), scenes)  # everything is foreground
    assert without["confusion"].sel(label="background").sum() < every["confusion"].sel(label="background").sum()
    for wrong, error, says in (
        (opened.drop_vars("embedding_s064"), errors.StoreError, "has no embedding_s064"),
        (opened.assign(saliency=opened["saliency"] + 1), errors.RunError, "stage 'saliency' spans"),
        (opened.isel(image=[]), errors.StoreError, "Expected a store, or some images of it"),
        (opened[["embedding_s064"]], errors.StoreError, "Expected a store, or some images of it"),
    ):
        with pytest.raises(error, match=says):
            lab.evaluate(wrong, scenes)


def test_a_store_is_evaluated_as_it_is_swept(store, scenes, segmenter):
    config = lab.Config(saliency_weight=0.5, precision="fp32")
    row = lab.sweep(store, scenes, [config]).loc[0]
    result = lab.evaluate(store, scenes, config)
    assert tuple(row[name] for name in tables.MIOU) == tuple(100 * result.attrs[name] for name in SCORES)
    assert result.attrs["embeddings"] == "float16, from a store"
    assert result.attrs["saliency_fingerprint"] == segmenter.saliency.fingerprint
    assert lab.evaluate(store, scenes).attrs["config"] == EmbeddingStore(store).config.to_json()
    with pytest.raises(errors.StoreError, match=r"^The store .* was not encoded with the grids of 200 px"):
        lab.evaluate(store, scenes, lab.Config(scales=(200,)))
    with pytest.raises(errors.ConfigError, match="uses sliding-window inference, which a store does not support"):
        lab.evaluate(store, scenes, protocol="sliding")


def test_progress_counts_the_images_of_every_pass(store, scenes, segmenter, counting_encoder, monkeypatch, tmp_path):
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 4 * TrialCounts.bytes_per_trial(21))
    steps = []
    watch = Watch(lambda done, total: steps.append((done, total)))
    lab.sweep(store, scenes, GRID, segmenter=segmenter, watch=watch, limit=3)
    assert steps == [(done, 9) for done in range(1, 10)]  # twelve rows in three passes over three images
    steps.clear()
    lab.embed(lab.Segmenter(counting_encoder), scenes, tmp_path / "store", watch=watch, shard_size=3)
    assert steps == [(done, LIMIT) for done in range(1, LIMIT + 1)]


def test_protocols_and_the_oracle_agree_with_evaluate(store, scenes, segmenter):
    grid = {"saliency": ["found-tiny", "oracle"]}
    table = lab.sweep(segmenter, scenes, grid, protocol="official", limit=2)
    for row, oracle in zip(table.itertuples(), (False, True), strict=True):
        alone = lab.evaluate(segmenter, scenes, limit=2, protocol="official", oracle_saliency=oracle)
        assert row.miou_percent == pytest.approx(100 * alone.attrs["miou"], abs=1e-10)
    with pytest.raises(errors.ConfigError, match="uses sliding-window inference"):
        lab.sweep(store, scenes, grid, protocol="sliding")


def test_every_sample_is_read_once_a_pass(scenes, counting_encoder):
    class Counted:
        name, label_names, read = scenes.name, scenes.label_names, []

        def __len__(self):
            return len(scenes)

        def __getitem__(self, index):
            self.read.append(index)
            return scenes[index]

    lab.sweep(lab.Segmenter(counting_encoder), Counted(), {"saliency_weight": [0, 1], "saliency": ["none", "oracle"]})
    assert Counted.read == [0, 1, 2, 3] * 2  # one pass for each saliency source


def test_an_exported_table_shows_what_varies_and_says_once_what_does_not(table, tmp_path):
    csv = pd.read_csv(lab.results.export(table, tmp_path / "t.csv"))
    assert list(csv.columns) == list(table.columns)
    np.testing.assert_allclose(csv["miou_percent"], table["miou_percent"])

    *lines, empty, caption = lab.results.export(table, tmp_path / "t.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["scales", "background", "saliency_weight", *tables.SCORES]
    assert len(cells) == 2 + len(table)
    for row, shown in zip(table.itertuples(), cells[2:], strict=True):
        knobs = [" ".join(map(str, row.scales)), row.background, f"{row.saliency_weight:g}"]
        scores = [getattr(row, name) for name in tables.SCORES]
        assert shown == knobs + [f"{score:.2f}" for score in scores]
    assert empty == ""
    said = dict(one.split(": ") for one in caption.split("In all rows, ")[1].split(". IoU")[0].split("; "))
    assert set(lab.Config.knobs()) - set(GRID) < set(said)
    assert not set(GRID) & set(said)
    assert (said["saliency"], said["stride"], said["images"]) == ("found-tiny", "2", str(LIMIT))
    assert said["interval"] == table.attrs["interval"]

    latex = lab.results.export(table, tmp_path / "t.tex").read_text()
    assert latex.count("&") == 6 * (1 + len(table))
    assert r"saliency\_threshold: none" in latex.splitlines()[1]
    assert latex.startswith("\\begin{table}\n\\caption{")
    assert latex.endswith("\\end{tabular}\n\\end{table}\n")


def test_an_exported_row_that_failed_says_why_and_makes_no_knob_vary(counting_encoder, scenes, tmp_path):
    grid = {"align_corners": [False, True], "placement": ["stretched", "centred"]}
    table = lab.sweep(lab.Segmenter(counting_encoder), scenes, grid, limit=1)
    head, _, *good, bad, _, caption = lab.results.export(table, tmp_path / "t.md").read_text().splitlines()
    scores = " | ".join([*tables.SCORES, "error"])
    assert head == f"| align_corners | placement | {scores} |" or head == f"| placement | align_corners | {scores} |"
    assert all(line.endswith(" |  |") for line in good)
    assert re.search(r"\|  \|  \|  \|  \| align_corners=True applies only with [^|]* \|$", bad)
    assert "stride: 2; " in caption
