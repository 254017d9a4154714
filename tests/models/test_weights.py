"""Fetching and checking weights, with a server on this machine that behaves well and badly; loading them."""

import hashlib
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
import torch
from swapping import swapped_when_opened
from torch import nn

from clipdiy_lab import downloads
from clipdiy_lab.errors import WeightsError
from clipdiy_lab.models.weights import WeightsFile, cache_folder, fetch, fingerprint, load_into

GOOD = b"good weights" * 1000
SHA256 = hashlib.sha256(GOOD).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/good serves GOOD, /page a web page, /cut stops half-way; anything else is not there."""

    asked: list[str]

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(GOOD)))
            self.end_headers()
            self.wfile.write(GOOD[:5000])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        bodies = {"/good": GOOD, "/page": b"<!DOCTYPE html><p>Please log in", "/empty": b""}
        body = bodies.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CLIPDIY_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLIPDIY_LAB_OFFLINE", raising=False)
    monkeypatch.setattr(downloads, "_pause", lambda seconds: None)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache" / "weights"


def entry(server, path: str = "/good", **changes) -> WeightsFile:
    host, port = server.server_address
    return WeightsFile(name="net.pt", url=f"http://{host}:{port}{path}", **changes)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


# --- fetching -----------------------------------------------------------------------------------------------------


def test_a_good_file_is_fetched_once(server, cache):
    server.asked.clear()
    wanted = entry(server, sha256=SHA256.upper(), bytes=len(GOOD))
    assert fetch(wanted) == GOOD
    assert (cache / "net.pt").read_bytes() == GOOD
    assert fetch(wanted) == GOOD
    assert server.asked == ["/good"]
    assert files(cache) == {"net.pt"}


def test_an_unknown_hash_is_recorded_and_checked_from_then_on(server, cache):
    assert fetch(entry(server)) == GOOD
    path = cache / "net.pt"
    record = json.loads((cache / "known_hashes.json").read_text())["net.pt"]
    assert record["sha256"] == SHA256
    assert record["bytes"] == len(GOOD)
    assert record["url"].endswith("/good")
    assert fetch(entry(server)) == GOOD
    path.write_bytes(GOOD[:-1] + b"!")
    with pytest.raises(WeightsError, match=rf"has sha256 \w+, expected {SHA256} \(recorded at first use.*Delete"):
        fetch(entry(server))
    path.unlink()
    assert fetch(entry(server)) == GOOD


def test_a_recorded_hash_also_guards_the_next_download(server, cache):
    fetch(entry(server))
    (cache / "net.pt").unlink()
    records = cache / "known_hashes.json"
    records.write_text(records.read_text().replace(SHA256, "0" * 64))
    with pytest.raises(WeightsError, match=r"recorded at first use.*The download was not kept"):
        fetch(entry(server))
    assert files(cache) == {"known_hashes.json"}


def test_records_of_several_files_stand_beside_each_other(server, cache):
    fetch(entry(server))
    host, port = server.server_address
    fetch(WeightsFile("other.pt", f"http://{host}:{port}/good"))
    assert set(json.loads((cache / "known_hashes.json").read_text())) == {"net.pt", "other.pt"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"net.pt": {}}', '{"net.pt": {"sha256": 3}}'])
def test_a_broken_record_is_not_started_afresh(server, cache, content):
    fetch(entry(server))
    (cache / "known_hashes.json").write_text(content)
    with pytest.raises(WeightsError, match=r"record of hashes .*known_hashes.json cannot be read.*delete it"):
        fetch(entry(server))
    assert (cache / "known_hashes.json").read_text() == content


def test_a_wrong_hash_keeps_nothing(server, cache):
    with pytest.raises(
        WeightsError, match=rf"Could not fetch net.pt: .*/good has sha256 {SHA256}, expected {'0' * 64}"
    ):
        fetch(entry(server, sha256="0" * 64))
    assert files(cache) == set()


def test_a_file_that_changed_on_disk_is_refused(server, cache):
    fetch(entry(server, sha256=SHA256))
    path = cache / "net.pt"
    path.write_bytes(GOOD + b"!")
    with pytest.raises(WeightsError, match=r"net.pt \(.*net.pt\) has sha256 .*Delete .*fetched again"):
        fetch(entry(server, sha256=SHA256))
    assert path.exists()


def test_a_wrong_size_is_refused(server, cache):
    with pytest.raises(WeightsError, match="offers 12,000 bytes, expected 5"):
        fetch(entry(server, bytes=5))
    assert files(cache) == set()


@pytest.mark.parametrize("path", ["/missing", "/cut"])
def test_failing_downloads_keep_nothing_and_show_ways_out(server, cache, path):
    message = (
        r"net.pt is not on this machine. Could not fetch .*put the file at .*net.pt yourself. Or use the embedded "
    )
    with pytest.raises(WeightsError, match=message + "'found-tiny'"):
        fetch(entry(server, path), instead="found-tiny")
    assert files(cache) == set()


@pytest.mark.parametrize(("path", "found"), [("/page", "is a web page"), ("/empty", "is empty")])
def test_what_is_no_weights_file_is_never_recorded(server, cache, path, found):
    with pytest.raises(WeightsError, match=found):
        fetch(entry(server, path))
    assert files(cache) == set()


@pytest.mark.parametrize("url", ["not a url", "http://", "gopher://127.0.0.1/x"])
def test_odd_addresses_end_in_the_same_error(cache, url):
    with pytest.raises(WeightsError, match=r"not on this machine. Could not fetch net.pt: .*cannot be asked"):
        fetch(WeightsFile("net.pt", url))


def test_no_network(cache):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/good"
        with pytest.raises(WeightsError, match=r"Could not fetch .*ConnectionRefusedError"):
            fetch(WeightsFile("net.pt", url))
    assert files(cache) == set()


def test_offline(server, cache, monkeypatch):
    monkeypatch.setenv("CLIPDIY_LAB_OFFLINE", "1")
    server.asked.clear()
    with pytest.raises(WeightsError, match=r"CLIPDIY_LAB_OFFLINE forbids fetching: put the file at .*net.pt"):
        fetch(entry(server))
    assert server.asked == []
    cache.mkdir(parents=True)
    (cache / "net.pt").write_bytes(GOOD)
    assert fetch(entry(server, sha256=SHA256)) == GOOD
    monkeypatch.setenv("CLIPDIY_LAB_OFFLINE", "0")
    (cache / "net.pt").unlink()
    assert fetch(entry(server)) == GOOD


def test_every_use_hashes_the_bytes_that_it_returns(server, cache):
    wanted = entry(server, sha256=SHA256)
    fetch(wanted)
    path = cache / "net.pt"
    before = path.stat()
    path.write_bytes(b"evil weights" + GOOD[12:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(WeightsError, match=rf"has sha256 \w+, expected {SHA256}"):
        fetch(wanted)


def test_a_file_swapped_while_it_is_checked_is_not_what_is_returned(server, cache):
    wanted = entry(server, sha256=SHA256)
    fetch(wanted)
    path = cache / "net.pt"
    with swapped_when_opened(path, b"evil weights"):
        assert fetch(wanted) == GOOD
    assert path.read_bytes() == b"evil weights"
    with pytest.raises(WeightsError, match=f"expected {SHA256}"):
        fetch(wanted)


def test_a_cache_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CLIPDIY_LAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"Could not write .*CLIPDIY_LAB_CACHE"):
        fetch(entry(server))


def test_a_full_disk_is_not_called_a_network_problem(server, cache):
    cache.mkdir(parents=True)
    (cache / "net.pt.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match=r"Could not write .*net.pt \(No space left on device\).*CLIPDIY_LAB_CACHE"):
        fetch(entry(server))


def test_a_cut_download_is_continued(cache):
    with serving.running() as server:
        wanted = WeightsFile("net.pt", server.url("/x", serving.step(serving.serve, cut=6000), serving.serve))
        assert fetch(wanted) == serving.GOOD
        assert server.ranges() == [None, "bytes=6000-"]
    assert files(cache) == {"net.pt", "known_hashes.json"}


def test_the_cache_of_the_platform(monkeypatch, tmp_path):
    monkeypatch.delenv("CLIPDIY_LAB_CACHE")
    assert cache_folder().parts[-2:] == ("clipdiy_lab", "weights")
    monkeypatch.setenv("CLIPDIY_LAB_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere" / "weights"


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


# --- hashing and loading ------------------------------------------------------------------------------------------


def test_fingerprint_looks_at_names_types_shapes_and_values():
    base = fingerprint(STATE)
    assert base == fingerprint(dict(reversed(STATE.items())))
    assert base == fingerprint({name: tensor.clone().requires_grad_() for name, tensor in STATE.items()})
    weight = STATE["a.weight"]
    variants = [
        {**STATE, "a.weight": weight.reshape(3, 2)},
        {**STATE, "a.weight": weight.double()},
        {**STATE, "a.weight": weight.bfloat16()},
        {**STATE, "a.weight": weight + 1},
        {**STATE, "a.weight": weight.view(torch.int32)},
        {"b.weight": weight, "a.bias": STATE["a.bias"]},
        {"a.weight": weight},
        {**STATE, "number": torch.tensor(3)},
        {**STATE, "none": torch.ones(0)},
    ]
    assert len({base, *map(fingerprint, variants)}) == len(variants) + 1


def test_fingerprint_looks_at_values_not_at_memory():
    weight = STATE["a.weight"]
    assert fingerprint({"w": weight.T}) == fingerprint({"w": weight.T.contiguous()})


def test_load_into():
    linear = nn.Linear(3, 2)
    load_into(linear, {"weight": STATE["a.weight"], "bias": STATE["a.bias"]}, "a test")
    assert torch.equal(linear.weight, STATE["a.weight"])


def test_load_into_names_what_does_not_fit():
    linear = nn.Linear(3, 2)
    before = linear.weight.clone()
    wrong = {"weight": torch.zeros(3, 2), **{f"extra{i}": torch.zeros(1) for i in range(5)}}
    with pytest.raises(WeightsError) as caught:
        load_into(linear, wrong, "net.pt")
    assert str(caught.value) == (
        "The weights of net.pt do not fit Linear: 1 missing (bias); 5 unexpected (extra0, extra1, extra2, ...); "
        "1 of another shape (weight (3, 2) instead of (2, 3)). Use the file that was made for this model."
    )
    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_load_into_refuses_what_is_not_finite(value):
    linear = nn.Linear(3, 2)
    before = linear.weight.clone()
    weight = torch.ones(2, 3)
    weight[1, 2] = value
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with pytest.raises(WeightsError, match=r"net\.pt hold NaN or infinite values \(weight\)"):
            load_into(linear, {"weight": weight.to(dtype), "bias": torch.zeros(2)}, "net.pt")
    assert torch.equal(linear.weight, before)


def test_load_into_refuses_nothing_but_zeros_and_takes_a_zero_bias():
    linear = nn.Linear(3, 2)
    with pytest.raises(WeightsError, match=r"net\.pt are all zero"):
        load_into(linear, {"weight": torch.zeros(2, 3), "bias": torch.ones(2)}, "net.pt")
    load_into(linear, {"weight": torch.eye(2, 3), "bias": torch.zeros(2)}, "net.pt")
    assert not linear.bias.any()


def test_load_into_refuses_whole_numbers_where_fractions_belong():
    with pytest.raises(WeightsError, match=r"1 of another type \(weight torch\.int8 instead of torch\.float32\)"):
        load_into(nn.Linear(3, 2), {"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.zeros(2)}, "net.pt")
