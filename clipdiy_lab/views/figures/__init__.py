"""Plotly figures: each function takes labelled data and returns a `Figure`, without using a model or calling `show()`.

One for every stage of a run and every table about runs. A label has the same colour in all of them, images travel as
palette PNG or WebP and not as lists of numbers, and every figure can be put on light or dark paper (`theme`) and into
a file for a paper (`save`).

Examples
--------
>>> from clipdiy_lab.views import figures
>>> len(figures.__all__) > 25
True
"""

from clipdiy_lab.views.figures.budget import error_budget
from clipdiy_lab.views.figures.classes import confusion, differences, dumbbells
from clipdiy_lab.views.figures.export import at_column_width, save, save_all
from clipdiy_lab.views.figures.extremes import doubtful, worst_and_best
from clipdiy_lab.views.figures.maps import explanation, pixel_map
from clipdiy_lab.views.figures.paper import comparison, overview
from clipdiy_lab.views.figures.pixel import contributions
from clipdiy_lab.views.figures.quality import reliability, trimap
from clipdiy_lab.views.figures.scores import cost, miou_bars, sweep_heat, sweep_line
from clipdiy_lab.views.figures.stages import (
    fused,
    grids,
    guide,
    guided,
    image,
    margin,
    merged,
    overlay,
    probability,
    saliency,
    similarity,
    stage,
    windows,
)
from clipdiy_lab.views.figures.style import theme

__all__ = [
    "at_column_width",
    "comparison",
    "confusion",
    "contributions",
    "cost",
    "differences",
    "doubtful",
    "dumbbells",
    "error_budget",
    "explanation",
    "fused",
    "grids",
    "guide",
    "guided",
    "image",
    "margin",
    "merged",
    "miou_bars",
    "overlay",
    "overview",
    "pixel_map",
    "probability",
    "reliability",
    "saliency",
    "save",
    "save_all",
    "similarity",
    "stage",
    "sweep_heat",
    "sweep_line",
    "theme",
    "trimap",
    "windows",
    "worst_and_best",
]
