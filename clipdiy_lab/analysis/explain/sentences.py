"""Explanation of a pixel in a few sentences computed from the numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from clipdiy_lab.analysis.explain.parts import shares_of_fused
from clipdiy_lab.analysis.explain.pixel_parts import alone, contrast
from clipdiy_lab.analysis.explain.reading import Floats, Frame, at_pixel, label_index, read, two_labels, values
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.naming import grid_title, of_tokens


def story(
    run: xr.DataTree,
    y: int,
    x: int,
    label: str | None = None,
    against: str | None = None,
    *,
    frame: Frame = "frame",
) -> str:
    """Explain in a few sentences why a pixel has its label.

    Parameters
    ----------
    run : xarray.DataTree
    y, x : int
    label : str, optional
        Default: the winner.
    against : str, optional
        Default: the best of the other labels.
    frame : {"frame", "image"}
        See `pixel`.

    Returns
    -------
    str
        Three lines: the scores; the contributions of the grids and of the most important window; and the effect of
        saliency. There is a further line with refinement, where the score is a weighted sum of the scores around the
        pixel, and one if not all labels compete.

    Raises
    ------
    RunError, LabelError
        As `pixel`; also for a run with one label.
    """
    config = read(run, "merged", "guide", s.SCORES, "labels")
    two_labels(run)
    at_y, at_x = at_pixel(run, y, x, frame)
    names, competing = s.labels_of(run), s.competing(run)
    scores = np.where(competing, s.scores(run).values[:, at_y, at_x].astype(np.float64), -np.inf)
    own = int(s.stage(run, "labels").values[at_y, at_x]) if label is None else label_index(run, label)
    others = np.where(np.arange(len(names)) == own, -np.inf, scores)
    other = int(others.argmax()) if against is None else label_index(run, against)
    lines = [
        _scores(run, names[own], names[other], at_y, at_x),
        leading_windows(run, contrast(run, at_y, at_x, names[own], names[other])),
        _saliency(run, config, own, other, at_y, at_x),
    ]
    if str(s.scores(run).name) == "refined":
        lines.append(_refinement(run, config, at_y, at_x))
    if not competing.all():
        lines.append(_kept(names, competing, [own, other]))
    return "\n".join(lines)


def _scores(run: xr.DataTree, label: str, against: str, y: int, x: int) -> str:
    own, other = (float(s.scores(run).values[label_index(run, name), y, x]) for name in (label, against))
    sign = "above" if own >= other else "below"
    return (
        f"At y={y}, x={x} the score of {label!r} is {own:.4f}, {abs(own - other):.4f} {sign} that of "
        f"{against!r} ({other:.4f})."
    )


def leading_windows(run: xr.DataTree, parts: pd.DataFrame) -> str:
    """Say which grid and which window weigh most in a lead that `contrast` took apart."""
    by_grid = parts.groupby(s.GRID)["difference"].sum()
    grids = [grid for grid in Plan.of(Config.from_json(run.attrs["config"])) if grid.name in by_grid.index]
    listed = ", ".join(f"{by_grid[grid.name]:+.4f} at {grid.title}" for grid in grids)
    top = parts.iloc[int(parts["difference"].abs().to_numpy().argmax())]
    cell = "patch" if of_tokens(top[s.GRID]) else "window"
    return (
        f"Of this lead, the grids contribute {listed}; the largest contribution of a single {cell} is that of the "
        f"{grid_title(top[s.GRID])} {cell} at rows {top['top']:.0f} to {top['bottom'] - 1:.0f}, "
        f"columns {top['left']:.0f} to {top['right'] - 1:.0f} "
        f"({top['difference']:+.4f}; cosines {top['cosine']:.3f} and {top['cosine_against']:.3f})."
    )


def saliency_effect(run: xr.DataTree, shares: Floats) -> tuple[str, Floats | None]:
    """Say what saliency did to a weighted sum of fused scores.

    Parameters
    ----------
    run : xarray.DataTree
    shares : float array, y x x
        Weight of every pixel's fused score.

    Returns
    -------
    str
        The label that would have the greatest sum without saliency.
    float array, labels, or None
        What saliency multiplies the sum of each label by; None where every factor is 1.
    """
    merged, guide = values(run, "merged"), values(run, "guide")
    plain = (merged * shares).sum((1, 2))
    without = s.labels_of(run)[int(np.where(s.competing(run), plain, -np.inf).argmax())]
    if (guide[:, shares != 0] == 1).all():
        return without, None
    return without, (merged * guide * shares).sum((1, 2)) / plain


def _saliency(run: xr.DataTree, config: Config, own: int, other: int, y: int, x: int) -> str:
    names, shares = s.labels_of(run), shares_of_fused(run, config, alone(run, y, x))
    without, factors = saliency_effect(run, shares)
    if factors is None:
        return f"Saliency did nothing here (every factor is 1), so {without!r} wins by its cosines alone."
    same = "too" if without == names[int(s.stage(run, "labels").values[y, x])] else "instead"
    on_average = " on average" if np.count_nonzero(shares) > 1 else ""
    return (
        f"Saliency multiplies {names[own]!r} by {factors[own]:.3f} and {names[other]!r} by {factors[other]:.3f}"
        f"{on_average}; without saliency {without!r} would win here {same}."
    )


def _refinement(run: xr.DataTree, config: Config, y: int, x: int) -> str:
    names, shares = s.labels_of(run), shares_of_fused(run, config, alone(run, y, x))
    before = np.where(s.competing(run), values(run, "fused")[:, y, x], -np.inf).argmax()
    same = "too" if before == s.stage(run, "labels").values[y, x] else "instead"
    return (
        f"Refinement ({config.refine}) makes these scores of those of {np.count_nonzero(shares)} pixels, each weighed "
        f"by how its colour fits; before it {names[before]!r} would win here {same}."
    )


def _kept(names: tuple[str, ...], competing: npt.NDArray[np.bool_], asked: list[int]) -> str:
    out = [repr(names[place]) for place in asked if not competing[place]]
    about = f"; {' and '.join(out)} cannot win" if out else ""
    return f"Of {len(names)} labels the {int(competing.sum())} with the most evidence compete{about}."
