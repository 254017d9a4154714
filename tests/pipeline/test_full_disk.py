"""Disks that are full, read-only or broken: whatever writes ends in one error, the process lives, nothing is left."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import storing
import xarray as xr
from PIL import Image
from storing import SMALL, Pictures, make_segmenter

import clipdiy_lab as lab
from clipdiy_lab.analysis import results
from clipdiy_lab.analysis.result_files import write_result
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.resume import PartialCounts, Rows
from clipdiy_lab.cli import main
from clipdiy_lab.datasets.palette import write_palette_png
from clipdiy_lab.errors import OutputError
from clipdiy_lab.models import weights
from clipdiy_lab.pipeline.embeddings import upkeep
from clipdiy_lab.views import figures
from clipdiy_lab.views.explorer import state
from clipdiy_lab.views.explorer.image_sources import scene

SIZE = 4 * 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What is written: a run, a store, an evaluation's result, a figure, a picture for the command line."""
    folder = tmp_path_factory.mktemp("made")
    segmenter, pictures = make_segmenter(), Pictures()
    config = SMALL.replace(image_size=(128, 96))
    run = segmenter.segment(pictures[3].image, ["cat", "sofa"], config)
    storing.embed(segmenter, Pictures(), folder / "store", SMALL, shard_size=2)
    sample = lab.open_dataset("scenes")[1]
    Image.fromarray(sample.image).save(folder / "photo.png")
    return {
        "folder": folder,
        "run": run,
        "store": folder / "store",
        "result": xr.Dataset({"tp": (("image_id", "label"), np.ones((3000, 21), np.int64))}).assign_coords(
            image_id=np.array([f"p{i}" for i in range(3000)], dtype=object)
        ),
        "figure": go.Figure(go.Scatter(y=[1, 2])),
        "table": pd.DataFrame({"a": np.arange(20_000) / 7}),
        "labels": np.random.default_rng(0).integers(0, 9, (99, 99)),
        "view": state.View(image=scene("val", 0), labels=("cat",)),
    }


def counted():
    counts = TrialCounts(1, 3, per_image=True)
    for index in range(2000):
        counts.add(index, f"p{index}", [np.full((3, 3), index)], 0)
    return counts


def command(*words):
    def work(made, place):
        os.chdir(made["folder"])
        sys.argv = ["clipdiy-lab", *(word.format(place=place, store=made["store"]) for word in words)]
        main()

    return work


def keep(made, place):
    PartialCounts.beside(place / "result.nc", "0" * 16).write(range(2000), counted().arrays())


WRITERS = {
    "save_run nc": lambda made, place: lab.save_run(made["run"], place / "run.nc"),
    "save_run zarr": lambda made, place: lab.save_run(made["run"], place / "run.zarr"),
    "result": lambda made, place: write_result(made["result"], place / "result.nc"),
    "counts": keep,
    "rows": lambda made, place: Rows(place / "rows", {"dataset": "x" * 100_000}),
    "export nc": lambda made, place: upkeep.export(made["store"], place / "copy.nc"),
    "export zarr": lambda made, place: upkeep.export(made["store"], place / "copy.zarr"),
    "embed": lambda made, place: storing.embed(make_segmenter(), Pictures(), place / "s", SMALL, shard_size=2),
    "report": lambda made, place: lab.report(made["run"], place / "page.html"),
    "figure": lambda made, place: figures.save(made["figure"], place / "figure.html"),
    "csv": lambda made, place: results.export(made["table"], place / "table.csv"),
    "md": lambda made, place: results.export(made["table"], place / "table.md"),
    "tex": lambda made, place: results.export(made["table"], place / "table.tex"),
    "state": lambda made, place: state.save(made["view"], place / "view.json"),
    "palette": lambda made, place: write_palette_png(
        place / "a.png", np.random.default_rng(0).integers(0, 9, (99, 99))
    ),
    "hashes": lambda made, place: weights._write_known(place / "known.json", {"a": {"sha256": "0" * 9000}}),
    "segment": command("segment", "photo.png", "--labels", "cat", "--out", "{place}/out"),
    "explain": command("explain", "photo.png", "--labels", "cat", "--html", "{place}/page.html"),
    "store export": command("store", "export", "{store}", "{place}/copy.nc"),
}
COMMANDS = ("segment", "explain", "store export")  # slow: each loads a model
STAYS = {"embed": {"s"}, "counts": {".result.nc.0000000000000000.unfinished"}}
"""What a writer that goes on later leaves: a store with nothing half-written in it, and an empty folder for parts."""


def in_a_child(work):
    """Run `work` in a process of its own; return what it wrote about it, or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(said) if said else f"ended by signal {os.WTERMSIG(status)}"


class Disk:
    """A disk of four megabytes in memory; where nobody may mount one, files that cannot grow do as well."""

    def __init__(self, folder):
        self.folder = folder
        self.real = False
        if sys.platform == "linux" and os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
            self.real = subprocess.run(mount, check=False, capture_output=True).returncode == 0

    def leave(self, free):
        """Leave so many bytes for what follows in this process."""
        if not self.real:
            resource.setrlimit(resource.RLIMIT_FSIZE, (free, resource.RLIM_INFINITY))
            return
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        used = os.statvfs(self.folder)
        with ballast.open("wb") as file:
            file.write(bytes(max(0, used.f_bavail * used.f_frsize - free)))

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)

    def close(self):
        if self.real:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk").mkdir()
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


def attempt(work, made, place):
    """How a writer ended, as one text."""
    try:
        work(made, place)
    except OutputError as error:
        return f"OutputError: {error}"
    except SystemExit as error:
        return f"exit {error.code}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def left(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.name != "ballast")


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_error_and_nothing_is_left(made, disk, tmp_path, name):
    (tmp_path / "large").mkdir()
    assert in_a_child(lambda: attempt(WRITERS[name], made, tmp_path / "large")) in ("done", "exit 0")
    needed = sum(path.stat().st_size for path in (tmp_path / "large").rglob("*") if path.is_file())

    def work():
        ends = []
        half = needed // 2 // 4096 * 4096
        for free in (half,) if name in COMMANDS else (0, 4096, half):
            disk.leave(free)
            ends.append((attempt(WRITERS[name], made, disk.folder), left(disk.folder)))
            for path in disk.folder.iterdir():
                if path.name != "ballast":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        return ends

    found = in_a_child(work)
    assert not isinstance(found, str), found
    for end, files in found:
        if end in ("done", "exit 0"):  # the smallest fit on a page
            continue
        assert end.startswith(("OutputError: ", "exit 1", "WeightsError: ")), end
        assert {Path(file).parts[0] for file in files} <= STAYS.get(name, set()), files
        assert not any(".part" in file for file in files)
    assert found[0][0] not in ("done", "exit 0")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_a_run_that_almost_fits(made, disk, tmp_path, suffix, share):
    whole = lab.save_run(made["run"], tmp_path / f"run{suffix}")
    needed = sum(path.stat().st_size for path in [whole, *whole.rglob("*")] if path.is_file())

    def work():
        disk.leave(int(needed * share))
        end = attempt(lambda made, place: lab.save_run(made["run"], place / f"run{suffix}"), made, disk.folder)
        return end, left(disk.folder)

    end, files = in_a_child(work)
    if end != "done":  # where only files cannot grow, many small ones fit
        assert end.startswith("OutputError: Could not write")
        assert files == []
    assert end != "done" or not disk.real


def test_what_was_there_stays_when_its_successor_does_not_fit(made, disk):
    def work():
        before = lab.save_run(made["run"], disk.folder / "run.nc").read_bytes()
        disk.leave(100_000)
        end = attempt(WRITERS["save_run nc"], made, disk.folder)
        return end, (disk.folder / "run.nc").read_bytes() == before, left(disk.folder)

    end, same, files = in_a_child(work)
    assert end.startswith("OutputError")
    assert same
    assert files == ["run.nc"]


def test_a_row_that_does_not_fit_leaves_the_rows_before_it(disk):
    def work():
        rows = Rows(disk.folder / "rows", {"dataset": "x"})
        rows.add({"a": {"miou": 1}})
        disk.leave(0)
        end = attempt(lambda *_: rows.add({"b": {"miou": "y" * 10_000}}), None, None)
        disk.leave(100_000)
        rows.add({"c": {"miou": 2}})
        return end, list(Rows(disk.folder / "rows", {"dataset": "x"}).rows)

    end, rows = in_a_child(work)
    assert end.startswith("OutputError: Rows could not be written")
    assert rows == ["a", "c"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_disk_is_one_error(made, disk, name):
    def work():
        if disk.real:
            disk.remount("ro")
            return attempt(WRITERS[name], made, disk.folder), []
        disk.folder.chmod(0o555)
        return attempt(WRITERS[name], made, disk.folder), left(disk.folder)

    end, files = in_a_child(work)
    assert end.startswith(("OutputError: ", "exit 1", "WeightsError: ")), end
    assert files == []
