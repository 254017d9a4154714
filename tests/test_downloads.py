"""Fetching large files, from a server on this machine that behaves as badly as real ones."""

import contextlib
import hashlib
import json
import logging
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from serving import GOOD, chunked, drip, fail, running, serve, step

from clipdiy_lab import downloads, files, web
from clipdiy_lab.downloads import download
from clipdiy_lab.errors import DownloadError, OutputError

OTHER = random.Random(2).randbytes(20_000)
BIG = random.Random(3).randbytes(2 << 20)
HASHES = {name: hashlib.new(name, GOOD).hexdigest() for name in ("md5", "sha1", "sha256")}
SHA = {"sha256": HASHES["sha256"]}
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch) -> None:
    monkeypatch.setattr(web, "CHUNK", 1000)
    monkeypatch.setattr(downloads, "CHUNK", 1000)
    monkeypatch.delenv("CLIPDIY_LAB_OFFLINE", raising=False)
    monkeypatch.delenv("CLIPDIY_LAB_MAX_DOWNLOAD", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "voc.tar"


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """The pauses between attempts, which are not really made."""
    pauses: list[float] = []
    monkeypatch.setattr(downloads, "_pause", pauses.append)
    return pauses


@pytest.fixture
def get(slept, target, monkeypatch):
    """`download` into the target without real waiting."""

    def get(*urls, retries=5, **options):
        monkeypatch.setattr(downloads, "RETRIES", retries)
        return download(urls, target, **options)

    return get


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} if target.parent.exists() else set()


def begin(target: Path, data: bytes, url: str = "", validator: str = "", total: int | None = None) -> None:
    """What an interrupted run leaves."""
    target.parent.mkdir(exist_ok=True)
    target.with_name("voc.tar.part").write_bytes(data)
    target.with_name("voc.tar.part.json").write_text(json.dumps([url, validator, total]))


# --- the good case ------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once(server, get, target):
    url = server.url()
    assert get(url, size=len(GOOD), hashes={name: digest.upper() for name, digest in HASHES.items()}) == target
    assert target.read_bytes() == GOOD
    assert names(target) == {"voc.tar"}
    assert get(url, hashes=HASHES) == target
    assert server.paths() == ["/good"]
    assert server.asked[0][1]["User-Agent"] == web.USER_AGENT


@pytest.mark.parametrize("how", [serve, chunked])
def test_without_size_and_hash(server, get, target, how):
    assert get(server.url("/x", how)).read_bytes() == GOOD
    assert names(target) == {"voc.tar"}


def test_an_empty_file(server, get):
    def empty(to):
        fail(to, 200)

    assert get(server.url("/x", empty), size=0).read_bytes() == b""


def test_the_progress_bar(server, get, capsys):
    get(server.url(), progress=True)
    assert "voc.tar" in capsys.readouterr().err
    get(server.url(), progress=False)
    assert capsys.readouterr().err == ""


def test_redirects(server, get, slept):
    moved = step(fail, status=302, Location="/good")
    assert get(server.url("/old", moved), hashes=SHA).read_bytes() == GOOD
    assert server.paths() == ["/old", "/good"]


@pytest.mark.parametrize("where", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "/loop"])
def test_redirects_that_are_not_followed(server, get, target, where):
    with pytest.raises(DownloadError, match=r"answers 302|cannot be asked .*unknown url type: "):
        get(server.url("/loop", step(fail, status=302, Location=where)))
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


def test_a_connection_that_stalls_is_given_up(server, get, monkeypatch):
    monkeypatch.setattr(web, "WINDOW_SECONDS", 0.2)
    assert get(server.url("/x", step(serve, stall=6000), serve)).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]


def test_what_nothing_can_continue_is_not_kept(server, get, target):
    """Without a hash, an ETag or a date nobody can tell whether the rest belongs to it."""
    with pytest.raises(DownloadError, match="ended the connection at 6,000 of 20,000 bytes") as caught:
        get(server.url("/x", step(serve, etag="", cut=6000)))
    assert "kept" not in str(caught.value)
    assert names(target) == set()


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
        to.headers.replace_header("Range", "limit=5000-")
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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_process_is_continued(server, target, how):
    """It also held the lock, which must not outlive it."""
    url = server.url("/x", step(serve, data=BIG, stall=1 << 20), step(serve, data=BIG))
    code = "import sys; from pathlib import Path; from clipdiy_lab.downloads import download as get"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}; get([sys.argv[1]], Path(sys.argv[2]))", url, str(target)],
        stderr=subprocess.DEVNULL,
    )
    part = target.with_name("voc.tar.part")
    limit = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 1 << 20):
        assert time.monotonic() < limit
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(how)
    child.wait()
    kept = {"voc.tar.part", "voc.tar.part.json"}
    assert names(target) == (kept if how == signal.SIGINT else kept | {"voc.tar.lock"})
    assert download([url], target, hashes={"sha256": hashlib.sha256(BIG).hexdigest()}).read_bytes() == BIG
    assert server.ranges() == [None, f"bytes={1 << 20}-"]
    assert names(target) == {"voc.tar"}


def test_what_a_process_left_that_was_killed_at_the_very_end(server, get, target):
    get(server.url())
    for left in ("voc.tar.part.json", "voc.tar.lock"):
        target.with_name(left).write_text("")
        get(server.url(), hashes=SHA)
        assert names(target) == {"voc.tar"}
    assert server.paths() == ["/good"]


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
    real, lock, seen = files.fcntl.flock, target.with_name("voc.tar.lock"), []

    def removed_under_our_hands(file, how):
        real(file, how)
        if not seen:
            lock.unlink()
        seen.append(lock.exists())

    monkeypatch.setattr(files.fcntl, "flock", removed_under_our_hands)
    assert get(server.url()).read_bytes() == GOOD
    assert seen == [False, True]


def test_a_disk_without_locks_still_works(server, get, monkeypatch):
    def no_locks(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    assert get(server.url()).read_bytes() == GOOD


def test_a_part_that_somebody_else_writes_to_is_not_taken_for_the_file(server, get, target):
    part = target.with_name("voc.tar.part")

    def disturbed(to):
        to.send_response(200)
        to.send_header("Content-Length", str(len(GOOD)))
        to.end_headers()
        to.wfile.write(GOOD[:6000])
        while not part.exists() or part.stat().st_size < 6000:
            time.sleep(0.01)
        with part.open("ab") as file:
            file.write(b"theirs")
        to.wfile.write(GOOD[6000:])

    assert get(server.url("/x", disturbed, serve)).read_bytes() == GOOD


# --- the disk -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def files_may_not_grow_beyond(size):
    """The system refuses to write more, as it does on a full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_full_disk_keeps_the_part(server, get, target):
    with (
        files_may_not_grow_beyond(6000),
        pytest.raises(OutputError, match=r"\(File too large\). 6,000 bytes are kept in .*Free disk space"),
    ):
        get(server.url(), hashes=SHA)
    assert names(target) == {"voc.tar.part", "voc.tar.part.json"}
    assert get(server.url(), hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]


def test_a_device_that_is_full_is_named(server, get, target):
    target.parent.mkdir()
    target.with_name("voc.tar.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"Could not write .*voc.tar \(No space left on device\). Free disk space"):
        get(server.url())


def test_a_disk_that_fails_while_it_is_read_is_named(server, get, target):
    target.parent.mkdir()
    target.symlink_to("/proc/self/mem")  # whose first bytes nobody can read
    with pytest.raises(DownloadError, match=r"already there but cannot be read \(Input/output error\)"):
        get(server.url(), hashes=SHA)


def test_too_little_room_is_said_before_anything_is_stored(server, get, target, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**6, 10**6 - 15_000, 15_000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"needs 20,000 more bytes, but only 15,000 are free"):
        get(server.url(), size=len(GOOD))
    assert names(target) == set()
    begin(target, GOOD[:6000], url=server.url(), validator='"one"', total=len(GOOD))
    assert get(server.url(), size=len(GOOD)).read_bytes() == GOOD


def test_places_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Could not write .*choose another folder"):
        download([server.url()], tmp_path / "file" / "voc.tar")
    with pytest.raises(OutputError, match="is not a regular file"):
        download([server.url()], tmp_path)
    assert server.asked == []


# --- servers that fail, mirrors -----------------------------------------------------------------------------------


def test_failures_are_retried_with_growing_pauses(server, get, target, slept):
    with pytest.raises(DownloadError, match=r"/x answers 503 .*put the file at .*voc.tar yourself"):
        get(server.url("/x", fail), retries=3)
    assert slept == [1.0, 2.0, 4.0]
    assert len(server.asked) == 4
    assert names(target) == set()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures(server, get, slept, status):
    assert get(server.url("/x", step(fail, status=status), serve)).read_bytes() == GOOD
    assert slept == [1.0]


def test_retry_after(server, get, slept):
    get(server.url("/x", *(step(fail, status=429, Retry_After=value) for value in ("7", "0")), serve))
    assert slept == [7.0]


@pytest.mark.parametrize(
    "asked", ["²", "-5", "+5", "5_0", "1e1", "5.5", "nan", "inf", "", "0x5", "5 5", "9" * 30, "9" * 5000, "tomorrow"]
)
def test_an_odd_retry_after_counts_as_none(server, get, slept, asked):
    assert get(server.url("/x", step(fail, status=503, Retry_After=asked), serve)).read_bytes() == GOOD
    assert slept == [1.0]


def test_a_server_that_wants_too_much_patience_is_left(server, get, target, slept):
    busy = server.url("/busy", step(fail, status=429, Retry_After="3600"))
    with pytest.raises(DownloadError, match="answers 429"):
        get(busy)
    assert get(busy, server.url()).read_bytes() == GOOD
    assert slept == []


def test_a_server_cannot_hold_us_for_ever(server, get, slept):
    """New bytes excuse a failure, but only bytes that were never reached before."""
    endless = step(serve, etag="", cut=6000)
    with pytest.raises(DownloadError, match="ended the connection at 6,000 of 20,000 bytes"):
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


@pytest.fixture
def down():
    """URL of a port that refuses connections, since it is bound but does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/x"


def test_a_mirror_that_is_down_gets_one_more_try(server, get, slept, down):
    assert get(down, server.url()).read_bytes() == GOOD
    assert slept == [1.0]


def test_without_a_network_the_end_comes_soon_and_is_announced(get, slept, down, caplog):
    with pytest.raises(
        DownloadError, match=r"cannot be reached \(ConnectionRefusedError.*Is this machine on the network"
    ):
        get(down, down)
    assert slept == [1.0, 1.0]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "cannot be reached" in caplog.messages[0]
    assert caplog.messages[0].endswith("; trying again in 1 s")


def test_a_network_that_goes_away_midway_is_waited_for(get, slept, monkeypatch):
    """A server that has answered keeps all its attempts, although it cannot be reached for a while."""
    with contextlib.ExitStack() as network:
        url = network.enter_context(running()).url("/x", step(serve, cut=6000))
        left = network.pop_all()

    def pause(seconds):
        slept.append(seconds)
        left.close()

    monkeypatch.setattr(downloads, "_pause", pause)
    with pytest.raises(DownloadError, match="6,000 bytes are kept"):
        get(url)
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0]


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
        DownloadError, match=rf"Could not fetch voc.tar: {url} has {name} {got}, expected {HASHES[name]}"
    ):
        get(url, hashes={name: HASHES[name]})
    assert names(target) == set()


def test_all_hashes_are_checked(server, get):
    with pytest.raises(DownloadError, match=f"has md5 .*, expected {'0' * 32}"):
        get(server.url(), hashes={**HASHES, "md5": "0" * 32})


def test_a_mirror_continues_only_where_a_hash_can_tell(server, get, target):
    first, second = server.url("/a", step(serve, cut=6000)), server.url("/b", step(serve, etag='"another"'))
    assert get(first, second, hashes=SHA, retries=0).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-"]
    target.unlink()
    assert get(first, second, retries=0).read_bytes() == GOOD
    assert server.ranges()[2:] == [None, None]


def test_a_part_survives_a_mirror_that_offers_another_file(server, get, target):
    begin(target, GOOD[:6000], url=server.url("/a"), validator='"one"', total=len(GOOD))
    page = step(serve, data=b"<!DOCTYPE html>Please log in", etag="")
    with pytest.raises(
        DownloadError, match=r"offers 28 bytes, expected 20,000\. 6,000 bytes are kept in .*voc.tar.part"
    ):
        get(server.url("/a", page), size=len(GOOD))
    assert target.with_name("voc.tar.part").read_bytes() == GOOD[:6000]


@pytest.mark.parametrize(("claim", "message"), [(19_999, "offers 19,999 bytes"), (20_001, "offers 20,001 bytes")])
def test_a_wrong_length_is_seen_at_once(server, get, claim, message):
    with pytest.raises(DownloadError, match=message):
        get(server.url("/x", step(serve, claim=claim)), size=len(GOOD))


def test_wrong_lengths_without_a_known_size(server, get, target):
    with pytest.raises(DownloadError, match="ended the connection at 20,000 of 20,001 bytes"):
        get(server.url("/long", step(serve, claim=20_001, etag="")), retries=2)
    with pytest.raises(DownloadError, match="has sha256"):
        get(server.url("/short", step(serve, claim=19_999)), hashes=SHA)


# --- how much, and how slowly --------------------------------------------------------------------------------------


def endless(to):
    to.send_response(200)
    to.send_header("Transfer-Encoding", "chunked")
    to.end_headers()
    with contextlib.suppress(OSError):
        while True:
            to.wfile.write(b"%x\r\n%s\r\n" % (len(GOOD), GOOD))


def test_an_endless_answer_stops_at_the_known_size(server, get, target):
    with pytest.raises(DownloadError, match="gives more bytes than expected: 5,000"):
        get(server.url("/x", endless), size=5000)
    assert names(target) == set()


def test_an_endless_answer_of_unknown_size_stops_at_the_limit(server, get, target, monkeypatch):
    url = server.url("/x", endless)
    with pytest.raises(DownloadError, match=r"expected: at most 50,000 .*set CLIPDIY_LAB_MAX_DOWNLOAD to more bytes"):
        get(url, limit=50_000)
    monkeypatch.setattr(downloads, "MAX_BYTES", 30_000)
    with pytest.raises(DownloadError, match="expected: at most 30,000 "):
        get(url)
    assert names(target) == set()


def test_the_limit_is_seen_in_the_length_and_can_be_raised(server, get, target, monkeypatch):
    with pytest.raises(DownloadError, match="offers 20,000 bytes, expected at most 5,000 "):
        get(server.url(), limit=5000)
    assert names(target) == set()
    monkeypatch.setenv("CLIPDIY_LAB_MAX_DOWNLOAD", "20000")
    assert get(server.url(), limit=5000).read_bytes() == GOOD


@pytest.mark.parametrize("chosen", ["20GB", "-1", "²", "1e9", "9" * 30])
def test_a_limit_that_is_no_number(server, get, monkeypatch, chosen):
    monkeypatch.setenv("CLIPDIY_LAB_MAX_DOWNLOAD", chosen)
    with pytest.raises(DownloadError, match=r"CLIPDIY_LAB_MAX_DOWNLOAD is .*; expected a number of bytes"):
        get(server.url())
    assert server.asked == []


ODD = ["²", "-5", "+20000", "20_000", "2e4", "0x4e20", "20000.0", "20000, 20000", "twenty", "", "9" * 19, "9" * 5000]


@pytest.mark.parametrize("length", ODD)
def test_an_odd_length_is_refused(server, get, target, length):
    """Where the file ends cannot be told then: `int` would read some of them as other numbers."""
    with pytest.raises(DownloadError, match="sends a length that cannot be read"):
        get(server.url("/x", step(serve, claim=length)))
    assert names(target) == set()
    assert get(server.url("/x", step(serve, claim=length)), server.url()).read_bytes() == GOOD


@pytest.mark.parametrize(
    "span",
    ["bytes 6000-19999/*", "bytes ²-19999/20000", "bytes +6000-19999/20000", "bytes -6000-19999/20000", "bytes", "",
     "bytes 6000-19999/2_0000", "items 6000-19999/20000", f"bytes 6000-19999/{'9' * 5000}"],
)  # fmt: skip
def test_an_odd_range_begins_anew(server, get, span):
    url = server.url("/x", step(serve, cut=6000), step(serve, span=span), serve)
    assert get(url, hashes=SHA).read_bytes() == GOOD
    assert server.ranges() == [None, "bytes=6000-", None]


@pytest.mark.parametrize("where", ["status", "header", "chunk size", "body"])
def test_a_drip_is_given_up(server, get, target, monkeypatch, where):
    """One byte every 20 ms trips no time-out of a socket."""
    monkeypatch.setattr(web, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(web, "WINDOW_SECONDS", 0.3)
    url = server.url("/x", step(drip, where=where))
    with pytest.raises(DownloadError, match=r"is too slow|does not answer within"):
        get(url, retries=1)
    assert len(server.asked) == 2
    assert get(url, server.url(), hashes=SHA, retries=0).read_bytes() == GOOD


def test_a_slow_server_above_the_floor_is_not_given_up(server, get, monkeypatch):
    monkeypatch.setattr(web, "WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(web, "WINDOW_BYTES", 1000)
    data = BIG[: 1 << 19]
    assert get(server.url("/x", step(serve, data=data, pace=0.02))).read_bytes() == data
    assert len(server.asked) == 1


# --- the words of a server -----------------------------------------------------------------------------------------

ESCAPES = "no\x1b[2J\x1b]0;owned\x07 \x9b31m\x85\x08\x7f"


@pytest.mark.parametrize(
    "rude",
    [
        lambda to: (to.send_response(404, ESCAPES), to.end_headers()),
        lambda to: (to.send_response(503, ESCAPES), to.end_headers()),
        lambda to: (to.send_response(204, ESCAPES), to.end_headers()),
        lambda to: (to.send_response(302, ESCAPES), to.send_header("Location", f"ftp://x/{ESCAPES}"), to.end_headers()),
        lambda to: to.wfile.write(f"{ESCAPES}\r\n\r\n".encode("latin-1")),
        step(serve, ranges=False, claim=ESCAPES),
        step(serve, span=ESCAPES),
    ],
)
def test_the_words_of_a_server_reach_no_terminal_as_commands(server, get, target, caplog, rude):
    begin(target, GOOD[:6000], url=server.url("/x"), validator='"one"', total=len(GOOD))
    with pytest.raises(DownloadError) as caught:
        get(server.url("/x", rude, step(fail, status=404)))
    shown = str(caught.value) + "".join(caplog.messages)
    assert shown.isprintable(), repr(shown)
    assert len(str(caught.value)) < 1000


# --- what is already there, offline, senseless requests -----------------------------------------------------------


def test_another_file_in_its_place_is_left_alone(server, get, target):
    target.parent.mkdir()
    target.write_bytes(OTHER)
    with pytest.raises(DownloadError, match=r"already there but has sha256 .*, expected .*Delete it or move it away"):
        get(server.url(), hashes=SHA)
    with pytest.raises(DownloadError, match="already there but has 20,000 bytes, expected 5"):
        get(server.url(), size=5)
    assert target.read_bytes() == OTHER
    assert server.asked == []


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline(server, get, target, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("CLIPDIY_LAB_OFFLINE", "1")
    offline = how == "argument"
    with pytest.raises(
        DownloadError, match=r"voc.tar does not exist, and offline mode forbids .*put it there yourself"
    ):
        get(server.url(), offline=offline)
    target.parent.mkdir()
    target.write_bytes(GOOD)
    assert get(server.url(), hashes=SHA, offline=offline) == target
    assert server.asked == []


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "data:,x", "http://", "x.tar", "file:///etc/hostname", "gopher://h", "http://h/\x1b[2J", ""]
)
def test_senseless_urls(get, target, slept, url):
    with pytest.raises(DownloadError, match=r"Could not fetch voc.tar: .*cannot be asked") as caught:
        get(url)
    assert str(caught.value).isprintable()
    assert slept == []
    assert names(target) == set()
