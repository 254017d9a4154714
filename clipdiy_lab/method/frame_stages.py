"""The stages of the frame as tensors, in the order of `schema.STAGES`: from grids of similarities to scores and labels.

A further stage is a row of that table and a function here under its name. It may read what its row says that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdiy_lab.errors import RunError
from clipdiy_lab.method import ops, presence
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.refine import refinement


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """What the stages of the frame are made of.

    Attributes
    ----------
    similarities : mapping of grid to float tensor, rows x cols x L
    saliency : float tensor, y x x, in [0, 1], or None
        Soft; None where no source is applied.
    background : int or None
        Index of the background label.
    config : Config
    image : uint8 tensor, y x x x 3, or None
        The frame, where it is at hand.
    """

    similarities: Mapping[str, Tensor]
    saliency: Tensor | None
    background: int | None
    config: Config
    image: Tensor | None = None

    @property
    def guided(self) -> bool:
        """Whether saliency enters the scores."""
        return self.saliency is not None and self.background is not None and self.config.background == "saliency"


Made = Mapping[str, Tensor]


def make_stages(inputs: Inputs) -> dict[str, Tensor]:
    """Make every stage of the frame that the configuration asks for.

    Returns
    -------
    dict of str to tensor
        By name, with the dimensions of `schema.STAGES`.

    Raises
    ------
    RunError
        If a stage needs one that is not there.
    """
    made = _make(inputs, _asked(inputs.config))
    del made[s.SCORES]
    return made


def contest(inputs: Inputs) -> Tensor:
    """Make no more than the scores that decide, L x y x x; minus infinity for labels that do not compete.

    Raises
    ------
    RunError
        If a stage needs one that is not there.
    """
    stages = _asked(inputs.config)
    last = max(place for place, stage in enumerate(stages) if stage.is_score)
    return _contest(_make(inputs, stages[: last + 1]))


def _make(inputs: Inputs, stages: Iterable[s.Stage]) -> dict[str, Tensor]:
    problem = lacking(inputs.config, [name for name in ("saliency", "image") if getattr(inputs, name) is not None])
    if problem:
        raise RunError(f"{problem}; segment the image itself, or remove the stage.")
    made: dict[str, Tensor] = {}
    for stage in stages:
        made[stage.name] = MAKERS[stage.name](inputs, made)
        if stage.is_score:
            made[s.SCORES] = made[stage.name]
    return made


def _asked(config: Config) -> list[s.Stage]:
    return [stage for name, stage in s.STAGES.items() if name in MAKERS and stage.asked(config)]


def needs_image(config: Config) -> bool:
    """Whether a stage that a configuration asks for is made of the frame."""
    return any("image" in stage.needs for stage in _asked(config))


def lacking(config: Config, given: Iterable[str]) -> str:
    """Say which stage that a configuration asks for does not find what it needs; empty if all do.

    Parameters
    ----------
    config : Config
    given : iterable of str
        Which of ``saliency`` and ``image`` are at hand.
    """
    at_hand = {"similarity", *given}
    for stage in _asked(config):
        for need in stage.needs:
            if need not in at_hand:
                return f"the stage {stage.name!r} needs {need!r}, which is not at hand"
        at_hand |= {stage.name, s.SCORES} if stage.is_score else {stage.name}
    return ""


def _presence(inputs: Inputs, made: Made) -> Tensor:
    return presence.evidence(inputs.similarities, inputs.config, inputs.background)


def _kept(inputs: Inputs, made: Made) -> Tensor:
    return presence.kept(made["presence"], inputs.config, inputs.background)


def _contest(made: Made) -> Tensor:
    scores, kept = made[s.SCORES], made.get("kept")
    return scores if kept is None else scores.masked_fill(~kept[:, None, None], -torch.inf)


def _logits(inputs: Inputs, made: Made) -> Tensor:
    """Spread every grid of similarities over the frame, grids x L x y x x."""
    config = inputs.config
    maps = []
    for grid in Plan.of(config):
        matrices = grid.matrices(config.placement, config.interpolation, config.align_corners)
        down, across = (torch.tensor(matrix, dtype=torch.float32) for matrix in matrices)
        maps.append(ops.upsample(inputs.similarities[grid.name], down, across))
    return torch.stack(maps)


def _merged(inputs: Inputs, made: Made) -> Tensor:
    return ops.merge(made["logits"], [inputs.config.weight(name) for name in inputs.config.grids])


def _guide(inputs: Inputs, made: Made) -> Tensor:
    """Factor of the saliency on every label, L x y x x; 1 everywhere where saliency does not enter."""
    merged, config = made["merged"], inputs.config
    if inputs.saliency is None or not inputs.guided:
        return torch.ones_like(merged)
    saliency = ops.harden(inputs.saliency, config.saliency_threshold)
    return ops.guide(saliency, len(merged), inputs.background, config.saliency_weight)


def _fused(inputs: Inputs, made: Made) -> Tensor:
    """Similarity times guide; with the policy ``threshold``, the background's row is `ops.threshold_score`."""
    config, background = inputs.config, inputs.background
    scores = ops.fuse(made["merged"], made["guide"])
    if config.background == "threshold" and background is not None:
        kept = made.get("kept")
        others = [label for label in range(len(scores)) if label != background and (kept is None or kept[label])]
        scores[background] = ops.threshold_score(scores[others], config.background_threshold, config.logit_scale)
    return scores


def _refined(inputs: Inputs, made: Made) -> Tensor:
    assert inputs.image is not None, "the stage needs the image"  # `lacking` has seen to it
    return refinement(inputs.image, inputs.config)(made["fused"])


MAKERS: dict[str, Callable[[Inputs, Made], Tensor]] = {
    "presence": _presence,
    "kept": _kept,
    "logits": _logits,
    "merged": _merged,
    "guide": _guide,
    "fused": _fused,
    "refined": _refined,
    "probability": lambda inputs, made: ops.probability(_contest(made), inputs.config.temperature),
    # The first of equals wins, as torch's argmax has it.
    "labels": lambda inputs, made: _contest(made).argmax(0),
    "margin": lambda inputs, made: ops.margin(_contest(made)),
}
"""How each stage is made of `Inputs` and of the stages before it."""
