"""What looks at the crops: the encoder protocol, and what every encoder is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from clipdiy_lab.errors import ModelError, require, spelled
from clipdiy_lab.method import ops
from clipdiy_lab.models.capabilities import HasUsage, interpolation_of

EMBEDDED = "tiny"
"""Name of the encoder that is part of the package."""


@runtime_checkable
class Encoder(Protocol):
    """Protocol of an encoder; any object that meets it can be used.

    Attributes
    ----------
    name : str
    image_size : int
        Side of the square input, pixels.
    mean, std : tuple of three floats
        Normalisation of the input, on the scale [0, 1].
    embedding_dim : int
    fingerprint : str
        Identifies everything that affects the embeddings: the weights and how they are run, usually a sha256.

    Notes
    -----
    Optional capabilities are described in `clipdiy_lab.models.capabilities`.
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
        If it does not meet the protocol, or is a class instead of an object.
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


def to_input(crops: Tensor, side: int, encoder: Encoder, out: Tensor | None = None) -> Tensor:
    """Bring N x 3 x p x p uint8 crops to an encoder's input, N x 3 x side x side, as its images were in training."""
    return ops.to_encoder_input(crops, side, encoder.mean, encoder.std, interpolation_of(encoder), out)


def describe_usage(encoder: Encoder) -> dict[str, Any]:
    """Say how an encoder is run, in plain values for the attributes of runs.

    Returns
    -------
    dict
        ``image_size``, ``mean``, ``std``, ``interpolation``; of an encoder that `HasUsage` also ``activation``,
        ``tokenizer`` and ``context_length``.
    """
    said = {
        "image_size": int(encoder.image_size),
        "mean": [float(value) for value in encoder.mean],
        "std": [float(value) for value in encoder.std],
        "interpolation": interpolation_of(encoder),
    }
    if isinstance(encoder, HasUsage):
        said |= {
            "activation": encoder.activation,
            "tokenizer": encoder.tokenizer,
            "context_length": encoder.context_length,
        }
    return said


def pooled(features: Any) -> Tensor:
    """Return the vectors that an image tower of open_clip gives, one per crop; CoCa's gives its tokens beside them."""
    vectors: Tensor = features[0] if isinstance(features, tuple) else features
    return vectors
