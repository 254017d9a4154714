"""A store holds what encoding gives, believes nothing that was not finished, and says what it is not."""

import dataclasses
import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import storing
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from storing import SMALL, Pictures, make_segmenter, snapshot

import clipdiy_lab as lab
from clipdiy_lab.errors import ClipdiyError, ConfigError, OutputError, StoreError
from clipdiy_lab.files import held
from clipdiy_lab.pipeline.embeddings import layout, upkeep
from clipdiy_lab.pipeline.embeddings.identity import canonical, digest
from clipdiy_lab.pipeline.embeddings.opened import as_encoded, open_store
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.embeddings.variables import bytes_per_image, variables_of
from clipdiy_lab.pipeline.embeddings.write import embed, plan
from clipdiy_lab.pipeline.fusion import fuse, label_map


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished store that nobody changes: 7 pictures in 4 shards."""
    path = tmp_path_factory.mktemp("whole") / "store"
    embed(make_segmenter(), Pictures(), path, SMALL, shard_size=2)
    return path


@pytest.fixture
def store(whole, tmp_path):
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "store"))


def fill(path, **changes):
    options = {"segmenter": make_segmenter(), "dataset": Pictures(), "config": SMALL, "shard_size": 2} | changes
    return embed(options.pop("segmenter"), options.pop("dataset"), path, **options)


# -------------------------------------------------------------------------------------------------- what a store holds


def test_a_store_holds_what_encoding_gives(whole):
    held_there, segmenter, pictures = open_store(whole), make_segmenter(), Pictures()
    assert list(held_there["image"].values) == [pictures.id(i) for i in range(7)]
    for index in range(7):
        sample, entry = pictures[index], held_there.isel(image=index)
        tree = segmenter.encode(sample.image, SMALL)
        for name in ("s016", "s008"):
            expected = tree[f"grids/{name}/embedding"].values.astype(np.float16)
            np.testing.assert_array_equal(entry[f"embedding_{name}"].values, expected)
        assert float(abs(entry["saliency"] - tree["saliency"]).max()) <= 0.5 / 255 + 1e-6
        assert entry["image_sha256"].item() == tree.attrs["image_sha256"]
        assert (entry["image_height"].item(), entry["image_width"].item()) == sample.image.shape[:2]


def test_an_entry_fuses_without_the_image_network(whole):
    segmenter, config = make_segmenter(), SMALL.replace(saliency_weight=0.4)
    picture = Pictures()[3].image
    text = segmenter.text_embeddings(["cat", "sofa"], config)
    direct = segmenter.segment(picture, ["cat", "sofa"], config)
    segmenter.encoder.batches.clear()
    encoded = as_encoded(open_store(whole).sel(image="p003"))
    run = fuse(encoded, text, config)
    assert segmenter.encoder.batches == []
    np.testing.assert_allclose(run["fused"].values, direct["fused"].values, atol=3e-3)
    assert (label_map(encoded, text, config) == run["labels"]).all()
    assert run["labels_full"].shape == picture.shape[:2]
    again = lab.recombine(run, saliency_weight=0.0, scales=(8,))
    assert again["fused"].sizes["y"] == 16
    same = ("config", "encoder_fingerprint", "saliency_fingerprint", "image_sha256", "image_height", "schema_version")
    assert {name: run.attrs[name] for name in same} == {name: direct.attrs[name] for name in same}


def test_with_its_picture_an_entry_is_a_run_that_can_be_saved(whole, tmp_path):
    entry, segmenter = open_store(whole).isel(image=2), make_segmenter()
    run = fuse(as_encoded(entry, Pictures()[2].image), segmenter.text_embeddings(["cat"], SMALL), SMALL)
    assert run["image"].equals(segmenter.encode(Pictures()[2].image, SMALL)["image"])
    assert lab.open_run(lab.save_run(run, tmp_path / "run.nc"))["labels"].equals(run["labels"])
    with pytest.raises(StoreError, match="'p002'"):
        as_encoded(entry, Pictures()[3].image)
    with pytest.raises(StoreError, match="one image"):
        as_encoded(open_store(whole))


def test_labels_of_scenes_are_those_of_the_direct_path(tmp_path):
    segmenter, scenes, config = lab.load("tiny"), lab.open_dataset("scenes"), lab.Config.paper()
    embed(segmenter, scenes, tmp_path / "s", config, limit=2)
    text = segmenter.text_embeddings(scenes.label_names, config)
    for index in range(2):
        stored = label_map(as_encoded(open_store(tmp_path / "s").isel(image=index)), text, config)
        direct = label_map(segmenter.encode(scenes[index].image, config), text, config)
        assert float((stored == direct).mean()) >= 0.9995


def test_without_saliency_there_is_no_saliency(tmp_path):
    path = tmp_path / "store"
    fill(path, segmenter=lab.Segmenter(storing.CountingEncoder()), limit=1)
    assert "saliency" not in open_store(path)
    assert "saliency" not in as_encoded(open_store(path).isel(image=0))


def test_opening_reads_no_shard_and_indexing_only_those_it_needs(store):
    lazy = open_store(store)
    for file in (store / "shards").glob("000003.*.zip"):
        file.unlink()
    assert lazy["embedding_s016"].isel(image=slice(0, 6)).values.shape == (6, 1, 2, 12)
    with pytest.raises(StoreError, match="cannot be read"):
        lazy["embedding_s016"].isel(image=6).load()


@given(data=st.data())
@settings(max_examples=40)
def test_lazy_indexing_is_numpys(whole, data):
    lazy = open_store(whole)["embedding_s008"]
    plain = lazy.values
    key = {}
    for dim, size in lazy.sizes.items():
        index = st.integers(-size, size - 1)
        start, stop = st.integers(0, size), st.integers(0, size)
        kinds = st.one_of(index, st.lists(index, min_size=1, max_size=5), st.builds(slice, start, stop))
        key[dim] = data.draw(kinds)
    expected = xr.DataArray(plain, dims=lazy.dims).isel(key)
    np.testing.assert_array_equal(lazy.isel(key).values, expected.values)


def test_an_open_store_travels_to_another_process(whole):
    assert pickle.loads(pickle.dumps(open_store(whole))).identical(open_store(whole))


def test_the_bytes_said_beforehand_are_those_of_the_arrays(whole, tmp_path):
    job = plan(make_segmenter(), Pictures(), tmp_path / "store", SMALL, shard_size=2)
    reader = EmbeddingStore(whole)
    in_arrays = sum(array.nbytes for shard in reader.finished for array in reader.shard(shard).values())
    assert job.bytes_missing() == in_arrays
    assert f"{in_arrays:,} bytes" in job.describe()
    assert not (tmp_path / "store").exists()
    assert plan(make_segmenter(), Pictures(), whole, SMALL).bytes_missing() == 0


def test_voc_takes_what_the_arithmetic_says():
    windows = 1 + 9 + 49
    of_embeddings = 1449 * windows * 512 * 2
    assert 1449 * bytes_per_image(variables_of(lab.Config(), 512, False)) == of_embeddings + 1449 * (4 + 4 + 32)
    assert round(of_embeddings / 1e6) == 88
    with_saliency = 1449 * bytes_per_image(variables_of(lab.Config(), 512, True))
    assert with_saliency == of_embeddings + 1449 * (40 + 256 * 256)


# ------------------------------------------------------------------------------------------------ killed, and together


@pytest.fixture(scope="module")
def attacks():
    """What came of killing writers and of letting several at one store; see `storing`."""
    # Kills lose nothing that a flush to a real disk would save, so memory does as well where there is some.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        command = [sys.executable, storing.__file__, folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_hundred_kills_cost_time_only(attacks):
    found = attacks["kill"]
    assert found["killed"] == 100
    assert (found["wrong"], found["different"], found["failed"]) == (0, 0, 0)
    # The moments were spread: some came before the first shard, some before the last.
    assert {0, 1, 2, 3} <= set(found["progress"])
    assert found["stores"] >= 5


def test_the_harness_catches_a_careless_writer(attacks):
    assert attacks["careless"]["wrong"] >= 1


def test_three_writers_at_once_share_the_work(attacks):
    found = attacks["pair"]
    assert found["encoded"] == [7, 7]  # every picture once, whoever did it
    assert (found["different"], found["failed"]) == (0, 0)
    assert found["done"] + found["killed"] == 12


def test_resuming_encodes_only_what_is_missing_and_gives_the_same_bytes(whole, store):
    (store / "shards" / "000001.ok").unlink()
    segmenter = make_segmenter()
    fill(store, segmenter=segmenter)
    assert len(segmenter.encoder.batches) == 2
    assert snapshot(store) == snapshot(whole)
    fill(store, segmenter=segmenter, shard_size=None)
    assert len(segmenter.encoder.batches) == 2


def test_a_writer_of_one_shard_needs_nobody_else(whole, tmp_path):
    job = plan(make_segmenter(), Pictures(), tmp_path / "store", SMALL, shard_size=2)
    job.begin()
    for shard in (2, 0, 3, 1):
        assert job.write(shard, wait=False)
    assert snapshot(tmp_path / "store") == snapshot(whole)


# ----------------------------------------------------------------------------------------------------- damaged, foreign


def test_a_flipped_byte_is_found_and_repaired(whole, store):
    rng, good = random.Random(3), snapshot(whole)
    for name in sorted(good):
        for _ in range(4 if good[name] else 0):
            content = bytearray(good[name])
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            (store / name).write_bytes(content)
            if name == "store.json":
                with pytest.raises(StoreError):
                    upkeep.verify(store)
                with pytest.raises(StoreError):
                    open_store(store)
                continue
            table = upkeep.verify(store)
            assert list(table["state"]).count("whole") == 3, name
            with pytest.raises(StoreError):
                open_store(store).load()
            fill(store)
            assert snapshot(store) == good
        (store / name).write_bytes(good[name])


def test_shards_that_changed_places_are_not_believed(store):
    texts = [(store / "shards" / f"00000{i}.ok").read_text() for i in range(2)]
    (store / "shards" / "000000.ok").write_text(texts[1])
    (store / "shards" / "000001.ok").write_text(texts[0])
    assert list(upkeep.verify(store)["state"]) == ["damaged", "damaged", "whole", "whole"]


class Narrow(storing.CountingEncoder):
    fingerprint = "counting-2"
    mean = (0.1, 0.4, 0.3)


CHANGES = {
    "encoder_fingerprint": {"segmenter": lab.Segmenter(Narrow(), storing.Ramp())},
    "encoder_mean": {"segmenter": lab.Segmenter(Narrow(), storing.Ramp())},
    "scales": {"config": SMALL.replace(scales=(16, 4))},
    "stride": {"config": SMALL.replace(stride=1)},
    "image_size": {"config": SMALL.replace(image_size=32)},
    "image_resize": {"config": SMALL.replace(image_resize="nearest")},
    "saliency_input": {"config": SMALL.replace(saliency_input="frame")},
    "precision": {"config": SMALL.replace(precision="fp32")},
    "saliency_source": {"segmenter": lab.Segmenter(storing.CountingEncoder())},
    "images": {"limit": 6},
    "ids_sha256": {"limit": 6},
    "shard_size": {"shard_size": 3},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_store_of_something_else_says_what_differs(store, what):
    before = snapshot(store)
    with pytest.raises(StoreError, match=f"{what} is .* there, .* is asked"):
        fill(store, **CHANGES[what])
    assert snapshot(store) == before


def test_fuse_knobs_make_no_difference(store):
    before = snapshot(store)
    fill(store, config=SMALL.replace(template="the {label}", saliency_weight=0.1, placement="centred"))
    assert snapshot(store) == before


def test_another_picture_under_the_same_id_is_refused(store):
    with pytest.raises(StoreError, match="'p004' is not the one"):
        fill(store, dataset=Pictures(changed=4))


def test_a_half_written_store_is_refused_or_taken_as_the_part_it_is(store):
    (store / "shards" / "000001.ok").unlink()
    with pytest.raises(StoreError, match="3 of 4 shards"):
        open_store(store)
    part = open_store(store, partial=True)
    assert list(part["image"].values) == ["p000", "p001", "p004", "p005", "p006"]
    np.testing.assert_array_equal(
        part["embedding_s008"][3], EmbeddingStore(store, partial=True).shard(2)["embedding_s008"][1]
    )
    assert list(upkeep.verify(store)["state"]) == ["whole", "missing", "whole", "whole"]
    assert upkeep.info(store)["images_finished"] == 5
    with pytest.raises(StoreError, match="no finished shard 1"):
        EmbeddingStore(store, partial=True).shard(1)


def test_a_moved_store_works(whole, store, tmp_path):
    (tmp_path / "deep").mkdir()
    moved = store.rename(tmp_path / "deep" / "elsewhere")
    assert open_store(moved).identical(open_store(whole))
    fill(moved)
    assert snapshot(moved) == snapshot(whole)


def test_another_version_is_named(store):
    content = json.loads((store / "store.json").read_text())
    del content["sha256"]
    content["version"] = 9
    (store / "store.json").write_text(canonical(content | {"sha256": digest(content)}))
    for reader in (open_store, upkeep.info, upkeep.verify, upkeep.prune, fill):
        with pytest.raises(StoreError, match="format version 9"):
            reader(store)


def test_a_store_of_an_older_schema_is_refused_in_one_sentence(store):
    content = json.loads((store / "store.json").read_text())
    del content["sha256"]
    content["attrs"]["schema_version"] = 2
    (store / "store.json").write_text(canonical(content | {"sha256": digest(content)}))
    for reader in (open_store, upkeep.info, upkeep.verify, upkeep.prune, fill):
        with pytest.raises(StoreError) as raised:
            reader(store)
        assert str(raised.value) == (
            f"The store {store} has schema version 2, this clipdiy_lab reads 3; make the store again with "
            "`clipdiy-lab embed`."
        )


def test_what_is_no_store(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for place in ("file", "photos", "nowhere"):
        with pytest.raises(StoreError, match="is not an embedding store"):
            open_store(tmp_path / place)
    for place in ("file", "photos"):
        with pytest.raises(StoreError):
            fill(tmp_path / place)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "other"}', "\x00", "[" * 100_000])
def test_headers_that_are_none(store, content):
    (store / "store.json").write_text(content)
    with pytest.raises(StoreError):
        open_store(store)


def test_a_lost_folder_of_shards_is_a_store_with_nothing_in_it(whole, store):
    shutil.rmtree(store / "shards")
    assert upkeep.info(store)["images_finished"] == 0
    assert set(upkeep.verify(store)["state"]) == {"missing"}
    assert open_store(store, partial=True).sizes["image"] == 0
    fill(store)
    assert snapshot(store) == snapshot(whole)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": True}, {"shard_size": -1}, {"shard_size": 2.5}])
def test_numbers_that_make_no_sense(tmp_path, options):
    with pytest.raises(ConfigError, match="expected a positive number"):
        fill(tmp_path / "store", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "file/store"])
def test_places_where_no_store_can_be(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ClipdiyError, match="Cannot create the store"):
        fill(tmp_path / name)
    with pytest.raises(StoreError):
        open_store(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_dataset_without_images(tmp_path):
    with pytest.raises(StoreError, match="no images"):
        fill(tmp_path / "store", dataset=Pictures(0))


# ----------------------------------------------------------------------------------------------- disks that do not help


def in_a_child(work):
    """Run `work` in a process of its own; return the error that it ended with."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
            said = "nothing"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_a_full_disk_leaves_a_store_that_can_be_resumed(whole, tmp_path):
    path = tmp_path / "store"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        fill(path)

    assert in_a_child(work).startswith("OutputError: Could not write")
    assert upkeep.info(path)["shards_finished"] < 4
    fill(path)
    upkeep.prune(path)
    assert snapshot(path) == snapshot(whole)


def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10_000, 9_000, 1_000))
    with pytest.raises(OutputError, match=r"needs [\d,]+ more bytes, but the disk has only 1,000 free"):
        fill(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_place():
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(work):
    """Run `work` without the right to write everywhere, which root has."""

    def inner():
        if os.geteuid() == 0:
            os.seteuid(65534)
        work()

    return in_a_child(inner)


def test_a_read_only_store_can_be_read_but_not_filled(whole, open_place):
    store = Path(shutil.copytree(whole, open_place / "store"))
    folders = (store / "shards", store)
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert as_nobody(lambda: open_store(store).load()) == "nothing"
        assert as_nobody(lambda: fill(store)) == "nothing"
        for folder in folders:
            folder.chmod(0o755)
        (store / "shards" / "000001.ok").unlink()
        for folder in folders:
            folder.chmod(0o555)
        assert as_nobody(lambda: fill(store)).startswith("OutputError: Cannot write")
        assert as_nobody(lambda: upkeep.prune(store)).startswith("OutputError: Cannot write")
    finally:
        for folder in folders:
            folder.chmod(0o755)


# ----------------------------------------------------------------------------------------------------- prune and export


def test_prune_removes_what_no_record_vouches_for(whole, store):
    shards = store / "shards"
    (shards / ".clipdiy-abc.part").mkdir()
    (shards / ".clipdiy-abc.part" / "half.zip").write_bytes(b"x")
    (store / ".clipdiy-abd.part").mkdir()
    (store / "notes").mkdir()
    (store / "notes" / "thesis.txt").write_text("what is not the store's stays")
    (shards / "000000.claim").touch()
    (shards / "000002.0123456789abcdef.zip").write_bytes(b"x")
    record = layout.read_record(store, layout.read_header(store), 1)
    layout.write_record(store, dataclasses.replace(record, shard=7, key="0" * 64))
    assert upkeep.info(store)["leftovers"] == 5
    assert len(upkeep.prune(store)) == 5
    assert snapshot(store) == snapshot(whole) | {"notes/thesis.txt": b"what is not the store's stays"}
    assert not list(store.rglob(".clipdiy-*"))


def test_shards_of_another_key_are_not_believed_and_pruned(store):
    record = layout.read_record(store, layout.read_header(store), 1)
    layout.write_record(store, dataclasses.replace(record, key="0" * 64))
    assert list(upkeep.verify(store)["state"]) == ["whole", "missing", "whole", "whole"]
    assert {path.name for path in upkeep.prune(store)} == {"000001.ok", record.file}


def test_prune_waits_for_nobody_and_disturbs_nobody(store):
    (store / "shards" / ".clipdiy-abc.part").mkdir()
    with held(store / "lock", alone=False), pytest.raises(StoreError, match="writing"):
        upkeep.prune(store)
    assert (store / "shards" / ".clipdiy-abc.part").exists()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_export_opens_with_xarray_alone(whole, tmp_path, suffix):
    out = upkeep.export(whole, tmp_path / f"copy{suffix}")
    opened = xr.open_dataset(out) if suffix == ".nc" else xr.open_zarr(out, chunks=None, consolidated=False)
    with opened:
        assert opened.equals(open_store(whole))
        assert opened.attrs == open_store(whole).attrs
    with pytest.raises(OutputError, match="already exists"):
        upkeep.export(whole, out)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_what_is_there_of_an_unfinished_store_is_exported(store, tmp_path, suffix):
    layout.record_path(store, 1).unlink()
    out = tmp_path / f"copy{suffix}"
    with pytest.raises(StoreError, match="open it with partial=True"):
        upkeep.export(store, out)
    upkeep.export(store, out, partial=True)
    opened = xr.open_dataset(out) if suffix == ".nc" else xr.open_zarr(out, chunks=None, consolidated=False)
    with opened:
        assert opened.equals(open_store(store, partial=True))


def test_exports_that_cannot_be(store, tmp_path):
    with pytest.raises(OutputError, match=r"expected \.nc or \.zarr"):
        upkeep.export(store, tmp_path / "copy.npz")
    next((store / "shards").glob("000002.*.zip")).write_bytes(b"x")
    for suffix in (".nc", ".zarr"):
        with pytest.raises(ClipdiyError, match="damaged"):
            upkeep.export(store, tmp_path / f"copy{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
