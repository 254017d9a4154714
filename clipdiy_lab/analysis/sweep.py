"""Many configurations on one dataset; every image is encoded once for all that can share it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipdiy_lab.analysis.evaluate import encoding, predictions
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import metrics
from clipdiy_lab.method.config import Config, as_config
from clipdiy_lab.pipeline.segmenter import Segmenter


def sweep(
    segmenter: Segmenter,
    dataset: Dataset,
    grid: Mapping[str, Sequence[Any]] | Sequence[Config],
    *,
    base: Config | None = None,
    limit: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Score every configuration of a grid.

    Parameters
    ----------
    segmenter : Segmenter
    dataset : Dataset
    grid : mapping of knob to values, or sequence of Config
        A mapping gives every combination of the values, from `base` on.
    base : Config, optional
        What a mapping's combinations start from.
    limit : int, optional
        Only the first images.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    pandas.DataFrame
        One row a configuration, in the order given: every knob, ``miou`` (pooled, labels that never occur left out),
        ``pixel_accuracy`` and ``images``.

    Raises
    ------
    ConfigError
        For an empty grid, an unknown knob or a value that makes no sense.
    """
    configs = _configs(grid, as_config(base))
    rows: list[dict[str, Any]] = [{} for _ in configs]
    for group in _same_encoding(configs):
        counts = np.zeros((len(group), len(dataset.label_names), len(dataset.label_names)), dtype=np.int64)
        images = 0
        for sample, maps in predictions(segmenter, dataset, [configs[i] for i in group], limit, progress=progress):
            counts += [metrics.confusion(sample.mask, one, len(dataset.label_names)) for one in maps]
            images += 1
        for index, pooled in zip(group, counts, strict=True):
            rows[index] = {name: getattr(configs[index], name) for name in Config.knobs()} | {
                "miou": metrics.mean_iou(pooled),
                "pixel_accuracy": metrics.pixel_accuracy(pooled),
                "images": images,
            }
    return pd.DataFrame(rows)


def _configs(grid: Mapping[str, Sequence[Any]] | Sequence[Config], base: Config) -> list[Config]:
    if isinstance(grid, Mapping):
        empty = [name for name, values in grid.items() if isinstance(values, str) or not len(values)]
        if empty:
            raise ConfigError(f"the grid's {', '.join(empty)} is not a list of values; give at least one value each.")
        return [base.replace(**dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]
    configs = list(grid)
    if not configs or not all(isinstance(config, Config) for config in configs):
        raise ConfigError("the grid is empty or holds something else than Config; give knobs with values, or Configs.")
    return configs


def _same_encoding(configs: Sequence[Config]) -> list[list[int]]:
    """Group the indices of the configurations by what they share."""
    groups: dict[Config, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(encoding(config), []).append(index)
    return list(groups.values())
