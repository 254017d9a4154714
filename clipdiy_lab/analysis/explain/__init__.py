"""Why this pixel: a run taken apart; pure functions on a run, xarray or pandas out."""

from __future__ import annotations

from clipdiy_lab.analysis.explain.parts import contrast, pixel
from clipdiy_lab.analysis.explain.saliency_maps import background_threshold, flip_weight
from clipdiy_lab.analysis.explain.scales import scale_importance, uncertainty
from clipdiy_lab.analysis.explain.sentences import story

__all__ = [
    "background_threshold",
    "contrast",
    "flip_weight",
    "pixel",
    "scale_importance",
    "story",
    "uncertainty",
]
