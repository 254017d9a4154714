"""Runs from strangers: opened and shown, or one error; no code, no other file, within a stated memory and time."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import hostile
import measuring
import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.pipeline import netcdf, netcdf_reader, untrusted
from clipdiy_lab.pipeline.netcdf import read_netcdf, write_netcdf

SMALL = lab.Config(scales=(64, 32), image_size=(64, 96))


@pytest.fixture(scope="module")
def run(golden_segmenter):
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    return golden_segmenter.segment(picture, ["cat", "sofa"], SMALL, saliency=rng.random((70, 110)))


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """A folder with a run in both forms, and files that nobody may read."""
    folder = tmp_path_factory.mktemp("whole")
    plain = run.copy()
    run.to_netcdf(folder / "run.nc", engine="h5netcdf")  # without the hash that would find every change
    plain.to_zarr(folder / "run.zarr", consolidated=False, zarr_format=3)
    hostile.plant_secrets(folder)
    return folder


@pytest.fixture
def place(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "place"))


@pytest.mark.parametrize("name", hostile.NETCDF)
def test_a_hostile_netcdf_file_is_one_error(place, name):
    hostile.spoil(place / "run.nc", hostile.NETCDF[name])
    start = time.process_time()
    with pytest.raises(errors.RunError, match=r"run\.nc cannot be read as a run \(") as caught:
        lab.open_run(place / "run.nc")
    assert hostile.SECRET[:20] not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", hostile.ZARR)
def test_a_hostile_zarr_folder_is_one_error(place, name):
    hostile.ZARR[name](place / "run.zarr")
    with pytest.raises(errors.RunError, match=r"run\.zarr cannot be read as a run \(") as caught:
        lab.open_run(place / "run.zarr")
    assert hostile.SECRET[:20] not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert not (place / "owned").exists()


GREEDY = ("enormous_chunked", "many_enough", "inflating", "inflating_texts", "large_attribute", "many_groups")
GREEDY_ZARR = ("zarr_many_chunks", "zarr_bomb", "zarr_endless", "many_texts", "long_fill", "huge_json")


def test_what_a_hostile_file_takes_is_bounded(place, tmp_path):
    """One after the other, in a process that measures itself and the processes that read for it."""
    for name in GREEDY:
        file = Path(shutil.copy(place / "run.nc", tmp_path / "run.nc"))
        hostile.spoil(file, hostile.NETCDF[name])
        file.rename(tmp_path / f"{name}.nc")
    for name in GREEDY_ZARR:
        hostile.ZARR[name](Path(shutil.copytree(place / "run.zarr", tmp_path / f"{name}.zarr")))
    command = [sys.executable, measuring.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    assert set(found["ends"].values()) == {"refused"}
    assert len(found["ends"]) == len(GREEDY) + len(GREEDY_ZARR)
    assert found["own"] < 2**28  # bytes above what the process had before
    assert found["children"] < untrusted.FREE + 2**29
    assert max(found["seconds"].values()) < 15  # of a processor


CONFINED = """
import sys
sys.path.insert(0, sys.argv[1])
import netcdf_reader
netcdf_reader.confine(2**26, 1)
for work in (lambda: open("/etc/hostname"), lambda: bytearray(2**28)):
    try:
        work()
    except (OSError, MemoryError) as error:
        print(type(error).__name__, flush=True)
while True:
    pass
"""


def test_the_reading_process_can_open_no_file_and_take_no_more_than_it_may():
    folder = str(Path(netcdf_reader.__file__).parent)
    done = subprocess.run([sys.executable, "-c", CONFINED, folder], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["OSError", "MemoryError"], done.stderr
    assert done.returncode < 0  # ended by the system, after a second of computing


def test_a_file_on_which_hdf5_never_ends_is_given_up(place, monkeypatch):
    monkeypatch.setattr(netcdf, "_SECONDS", 2)
    (place / "run.nc").write_bytes(hostile.circle((place / "run.nc").read_bytes()))
    with pytest.raises(errors.RunError, match="did not finish reading it"):
        lab.open_run(place / "run.nc")


def test_mutated_files_give_a_run_or_our_error(place, run):
    content, meta = (place / "run.nc").read_bytes(), hostile.metadata_of(place / "run.nc")
    ends = set()
    for changed in hostile.mutants(content, range(10), meta):
        (place / "run.nc").write_bytes(changed)
        try:
            lab.open_run(place / "run.nc")
            ends.add("run")
        except errors.RunError:
            ends.add("error")
    assert "error" in ends


@pytest.mark.parametrize("name", ["run.nc", "run.zarr"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "file", "broken", "sparse", "missing", "socket"])
def test_what_is_no_run_at_all_is_said_at_once(tmp_path, monkeypatch, name, kind):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "broken"):
        path.symlink_to({"device": "/dev/zero", "broken": "/proc/self/mem"}[kind])
    elif kind == "folder":
        path.mkdir()
    elif kind in ("file", "sparse"):
        with path.open("wb") as file:
            file.truncate(2**40 if kind == "sparse" else 0)
    elif kind == "socket":
        # The name of a socket may be no longer than a hundred characters.
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(name)
    with pytest.raises(errors.RunError, match=r"cannot be read as a run|there is no run at"):
        lab.open_run(path)


@pytest.mark.parametrize("scheme", ["memory://", "https://localhost:1/", "s3://bucket/", "file:///", "simplecache::"])
def test_an_address_is_a_file_that_is_not_there(scheme):
    for name in ("run.nc", "run.zarr"):
        with pytest.raises(errors.RunError, match="there is no run at"):
            lab.open_run(scheme + name)


# ------------------------------------------------------------------------------------------------- what is still taken


def test_what_other_writers_of_netcdf_do_is_taken(run, tmp_path):
    flat = {"zlib": True, "shuffle": True, "fletcher32": True, "complevel": 4}
    names = {str(name): {**flat} for name in ("image", "logits", "merged", "fused", "labels")}
    run.to_netcdf(tmp_path / "packed.nc", engine="h5netcdf", encoding={"/": names})
    assert lab.open_run(tmp_path / "packed.nc").identical(run)
    endian = {"/": {"margin": {"dtype": ">f4"}, "labels": {"chunksizes": (7, 5)}}}
    run.to_netcdf(tmp_path / "endian.nc", engine="h5netcdf", encoding=endian, unlimited_dims={"/": ["phrase"]})
    assert lab.open_run(tmp_path / "endian.nc").identical(run)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_what_other_writers_of_zarr_do_is_taken(run, tmp_path):
    options = {
        "plain": {"encoding": {"/": {"image": {"compressors": ()}}}, "consolidated": True},
        "chunked": {"encoding": {"/": {"fused": {"chunks": (1, 32, 50)}}}, "consolidated": False},
    }
    for name, how in options.items():
        run.to_zarr(tmp_path / f"{name}.zarr", zarr_format=3, **how)
        (tmp_path / f"{name}.zarr" / ".DS_Store").write_bytes(b"x")
        assert lab.open_run(tmp_path / f"{name}.zarr").identical(run)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_run_that_shrinks_to_nothing_can_be_opened_again(run, tmp_path, monkeypatch, suffix):
    flat = run.copy()
    for name in ("logits", "merged", "guide", "fused", "probability", "margin"):
        flat[name] = flat[name] * 0
    flat["labels"], flat["labels_full"] = flat["labels"] * 0, flat["labels_full"] * 0
    monkeypatch.setattr(untrusted, "FREE", 2**18)
    assert lab.open_run(lab.save_run(flat, tmp_path / f"run{suffix}")).identical(flat)


def test_a_file_that_unpacks_to_far_more_than_itself_is_refused(run, tmp_path, monkeypatch):
    flat = xr.DataTree(run.to_dataset(inherit=False) * 0)
    packed = {"/": {str(name): {"zlib": True} for name in flat.data_vars}}
    flat.to_netcdf(tmp_path / "flat.nc", engine="h5netcdf", encoding=packed)
    flat.to_zarr(tmp_path / "flat.zarr", consolidated=False, zarr_format=3)
    monkeypatch.setattr(untrusted, "FREE", 2**12)
    for name in ("flat.nc", "flat.zarr"):
        with pytest.raises(errors.RunError, match=r"unpacks to more than [\d,]+ bytes, far more than its own size"):
            lab.open_run(tmp_path / name)


def test_attributes_and_texts_come_back_as_they_were(tmp_path):
    attrs = {"text": "ä\n", "empty": "", "long": "x" * 300_000, "whole": 2, "real": 1.5, "inf": np.inf}
    data = xr.Dataset(
        {"half": ("x", np.array([0.5, np.nan, np.inf], "f4")), "flag": ("x", np.array([True, False, True]))},
        coords={"x": np.array(["a", "", "ü"], dtype=object), "place": ("x", np.arange(3))},
        attrs={**attrs, "several": [1, 2]},
    )
    write_netcdf(data, tmp_path / "a.nc")
    back = read_netcdf(tmp_path / "a.nc").to_dataset()
    assert back.equals(data)
    assert back["flag"].dtype == bool
    assert list(back.attrs.pop("several")) == [1, 2]
    assert back.attrs == attrs


def test_the_reading_process_is_waited_for(place, monkeypatch):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    read_netcdf(place / "run.nc")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(errors.RunError, match="cannot be read as a run"):
        lab.open_run(place / "run.nc")
