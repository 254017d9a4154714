"""Files of weights: opened once, hashed and read from the same bytes, and never run."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from clipdiy_lab.errors import WeightsError

_SAFETENSORS = ".safetensors"
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
# Under which training programs keep the weights, beside the optimizer's state, the epoch and the like.
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
# DataParallel and DistributedDataParallel put the first before every name, Lightning the second.
_PREFIXES = ("module.", "model.")
_COMPILED = "_orig_mod."  # torch.compile puts it wherever a compiled module stands
_IMPOSTORS = {
    b"<!doctype": "is a web page (an error or login page, perhaps)",
    b"<html": "is a web page (an error or login page, perhaps)",
    b"<?xml": "is a web page (an error or login page, perhaps)",
    b"version https://git-lfs": "is a Git LFS pointer, not the file that it points to",
}


class Checkpoint(NamedTuple):
    """What a file of weights holds, and which file it was.

    Attributes
    ----------
    tensors : dict of str to Tensor
        On the CPU, see `tensors_of`.
    sha256 : str
        Hexadecimal hash of the very bytes that the tensors were read from.
    """

    tensors: dict[str, Tensor]
    sha256: str


def read_checkpoint(path: str | Path, sha256: str | None = None) -> Checkpoint:
    """Read a file of weights through one opening.

    Parameters
    ----------
    path : str or Path
        A `.safetensors` file, or one that `torch.save` wrote: `.pt`, `.pth`, `.bin`, `.ckpt`.
    sha256 : str or None
        Hexadecimal hash that the file must have; checked before anything is read out of its bytes.

    Returns
    -------
    Checkpoint
        Tensors and hash of the same bytes, whatever becomes of the path meanwhile.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable or too large for the memory, has another hash, is no file of weights, is cut
        short, or holds code.

    Notes
    -----
    While it reads, this takes about twice the file's size in memory: its bytes and the tensors made of them.
    """
    path = Path(path)
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder; name the file of weights in it. A folder with an open_clip_config.json is a model of "
            f"its own: 'local-dir:{path}'."
        )
    _check_suffix(path)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(sha256)):
        raise WeightsError(f"sha256 is {sha256!r}; expected the 64 hexadecimal digits of the hash of {path}.")
    content = read_file(path)
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256.lower():
        raise WeightsError(
            f"{path} has sha256 {actual}, expected {sha256.lower()}: get the file again; it was not opened."
        )
    return Checkpoint(tensors_of(content, path), actual)


def read_file(path: Path) -> bytes:
    """Return the whole content of a regular file.

    Raises
    ------
    WeightsError
        If it is missing or cannot be read, does not fit into the memory, or holds what often lies where weights should:
        nothing, a web page, a pointer of Git LFS.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}: check the path.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}): check its permissions and the disk, or get the file "
            "again."
        ) from error
    except MemoryError as error:
        raise WeightsError(f"{path} does not fit into this machine's memory: use a smaller model.") from error
    refuse_impostor(content, path)
    return content


def refuse_impostor(content: bytes, where: str | Path) -> None:
    """Refuse files that are often saved in place of weights: an empty one, a web page, a Git LFS pointer.

    Raises
    ------
    WeightsError
        Saying which of them it is.
    """
    head = content[:64].lstrip().lower()
    kind = next((kind for start, kind in _IMPOSTORS.items() if head.startswith(start)), None if head else "is empty")
    if kind is not None:
        raise WeightsError(f"{where} {kind}, not weights: delete it and get the file itself.")


def tensors_of(content: bytes, where: str | Path) -> dict[str, Tensor]:
    """Read the tensors out of the content of a file of weights, on the CPU, without running code that it may hold.

    Parameters
    ----------
    content : bytes
        Of the whole file.
    where : str or Path
        The file's name: its suffix says of which kind it is.

    Returns
    -------
    dict of str to Tensor
        Of a training checkpoint the weights alone, under the names that the bare module has: without `module.`,
        `model.` and `_orig_mod.`, which parallel training, Lightning and torch.compile put before them. Other nested
        dictionaries become dotted names (`{"decoder": {"weight": w}}` gives `decoder.weight`). What is no tensor, such
        as a number of epochs, is left out.

    Raises
    ------
    WeightsError
        If the content is no weights, is cut short, or holds code.
    """
    suffix = _check_suffix(Path(where))
    tensors = _read_safetensors(content, where) if suffix == _SAFETENSORS else _read_torch(content, where)
    if not tensors:
        raise WeightsError(f"{where} holds no named tensors: check that it is a state dict.")
    return _bare_names(tensors, where)


def _check_suffix(path: Path) -> str:
    if path.suffix not in (_SAFETENSORS, *_TORCH_SUFFIXES):
        raise WeightsError(
            f"{path} does not look like weights: expected {_SAFETENSORS}, {', '.join(_TORCH_SUFFIXES)}; "
            "rename the file if it is one of these."
        )
    return path.suffix


def _read_safetensors(content: bytes, where: str | Path) -> dict[str, Tensor]:
    try:
        return dict(load_safetensors(content))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{where} cannot be read as safetensors ({error}): it is cut short or another kind of file; get it again."
        ) from error


class _LeftOut:
    """Stands in for an object beside the weights, such as the options of a training program; takes and does nothing."""

    def __new__(cls, *_: Any) -> _LeftOut:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        return


# What honest training programs save beside the weights. torch's reader is given `_LeftOut` for each, so that nothing of
# numpy or argparse is built from the file. Everything else that is no plain value is refused.
_LEFT_OUT: list[Any] = [
    (_LeftOut, name)
    for name in (
        "argparse.Namespace",
        "numpy.dtype",
        "numpy.ndarray",
        *(f"numpy.dtypes.{kind}DType" for kind in ("Float16", "Float32", "Float64", "Int32", "Int64", "Bool")),
        *(f"{home}.multiarray.{name}" for home in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    )
]
_reading = threading.Lock()  # the list of what torch's reader accepts is the process's


def _read_torch(content: bytes, where: str | Path) -> dict[str, Tensor]:
    _refuse_program(content, where)
    try:
        with _reading, safe_globals(_LEFT_OUT):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle can raise anything
        # torch's own message is not repeated: it advises to load with weights_only=False.
        raise WeightsError(
            f"{where} cannot be read as plain tensors ({type(error).__name__}): it is cut short, another kind of file, "
            f"or holds Python objects{_objects(content)}, which the lab never loads; get it again, or let the program "
            "that made it save the model's state_dict() alone."
        ) from error
    return dict(_flatten(_weights_of(loaded), ""))


def _refuse_program(content: bytes, where: str | Path) -> None:
    """Refuse a TorchScript archive, which is code with weights beside it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeDecodeError):
        return
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        raise WeightsError(
            f"{where} is a TorchScript archive, a program with its weights (as OpenAI publishes its models), and to "
            "open one is to run it. OpenAI's models have names of their own, such as 'ViT-B-32/openai', which fetch "
            "the same weights as plain tensors. Any other that you trust becomes plain tensors by "
            "torch.save(dict(torch.jit.load(FILE, map_location='cpu').state_dict()), 'weights.pt')."
        )


def _objects(content: bytes) -> str:
    """Name the first few objects that a file would have to be trusted with, as ' (a, b)'; nothing where it has none."""
    try:
        with _reading, safe_globals(_LEFT_OUT):
            names = sorted(get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
    except Exception:  # the file is broken, which is said anyway
        return ""
    printable = [name for name in names if name.isprintable() and len(name) < 100]
    return f" ({', '.join(printable[:3])}{', ...' if len(printable) > 3 else ''})" if printable else ""


def _weights_of(content: object) -> object:
    """Return what a training checkpoint keeps its weights under, or what is no such checkpoint as it is."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content


def _flatten(content: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            else:
                yield from _flatten(value, f"{prefix}{name}.")


def _bare_names(tensors: dict[str, Tensor], where: str | Path) -> dict[str, Tensor]:
    names = [name.replace(_COMPILED, "") for name in tensors]
    while prefix := next((start for start in _PREFIXES if all(name.startswith(start) for name in names)), None):
        names = [name.removeprefix(prefix) for name in names]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise WeightsError(f"{where} holds {twice!r} twice, bare and compiled: save the state_dict() of one model.")
    return dict(zip(names, tensors.values(), strict=True))
