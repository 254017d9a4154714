"""From averaged scores of a whole image to its labels, at another size: refined, by the rules of a protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdiy_lab.analysis.protocols import Decision, Protocol
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.combinations import check_reach
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.refine import Refinement, refinement
from clipdiy_lab.threads import one_thread

AT_ONCE = 16
"""Maps that are brought to another size together: 171 of a large photograph would fill the memory."""


@dataclass(frozen=True, eq=False)
class Brought:
    """Maps of scores that are brought to another size, bilinear, and refined there.

    Attributes
    ----------
    scores : float tensor, N x height x width
    size : (int, int)
        Height and width asked for.
    refinement : Refinement or None
        Of the image at that size.
    """

    scores: Tensor
    size: tuple[int, int]
    refinement: Refinement | None = None

    @classmethod
    def of(cls, scores: Tensor, pixels: npt.NDArray[np.uint8], config: Config, size: tuple[int, int]) -> Brought:
        """Bring the scores of an image, height x width x 3, to a size, as a configuration refines.

        Raises
        ------
        ConfigError
            If the refinement reaches beyond the sides.
        """
        if config.refine == "none":
            return cls(scores, size)
        check_reach(config, size)
        guide = bilinear(torch.from_numpy(pixels).permute(2, 0, 1), size).permute(1, 2, 0)
        return cls(scores, size, refinement(guide, config))

    def maps(self, places: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield some of the maps, each with its place, one after the other."""
        for start in range(0, len(places), AT_ONCE):
            chosen = places[start : start + AT_ONCE]
            brought = bilinear(self.scores[list(chosen)], self.size)
            yield from zip(chosen, brought if self.refinement is None else self.refinement(brought), strict=True)


@one_thread()
def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps, N x height x width, to another size."""
    return F.interpolate(maps[None].float(), size=size, mode="bilinear", align_corners=False)[0]


def check_decision(config: Config, protocol: Protocol, background: int | None) -> None:
    """Refuse a configuration whose scores a protocol's decision cannot be made of.

    Parameters
    ----------
    config : Config
    protocol : Protocol
    background : int or None
        Index of the background label.

    Raises
    ------
    ConfigError
        For a policy of background that is no text, for `keep_labels`, and for thresholds without a background.
    """
    decision = protocol.decision
    if decision is None:
        return
    if config.background in ("saliency", "threshold") or config.keep_labels is not None:
        one = f"background={config.background!r}" if config.keep_labels is None else f"keep_labels={config.keep_labels}"
        raise ConfigError(
            f"the protocol {protocol.id!r} lets every phrase compete on its own, which {one} does not support; use "
            "background='prompt', 'words' or 'none', and keep_labels=None."
        )
    if decision.makes_background and background is None:
        raise ConfigError(
            f"the protocol {protocol.id!r} has thresholds below which pixels are background, and there is no "
            "background label; use background='prompt', or a protocol without thresholds."
        )


class _Winners(NamedTuple):
    score: Tensor
    owner: Tensor
    log_sum: Tensor
    """Logarithm of the sum of exp(scale * score) over the phrases that competed; of no use without a scale."""


@one_thread()
def best(maps: Brought, owners: Sequence[int], labels: Sequence[int]) -> npt.NDArray[np.int16]:
    """Label with the greatest score at every pixel, of some labels; the first of equals.

    Parameters
    ----------
    maps : Brought
    owners : sequence of int
        Label of every map.
    labels : sequence of int
        Those that compete.
    """
    found: npt.NDArray[np.int16] = _winners(maps, owners, labels).owner.numpy()
    return found


@one_thread()
def decide(maps: Brought, owners: Sequence[int], background: int | None, decision: Decision) -> npt.NDArray[np.int16]:
    """Labels by the rules of a protocol.

    Parameters
    ----------
    maps : Brought
        Of every phrase.
    owners : sequence of int
        Label of every phrase.
    background : int or None
        Index of the background label; needed where the decision has thresholds.
    decision : Decision

    Returns
    -------
    int16 array, of the size of the maps
    """
    labels = sorted(set(owners))
    scale = None if decision.probability_threshold is None else decision.logit_scale
    found = _winners(maps, owners, labels, scale)
    if background is None or not decision.makes_background:
        return found.owner.numpy()
    log_sum = found.log_sum  # all phrases compete here, and a refinement of them is not made twice
    if decision.area_threshold is not None:
        areas = torch.bincount(found.owner.flatten().long(), minlength=max(labels) + 1)
        least = decision.area_threshold * float(areas.sum() - areas[background])
        wide = [label for label in labels if label == background or float(areas[label]) > least]
        found = _winners(maps, owners, wide)
    if decision.probability_threshold is not None:
        probability = torch.exp(decision.logit_scale * found.score - log_sum)
        found.owner[probability < decision.probability_threshold] = background
    return found.owner.numpy()


def _winners(maps: Brought, owners: Sequence[int], labels: Sequence[int], scale: float | None = None) -> _Winners:
    competing = set(labels)
    places = [place for place, owner in enumerate(owners) if owner in competing]
    score, log_sum = (torch.full(maps.size, -torch.inf) for _ in range(2))
    owner = torch.full(maps.size, owners[places[0]], dtype=torch.int16)
    for place, one in maps.maps(places):
        owner[one > score] = owners[place]
        score = torch.maximum(score, one)
        if scale is not None:
            log_sum = torch.logaddexp(log_sum, scale * one)
    return _Winners(score, owner, log_sum)
