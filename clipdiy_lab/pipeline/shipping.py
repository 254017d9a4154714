"""A segmenter on its way to a worker: its recipe where the lab can make it again, the object itself where not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdiy_lab.errors import ModelError
from clipdiy_lab.models.encoders import Encoder, OpenClipEncoder
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.saliency import Saliency, build, names
from clipdiy_lab.pipeline.segmenter import Segmenter


@dataclass(frozen=True)
class SentSegmenter:
    """What a worker needs to have the client's segmenter.

    Attributes
    ----------
    encoder : dict or Encoder
        Arguments of `load_encoder`, in the precision that the client has; or an object of one's own.
    saliency : (str, dict) or Saliency
        Name and options for `models.saliency.build`, or an object of one's own.
    fingerprints : (str, str)
        Of the client's encoder and saliency.
    batch_size : int or None
    """

    encoder: dict[str, Any] | Encoder
    saliency: tuple[str, dict[str, Any]] | Saliency
    fingerprints: tuple[str, str]
    batch_size: int | None

    @classmethod
    def of(cls, segmenter: Segmenter) -> SentSegmenter:
        """Return what has to be sent for a segmenter."""
        encoder, saliency = segmenter.encoder, segmenter.saliency
        recipe = encoder.recipe if isinstance(encoder, OpenClipEncoder) else None
        own = type(saliency).__module__.startswith("clipdiy_lab.") and saliency.name in names()
        made: tuple[str, dict[str, Any]] | Saliency = saliency
        if own:
            options: dict[str, Any] = dict(getattr(saliency, "options", {}))
            if "path" in options:
                options["path"] = str(Path(options["path"]).absolute())
            made = (saliency.name, options)
        return cls(
            encoder=encoder if recipe is None else {**recipe, "precision": getattr(encoder, "precision", "auto")},
            saliency=made,
            fingerprints=(encoder.fingerprint, saliency.fingerprint),
            batch_size=segmenter.batch_size,
        )

    def build(self) -> Segmenter:
        """Make the segmenter, on a worker.

        Raises
        ------
        ModelError
            If the weights are not to be had there, or are other ones than the client's.
        """
        by_recipe = isinstance(self.encoder, dict)
        encoder = load_encoder(**self.encoder) if isinstance(self.encoder, dict) else self.encoder
        saliency = self.saliency
        if isinstance(saliency, tuple):
            device = str(getattr(encoder, "device", "cpu")) if by_recipe else "cpu"
            saliency = build(saliency[0], device=device, **saliency[1])
        found = (encoder.fingerprint, saliency.fingerprint)
        for what, mine, theirs in zip((encoder.name, saliency.name), found, self.fingerprints, strict=True):
            if mine != theirs:
                raise ModelError(
                    f"{what!r} has other weights there ({mine[:12]}...) than here ({theirs[:12]}...); bring the same "
                    "file to every machine."
                )
        return Segmenter(encoder, saliency, batch_size=self.batch_size)
