"""Which labels compete: those that the windows speak for most clearly.

A label that is not in the image still takes pixels somewhere; a label that is there is ahead of every other one in some
window at least.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config

_ALWAYS = 2.0
"""What the background has in the place of a lead: no lead of one cosine over another is larger."""


def evidence(
    similarities: Mapping[str, Float[Tensor, "_rows _cols L"]], config: Config, background: int | None
) -> Float[Tensor, " L"]:
    """Largest lead of every label over the best other one in any window: negative where it is nowhere ahead.

    Parameters
    ----------
    similarities : mapping of grid to float tensor, rows x cols x L
    config : Config
        Its grids are looked at, those of weight 0 left out.
    background : int or None
        Index of the background label, which is nobody's rival and gets 2, more than any lead.
    """
    used = [similarities[grid] for grid in config.grids if config.weight(grid) > 0]
    cosines = torch.cat([values.flatten(0, 1) for values in used])
    others = [label for label in range(cosines.shape[1]) if label != background]
    leads = torch.full(cosines.shape[1:], _ALWAYS)
    rivals = cosines[:, others]
    if len(others) > 1:
        first, second = rivals.topk(2, dim=1).values.T
        rivals = rivals - torch.where(rivals == first[:, None], second[:, None], first[:, None])
    leads[others] = rivals.amax(0)
    return leads


def kept(leads: Float[Tensor, " L"], config: Config, background: int | None) -> Bool[Tensor, " L"]:
    """Whether each label competes: the `keep_labels` with the largest evidence, of equals the first, and background."""
    check_kept(len(leads), config, background)
    most = len(leads) if config.keep_labels is None else config.keep_labels + (background is not None)
    competes = torch.zeros(len(leads), dtype=torch.bool)
    competes[leads.argsort(descending=True, stable=True)[:most]] = True
    return competes


def check_kept(labels: int, config: Config, background: int | None) -> None:
    """Refuse to keep more labels than there are.

    Raises
    ------
    ConfigError
        If `keep_labels` is more than the labels beside the background.
    """
    others = labels - (background is not None)
    if config.keep_labels is not None and config.keep_labels > others:
        beside = " beside the background" if background is not None else ""
        raise ConfigError(
            f"keep_labels is {config.keep_labels}, but there are only {others} labels{beside}; use at most {others}, "
            "or None to let all labels compete."
        )
