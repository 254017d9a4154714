"""Files that nobody would write by accident: NetCDF and Zarr made to reach further than themselves, or never to end."""

import itertools
import json
import shutil
import struct
import zlib

import h5py
import numcodecs
import numpy as np
from h5py import h5d, h5p, h5s, h5t

SECRET = "what no file of a stranger may show"


def text_type():
    return h5py.string_dtype()


# ------------------------------------------------------------------------------------------------------------- NetCDF


def external_link(file, folder):
    file["stolen"] = h5py.ExternalLink(str(folder / "secret.nc"), "/words")


def soft_link(file, folder):
    file["again"] = h5py.SoftLink("/labels")


def dangling_link(file, folder):
    file["nowhere"] = h5py.SoftLink("/nowhere")


def loop(file, folder):
    file["scales/loop"] = file["/"]


def second_name(file, folder):
    file["again"] = file["labels"]


def external_storage(file, folder):
    file.create_dataset("stolen", (20,), "u1", external=[(str(folder / "secret.bin"), 0, 20)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((20,), "u1")
    layout[:] = h5py.VirtualSource(str(folder / "secret.nc"), "bytes", (20,))
    file.create_virtual_dataset("stolen", layout)


def plugin(file, folder):
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((10,))
    plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    h5d.create(file.id, b"strange", h5t.NATIVE_INT32, h5s.create_simple((10,)), plan)


def enormous(file, folder):
    file.create_dataset("huge", (2**40,), "u1").make_scale("huge")


def enormous_chunked(file, folder):
    file.create_dataset("huge", (2**40,), "f4", chunks=(2**20,), fillvalue=1).make_scale("huge")


def enormous_chunk(file, folder):
    file.create_dataset("huge", (1,), "u1", chunks=(2**31,), maxshape=(None,))


def many_enough(file, folder):
    for number in range(40):
        file.create_dataset(f"large{number}", (2**25,), "u1").make_scale(f"large{number}")


def inflating(file, folder):
    data = file.create_dataset("bomb", (1000,), "u1", chunks=(1000,), compression="gzip")
    data.make_scale("bomb")
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data.id.write_direct_chunk((0,), start + mebibyte * 5000)


def inflating_texts(file, folder):
    """A thousand texts of which the file holds one."""
    data = file.create_dataset("echo", (1000,), text_type(), data=["x" * 200_000, *["y"] * 999])
    data.make_scale("echo")
    start = data.id.get_offset()
    file.close()
    path = folder / "run.nc"
    content = bytearray(path.read_bytes())
    content[start : start + 16_000] = content[start : start + 16] * 1000
    path.write_bytes(content)


def large_attribute(file, folder):
    file.attrs.create("huge", np.zeros(2**22))


def many_attributes(file, folder):
    for number in range(5000):
        file.attrs[f"a{number}"] = 1


def compound_attribute(file, folder):
    file.attrs["pair"] = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])


def reference_attribute(file, folder):
    file.attrs["pointer"] = file["labels"].ref


def no_text(file, folder):
    file.attrs["encoder"] = b"\xff\xfe half"


def references(file, folder):
    file.create_dataset("pointers", (2,), h5py.ref_dtype)[0] = file["labels"].ref


def regions(file, folder):
    file.create_dataset("pointers", (1,), h5py.regionref_dtype)[0] = file["labels"].regionref[:2]


def ragged(file, folder):
    file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.int32))[0] = [1, 2]


def compound(file, folder):
    file.create_dataset("pairs", data=np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]))


def opaque(file, folder):
    file.create_dataset("opaque", data=np.zeros(2, "V7"))


def named_type(file, folder):
    file["kind"] = np.dtype("i4")


def quadruple(file, folder):
    file.create_dataset("long", data=np.zeros(2, np.longdouble))


def deep(file, folder):
    file.create_group("/".join(["g"] * 200))


def many_groups(file, folder):
    for number in range(5000):
        file.create_group(f"g{number}")


def no_dimension(file, folder):
    file.create_dataset("free", (3, 4), "f4")


def false_dimensions(file, folder):
    data = file.create_dataset("false", (3,), "f4")
    data.attrs["DIMENSION_LIST"] = np.arange(3)


def too_few_dimensions(file, folder):
    data = file.create_dataset("false", (3, 4, 5), "f4")
    pointers = np.empty(1, dtype=object)
    pointers[0] = np.array([file["y"].ref], dtype=h5py.ref_dtype)
    data.attrs.create("DIMENSION_LIST", pointers, dtype=h5py.vlen_dtype(h5py.ref_dtype))


def packed(file, folder):
    file["image"].attrs["scale_factor"] = 2.0


def masked(file, folder):
    file["labels"].attrs["_FillValue"] = np.int16(0)


def table_of_texts(file, folder):
    data = file.create_dataset("table", (3, 5000), text_type())
    data.dims[0].attach_scale(file["channel"])
    long = file.create_dataset("long", (5000,), "u1")
    long.make_scale("long")
    data.dims[1].attach_scale(long)


NETCDF = {
    work.__name__: work
    for work in (
        *(external_link, soft_link, dangling_link, loop, second_name, external_storage, virtual, plugin),
        *(enormous, enormous_chunked, enormous_chunk, many_enough, inflating, inflating_texts),
        *(large_attribute, many_attributes, compound_attribute, reference_attribute, no_text),
        *(references, regions, ragged, compound, opaque, named_type, quadruple, deep, many_groups),
        *(no_dimension, false_dimensions, too_few_dimensions, packed, masked, table_of_texts),
    )
}
"""Each adds one thing to a run that is whole."""


def plant_secrets(folder):
    """Lay out what a file may try to show."""
    (folder / "secret.bin").write_bytes(SECRET.encode())
    with h5py.File(folder / "secret.nc", "w") as file:
        file["words"] = SECRET
        file["bytes"] = np.frombuffer(SECRET.encode()[:20], "u1")


def spoil(path, work):
    """Do one of `NETCDF` to the run at a path."""
    with h5py.File(path, "r+") as file:
        work(file, path.parent)


# --------------------------------------------------------------------------------------------------------------- Zarr


def change(folder, name, **values):
    """Change fields of an array's metadata."""
    path = folder / name / "zarr.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def chunk(folder, name):
    return next(path for path in sorted((folder / name / "c").rglob("*")) if path.is_file())


def grid(*shape):
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


def raw(*codecs):
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return [little, *({"name": name, "configuration": {}} for name in codecs)]


def old_format(folder):
    """Zarr 2, whose filters may unpickle."""
    shutil.rmtree(folder)
    (folder / "labels").mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    content = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "order": "C",
        "fill_value": None,
        "compressor": None,
        "filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}],
    }
    (folder / "labels" / ".zarray").write_text(json.dumps(content))
    (folder / "labels" / "0").write_bytes(b"cos\nsystem\n(S'touch " + bytes(folder.parent / "owned") + b"'\ntR.")


def pickled(folder):
    change(folder, "labels", codecs=raw("numcodecs.pickle"))


def zarr_compressed(name):
    def work(folder):
        change(folder, "labels", codecs=raw(name))

    work.__name__ = f"codec_{name.replace('.', '_')}"
    return work


def linked_chunk(folder):
    path = chunk(folder, "labels")
    path.unlink()
    path.symlink_to(folder.parent / "secret.bin")


def linked_folder(folder):
    (folder / "around").symlink_to(folder.parent)


def linked_metadata(folder):
    (folder / "labels" / "zarr.json").unlink()
    (folder / "labels" / "zarr.json").symlink_to(folder.parent / "secret.bin")


def piped(folder):
    import os

    path = chunk(folder, "labels")
    path.unlink()
    os.mkfifo(path)


def zarr_enormous(folder):
    change(folder, "labels", shape=[2**20, 2**20], chunk_grid=grid(2**20, 2**20))
    shutil.rmtree(folder / "labels" / "c")


def zarr_many_chunks(folder):
    change(folder, "labels", shape=[2**20, 2**20], chunk_grid=grid(1, 1))


def zarr_large_chunk(folder):
    change(folder, "labels", chunk_grid=grid(2**30, 2**30))


def zarr_bomb(folder):
    zipped = numcodecs.Zstd(level=3).encode(np.zeros(2**28, "u1"))
    chunk(folder, "labels").write_bytes(zipped)


def zarr_lying_bomb(folder):
    """A frame that does not say how much it holds."""
    chunk(folder, "labels").write_bytes(b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x00\x00" * 100)


def zarr_endless(folder):
    with chunk(folder, "labels").open("wb") as file:
        file.truncate(2**40)


def short_chunk(folder):
    chunk(folder, "labels").write_bytes(numcodecs.Zstd().encode(b"\1" * 10))


def many_texts(folder):
    """Four bytes that say that four thousand million texts follow."""
    chunk(folder, "label").write_bytes(numcodecs.Zstd().encode(struct.pack("<I", 2**32 - 1)))


def long_fill(folder):
    change(folder, "label", fill_value="x" * 10_000_000, shape=[100_000], chunk_grid=grid(100_000))


def deep_json(folder):
    path = folder / "zarr.json"
    path.write_text(
        '{"zarr_format": 3, "node_type": "group", "attributes": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}"
    )


def huge_json(folder):
    with (folder / "labels" / "zarr.json").open("ab") as file:
        file.write(b" " * (2**26 + 1))


def no_json(folder):
    (folder / "labels" / "zarr.json").write_bytes(b"\xff\xfe")


def list_json(folder):
    (folder / "labels" / "zarr.json").write_text("[]")


def half_a_character(folder):
    path = folder / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"]["encoder"] = "half \ud800"
    path.write_text(json.dumps(content))


def objects(folder):
    change(folder, "labels", data_type={"name": "numpy.object", "configuration": {}})


def structured(folder):
    change(folder, "labels", data_type={"name": "structured", "configuration": {"fields": [["a", "int32"]]}})


def transformers(folder):
    change(folder, "labels", storage_transformers=[{"name": "x", "configuration": {}}])


def climbing_keys(folder):
    change(folder, "labels", chunk_key_encoding={"name": "default", "configuration": {"separator": "/../../../"}})


def negative(folder):
    change(folder, "labels", shape=[-1, 96])


def fractions(folder):
    change(folder, "labels", shape=[64.5, True])


def no_codecs(folder):
    change(folder, "labels", codecs=[])


def false_names(folder):
    change(folder, "labels", dimension_names=[1, {"a": 2}])


def single_array(folder):
    for path in list(folder.iterdir()):
        if path.name != "labels":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in list((folder / "labels").iterdir()):
        path.rename(folder / path.name)


def zarr_packed(folder):
    change(folder, "labels", attributes={"scale_factor": 2.0})


def zarr_deep(folder):
    path = folder / "/".join(["g"] * 50)
    path.mkdir(parents=True)
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')


ZARR = {
    work.__name__: work
    for work in (
        *(old_format, pickled, linked_chunk, linked_folder, linked_metadata, piped),
        *map(zarr_compressed, ("gzip", "blosc", "sharding_indexed", "numcodecs.lzma", "numcodecs.zlib")),
        *(zarr_enormous, zarr_many_chunks, zarr_large_chunk, zarr_bomb, zarr_lying_bomb, zarr_endless, short_chunk),
        *(many_texts, long_fill, deep_json, huge_json, no_json, list_json, half_a_character),
        *(objects, structured, transformers, climbing_keys, negative, fractions, no_codecs, false_names),
        *(single_array, zarr_packed, zarr_deep),
    )
}
"""Each changes one thing of a run that is whole."""


# ---------------------------------------------------------------------------------------------------------- mutations


def circle(content):
    """A run in whose first heap an object has no length: HDF5 (2.0) looks for the next one for ever."""
    place = content.index(b"GCOL") + 16
    for _ in range(5):
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    return content[:place] + bytes(16) + content[place + 16 :]


def mutants(content, seeds, meta):
    """Yield a file with a few bytes changed for each seed, among the places `meta`; a seed always gives the same."""
    import random

    for seed in seeds:
        dice, changed = random.Random(seed), bytearray(content)
        for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
            place = int(meta[dice.randrange(len(meta))])
            width = dice.choice([1, 2, 4, 8])
            value = dice.choice([0, 1, 2 ** (8 * width) - 1, dice.getrandbits(8 * width)])
            changed[place : place + width] = value.to_bytes(width, "little")
        yield bytes(changed[: len(content)])


def metadata_of(path):
    """Places of a NetCDF file that hold no values of arrays."""
    with h5py.File(path) as file:
        arrays = []
        file.visititems(lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
        spans = [(item.id.get_offset(), item.id.get_storage_size()) for item in arrays]
    taken = itertools.chain.from_iterable(range(start, start + size) for start, size in spans if start is not None)
    free = np.ones(path.stat().st_size, bool)
    free[list(taken)] = False
    return np.flatnonzero(free)
