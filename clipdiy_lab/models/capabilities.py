"""What an encoder or a saliency source may offer beyond its protocol.

Each capability is a small protocol. An object has it if it has the attributes and methods below; nothing is registered,
and an object without it works too.

================= ==================================================================================================
capability        without it
================= ==================================================================================================
HasInterpolation  crops are resized to the input bicubically
HasDevice         crops are prepared on the CPU
HasPrecision      the encoder is taken to compute in float32, and no other precision can be asked for; a saliency source
                  computes as it does
TakesOtherSides   crops have `image_size` pixels; the knob `crop_input` is refused
HasUsage          runs record image size, mean, deviation and interpolation only
HasRuntime        runs record the versions of torch and open_clip only
KnowsWords        any label may be asked for, without a warning
GivesTokens       grids of patch tokens (the knob `dense`) are refused
HasImageTower     `explain.attend` is refused; `explain.occlude` works
HasTokenTower     `explain.token` is refused
HasRecipe         runs cannot print code that makes the object again; workers get a copy of the object itself
================= ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from clipdiy_lab.errors import ConfigError, ModelError

# Only types: whoever asks for the names of saliency sources need not wait for torch.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from clipdiy_lab.method.config import Precision
    from clipdiy_lab.method.ops import CropResize
    from clipdiy_lab.models.dense_tokens import TokenTower
    from clipdiy_lab.models.encoders import Encoder
    from clipdiy_lab.models.recipes import Recipe
    from clipdiy_lab.models.saliency import Saliency


@runtime_checkable
class HasInterpolation(Protocol):
    """An encoder that says how crops are brought to its input: "bicubic" or "bilinear", both with antialias."""

    interpolation: CropResize


@runtime_checkable
class HasDevice(Protocol):
    """An encoder that says where its network lies; crops are prepared there."""

    device: torch.device


@runtime_checkable
class HasPrecision(Protocol):
    """An encoder or a saliency source that computes in one precision and can be had in others."""

    precision: str

    def with_precision(self, precision: Precision) -> Any:
        """Return the same object in another precision: "fp32", "bf16", "fp16" or "int8".

        Raises
        ------
        ModelError
            If it cannot compute in it.
        """
        ...


@runtime_checkable
class TakesOtherSides(Protocol):
    """An encoder that reads square crops of other sides than `image_size`."""

    def check_side(self, side: int) -> None:
        """Refuse a side, in pixels, that it cannot read.

        Raises
        ------
        ModelError
            If it cannot.
        """
        ...


@runtime_checkable
class HasUsage(Protocol):
    """An encoder that says how its weights are run, for the attributes of runs."""

    activation: str
    tokenizer: str
    context_length: int


@runtime_checkable
class HasRuntime(Protocol):
    """An encoder whose crops are computed by another library than torch: its name and version."""

    runtime: Mapping[str, str]


@runtime_checkable
class KnowsWords(Protocol):
    """An encoder of a closed world: the lowercase labels that mean something to it; None for an open vocabulary."""

    known_words: frozenset[str] | None


@runtime_checkable
class HasImageTower(Protocol):
    """An encoder that lends its image tower, in float32, to methods that read attention and gradients."""

    @property
    def visual(self) -> torch.nn.Module:
        """The tower; explanations by attention need an open_clip VisionTransformer."""
        ...


@runtime_checkable
class GivesTokens(Protocol):
    """An encoder that gives patch tokens which compare with texts, for dense grids.

    Attributes
    ----------
    patch_size : int
        Side of a patch of its input, pixels.
    """

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""
        ...

    def encode_crops_and_tokens(self, crops: Tensor, method: str) -> tuple[Tensor, Tensor]:
        """Encode N x 3 x s x s normalised crops to N x D vectors and N x rows x cols x D tokens, all of length 1.

        The vectors are those of `Encoder.encode_crops`; `method` is a name of `method.last_block.METHODS`.
        """
        ...

    def encode_tokens(self, image: Tensor, method: str) -> Tensor:
        """Encode a normalised image, 3 x h x w, to rows x cols x D tokens of length 1."""
        ...


@runtime_checkable
class HasTokenTower(Protocol):
    """An encoder that lends the tower that its patch tokens come from, to methods that take its last block apart."""

    @property
    def tokens(self) -> TokenTower:
        """The tower, in the precision of the encoder."""
        ...


@runtime_checkable
class HasRecipe(Protocol):
    """An object that a registry can make again; None where it cannot, such as one with a tokenizer of your own."""

    recipe: Recipe | None


def recipe_of(thing: object) -> Recipe | None:
    """Return the recipe of an encoder or a saliency source; None for an object that no name makes."""
    return thing.recipe if isinstance(thing, HasRecipe) else None


def interpolation_of(encoder: Encoder) -> CropResize:
    """Return how crops are brought to the input of an encoder."""
    return encoder.interpolation if isinstance(encoder, HasInterpolation) else "bicubic"


def precision_of(encoder: Encoder) -> str:
    """Return the precision in which an encoder computes; "auto" where it does not say."""
    return encoder.precision if isinstance(encoder, HasPrecision) else "auto"


def words_of(encoder: Encoder) -> frozenset[str] | None:
    """Return the only labels that mean something to an encoder; None for an open vocabulary."""
    return encoder.known_words if isinstance(encoder, KnowsWords) else None


def in_precision(encoder: Encoder, precision: Precision) -> Encoder:
    """Return an encoder in the precision that is asked for.

    Raises
    ------
    ConfigError
        If it cannot change its precision.
    """
    if precision in ("auto", precision_of(encoder)):
        return encoder
    if isinstance(encoder, HasPrecision):
        changed: Encoder = encoder.with_precision(precision)
        return changed
    if precision == "fp32":
        return encoder  # without a word about precision, float32 is what an encoder computes in
    raise ConfigError(f"encoder {encoder.name!r} cannot change its precision; use precision='auto'.")


def saliency_in(saliency: Saliency, precision: Precision) -> Saliency:
    """Return a saliency source in the precision that is asked for, where it can be had in others; else as it is.

    Raises
    ------
    ModelError
        If it cannot compute in it, such as FOUND by torch in int8.
    """
    if not isinstance(saliency, HasPrecision) or precision in ("auto", saliency.precision):
        return saliency
    changed: Saliency = saliency.with_precision(precision)
    return changed


def as_token_encoder(encoder: Encoder) -> GivesTokens:
    """Return an encoder that gives patch tokens.

    Raises
    ------
    ModelError
        If it gives none.
    """
    if not isinstance(encoder, GivesTokens):
        raise ModelError(
            f"the encoder {encoder.name!r} gives no patch tokens; use dense='none', or a ViT of open_clip run by torch."
        )
    _ = encoder.patch_size  # refuses a tower that has none
    return encoder
