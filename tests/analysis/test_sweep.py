"""Sweeps: rows equal single evaluations, from a segmenter and from a store; they resume, fail row by row, and stop."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.analysis.passes import to_size
from clipdiy_lab.analysis.tally import REPLICATES, ResampledTally, count, draws
from clipdiy_lab.method import metrics, ops
from clipdiy_lab.models.saliency import build
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.embeddings.write import embed

LIMIT = 4
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


def test_every_row_is_what_a_single_evaluation_gives(table, segmenter, scenes):
    assert len(table) == 12
    assert list(table["error"]) == [""] * 12
    for row in table.itertuples():
        config = lab.Config(scales=row.scales, saliency_weight=row.saliency_weight, background=row.background)
        alone = lab.evaluate(segmenter, scenes, config)
        assert row.miou == pytest.approx(alone.attrs["miou"], abs=1e-12)
        per_label = [table.loc[row.Index, f"iou[{label}]"] for label in scenes.label_names]
        np.testing.assert_allclose(per_label, alone["iou"].values)
        assert row.miou_low <= row.miou <= row.miou_high


def test_a_store_gives_the_same_rows_up_to_half_precision(table, store, scenes, segmenter):
    from_store = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    by_name = lab.sweep(store, scenes, GRID)  # the store names its encoder
    pd.testing.assert_frame_equal(from_store.drop(columns="seconds"), by_name.drop(columns="seconds"))
    assert (from_store["miou"] - table["miou"]).abs().max() < 5e-3
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
    assert table["miou"][4] == pytest.approx(oracle.attrs["miou"], abs=1e-12)
    assert table["label_names"][1] == words


def test_a_failing_row_is_recorded_and_the_others_go_on(store, scenes):
    grid = {"scales": [(256,), (200,)], "placement": ["centred", "stretched"], "align_corners": [True, False]}
    table = lab.sweep(store, scenes, grid)
    assert len(table) == 8
    failed = table[table["error"] != ""]
    assert table["miou"].isna().equals(table["error"] != "")
    assert failed["error"].str.contains("align_corners").any()
    assert failed["error"].str.contains("was not encoded with the grids of").sum() == 3
    assert (table["error"] == "").sum() == 3


def test_rows_on_disk_are_taken_over(store, scenes, segmenter, tmp_path):
    seen = []
    out = tmp_path / "rows.jsonl"
    half = {**GRID, "scales": [(64,)]}
    lab.sweep(store, scenes, half, segmenter=segmenter, out=out, on_row=seen.append)
    assert len(seen) == 6
    data = out.read_bytes()
    out.write_bytes(data + b'{"key": "torn')  # a killed process left half a line
    whole = lab.sweep(store, scenes, GRID, segmenter=segmenter, out=out, on_row=seen.append)
    assert len(seen) == 12
    assert out.read_bytes().startswith(data)
    assert out.read_bytes().count(b"\n") == 13
    fresh = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), fresh.drop(columns="seconds"))


def test_a_file_of_another_sweep_is_refused(store, scenes, segmenter, tmp_path):
    out = tmp_path / "rows.jsonl"
    lab.sweep(store, scenes, {"saliency_weight": [0]}, segmenter=segmenter, out=out, limit=2)
    with pytest.raises(errors.RunError, match="images is 2 there, 4 is asked"):
        lab.sweep(store, scenes, {"saliency_weight": [0]}, segmenter=segmenter, out=out)
    for foreign in (b"thesis\n", b'{"a": 1}\n', b"[]\n"):
        out.write_bytes(foreign)
        with pytest.raises(errors.RunError, match="no file of a sweep"):
            lab.sweep(store, scenes, {"saliency_weight": [0]}, segmenter=segmenter, out=out)
        assert out.read_bytes() == foreign


def test_a_sweep_stops_when_asked_and_keeps_its_rows(store, scenes, segmenter, monkeypatch):
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 1)  # one row a pass
    done = []
    table = lab.sweep(store, scenes, GRID, segmenter=segmenter, on_row=done.append, cancelled=lambda: len(done) == 2)
    assert len(table) == len(done) == 2
    assert table["miou"].notna().all()


def test_passes_do_not_change_a_row(store, scenes, segmenter, monkeypatch):
    together = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 1)
    monkeypatch.setattr("clipdiy_lab.analysis.passes.MASK_BYTES", 0)
    alone = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    pd.testing.assert_frame_equal(together.drop(columns="seconds"), alone.drop(columns="seconds"))


SCRIPT = """
import sys
import clipdiy_lab as lab
from clipdiy_lab.analysis import sweep

sweep.BLOCK_BYTES = 1  # one row a pass
scenes = lab.open_dataset("scenes", split="val", length={length})
print("go", flush=True)
lab.sweep(sys.argv[1], scenes, {grid!r}, out=sys.argv[2])
"""


def test_a_killed_sweep_goes_on(store, scenes, segmenter, tmp_path):
    out = tmp_path / "rows.jsonl"
    arguments = [sys.executable, "-c", SCRIPT.format(length=LIMIT, grid=GRID), str(store), str(out)]
    before = b""
    for delay in (1.0, 2.5):
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        before = out.read_bytes() if out.exists() else b""
        before = before[: before.rfind(b"\n") + 1]
    table = lab.sweep(store, scenes, GRID, segmenter=segmenter, out=out)
    assert out.read_bytes().startswith(before)
    fresh = lab.sweep(store, scenes, GRID, segmenter=segmenter)
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), fresh.drop(columns="seconds"))


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
        ({"saliency_weight": [2.0, 1.0]}, "saliency_weight=2.0 never makes sense"),
        ({"label_names": ["cat"]}, "one word a label"),
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
        (store, half, "holds the saliency 'found-tiny', the segmenter has 'constant', which would be ignored"),
        (made_with_half, third, "the segmenter has 'constant' of other weights or settings, which would be ignored"),
    ):
        with pytest.raises(errors.StoreError, match=says):
            lab.sweep(source, scenes, {"saliency_weight": [1]}, segmenter=other)


def test_the_table_says_how_its_intervals_were_made(table):
    assert table.attrs["interval"] == "95 % Poisson bootstrap over images, 200 replicates"


def test_a_store_of_scenes_of_another_seed(store, segmenter):
    """The ids are the same, the pictures are not."""
    with pytest.raises(errors.StoreError, match="shows something else"):
        lab.sweep(
            store, lab.open_dataset("scenes", length=LIMIT, seed=1), {"saliency_weight": [1]}, segmenter=segmenter
        )


def test_a_store_with_a_gap(segmenter, scenes, tmp_path):
    """Its first images are not the dataset's first: their masks would be others'."""
    embed(segmenter, scenes, tmp_path / "store", shard_size=2)
    (tmp_path / "store/shards/000000.ok").unlink()
    partial = EmbeddingStore(tmp_path / "store", partial=True)
    assert partial.images.tolist() == [2, 3]
    with pytest.raises(errors.StoreError, match="lacks shards before others"):
        lab.sweep(partial, scenes, {"saliency_weight": [1]}, segmenter=segmenter)


def test_protocols_and_the_oracle_agree_with_evaluate(store, scenes, segmenter):
    grid = {"saliency": ["found-tiny", "oracle"]}
    table = lab.sweep(segmenter, scenes, grid, protocol="official", limit=2)
    for row, oracle in zip(table.itertuples(), (False, True), strict=True):
        alone = lab.evaluate(segmenter, scenes, limit=2, protocol="official", oracle_saliency=oracle)
        assert row.miou == pytest.approx(alone.attrs["miou"], abs=1e-12)
    with pytest.raises(errors.ConfigError, match="slides windows"):
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


def test_a_file_that_cannot_be_written(store, scenes, segmenter, tmp_path):
    with pytest.raises(errors.OutputError, match="cannot be used"):
        lab.sweep(store, scenes, {"saliency_weight": [1]}, segmenter=segmenter, out=tmp_path / "missing" / "rows.jsonl")


def test_counting_in_one_pass_equals_counting_with_checks():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 3, 255], (40, 30)).astype(np.uint8)
    guess = rng.integers(0, 4, (40, 30))
    counts, ignored = count(truth, guess, 4)
    assert (counts == metrics.confusion(truth, guess, 4)).all()
    assert ignored == (truth == 255).sum()
    with pytest.raises(errors.DatasetError, match="label 9"):
        count(np.full((2, 2), 9, np.uint8), np.zeros((2, 2), int), 4)
    with pytest.raises(errors.DatasetError, match="one size"):
        count(truth, guess[:-1], 4)


def test_picking_rows_and_columns_is_torchs_nearest():
    rng = np.random.default_rng(1)
    for _ in range(60):
        old, new = rng.integers(1, 300, 2), rng.integers(1, 700, 2)
        labels = rng.integers(0, 21, old)
        wanted = ops.resize_labels(torch.from_numpy(labels), (int(new[0]), int(new[1]))).numpy()
        assert (to_size(labels, (int(new[0]), int(new[1]))) == wanted).all()


def test_the_interval_covers_what_it_should():
    """Over many samples of one population, the interval holds its score about 95 times in 100."""
    rng = np.random.default_rng(2)

    def image():
        right = rng.beta(4, 2)
        hits = int(1000 * right)
        return np.array([[hits, 1000 - hits], [300, 700]], dtype=np.int64)

    population = metrics.mean_iou(sum(image() for _ in range(20_000)))
    inside = 0
    for trial in range(100):
        tally = ResampledTally(2)
        for position in range(60):
            tally.add(trial * 60 + position, image(), 0)
        low, high = tally.interval()
        inside += low <= population <= high
    assert 85 <= inside <= 100


def test_draws_are_poisson_of_mean_one_and_always_the_same():
    many = np.concatenate([draws(position) for position in range(300)])
    assert len(many) == 300 * REPLICATES
    assert abs(many.mean() - 1) < 0.02
    assert abs(many.var() - 1) < 0.03
    assert draws(7)[:8].tolist() == draws.__wrapped__(7)[:8].tolist()


def test_an_exported_table_shows_what_varies_and_says_once_what_does_not(table, tmp_path):
    csv = pd.read_csv(lab.results.export(table, tmp_path / "t.csv"))
    assert list(csv.columns) == list(table.columns)
    np.testing.assert_allclose(csv["miou"], table["miou"])

    *lines, empty, caption = lab.results.export(table, tmp_path / "t.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["scales", "background", "saliency_weight", "miou", "miou_low", "miou_high", "pixel_accuracy"]
    assert len(cells) == 2 + len(table)
    for row, shown in zip(table.itertuples(), cells[2:], strict=True):
        knobs = [" ".join(map(str, row.scales)), row.background, f"{row.saliency_weight:g}"]
        scores = [row.miou, row.miou_low, row.miou_high, row.pixel_accuracy]
        assert shown == knobs + [f"{100 * score:.2f}" for score in scores]
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
    scores = "miou | miou_low | miou_high | pixel_accuracy | error"
    assert head == f"| align_corners | placement | {scores} |" or head == f"| placement | align_corners | {scores} |"
    assert all(line.endswith(" |  |") for line in good)
    assert re.search(r"\|  \|  \|  \|  \| align_corners=True has a meaning only with [^|]* \|$", bad)
    assert "stride: 2; " in caption
