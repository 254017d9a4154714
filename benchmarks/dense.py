"""What patch tokens cost beside the embeddings of the crops: encoding with each method against plain encoding.

``python benchmarks/dense.py [ARCHITECTURE] [ROUNDS]``; random weights, one thread. Every round times all ways one after
the other, so that a busy machine slows all alike; the ratio is taken within a round.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.models.dense_tokens import TokenTower

CROPS = 59


def ways(tower: TokenTower, crops: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by its name; ``plain`` is the ordinary embedding alone."""

    def all_methods() -> list[torch.Tensor]:
        before = tower.before_last(crops)
        side = crops.shape[-1] // tower.patch
        tokens = [F.normalize(tower.dense(before, block, (side, side)), dim=-1) for block in METHODS.values()]
        return [F.normalize(tower.embedding(before), dim=-1), *tokens]

    each = {name: (lambda block=block: tower.encode_crops(crops, block)) for name, block in METHODS.items()}
    return {"plain": lambda: F.normalize(tower.visual(crops), dim=-1), **each, "all four": all_methods}


def main(architecture: str = "ViT-B-32", rounds: str = "3") -> None:
    """Print the cost of each way over plain encoding, in percent: the median of the rounds, and the rounds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = TokenTower(open_clip.create_model(architecture, pretrained=None).visual.eval(), architecture)
    side = tower.visual.image_size[0]
    crops = torch.randn(CROPS, 3, side, side)
    timed: dict[str, list[float]] = {}
    with torch.inference_mode():
        for round_ in range(int(rounds) + 1):
            for name, run in ways(tower, crops).items():
                start = time.perf_counter()
                run()
                if round_:  # the first warms up
                    timed.setdefault(name, []).append(time.perf_counter() - start)
    plain = np.array(timed.pop("plain"))
    print(f"{architecture}, {CROPS} crops of {side} px, one thread: plain {np.median(plain):.2f} s")
    for name, seconds in timed.items():
        more = (np.array(seconds) / plain - 1) * 100
        print(f"{name:10} {np.median(more):+5.1f} %   rounds {', '.join(f'{value:+.1f}' for value in more)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
