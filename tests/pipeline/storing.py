"""A small world for stores: pictures that cost nothing, and a process that kills writers.

As a script (``python storing.py FOLDER``) it forks writers from one parent that has everything imported, so that a kill
costs milliseconds, and prints what it found as JSON.
"""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from counting import CountingEncoder

import clipdiy_lab as lab
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.pipeline.embeddings import layout
from clipdiy_lab.pipeline.embeddings.identity import canonical, digest
from clipdiy_lab.pipeline.embeddings.upkeep import prune
from clipdiy_lab.pipeline.embeddings.write import Job, embed

SMALL = lab.Config(scales=(16, 8), image_size=(16, 24))


class Pictures:
    """Random pictures of several sizes; `changed` names one that is another picture than before."""

    name = "pictures"
    label_names = ("background", "cat", "sofa")

    def __init__(self, length=7, changed=None):
        self.length, self.changed = length, changed
        self.decoded = 0

    def __len__(self):
        return self.length

    def id(self, index):
        return f"p{index:03d}"

    def __getitem__(self, index):
        self.decoded += 1
        rng = np.random.default_rng(index)
        size = (10 + index, 20 - index)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        if index == self.changed:
            image[0, 0, 0] ^= 1
        return Sample(self.id(index), image, np.zeros(size, dtype=np.uint8))


class Ramp:
    """A saliency source: brightness."""

    name, fingerprint = "ramp", "ramp-1"

    def __call__(self, image):
        return image.mean(2, dtype=np.float32) / 255


def make_segmenter():
    return lab.Segmenter(CountingEncoder(), Ramp())


def snapshot(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def accepted(store):
    """Shard files that a record vouches for, with the bytes that a reader would find there."""
    records = [json.loads(path.read_text()) for path in Path(store, "shards").glob("*.ok")]
    files = [Path(store, "shards", record["file"]) for record in records]
    return {f"shards/{file.name}": file.read_bytes() if file.exists() else b"" for file in files}


def careless_commit(self, shard, data):
    """What no writer must do: vouch first, then write in place, in two steps."""
    sha256 = hashlib.sha256(data).hexdigest()
    file = layout.shard_file(shard, sha256)
    record = layout.Record(key=digest(self.header.key), shard=shard, file=file, bytes=len(data), sha256=sha256)
    layout.record_path(self.path, shard).write_text(canonical(dataclasses.asdict(record)))
    with (self.path / layout.SHARDS / file).open("wb") as handle:
        handle.write(data[: len(data) // 2])
        handle.flush()
        time.sleep(0.1)
        handle.write(data[len(data) // 2 :])


def fork_writer(store, report=None):
    """Start a process that fills a store; `report` is a file for the number of images that it encoded."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        segmenter = make_segmenter()
        embed(segmenter, Pictures(), store, SMALL, shard_size=2)
        if report:
            report.write_text(str(len(segmenter.encoder.batches)))
        status = 0
    finally:
        os._exit(status)


def wait_for(child):
    """How a process ended: "killed", "done" or "failed"."""
    status = os.waitpid(child, 0)[1]
    return "killed" if os.WIFSIGNALED(status) else "done" if os.WEXITSTATUS(status) == 0 else "failed"


class Judge:
    """Compares stores with an undisturbed one."""

    def __init__(self, folder):
        start = time.perf_counter()
        assert wait_for(fork_writer(folder / "undisturbed")) == "done"
        self.seconds = time.perf_counter() - start
        self.expected = snapshot(folder / "undisturbed")

    def wrong(self, store):
        """Number of accepted shards whose bytes are not those of the undisturbed store."""
        return sum(self.expected.get(name) != data for name, data in accepted(store).items())

    def differs(self, store):
        """Whether a finished store, pruned, has any other file or byte than the undisturbed one."""
        prune(store)
        return snapshot(store) != self.expected


def await_moment(store, rng, span):
    """Sleep for a random time; every second time, until shortly after one more shard is there."""
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, 0.8 * span))
        return
    shards, end = store / "shards", time.monotonic() + 10 * span
    before = len(list(shards.glob("*.ok")))
    while len(list(shards.glob("*.ok"))) == before and time.monotonic() < end:
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, span / 10))


def kill(folder, rounds):
    """Kill writers at random moments, resume, and kill again, until a store is finished; then begin another.

    Ends early when a reader would have been told something wrong.
    """
    judge, rng = Judge(folder), random.Random(17)
    counts = {"killed": 0, "done": 0, "failed": 0, "wrong": 0, "different": 0, "progress": []}
    number, before, span = 0, 0, judge.seconds
    while counts["killed"] < rounds and not counts["wrong"]:
        store = folder / f"store{number}"
        child = fork_writer(store)
        await_moment(store, rng, span)
        os.kill(child, signal.SIGKILL)
        end = wait_for(child)
        counts[end] += 1
        if not store.exists():
            continue
        counts["wrong"] += judge.wrong(store)
        there = len(accepted(store))
        counts["progress"].append(there)
        # On a busy machine a writer takes longer than the undisturbed one did: let it come to its later moments too.
        span *= 0.7 if there == 4 else 1.1 if there == before else 1
        before = there
        if there == 4 or end == "done":
            counts["failed"] += end != "done" and wait_for(fork_writer(store)) != "done"
            counts["different"] += judge.differs(store)
            shutil.rmtree(store)
            number, before = number + 1, 0
    return counts | {"stores": number, "seconds": judge.seconds}


def pair(folder, rounds):
    """Let three writers at one store; in every second round one of them is killed."""
    judge, rng = Judge(folder), random.Random(18)
    counts = {"killed": 0, "done": 0, "failed": 0, "different": 0, "encoded": []}
    for number in range(rounds):
        store, reports = folder / f"store{number}", [folder / f"report{number}-{i}" for i in range(3)]
        children = [fork_writer(store, report) for report in reports]
        if number % 2:
            time.sleep(rng.uniform(0.3, 1) * judge.seconds)
            os.kill(children[0], signal.SIGKILL)
        for child in children:
            counts[wait_for(child)] += 1
        if not number % 2:
            counts["encoded"].append(sum(int(report.read_text()) for report in reports))
        counts["different"] += judge.differs(store)
    return counts


def main(folder):
    """Do everything in one process, the careless writer last."""
    torch.set_num_threads(1)
    found = {}
    for name, work, rounds in (("kill", kill, 100), ("pair", pair, 4), ("careless", kill, 40)):
        if name == "careless":
            Job._commit = careless_commit
        (folder / name).mkdir()
        found[name] = work(folder / name, rounds)
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
