"""open_clip's models as encoders."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor
from torch.func import functional_call

from clipdiy_lab.errors import LabelError, ModelError
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Precision
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.models import tokenizers, weights
from clipdiy_lab.models.dense_tokens import TokenTower, position_embedding
from clipdiy_lab.models.devices import DTYPES, resolve_device, resolve_precision
from clipdiy_lab.models.encoders import describe_usage, pooled
from clipdiy_lab.models.recipes import Recipe


class OpenClipEncoder:
    """An open_clip model as an encoder.

    Parameters
    ----------
    model : open_clip.CLIP or open_clip.CustomTextCLIP
    tokenizer : callable
        As open_clip makes it.
    name : str
    mean, std : tuple of three floats
    interpolation : {"bicubic", "bilinear"}
        How crops are brought to the input.
    tokenizer_name : str, optional
        For the record; by default the tokenizer's class.
    device : str
        A torch device.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``auto``: bf16 on a CUDA device that has it, fp32 elsewhere.
    known_words : frozenset of str, optional
        The only labels that mean something to a model of a closed world; None for CLIP's open vocabulary.
    recipe : Recipe, optional
        With which `load_encoder` makes it again.

    Attributes
    ----------
    activation : {"gelu", "quickgelu"}
        What the network computes with; read off the network.
    tokenizer : str
        Which one is used.
    context_length : int
        Tokens that it gives of a text.

    Raises
    ------
    ModelError
        If the network reads no square images, the tokenizer is not one that it can follow, or the precision or device
        is none of these.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: ops.CropResize = "bicubic",
        tokenizer_name: str | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
        known_words: frozenset[str] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.known_words = known_words
        self.mean, self.std, self.interpolation = tuple(mean), tuple(std), interpolation
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self._source = model.eval()
        self._tokenizer = tokenizer
        self.tokenizer = tokenizer_name or tokenizers.spell(tokenizer)
        self.image_size = _side(model, name)
        self.activation = "quickgelu" if any(isinstance(layer, QuickGELU) for layer in model.modules()) else "gelu"
        self._probe = tokenizers.probe(tokenizer, model, name)
        self.context_length = int(getattr(tokenizer, "context_length", None) or self._probe.shape[1])
        self._model = self._cast()
        with torch.inference_mode():
            self.embedding_dim = int(self._encode_ids(self._probe[:1]).shape[-1])

    def _cast(self) -> Any:
        dtype = DTYPES[self.precision]
        model = self._source if dtype is torch.float32 else copy.deepcopy(self._source).to(dtype)
        return model.to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """Hash (sha256) over all float32 weights and over how they are run: two that are equal give equal numbers.

        The tokenizer counts with what it makes of a few texts, not with its name.
        """
        run = describe_usage(self) | {"tokenizer": tokenizers.mark(self._probe)}
        parts = (weights.fingerprint(self._source.state_dict()), json.dumps(run, sort_keys=True))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def with_precision(self, precision: Precision) -> OpenClipEncoder:
        """Return the same model computing in another precision."""
        return OpenClipEncoder(
            self._source,
            self._tokenizer,
            name=self.name,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            tokenizer_name=self.tokenizer,
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
        crops = crops.to(self.device, DTYPES[self.precision])
        if crops.shape[-1] == self.image_size:
            features: Tensor = self._model.encode_image(crops)
        else:
            features = pooled(functional_call(self._model.visual, self._positions(crops.shape[-1]), (crops,)))
        return F.normalize(features.float(), dim=-1)

    @cached_property
    def tokens(self) -> TokenTower:
        """The image tower as one that gives patch tokens, in the precision of the encoder.

        Raises
        ------
        ModelError
            If it gives none.
        """
        return TokenTower(self._model.visual, self.name)

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels; a `ModelError` for a tower without patch tokens."""
        return self.tokens.patch

    def encode_crops_and_tokens(self, crops: Tensor, method: str) -> tuple[Tensor, Tensor]:
        """Encode crops as `encode_crops` does, and their patches, in one pass; see `TokenTower.encode_crops`."""
        return self.tokens.encode_crops(crops, METHODS[method])

    def encode_tokens(self, image: Tensor, method: str) -> Tensor:
        """Encode the patches of a whole image, see `TokenTower.encode_image`."""
        return self.tokens.encode_image(image, METHODS[method])

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
        """Position embeddings for crops of another side, as open_clip resizes them."""
        tower = self._model.visual
        patches = side // int(tower.conv1.kernel_size[0])
        resized = position_embedding(tower.positional_embedding, tower.grid_size, (patches, patches), "antialias")
        return {"positional_embedding": resized}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode L texts to L x D float32 vectors of length 1.

        Raises
        ------
        LabelError
            If a text has more tokens than the model reads (it would be cut silently).
        """
        for text in texts:
            count = tokenizers.count_tokens(self._tokenizer, text, self._probe)
            if count > self.context_length:
                raise LabelError(
                    f"the prompt {text[:60]!r}... has {count} tokens, {self.name} reads {self.context_length}; shorten "
                    "the label."
                )
        return F.normalize(self._encode_ids(self._tokenizer(list(texts))).float(), dim=-1)

    def _encode_ids(self, ids: Tensor) -> Tensor:
        encoded: Tensor = self._model.encode_text(ids.to(self.device))
        return encoded


def _side(model: Any, name: str) -> int:
    size = model.visual.image_size
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ModelError(f"{name!r} reads images of {tuple(size)} pixels; windows are square, so use a square model.")
    return int(sides.pop())
