"""Unpacking archives: good ones bit by bit, and many that were made to do harm."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import stat
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from clipdiy_lab.datasets import archives, tar_members
from clipdiy_lab.datasets.archives import extract
from clipdiy_lab.errors import DatasetError, OutputError

IMAGE = random.Random(0).randbytes(50_000)
CONTENT = {
    "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg": IMAGE,
    "VOCdevkit/VOC2012/ImageSets/val.txt": b"2007_000033\n",
    "VOCdevkit/VOC2012/empty": b"",
    "VOCdevkit/block": b"x" * 512,
    "VOCdevkit/" + "long" * 30 + "/Zürich .png": b"a name longer than the 100 bytes of a plain tar header",
}


def tar_bytes(*members: tuple[tarfile.TarInfo | str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of (header or name, content); the size in a header of one's own is left as it is."""
    out = io.BytesIO()
    for header, content in members:
        if isinstance(header, str):
            header = tarfile.TarInfo(header)
            header.size = len(content)
        out.write(header.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512))
    return out.getvalue() + bytes(1024)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, size
    return header


def extension(kind: bytes, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return entry("extension", kind, size=len(data)), data


def pax(**fields: str) -> tuple[tarfile.TarInfo, bytes]:
    lines = b""
    for key, value in fields.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        length = next(n for n in range(len(body), len(body) + 9) if len(str(n)) + len(body) == n)
        lines += str(length).encode() + body
    return extension(b"x", lines)


def with_checksum(header: bytes) -> bytes:
    header = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def zip_bytes(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as book:
        for name, content in members:
            book.writestr(name, content)
    return out.getvalue()


def zip_entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def patched(data: bytes, signature: bytes, offset: int, form: str, *values: int, which: int = 0) -> bytes:
    """A zip, one of whose headers (the `which`-th with that signature) has other values at `offset`."""
    start = -1
    for _ in range(which + 1):
        start = data.index(signature, start + 1)
    changed = bytearray(data)
    struct.pack_into("<" + form, changed, start + offset, *values)
    return bytes(changed)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def both(data: bytes, form: str, value: int, local: int, central: int) -> bytes:
    return patched(patched(data, LOCAL, local, form, value), CENTRAL, central, form, value)


def snapshot(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below `root`: mode, and content or target of a link."""
    found = {}
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(base, name)
            mode = path.lstat().st_mode
            content = os.readlink(path) if stat.S_ISLNK(mode) else path.read_bytes() if path.is_file() else ""
            found[str(path.relative_to(root))] = (mode, content)
    return found


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with a precious file beside the one that is unpacked into; files are read in many pieces."""
    monkeypatch.setattr(tar_members, "CHUNK", 4096)
    (tmp_path / "data").mkdir()
    (tmp_path / "precious").write_text("do not touch")
    (tmp_path / "data/precious").write_text("do not touch either")
    return tmp_path


def refused(place: Path, data: bytes, message: str) -> None:
    """Unpacking `data` raises, and changes nothing anywhere."""
    archive = place / "archive"
    archive.write_bytes(data)
    before = snapshot(place)
    with pytest.raises(DatasetError, match=message) as caught:
        extract(archive, place / "data/voc")
    assert str(archive) in str(caught.value)
    assert str(caught.value)[0] in "A/"
    assert snapshot(place) == before


# --- good archives ------------------------------------------------------------------------------------------------


def good_tar(mode: str, form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{mode}", format=form) as book:
        book.addfile(entry(".", tarfile.DIRTYPE))
        book.addfile(entry("./VOCdevkit", tarfile.DIRTYPE))
        for name, content in CONTENT.items():
            header = entry(f"./{name}", size=len(content))
            header.mode = 0o7777
            book.addfile(header, io.BytesIO(content))
    return out.getvalue()


def good_zip(method: int) -> bytes:
    return zip_bytes(("VOCdevkit/", b""), *CONTENT.items(), method=method)


def assert_good(root: Path) -> None:
    files = {name: path for name in snapshot(root) if (path := root / name).is_file()}
    assert {name: path.read_bytes() for name, path in files.items()} == CONTENT
    umask = os.umask(0)
    os.umask(umask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o644 & ~umask}
    assert stat.S_IMODE((root / "VOCdevkit").stat().st_mode) == 0o755 & ~umask


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz"])
def test_good_tars(place, mode, form):
    archive = place / "no_suffix"
    archive.write_bytes(good_tar(mode, form))
    extract(archive, place / "data/voc")
    assert_good(place / "data/voc")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_good_zips(place, method):
    archive = place / "no_suffix"
    archive.write_bytes(good_zip(method))
    extract(archive, place / "data/voc")
    assert_good(place / "data/voc")


def test_a_zip64_with_data_descriptors(place):
    class Pipe(io.BytesIO):
        def seek(self, *args):
            raise OSError(29, "a pipe cannot be rewound")

        tell = seek

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in CONTENT.items():
            with book.open(name, "w", force_zip64=True) as file:
                file.write(content)
    (place / "a.zip").write_bytes(out.getvalue())
    extract(place / "a.zip", place / "data/voc")
    assert_good(place / "data/voc")


def test_the_progress(place):
    archive, steps = place / "voc.tar", []
    archive.write_bytes(good_tar("", tarfile.GNU_FORMAT))
    extract(archive, place / "data/voc", progress=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1][0] > len(IMAGE)
    assert {total for _, total in steps} == {archive.stat().st_size}


def test_harmless_oddities(place):
    """A global comment as git writes it, a size only in the extension, the old way to mark folders, empty archives."""
    archive = place / "a.tar"
    comment = extension(b"g", pax(comment="e9222aa")[1])
    size = pax(size="3", path="from/pax")
    archive.write_bytes(
        tar_bytes(comment, (entry("old/", tarfile.AREGTYPE), b""), size, (entry("x"), b"abc"), ("a//./b", b"1"))
    )
    extract(archive, place / "out")
    assert set(snapshot(place / "out")) == {"old", "from", "from/pax", "a", "a/b"}
    assert (place / "out/from/pax").read_bytes() == b"abc"
    archive.write_bytes(bytes(10240))
    extract(archive, place / "empty")
    assert list((place / "empty").iterdir()) == []
    archive.write_bytes(zip_bytes())
    extract(archive, place / "empty")
    assert list((place / "empty").iterdir()) == []


# --- names that must not be followed ------------------------------------------------------------------------------

BAD_NAMES = {
    "../precious": "climbs out",
    "a/../../precious": "climbs out",
    "a/..": "climbs out",
    "..": "climbs out",
    "/tmp/precious": "absolute path",
    "//host/share": "absolute path",
    "C:/precious": "absolute path",
    "a/c:precious": "absolute path",
    "..\\precious": "backslash",
    "a\\b": "backslash",
    "new\nline": "control character",
    "escape\x1b[2J": "control character",
    "a" * 256: "too long",
    "é" * 128: "too long",
    "/".join(["a" * 200] * 11): "too long",
    "a/" * 33 + "b": "folders deep",
}


@pytest.mark.parametrize(("name", "message"), BAD_NAMES.items(), ids=[repr(name[:12]) for name in BAD_NAMES])
@pytest.mark.parametrize("kind", ["gnu", "pax", "zip"])
def test_bad_names(place, name, message, kind):
    if kind == "zip":
        refused(place, zip_bytes(("good", b"1"), (name, b"evil")), message)
    else:
        form = tarfile.GNU_FORMAT if kind == "gnu" else tarfile.PAX_FORMAT
        refused(place, tar_bytes(("good", b"1"), (name, b"evil"), form=form), message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar_bytes((entry("../x", tarfile.DIRTYPE), b"")), "climbs out"),
        (tar_bytes((entry("/x", tarfile.DIRTYPE), b"")), "absolute"),
        (tar_bytes(("", b"1")), "has no name"),
        (tar_bytes((".", b"1")), "has no name"),
        (tar_bytes(("./", b"1")), "expected a plain file or a folder|bytes of its own"),
        (tar_bytes((b"\xff".decode(errors="surrogateescape"), b"1")), "not UTF-8"),
        (tar_bytes(extension(b"L", b"a\0../precious\0"), ("x", b"1")), "control character"),
        (tar_bytes(pax(path="a\0b"), ("x", b"1")), "control character"),
        (tar_bytes(pax(path="/precious"), ("x", b"1")), "absolute"),
        (tar_bytes(pax(path="folder/"), ("x", b"1")), "expected a plain file"),
        (zip_bytes(("../x/", b"")), "climbs out"),
        (zip_bytes(("a0b", b"1")).replace(b"a0b", b"a\0b"), "control character"),
        (zip_bytes(("x", b"1")).replace(b"x", b"/"), "absolute|has no name|bytes of its own"),
    ],
)
def test_more_bad_names(place, data, message):
    refused(place, data, message)


@pytest.mark.parametrize("names", [("a/b", "a/b"), ("a/b", "./a//b"), ("a", "a/b"), ("a/b", "a"), ("a", "a/")])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_clash(place, names, kind):
    members = [(name, b"1") for name in names if not name.endswith("/")]
    folders = [name for name in names if name.endswith("/")]
    if kind == "tar":
        data = tar_bytes(*members, *((entry(name, tarfile.DIRTYPE), b"") for name in folders))
    else:
        with pytest.warns(UserWarning, match="Duplicate") if names[0] == names[1] else contextlib.nullcontext():
            data = zip_bytes(*members, *((name, b"") for name in folders))
    refused(place, data, "already exists as a file or a folder, or in another spelling")


def test_spellings_are_two_names_where_the_disk_says_so(place):
    """On a disk that confuses them the second is refused like a name that is there twice."""
    names = ["a/Image.png", "a/image.PNG", "A/one", "caf\u00e9", "cafe\u0301"]
    (place / "archive").write_bytes(tar_bytes(*((name, name.encode()) for name in names)))
    (place / "disk").mkdir()
    for name in ("image", "IMAGE", "caf\u00e9", "cafe\u0301"):
        (place / "disk" / name).touch()
    if len(list((place / "disk").iterdir())) < 4:
        refused(place, tar_bytes(*((name, b"") for name in names)), "in another spelling")
        return
    extract(place / "archive", place / "out")
    assert {name: (place / "out" / name).read_bytes() for name in names} == {name: name.encode() for name in names}


# --- things that are no plain files -------------------------------------------------------------------------------

THROUGH = ("link/precious", b"written through the link")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(entry("link", tarfile.SYMTYPE, ".."), b"")], "a symbolic link"),
        ([(entry("link", tarfile.SYMTYPE, ".."), b""), THROUGH], "a symbolic link"),
        ([(entry("link", tarfile.SYMTYPE, "harmless"), b"")], "a symbolic link"),
        ([(entry("link", tarfile.LNKTYPE, "../precious"), b"")], "a hard link"),
        ([("a", b"1"), (entry("b", tarfile.LNKTYPE, "a"), b""), ("b", b"2")], "a hard link"),
        ([extension(b"K", b"../" * 60 + b"precious\0"), (entry("link", tarfile.SYMTYPE, "x"), b"")], "symbolic link"),
        ([(entry("disk", tarfile.BLKTYPE), b"")], "a device"),
        ([(entry("null", tarfile.CHRTYPE), b"")], "a device"),
        ([(entry("pipe", tarfile.FIFOTYPE), b"")], "a named pipe"),
        ([(entry("holes", tarfile.GNUTYPE_SPARSE), b"")], "a sparse file"),
        ([pax(GNU__sparse__major="1", GNU__sparse__realsize="99999999999"), ("holes", b"1")], "a sparse file"),
        ([(entry("odd", b"Z"), b"")], "of type b'Z'"),
        ([(entry("folder", tarfile.DIRTYPE, size=512), bytes(512))], "512 bytes of its own"),
    ],
)
def test_tar_members_that_are_no_plain_files(place, members, message):
    refused(place, tar_bytes(("good", b"1"), *members), message)


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR], ids=hex
)
def test_zip_members_that_are_no_plain_files(place, kind):
    data = zip_bytes((zip_entry("link", kind | 0o777), b".."), THROUGH)
    refused(place, data, r"'link' is no plain file or folder")


def test_a_zip_folder_with_content(place):
    refused(place, zip_bytes(("folder0", b"1")).replace(b"folder0", b"folder/"), "1 bytes of its own")


# --- bombs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    monkeypatch.setattr(archives, "MAX_BYTES", 20_000)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_bombs_by_ratio(place, kind, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 16)
    zeros = bytes(4 << 20)
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(kind)
    data = pack(tar_bytes(("bomb", zeros))) if pack else zip_bytes(("bomb", zeros), method=zipfile.ZIP_DEFLATED)
    refused(place, data, rf"holds more than {65536 + 200 * len(data):,} bytes, the most for one of {len(data):,}")
    monkeypatch.setattr(archives, "MAX_RATIO", 1_000_000)
    extract(place / "archive", place / "fine")
    assert (place / "fine/bomb").read_bytes() == zeros


def test_a_bomb_in_what_follows_the_end_mark(place, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 16)
    refused(place, gzip.compress(tar_bytes(("a", b"1")) + bytes(4 << 20)), "holds more than")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(f"file{n}", b"") for n in range(6)], "more than 5 files and folders"),
        ([("a/b/c/d/e/f", b"")], "more than 5 files and folders"),
        ([("big", bytes(20_001))], "claims 20,001 bytes, allowed are 0 to 20,000"),
        ([(f"file{n}", bytes(7000)) for n in range(3)], "holds more than 20,000 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs_by_count_and_size(place, small, members, message, kind):
    refused(place, tar_bytes(*members) if kind == "tar" else zip_bytes(*members), message)


def test_entries_that_lie_over_each_other(place):
    data = zip_bytes(("a", b"x" * 100), ("b", b"x" * 100))
    data = patched(data, CENTRAL, 42, "I", 0, which=1)
    refused(place, data, "overlaps the bytes of 'a'")


def test_memory_stays_bounded_when_an_extension_is_huge(place):
    """A header of a long name that claims gigabytes, which the tar reader of the standard library would read."""
    refused(place, tar_bytes((entry("x", b"L", size=1 << 32), b"a" * 512)), "header of 4,294,967,296 bytes")
    refused(place, tar_bytes((entry("x", b"x", size=(1 << 20) + 1), b"a" * 512)), "header of 1,048,577 bytes")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, b"L", b"x", tarfile.DIRTYPE])
def test_negative_sizes_end_at_once(place, kind):
    """They send the tar reader of older standard libraries round for ever."""
    start = time.monotonic()
    data = tar_bytes((entry("x", kind, size=-512), b""))
    refused(place, data, "-512 bytes")
    assert time.monotonic() - start < 2


def test_a_header_that_keeps_the_standard_library_busy_for_hours_ends_at_once(place):
    """A megabyte of digits, in which Python before 3.11.10 and 3.12.6 looks for numbers from each of them on."""
    refused(place, tar_bytes(extension(b"x", b"1" * (1 << 20)), ("a", b"1")), "malformed pax header")


# --- headers that lie, damage, encryption -------------------------------------------------------------------------

STORED = zip_bytes(("a", b"0123456789" * 10))
DEFLATED = zip_bytes(("a", os.urandom(50) * 40), method=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (patched(STORED, CENTRAL, 24, "I", 50), "CRC"),  # smaller than it is
        (patched(DEFLATED, CENTRAL, 24, "I", 100), "CRC"),
        (patched(DEFLATED, CENTRAL, 24, "I", 1 << 30), "has only 2,000"),
        (patched(STORED, CENTRAL, 24, "I", 5000), "cut short or damaged|only 100"),
        (patched(STORED, CENTRAL, 24, "I", 0), "CRC"),
        (patched(STORED, CENTRAL, 16, "I", 0xDEADBEEF), "Bad CRC-32"),
        (patched(DEFLATED, CENTRAL, 16, "I", 0), "Bad CRC-32"),
        (both(STORED, "H", 1, 6, 8), "is encrypted"),
        (both(STORED, "H", 0x41, 6, 8), "is encrypted"),
        (both(STORED, "H", 0x2000, 6, 8), "is encrypted"),
        (both(STORED, "H", zipfile.ZIP_BZIP2, 8, 10), r"compressed by method 12, expected 0 \(stored\) or 8"),
        (both(STORED, "H", 99, 8, 10), "compressed by method 99"),
        (patched(STORED, LOCAL, 30, "B", ord("b")), "name in directory .* differ"),
        (patched(STORED, CENTRAL, 42, "I", 1 << 30), "cut short or damaged"),
        (patched(STORED, CENTRAL, 24, "I", 0xFFFFFFFF), "cut short or damaged|claims"),  # zip64 without its field
        (patched(STORED, END, 12, "I", 0xFFFFFF00), "cut short or damaged"),
        (patched(STORED, END, 16, "I", 5), "cut short or damaged"),
        (patched(STORED, CENTRAL, 6, "H", 999), "cut short or damaged"),
    ],
)
def test_zips_whose_headers_lie(place, data, message):
    refused(place, data, message)


def test_a_zip64_field_that_claims_a_monster(place):
    field = struct.pack("<HHQ", 1, 8, 1 << 62)
    info = zipfile.ZipInfo("a")
    info.extra = struct.pack("<HHQ", 9999, 8, 0)  # room for the field, under a number that nothing looks at
    data = zip_bytes((info, b"1"))
    at = data.rindex(info.extra)
    data = data[:at] + field + data[at + len(field) :]
    refused(place, patched(data, CENTRAL, 24, "I", 0xFFFFFFFF), r"claims 4,611,686,018,427,387,904 bytes")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_that_cannot_be_bounded(place, method):
    refused(place, zip_bytes(("a", bytes(1000)), method=method), "compressed by method")


@pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("keep", [0.3, 0.8, 0.99])
def test_truncated(place, mode, keep):
    data = good_zip(zipfile.ZIP_DEFLATED) if mode == "zip" else good_tar(mode, tarfile.GNU_FORMAT)
    if mode == "":
        data = data[: len(data) // 512 * 512].rstrip(b"\0")
    refused(place, data[: int(len(data) * keep)], "is cut short or damaged .*fetch it again")


def test_a_tar_cut_between_two_members(place):
    refused(place, tar_bytes(("a", b"1"), ("b", b"2"))[:1024], "cut short.*the end is missing")


def test_a_compressed_tar_cut_in_its_padding(place):
    refused(place, gzip.compress(tar_bytes(("a", b"1")))[:-4], "cut short")


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz", "zip"])
def test_flipped_bytes(place, mode):
    data = bytearray(good_zip(zipfile.ZIP_DEFLATED) if mode == "zip" else good_tar(mode, tarfile.GNU_FORMAT))
    data[len(data) // 2] ^= 0xFF
    refused(place, bytes(data), "cut short or damaged|has only")


LIE = tar_bytes((entry("a", size=5000), b"1"))
DAMAGED = tar_bytes(("a", b"1"), ("b", b"2"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LIE, "the end is missing"),
        (tar_bytes((entry("a", size=0), b"1"), ("b", b"2")), "cut short or damaged"),  # smaller than it is
        (DAMAGED[:1100] + b"\xff" + DAMAGED[1101:], "bad checksum"),  # tarfile takes this for the end
        (tar_bytes(pax(path="x")), "header without its member"),
        (tar_bytes(extension(b"x", b"999 path=x\n"), ("a", b"1")), "malformed pax header"),
        (tar_bytes(extension(b"x", b"0 path=x\n"), ("a", b"1")), "malformed pax header"),
        (tar_bytes(extension(b"x", b"8 pathx\n"), ("a", b"1")), "malformed pax header"),
        (tar_bytes(extension(b"x", b"nonsense"), ("a", b"1")), "malformed pax header"),
        (tar_bytes(pax(size="many"), ("a", b"1")), "cut short or damaged"),
        (tar_bytes(pax(size="-512"), ("a", b"1")), "claims -512 bytes"),
        (tar_bytes(pax(size="9" * 30), ("a", b"1")), "claims 999"),
        (tar_bytes(extension(b"g", pax(path="/x")[1])), "of all members at once"),
    ],
)
def test_tars_whose_headers_lie(place, data, message):
    refused(place, data, message)


def test_a_header_with_a_base_256_monster(place):
    header = bytearray(entry("a").tobuf())
    header[124:136] = b"\x80" + b"\x7f" * 11
    refused(place, with_checksum(bytes(header)) + bytes(2048), "claims [0-9,]{20,} bytes")


# --- what is no archive, places, interrupts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><p>Please log in", "is a web page .*login"),
        (b"Rar!\x1a\x07\x01\0" + bytes(600), "begins with b'Rar!.*expected a tar"),
        (b"just text " * 100, "expected a tar"),
    ],
)
def test_what_is_no_archive(place, data, message):
    refused(place, data, message)


def test_a_missing_archive(place):
    with pytest.raises(DatasetError, match=r"There is no archive .*fetch it first"):
        extract(place / "absent.tar", place / "out")


def test_a_folder_that_is_taken_is_left_alone(place):
    (place / "a.tar").write_bytes(tar_bytes(("precious", b"1")))
    before = snapshot(place)
    with pytest.raises(OutputError, match="exists and is not empty"):
        extract(place / "a.tar", place / "data")
    with pytest.raises(OutputError, match="not an existing folder"):
        extract(place / "a.tar", place / "nowhere/data")
    assert snapshot(place) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_half_written_stays(place, error):
    (place / "a.tar").write_bytes(good_tar("", tarfile.GNU_FORMAT))
    before = snapshot(place)

    def stop(done: int, total: int) -> None:
        raise error

    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError
    with pytest.raises(expected) as caught:
        extract(place / "a.tar", place / "data/voc", progress=stop)
    if expected is OutputError:
        assert "No space left on device. Nothing was left behind" in str(caught.value)
    assert snapshot(place) == before


def test_a_link_made_by_somebody_else_is_not_written_through(place, monkeypatch):
    """Even if a link appears in the folder while it is being filled."""
    real = Path.mkdir

    def plant(self: Path, *args: object, **kwargs: object) -> None:
        if self.name == "a":
            self.symlink_to(place)
        else:
            real(self, *args, **kwargs)

    (place / "archive").write_bytes(tar_bytes(("a/precious2", b"evil")))
    before = snapshot(place)
    monkeypatch.setattr(Path, "mkdir", plant)
    with pytest.raises(DatasetError, match="points outside the folder"):
        extract(place / "archive", place / "data/voc")
    assert snapshot(place) == before


@pytest.mark.parametrize(
    "members",
    [
        [("../precious2", b"evil")],
        [(entry("link", tarfile.SYMTYPE, ".."), b""), ("link/precious2", b"evil")],
    ],
)
def test_the_control_that_hostile_archives_bite(place, members):
    """A naive extraction does write outside, so that the tests above can fail."""
    (place / "naive").mkdir()
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(*members))) as book:
        book.extractall(place / "naive", filter="fully_trusted")
    assert (place / "precious2").read_bytes() == b"evil"


# --- the disk -----------------------------------------------------------------------------------------------------


def test_a_disk_that_fails_while_it_is_read_is_named(place):
    (place / "archive").symlink_to("/proc/self/mem")  # whose first bytes nobody can read
    with pytest.raises(DatasetError, match=r"Archive .* cannot be read \(Input/output error\): check the disk"):
        extract(place / "archive", place / "data/voc")


@pytest.mark.parametrize("count", [10, 1000])
def test_the_flushes_do_not_grow_with_the_files(place, monkeypatch, count):
    flushed, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (flushed.append(handle), real(handle)))
    (place / "archive").write_bytes(zip_bytes(*((f"images/{n:06}.jpg", b"image") for n in range(count))))
    extract(place / "archive", place / "data/voc")
    assert len(list((place / "data/voc/images").iterdir())) == count
    assert len(flushed) < 100


def test_as_many_files_as_coco_train_has_fit(place):
    assert archives.MAX_MEMBERS > 118_287
    assert archives.MAX_BYTES > 19_336_861_798
