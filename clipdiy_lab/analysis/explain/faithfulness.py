"""Whether an explanation of a crop is true: hide, or show, its parts in the order it gives, against random orders."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.explain.crops import Crop, Window
from clipdiy_lab.analysis.explain.reading import array
from clipdiy_lab.errors import ConfigError, RunError
from clipdiy_lab.method import attribution
from clipdiy_lab.method import schema as s

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

RANDOM = "random"
_CURVES = tuple(
    s.Stage(name=name, dims=(s.EXPLANATION, s.SHARE), kind="f4", title=title, unit="cosine")
    for name, title in (
        ("deletion", "Cosine with the share hidden"),
        ("insertion", "Cosine with only the share shown"),
    )
)
_AREAS = tuple(
    s.Stage(name=f"{name}_auc", dims=(s.EXPLANATION,), kind="f4", title=title)
    for name, title in (
        ("deletion", "Area under deletion (low is faithful)"),
        ("insertion", "Area under insertion (high is faithful)"),
    )
)

Order = npt.NDArray[np.int64]


def faithfulness(
    run: xr.DataTree,
    segmenter: Segmenter,
    window: Window,
    label: str,
    explanations: Mapping[str, xr.DataArray],
    *,
    cells: int = 8,
    steps: int = 16,
    repeats: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """Deletion and insertion curves of explanations of one window (Petsiuk, Das and Saenko, BMVC 2018).

    The crop is divided into cells x cells, which an explanation ranks by its mean over each cell. Deletion replaces the
    highest-ranked cells by the crop's mean colour; insertion keeps only those.

    Parameters
    ----------
    run : xarray.DataTree
    segmenter : Segmenter
        The one that made the run.
    window : (grid, row, col)
    label : str
    explanations : mapping of name to array (y, x)
        As returned by `occlude` and `attend` for the same window.
    cells : int
        Cells along a side.
    steps : int
        Number of steps of a curve from no cells to all cells.
    repeats : int
        Number of random orders, whose curves are averaged.
    seed : int
        Seed of the random orders.

    Returns
    -------
    xarray.Dataset
        ``deletion``, ``insertion`` (explanation, share): cosines; ``deletion_auc`` (low is faithful),
        ``insertion_auc`` (high is faithful) (explanation). The last explanation is ``"random"``; attributes
        ``random_deletion_sd`` and ``random_insertion_sd``: standard deviation of the AUC over the random orders.

    Raises
    ------
    RunError, LabelError
        For a window or label that is not in the run, another encoder, or an explanation of another window or with NaN.
    ConfigError
        For invalid numbers of cells, steps or repeats.
    """
    crop = Crop.of(run, segmenter, window, label)
    side = len(crop.pixels)
    if not (1 <= cells <= side and 1 <= steps <= cells * cells and repeats >= 1) or RANDOM in explanations:
        raise ConfigError(
            f"cells={cells}, steps={steps}, repeats={repeats}, explanations {list(explanations)}; expected 1 <= cells "
            f"<= {side}, 1 <= steps <= cells * cells, repeats >= 1 and no explanation named {RANDOM!r}."
        )
    owner = _cell_of_pixel(side, cells)
    orders = [_order(crop, name, given, owner) for name, given in explanations.items()]
    rng = np.random.default_rng(seed)
    orders += [rng.permutation(cells * cells) for _ in range(repeats)]
    curves = np.stack([_curves(crop, order, owner, steps) for order in orders])
    areas = attribution.area_under(curves)
    own = len(explanations)
    spread = areas[own:].std(0)
    curves, areas = (np.concatenate([of[:own], of[own:].mean(0, keepdims=True)]) for of in (curves, areas))
    coords: dict[Hashable, Any] = {s.EXPLANATION: [*explanations, RANDOM], s.SHARE: np.linspace(0, 1, steps + 1)}
    made = {}
    for place, (curve, area) in enumerate(zip(_CURVES, _AREAS, strict=True)):
        made[curve.name] = array(curve, curves[:, place], coords)
        made[area.name] = array(area, areas[:, place], coords)
    attrs = {"random_deletion_sd": float(spread[0]), "random_insertion_sd": float(spread[1]), "repeats": repeats}
    return xr.Dataset(made, attrs=attrs)


def _cell_of_pixel(side: int, cells: int) -> Order:
    """Index of the cell of every pixel, side x side."""
    along = np.arange(side) * cells // side
    owner: Order = along[:, None] * cells + along
    return owner


def _order(crop: Crop, name: str, given: xr.DataArray, owner: Order) -> Order:
    fits = isinstance(given, xr.DataArray) and given.dims == (s.Y, s.X) and given.shape == owner.shape
    if not fits or (int(given[s.Y][0]), int(given[s.X][0])) != (crop.top, crop.left):
        raise RunError(
            f"the explanation {name!r} is not of this window; expected an array (y, x) of {len(owner)} x {len(owner)} "
            f"pixels from y={crop.top}, x={crop.left}, as explain.occlude gives it."
        )
    if not np.isfinite(given.values).all():
        raise RunError(f"the explanation {name!r} holds NaN or infinite values; compute it again.")
    sums = np.bincount(owner.ravel(), given.values.ravel().astype(np.float64))
    order: Order = np.argsort(-sums / np.bincount(owner.ravel()), kind="stable")
    return order


def _curves(crop: Crop, order: Order, owner: Order, steps: int) -> npt.NDArray[np.float64]:
    """Cosines of deletion and insertion, 2 x (steps + 1)."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    masks = [(rank[owner] < round(len(order) * step / steps))[..., None] for step in range(steps + 1)]
    deleted = [np.where(mask, crop.mean_colour, crop.pixels) for mask in masks]
    inserted = [np.where(mask, crop.pixels, crop.mean_colour) for mask in masks]
    return crop.cosines(deleted + inserted).reshape(2, steps + 1)
