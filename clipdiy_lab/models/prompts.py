"""From labels to text embeddings: checked labels, prompts, and a cache that embeds every prompt once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clipdiy_lab.errors import ClipdiyWarning, LabelError, ModelError
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.encoders import Encoder

_ARTICLE = re.compile(r"\b([Aa])(?= \{label\})")
_VOWELS = tuple("aeiouAEIOU")


def check_labels(labels: Any) -> tuple[str, ...]:
    """Return the labels as a tuple of stripped texts.

    Raises
    ------
    LabelError
        If there are none, or one is not text, empty, or there twice (upper and lower case count as the same, since
        CLIP's tokenizer lowers them).

    Examples
    --------
    >>> check_labels(["cat", " sofa "])
    ('cat', 'sofa')
    """
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise LabelError(f"labels is {labels!r}; expected a list of texts such as ['cat', 'sofa'].")
    checked: list[str] = []
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise LabelError(f"label {position} is {label!r} ({type(label).__name__}); expected text.")
        if not label.strip():
            raise LabelError(f"label {position} is empty; give every label a word, or leave it out.")
        checked.append(label.strip())
    if not checked:
        raise LabelError("there are no labels; give at least one, such as ['cat'].")
    seen: dict[str, int] = {}
    for position, label in enumerate(checked):
        if label.lower() in seen:
            raise LabelError(
                f"label {label!r} is there twice (positions {seen[label.lower()]} and {position}); give it once."
            )
        seen[label.lower()] = position
    return tuple(checked)


def with_background(labels: tuple[str, ...], config: Config) -> tuple[tuple[str, ...], int | None]:
    """Labels as they are fused, and the index of the background label (None where the policy has none).

    A label set without background gets one as first label, as the official evaluation has it.

    Examples
    --------
    >>> with_background(("cat",), Config())
    (('background', 'cat'), 0)
    >>> with_background(("cat",), Config(background="none"))
    (('cat',), None)
    """
    if config.background == "none":
        return labels, None
    name = config.background_label
    for position, label in enumerate(labels):
        if label.lower() == name.lower():
            return labels, position
    return (name, *labels), 0


def prompts(label: str, config: Config) -> tuple[str, ...]:
    """Return the prompts of a label, one a template.

    The official code always says "a" (its rule for "an" never matches); ``article="grammatical"`` says "an" before a
    vowel letter.

    Examples
    --------
    >>> prompts("aeroplane", Config())
    ('a photo of a aeroplane',)
    >>> prompts("aeroplane", Config(article="grammatical"))
    ('a photo of an aeroplane',)
    """
    made = []
    for template in config.templates:
        if config.article == "grammatical" and label.startswith(_VOWELS):
            template = _ARTICLE.sub(r"\1n", template)
        made.append(template.replace("{label}", label))
    return tuple(made)


class TextCache:
    """Text embeddings of one encoder, kept prompt by prompt.

    Parameters
    ----------
    encoder : Encoder
        Whose `encode_texts` is called once for every prompt it has not seen yet.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def embed(self, labels: Sequence[str], config: Config) -> npt.NDArray[np.float32]:
        """Embed labels: every prompt's unit vector, averaged over the templates and normalised again.

        Returns
        -------
        float32 array, labels x features
            Unit vectors.

        Raises
        ------
        LabelError
            If a prompt is too long for the tokenizer.
        ModelError
            If the encoder gives something else than one finite vector a prompt.
        """
        self._warn_of_strangers(labels)
        wanted = {label: prompts(label, config) for label in labels}
        missing = list(dict.fromkeys(p for made in wanted.values() for p in made if p not in self._known))
        if missing:
            self._known |= dict(zip(missing, self._encode(missing), strict=True))
        means = np.stack([np.mean([self._known[p] for p in wanted[label]], axis=0) for label in labels])
        return unit(means, "the text encoder")

    def _warn_of_strangers(self, labels: Sequence[str]) -> None:
        known = getattr(self.encoder, "known_words", None)
        strangers = [label for label in labels if known is not None and label.lower() not in known]
        if strangers:
            warnings.warn(
                f"The model {self.encoder.name!r} never learned {', '.join(map(repr, strangers))}, so their scores "
                f"mean nothing; it knows {len(known or ())} words, a real CLIP model knows the rest.",
                ClipdiyWarning,
                stacklevel=4,
            )

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            vectors = self.encoder.encode_texts(texts).float().cpu().numpy()
        expected = (len(texts), self.encoder.embedding_dim)
        if vectors.shape != expected:
            raise ModelError(
                f"encoder {self.encoder.name!r} gave text embeddings of shape {vectors.shape}, expected {expected}."
            )
        return unit(vectors, f"encoder {self.encoder.name!r}")


def given_rows(given: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Bring text embeddings that a user gives to labels x features float32 of length 1.

    Raises
    ------
    ModelError
        If they are not a table of numbers, or hold zero, NaN or infinite vectors.
    """
    try:
        rows = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"text_embeddings is no array of numbers ({error}); expected labels x features.") from None
    if rows.ndim != 2:
        raise ModelError(f"text_embeddings has shape {rows.shape}; expected labels x features.")
    return unit(rows, "text_embeddings")


def unit(vectors: npt.NDArray[np.float32], whose: str) -> npt.NDArray[np.float32]:
    """Scale vectors (n x features) to length 1.

    Raises
    ------
    ModelError
        If a vector is zero or not finite.
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ModelError(f"{whose} gave embeddings with zero, NaN or infinite vectors; expected vectors of length 1.")
    scaled: npt.NDArray[np.float32] = (vectors / norms).astype(np.float32)
    return scaled
