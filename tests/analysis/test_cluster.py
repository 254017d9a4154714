"""The lab on a real cluster: several processes give what one gives, whoever is killed; and what can go wrong."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path

import dask
import distributed
import killed_run
import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr
from PIL import Image
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.analysis.scoring import workers
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.resume import PartialCounts
from clipdiy_lab.cli import app
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency import build
from clipdiy_lab.pipeline import cluster
from clipdiy_lab.pipeline.embeddings.upkeep import prune
from clipdiy_lab.pipeline.shipping import SentSegmenter

IMAGES = 24
CONFIG = lab.Config(scales=(16, 8), image_size=(16, 24))
GRID = {"scales": [(16, 8), (8,)], "saliency_weight": [0.0, 1.0], "saliency": ["none", "oracle"]}


class Patient(killed_run.MeanColour):
    """Takes its time, so that there is a middle in which to be killed."""

    def encode_crops(self, crops):
        time.sleep(0.1)
        return super().encode_crops(crops)


class Pictures:
    """Random pictures with random masks, ignored pixels among them."""

    name, label_names = "pictures", ("background", "cat", "sofa")
    ids = tuple(f"p{index:03d}" for index in range(IMAGES))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, rng.choice([0, 1, 2, 255], (12, 20)).astype(np.uint8))


@pytest.fixture(scope="module")
def client():
    with cluster.connect(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def segmenter():
    return lab.Segmenter(Patient(), build("constant", value=0.5))


@pytest.fixture(scope="module")
def quick():
    return lab.Segmenter(killed_run.MeanColour(), build("constant", value=0.5))


@pytest.fixture(scope="module")
def store(quick, tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "store"
    lab.embed(quick, Pictures(), path, CONFIG, shard_size=2)
    return path


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@contextlib.contextmanager
def a_worker_killed(client, folder, pattern, most):
    """Kill one of the workers once two of at most `most` pieces of work are committed, while others are not."""
    victim = min(client.run(os.getpid).values())
    left = []

    def kill():
        deadline = time.monotonic() + 60
        while len(found := list(folder.glob(pattern))) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)
        left.append(most - len(found))

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()
    assert left[0] > 2
    assert not psutil.pid_exists(victim) or psutil.Process(victim).status() == psutil.STATUS_ZOMBIE


def test_a_store_is_the_same_though_a_worker_was_killed(client, segmenter, store, tmp_path):
    path = tmp_path / "store"
    with a_worker_killed(client, path, "shards/*.ok", IMAGES // 2):
        lab.embed(segmenter, Pictures(), path, CONFIG, shard_size=2, client=client)
    prune(path)
    assert snapshot(path) == snapshot(store)


def test_a_result_is_the_same_though_a_worker_was_killed(client, segmenter, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "IMAGES_A_TASK", 2)
    together, alone = tmp_path / "together", tmp_path / "alone"
    with a_worker_killed(client, together, ".*unfinished/*.npz", IMAGES // 2):
        options = {"out": tmp_path / "together.nc", "predictions": together, "client": client}
        found = lab.evaluate(segmenter, Pictures(), CONFIG, **options)
    expected = lab.evaluate(quick, Pictures(), CONFIG, out=tmp_path / "alone.nc", predictions=alone)
    xr.testing.assert_identical(found, expected)
    shutil.rmtree(next(together.glob(".clipdiy-*.part"), together / "none"), ignore_errors=True)  # the dead one's
    assert snapshot(together) == snapshot(alone)
    assert len(snapshot(alone)) == IMAGES + 2
    assert {path.name for path in tmp_path.iterdir()} == {"together", "alone", "together.nc", "alone.nc"}


def test_a_table_is_the_same_though_a_worker_was_killed(client, segmenter, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "IMAGES_A_TASK", 2)
    with a_worker_killed(client, tmp_path, ".*unfinished/*.npz", IMAGES // 2):
        found = lab.sweep(segmenter, Pictures(), GRID, base=CONFIG, out=tmp_path / "rows", client=client)
    alone = lab.sweep(quick, Pictures(), GRID, base=CONFIG)
    assert alone["miou_percent"].notna().all()
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"))
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_table_from_a_store_is_the_same(client, quick, store, tmp_path, monkeypatch):
    monkeypatch.setattr("clipdiy_lab.analysis.sweep.BLOCK_BYTES", 3 * TrialCounts.bytes_per_trial(3))
    grid = {"scales": [(16, 8), (4,)], "placement": ["stretched", "centred"], "align_corners": [True, False]}
    found = lab.sweep(store, Pictures(), grid, segmenter=quick, out=tmp_path / "rows", client=client)
    alone = lab.sweep(store, Pictures(), grid, segmenter=quick)
    assert 0 < (alone["error"] != "").sum() < len(alone)  # rows that make no sense are told as before
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"))


def test_what_was_counted_is_not_counted_again(client, segmenter, quick, tmp_path, monkeypatch):
    """Parts of an interrupted run are taken up, a damaged one apart."""
    monkeypatch.setattr(workers, "IMAGES_A_TASK", 6)
    expected = lab.evaluate(quick, Pictures(), CONFIG, out=tmp_path / "alone.nc")
    with monkeypatch.context() as patch:
        patch.setattr("clipdiy_lab.analysis.evaluate.write_result", _no_room)
        with pytest.raises(errors.OutputError):
            lab.evaluate(quick, Pictures(), CONFIG, out=tmp_path / "result.nc", client=client)
    written = sorted(tmp_path.glob(".*unfinished/*.npz"))
    assert len(written) == 4
    before = [path.stat().st_mtime_ns for path in written]
    written[1].write_bytes(written[1].read_bytes()[:-30])
    written[2].rename(tmp_path / "lost")
    counted = []
    with monkeypatch.context() as patch:
        patch.setattr(PartialCounts, "remove", lambda _: counted.extend(path.stat().st_mtime_ns for path in written))
        found = lab.evaluate(quick, Pictures(), CONFIG, out=tmp_path / "result.nc", client=client)
    xr.testing.assert_identical(found, expected)
    assert [new == old for new, old in zip(counted, before, strict=True)] == [True, False, False, True]


def test_what_workers_counted_one_process_takes_up(client, quick, tmp_path, monkeypatch):
    class Broken(killed_run.MeanColour):
        def encode_crops(self, crops):
            raise AssertionError("everything is counted already")

    monkeypatch.setattr(workers, "IMAGES_A_TASK", 7)
    expected = lab.evaluate(quick, Pictures(), CONFIG, out=tmp_path / "alone.nc")
    with monkeypatch.context() as patch:
        patch.setattr("clipdiy_lab.analysis.evaluate.write_result", _no_room)
        with pytest.raises(errors.OutputError):
            lab.evaluate(quick, Pictures(), CONFIG, out=tmp_path / "result.nc", client=client)
    broken = lab.Segmenter(Broken(), quick.saliency)
    xr.testing.assert_identical(lab.evaluate(broken, Pictures(), CONFIG, out=tmp_path / "result.nc"), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"result.nc", "alone.nc"}


def _no_room(*_):
    raise errors.OutputError("no room")


@pytest.fixture
def keys(client):
    """What dask's configuration needs to talk to the client's scheduler."""
    secret = client.security
    settings = {
        "ca-file": secret.tls_ca_file,
        "client.cert": secret.tls_client_cert,
        "client.key": secret.tls_client_key,
    }
    with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in settings.items()}):
        yield


def test_the_command_line(client, keys, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(lab.Config(scales=(64,), stride=1).to_json())
    address, run = client.scheduler.address, CliRunner().invoke
    common = ["--config", str(config), "--limit", "3"]
    apart = ["--scheduler", address]
    for place, more in (("apart", apart), ("alone", [])):
        store, out = str(tmp_path / place), str(tmp_path / f"{place}.nc")
        done = run(app, ["embed", "scenes", "--store", store, "--shard-size", "2", *common, *more])
        assert done.exit_code == 0, done.output
        done = run(app, ["evaluate", "scenes", "--out", out, *common, *more])
        assert done.exit_code == 0, done.output
        rows = ["--grid", "saliency_weight=[0, 1]", *common, "--csv", str(tmp_path / f"{place}.csv")]
        done = run(app, ["sweep", "scenes", "--store", store, "--out", str(tmp_path / f"{place}.rows"), *rows, *more])
        assert done.exit_code == 0, done.output
    assert snapshot(tmp_path / "apart") == snapshot(tmp_path / "alone")
    results = [xr.load_dataset(tmp_path / name, engine="h5netcdf") for name in ("apart.nc", "alone.nc")]
    xr.testing.assert_identical(*results)
    tables = [pd.read_csv(tmp_path / name).drop(columns="seconds") for name in ("apart.csv", "alone.csv")]
    pd.testing.assert_frame_equal(*tables)


def test_nothing_listens_beyond_this_machine(client):
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) > 2
    assert set(listening) <= {"127.0.0.1", "::1"}


def ports(wanted):
    """Addresses that this process and its children listen at, by whether dask's messages or pages are served there."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {c.laddr for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
    return [f"{ip}:{port}" for ip, port in sorted(listening) if _serves_pages(ip, port) == wanted]


def _serves_pages(ip, port):
    try:
        urllib.request.urlopen(f"http://{ip}:{port}/", timeout=10)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")  # dask leaves half-open connections behind
@pytest.mark.parametrize("stranger", ["without a key", "with a key of another call"])
def test_nobody_else_is_heard_though_every_user_reaches_loopback(client, stranger):
    security = distributed.Security.temporary() if "with a" in stranger else distributed.Security()
    protocol = "tls" if "with a" in stranger else "tcp"

    async def greet(address):
        await distributed.comm.connect(address, timeout=5, **security.get_connection_args("client"))

    served = ports(wanted=False)
    assert client.scheduler.address.removeprefix("tls://") in served
    assert len(served) > 3  # scheduler, workers, and who restarts them
    for address in served:
        with pytest.raises(OSError, match=r"certificate|closed|reset|Timed out"):
            asyncio.run(greet(f"{protocol}://{address}"))
    assert client.submit(sum, [1, 2]).result() == 3


def test_the_servers_of_pages_have_no_pages(client):
    # The worker that takes a dead one's place starts long after the cluster did.
    victim, process = client.run(os.getpid).popitem()
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 60
    about = client.scheduler_info()
    while (victim in about["workers"] or len(about["workers"]) < 2) and time.monotonic() < deadline:
        time.sleep(0.05)
        about = client.scheduler_info()
    # Of this client alone: clusters that other tests made by dask itself have pages.
    assert victim not in about["workers"]
    assert len(about["workers"]) == 2
    numbers = [about["services"]["dashboard"], *(w["services"]["dashboard"] for w in about["workers"].values())]
    served = [f"127.0.0.1:{number}" for number in numbers]
    assert set(served) <= set(ports(wanted=True))
    for address in served:
        for page in ("", "status", "info/main/workers.html", "json/counts.json", "metrics", "health"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://{address}/{page}", timeout=10)


def test_the_command_line_says_who_can_reach_its_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    limits = ["--limit", "2", "--saliency", "none"]
    done = CliRunner().invoke(app, ["embed", "scenes", "--store", "s", *limits, "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "Worker processes started: 1. They listen only on the loopback interface of this machine" in done.stderr
    assert "loopback" not in CliRunner().invoke(app, ["embed", "scenes", "--store", "t", *limits]).stderr


def test_ctrl_c_of_a_terminal_ends_command_and_workers_with_one_line(tmp_path):
    """A terminal sends it to every process of the group."""
    command = ["-m", "clipdiy_lab", "embed", "scenes", "--store", "s", "--shard-size", "1", "--saliency", "none"]
    child = subprocess.Popen(
        [sys.executable, *command, "--workers", "1"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("s/shards/*.ok")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(child.pid).children(recursive=True)
    os.killpg(child.pid, signal.SIGINT)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert "Traceback" not in stderr
    (said,) = [line for line in stderr.splitlines() if line.startswith("interrupted: ")]
    assert "shards (up to 1 images each) are kept" in said
    assert "WARNING" not in stderr
    assert psutil.wait_procs(workers, timeout=30)[1] == []


@dataclass(frozen=True)
class Warner:
    """A job whose tasks warn."""

    def open(self):
        def work(task):
            warnings.warn("odd\x1b words", errors.OutOfDistributionWarning, stacklevel=2)
            return task

        return work


def test_what_workers_warn_of_is_said_here_and_once(client):
    with pytest.warns(errors.OutOfDistributionWarning, match=r"^odd\\x1b words$") as caught:
        assert sorted(result for _, result in cluster.run(client, Warner(), range(4))) == [0, 1, 2, 3]
    assert len(caught) == 1


def test_without_cryptography(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with (
        pytest.raises(errors.ClusterError, match=r'TLS.*pip install "clipdiy-lab\[scale\]"'),
        cluster.connect(workers=1),
    ):
        pass


def test_workers_that_see_no_data(client, quick, tmp_path, monkeypatch):
    """The workers were started in another folder, so a relative path means something else to them."""
    monkeypatch.chdir(tmp_path)
    for part, mode in (("images", "RGB"), ("masks", "L")):
        Path("mine", part).mkdir(parents=True)
        Image.new(mode, (12, 10)).save(f"mine/{part}/one.png")
    Path("mine/classes.txt").write_text("background\ncat\n")
    mine = lab.open_dataset("./mine")
    says = rf"On the worker {socket.gethostname()}: it cannot see 'mine/images/one.png'.* same path"
    with pytest.raises(errors.ClusterError, match=says):
        lab.embed(quick, mine, tmp_path / "store", CONFIG, client=client)
    with pytest.raises(errors.ClusterError, match=says):
        lab.evaluate(quick, mine, CONFIG, out=tmp_path / "result.nc", client=client)
    with pytest.raises(errors.ClusterError, match=says):
        lab.sweep(quick, mine, [CONFIG], out=tmp_path / "rows", client=client)
    assert not (tmp_path / "result.nc").exists()


def test_an_encoder_that_cannot_be_sent(client, tmp_path):
    class Locked(killed_run.MeanColour):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(errors.ClusterError, match=r"cannot be sent .*cannot pickle '_thread.lock'.* Name the model"):
        lab.embed(lab.Segmenter(Locked()), Pictures(), tmp_path / "store", CONFIG, client=client)


def test_an_error_of_a_worker_says_where(client, quick, tmp_path):
    class Torn(Pictures):
        def __getitem__(self, index):
            if index == 5:
                raise errors.DatasetError("the image p005 is torn; fetch it again.")
            return super().__getitem__(index)

    with pytest.raises(errors.DatasetError, match=f"On the worker {socket.gethostname()}: the image p005 is torn"):
        lab.embed(quick, Torn(), tmp_path / "store", CONFIG, shard_size=2, client=client)


def test_a_client_needs_a_place_for_counts(client, quick):
    with pytest.raises(errors.ConfigError, match="needs out="):
        lab.evaluate(quick, Pictures(), CONFIG, client=client)
    with pytest.raises(errors.ConfigError, match="needs out="):
        lab.sweep(quick, Pictures(), [CONFIG], client=client)


class Deadly:
    def open(self):
        return lambda task: os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_every_worker(client):
    patience = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
    assert patience == 3
    client.run_on_scheduler(_be_impatient)
    with pytest.raises(errors.ClusterError, match=r"The task 7 failed because 1 workers died.* run again"):
        list(cluster.run(client, Deadly(), [7]))


def _be_impatient(dask_scheduler):
    dask_scheduler.allowed_failures = 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "either"),
        ({"scheduler": "tcp://127.0.0.1:8786", "workers": 2}, "either"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": True}, "workers is True"),
    ],
)
def test_bad_arguments(given, says):
    with pytest.raises(errors.ConfigError, match=says), cluster.connect(**given):
        pass


@pytest.fixture
def silent():
    """Address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.filterwarnings("ignore")  # dask leaves a half-open connection behind
def test_a_scheduler_that_does_not_answer(silent, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    for address in (silent, closed, "nonsense://x", "tcp://127.0.0.1:x"):
        says = f"The scheduler {address!r} did not answer"
        with pytest.raises(errors.ClusterError, match=says), cluster.connect(address):
            pass
    done = CliRunner().invoke(app, ["embed", "scenes", "--store", "x", "--scheduler", closed])
    assert isinstance(done.exception, errors.ClusterError)
    assert not Path("x").exists()


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)  # what an import finds where it is not installed
    with pytest.raises(errors.ClusterError, match=r'pip install "clipdiy-lab\[scale\]"'), cluster.connect(workers=2):
        pass


@contextlib.contextmanager
def process(*arguments, path=()):
    """Run Python with the tests' folders and others before them in its path; it ends with the block."""
    places = os.pathsep.join([*map(str, path), str(Path(lab.__file__).parents[1]), str(Path(__file__).parent)])
    elsewhere = sys.prefix  # `python -m` puts the folder that it starts in before all others
    child = subprocess.Popen([sys.executable, *arguments], env={**os.environ, "PYTHONPATH": places}, cwd=elsewhere)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


OLD_SCHEDULER = """
import sys
import distributed.versions as v
from distributed.cli.dask_scheduler import main

real = v._version_cached
v._version_cached = lambda name: "2020.1.0" if name == "distributed" else real(name)
main(["--host", "127.0.0.1", "--no-dashboard", "--port", "0", "--scheduler-file", sys.argv[1]])
"""


def test_a_scheduler_of_another_version(tmp_path):
    """No second version of dask is installed here: a real scheduler says that it is another one."""
    file = tmp_path / "scheduler.json"
    with process("-c", OLD_SCHEDULER, str(file)):
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        says = f"The scheduler has other versions: distributed 2020.1.0 there, {distributed.__version__} here"
        warns = pytest.warns(match="Mismatched versions")  # dask's own, about every package
        with warns, pytest.raises(errors.ClusterError, match=says), cluster.connect(address):
            pass


def test_a_worker_of_another_version_of_the_lab(quick, tmp_path):
    other = tmp_path / "other" / "clipdiy_lab"
    other.mkdir(parents=True)
    for one in Path(lab.__file__).parent.iterdir():
        if one.name not in ("_version.py", "__pycache__"):
            (other / one.name).symlink_to(one)
    (other / "_version.py").write_text('__version__ = "0.0.9"\n')
    quiet = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=0, **quiet) as home:
        worker = ["-m", "distributed.cli.dask_worker", home.scheduler_address, "--host", "127.0.0.1", "--no-nanny"]
        more = ["--nthreads", "1", "--no-dashboard"]
        with process(*worker, *more, path=[other.parent]), cluster.connect(home.scheduler_address) as client:
            says = f"it has other versions: clipdiy_lab 0.0.9 there, {lab.__version__} here"
            with pytest.raises(errors.ClusterError, match=says):
                lab.embed(quick, Pictures(), tmp_path / "store", CONFIG, client=client)


def test_a_segmenter_by_recipe(tmp_path):
    gray = tmp_path / "map.png"
    Image.new("L", (4, 4), 128).save(gray)
    segmenter = lab.load("tiny", saliency=build("file", path=gray), precision="bf16", batch_size=9)
    sent = SentSegmenter.of(segmenter)
    assert (sent.encoder, sent.precision) == (Recipe("tiny", {"device": "auto"}), "bf16")
    assert sent.saliency == Recipe("file", {"path": gray})
    made = sent.build()
    assert made.encoder.fingerprint == segmenter.encoder.fingerprint
    assert (made.encoder.precision, made.batch_size) == ("bf16", 9)
    Image.new("L", (4, 4), 129).save(gray)
    with pytest.raises(errors.ModelError, match="'file' has other weights there"):
        sent.build()


@pytest.mark.parametrize("dense_from", ["frame", "crops"])
def test_patch_tokens_and_refinement_are_the_same_on_a_cluster(client, tmp_path, monkeypatch, dense_from):
    """With a real transformer: a store, a result and a sweep, to the bit."""
    monkeypatch.setattr(workers, "IMAGES_A_TASK", 2)
    tiny, scenes = lab.load("tiny", saliency="none"), lab.open_dataset("scenes", length=6)
    config = lab.Config(
        scales=(64,), image_size=128, dense="naclip", dense_from=dense_from, background="prompt",
        refine="pamr", refine_dilations=(4,),
    )  # fmt: skip
    stores = {name: tmp_path / name for name in ("alone", "together")}
    for name, used in (("alone", None), ("together", client)):
        lab.embed(tiny, scenes, stores[name], config, shard_size=2, client=used)
        prune(stores[name])
    assert snapshot(stores["alone"]) == snapshot(stores["together"])
    results, tables = [], []
    grid = {"weights": [{}, {"dense": 0.0}, {"s064": 0.0}], "refine": ["none", "pamr"]}
    for name, used in (("alone", None), ("together", client)):
        options = {"client": used, "segmenter": tiny}
        results.append(lab.evaluate(stores["alone"], scenes, config, out=tmp_path / f"{name}.nc", **options))
        tables.append(lab.sweep(stores["alone"], scenes, grid, base=config, out=tmp_path / f"{name}.jsonl", **options))
    xr.testing.assert_identical(*results)
    alone, together = (table.drop(columns="seconds") for table in tables)
    pd.testing.assert_frame_equal(together, alone, check_exact=True)
    assert list(alone["error"]) == [""] * 6
    assert alone["miou_percent"].nunique() > 3
    direct = lab.evaluate(tiny, scenes, config, out=tmp_path / "direct.nc", client=client)
    xr.testing.assert_identical(direct, lab.evaluate(tiny, scenes, config, out=tmp_path / "here.nc"))
