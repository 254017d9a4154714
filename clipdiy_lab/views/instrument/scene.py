"""A run as the browser's engine reads it: what the fuse tier needs, and nothing that it can compute itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image

from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan
from clipdiy_lab.method.knobs import Place
from clipdiy_lab.method.naming import knob_title
from clipdiy_lab.method.patch_grid import PatchGrid
from clipdiy_lab.text import printable
from clipdiy_lab.views import catalogue, data_uris
from clipdiy_lab.views.colors import css, label_colors
from clipdiy_lab.views.look import image_title
from clipdiy_lab.views.scales import MARK, grid_colors

VERSION: Final = 1
"""Of the scene's form; `js/scene.js` reads the same."""
KNOBS: Final = (
    *("weights", "placement", "interpolation", "align_corners", "background", "background_threshold", "logit_scale"),
    *("saliency_weight", "saliency_threshold", "keep_labels", "refine", "refine_iterations", "refine_dilations"),
    *("refine_radius", "refine_eps", "temperature"),
)
"""Knobs that the engine turns by itself: all of the fuse tier but those that ask the text encoder."""
_LIVE: Final[tuple[Place, ...]] = ("merged", "guide", "fused", "refined", "probability")
"""Where knobs act that the engine has to know; what acts before is in the similarities already."""
DECIDERS: Final = ("fused", "refined")
"""Scores that the engine can make; a run in which another decides cannot be live."""
_GROUPS: Final = {
    "merged": "Merging the grids",
    "text": "Background",
    "fused": "Background",
    "guide": "Saliency",
    "refined": "Refinement",
}
_NEEDS: Final = {
    "background_threshold": {"background": ["threshold"]},
    "logit_scale": {"background": ["threshold"]},
    "align_corners": {"interpolation": ["bilinear"], "placement": ["stretched"]},
    "refine_iterations": {"refine": ["pamr"]},
    "refine_dilations": {"refine": ["pamr"]},
    "refine_radius": {"refine": ["guided"]},
    "refine_eps": {"refine": ["guided"]},
}
"""Values of other knobs with which a knob has a meaning."""
_MAPS: Final = (
    *("margin", "saliency", "background_threshold", "threshold_distance", "flip_change", "flip_label"),
    *("deciding_grid", "grid_shapley", "grid_flips", "grid_agreement", "entropy"),
)
"""What the engine makes a map of, in the catalogue's words."""
_LONGEST: Final = 1024
"""Longer side of the photograph that travels, pixels."""


def scene(
    run: xr.DataTree,
    *,
    photograph: npt.NDArray[np.uint8] | None = None,
    truth: npt.NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """Pack a run for the browser.

    Parameters
    ----------
    run : xarray.DataTree
        With the stages ``image``, ``labels`` and the similarities of every grid.
    photograph : uint8 array, H x W x 3, optional
        The image at its own size; default: the frame.
    truth : integer array, y x x, optional
        True labels by the run's indices, at the frame's size; any other value: not known.

    Returns
    -------
    dict
        For JSON; arrays are base64 of little-endian numbers. Its fields are those of ``Scene`` in ``js/scene.js``.

    Raises
    ------
    RunError
        If a stage is missing, or a score decides that the engine does not know.
    """
    s.validate(run, need=("image", "labels", s.SCORES))
    if reason := lifeless(run):
        raise RunError(reason)
    config = Config.from_json(run.attrs["config"])
    names, background = s.labels_of(run), s.background_of(run)
    frame = s.stage(run, "image").values
    height, width = frame.shape[:2]
    saliency = s.stage(run, "saliency").values if "saliency" in run.data_vars else None
    return {
        "version": VERSION,
        "title": image_title(run),
        "height": height,
        "width": width,
        "size": _size(run, photograph),
        "photograph": data_uris.photograph(_reduced(frame if photograph is None else photograph)),
        "pixels": _packed(frame, "u1"),
        "grids": _grids(run, Plan.of(config)),
        "labels": [printable(name) for name in names],
        "colors": [css(color) for color in label_colors(names, background)],
        "background": -1 if background is None else background,
        "saliency": None if saliency is None else _packed(saliency, "f4"),
        "truth": None if truth is None else _packed(_known(truth, len(names)), "i2"),
        "knobs": knobs(config),
        "paper": _paper(config),
        "controls": [_control(name) for name in KNOBS if name != "weights"],
        "maps": {name: _map(entry) for name, entry in _entries().items()},
        "scales": {kind: {"colors": scale.colors, "css": scale.css} for kind, scale in catalogue.SCALES.items()},
        "mark": css(MARK),
        "temperature": catalogue.TEMPERATURE,
        "about": _about(run),
    }


def lifeless(run: xr.DataTree) -> str:
    """Say why a run cannot be live in the browser; empty where it can."""
    decides, config = str(s.scores(run).name), Config.from_json(run.attrs["config"])
    strange = [name for name in config.changed(Config(), *_LIVE) if name not in KNOBS]
    if decides in DECIDERS and not strange:
        return ""
    what = f"The knob {strange[0]!r} is changed" if strange else f"The labels come from the stage {decides!r}"
    return f"{what}, which is not supported in the browser, so this is a still picture."


def knobs(config: Config) -> dict[str, Any]:
    """Return the values of the knobs that the engine turns, for JSON."""
    values = {name: getattr(config, name) for name in KNOBS}
    values["weights"] = {grid: config.weight(grid) for grid in config.grids}
    values["refine_dilations"] = list(config.refine_dilations)
    return values


def _paper(config: Config) -> dict[str, Any]:
    """The paper's values; grids that the paper does not have get no weight."""
    paper = Config.paper()
    values = knobs(paper)
    return values | {"weights": {grid: float(grid in paper.grids) for grid in config.grids}}


def _control(name: str) -> dict[str, Any]:
    meta = Config.knobs()[name]
    found = {key: meta[key] for key in ("help", "form", "min", "max", "step", "choices") if meta.get(key) is not None}
    likely = meta.get("suggestions", [None])[0] if meta["form"] == "optional" else None
    return {
        **found,
        "name": name,
        "title": knob_title(name),
        "group": _GROUPS.get(meta["acts_on"], "Probability"),
        "needs": _NEEDS.get(name, {}),
        "likely": likely,
    }


def _entries() -> dict[str, catalogue.Entry]:
    known = catalogue.stages() | catalogue.explanations()
    return {**{name: known[name] for name in _MAPS}, "score": known["fused"]}


def _map(entry: catalogue.Entry) -> dict[str, Any]:
    stage = entry.stage
    low = stage.low if entry.low is None else entry.low
    high = stage.high if entry.high is None else entry.high
    bounds = {"low": low, "high": high} if entry.whole or entry.low is not None else {"low": None, "high": None}
    return {"title": stage.title, "sentence": stage.sentence, "unit": stage.unit, "kind": entry.kind, **bounds}


def _grids(run: xr.DataTree, plan: Plan) -> list[dict[str, Any]]:
    colors = grid_colors(len(plan))
    return [_grid(run, grid) | {"color": css(color)} for grid, color in zip(plan, colors, strict=True)]


def _grid(run: xr.DataTree, grid: Grid) -> dict[str, Any]:
    return {
        "name": grid.name,
        "title": grid.title,
        "window": grid.window,
        "rows": grid.rows,
        "cols": grid.cols,
        "tops": grid.tops.tolist(),
        "lefts": grid.lefts.tolist(),
        "axes": {name: _axis(grid, axis) for axis, name in enumerate("yx")},
        "similarity": _packed(s.stage(run, "similarity", grid.name).values, "f4"),
    }


def _axis(grid: Grid, axis: int) -> dict[str, Any]:
    cells = (grid.rows, grid.cols)[axis]
    if not isinstance(grid, PatchGrid):
        return {"cells": cells, "centres": (grid.centre_y, grid.centre_x)[axis].tolist()}
    return {
        "cells": cells,
        "starts": list(grid.starts[axis]),
        "length": grid.sides[axis],
        "count": grid.tokens[axis],
        "stretched": grid.stretched,
    }


def _size(run: xr.DataTree, photograph: npt.NDArray[np.uint8] | None) -> list[int]:
    if photograph is not None:
        return list(photograph.shape[:2])
    full = s.stage(run, "labels_full") if "labels_full" in run.data_vars else s.stage(run, "labels")
    return list(full.shape)


def _reduced(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    longer = max(image.shape[:2])
    if longer <= _LONGEST:
        return image
    height, width = (max(1, round(side * _LONGEST / longer)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _known(truth: npt.NDArray[np.integer], labels: int) -> npt.NDArray[np.int16]:
    return np.where((truth >= 0) & (truth < labels), truth, -1).astype(np.int16)


def _packed(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(f"<{kind}").tobytes()).decode()


def _about(run: xr.DataTree) -> Mapping[str, str]:
    known = {"encoder": "encoder", "saliency": "saliency_source", "caution": s.CAUTION}
    return {name: printable(str(run.attrs[key])) for name, key in known.items() if run.attrs.get(key)}
