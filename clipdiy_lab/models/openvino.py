"""The image tower of an open_clip model run by OpenVINO: faster on a processor, in fp32, bf16 or int8."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config, Precision
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.compiled import Calibration, Compiled, compile_network, images_of, mark, settled, version
from clipdiy_lab.models.encoders import Encoder, to_input
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder
from clipdiy_lab.models.recipes import Recipe

_MOST_CROPS = 65536


class OpenVinoEncoder:
    """An open_clip model whose image tower OpenVINO runs; texts stay with torch.

    Parameters
    ----------
    encoder : OpenClipEncoder
    precision : {"auto", "fp32", "bf16", "int8"}
        ``auto``: fp32. ``int8`` quantises weights and activations after training (NNCF: SmoothQuant for transformers,
        with ranges taken from the crops of `calibration`).
    calibration : sequence of H x W x 3 uint8 arrays, or callable that returns one, optional
        Images whose crops under `Config.paper` set the ranges of int8. A callable is called where int8 is asked for,
        and has to return the same images every time.

    Attributes
    ----------
    runtime : dict
        Name and version of what computes the crops.

    Raises
    ------
    ModelError
        If OpenVINO is not installed, the encoder is not on the CPU, the precision is none of these, the processor lacks
        it, or int8 has no images.

    Notes
    -----
    Compiled for as many threads as `torch.get_num_threads` says. In fp32 embeddings differ from torch's by rounding
    alone. The tower reads crops of `image_size` pixels only. OpenVINO's usage statistics stay off.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        precision: Precision = "auto",
        calibration: Calibration | None = None,
    ) -> None:
        self.precision = settled(precision, calibration)
        if not isinstance(encoder, OpenClipEncoder):
            raise ModelError(f"OpenVINO runs models of open_clip; {encoder.name!r} is none, so leave out runtime.")
        if encoder.device.type != "cpu":
            raise ModelError(f"OpenVINO runs on the processor, {encoder.name!r} is on {encoder.device}; load it there.")
        self._torch = encoder if encoder.precision == "fp32" else encoder.with_precision("fp32")
        self._calibration = calibration
        self.name, self.image_size, self.embedding_dim = encoder.name, encoder.image_size, encoder.embedding_dim
        self.mean, self.std, self.interpolation = encoder.mean, encoder.std, encoder.interpolation
        self.activation, self.tokenizer, self.context_length = (
            encoder.activation,
            encoder.tokenizer,
            encoder.context_length,
        )
        self.known_words = encoder.known_words
        self._compiled = self._compile()
        self.runtime = {"openvino": version()}

    def __reduce__(self) -> tuple[Any, ...]:
        # What is compiled belongs to one processor; a worker compiles for its own.
        return _remake, (self._torch, self.precision, self._calibration)

    @property
    def recipe(self) -> Recipe | None:
        """With which `clipdiy_lab.load` makes this encoder again; None where `calibration` is images."""
        plain = self._torch.recipe
        if plain is None or not (self._calibration is None or callable(self._calibration)):
            return None
        return Recipe(plain.name, {**plain.options, "runtime": "openvino"})

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights, as torch has it; ``+`` and a hash of the images where `calibration` is images."""
        own = mark(self._calibration)
        return f"{self._torch.fingerprint}+{own}" if own else self._torch.fingerprint

    def with_precision(self, precision: Precision) -> OpenVinoEncoder:
        """Return the same model computing in another precision."""
        return OpenVinoEncoder(self._torch, precision=precision, calibration=self._calibration)

    def encode_crops(self, crops: Tensor) -> Tensor:
        """Encode N x 3 x s x s normalised crops, s = `image_size`, to N x D float32 vectors of length 1."""
        return F.normalize(self._compiled(crops), dim=-1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode L texts to L x D float32 vectors of length 1, see `OpenClipEncoder.encode_texts`."""
        return self._torch.encode_texts(texts)

    def _compile(self) -> Compiled:
        example = torch.zeros(2, 3, self.image_size, self.image_size)
        return compile_network(self._torch.visual, example, (0, _MOST_CROPS), self.precision, self._samples)

    def _samples(self) -> list[Tensor]:
        return [self._crops(image) for image in images_of(self._calibration)]

    def _crops(self, image: npt.NDArray[np.uint8]) -> Tensor:
        config = Config.paper()
        frame = ops.resize_image(torch.from_numpy(image), config.image_size, config.image_resize)
        windows = [ops.cut_windows(frame, grid) for grid in Plan.of(config).crops]
        return torch.cat([to_input(crops, self.image_size, self) for crops in windows])


def _remake(*parts: Any) -> OpenVinoEncoder:
    encoder, precision, calibration = parts
    return OpenVinoEncoder(encoder, precision=precision, calibration=calibration)
