"""One thread for what surrounds the networks: the caller's number comes back, and results do not depend on it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.threads import one_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_callers_threads_come_back_after_an_error_too(two_threads):
    seen = []

    @one_thread()
    def fail():
        seen.append(torch.get_num_threads())
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fail()
    assert seen == [1]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("said", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_environment_says_otherwise(said, used):
    code = "import sys, os, clipdiy_lab; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {} if said is None else {"OMP_WAIT_POLICY": said}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == used


def test_another_thread_keeps_its_own(two_threads):
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 2
        with one_thread():
            assert other.submit(torch.get_num_threads).result() == 2


def test_a_run_is_made_by_one_thread_whatever_torch_has_and_is_the_same(two_threads):
    segmenter, scene = lab.load("tiny", saliency="none", device="cpu"), lab.open_dataset("scenes")[0]
    encoded, config = segmenter.encode(scene.image), lab.Config()
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        text = segmenter.text_embeddings(["cat", "car"], config)
        runs.append(lab.recombine(fuse(encoded, text, config), temperature=0.5))
        assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(runs[0]["probability"].values, runs[1]["probability"].values)
