"""Fetching large files, from a server on this machine that behaves as badly as real ones."""

import email.utils
import hashlib
import io
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from serving import GOOD, chunked, fail, serve, step

from clipdiy_lab.datasets import fetch
from clipdiy_lab.datasets.fetch import download
from clipdiy_lab.errors import DatasetError, OutputError

OTHER = random.Random(2).randbytes(20_000)
BIG = random.Random(3).randbytes(2 << 20)
HASHES = {name: hashlib.new(name, GOOD).hexdigest() for name in ("md5", "sha1", "sha256")}
SHA = {"sha256": HASHES["sha256"]}
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch) -> None:
    monkeypatch.setattr(fetch, "_CHUNK", 1000)
    monkeypatch.delenv("CLIPDIY_LAB_OFFLINE", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "voc.tar"


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def get(slept, target):
    """`download` into the target without real waiting."""
    return lambda *urls, **options: download(urls, target, **{"sleep": slept.append, "timeout": 5.0, **options})


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} if target.parent.exists() else set()


def begin(target: Path, data: bytes, **note) -> None:
    """What an interrupted run leaves."""
    target.parent.mkdir(exist_ok=True)
    target.with_name("voc.tar.part").write_bytes(data)
    target.with_name("voc.tar.part.json").write_text(json.dumps(note))


# --- the good case ------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once(server, get, target):
    url = server.url()
    assert get(url, bytes=len(GOOD), hashes={name: digest.upper() for name, digest in HASHES.items()}) == target
    assert target.read_bytes() == GOOD
    assert names(target) == {"voc.tar"}
    assert get(url, hashes=HASHES) == target
    assert server.paths() == ["/good"]
    assert server.asked[0][1]["User-Agent"] == fetch.USER_AGENT


@pytest.mark.parametrize("how", [serve, chunked])
def test_without_size_and_hash(server, get, target, how):
    assert get(server.url("/x", how)).read_bytes() == GOOD
    assert names(target) == {"voc.tar"}


def test_an_empty_file(server, get):
    def empty(to):
        fail(to, 200)

    assert get(server.url("/x", empty), bytes=0).read_bytes() == b""


def test_the_progress_bar(server, get, capsys):
    get(server.url(), progress=True)
    assert "voc.tar" in capsys.readouterr().err
    get(server.url(), progress=False)
    assert capsys.readouterr().err == ""


def test_redirects(server, get, slept):
    moved = step(fail, status=302, Location="/good")
    assert get(server.url("/old", moved), hashes=SHA).read_bytes() == GOOD
    assert server.paths() == ["/old", "/good"]


@pytest.mark.parametrize("where", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/loop"])
def test_redirects_that_are_not_followed(server, get, target, slept, where):
    with pytest.raises(DatasetError, match=r"redirects to|answers 302"):
        get(server.url("/loop", step(fail, status=302, Location=where)))
    assert slept == []
    assert names(target) == set()


def test_files_of_this_machine(server, get, target, tmp_path, monkeypatch):
    source = tmp_path / "a file.tar"
    source.write_bytes(GOOD)
    monkeypatch.setenv("CLIPDIY_LAB_OFFLINE", "1")
    missing = (tmp_path / "missing").as_uri()
    assert get(missing, source.as_uri(), server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.asked == []
    assert source.read_bytes() == GOOD
    target.unlink()
    source.write_bytes(OTHER)
    with pytest.raises(
        DatasetError, match=rf"missing: cannot be read .*a%20file.tar: has sha256 \w+, expected {SHA['sha256']}"
    ):
        get(missing, source.as_uri(), hashes=SHA)
    assert names(target) == set()


# --- resuming -----------------------------------------------------------------------------------------------------


def test_a_cut_connection_is_continued(server, get, target, slept):
    url = server.url("/x", step(serve, cut=6000), step(serve, cut=7000), serve)
    assert get(url).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-", "bytes=13000-"]
    assert [headers.get("If-Range") for _, headers in server.asked] == [None, '"one"', '"one"']
    assert slept == [1.0, 1.0]
    assert names(target) == {"voc.tar"}


def test_a_last_modified_date_will_do(server, get):
    plan = [step(serve, etag="", date=DATE, cut=6000), step(serve, etag="", date=DATE)]
    assert get(server.url("/x", *plan)).read_bytes() == GOOD
    assert server.asked[1][1]["If-Range"] == DATE


def test_a_weak_etag_is_not_relied_upon(server, get):
    plan = [step(serve, etag='W/"weak"', cut=6000), serve]
    assert get(server.url("/x", *plan)).read_bytes() == GOOD
    assert server.ranges() == [None, None]


def test_a_connection_that_stalls_is_given_up(server, get):
    assert get(server.url("/x", step(serve, stall=6000), serve), timeout=0.3).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]


def test_a_cut_chunked_answer_begins_anew(server, get):
    assert get(server.url("/x", step(chunked, cut=True), chunked)).read_bytes() == GOOD
    assert server.ranges() == [None, None]


@pytest.mark.parametrize("polite", [True, False], ids=["polite", "ignoring If-Range"])
def test_a_changed_etag_begins_anew(server, get, polite):
    new = step(serve, data=OTHER, etag='"two"', polite=polite)
    assert get(server.url("/x", step(serve, cut=6000), new)).read_bytes() == OTHER
    assert server.ranges()[1] == "bytes=6000-"


def test_a_changed_length_begins_anew(server, get):
    longer = step(serve, data=OTHER + b"more", etag='"one"')
    assert get(server.url("/x", step(serve, cut=6000), longer)).read_bytes() == OTHER + b"more"


def test_a_server_without_ranges_begins_anew(server, get):
    plan = [step(serve, cut=6000), step(serve, ranges=False)]
    assert get(server.url("/x", *plan), hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]


def test_a_wrong_range_is_not_appended(server, get):
    def shifted(to):
        to.headers.replace_header("Range", "bytes=5000-")
        serve(to)

    assert get(server.url("/x", step(serve, cut=6000), shifted, serve), hashes=SHA).read_bytes() == GOOD


def test_a_range_beyond_the_end(server, get, target):
    begin(target, OTHER + b"too long", url=server.url(), validator='"one"', total=30_000)
    assert get(server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == [f"bytes={len(OTHER) + 8}-", None]


def test_what_an_earlier_run_began_wrongly_is_fetched_anew(server, get, target):
    begin(target, OTHER[:6000], url=server.url(), validator='"one"', total=len(GOOD))
    assert get(server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == ["bytes=6000-", None]


def test_a_complete_part_only_needs_the_check(server, get, target):
    begin(target, GOOD, url=server.url(), validator='"one"', total=len(GOOD))
    assert get(server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.asked == []


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 3, "more": 4}', "null"])
def test_a_damaged_note_begins_anew(server, get, target, note):
    begin(target, OTHER[:6000])
    target.with_name("voc.tar.part.json").write_text(note)
    assert get(server.url()).read_bytes() == GOOD
    assert server.ranges() == [None]


def test_an_interrupt_keeps_the_part(server, get, target, monkeypatch):
    real, left = fetch._read, list(range(6))

    def interrupted(stream):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(stream)

    monkeypatch.setattr(fetch, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(server.url(), hashes=SHA)
    assert names(target) == {"voc.tar.part", "voc.tar.part.json"}
    monkeypatch.setattr(fetch, "_read", real)
    assert get(server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]
    assert names(target) == {"voc.tar"}


def test_a_killed_process_is_continued(server, get, target):
    """It also held the lock, which must not outlive it."""
    url = server.url("/x", step(serve, data=BIG, stall=1 << 20), step(serve, data=BIG))
    code = "import sys; from clipdiy_lab.datasets.fetch import download; download([sys.argv[1]], sys.argv[2])"
    child = subprocess.Popen([sys.executable, "-c", code, url, str(target)])
    part = target.with_name("voc.tar.part")
    limit = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 1 << 20):
        assert time.monotonic() < limit
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert names(target) == {"voc.tar.part", "voc.tar.part.json", "voc.tar.lock"}
    assert get(url, hashes={"sha256": hashlib.sha256(BIG).hexdigest()}).read_bytes() == BIG
    assert server.ranges() == [None, f"bytes={1 << 20}-"]
    assert names(target) == {"voc.tar"}


def test_two_at_once_fetch_one_file_once(server, get, target):
    url = server.url("/x", step(serve, stall=6000), serve)
    got = []
    threads = [threading.Thread(target=lambda: got.append(get(url, hashes=SHA).read_bytes())) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert server.paths() == ["/x"]
    server.go.set()
    for thread in threads:
        thread.join()
    assert got == [GOOD] * 3
    assert server.ranges() == [None, "bytes=6000-"]
    assert names(target) == {"voc.tar"}


def test_a_lock_that_was_just_removed_means_nothing(server, get, target, monkeypatch):
    """The process before may remove the lock file between our opening and our locking it."""
    real, lock, seen = fetch.fcntl.flock, target.with_name("voc.tar.lock"), []

    def removed_under_our_hands(file, how):
        real(file, how)
        if not seen:
            lock.unlink()
        seen.append(lock.exists())

    monkeypatch.setattr(fetch.fcntl, "flock", removed_under_our_hands)
    assert get(server.url()).read_bytes() == GOOD
    assert seen == [False, True]


def test_a_disk_without_locks_still_works(server, get, target, monkeypatch, caplog):
    def no_locks(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fetch.fcntl, "flock", no_locks)
    assert get(server.url()).read_bytes() == GOOD
    assert "let no other process fetch the same file" in caplog.text


# --- the disk -----------------------------------------------------------------------------------------------------


class FullAfter(io.FileIO):
    """A file on a disk that is full at 6,000 bytes."""

    def write(self, data):
        room = 6000 - self.seek(0, io.SEEK_END)
        super().write(data[:room])
        if room < len(data):
            raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_the_part(server, get, target, monkeypatch):
    real = Path.open

    def opened(self, mode="r", *args, **kwargs):
        full = self.name.endswith(".part") and mode == "ab"
        return FullAfter(self, "ab") if full else real(self, mode, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        with pytest.raises(OutputError, match=r"No space left on device\). 6,000 bytes are kept in .*Free the disk"):
            get(server.url(), hashes=SHA)
    assert names(target) == {"voc.tar.part", "voc.tar.part.json"}
    assert get(server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]


def test_too_little_room_is_said_before_anything_is_stored(server, get, target, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**6, 10**6 - 15_000, 15_000)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"needs 20,000 more bytes, but only 15,000 are free"):
        get(server.url(), bytes=len(GOOD))
    assert names(target) == set()
    begin(target, GOOD[:6000], url=server.url(), validator='"one"', total=len(GOOD))
    assert get(server.url(), bytes=len(GOOD)).read_bytes() == GOOD


def test_places_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Could not write .*choose another place"):
        download([server.url()], tmp_path / "file" / "voc.tar")
    with pytest.raises(OutputError, match="is a folder"):
        download([server.url()], tmp_path)
    assert server.asked == []


# --- servers that fail, mirrors -----------------------------------------------------------------------------------


def test_failures_are_retried_with_growing_pauses(server, get, target, slept):
    with pytest.raises(DatasetError, match=r"/x: answers 503 .*because it failed 4 times.*put the file at .*voc.tar"):
        get(server.url("/x", fail), retries=3)
    assert slept == [1.0, 2.0, 4.0]
    assert len(server.asked) == 4
    assert names(target) == set()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures(server, get, slept, status):
    assert get(server.url("/x", step(fail, status=status), serve)).read_bytes() == GOOD
    assert slept == [1.0]


def test_retry_after(server, get, slept):
    date = email.utils.formatdate(time.time() + 50, usegmt=True)
    asked = ["7", date, "nonsense", email.utils.formatdate(0, usegmt=True)]
    get(server.url("/x", *(step(fail, status=429, Retry_After=value) for value in asked), serve))
    assert slept[0] == 7.0
    assert 45 < slept[1] < 51
    assert slept[2:] == [4.0, 0.0]


def test_a_server_that_wants_too_much_patience_is_left(server, get, target, slept):
    busy = server.url("/busy", step(fail, status=429, Retry_After="3600"))
    with pytest.raises(DatasetError, match=r"answers 429 .*it wants 3600 s of patience"):
        get(busy)
    assert get(busy, server.url()).read_bytes() == GOOD
    assert slept == []


def test_a_server_cannot_hold_us_for_ever(server, get, slept):
    """New bytes excuse a failure, but only bytes that were never reached before."""
    endless = step(serve, etag="", cut=6000)
    with pytest.raises(DatasetError, match="ended at 6,000 of 20,000 bytes"):
        get(server.url("/x", endless), retries=3)
    assert len(server.asked) == 4


def test_slow_progress_is_not_given_up(server, get, slept):
    plan = [step(serve, cut=1500)] * 13 + [serve]
    assert get(server.url("/x", *plan), retries=1).read_bytes() == GOOD
    assert set(slept) == {1.0}


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_lasting_failures_go_to_the_next_mirror_at_once(server, get, slept, status):
    assert get(server.url("/x", step(fail, status=status)), server.url()).read_bytes() == GOOD
    assert server.paths() == ["/x", "/good"]
    assert slept == []


def test_a_mirror_that_is_down(server, get, slept):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        down = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        assert get(down, server.url(), retries=2).read_bytes() == GOOD
    assert slept == [1.0, 2.0]


def test_a_wrong_hash_goes_to_the_next_mirror(server, get, target):
    wrong = step(serve, data=OTHER)
    assert get(server.url("/a", wrong), server.url("/b", wrong), server.url(), hashes=HASHES).read_bytes() == GOOD
    assert server.paths() == ["/a", "/b", "/good"]
    assert server.ranges() == [None] * 3
    assert names(target) == {"voc.tar"}


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
def test_a_wrong_hash_everywhere(server, get, target, name):
    url, got = server.url("/x", step(serve, data=OTHER)), hashlib.new(name, OTHER).hexdigest()
    with pytest.raises(
        DatasetError, match=rf"Could not fetch voc.tar. {url}: has {name} {got}, expected {HASHES[name]}"
    ):
        get(url, hashes={name: HASHES[name]})
    assert names(target) == set()


def test_all_hashes_are_checked(server, get):
    with pytest.raises(DatasetError, match=f"has md5 .*, expected {'0' * 32}"):
        get(server.url(), hashes={**HASHES, "md5": "0" * 32})


def test_a_mirror_continues_only_where_a_hash_can_tell(server, get, target):
    first, second = server.url("/a", step(serve, cut=6000)), server.url("/b", step(serve, etag='"another"'))
    assert get(first, second, hashes=SHA, retries=0).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]
    assert "If-Range" not in server.asked[1][1]
    target.unlink()
    assert get(first, second, retries=0).read_bytes() == GOOD
    assert server.ranges()[2:] == [None, None]


def test_the_mirror_that_was_begun_comes_first(server, get, target):
    begin(target, GOOD[:6000], url=server.url("/b"), validator='"one"', total=len(GOOD))
    assert get(server.url("/a"), server.url("/b")).read_bytes() == GOOD
    assert server.asked[0][0] == "/b"
    assert server.ranges() == ["bytes=6000-"]


def test_a_part_survives_a_mirror_that_offers_another_file(server, get, target):
    begin(target, GOOD[:6000], url=server.url("/a"), validator='"one"', total=len(GOOD))
    page = step(serve, data=b"<!DOCTYPE html>Please log in", etag="")
    with pytest.raises(
        DatasetError, match=r"offers 28 bytes, expected 20,000\. 6,000 bytes are kept in .*voc.tar.part"
    ):
        get(server.url("/a", page), bytes=len(GOOD))
    assert target.with_name("voc.tar.part").read_bytes() == GOOD[:6000]


@pytest.mark.parametrize(("claim", "message"), [(19_999, "offers 19,999 bytes"), (20_001, "offers 20,001 bytes")])
def test_a_wrong_length_is_seen_at_once(server, get, claim, message):
    with pytest.raises(DatasetError, match=message):
        get(server.url("/x", step(serve, claim=claim)), bytes=len(GOOD))


def test_wrong_lengths_without_a_known_size(server, get, target):
    with pytest.raises(DatasetError, match=r"ended at 20,000 of 20,001 bytes|answers 416"):
        get(server.url("/long", step(serve, claim=20_001, etag="")), retries=2)
    with pytest.raises(DatasetError, match="has sha256"):
        get(server.url("/short", step(serve, claim=19_999)), hashes=SHA)


def test_an_endless_answer_stops_at_the_known_size(server, get, target):
    with pytest.raises(DatasetError, match="gives more than the 5,000 bytes expected"):
        get(server.url("/x", chunked), bytes=5000)
    assert names(target) == set()


# --- what is already there, offline, senseless requests -----------------------------------------------------------


def test_another_file_in_its_place_is_left_alone(server, get, target):
    target.parent.mkdir()
    target.write_bytes(OTHER)
    with pytest.raises(DatasetError, match=r"already there but has sha256 .*, expected .*Delete it or move it away"):
        get(server.url(), hashes=SHA)
    with pytest.raises(DatasetError, match="already there but has 20,000 bytes, expected 5"):
        get(server.url(), bytes=5)
    assert target.read_bytes() == OTHER
    assert server.asked == []


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline(server, get, target, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("CLIPDIY_LAB_OFFLINE", "1")
    offline = how == "argument"
    with pytest.raises(DatasetError, match=r"voc.tar is not there, and offline mode forbids .*put it there yourself"):
        get(server.url(), offline=offline)
    target.parent.mkdir()
    target.write_bytes(GOOD)
    assert get(server.url(), hashes=SHA, offline=offline) == target
    assert server.asked == []


@pytest.mark.parametrize(
    "urls", [[], ["ftp://host/x"], ["data:,x"], ["http://"], ["x.tar"], ["file://host/x"], ["http://h/x", "gopher://h"]]
)
def test_senseless_urls(target, urls):
    with pytest.raises(
        DatasetError, match=r"Cannot fetch voc.tar from .*expected at least one URL of the form http://"
    ):
        download(urls, target)


@pytest.mark.parametrize("hashes", [{"sha256": "12"}, {"md5": "g" * 32}, {"crc32": "00000000"}, {"": ""}])
def test_senseless_hashes(server, get, hashes):
    with pytest.raises(DatasetError, match=r"expected the hexadecimal md5 \(32 digits\)"):
        get(server.url(), hashes=hashes)
    assert server.asked == []
