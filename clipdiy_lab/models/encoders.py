"""What looks at the crops: the encoder protocol, open_clip's models, and the embedded one."""

from __future__ import annotations

import copy
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import open_clip
import pandas as pd
import torch
import torch.nn.functional as F
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor
from torch.func import functional_call

from clipdiy_lab.errors import LabelError, ModelError, nearest, require, spelled
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models import tiny, weights
from clipdiy_lab.models.devices import resolve_device

EMBEDDED = "tiny"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_REACH_TIMEOUT = 10.0  # seconds
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@runtime_checkable
class Encoder(Protocol):
    """What an encoder has to offer; any object that meets it will do.

    Attributes
    ----------
    name : str
    image_size : int
        Side of the square input, pixels.
    mean, std : tuple of three floats
        Normalisation of the input, on the scale [0, 1].
    embedding_dim : int
    fingerprint : str
        Identifies the weights, usually their sha256.
    """

    name: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding_dim: int

    @property
    def fingerprint(self) -> str:
        """Identity of the weights."""
        ...

    def encode_crops(self, crops: Tensor) -> Tensor:
        """Encode N x 3 x s x s normalised crops to N x D vectors of length 1."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode L texts to L x D vectors of length 1."""
        ...


def as_encoder(given: object) -> Encoder:
    """Return what was given as an encoder.

    Raises
    ------
    ModelError
        If it does not meet the protocol, or is a class and no object of it.
    """
    expected = "a name or an object with the attributes and methods of clipdiy_lab.models.encoders.Encoder"
    return require(given, Encoder, "encoder", expected, ModelError)  # type: ignore[type-abstract]


def as_vectors(given: object, encoder: Encoder, method: str) -> Tensor:
    """Return what a method of an encoder gave as float32 on the CPU.

    Raises
    ------
    ModelError
        If it is no tensor.
    """
    if not isinstance(given, Tensor):
        raise ModelError(
            f"{method} of the encoder {encoder.name!r} gave {spelled(given)}; expected a torch.Tensor, such as "
            "torch.from_numpy makes of an array."
        )
    return given.float().cpu()


class OpenClipEncoder:
    """An open_clip model as an encoder.

    Parameters
    ----------
    model : open_clip.CLIP or open_clip.CustomTextCLIP
    tokenizer : callable
        As open_clip makes it.
    name : str
    mean, std : tuple of three floats
    device : str
        A torch device.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``auto``: bf16 on a CUDA device that has it, fp32 elsewhere.
    known_words : frozenset of str, optional
        The only labels that mean something to a model of a closed world; None for CLIP's open vocabulary.
    recipe : dict, optional
        Arguments with which `load_encoder` makes it again, on another machine too.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
        known_words: frozenset[str] | None = None,
        recipe: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.known_words = known_words
        self.mean, self.std = tuple(mean), tuple(std)
        self.device = resolve_device(device)
        self.precision = _resolve_precision(precision, self.device)
        self._source = model.eval()
        self._tokenizer = tokenizer
        side = model.visual.image_size
        self.image_size = int(side if isinstance(side, int) else side[0])
        self._model = self._cast()
        with torch.inference_mode():
            self.embedding_dim = int(self._encode_ids(self._tokenizer(["a"])).shape[-1])

    def _cast(self) -> Any:
        dtype = _DTYPES[self.precision]
        model = self._source if dtype is torch.float32 else copy.deepcopy(self._source).to(dtype)
        return model.to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """Hash (sha256) over the names and values of all float32 weights."""
        return weights.fingerprint(self._source.state_dict())

    def with_precision(self, precision: Precision) -> OpenClipEncoder:
        """Return the same model computing in another precision."""
        return OpenClipEncoder(
            self._source,
            self._tokenizer,
            name=self.name,
            mean=self.mean,
            std=self.std,
            device=self.device,
            precision=precision,
            known_words=self.known_words,
            recipe=self.recipe,
        )

    @property
    def visual(self) -> torch.nn.Module:
        """The image tower in float32, for methods that read its keys."""
        tower: torch.nn.Module = self._source.visual
        return tower

    def encode_crops(self, crops: Tensor) -> Tensor:
        """Encode N x 3 x s x s normalised crops to N x D float32 vectors of length 1.

        s is `image_size`, or another side that `check_side` takes: position embeddings are then interpolated.
        """
        crops = crops.to(self.device, _DTYPES[self.precision])
        if crops.shape[-1] == self.image_size:
            features: Tensor = self._model.encode_image(crops)
        else:
            features = functional_call(self._model.visual, self._positions(crops.shape[-1]), (crops,))
        return F.normalize(features.float(), dim=-1)

    def check_side(self, side: int) -> None:
        """Refuse a side of crops that the image tower cannot read.

        Raises
        ------
        ModelError
            If the tower is no plain vision transformer, or the side no multiple of its patches.
        """
        tower = self._source.visual
        if not (hasattr(tower, "positional_embedding") and hasattr(tower, "conv1") and hasattr(tower, "grid_size")):
            raise ModelError(
                f"the image tower of {self.name!r} is no plain vision transformer, so it reads crops of "
                f"{self.image_size} pixels only; leave out crop_input."
            )
        patch = int(tower.conv1.kernel_size[0])
        if side % patch:
            raise ModelError(
                f"crop_input asks for crops of {side} pixels, which {self.name!r} cannot cut into patches of {patch}; "
                f"use {max(1, side // patch) * patch} or {(side // patch + 1) * patch}."
            )

    def _positions(self, side: int) -> dict[str, Tensor]:
        """Position embeddings for crops of another side: bicubic with antialias, as open_clip resizes them."""
        tower = self._model.visual
        trained, (rows, columns) = tower.positional_embedding, tower.grid_size
        grid = side // int(tower.conv1.kernel_size[0])
        patches = trained[1:].float().reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False, antialias=True)
        whole = torch.cat([trained[:1].float(), resized.flatten(2).squeeze(0).T])
        return {"positional_embedding": whole.to(trained.dtype)}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode L texts to L x D float32 vectors of length 1.

        Raises
        ------
        LabelError
            If a text has more tokens than the model reads (it would be cut silently).
        """
        limit = int(self._tokenizer.context_length)
        for text in texts:
            tokens = self._count_tokens(text)
            if tokens > limit:
                raise LabelError(
                    f"the prompt {text[:60]!r}... has {tokens} tokens, {self.name} reads {limit}; shorten the label."
                )
        return F.normalize(self._encode_ids(self._tokenizer(list(texts))).float(), dim=-1)

    def _encode_ids(self, ids: Tensor) -> Tensor:
        encoded: Tensor = self._model.encode_text(ids.to(self.device))
        return encoded

    def _count_tokens(self, text: str) -> int:
        if hasattr(self._tokenizer, "encode"):
            return len(self._tokenizer.encode(text)) + 2  # start and end
        return len(self._tokenizer.tokenizer(text)["input_ids"])


def _resolve_precision(precision: Precision, device: torch.device) -> str:
    if precision != "auto":
        if precision == "int8":
            raise ModelError("precision 'int8' needs OpenVINO: clipdiy_lab.load(..., runtime='openvino').")
        if precision not in _DTYPES:
            raise ModelError(f"precision is {precision!r}. {nearest(str(precision), ['auto', *_DTYPES])}")
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def load_encoder(
    name: str,
    *,
    checkpoint: str | PathLike[str] | None = None,
    sha256: str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> OpenClipEncoder:
    """Load an encoder by name.

    Parameters
    ----------
    name : str
        ``"tiny"`` (embedded), ``"ARCHITECTURE/TAG"`` of `open_clip.list_pretrained`, or with `checkpoint` an
        architecture of open_clip.
    checkpoint : path, optional
        Local weights: ``.safetensors``, or ``.pt`` read with ``weights_only=True``.
    sha256 : str, optional
        Expected hash of the checkpoint.
    device, precision : str
        See `resolve_device` and `OpenClipEncoder`.

    Raises
    ------
    ModelError
        Unknown architecture or tag (with the nearest names), a checkpoint for the embedded model, or weights that are
        neither here nor to be fetched.
    WeightsError
        A checkpoint that is missing, has another hash, or does not fit the architecture.
    """
    if name == EMBEDDED and checkpoint is not None:
        raise ModelError(
            f"the model {EMBEDDED!r} is embedded and takes no checkpoint; leave it out, or name the architecture of "
            "the checkpoint, such as 'ViT-B-32'."
        )
    where = resolve_device(device)
    local = None if checkpoint is None else str(Path(checkpoint).absolute())
    recipe = {"name": name, "checkpoint": local, "sha256": sha256, "device": str(device)}
    if name == EMBEDDED:
        config = tiny.read_config()
        return OpenClipEncoder(
            tiny.build_tiny(),
            open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"]),
            name=name,
            mean=config["preprocess_cfg"]["mean"],
            std=config["preprocess_cfg"]["std"],
            device=where,
            precision=precision,
            known_words=frozenset(tiny.known_words()),
            recipe=recipe,
        )
    architecture, _, tag = name.partition("/")
    _check_known(architecture, tag, checkpoint is not None)
    with quiet():
        if checkpoint is not None:
            model = open_clip.create_model(architecture)
            state = _plain_state(weights.load_tensors(Path(checkpoint), sha256))
            weights.load_into(model, state, f"{checkpoint} for {architecture}")
        else:
            model = _create_pretrained(architecture, tag)
        tokenizer = open_clip.get_tokenizer(architecture)
    preprocess = model.visual.preprocess_cfg
    return OpenClipEncoder(
        model,
        tokenizer,
        name=name,
        mean=preprocess["mean"],
        std=preprocess["std"],
        device=where,
        precision=precision,
        recipe=recipe,
    )


def _check_known(architecture: str, tag: str, has_checkpoint: bool) -> None:
    if architecture not in open_clip.list_models():
        raise ModelError(
            f"there is no model {architecture!r}. {nearest(architecture, [EMBEDDED, *open_clip.list_models()])}"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if has_checkpoint:
        return
    if not tag:
        raise ModelError(
            f"model {architecture!r} needs a tag, e.g. '{architecture}/{tags[0]}', or checkpoint=PATH."
            if tags
            else f"open_clip knows no weights for {architecture!r}; give checkpoint=PATH."
        )
    if tag not in tags:
        raise ModelError(f"model {architecture!r} has no weights {tag!r}. {nearest(tag, tags)}")


def _create_pretrained(architecture: str, tag: str) -> Any:
    if not (_cached(architecture, tag) or _hub_answers()):
        raise ModelError(
            f"the weights of '{architecture}/{tag}' are not on this machine and {constants.ENDPOINT} does not answer; "
            f"fetch them on a machine with a network (checkpoint=PATH), or use the embedded model {EMBEDDED!r}."
        )
    try:
        return open_clip.create_model(architecture, pretrained=tag)
    except (RuntimeError, OSError) as error:
        raise ModelError(
            f"the weights of '{architecture}/{tag}' could not be fetched ({str(error).splitlines()[0]}); "
            f"try again, give checkpoint=PATH, or use the embedded model {EMBEDDED!r}."
        ) from error


def _cached(architecture: str, tag: str) -> bool:
    """Whether open_clip would find the weights without a network."""
    # "owner/repository/" or, for a file with a name of its own, "owner/repository/file".
    owner, _, rest = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").partition("/")
    repository, _, file = rest.partition("/")
    names = (file,) if file else _HUB_FILES
    return bool(repository) and any(isinstance(try_to_load_from_cache(f"{owner}/{repository}", n), str) for n in names)


def _hub_answers() -> bool:
    # open_clip would retry for a minute before it says that there is no network.
    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - https, set by huggingface_hub
    try:
        urllib.request.urlopen(request, timeout=_REACH_TIMEOUT).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True  # it answered
    except OSError:
        return False
    return True


def _plain_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Unwrap what open_clip's training saves: names that begin with 'state_dict.' and 'module.'."""
    return {name.removeprefix("state_dict.").removeprefix("module."): value for name, value in state.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from logging."""
    # open_clip and huggingface_hub log to the root logger what we say in our own errors.
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def list_models() -> pd.DataFrame:
    """Every encoder that can be named: the embedded one, and open_clip's models and tags.

    Returns
    -------
    pandas.DataFrame
        Columns ``name`` (what `load` takes), ``architecture``, ``tag``, ``here`` (usable without a download).
    """
    rows = [{"name": EMBEDDED, "architecture": "ViT-S/8 at 64 px", "tag": "scenes", "here": True}]
    rows += [
        {"name": f"{a}/{t}", "architecture": a, "tag": t, "here": _cached(a, t)} for a, t in open_clip.list_pretrained()
    ]
    return pd.DataFrame(rows)
