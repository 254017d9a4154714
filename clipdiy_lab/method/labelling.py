"""From grids of similarities straight to labels: the same argmax as the stages of the frame, without building them.

It knows the stages up to `LAST_STAGE`; where a configuration asks for a score after it, all stages are built.
Saliency puts one factor on all labels but the background, so the best of them is found before saliency is known, and
once for every saliency setting. That is what makes sweeps fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipdiy_lab.method import ops, presence
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import Inputs, contest
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.knobs import Place

LAST_STAGE = "fused"
"""The last score that this path knows."""
AFTER_SEARCH: tuple[Place, ...] = ("guide", "refined", "probability")
"""Where knobs act that `candidates` does not look at: one search serves all their values."""


def knows(config: Config) -> bool:
    """Whether no score that a configuration asks for comes after `LAST_STAGE`."""
    return s.deciding(config) == LAST_STAGE


def label_map(inputs: Inputs, among: Sequence[int] | None = None) -> Int[Tensor, "y x"]:
    """Index of the winning label at every pixel, the same as the stage ``labels``.

    Parameters
    ----------
    inputs : Inputs
    among : sequence of int, optional
        See `candidates`.

    Raises
    ------
    RunError
        If a stage after `LAST_STAGE` needs one that is not there.
    """
    config = inputs.config
    if knows(config):
        ordered = [inputs.similarities[name] for name in config.grids]
        return choose(candidates(ordered, config, inputs.background, among), inputs.saliency, config)
    if among is None:
        return contest(inputs).argmax(0)
    scores = contest(replace(inputs, config=config.replace(keep_labels=None)))
    barred = [label for label in range(len(scores)) if label not in {*among, inputs.background}]
    return scores.index_fill(0, torch.tensor(barred, dtype=torch.int64), -math.inf).argmax(0)


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is left of the merged scores once only the winner matters.

    Attributes
    ----------
    label : int64 tensor, y x x
        Index of the best label that is not the background.
    score : float tensor, y x x
        Its merged score.
    background : float tensor, y x x, or None
        The score that stands against it: the background label's merged score, or under ``background="threshold"``
        the bound of `ops.threshold_score`. None where the labels have no background.
    index : int or None
        Index of the background label.
    """

    label: Int[Tensor, "y x"]
    score: Float[Tensor, "y x"]
    background: Float[Tensor, "y x"] | None
    index: int | None


def merged_scores(similarities: Sequence[Float[Tensor, "rows cols L"]], config: Config) -> Float[Tensor, "y L x"]:
    """Merge the grids of `config` in one matrix product.

    ``sum_p w_p / P * D_p G_p A_p^T`` with the matrices of `Grid.matrices`: the grids' rows are stacked, so the sum
    over the grids is part of the product.

    Parameters
    ----------
    similarities : sequence of float tensors
        Of each grid of the plan, in its order.
    config : Config

    Returns
    -------
    float tensor, y x L x x
        Labels in the middle: the layout in which the maximum over labels is fastest.
    """
    downs, halves = [], []
    plan = Plan.of(config)
    for grid, values in zip(plan, similarities, strict=True):
        down, across = grid.matrices(config.placement, config.interpolation, config.align_corners)
        downs.append(torch.tensor(down, dtype=values.dtype) * (config.weight(grid.name) / len(plan)))
        halves.append(torch.einsum("xc,rcl->rlx", torch.tensor(across, dtype=values.dtype), values))
    half = torch.cat(halves)
    merged = torch.cat(downs, dim=1) @ half.flatten(1)
    return merged.reshape(-1, *half.shape[1:])


def candidates(
    similarities: Sequence[Float[Tensor, "rows cols L"]],
    config: Config,
    background: int | None,
    among: Sequence[int] | None = None,
) -> Candidates:
    """Find the best label that is not the background at every pixel.

    Parameters
    ----------
    similarities : sequence of float tensors
        Of each grid of the plan, in its order.
    config : Config
    background : int or None
        Index of the background label.
    among : sequence of int, optional
        Labels that may win beside the background, whatever their evidence; default: those that the configuration
        keeps. The others still count in a policy's probabilities, but for labels that were not kept.
    """
    if among is None and config.keep_labels is not None:
        return _among_kept(similarities, config, background)
    scores = merged_scores(similarities, config)
    barred = [] if among is None else [label for label in range(scores.shape[1]) if label not in {*among, background}]
    if background is None:
        best = _barring(scores, barred).max(dim=1)
        return Candidates(best.indices, best.values, None, None)
    own, rest = scores[:, background], _without(scores, background)
    if len(barred) == rest.shape[1]:  # nothing but background was asked for
        none = torch.full_like(own, background, dtype=torch.int64)
        return Candidates(none, torch.full_like(own, -math.inf), own, background)
    if config.background == "threshold":
        own = ops.threshold_score(rest.permute(1, 0, 2), config.background_threshold, config.logit_scale)
    best = _barring(rest, [label - (label > background) for label in barred]).max(dim=1)
    return Candidates(best.indices + (best.indices >= background), best.values, own, background)


def _among_kept(
    similarities: Sequence[Float[Tensor, "rows cols L"]], config: Config, background: int | None
) -> Candidates:
    """Find the best of the labels that are kept, as if there were no others."""
    leads = presence.evidence(dict(zip(config.grids, similarities, strict=True)), config, background)
    labels = presence.kept(leads, config, background).nonzero().flatten()
    fewer = [values[..., labels] for values in similarities]
    place = None if background is None else int((labels < background).sum())
    found = candidates(fewer, config.replace(keep_labels=None), place)
    return replace(found, label=labels[found.label], index=background)


def _barring(scores: Float[Tensor, "y L x"], labels: list[int]) -> Float[Tensor, "y L x"]:
    return scores.index_fill(1, torch.tensor(labels), -math.inf) if labels else scores  # a copy, so only where needed


def _without(scores: Float[Tensor, "y L x"], label: int) -> Float[Tensor, "y M x"]:
    # A slice is a view; picking labels one by one would copy the whole of the scores.
    if label == 0:
        return scores[:, 1:]
    return torch.cat([scores[:, :label], scores[:, label + 1 :]], dim=1)


def choose(found: Candidates, saliency: Float[Tensor, "y x"] | None, config: Config) -> Int[Tensor, "y x"]:
    """Labels of every pixel: saliency, where the policy has it, decides between candidate and background.

    Equal scores go to the label with the lower index, as `torch.argmax` has it.

    Parameters
    ----------
    found : Candidates
    saliency : float tensor, y x x, in [0, 1], or None
        Soft; made hard here where the configuration has a threshold.
    config : Config
    """
    if found.background is None or found.index is None:
        return found.label
    score, background = found.score, found.background
    if saliency is not None and config.background == "saliency":
        saliency = ops.harden(saliency, config.saliency_threshold)
        foreground, of_background = ops.factors(saliency, config.saliency_weight)
        score, background = score * foreground, background * of_background
    wins = (background > score) | ((background == score) & (found.index < found.label))
    return torch.where(wins, found.index, found.label)
