"""Runs as files: back as they were, whole or not at all, and never nonsense from a damaged one."""

import random

import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab import errors

SMALL = lab.Config(scales=(64, 32), image_size=(64, 96), weights={64: 0.5, 32: 2})


@pytest.fixture(scope="module")
def run(golden_segmenter):
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    return golden_segmenter.segment(picture, ["cat", "sofa"], SMALL, saliency=rng.random((70, 110)))


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_there_and_back(run, tmp_path, suffix):
    path = lab.save_run(run, tmp_path / f"run{suffix}")
    back = lab.open_run(path)
    assert back.identical(run)
    assert list(tmp_path.iterdir()) == [path]
    assert lab.recombine(back, saliency_weight=0.2)["fused"].equals(lab.recombine(run, saliency_weight=0.2)["fused"])
    assert back["fused"].sel(label="cat").shape == (64, 96)


def test_xarrays_own_writers_do_too(run, tmp_path):
    run.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    run.to_zarr(tmp_path / "run.zarr", consolidated=False)
    assert lab.open_run(tmp_path / "run.nc").identical(run)
    assert lab.open_run(tmp_path / "run.zarr").identical(run)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_half_precision_stages_stay_half(run, tmp_path, suffix):
    slim = run.copy()
    for node in slim["grids"].children.values():
        node["embedding"] = node["embedding"].astype(np.float16)
    back = lab.open_run(lab.save_run(slim, tmp_path / f"run{suffix}"))
    assert back["grids/s032/embedding"].dtype == np.float16
    assert back.identical(slim)
    assert float(abs(lab.recombine(back, temperature=2)["fused"] - run["fused"]).max()) < 2e-3


def test_an_existing_file_is_replaced_only_by_a_whole_one(run, tmp_path):
    path = lab.save_run(run, tmp_path / "run.nc")
    before = path.read_bytes()
    with pytest.raises(errors.RunError):
        lab.save_run(xr.DataTree(), path)
    assert path.read_bytes() == before
    other = lab.recombine(run, saliency_weight=0.1)
    lab.save_run(other, path)
    assert lab.open_run(path).identical(other)


@pytest.mark.parametrize("name", ["run.h5", "run", "missing/run.nc"])
def test_places_that_cannot_be_written(run, tmp_path, name):
    with pytest.raises(errors.OutputError):
        lab.save_run(run, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_strange_name(tmp_path):
    with pytest.raises(errors.RunError, match="no run at"):
        lab.open_run(tmp_path / "run.nc")
    with pytest.raises(errors.RunError, match="ends in"):
        lab.open_run(tmp_path / "run.txt")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_foreign_and_damaged_files(run, tmp_path):
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"a": ("b", [1, 2])}).to_netcdf(foreign, engine="h5netcdf")
    with pytest.raises(errors.RunError, match="not a run"):
        lab.open_run(foreign)
    path = lab.save_run(run, tmp_path / "run.nc")
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1000):
        path.write_bytes(whole[:size])
        with pytest.raises(errors.RunError):
            lab.open_run(path)
    path.write_bytes(b"<!doctype html>" * 100)
    with pytest.raises(errors.RunError, match="cannot be read"):
        lab.open_run(path)


# h5netcdf's destructor stumbles over files that it could not open; what the user sees is our error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_flipped_bit_gives_the_same_run_or_our_error(run, tmp_path):
    path = lab.save_run(run, tmp_path / "run.nc")
    whole = path.read_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            assert lab.open_run(path).identical(run)  # the bit was in unused space
        except errors.RunError:
            refused += 1
    assert refused > 40


def test_a_changed_number_in_a_zarr_store_is_found(run, tmp_path):
    path = lab.save_run(run, tmp_path / "run.zarr")
    tree = xr.open_datatree(path, engine="zarr", consolidated=False).load()
    tree["margin"][3, 4] += 0.001
    tree.to_zarr(tmp_path / "changed.zarr", consolidated=False)
    with pytest.raises(errors.RunError, match="damaged"):
        lab.open_run(tmp_path / "changed.zarr")


@pytest.mark.parametrize("version", [2, 99])
def test_a_run_of_another_version_is_refused_in_one_sentence(run, tmp_path, version):
    other = run.to_dataset()  # older runs have no node 'grids'
    other.attrs = {**run.attrs, "schema_version": version}
    xr.DataTree.from_dict({"/": other, "/grids/s064": xr.Dataset()}).to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with pytest.raises(errors.RunError) as raised:
        lab.open_run(tmp_path / "run.nc")
    says = f"the run has schema version {version}, this clipdiy_lab reads 3; segment the image again."
    assert str(raised.value) == says
