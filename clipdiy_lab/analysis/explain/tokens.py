"""One patch token taken apart: from which patches, through which heads, its cosine with a label came."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.analysis.explain.crops import Window, cell_of
from clipdiy_lab.analysis.explain.reading import array, label_index, read
from clipdiy_lab.errors import ModelError, RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.method.ops import to_whole_patches
from clipdiy_lab.method.patch_grid import PatchGrid
from clipdiy_lab.models.capabilities import HasTokenTower
from clipdiy_lab.models.encoders import Encoder, to_input

if TYPE_CHECKING:
    from clipdiy_lab.models.dense_tokens import TokenTower
    from clipdiy_lab.pipeline.segmenter import Segmenter

TOKEN_PART = s.Stage(
    name="token_part",
    dims=(s.HEAD, s.ROW, s.COL),
    kind="f8",
    title="Part of the cosine, by head and patch",
    unit="cosine",
)
CLASS_PART = s.Stage(
    name="class_part", dims=(s.HEAD,), kind="f8", title="Part of the cosine from the class token", unit="cosine"
)
EVIDENCE = s.Stage(
    name="evidence",
    dims=(s.Y, s.X),
    kind="f4",
    title="Where the cosine of a patch came from",
    sentence="Contribution to the cosine of the patch at the pixel, summed over all heads. Orange raises the cosine; "
    "blue lowers it.",
    unit="cosine",
)
_ROUNDING = 1e-5


@dataclass(frozen=True)
class _Read:
    """The rectangle of the frame that the encoder read when it made a token.

    Attributes
    ----------
    image : float tensor, 1 x 3 x h x w
        As the encoder read it.
    patch : (int, int)
        Row and column of the token among its patches.
    top, left : int
        First pixel of the rectangle in the frame.
    size : (int, int)
        Its height and width in pixels of the frame.
    before : (float, float)
        Pixels by which the patches begin before it.
    length : (float, float)
        Pixels that all its patches take.
    """

    image: Tensor
    patch: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]
    before: tuple[float, float]
    length: tuple[float, float]


def token(run: xr.DataTree, segmenter: Segmenter, cell: Window, label: str) -> xr.Dataset:
    """Decompose the cosine of a patch token with a label exactly by attention head and source patch.

    The tokens of ``clearclip`` and ``naclip`` are the output of attention only: sums of values over heads and
    patches. If the mean and the deviation of the last layer norm, and the length of the vector, are fixed at their
    values for this token, the cosine is linear in that sum (``docs/understanding/explain.md``). The attention itself,
    and the mixing of patches in the earlier blocks, are not decomposed: a source patch denotes a position, not only
    the pixels there. The tokens of ``maskclip`` and ``sclip`` keep the residual and the nonlinear MLP, which cannot
    be decomposed in this way.

    Parameters
    ----------
    run : xarray.DataTree
        With the image.
    segmenter : Segmenter
        The one that made the run.
    cell : (grid, row, col)
        A patch token as `pixel` names it.
    label : str
        Its best phrase is used.

    Returns
    -------
    xarray.Dataset
        ``token_part`` (head, row, col): contribution of every head and patch of the encoded image; ``class_part``
        (head): that of the class token. With the attribute ``bias`` they sum to the attribute ``cosine``, the run's,
        within 1e-5. ``evidence`` (y, x), pixels of the frame: the sum over all heads for the patch at the pixel. The
        attribute ``story`` summarises in a sentence where the evidence comes from.

    Raises
    ------
    RunError
        For a cell that is not in the run or not a patch token, a missing stage, another encoder than the run's, or
        parts that do not sum to the run's cosine (because it was computed in half precision, or changed).
    ModelError
        If the method or the encoder does not allow this decomposition.
    LabelError
        For a label that is not in the run.
    """
    from clipdiy_lab.pipeline.recombine import require_same_encoder  # heavy, and loaded wherever there is one

    config = read(run, "image", "text_embedding", s.SCORES)
    segmenter = require_same_encoder(run, segmenter)
    at = label_index(run, label)
    grid, row, col = cell_of(config, cell)
    if not isinstance(grid, PatchGrid):
        raise RunError(f"the grid {grid.name!r} holds crops; give a grid of patch tokens, or use explain.occlude.")
    place = {s.ROW: row, s.COL: col, s.LABEL: at}
    cosine = float(s.stage(run, "similarity", grid.name).isel(place))
    phrase = int(s.stage(run, "best_phrase", grid.name).isel(place))
    text = torch.from_numpy(s.stage(run, "text_embedding").values[phrase].astype(np.float32))
    given = (_of_frame if config.dense_from == "frame" else _of_window)(run, config, segmenter, grid, (row, col))
    parts, bias = _parts(segmenter, config, grid, given, text)
    total = float(parts.sum()) + bias
    if abs(total - cosine) > _ROUNDING:
        raise RunError(
            f"the cosine of the patch {cell!r} with {label!r} is {cosine:.6f} in the run, but its parts sum to "
            f"{total:.6f}: the run was made in {config.precision} (then segment with precision='fp32'), or stages were "
            "changed."
        )
    heads: dict[Hashable, Any] = {s.HEAD: np.arange(len(parts))}
    patches = parts[:, 1:].reshape(len(parts), *grid.tokens)
    evidence = _spread(patches.sum(0), given)
    told = {"cosine": cosine, "bias": bias, "grid": grid.name, "cell": [row, col], "label": label}
    return xr.Dataset(
        {
            "token_part": array(TOKEN_PART, patches, heads),
            "class_part": array(CLASS_PART, parts[:, 0], heads),
            "evidence": evidence,
        },
        attrs=told | {"story": _story(patches, parts[:, 0], bias, cosine, given.patch, label)},
    )


def _of_frame(run: xr.DataTree, config: Config, segmenter: Segmenter, grid: PatchGrid, cell: tuple[int, int]) -> _Read:
    from clipdiy_lab.pipeline.crops import frame_input  # as above

    frame = torch.from_numpy(s.stage(run, "image").values.copy())
    patch = _require_tower(segmenter.encoder).patch
    image = to_whole_patches(
        frame_input(frame, config, segmenter.encoder)[None], patch, METHODS[config.dense].remainder
    )
    whole = grid.stretched and config.placement == "stretched"
    (top,), (left,) = grid.starts
    before = (0.0, 0.0) if whole else (-top, -left)
    length = (float(grid.frame[0]), float(grid.frame[1])) if whole else grid.sides
    return _Read(image, cell, 0, 0, config.image_size, before, length)


def _of_window(run: xr.DataTree, config: Config, segmenter: Segmenter, grid: PatchGrid, cell: tuple[int, int]) -> _Read:
    (rows, cols), side = grid.tokens, int(grid.sides[0])
    top, left = int(grid.starts[0][cell[0] // rows]), int(grid.starts[1][cell[1] // cols])
    pixels = s.stage(run, "image").values[top : top + side, left : left + side]
    crop = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    image = to_input(crop, config.crop_input.get(side, segmenter.encoder.image_size), segmenter.encoder)
    return _Read(image, (cell[0] % rows, cell[1] % cols), top, left, (side, side), (0.0, 0.0), grid.sides)


def _require_tower(encoder: Encoder) -> TokenTower:
    if not isinstance(encoder, HasTokenTower):
        raise ModelError(
            f"{encoder.name!r} gives no access to its last block; use an open_clip ViT with runtime 'torch'."
        )
    return encoder.tokens


def _parts(
    segmenter: Segmenter, config: Config, grid: PatchGrid, given: _Read, text: Tensor
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], float]:
    tower, block = _require_tower(segmenter.encoder), METHODS[config.dense]
    weight = tower.visual.conv1.weight
    image = given.image.to(weight.device, weight.dtype)
    positions = block.positions if config.dense_from == "frame" else "antialias"
    index = given.patch[0] * grid.tokens[1] + given.patch[1]
    with torch.inference_mode():
        before = tower.before_last(image, positions)
        parts, bias = tower.parts(before, block, grid.tokens, index, text.to(weight.device))
    return parts.cpu().numpy(), bias


def _spread(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], given: _Read) -> xr.DataArray:
    """Give each pixel of what was read the value of its patch."""
    rows, cols = (
        np.clip(((np.arange(side) + 0.5 + before) * count / length).astype(int), 0, count - 1)
        for side, before, length, count in zip(given.size, given.before, given.length, values.shape, strict=True)
    )
    pixel = {"units": "pixel"}
    coords: dict[Hashable, Any] = {
        s.Y: (s.Y, given.top + np.arange(given.size[0]), pixel),
        s.X: (s.X, given.left + np.arange(given.size[1]), pixel),
    }
    return array(EVIDENCE, values[np.ix_(rows, cols)], coords)


def _story(
    parts: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    of_class: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    bias: float,
    cosine: float,
    patch: tuple[int, int],
    label: str,
) -> str:
    by_patch, (row, col) = parts.sum(0), patch
    near = by_patch[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2].sum()
    head = int(np.abs(parts.sum((1, 2)) + of_class).argmax())
    top = tuple(int(index) for index in np.unravel_index(int(by_patch.argmax()), by_patch.shape))
    return (
        f"Of the cosine {cosine:.4f} with {label!r}, {by_patch[row, col]:+.4f} came from the patch itself, "
        f"{near - by_patch[row, col]:+.4f} from its neighbours, {by_patch.sum() - near:+.4f} from patches further "
        f"away, {of_class.sum():+.4f} from the class token and {bias:+.4f} from no token; the patch in row {top[0]}, "
        f"column {top[1]} gave most ({by_patch[top]:+.4f}), and head {head} had the largest say."
    )
