"""Getting datasets end to end: real processes and a faulty server, real archives, and everything that goes wrong."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from getting import (
    below,
    data,
    entry,
    environment,
    own_manifest,
    scene_files,
    shipped_manifest,
    start,
    tarred,
    without_times,
    zipped,
)
from PIL import Image
from reading import check, indices, official_masks, pixels
from scenes_files import voc_indices
from serving import fail, serve, step

import clipdiy_lab as lab
from clipdiy_lab import downloads
from clipdiy_lab.datasets import get
from clipdiy_lab.datasets.get import describe, fetch_dataset, needed_bytes, plan
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.datasets.verify import verify_dataset, where_datasets
from clipdiy_lab.errors import DatasetError, DownloadError, OutputError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("CLIPDIY_LAB_OFFLINE", raising=False)
    for name in [name for name in os.environ if "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> dict[str, bytes]:
    return scene_files(tmp_path_factory.mktemp("scenes") / "voc")


@pytest.fixture
def parts(scenes):
    """Images and masks apart, each with a README of its own at the same path, as some benchmarks have it."""
    images = {f"own/{name}": data for name, data in scenes.items() if name.startswith("JPEGImages")}
    masks = {name: data for name, data in scenes.items() if not name.startswith(("JPEGImages", "labels"))}
    return images | {"own/README": b"images"}, masks | {"README": b"all of the masks"}, scenes["labels.txt"]


@pytest.fixture
def own(server, parts, folder, tmp_path):
    """A manifest with a zip, a tar and a plain file; the server gives all three."""
    images, masks, labels = parts
    archives = [
        entry(server, "images.zip", zipped(images)),
        entry(server, "masks.tar.gz", tarred(masks, "w:gz"), "tar", "own"),
        entry(server, "labels.txt", labels, None, "own", known=False),
    ]
    return own_manifest(tmp_path / "own.yaml", archives, 4)


def expected_scenes():
    scenes = Scenes("val", length=4)
    return {sample.id: (sample.image, voc_indices(scenes)[sample.mask]) for sample in scenes}


# --- the good case ------------------------------------------------------------------------------------------------


def test_from_nothing_to_samples_by_commands(own, server, folder, scenes):
    code, out, err = data("where", own, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["state"] == "absent"
    assert data("verify", own)[0] == 1
    assert server.asked == []

    code, out, err = data("fetch", own)
    assert code == 0, err
    assert out.strip() == str(folder / "own")
    total = sum(len(server.plan[f"/{name}"][0].keywords["data"]) for name in ("images.zip", "masks.tar.gz"))
    assert f"{total:,} bytes to fetch (the size of labels.txt is not known)" in err
    assert sorted(server.paths()) == ["/images.zip", "/labels.txt", "/masks.tar.gz"]
    assert below(folder / "own") == scenes | {"README": b"all of the masks"}
    check(lab.open_dataset(own), expected_scenes())

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, err = data("fetch", own, "--json")
    assert json.loads(out)["archives"] == [
        {"name": name, "was_done": True} for name in ("images.zip", "masks.tar.gz", "labels.txt")
    ]
    assert "everything is in its place" in err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert len(server.asked) == 3

    assert json.loads(data("where", own, "--json")[1])[0]["state"] == "complete"
    code, out, err = data("verify", own, "--deep", "--json")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["val"] == {"kind": "split", "name": "val", "expected": 4, "found": 4, "problem": ""}
    assert rows["images.zip"]["found"] == rows["images.zip"]["expected"] > 0


def test_archives_may_be_deleted_afterwards(own, server, folder):
    fetch_dataset(load_manifest(own))
    for path in (folder / "archives").glob("*.zip"):
        path.unlink()
    assert all(one.done for one in fetch_dataset(load_manifest(own)))
    report = verify_dataset(load_manifest(own)).set_index("name")
    assert (report["problem"] == "").all()
    assert report["found"].isna()["images.zip"]
    assert len(server.asked) == 3


def test_real_voc_samples(server, shared, folder, tmp_path):
    source = shared("samples/voc2012")
    ids = ["2008_000533", "2007_000033", "2007_000129"]
    files = {"ImageSets/Segmentation/val.txt": "\n".join(ids).encode()}
    for one in ids:
        for name in (f"JPEGImages/{one}.jpg", f"SegmentationClass/{one}.png"):
            files[name] = (source / name).read_bytes()
    archive = tarred({f"VOCdevkit/VOC2012/{name}": data for name, data in files.items()})
    facts = load_manifest("voc21").archives[0]
    path = shipped_manifest(
        "voc21", tmp_path / "voc.yaml", [entry(server, facts.name, archive, facts.unpack, facts.extract_to)], val=3
    )
    fetch_dataset(load_manifest(path))
    wanted = {
        one: (pixels(source / f"JPEGImages/{one}.jpg"), indices(source / f"SegmentationClass/{one}.png")) for one in ids
    }
    check(lab.open_dataset(path), wanted)
    # The shipped manifest, whose archive is another, finds the same files, and says that they are not all.
    assert len(lab.open_dataset("voc21", partial=True)) == 3
    states = where_datasets().set_index("name")["state"]
    assert states["voc21"] == states["voc20"] == "incomplete"
    assert states["scenes"] == "embedded"
    assert states["context60"] == "absent"


def test_real_coco_samples(server, shared, folder, tmp_path):
    """The images come without the folder `images`, the annotations with theirs, as in the published archives."""
    source = shared("samples/coco")
    content = (source / "annotations/instances_val2017.json").read_bytes()
    pictures = {f"val2017/{path.name}": path.read_bytes() for path in (source / "images/val2017").glob("*.jpg")}
    first, second = load_manifest("coco_object_diy").archives
    archives = [
        entry(server, first.name, zipped(pictures), first.unpack, first.extract_to),
        entry(
            server,
            second.name,
            zipped({"annotations/instances_val2017.json": content}),
            second.unpack,
            second.extract_to,
        ),
    ]
    path = shipped_manifest("coco_object_diy", tmp_path / "coco.yaml", archives, val=50)
    assert where_datasets([load_manifest(path)])["state"][0] == "absent"
    fetch_dataset(load_manifest(path))
    assert where_datasets([load_manifest(path)])["state"][0] == "complete"
    numbers = [0, *sorted(one["id"] for one in json.loads(content)["categories"])]
    masks = official_masks(json.loads(content), numbers)
    large = {name: mask for name, mask in masks.items() if (mask > 0).sum() >= 1000}
    check(lab.open_dataset(path), {n: (pixels(source / f"images/val2017/{n}.jpg"), m) for n, m in large.items()})
    report = verify_dataset(load_manifest(path), deep=True)
    assert (report["problem"] == "").all()
    assert report.set_index("name")["found"]["val"] == 50  # before the filter
    (folder / "coco/images/val2017" / sorted(pictures)[0].rpartition("/")[2]).unlink()
    assert where_datasets([load_manifest(path)])["state"][0] == "incomplete"


def test_a_root_that_is_a_link_to_another_disk(own, folder):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or os.stat(elsewhere).st_dev == os.stat(folder.parent).st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    place = elsewhere / f"clipdiy-test-{os.getpid()}"
    place.mkdir()
    try:
        folder.mkdir()
        (folder / "own").symlink_to(place)
        fetch_dataset(load_manifest(own))
        check(lab.open_dataset(own), expected_scenes())
        assert not [path for path in place.iterdir() if path.name.startswith(".")]
    finally:
        shutil.rmtree(place)


def test_embedded_data_needs_nothing(folder):
    code, out, err = data("fetch", "scenes")
    assert (code, out.strip()) == (0, "scenes comes with the package and needs no files.")
    assert "nothing to fetch" in err
    assert data("verify", "scenes")[0] == 0
    assert not folder.exists()


# --- offline, logins ----------------------------------------------------------------------------------------------

NO_SOCKETS = """
import sys
sys.addaudithook(lambda event, args: event.startswith("socket.") and sys.exit(f"opened a socket: {event}"))
from clipdiy_lab.cli import main
sys.argv = ["clipdiy-lab", "data", "fetch", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_opens_no_socket_and_says_what_is_missing(own, server, folder, tmp_path, how):
    def fetch(*options):
        extra = {"CLIPDIY_LAB_OFFLINE": "1"} if how == "environment" else {}
        options = (*options, "--offline") if how == "option" else options
        return subprocess.run(
            [sys.executable, "-c", NO_SOCKETS, str(own), *options],
            capture_output=True, text=True, env=environment(CLIPDIY_LAB_DATA=folder, **extra), check=False,
        )  # fmt: skip

    done = fetch()
    assert done.returncode == 1
    for name, place in (("images.zip", "archives"), ("masks.tar.gz", "archives"), ("labels.txt", "own")):
        assert f"{server.url(f'/{name}')} (" in done.stderr
        assert f"at {folder / place / name}" in done.stderr
    assert "offline mode forbids" in done.stderr
    assert not folder.exists()
    for name, place in (("images.zip", "archives"), ("masks.tar.gz", "archives"), ("labels.txt", "own")):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / name).write_bytes(server.plan[f"/{name}"][0].keywords["data"])
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert server.asked == []
    check(lab.open_dataset(own), expected_scenes())


def test_the_guard_against_sockets_bites(own, folder):
    done = subprocess.run(
        [sys.executable, "-c", NO_SOCKETS, str(own)],
        capture_output=True, text=True, env=environment(CLIPDIY_LAB_DATA=folder), check=False,
    )  # fmt: skip
    assert "opened a socket" in done.stderr


def test_a_login_is_an_instruction(server, scenes, folder, tmp_path):
    archive = zipped({f"own/{name}": content for name, content in scenes.items()})
    facts = entry(server, "all.zip", archive, access="login")
    path = own_manifest(tmp_path / "own.yaml", [facts], 4)
    place = folder / "archives/all.zip"
    code, out, err = data("fetch", path)
    assert (code, out) == (1, "")
    assert f"only with an account (terms: http://terms). Log in, and put {server.url('/all.zip')} (" in err
    assert f"{len(archive):,} bytes) at {place}. Then run `clipdiy-lab data fetch {path}` again" in err
    place.parent.mkdir(parents=True)
    place.write_bytes(b"<!DOCTYPE html>Please log in")
    with pytest.raises(DownloadError, match=rf"has 28 bytes, expected {len(archive):,}\. Delete it"):
        fetch_dataset(load_manifest(path))
    place.write_bytes(archive)
    fetch_dataset(load_manifest(path))
    check(lab.open_dataset(path), expected_scenes())
    assert server.asked == []


def test_cityscapes_is_one_sentence(folder):
    code, _, err = data("fetch", "cityscapes19")
    assert code == 1
    assert "only with an account" in err
    for name in ("gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip"):
        assert str(folder / "archives" / name) in err


# --- servers and archives that fail -------------------------------------------------------------------------------


def test_a_bad_day_on_the_network(server, parts, folder, tmp_path, monkeypatch):
    """One fetch through a mirror that is down, a busy server, cut connections, and a file that changes midway."""
    monkeypatch.setattr(downloads, "_pause", lambda seconds: None)
    images, masks, labels = parts
    one, two = zipped(images), tarred(masks)
    archives = [
        entry(
            server, "images.zip", one,
            how=[step(fail, status=429), step(serve, data=one, cut=len(one) // 3), step(fail, status=503),
                 step(serve, data=one, cut=len(one) // 2), step(serve, data=one)],
        ),
        entry(
            server, "masks.tar", two, "tar", "own", mirrors=[server.url("/mirror", step(serve, data=two))],
            how=[step(serve, data=one[: len(two)])],
        ),
        entry(
            server, "labels.txt", labels, None, "own",
            how=[step(serve, data=b"#" * len(labels), cut=20), step(serve, data=labels, etag='"two"')],
        ),
    ]  # fmt: skip
    archives[0]["mirrors"], archives[0]["url"] = [archives[0]["url"]], "http://127.0.0.1:9/images.zip"  # nobody there
    path = own_manifest(tmp_path / "own.yaml", archives, 4)
    fetch_dataset(load_manifest(path))
    check(lab.open_dataset(path), expected_scenes())
    assert (folder / "own/labels.txt").read_bytes() == labels
    assert server.paths() == ["/images.zip"] * 5 + ["/masks.tar", "/mirror", "/labels.txt", "/labels.txt"]


def test_a_wrong_hash_everywhere_puts_nothing_in_place(own, server, folder, monkeypatch):
    right = server.plan["/masks.tar.gz"][0].keywords["data"]
    server.plan["/masks.tar.gz"] = [step(serve, data=right[:-1] + b"?")]
    code, out, err = data("fetch", own)
    assert (code, out) == (1, "")
    assert re.search(r"error: Could not fetch masks.tar.gz: http://\S+ has md5 \w{32}, expected \w{32}", err)
    assert not (folder / "own/SegmentationClass").exists()
    assert not list(folder.rglob("*.part"))
    assert "incomplete" in where_datasets([load_manifest(own)])["state"].to_list()
    server.plan["/masks.tar.gz"] = [step(serve, data=right)]
    assert data("fetch", own)[0] == 0
    assert server.paths().count("/images.zip") == 1
    check(lab.open_dataset(own), expected_scenes())


def test_a_truncated_archive_of_unknown_hash(server, scenes, folder, tmp_path):
    archive = tarred({f"own/{name}": content for name, content in scenes.items()})
    facts = entry(server, "all.tar", archive[:-20_000], "tar", known=False)
    path = own_manifest(tmp_path / "own.yaml", [facts], 4)
    with pytest.raises(DatasetError, match=r"all\.tar is cut short or damaged .*delete the archive and fetch it again"):
        fetch_dataset(load_manifest(path))
    assert set(below(folder)) == {"archives/all.tar"}
    server.plan["/all.tar"] = [step(serve, data=archive)]
    (folder / "archives/all.tar").unlink()  # as the message says
    fetch_dataset(load_manifest(path))
    check(lab.open_dataset(path), expected_scenes())
    # No hash is published, so that of the day counts.
    (folder / "archives/all.tar").write_bytes(archive[:-1] + b"?")
    report = verify_dataset(load_manifest(path)).set_index("name")
    assert "has sha256" in report["problem"]["all.tar"]


@pytest.mark.parametrize("about", [0.4, 0.6])
def test_an_archive_of_roughly_known_size_may_be_twice_as_large(server, scenes, folder, tmp_path, about):
    archive = zipped({f"own/{name}": content for name, content in scenes.items()})
    facts = entry(server, "all.zip", archive, known=False) | {"bytes_about": int(about * len(archive))}
    path = own_manifest(tmp_path / "own.yaml", [facts], 4)
    if about < 0.5:
        limit = 2 * facts["bytes_about"]
        with pytest.raises(DownloadError, match=f"offers {len(archive):,} bytes, expected at most {limit:,} "):
            fetch_dataset(load_manifest(path))
        assert below(folder) == {}
    else:
        fetch_dataset(load_manifest(path))
        check(lab.open_dataset(path), expected_scenes())


def test_without_a_network_the_command_says_so_soon(own, folder, tmp_path):
    text = re.sub(r"http://127.0.0.1:\d+", "http://127.0.0.1:9", own.read_text())  # nobody there
    own.write_text(text)
    code, out, err = data("fetch", own)
    assert (code, out) == (1, "")
    assert re.search(r"http://127.0.0.1:9/images.zip cannot be reached \(.*\); trying again in 1 s", err)
    assert "error: Could not fetch images.zip: " in err
    assert "Is this machine on the network?" in err
    assert err.count("trying again") == 1


def test_the_words_of_a_server_are_shown_escaped(own, server, folder):
    server.plan["/images.zip"] = [lambda to: (to.send_response(404, "gone\x1b[2J\x07"), to.end_headers())]
    code, _, err = data("fetch", own)
    assert code == 1
    assert r"answers 404 gone\x1b[2J\x07" in err
    assert err.replace("\n", "").isprintable()


def test_an_archive_that_cannot_be_read_is_named(own, folder):
    place = folder / "own/labels.txt"
    place.parent.mkdir(parents=True)
    place.symlink_to("/proc/self/mem")  # whose first bytes nobody can read
    with pytest.raises(DatasetError, match=r"labels.txt cannot be read \(Input/output error\): check the disk"):
        fetch_dataset(load_manifest(own))


def test_two_manifests_that_call_their_archives_alike(server, scenes, folder, tmp_path):
    """Without hashes the second would take the archive of the first for its own."""
    archive = zipped({f"own/{name}": content for name, content in scenes.items()})
    first = entry(server, "all.zip", archive, known=False)
    other = first | {"url": server.url("/other", step(serve, data=zipped({"own/other": b""})))}
    fetch_dataset(load_manifest(own_manifest(tmp_path / "first.yaml", [first], 4)))
    second = load_manifest(own_manifest(tmp_path / "second.yaml", [other], 4))
    with pytest.raises(
        DatasetError, match=r"all\.zip came from \S+/all\.zip, but this manifest names \S+/other\. Delete"
    ):
        fetch_dataset(second)
    (folder / "archives/all.zip").unlink()
    fetch_dataset(second)
    assert (folder / "own/other").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": 3}', '{"archive": {}, "sha256": 1, "files": {}}'])
def test_a_damaged_record_counts_as_none(own, server, folder, text):
    fetch_dataset(load_manifest(own))
    whole = below(folder)
    (folder / "archives/images.zip.json").write_text(text)
    assert [one.done for one in plan(load_manifest(own))] == [False, True, True]
    fetch_dataset(load_manifest(own))
    again = below(folder)
    # Both archives hold this one; the last that was unpacked stays.
    assert (whole.pop("own/README"), again.pop("own/README")) == (b"all of the masks", b"images")
    assert again == whole
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("field", "value"), [("name", "../out.zip"), ("name", "/out.zip"), ("extract_to", "../out"), ("extract_to", "/out")]
)
def test_a_manifest_cannot_write_elsewhere(server, folder, tmp_path, field, value):
    facts = entry(server, "all.zip", zipped({"x": b""})) | {field: value}
    path = own_manifest(tmp_path / "own.yaml", [facts], 4)
    code, _, err = data("fetch", path)
    assert code == 1
    assert f"field archives.0.{field}" in err
    assert server.asked == []


def test_half_extracted_the_error_names_the_file_and_its_command_mends_it(own, server, folder):
    fetch_dataset(load_manifest(own))
    victim = next((folder / "own/JPEGImages").iterdir())
    whole = victim.read_bytes()
    for damage in (victim.unlink, lambda: victim.write_bytes(whole[:100])):
        damage()
        if not victim.exists():
            with pytest.raises(DatasetError, match=f"{victim.name} is missing") as caught:
                lab.open_dataset(own)
            said = str(caught.value)
        else:
            report = verify_dataset(load_manifest(own)).set_index("name")
            said = report["problem"]["images.zip"]
            assert f"JPEGImages/{victim.name} is missing or of another size" in said
        program, group, *arguments = shlex.split(re.search("`(.*?)`", said)[1])
        assert (program, group) == ("clipdiy-lab", "data")
        assert data(*arguments)[0] == 0
        assert victim.read_bytes() == whole
    assert len(server.asked) == 3  # from the archive that was kept
    shutil.rmtree(folder / "archives")
    victim.unlink()
    assert data(*arguments)[0] == 0
    assert victim.read_bytes() == whole


# --- interrupts and several processes -----------------------------------------------------------------------------


@pytest.fixture
def slow(server, parts, folder, tmp_path):
    """A larger one at a pace that leaves time to interrupt, and what a run without interrupts makes of it."""
    images, masks, labels = parts
    archives = [
        entry(server, "images.zip", zipped(images | {"own/filler": np.random.default_rng(0).bytes(2_000_000)})),
        entry(server, "masks.tar.gz", tarred(masks, "w:gz"), "tar", "own"),
        entry(server, "labels.txt", labels, None, "own", known=False),
    ]
    path = own_manifest(tmp_path / "slow.yaml", archives, 4)
    fetch_dataset(load_manifest(path))
    whole = without_times(folder)
    shutil.rmtree(folder)
    for one in archives:
        server.plan[f"/{one['name']}"] = [step(server.plan[f"/{one['name']}"][0], pace=0.004)]
    server.asked.clear()
    return path, whole


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_at_random_moments(server, slow, folder, how):
    path, whole = slow
    rng = np.random.default_rng(how.value)
    for pause in (0.3, *rng.uniform(0, 0.4, 3)):
        asked = len(server.asked)
        child = start("fetch", path)
        limit = time.monotonic() + 60
        while len(server.asked) == asked and child.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.005)
        time.sleep(pause)
        child.send_signal(how)
        _, err = child.communicate(timeout=60)
        if all(one.done for one in plan(load_manifest(path))):
            break  # too late: it was about to say so
        assert "Traceback" not in err
        if how == signal.SIGINT:
            assert child.returncode == 130
            assert "run the same command again to continue" in err
        else:
            assert child.returncode == -how
    assert data("fetch", path)[0] == 0
    assert without_times(folder) == whole
    check(lab.open_dataset(path), expected_scenes())
    assert any(server.ranges())  # something was continued


@pytest.fixture
def fast_disk(tmp_path):
    """A folder in memory where the system has one: the steps are the same, flushing them costs nothing."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


@pytest.mark.parametrize("how", ["kill", "interrupt", "kill with a link to another disk"])
def test_ended_before_every_single_step(server, scenes, folder, tmp_path, fast_disk, how):
    """A process dies before its first file operation, another before its second, ...; each time the next one mends."""
    names = [name for name in scenes if name.endswith((".txt", "0000.png"))]
    archive = zipped({f"own/{name}": scenes[name] for name in names})
    archives = [
        entry(server, "all.zip", archive),
        entry(server, "labels.txt", scenes["labels.txt"], None, "own", known=False),
    ]
    path = own_manifest(tmp_path / "own.yaml", archives, 1)
    linked = [tmp_path / "linked"] if "link" in how else []
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("dying.py"), how.split()[0], path, fast_disk / "work", *linked],
        capture_output=True, text=True, env=environment(PYTHONPATH=os.pathsep.join(sys.path)), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    points = int(done.stdout.split()[-1])
    assert points > 30


def test_two_at_once(server, slow, folder):
    path, whole = slow
    first, second = start("fetch", path), start("fetch", path)
    outcomes = [child.communicate(timeout=120) for child in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outcomes
    assert sorted(server.paths()) == ["/images.zip", "/labels.txt", "/masks.tar.gz"]
    assert without_times(folder) == whole


# --- the disk -----------------------------------------------------------------------------------------------------


def test_bytes_are_said_and_compared_with_the_disk_first(own, server, folder, monkeypatch):
    manifest = load_manifest(own)
    steps = plan(manifest)
    packed = [one.archive.bytes or 0 for one in steps]
    assert needed_bytes(steps) == 2 * sum(packed)
    (folder / "archives").mkdir(parents=True)
    (folder / "archives/images.zip.part").write_bytes(bytes(1000))
    assert needed_bytes(plan(manifest)) == 2 * sum(packed) - 1000
    assert f"{sum(packed) - 1000:,} bytes to fetch" in describe(manifest, plan(manifest))
    monkeypatch.setattr(get, "_free", lambda: 2 * sum(packed) - 1001)
    with pytest.raises(OutputError, match=r"needs [\d,]+ bytes or more in .*, but only [\d,]+ are free there.*another"):
        fetch_dataset(manifest)
    assert server.asked == []


def test_a_file_that_may_not_grow_keeps_its_part_and_resumes(own, server, folder):
    """The system refuses to write beyond a size, as it refuses on a full disk."""
    data_of = server.plan["/images.zip"][0].keywords["data"]
    limit = len(data_of) // 2
    child = subprocess.run(
        [sys.executable, "-m", "clipdiy_lab", "data", "fetch", str(own)],
        capture_output=True, text=True, env=environment(CLIPDIY_LAB_DATA=folder), check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert child.returncode == 1
    part = folder / "archives/images.zip.part"
    assert (
        f"(File too large). {limit:,} bytes are kept in {part} and will be continued. Free disk space" in child.stderr
    )
    assert part.read_bytes() == data_of[:limit]
    assert data("fetch", own)[0] == 0
    assert server.ranges()[:2] == [None, f"bytes={limit}-"]
    check(lab.open_dataset(own), expected_scenes())


@pytest.fixture
def small_disk(tmp_path, folder):
    """A data folder on a disk of its own; gives a function that makes the disk larger."""
    folder.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, check=False
        )

    if not shutil.which("mount") or mount("-o", "size=256k").returncode:
        pytest.skip("needs the right to mount a small disk")
    yield lambda: mount("-o", "remount,size=16m")
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(server, scenes, small_disk, folder, tmp_path):
    files = {f"own/{name}": content for name, content in scenes.items()}
    filler = np.random.default_rng(0).bytes(150_000)
    archive = zipped(files | {"own/filler": filler})
    facts = entry(server, "all.zip", archive, known=False, how=[step(serve, data=archive, etag='"one"')])
    path = own_manifest(tmp_path / "own.yaml", [facts], 4)
    assert len(archive) > 256 << 10
    with pytest.raises(OutputError, match=r"all\.zip needs [\d,]+ more bytes, but only [\d,]+ are free there"):
        fetch_dataset(load_manifest(path))
    assert below(folder) == {}
    small_disk()
    fetch_dataset(load_manifest(path))
    check(lab.open_dataset(path), expected_scenes())


def test_a_disk_that_is_full_while_unpacking(server, scenes, small_disk, folder, tmp_path):
    files = {f"own/{name}": content for name, content in scenes.items()}
    archive = tarred(files | {"own/filler": bytes(400_000)}, "w:gz")  # 400 kB of zeros pack well
    facts = entry(server, "all.tar.gz", archive, "tar", known=False)  # so that only the disk itself can tell
    path = own_manifest(tmp_path / "own.yaml", [facts], 4)
    with pytest.raises(OutputError, match="No space left on device"):
        fetch_dataset(load_manifest(path))
    assert set(below(folder)) == {"archives/all.tar.gz"}
    small_disk()
    fetch_dataset(load_manifest(path))
    assert server.paths() == ["/all.tar.gz"]
    check(lab.open_dataset(path), expected_scenes())


@pytest.mark.parametrize("place", ["below a file", "in /proc", "a file in the way", "read only"])
def test_places_that_cannot_be_written(own, server, folder, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("mine")
    if place == "below a file":
        folder = tmp_path / "file/data"
    elif place == "in /proc":
        folder = Path("/proc/clipdiy")
        if not Path("/proc").is_dir():
            pytest.skip("needs /proc")
    elif place == "a file in the way":
        folder.mkdir()
        (folder / "own").write_text("mine")
    else:
        folder.mkdir()
        folder.chmod(0o555)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
    monkeypatch.setenv("CLIPDIY_LAB_DATA", str(folder))
    code, out, err = data("fetch", own)
    assert (code, out) == (1, "")
    said = "needs .* only 0 are free there" if place == "in /proc" else rf"Could not write {folder}\S* \(.+\)\. Free"
    assert re.search(f"error: .*{said}", err)
    assert (tmp_path / "file").read_text() == "mine"
    if place == "a file in the way":
        assert (folder / "own").read_text() == "mine"
        assert not list(folder.rglob("*.unpacking"))


# --- verify -------------------------------------------------------------------------------------------------------


def test_verify_finds_what_is_wrong(own, folder):
    manifest = load_manifest(own)
    fetch_dataset(manifest)

    def problem(name, deep=False):
        report = verify_dataset(manifest, deep=deep).set_index("name")
        return report["problem"][name], report["found"][name]

    mask = sorted((folder / "own/SegmentationClass").iterdir())[2]
    original = mask.read_bytes()
    values = np.full(np.asarray(Image.open(mask)).shape, 77, dtype=np.uint8)
    Image.fromarray(values).save(mask)
    assert problem("val") == ("", 4)
    said, found = problem("val", deep=True)
    assert f"{mask} there is the value 77" in said
    assert found == 4
    Image.fromarray(values[1:]).save(mask)
    assert "Expected the same size" in problem("val", deep=True)[0] or "value 77" in problem("val", deep=True)[0]
    Image.fromarray(np.zeros_like(values)[1:]).save(mask)
    assert "Expected the same size" in problem("val", deep=True)[0]
    mask.unlink()
    said, found = problem("val")
    assert f"{mask} is missing" in said
    assert found == 3
    mask.write_bytes(original)

    ids = folder / "own/ImageSets/Segmentation/val.txt"
    lines = ids.read_text().split()
    for text, words in (
        ("\n".join([*lines, lines[0]]), f"names '{lines[0]}' 2 times"),
        ("", "lists no images"),
        ("\n".join(lines[:3]), "has 3 images here. Expected 4"),
    ):
        ids.write_text(text)
        assert words in problem("val")[0]
    ids.write_text("\n".join(lines))

    archive = folder / "archives/images.zip"
    archive.write_bytes(archive.read_bytes()[:-7])
    said, _ = problem("images.zip")
    assert re.search(r"images.zip has [\d,]+ bytes, expected [\d,]+\. Delete it and run `clipdiy-lab data fetch", said)
    code, out, err = data("verify", own)
    assert code == 1
    assert "problems; the first: images.zip: " in err
    assert "images.zip: " in out


def test_verify_reports_on_a_folder_of_ones_own(scenes, folder, tmp_path):
    mine = tmp_path / "mine"
    for name, content in scenes.items():
        new = name.replace("JPEGImages", "images").replace("SegmentationClass", "masks")
        if not new.startswith("ImageSets"):
            target = mine / new.replace("labels.txt", "classes.txt")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    code, out, _ = data("verify", mine)  # four scenes do not have all labels
    assert code == 0
    assert re.search(r"^masks: warning: \d+ of 21 labels occur in no mask: .* of the pixels are ignored", out)
    victim = sorted((mine / "masks").iterdir())[1]
    victim.unlink()
    (mine / "images/notes.txt").write_text("")
    code, out, err = data("verify", mine, "--json")
    assert code == 1
    rows = json.loads(out)
    assert rows == json.loads(lab.validate_folder(mine).to_json(orient="records"))
    assert {row["file"] for row in rows} == {f"images/{victim.name}", "images/notes.txt"}
    assert {row["level"] for row in rows} == {"error"}
    assert "has 2 problems; the first: images/" in err


def test_names_that_are_none(folder):
    for command in ("fetch", "verify", "where"):
        code, out, err = data(command, "voc22")
        assert (code, out) == (1, "")
        assert "Did you mean 'voc21'" in err
