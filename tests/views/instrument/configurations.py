"""Random states of the instrument, and what Python says of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.analysis import explain
from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.instrument.scene import knobs


@dataclass(frozen=True)
class State:
    """What somebody may have turned: a configuration, labels that are off, and a pixel that is asked for."""

    config: lab.Config
    hidden: tuple[int, ...]
    pixel: tuple[int, int]

    def request(self, run: xr.DataTree) -> dict[str, Any]:
        """What the engine is asked."""
        width = run.sizes[s.X]
        at = [self.pixel[0] * width + self.pixel[1]]
        return {"knobs": knobs(self.config), "hidden": list(self.hidden), "pixels": [at]}

    def run(self, run: xr.DataTree) -> xr.DataTree:
        """The run in this state, as Python makes it."""
        names, background = s.labels_of(run), s.background_of(run)
        gone = {*self.hidden} | ({background} if self.config.background == "none" else set())
        return lab.recombine(run, config=self.config, labels=[name for i, name in enumerate(names) if i not in gone])


def random_states(run: xr.DataTree, count: int, seed: int) -> list[State]:
    """Draw states of a run whose labels have a background."""
    dice = np.random.default_rng(seed)
    return [_state(run, dice) for _ in range(count)]


def _state(run: xr.DataTree, dice: np.random.Generator) -> State:
    config = lab.Config.from_json(run.attrs["config"])
    others = [label for label in range(len(s.labels_of(run))) if label != s.background_of(run)]
    hidden = dice.choice(others, size=dice.integers(0, len(others) // 2), replace=False)
    left = len(others) - len(hidden)
    placement, interpolation, corners = [
        ("stretched", "bilinear", False),
        ("stretched", "bilinear", True),
        ("stretched", "nearest", False),
        ("centred", "bilinear", False),
        ("centred", "nearest", False),
    ][dice.integers(5)]
    changed = config.replace(
        weights={grid: float(dice.choice([0, 0.25, 1, 1, 2.5])) for grid in config.grids[1:]},
        placement=placement,
        interpolation=interpolation,
        align_corners=corners,
        background=str(dice.choice(["saliency", "saliency", "saliency", "prompt", "threshold", "none"])),
        background_threshold=float(dice.uniform(0.05, 0.6)),
        logit_scale=float(dice.choice([10, 50, 100])),
        saliency_weight=float(dice.choice([0, 1, dice.uniform(), dice.uniform()])),
        saliency_threshold=None if dice.random() < 0.7 else float(dice.uniform(0.2, 0.8)),
        keep_labels=None if dice.random() < 0.7 else int(dice.integers(2, left + 1)),
        refine=str(dice.choice(["none"] * 8 + ["pamr", "guided"])),
        refine_iterations=3,
        refine_dilations=(2, 5),
        refine_radius=4,
    )
    pixel = tuple(int(dice.integers(run.sizes[dim])) for dim in (s.Y, s.X))
    return State(changed, tuple(int(label) for label in hidden), pixel)


def parts_of(run: xr.DataTree, pixel: tuple[int, int]) -> dict[str, dict[tuple[str, int, int], float]]:
    """Contributions at a pixel by label, then by grid, row and column."""
    found: dict[str, dict[tuple[str, int, int], float]] = {}
    for row in explain.pixel(run, *pixel).itertuples():
        found.setdefault(row.label, {})[row.grid, row.row, row.col] = row.contribution
    return found


def maps_of(run: xr.DataTree) -> dict[str, xr.DataArray]:
    """Explanation maps that the engine makes too, by name; without those that make no sense for a run."""
    found: dict[str, xr.DataArray] = {}
    makers = [explain.flip_weight, explain.background_threshold, explain.grid_importance]
    for make in (*makers, lambda one: explain.uncertainty(one, 0.01)):
        try:
            found |= make(run).data_vars
        except RunError:
            continue
    return found
