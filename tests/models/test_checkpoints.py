"""Files of weights: opened once, of every honest kind, and of dishonest ones nothing is run."""

import argparse
import hashlib
import itertools
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from swapping import swapped_when_opened

from clipdiy_lab.errors import WeightsError
from clipdiy_lab.models.checkpoints import read_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def read_tensors(path, sha256=None):
    return read_checkpoint(path, sha256).tensors


def assert_same(got, expected):
    assert set(got) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor)
        assert got[name].device.type == "cpu"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_torch_files(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    torch.save({"epoch": 3, "decoder": STATE}, path)
    nested = {f"decoder.{name}": tensor for name, tensor in STATE.items()}
    assert_same(read_tensors(str(path), hashlib.sha256(path.read_bytes()).hexdigest()), nested)
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    assert_same(read_tensors(path), STATE)


def test_safetensors_files(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(STATE, path)
    assert_same(read_tensors(path, hashlib.sha256(path.read_bytes()).hexdigest().upper()), STATE)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_code_in_a_pickle_never_runs(tmp_path, how):
    trap, path = tmp_path / "trap", tmp_path / "net.pt"
    payload = {"a.weight": Malicious(trap)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsError, match=r"holds Python objects.*, which the lab never loads"):
        read_tensors(path)
    assert not trap.exists()
    # The control: without the guard the trap does spring, so the test can fail.
    if how == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trap.exists()


def test_the_hash_is_checked_before_anything_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "net.pt"
    torch.save(STATE, path)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("opened"))
    with pytest.raises(WeightsError, match=rf"has sha256 \w+, expected {'0' * 64}.*not opened"):
        read_tensors(path, "0" * 64)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0.2, 0.9, 0.999])
def test_files_cut_short(tmp_path, suffix, keep):
    path = tmp_path / f"net{suffix}"
    state = {"a": torch.randn(1000)}
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(WeightsError, match="cut short"):
        read_tensors(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>", "is a web page"),
        (b"<HTML>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (b"just some text", "cannot be read"),
        (bytes(range(256)) * 4, "cannot be read"),
    ],
)
def test_files_that_are_something_else(tmp_path, suffix, content, message):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_tensors(path)


@pytest.mark.parametrize("content", [3, [torch.ones(2)], {}, torch.ones(2), {"epoch": 3}])
def test_files_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="no named tensors"):
        read_tensors(tmp_path / "net.pt")


def test_missing_files_and_unknown_kinds(tmp_path):
    with pytest.raises(WeightsError, match="There is no weights file"):
        read_tensors(tmp_path / "net.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(WeightsError, match=r"folder\.pt is a folder; name the file .*'local-dir:.*folder\.pt'"):
        read_tensors(tmp_path / "folder.pt")
    with pytest.raises(WeightsError, match=r"expected .safetensors, .pt, .pth, .bin, .ckpt"):
        read_tensors(tmp_path / "net.onnx")


# --- one opening --------------------------------------------------------------------------------------------------


def save(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_hashed_is_what_is_loaded_although_the_path_is_swapped(tmp_path, suffix):
    path, other = tmp_path / f"net{suffix}", tmp_path / f"trojan{suffix}"
    save(STATE, path)
    save({name: tensor + 1 for name, tensor in STATE.items()}, other)
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    with swapped_when_opened(path, other.read_bytes()):
        tensors, sha256 = read_checkpoint(path, good)
    assert_same(tensors, STATE)
    assert sha256 == good
    # The path does hold the other file now, so the test can fail.
    with pytest.raises(WeightsError, match=f"expected {good}"):
        read_checkpoint(path, good)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_rewritten_in_place_afterwards_does_not_reach_the_tensors(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    save(STATE, path)
    tensors = read_tensors(path)
    size = path.stat().st_size
    with path.open("rb+") as file:
        file.write(b"\xff" * size)
    assert_same(tensors, STATE)


@pytest.mark.parametrize("sha256", ["abc", "0" * 63, "g" * 64, 5, b"0" * 64])
def test_what_is_no_hash_is_refused(tmp_path, sha256):
    save(STATE, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="expected the 64 hexadecimal digits"):
        read_tensors(tmp_path / "net.pt", sha256)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file whose reading fails: Linux has one")
def test_a_disk_that_fails_is_named(tmp_path):
    path = tmp_path / "net.pt"
    path.symlink_to("/proc/self/mem")  # a regular file, says the system, and reading its start is an I/O error
    with pytest.raises(WeightsError, match=r"net\.pt cannot be read \(Input/output error\)"):
        read_tensors(path)


# --- training checkpoints -----------------------------------------------------------------------------------------


def trained(state):
    """The optimizer's state after a step, as training programs keep it beside the weights."""
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in state.values()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer.state_dict()


BESIDE = {
    "open_clip": {"epoch": 3, "name": "run", "optimizer": trained(STATE), "scaler": {"scale": 65536.0}},
    "Lightning": {"pytorch-lightning_version": "2.4", "global_step": 7, "optimizer_states": [trained(STATE)]},
    "numpy": {"best": np.float64(0.5), "count": np.int64(3), "half": np.float32(1), "curve": np.arange(3.0)},
    "options": {"args": argparse.Namespace(lr=1e-3, tags=["a"])},
    "nothing": {},
}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("beside", BESIDE)
def test_of_a_training_checkpoint_the_weights_are_read(tmp_path, key, beside):
    torch.save({**BESIDE[beside], key: STATE}, tmp_path / "epoch_3.pt")
    assert_same(read_tensors(tmp_path / "epoch_3.pt"), STATE)


PREFIXES = ["", "module.", "model.", "_orig_mod."]


@pytest.mark.parametrize("outer", ["module.", "model.", "_orig_mod."])
@pytest.mark.parametrize(("middle", "inner"), list(itertools.product(PREFIXES, PREFIXES)))
def test_prefixes_of_wrappers_are_taken_off_in_every_order(tmp_path, outer, middle, inner):
    state = {f"{outer}{middle}{inner}{name}": tensor for name, tensor in STATE.items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "net.pt")
    assert_same(read_tensors(tmp_path / "net.pt"), STATE)
    save_file(state, tmp_path / "net.safetensors")
    assert_same(read_tensors(tmp_path / "net.safetensors"), STATE)


def test_a_part_that_was_compiled_alone(tmp_path):
    torch.save({"a._orig_mod.weight": STATE["a.weight"], "a.bias": STATE["a.bias"]}, tmp_path / "net.pt")
    assert_same(read_tensors(tmp_path / "net.pt"), STATE)


def test_a_prefix_that_only_some_names_have_is_part_of_the_name(tmp_path):
    state = {"model.weight": torch.ones(2), "scale": torch.ones(())}
    torch.save(state, tmp_path / "net.pt")
    assert_same(read_tensors(tmp_path / "net.pt"), state)


def test_a_name_that_is_there_bare_and_compiled(tmp_path):
    torch.save({**STATE, "_orig_mod.a.bias": torch.ones(2)}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"holds 'a\.bias' twice"):
        read_tensors(tmp_path / "net.pt")


# --- programs and objects -----------------------------------------------------------------------------------------


class Tower(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = torch.nn.Linear(2, 3)

    def forward(self, x):
        return self.visual(x)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A model as OpenAI publishes its: a TorchScript archive."""
    path = tmp_path_factory.mktemp("jit") / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(Tower()), path)
    return path


def test_a_torchscript_archive_is_named_and_the_way_out_works(tmp_path, archive):
    with pytest.raises(WeightsError, match=r"is a TorchScript archive, .*'ViT-B-32/openai'.*torch\.save") as caught:
        read_tensors(archive)
    advised = str(caught.value).partition("plain tensors by ")[2].rstrip(".")
    command = advised.replace("FILE", repr(str(archive))).replace("'weights.pt'", repr(str(tmp_path / "weights.pt")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        exec(command, {"torch": torch})
    assert set(read_tensors(tmp_path / "weights.pt")) == {"visual.weight", "visual.bias"}


def test_a_whole_model_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"holds Python objects \(torch\.nn\.modules\.linear\.Linear\)") as caught:
        read_tensors(tmp_path / "net.pt")
    assert "state_dict() alone" in str(caught.value)
    assert "weights_only" not in str(caught.value)


class Beside:
    """Pickles itself as a call of something else."""

    def __init__(self, call, *arguments) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("call", [os.system, exec, os.unlink, getattr, np.load, np.frombuffer])
def test_only_what_is_harmless_is_left_out_silently(tmp_path, call):
    trap = tmp_path / "trap"
    trap.touch()
    arguments = {os.system: (f"rm {trap}",), exec: (f"import os; os.unlink({str(trap)!r})",), getattr: ("", "upper")}
    torch.save({**STATE, "beside": Beside(call, *arguments.get(call, (str(trap),)))}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="holds Python objects"):
        read_tensors(tmp_path / "net.pt")
    assert trap.exists()


def test_nothing_of_numpy_is_built_from_the_file(tmp_path):
    # Of an object array numpy would keep whatever the file says; here it never gets to see it.
    odd = np.array([{"a": 1}, "text"], dtype=object)
    torch.save({**STATE, "beside": odd, "more": np.float64(1)}, tmp_path / "net.pt")
    assert_same(read_tensors(tmp_path / "net.pt"), STATE)
    # And what torch accepts is as strict afterwards as it was before.
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "net.pt", weights_only=True)
