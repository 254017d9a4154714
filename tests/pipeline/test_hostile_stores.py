"""Stores from strangers: hashes agree, and what they say is false. Each ends in one `StoreError` within seconds."""

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
import storing
from storing import SMALL, Pictures, make_segmenter

import clipdiy_lab as lab
from clipdiy_lab.errors import StoreError
from clipdiy_lab.pipeline.embeddings import layout, shards, upkeep
from clipdiy_lab.pipeline.embeddings.identity import canonical, digest
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore, read_shard, variables_of

SECONDS = 10
MEMORY = 2**30
"""Bytes of address space that reading a false store may take beside what the process has."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished store that nobody changes: 4 pictures in 2 shards."""
    path = tmp_path_factory.mktemp("whole") / "store"
    storing.embed(make_segmenter(), Pictures(4), path, SMALL, shard_size=2)
    return path


@pytest.fixture
def store(whole, tmp_path):
    """A copy to falsify."""
    return Path(shutil.copytree(whole, tmp_path / "store"))


def write_header(store, content):
    content.pop("sha256", None)
    (store / layout.HEADER).write_text(canonical(content | {"sha256": digest(content)}), encoding="utf-8")


def change_header(store, work):
    """Change the header; its hash, and the records of its shards, agree with the new one."""
    content = json.loads((store / layout.HEADER).read_text())
    work(content)
    write_header(store, content)
    for path in (store / layout.SHARDS).glob("*.ok"):
        record = json.loads(path.read_text())
        path.write_text(canonical(record | {"key": digest(content.get("key"))}))


def change_config(content, **knobs):
    """Give header and key the same other configuration."""
    config = json.loads(content["attrs"]["config"]) | knobs
    content["attrs"]["config"] = json.dumps(config)
    content["key"] |= {name: config[name] for name in knobs}


def vouch(store, data, **changes):
    """Put other bytes in the place of the first shard, with a record that agrees."""
    path = layout.record_path(store, 0)
    old = json.loads(path.read_text())
    sha256 = hashlib.sha256(data).hexdigest()
    (store / layout.SHARDS / old["file"]).unlink()
    record = old | {"file": layout.shard_file(0, sha256), "sha256": sha256, "bytes": len(data)} | changes
    path.write_text(canonical(record))
    file = store / layout.SHARDS / layout.shard_file(0, sha256)
    file.write_bytes(data)
    return file


def change_arrays(store, work, **attributes):
    """Pack the first shard anew with other arrays."""
    header = layout.read_header(store)
    arrays = dict(read_shard(store, header, 0))
    work(arrays)
    dims = {name: content.dims for name, content in variables_of(header).items()}
    dims = {name: dims.get(name, ("a", "b", "c", "d"))[: array.ndim] for name, array in arrays.items()}
    attrs = {"key": digest(header.key), "shard": 0, "ids": list(header.ids[:2])} | attributes
    vouch(store, shards.pack(arrays, dims, attrs))


def entries_of(store):
    with zipfile.ZipFile(first_file(store)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def first_file(store):
    return store / layout.SHARDS / json.loads(layout.record_path(store, 0).read_text())["file"]


def change_zip(store, change=None, compression=zipfile.ZIP_STORED):
    entries = entries_of(store)
    if change:
        change(entries)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        for name, data in entries.items():
            packed.writestr(name, data)
    vouch(store, file.getvalue())


def set_key(name, value):
    return lambda store: change_header(store, lambda content: content["key"].update({name: value}))


def set_attr(name, value):
    return lambda store: change_header(store, lambda content: content["attrs"].update({name: value}))


def drop_attr(name):
    return lambda store: change_header(store, lambda content: content["attrs"].pop(name))


def set_config(**knobs):
    return lambda store: change_header(store, lambda content: change_config(content, **knobs))


def ids(values, count=None):
    def work(store):
        def change(content):
            content["ids"] = values
            content["key"] |= {"ids_sha256": digest(values), "images": len(values) if count is None else count}

        change_header(store, change)

    return work


def arrays(work, **attributes):
    return lambda store: change_arrays(store, work, **attributes)


def fill(name, value):
    return arrays(lambda held: held.update({name: np.full_like(held[name], value)}))


def compressed(store):
    change_zip(store, compression=zipfile.ZIP_DEFLATED)


def inflating(store):
    change_zip(store, lambda entries: entries.update({"bomb/c/0": bytes(2**28)}), zipfile.ZIP_DEFLATED)


def overlapping(store):
    """Two entries of the directory that share the bytes of the first."""
    data = bytearray(first_file(store).read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        infos, start = packed.infolist(), packed.start_dir
    place = start
    for info in infos:
        data[place + 42 : place + 46] = infos[0].header_offset.to_bytes(4, "little")
        place += 46 + len(info.filename.encode())
    vouch(store, bytes(data))


def large_entry(store):
    """A directory that says that an entry has a terabyte."""

    def change(entries):
        document = json.loads(entries["image_sha256/zarr.json"])
        document["shape"] = document["chunk_grid"]["configuration"]["chunk_shape"] = [2**40, 32]
        entries["image_sha256/zarr.json"] = json.dumps(document).encode()

    change_zip(store, change)


def climbing_entry(store):
    change_zip(store, lambda entries: entries.update({"../../owned": b"x"}))


def replace_by(make):
    def work(store):
        file = first_file(store)
        file.unlink()
        make(file)

    return work


def linked(store):
    """A link to another file of the machine, of which the stranger knows hash and size."""
    secret = store.parent / "secret"
    secret.write_bytes(first_file(store).read_bytes())
    replace_by(lambda file: file.symlink_to(secret))(store)


def linked_record(store):
    path = layout.record_path(store, 0)
    path.rename(store.parent / "record")
    path.symlink_to(store.parent / "record")


def linked_header(store):
    (store / layout.HEADER).rename(store.parent / "header")
    (store / layout.HEADER).symlink_to(store.parent / "header")


def piped_record(store):
    layout.record_path(store, 0).unlink()
    os.mkfifo(layout.record_path(store, 0))


def piped_header(store):
    (store / layout.HEADER).unlink()
    os.mkfifo(store / layout.HEADER)


def sparse(store):
    """A terabyte that takes no room on the disk, and a record that says so."""
    path = layout.record_path(store, 0)
    path.write_text(canonical(json.loads(path.read_text()) | {"bytes": 2**40}))
    with first_file(store).open("r+b") as file:
        file.truncate(2**40)


def negative_bytes(store):
    sparse(store)
    path = layout.record_path(store, 0)
    path.write_text(canonical(json.loads(path.read_text()) | {"bytes": -5}))


def record_of(file):
    def work(store):
        path = layout.record_path(store, 0)
        path.write_text(canonical(json.loads(path.read_text()) | {"file": file}))

    return work


ATTACKS = {
    "more ids": ids([f"p{i:03d}" for i in range(6)]),
    "other ids": ids(["a", "b", "c", "d"]),
    "same ids": ids(["p000"] * 4),
    "false count": ids([f"p{i:03d}" for i in range(4)], count=9),
    "narrow": set_key("embedding_dim", 3),
    "wide": set_key("embedding_dim", 2**16),
    "precision": set_key("precision", "bf16"),
    "false precision": set_config(precision="strange"),
    "large frame": set_config(image_size=[8192, 8192]),
    "other scales": set_config(scales=[16, 4]),
    "schema 2": set_attr("schema_version", 2),
    "number as encoder": set_attr("encoder", 3),
    "other weights": set_attr("encoder_fingerprint", "0" * 64),
    "other saliency": set_attr("saliency_source", "none"),
    "recipe of no JSON": set_attr("encoder_recipe", "{"),
    "recipe as number": set_attr("saliency_recipe", 3),
    "recipe of code": set_attr("saliency_recipe", '{"name": "none", "options": {"a=1); exit(": 1}}'),
    **{f"no {name}": drop_attr(name) for name in ("encoder", "encoder_fingerprint", "saliency_source")},
    **{f"no {name}": drop_attr(name) for name in ("saliency_fingerprint", "config", "dataset", "schema_version")},
    "compressed": compressed,
    "inflating": inflating,
    "overlapping": overlapping,
    "large entry": large_entry,
    "pipe": replace_by(os.mkfifo),
    "link": linked,
    "device": replace_by(lambda file: file.symlink_to("/dev/zero")),
    "folder": replace_by(Path.mkdir),
    "linked record": linked_record,
    "linked header": linked_header,
    "piped record": piped_record,
    "piped header": piped_header,
    "sparse": sparse,
    "negative bytes": negative_bytes,
    "climbing record": record_of("../../../../etc/passwd"),
    "absolute record": record_of("/etc/passwd"),
    "lacks an array": arrays(lambda held: held.pop("image_sha256")),
    "one more array": arrays(lambda held: held.update(more=np.zeros(3))),
    "other shape": arrays(lambda held: held.update(image_sha256=np.zeros((9, 32), np.uint8))),
    "no shape": arrays(lambda held: held.update(image_sha256=np.uint8(1) * np.ones((), np.uint8))),
    "other type": arrays(lambda held: held.update(image_height=held["image_height"].astype(np.float64))),
    "ids of the shard": arrays(lambda held: None, ids=["p001", "p000"]),
    "no size": fill("image_height", 0),
    "negative size": fill("image_height", -3),
    "enormous size": fill("image_height", 2**31 - 1),
    "not a number": fill("embedding_s016", np.nan),
    "infinite": fill("embedding_s008", np.inf),
}


def use(store, segmenter):
    """Do with a store what a person would, and say how each ended."""
    ways = {
        "open_store": lambda: lab.open_store(store).compute(),
        "evaluate": lambda: lab.evaluate(store, Pictures(4), segmenter=segmenter),
        "encoding": lambda: EmbeddingStore(store).encoding(0),
        "find": lambda: EmbeddingStore(store).find("0" * 64),
        "verify": lambda: upkeep.verify(store),
        "info": lambda: upkeep.info(store),
    }
    ends = {}
    for name, work in ways.items():
        try:
            work()
            ends[name] = "done"
        except StoreError as error:
            ends[name] = f"StoreError: {error}"
        except BaseException as error:
            ends[name] = f"RAW {type(error).__name__}: {error}"
    return ends


def in_a_child(work):
    """Run `work` in a process that has little time and little memory; return what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(SECONDS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else {"all": "RAW killed"}


def test_a_true_store_is_used(whole):
    assert set(in_a_child(lambda: use(whole, make_segmenter())).values()) == {"done"}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_false_store_is_one_error(store, name):
    ATTACKS[name](store)
    ends = in_a_child(lambda: use(store, make_segmenter()))
    assert not any(end.startswith("RAW") for end in ends.values()), ends
    assert ends["evaluate"].startswith("StoreError"), ends
    assert all(len(end) < 1000 and end.isprintable() for end in ends.values())


def test_an_entry_that_climbs_is_written_nowhere(store):
    climbing_entry(store)
    assert set(in_a_child(lambda: use(store, make_segmenter())).values()) == {"done"}
    assert not list(store.parent.rglob("owned"))


def test_the_name_of_an_encoder_opens_no_file(store):
    set_attr("encoder", "../../etc/passwd")(store)
    with pytest.raises(StoreError, match="cannot be loaded by that name"):
        lab.evaluate(store, Pictures(4))
