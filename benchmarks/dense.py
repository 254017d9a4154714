"""What patch tokens cost beside the embeddings of the crops: encoding with each method against plain encoding.

``python benchmarks/dense.py [ARCHITECTURE] [ROUNDS]``; random weights, one thread, processor time. Every round times
all ways one after the other, so that a busy machine slows all alike; the ratio is taken within a round. Beside it
stands the ratio of the multiplications, which no machine changes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.models.dense_tokens import TokenTower

CROPS = 16


def ways(tower: TokenTower, crops: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by its name; ``plain`` is the ordinary embedding alone."""

    def all_methods() -> list[torch.Tensor]:
        before = tower.before_last(crops)
        heads, side = tower.heads(before), crops.shape[-1] // tower.patch
        tokens = [F.normalize(tower.dense(before, heads, block, (side, side)), dim=-1) for block in METHODS.values()]
        return [F.normalize(tower.embedding(before), dim=-1), *tokens]

    each = {name: (lambda block=block: tower.encode_crops(crops, block)) for name, block in METHODS.items()}
    return {"plain": lambda: F.normalize(tower.visual(crops), dim=-1), **each, "all four": all_methods}


def multiplications(run: Callable[[], object]) -> int:
    """Count what a way multiplies; torch's fused attention of whole layers, which hides it, is off meanwhile."""
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter:
        run()
    torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops()


def main(architecture: str = "ViT-B-32", rounds: str = "12") -> None:
    """Print the cost of each way over plain encoding, in percent: the median of the rounds, and the rounds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = TokenTower(open_clip.create_model(architecture, pretrained=None).visual.eval(), architecture)
    side = tower.visual.image_size[0]
    crops = torch.randn(CROPS, 3, side, side)
    timed: dict[str, list[float]] = {}
    operations = {}
    with torch.inference_mode():
        for round_ in range(int(rounds) + 1):
            for name, run in ways(tower, crops).items():
                if not round_:  # the first warms up and counts
                    run()
                    operations[name] = multiplications(run)
                    continue
                start = time.process_time()
                run()
                timed.setdefault(name, []).append(time.process_time() - start)
    plain = np.array(timed.pop("plain"))
    print(f"{architecture}, {CROPS} crops of {side} px, one thread: plain {np.median(plain):.2f} s")
    for name, seconds in timed.items():
        more = (np.array(seconds) / plain - 1) * 100
        low, high = np.percentile(more, [25, 75])
        work = (operations[name] / operations["plain"] - 1) * 100
        print(f"{name:10} {np.median(more):+5.1f} % (quartiles {low:+.1f}, {high:+.1f}), multiplications {work:+.1f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
