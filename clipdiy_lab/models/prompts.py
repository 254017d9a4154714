"""From labels to text embeddings: checked labels, their phrases, prompts, and a cache that embeds each prompt once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdiy_lab.errors import ClipdiyWarning, LabelError, ModelError, nearest
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.presence import check_kept
from clipdiy_lab.models.capabilities import words_of
from clipdiy_lab.models.encoders import Encoder, as_vectors
from clipdiy_lab.text import MAX_LABEL, leveled, listed, quoted, unseen

_ARTICLE = re.compile(r"\b([Aa])(?= \{label\})")
_VOWELS = tuple("aeiouAEIOU")
_TEXTS_AT_ONCE = 256  # 80 templates times 171 labels at once would take gigabytes

_NAMED = 5

MAX_PHRASES = 2**15 - 1
"""Phrases of all labels together; a run keeps their indices in 16 bits."""


def check_labels(labels: Any) -> tuple[str, ...]:
    """Return the labels as a tuple of stripped texts.

    Raises
    ------
    LabelError
        If there are none, or one is not text, empty, longer than `MAX_LABEL`, holds a character that nobody sees (a
        line break, an escape, a zero-width space, half a surrogate pair), or is there twice. Upper and lower case,
        composed and decomposed accents, and one or more spaces count as the same, since CLIP's tokenizer levels them.

    Examples
    --------
    >>> check_labels(["cat", " sofa "])
    ('cat', 'sofa')
    """
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        what = quoted(labels) if isinstance(labels, str) else repr(labels)
        raise LabelError(f"labels is {what}; expected a list of texts such as ['cat', 'sofa'].")
    checked = [_check_label(label, position) for position, label in enumerate(labels)]
    if not checked:
        raise LabelError("there are no labels; give at least one, such as ['cat'].")
    seen: dict[str, int] = {}
    for position, label in enumerate(checked):
        first = seen.setdefault(leveled(label), position)
        if first != position:
            raise LabelError(_twice(checked[first], label, first, position))
    return tuple(checked)


def _check_label(label: object, position: int) -> str:
    if not isinstance(label, str):
        raise LabelError(f"label {position} is {label!r} ({type(label).__name__}); expected text.")
    stripped = label.strip()
    if not stripped:
        raise LabelError(f"label {position} is empty; give every label a word, or leave it out.")
    hidden = unseen(stripped)
    if hidden:
        raise LabelError(f"label {position} is {quoted(label)}, which holds {hidden}; write it without that character.")
    if len(stripped) > MAX_LABEL:
        raise LabelError(
            f"label {position} is {quoted(label)}; expected at most {MAX_LABEL:,}, more than any text encoder reads."
        )
    return stripped


def _twice(label: str, again: str, first: int, second: int) -> str:
    if label.lower() == again.lower():
        return f"label {quoted(again)} is there twice (positions {first} and {second}); give it once."
    # What differs cannot be seen otherwise.
    return (
        f"labels {first} and {second}, {label[:60]!a} and {again[:60]!a}, differ only in how accents or "
        "spaces are coded, which the text encoder does not see; give one of them."
    )


def with_background(labels: tuple[str, ...], config: Config) -> tuple[tuple[str, ...], int | None]:
    """Labels as they are fused, and the index of the background label (None where the policy has none).

    A label set without background gets one as first label, as the official evaluation has it.

    Examples
    --------
    >>> with_background(("cat",), Config())
    (('background', 'cat'), 0)
    >>> with_background(("cat",), Config(background="none"))
    (('cat',), None)

    Raises
    ------
    LabelError
        If the background is the only label; or if the policy is ``threshold`` and fewer than two other labels are
        there: a softmax over one is always 1.
    ConfigError
        If more labels are kept than there are.
    """
    all_labels, background = _with_background(labels, config)
    check_kept(len(all_labels), config, background)
    return all_labels, background


def _with_background(labels: tuple[str, ...], config: Config) -> tuple[tuple[str, ...], int | None]:
    if config.background == "none":
        return labels, None
    name = config.background_label
    positions = [position for position, label in enumerate(labels) if label.lower() == name.lower()]
    all_labels, background = (labels, positions[0]) if positions else ((name, *labels), 0)
    if config.background == "threshold" and len(all_labels) < 3:
        raise LabelError(
            f"background='threshold' compares the probabilities of the labels other than {name!r}, and there are "
            f"{len(all_labels) - 1}; give at least two, or use another background policy."
        )
    if len(all_labels) == 1:
        raise LabelError(
            f"the only label is the background, {name!r}, so every pixel would be background; give at least one label "
            "beside it, or use background='none'."
        )
    return all_labels, background


def phrases(labels: tuple[str, ...], config: Config) -> dict[str, tuple[str, ...]]:
    """Phrases that stand for each label as it is fused, the background's included.

    Raises
    ------
    LabelError
        If the synonyms name a label that is not among the labels, or there are more than `MAX_PHRASES`.

    Examples
    --------
    >>> phrases(("sofa",), Config(synonyms={"sofa": ["sofa", "couch"]}))
    {'background': ('background',), 'sofa': ('sofa', 'couch')}
    >>> phrases(("sofa",), Config(background="words", background_words=["sky", "wall"]))
    {'background': ('sky', 'wall'), 'sofa': ('sofa',)}
    """
    names, background = with_background(labels, config)
    known = {label.lower(): several for label, several in config.synonyms.items()}
    # Synonyms of the background may wait there while the policy has no use for them.
    strangers = known.keys() - {name.lower() for name in (*names, config.background_label)}
    if strangers:
        label = next(label for label in config.synonyms if label.lower() in strangers)
        raise LabelError(f"synonyms are given for {label!r}, which is not among the labels. {nearest(label, names)}")
    found = {name: known.get(name.lower(), (name,)) for name in names}
    if background is not None and config.background == "words":
        found[names[background]] = config.background_words
    count = sum(map(len, found.values()))
    if count > MAX_PHRASES:
        raise LabelError(
            f"the labels have {count:,} phrases; expected at most {MAX_PHRASES:,}, as a run keeps their indices in 16 "
            "bits. Use fewer labels or synonyms."
        )
    return found


def warn_of_shared_phrases(wanted: Mapping[str, tuple[str, ...]]) -> None:
    """Warn, once, of phrases that stand for several labels: where one is the best of both, they are equal."""
    owners: dict[str, list[str]] = {}
    for label, several in wanted.items():
        for phrase in several:
            owners.setdefault(phrase.lower(), []).append(label)
    shared = {phrase: labels for phrase, labels in owners.items() if len(labels) > 1}
    if shared:
        first = [
            f"{quoted(phrase)} for {' and '.join(map(quoted, labels))}"
            for phrase, labels in list(shared.items())[:_NAMED]
        ]
        more = f"; and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        warnings.warn(
            f"Some phrases stand for several labels ({'; '.join(first)}{more}); where such a phrase is the best of "
            "both, they are equal and the first label is chosen.",
            ClipdiyWarning,
            stacklevel=3,
        )


def check_one_phrase(labels: Sequence[str], wanted: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse synonyms of labels whose text embeddings are given, one row per label.

    Raises
    ------
    LabelError
        If a label has phrases other than itself.
    """
    for label in labels:
        if wanted[label] != (label,):
            raise LabelError(
                f"text_embeddings gives one row for {label!r}, the configuration gives it the phrases "
                f"{listed(wanted[label])}; leave out one of the two."
            )


def templates(config: Config) -> tuple[str, ...]:
    """Return the texts of the templates; ImageNet's are looked up in open_clip.

    Examples
    --------
    >>> len(templates(Config(template="imagenet80"))), templates(Config())
    (80, ('a photo of a {label}',))
    """
    if config.template == "imagenet80":
        return _imagenet80()
    return _imagenet80() + _IN_THE_SCENE if config.template == "scene85" else config.templates


# What MaskCLIP has beside ImageNet's (chongzhou96/MaskCLIP at 245d31f).
_IN_THE_SCENE = (
    "there is a {label} in the scene.",
    "there is the {label} in the scene.",
    "this is a {label} in the scene.",
    "this is the {label} in the scene.",
    "this is one {label} in the scene.",
)


@lru_cache(maxsize=1)
def _imagenet80() -> tuple[str, ...]:
    from open_clip import OPENAI_IMAGENET_TEMPLATES  # here, since opening a run should not wait for open_clip's import

    return tuple(template("{label}") for template in OPENAI_IMAGENET_TEMPLATES)


def prompts(phrase: str, config: Config) -> tuple[str, ...]:
    """Return the prompts of a phrase (a label is one), one a template.

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
    for template in templates(config):
        if config.article == "grammatical" and phrase.startswith(_VOWELS):
            template = _ARTICLE.sub(r"\1n", template)
        made.append(template.replace("{label}", phrase))
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

    def embed(self, phrases: Sequence[str], config: Config) -> npt.NDArray[np.float32]:
        """Embed phrases: every prompt's unit vector, averaged over the templates and normalised again.

        Returns
        -------
        float32 array, phrases x features
            Unit vectors.

        Raises
        ------
        LabelError
            If a prompt is too long for the tokenizer.
        ModelError
            If the encoder gives something else than one finite vector per prompt.
        """
        self._warn_of_strangers(phrases)
        wanted = {phrase: prompts(phrase, config) for phrase in phrases}
        missing = list(dict.fromkeys(p for made in wanted.values() for p in made if p not in self._known))
        if missing:
            self._known |= dict(zip(missing, self._encode(missing), strict=True))
        means = np.stack([np.mean([self._known[p] for p in wanted[phrase]], axis=0) for phrase in phrases])
        return unit(means, "the text encoder")

    def _warn_of_strangers(self, phrases: Sequence[str]) -> None:
        known = words_of(self.encoder)
        strangers = [one for one in dict.fromkeys(phrases) if known is not None and one.lower() not in known]
        if strangers:
            warnings.warn(
                f"The model {self.encoder.name!r} never learned {listed(strangers)}, so scores of such labels "
                f"mean nothing; it knows {len(known or ())} words, a real CLIP model knows the rest.",
                ClipdiyWarning,
                stacklevel=4,
            )

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        parts = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        with torch.inference_mode():
            vectors = torch.cat([self._vectors(part) for part in parts]).numpy()
        expected = (len(texts), self.encoder.embedding_dim)
        if vectors.shape != expected:
            raise ModelError(
                f"encoder {self.encoder.name!r} gave text embeddings of shape {vectors.shape}, expected {expected}."
            )
        return unit(vectors, f"encoder {self.encoder.name!r}")

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        return as_vectors(self.encoder.encode_texts(texts), self.encoder, "encode_texts")


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
