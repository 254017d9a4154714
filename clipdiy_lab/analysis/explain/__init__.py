"""Explanations of a run: pure functions that take a run and return xarray or pandas objects.

`occlude`, `attend`, `faithfulness` and `token` need the image network, `prompt_sensitivity` and `absent` the text
encoder.
`error_budget` analyses a dataset instead of a run: it shows where mIoU is lost.
"""

from __future__ import annotations

from clipdiy_lab.analysis.explain.absence import absent
from clipdiy_lab.analysis.explain.attention import attend
from clipdiy_lab.analysis.explain.budget import error_budget
from clipdiy_lab.analysis.explain.faithfulness import faithfulness
from clipdiy_lab.analysis.explain.grids import grid_importance, uncertainty
from clipdiy_lab.analysis.explain.occlusion import occlude
from clipdiy_lab.analysis.explain.pixel_parts import contrast, pixel
from clipdiy_lab.analysis.explain.refining import refine_changed
from clipdiy_lab.analysis.explain.region_parts import region, region_story
from clipdiy_lab.analysis.explain.saliency_maps import background_threshold, flip_weight
from clipdiy_lab.analysis.explain.sentences import story
from clipdiy_lab.analysis.explain.tokens import token
from clipdiy_lab.analysis.explain.wording import label_changed, prompt_sensitivity

__all__ = [
    "absent",
    "attend",
    "background_threshold",
    "contrast",
    "error_budget",
    "faithfulness",
    "flip_weight",
    "grid_importance",
    "label_changed",
    "occlude",
    "pixel",
    "prompt_sensitivity",
    "refine_changed",
    "region",
    "region_story",
    "story",
    "token",
    "uncertainty",
]
