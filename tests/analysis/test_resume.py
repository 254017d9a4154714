"""Work that is killed or interrupted goes on where it was, and work that is done is read."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_run
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.analysis.scoring import resume
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.analysis.scoring.workers import ranges
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.errors import ConfigError, DatasetError, OutputError, RunError

SCRIPT = Path(killed_run.__file__)


@pytest.fixture(autouse=True)
def _every_image_is_kept(monkeypatch):
    monkeypatch.setattr(resume, "KEEP_SECONDS", 0)
    monkeypatch.setattr(resume, "WRITING_SHARE", np.inf)


class Nursery:
    """Starts children that score, and listens to them."""

    def __init__(self, store):
        self.parent = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def start(self, how, out):
        self.parent.stdin.write(f"{how} {out}\n")
        self.parent.stdin.flush()
        self.how, self.seen, self.child = how, [], None
        while self.child is None:
            self.listen()

    def listen(self):
        """Take one line; False when the child is gone."""
        line = self.parent.stdout.readline().split()
        if line[0] == "child":
            self.child = int(line[1])
        elif line[0] != "ended":
            self.seen.append(int(line[0]))
        return line[0] != "ended"

    def finish(self):
        """Images that were read to be counted, once the child is gone."""
        while self.listen():
            pass
        return self.seen[killed_run.PROBES[self.how] :]


@pytest.fixture(scope="module")
def mean_colour_store(tmp_path_factory):
    segmenter, scenes = lab.Segmenter(killed_run.MeanColour(), "none"), Scenes("val", length=killed_run.IMAGES)
    return lab.embed(segmenter, scenes, tmp_path_factory.mktemp("resume") / "store", killed_run.CONFIG).path


@pytest.fixture(scope="module")
def nursery(mean_colour_store):
    nursery = Nursery(mean_colour_store)
    with nursery.parent:
        yield nursery
        nursery.parent.stdin.close()


def unkeyed(result):
    return {name: value for name, value in result.attrs.items() if name != "key"}


def equal(how, found, expected):
    if how in ("evaluate", "predictions"):  # a run that is kept has a key
        xr.testing.assert_identical(found.drop_attrs(deep=False).assign_attrs(unkeyed(found)), expected)
    else:
        pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected.drop(columns="seconds"))


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork")
@pytest.mark.parametrize("how", ["evaluate", "predictions", "sweep", "sweep-store"])
def test_a_run_killed_anywhere_ends_as_if_undisturbed(nursery, mean_colour_store, tmp_path, how):
    chance = random.Random()
    out, firsts = tmp_path / "result.nc", []
    for _ in range(4):
        nursery.start(how, out)
        # One image is read ahead, so the third is asked for when the first is counted and kept.
        while len(nursery.seen) < killed_run.PROBES[how] + 3:
            nursery.listen()
        time.sleep(chance.random() * 0.05)
        os.kill(nursery.child, signal.SIGKILL)
        firsts.append(nursery.finish()[0])
        assert how.startswith("sweep") or not out.exists()
    nursery.start(how, out)
    seen = nursery.finish()
    firsts.append(seen[0])
    assert firsts[0] == 0
    assert firsts == sorted(set(firsts))  # each goes on behind the one before
    assert seen == list(range(seen[0], killed_run.IMAGES))
    nursery.start(how, out)
    assert nursery.finish() == []  # taken from the file
    undisturbed = killed_run.run(how, None, mean_colour_store)
    equal(how, killed_run.run(how, out, mean_colour_store), undisturbed)
    masks = tmp_path / "result.nc.masks"
    if how == "predictions":
        scored = lab.score(masks, Scenes("val", length=killed_run.IMAGES))
        np.testing.assert_array_equal(scored["confusion"], undisturbed["confusion"])
        assert len([path for path in masks.iterdir() if not path.name.endswith(".part")]) == killed_run.IMAGES + 2
    left = {path.name for path in tmp_path.iterdir() if path.suffix != ".part"}
    assert left == {"result.nc", *([masks.name] if how == "predictions" else [])}


class Counting(killed_run.MeanColour):
    """Remembers how many images were encoded; at one of them somebody presses Ctrl-C."""

    def __init__(self, interrupted_at=None):
        self.calls, self.interrupted_at = 0, interrupted_at

    def encode_crops(self, crops):
        if self.calls == self.interrupted_at:
            raise KeyboardInterrupt
        self.calls += 1
        return super().encode_crops(crops)


@pytest.fixture
def evaluate():
    def run(out, encoder=None, length=4, **options):
        config = options.pop("config", lab.Config(scales=(256,)))
        dataset = options.pop("dataset", None) or lab.open_dataset("scenes", length=length)
        return lab.evaluate(lab.Segmenter(encoder or Counting(), "none"), dataset, config, out=out, **options)

    return run


def sweep(out, encoder, **options):
    scenes = lab.open_dataset("scenes", length=4)
    options.setdefault("grid", {"scales": [(256,)], "placement": ["stretched", "centred"], "saliency_weight": [0, 1]})
    return lab.sweep(lab.Segmenter(encoder, "none"), scenes, out=out, **options)


def test_an_interrupted_run_says_what_is_kept_and_goes_on(evaluate, tmp_path):
    for how, run in (("evaluate", evaluate), ("sweep", sweep)):
        expected, out = run(None, Counting()), tmp_path / f"{how}.nc"
        with pytest.raises(KeyboardInterrupt) as caught:
            run(out, Counting(3))
        (note,) = caught.value.__notes__
        assert "3 of 4 images" in note
        assert note.endswith("; run the same command again to continue.")
        encoder = Counting()
        equal(how, run(out, encoder), expected)
        assert encoder.calls == 1
        with pytest.raises(KeyboardInterrupt) as caught:
            run(None, Counting(3))
        assert caught.value.__notes__[0].startswith("Nothing is kept, because no place was given for it")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluate.nc", "sweep.nc"]


def test_an_interrupted_sweep_of_several_passes_goes_on_in_its_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 2 * TrialCounts.bytes_per_trial(21))
    out, expected = tmp_path / "rows", sweep(None, Counting())
    with pytest.raises(KeyboardInterrupt) as caught:
        sweep(out, Counting(6))  # two passes over four images
    assert "2 of 4 rows are kept in" in caught.value.__notes__[0]
    assert "counts of 2 of 4 images for the next rows" in caught.value.__notes__[0]
    encoder = Counting()
    equal("sweep", sweep(out, encoder), expected)
    assert encoder.calls == 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_counts_of_other_trials_are_not_taken_up(tmp_path):
    out, grid = tmp_path / "rows", {"scales": [(256,)], "saliency_weight": [0.5]}
    with pytest.raises(KeyboardInterrupt):
        sweep(out, Counting(3))
    encoder = Counting()
    equal("sweep", sweep(out, encoder, grid=grid), sweep(None, Counting(), grid=grid))
    assert encoder.calls == 4
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_second_run_reads_the_result(evaluate, tmp_path):
    encoder = Counting()
    first = evaluate(tmp_path / "results", encoder)
    assert encoder.calls == 4
    xr.testing.assert_identical(evaluate(tmp_path / "results", encoder), first)
    assert encoder.calls == 4
    assert [path.suffix for path in (tmp_path / "results").iterdir()] == [".nc"]


def test_whatever_decides_the_score_makes_another_result(evaluate, tmp_path):
    class Other(Counting):
        fingerprint = "mean-colour-2"

    folder = tmp_path / "results"
    evaluate(folder)
    evaluate(folder, Other())
    evaluate(folder, limit=2)
    evaluate(folder, protocol="official")
    evaluate(folder, config=lab.Config(scales=(256,), template="{label}"))
    evaluate(folder, dataset=lab.open_dataset("scenes", length=4, seed=1))
    evaluate(folder, oracle_saliency=True)
    segmenter, scenes = lab.Segmenter(Counting(), "none"), lab.open_dataset("scenes", length=4)
    store = lab.embed(segmenter, scenes, tmp_path / "store", lab.Config(scales=(256,)))
    lab.evaluate(store, scenes, segmenter=segmenter, out=folder)
    assert len(list(folder.iterdir())) == 8


def test_folders_of_one_name_are_told_apart(evaluate, tmp_path):
    class Folder(list):
        name, label_names, ids = "mine", ("background", "cat"), ("a",)

    rng = np.random.default_rng(0)
    samples = [
        Sample("a", rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), rng.integers(0, 2, (6, 8), dtype=np.uint8))
        for _ in range(2)
    ]
    keys = {evaluate(tmp_path / "results", dataset=Folder([one])).attrs["key"] for one in samples}
    assert len(keys) == 2
    card = evaluate(None, dataset=Folder(samples[:1])).attrs
    assert (card["benchmark"], card["split"]) == ("mine", "")


def test_damaged_parts_are_counted_again(evaluate, tmp_path):
    expected = evaluate(tmp_path / "whole.nc")
    damages = (b"", lambda content: content[: len(content) // 2], b"PK" + bytes(40))
    for damage in damages:
        out = tmp_path / "result.nc"
        with pytest.raises(KeyboardInterrupt):
            evaluate(out, Counting(3))
        (kept,) = tmp_path.glob(".*unfinished/*.npz")
        kept.write_bytes(damage(kept.read_bytes()) if callable(damage) else damage)
        encoder = Counting()
        xr.testing.assert_identical(evaluate(out, encoder), expected)
        assert encoder.calls == 4
        out.unlink()


def test_parts_of_workers_are_taken_up_as_far_as_they_are_whole(tmp_path):
    rng = np.random.default_rng(3)
    counts = [rng.integers(0, 50, (2, 2)) for _ in range(9)]

    def counts_of(images):
        made = TrialCounts(1, 2, per_image=True)
        for image in images:
            made.add(image, str(image), [counts[image]], image)
        return made

    parts = PartialCounts.beside(tmp_path / "result.nc", "0123456789abcdef0123")
    for cut in (range(3), range(3, 5), range(5, 8)):
        parts.write(cut, counts_of(cut).arrays())
    assert parts.images() == 8
    for damaged, whole in ((None, 8), ("000000005-000000008.npz", 5), ("000000003-000000005.npz", 3)):
        if damaged:
            (parts.folder / damaged).write_bytes(b"")
        found = counts_of([])
        assert parts.take_up(found) == whole
        for name, values in counts_of(range(whole)).arrays().items():
            np.testing.assert_array_equal(found.arrays()[name], values)
    parts.keep(counts_of(range(6)), 6)  # what it covers goes, what it does not stays
    assert sorted(path.name for path in parts.folder.iterdir()) == [
        "000000000-000000006.npz",
        "000000005-000000008.npz",
    ]
    assert parts.take_up(counts_of([])) == 6
    assert parts.images() == 8


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "WRITING_SHARE", 0.05)
    clock = iter(range(0, 1000, 2))  # every look at the clock is two seconds later than the last: writing takes two
    monkeypatch.setattr(resume.time, "monotonic", lambda: next(clock))
    parts, written = PartialCounts.beside(tmp_path / "rows", "key"), []
    monkeypatch.setattr(parts, "write", lambda images, arrays: written.append(images.stop))
    for images in range(1, 60):
        parts.keep(TrialCounts(1, 2), images)
    assert written == [1, 21, 41]  # 40 seconds without, two for writing


def test_results_that_cannot_be_used(evaluate, tmp_path):
    path = tmp_path / "result.nc"
    evaluate(path)
    with pytest.raises(OutputError, match=r"another run .*4 images.* choose another file"):
        evaluate(path, limit=3)
    content = bytearray(path.read_bytes())
    place = content.index(b"val_000002")
    content[place + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(OutputError, match="damaged"):
        evaluate(path)
    path.write_text("no result")
    with pytest.raises(OutputError, match="not a result of the lab"):
        evaluate(path)
    with pytest.raises(OutputError, match=r"ends in '\.csv'"):
        evaluate(tmp_path / "result.csv")
    with pytest.raises(OutputError, match="cannot be created"):
        evaluate(path / "inside")


def test_a_dataset_that_cannot_be_told_from_others(evaluate, tmp_path):
    class Nameless:
        name, label_names = "nameless", lab.open_dataset("scenes").label_names

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return lab.open_dataset("scenes")[index]

    with pytest.raises(DatasetError, match="neither `ids` nor a repr"):
        evaluate(tmp_path / "result.nc", dataset=Nameless())
    assert evaluate(None, dataset=Nameless()).attrs["images"] == 1


def test_errors_come_before_anything_is_written(evaluate, tmp_path):
    with pytest.raises(ConfigError):
        evaluate(tmp_path / "results", limit=0)
    assert not list(tmp_path.iterdir())


# Finished rows of a sweep


def test_rows_on_disk_are_taken_over(tmp_path):
    seen, out = [], tmp_path / "rows.jsonl"
    grid = {"scales": [(256,), (128,)], "saliency_weight": [0.0, 0.5, 1.0]}
    sweep(out, Counting(), grid={**grid, "scales": [(256,)]}, on_row=seen.append)
    assert len(seen) == 3
    data = out.read_bytes()
    out.write_bytes(data + b'{"key": "torn')  # a killed process left half a line
    whole = sweep(out, Counting(), grid=grid, on_row=seen.append)
    assert len(seen) == 6
    assert out.read_bytes().startswith(data)
    assert out.read_bytes().count(b"\n") == 7
    equal("sweep", whole, sweep(None, Counting(), grid=grid))


def test_a_file_of_another_sweep_is_refused(tmp_path):
    out = tmp_path / "rows.jsonl"
    sweep(out, Counting(), limit=2)
    with pytest.raises(RunError, match="images is 2 there, 4 is asked"):
        sweep(out, Counting())
    for foreign in (b"thesis\n", b'{"a": 1}\n', b"[]\n"):
        out.write_bytes(foreign)
        with pytest.raises(RunError, match="not a sweep file"):
            sweep(out, Counting())
        assert out.read_bytes() == foreign


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot be used"):
        sweep(tmp_path / "missing" / "rows.jsonl", Counting())


def test_tasks_cover_every_image_once():
    for length in range(1, 40):
        for start in range(length):
            cut = ranges(length, 7, start)
            assert [image for one in cut for image in one] == list(range(start, length))
            assert all(one.stop == length or one.stop % 7 == 0 for one in cut)
