"""Whether an encoder keeps what the lab relies on."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.capabilities import GivesTokens, HasPrecision, in_precision, precision_of, recipe_of
from clipdiy_lab.models.encoders import Encoder, as_encoder
from clipdiy_lab.pipeline.conformance.report import Conformance, UnmetError, named, require, travelled
from clipdiy_lab.pipeline.loading import make_encoder
from clipdiy_lab.pipeline.segmenter import Segmenter

TOLERANCE = {"fp32": 1e-4, "auto": 1e-4, "bf16": 3e-2, "fp16": 1e-2, "int8": 1e-1}
"""By precision: how far a component of a vector may move with the batch that it is computed in."""
LENGTH_TOLERANCE = 1e-3
_TEXTS = ("a photo of a cat", "a photo of a train", "un été à Zürich, 東京")
_CROPS = 5


def check_encoder(encoder: object) -> Conformance:
    """Check that your own encoder meets all requirements of the lab.

    Parameters
    ----------
    encoder : object
        Should meet `models.encoders.Encoder`. It is called with random crops and a few texts, and copied with pickle.

    Returns
    -------
    Conformance
        ``ok``, ``table``, and a text that explains what to fix. Batches of different sizes may differ by `TOLERANCE`;
        lengths by 1e-3; everything else is compared exactly.

    Examples
    --------
    >>> import clipdiy_lab as lab
    >>> lab.check_encoder(lab.load("tiny").encoder).ok
    True
    """
    report = Conformance(named(encoder))

    def protocol() -> str:
        as_encoder(encoder)
        return "name, image_size, mean, std, embedding_dim, fingerprint, encode_crops, encode_texts"

    advice = "Give the object all of these; see clipdiy_lab.models.encoders.Encoder."
    if not report.look("protocol", advice, protocol):
        return report
    subject = as_encoder(encoder)
    if not report.look("facts", "Set them to what the network was trained with.", lambda: _facts(subject)):
        return report
    fingerprint = subject.fingerprint
    with torch.inference_mode():
        _check_crops(report, subject)
        _check_texts(report, subject)
        _check_identity(report, subject, fingerprint)
        _check_capabilities(report, subject)
    return report


def _facts(encoder: Encoder) -> str:
    for name in ("image_size", "embedding_dim"):
        value = getattr(encoder, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UnmetError(f"{name} is {value!r}, expected a positive whole number")
    for name, lowest in (("mean", 0.0), ("std", math.ulp(0.0))):
        values = [float(value) for value in getattr(encoder, name)]
        if len(values) != 3 or not all(lowest <= value <= 1 for value in values):
            raise UnmetError(f"{name} is {values}, expected three numbers for RGB on the scale [0, 1]")
    for name in ("name", "fingerprint"):
        if not (isinstance(getattr(encoder, name), str) and getattr(encoder, name)):
            raise UnmetError(f"{name} is {getattr(encoder, name)!r}, expected a string")
    return f"{encoder.image_size} pixels to {encoder.embedding_dim} features"


def _crops(encoder: Encoder, count: int = _CROPS) -> Tensor:
    side = encoder.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def _check_crops(report: Conformance, encoder: Encoder) -> None:
    crops = _crops(encoder)
    advice = "Return one vector of length 1 per crop: float tensor, N x embedding_dim; torch.nn.functional.normalize."
    if not report.look("crops", advice, lambda: _vectors(encoder.encode_crops(crops), _CROPS, encoder)):
        return
    first = encoder.encode_crops(crops)
    report.look("crops: what they show", "Make the vector depend on the crop.", lambda: _different(first))
    report.look(
        "crops: determinism",
        "Switch dropout and other randomness off (eval mode); stores and resumed work rely on equal numbers.",
        lambda: _equal(first, encoder.encode_crops(crops)),
    )
    tolerance = TOLERANCE.get(precision_of(encoder), TOLERANCE["fp32"])
    report.look(
        "crops: batches",
        "Let no crop see the others of its batch: batch normalisation in eval mode, no mean over the batch.",
        lambda: _close(first, torch.cat([encoder.encode_crops(crop[None]) for crop in crops]), tolerance),
    )

    def unchanged() -> str:
        encoder.encode_crops(crops)
        same = torch.equal(crops, _crops(encoder))
        return require(same, "left as they were" if same else "the crops that were given were changed")

    report.look("crops: input", "Work on a copy; the crops belong to the caller.", unchanged)
    report.look("image", "Mend the checks above first; then see the error.", lambda: _segment(encoder))


def _check_texts(report: Conformance, encoder: Encoder) -> None:
    advice = "Return one vector of length 1 per text: float tensor, L x embedding_dim."
    if not report.look("texts", advice, lambda: _vectors(encoder.encode_texts(_TEXTS), len(_TEXTS), encoder)):
        return
    first = encoder.encode_texts(_TEXTS)
    report.look("texts: what they say", "Make the vector depend on the text.", lambda: _different(first))
    report.look(
        "texts: determinism",
        "Switch dropout and other randomness off (eval mode).",
        lambda: _equal(first, encoder.encode_texts(_TEXTS)),
    )
    tolerance = TOLERANCE.get(precision_of(encoder), TOLERANCE["fp32"])
    report.look(
        "texts: batches",
        "Let no text see the others; pad all texts to one length, or mask what is padded.",
        lambda: _close(first, torch.cat([encoder.encode_texts([text]) for text in _TEXTS]), tolerance),
    )

    def long() -> str:
        try:
            return _vectors(encoder.encode_texts(["word " * 2000]), 1, encoder)
        except ClipdiyError as error:
            return f"refused: {error}"[:80]

    report.look("texts: too long", "Cut the text, or raise clipdiy_lab.errors.LabelError.", long)


def _check_identity(report: Conformance, encoder: Encoder, fingerprint: str) -> None:
    def stable() -> str:
        same = encoder.fingerprint == fingerprint
        return require(same, fingerprint[:16] if same else "it changed while the encoder was used")

    advice = "Compute it from the weights and settings alone (sha256), not from time, memory or path."
    report.look("fingerprint", advice, stable)

    def journey() -> str:
        copy = travelled(encoder)
        require(copy.fingerprint == encoder.fingerprint, "the copy has another fingerprint")
        return _equal(encoder.encode_crops(_crops(encoder)), copy.encode_crops(_crops(encoder)))

    report.look("pickle", "Let the object be pickled (no open files, no local functions): workers get a copy.", journey)
    recipe = recipe_of(encoder)
    if recipe is not None:

        def made() -> str:
            again = in_precision(make_encoder(recipe.name, **recipe.options), "auto")
            return require(again.fingerprint == encoder.fingerprint, recipe.code("lab.load"))

        report.look("recipe", "Let the recipe hold every option that decides the numbers.", made)


def _check_capabilities(report: Conformance, encoder: Encoder) -> None:
    if isinstance(encoder, HasPrecision):
        report.look(
            "precision",
            "Let with_precision return an encoder that says in which precision it computes.",
            lambda: require(precision_of(in_precision(encoder, "fp32")) == "fp32", "with_precision('fp32')"),
        )
    if _gives_tokens(encoder):
        report.look("tokens", "Return rows x cols x embedding_dim tokens of length 1.", lambda: _tokens(encoder))


def _gives_tokens(encoder: Encoder) -> bool:
    try:
        return isinstance(encoder, GivesTokens)
    except ClipdiyError:  # an encoder whose tower has none
        return False


def _tokens(encoder: Encoder) -> str:
    assert isinstance(encoder, GivesTokens)
    tokens = encoder.encode_tokens(_crops(encoder, 1)[0], "maskclip")
    side = encoder.image_size // encoder.patch_size
    expected = (side, side, encoder.embedding_dim)
    require(tuple(tokens.shape) == expected, f"shape {tuple(tokens.shape)}, expected {expected}")
    return _vectors(tokens.flatten(0, 1), side * side, encoder)


def _vectors(given: object, count: int, encoder: Encoder) -> str:
    if not isinstance(given, Tensor) or not given.is_floating_point():
        kind = f"a tensor of {given.dtype}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise UnmetError(f"{kind}, expected a float tensor")
    shape, expected = tuple(given.shape), (count, encoder.embedding_dim)
    require(shape == expected, f"shape {shape}, expected {expected}")
    require(bool(torch.isfinite(given).all()), "values that are NaN or infinite")
    lengths = given.float().norm(dim=-1)
    off = float((lengths - 1).abs().max())
    return require(off <= LENGTH_TOLERANCE, f"{count} x {expected[1]}, lengths within {off:.1e} of 1")


def _different(vectors: Tensor) -> str:
    cosines = vectors.float() @ vectors.float().T
    highest = float((cosines - 2 * torch.eye(len(cosines), device=cosines.device)).max())
    return require(highest < 1 - 1e-6, f"highest cosine between two of them {highest:.6f}")


def _equal(first: Tensor, second: Tensor) -> str:
    off = _difference(first, second)
    return require(off == 0, "equal" if off == 0 else f"two calls differ by up to {off:.1e}, expected equal numbers")


def _close(first: Tensor, second: Tensor, tolerance: float) -> str:
    off = _difference(first, second)
    return require(off <= tolerance, f"together and one by one differ by up to {off:.1e} ({tolerance:.0e} is allowed)")


def _difference(first: Tensor, second: Tensor) -> float:
    return float((first.float() - second.float()).abs().max())


def _segment(encoder: Encoder) -> str:
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    run = Segmenter(encoder, "none").segment(image, ["cat", "train"], Config(scales=(256, 128), background="none"))
    return f"labels for {run['labels'].shape[0]} x {run['labels'].shape[1]} pixels"
