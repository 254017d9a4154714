"""A segmenter on its way to a worker: by recipe where a registry can make it again, the object itself where not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models.capabilities import HasDevice, precision_of, recipe_of
from clipdiy_lab.models.encoders import Encoder
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency import Saliency
from clipdiy_lab.pipeline.segmenter import Segmenter


@dataclass(frozen=True)
class SentSegmenter:
    """What a worker needs to have the client's segmenter.

    Attributes
    ----------
    encoder : Recipe or Encoder
        For `make_encoder`; or a user-defined object.
    precision : str
        In which the client's encoder computes.
    saliency : Recipe or Saliency
        For `make_saliency`; or a user-defined object.
    fingerprints : (str, str)
        Of the client's encoder and saliency.
    batch_size : int or None
    """

    encoder: Recipe | Encoder
    precision: str
    saliency: Recipe | Saliency
    fingerprints: tuple[str, str]
    batch_size: int | None

    @classmethod
    def of(cls, segmenter: Segmenter) -> SentSegmenter:
        """Return what has to be sent for a segmenter."""
        encoder, saliency = segmenter.encoder, segmenter.saliency
        return cls(
            encoder=recipe_of(encoder) or encoder,
            precision=precision_of(encoder),
            saliency=recipe_of(saliency) or saliency,
            fingerprints=(encoder.fingerprint, saliency.fingerprint),
            batch_size=segmenter.batch_size,
        )

    def build(self) -> Segmenter:
        """Make the segmenter, on a worker.

        Raises
        ------
        ModelError
            If the weights, or the package that brings them, are not to be had there, or are other ones than the
            client's.
        """
        from clipdiy_lab.pipeline.loading import (
            make_encoder,
            make_saliency,
        )  # here, since only a worker needs it and open_clip

        encoder, saliency, device = self.encoder, self.saliency, "cpu"
        if isinstance(encoder, Recipe):
            options: dict[str, Any] = dict(encoder.options)
            encoder = make_encoder(encoder.name, precision=cast(Precision, self.precision), **options)
            device = str(encoder.device) if isinstance(encoder, HasDevice) else device
        if isinstance(saliency, Recipe):
            options = dict(saliency.options)
            saliency = make_saliency(saliency.name, device=device, **options)
        found = (encoder.fingerprint, saliency.fingerprint)
        for what, mine, theirs in zip((encoder.name, saliency.name), found, self.fingerprints, strict=True):
            if mine != theirs:
                raise ModelError(
                    f"{what!r} has other weights there ({mine[:12]}...) than here ({theirs[:12]}...); copy the same "
                    "file to every machine."
                )
        return Segmenter(encoder, saliency, batch_size=self.batch_size)
