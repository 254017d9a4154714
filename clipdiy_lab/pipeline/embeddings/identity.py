"""What a store was made of: two stores with equal keys hold the same numbers."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from clipdiy_lab.errors import StoreError
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.capabilities import interpolation_of
from clipdiy_lab.pipeline.segmenter import Segmenter

Key = dict[str, Any]


def canonical(value: Any) -> str:
    """One text for equal values: JSON with sorted names and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def brief(value: Any) -> str:
    """Say what came in a message that has an end."""
    return reprlib.repr(value)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def key_of(segmenter: Segmenter, config: Config, ids: Sequence[str]) -> Key:
    """Everything that decides the numbers in a store, apart from the pixels of the images.

    The pixels' hashes stand in the shards, image by image, and are compared there.

    Returns
    -------
    dict
        Weights, preprocessing and width of the encoder; every encode knob, with the precision settled; source, weights
        and recipe of the saliency; number and hash of the ids in their order.
    """
    encoder, was = segmenter.encoder, segmenter.provenance(config)
    encode = json.loads(was["config"])
    made = {
        "encoder_fingerprint": encoder.fingerprint,
        "encoder_image_size": encoder.image_size,
        "encoder_mean": list(encoder.mean),
        "encoder_std": list(encoder.std),
        "encoder_interpolation": interpolation_of(encoder),
        "embedding_dim": encoder.embedding_dim,
        **{name: encode[name] for name in Config.knobs("encode")},
        **{name: was[name] for name in ("saliency_source", "saliency_fingerprint", "saliency_recipe")},
        "images": len(ids),
        "ids_sha256": digest(list(ids)),
    }
    plain: Key = json.loads(canonical(made))  # as it comes back from a file: lists, no tuples
    return plain


def require_equal(has: Mapping[str, Any], asked: Key, place: str) -> None:
    """Refuse a store that was made of something else, and say what differs.

    Raises
    ------
    StoreError
        With the value in the store and the value asked for of everything that differs.
    """
    differs = [name for name in {**asked, **has} if has.get(name) != asked.get(name)]
    if differs:
        told = "; ".join(
            f"{name} is {brief(has.get(name))} there, {brief(asked.get(name))} is asked" for name in differs
        )
        raise StoreError(
            f"The store {place} was made with other settings: {told}. Use the settings of the store, or name another "
            "folder."
        )
