"""Evaluations that are killed go on where they were, and those that are done are read."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_run
import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.analysis import journal
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.errors import ConfigError, DatasetError, OutputError

PROBES = 2  # a run reads its first and its last sample to tell what it is
SCRIPT = Path(killed_run.__file__)


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(journal, "KEEP_SECONDS", 0)


class Nursery:
    """Starts children that evaluate, and listens to them."""

    def __init__(self, out):
        self.parent = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def start(self):
        self.parent.stdin.write("go\n")
        self.parent.stdin.flush()
        self.seen, self.child = [], None
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
        while self.listen():
            pass
        return self.seen[PROBES:]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork")
def test_a_run_killed_anywhere_ends_as_if_undisturbed(tmp_path):
    chance = random.Random()
    out, firsts = tmp_path / "result.nc", []
    nursery = Nursery(out)
    with nursery.parent:
        for _ in range(4):
            nursery.start()
            # One image is read ahead, so the third is asked for when the first is counted and kept.
            while len(nursery.seen) < PROBES + 3:
                nursery.listen()
            time.sleep(chance.random() * 0.05)
            os.kill(nursery.child, signal.SIGKILL)
            firsts.append(nursery.finish()[0])
            assert not out.exists()
        nursery.start()
        seen = nursery.finish()
        assert out.exists()
        nursery.start()
        assert nursery.finish() == []  # served from the file
        nursery.parent.stdin.close()
    firsts.append(seen[0])
    assert firsts[0] == 0
    assert firsts == sorted(set(firsts))
    assert seen == list(range(seen[0], killed_run.IMAGES))
    undisturbed = killed_run.run(tmp_path / "other.nc")
    xr.testing.assert_identical(journal.read_result(out), undisturbed)
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".part"} == {"other.nc", "result.nc"}


class Counting(killed_run.MeanColour):
    def __init__(self):
        self.calls = 0

    def encode_crops(self, crops):
        self.calls += 1
        return super().encode_crops(crops)


@pytest.fixture
def evaluate():
    def run(out, encoder=None, length=4, **options):
        config = options.pop("config", lab.Config(scales=(256,)))
        dataset = options.pop("dataset", None) or lab.open_dataset("scenes", length=length)
        return lab.evaluate(lab.Segmenter(encoder or Counting(), "none"), dataset, config, out=out, **options)

    return run


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
    assert len(list(folder.iterdir())) == 7


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
    class Breaks(Counting):
        def encode_crops(self, crops):
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().encode_crops(crops)

    expected = evaluate(tmp_path / "whole.nc")
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "result.nc", Breaks())
    parts = sorted(tmp_path.glob(".*unfinished/*.npz"))
    assert len(parts) == 3
    content = parts[1].read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"PK" + bytes(40)):
        parts[1].write_bytes(damaged)
        encoder = Counting()
        xr.testing.assert_identical(evaluate(tmp_path / "result.nc", encoder), expected)
        assert encoder.calls == 3
        (tmp_path / "result.nc").unlink()
        parts[1].parent.mkdir()
        parts[0].write_bytes(b"")
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path / "result.nc", Breaks())


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
    with pytest.raises(OutputError, match="no result of the lab"):
        evaluate(path)
    with pytest.raises(OutputError, match=r"ends in '\.csv'"):
        evaluate(tmp_path / "result.csv")
    with pytest.raises(OutputError, match="cannot be made"):
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
