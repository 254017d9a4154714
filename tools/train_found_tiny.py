"""Train the head of `found-tiny`: FOUND's recipe on the tower of `tiny`, on train scenes, never with masks.

After `tools/train_tiny.py`; about five minutes on two CPU cores. Needs SciPy for the bilateral solver::

    python tools/train_found_tiny.py

The steps are those of Simeoni et al., CVPR 2023: a seed is the patch that the class token attends to least;
background are the patches whose keys, heads weighed by their sparsity, resemble it; a 1x1 convolution on the keys
learns the complement, refined by a bilateral solver; then it learns its own predictions, refined likewise.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bilateral import solve
from safetensors.torch import save_file
from torch import Tensor

from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.models.saliency.found import discover_background
from clipdiy_lab.models.saliency.found_tiny import build_backbone, squashed
from clipdiy_lab.models.saliency.inputs import prepare

ASSETS = Path(__file__).resolve().parents[1] / "clipdiy_lab" / "assets" / "found_tiny"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result."""

    levels: tuple[int, ...] = (256, 128)
    blocks: tuple[int, ...] = (-2,)
    tau: float = 0.3
    images: int = 160
    rounds: int = 2  # of self-training, after the round on the seeds
    steps: int = 300
    batch: int = 16
    rate: float = 1e-2
    decay: float = 1e-3
    seed: int = 0


def look(recipe: Recipe) -> tuple[list[np.ndarray], Tensor, Tensor]:
    """Frames of the train split, their keys (N x D x h x w) and the complement of their background (N x h x w)."""
    backbone = build_backbone(asdict(recipe))
    scenes = Scenes("train")
    frames, keys, seeds = [], [], []
    for index in range(recipe.images):
        frame = squashed(scenes[index].image)
        with torch.no_grad():
            found = backbone.keys_and_attention(prepare(frame, backbone, torch.device("cpu")))
            background = discover_background(found, tau=recipe.tau).mask
        frames.append(frame)
        keys.append(found.feature_map()[0])
        seeds.append(~background[0].bool().reshape(found.grid))
    return frames, torch.stack(keys), torch.stack(seeds).float()


def refine(frames: list[np.ndarray], maps: Tensor) -> Tensor:
    """Sharpen soft maps (N x h x w) along the pictures' edges and cut them at a half."""
    refined = []
    for frame, one in zip(frames, maps, strict=True):
        large = F.interpolate(one[None, None], size=frame.shape[:2], mode="bilinear")[0, 0].numpy()
        solved = torch.from_numpy(solve(frame, large)).float()[None, None]
        refined.append((F.interpolate(solved, size=one.shape, mode="area")[0, 0] > 0.5).float())
    return torch.stack(refined)


def fit(head: torch.nn.Conv2d, keys: Tensor, targets: Tensor, recipe: Recipe) -> float:
    """Train the head against fixed targets; returns the last loss."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    generator = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.steps):
        chosen = torch.randint(len(keys), (recipe.batch,), generator=generator)
        loss = F.binary_cross_entropy_with_logits(head(keys[chosen])[:, 0], targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())


def main() -> None:
    """Train and write the head into the package."""
    recipe = Recipe()
    torch.manual_seed(recipe.seed)
    frames, keys, seeds = look(recipe)
    head = torch.nn.Conv2d(keys.shape[1], 1, 1)
    targets = refine(frames, seeds)
    for number in range(recipe.rounds + 1):
        print(f"round {number}: loss {fit(head, keys, targets, recipe):.3f}", flush=True)
        with torch.no_grad():
            predicted = torch.cat([head(part)[:, 0].sigmoid() for part in keys.split(16)])
        targets = refine(frames, (predicted > 0.5).float())
    ASSETS.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"decoder.{name}": value.contiguous() for name, value in head.state_dict().items()},
        ASSETS / "model.safetensors",
    )
    (ASSETS / "config.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
