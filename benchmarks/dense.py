"""What patch tokens cost beside the embeddings of the crops: encoding with each method against plain encoding.

``python benchmarks/dense.py [ARCHITECTURE] [ROUNDS]``; random weights, one thread, processor time. Every round times
all ways one after the other, so that a busy machine slows all alike; the ratio is taken within a round. Beside it
stands the ratio of the multiplications, which no machine changes, and at the end what they go to.
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

from clipdiy_lab.method.attention import mix
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.models.dense_tokens import TokenTower

CROPS = 16
FOUR = ("maskclip", "sclip", "clearclip", "naclip")


def ways(tower: TokenTower, crops: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by its name; ``plain`` is the ordinary embedding alone."""

    def together() -> list[torch.Tensor]:
        before = tower.before_last(crops)
        heads, side = tower.heads(before), crops.shape[-1] // tower.patch
        tokens = [F.normalize(tower.dense(before, heads, METHODS[name], (side, side)), dim=-1) for name in FOUR]
        return [F.normalize(tower.embedding(before, heads), dim=-1), *tokens]

    each = {name: (lambda block=block: tower.encode_crops(crops, block)) for name, block in METHODS.items()}
    return {"plain": lambda: F.normalize(tower.visual(crops), dim=-1), **each, "all four": together}


def parts(tower: TokenTower, crops: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What the last block of all four is made of."""
    before = tower.before_last(crops)
    heads, last, patches = tower.heads(before), tower.visual.transformer.resblocks[-1], before[:, 1:]
    side = crops.shape[-1] // tower.patch
    biases = {name: tower.bias(METHODS[name], (side, side)) for name in FOUR}
    return {
        "queries, keys, values": lambda: tower.heads(before),
        "attention": lambda: [mix(*heads, METHODS[name], biases[name]) for name in FOUR],
        "output projections": lambda: [last.attn.out_proj(patches) for _ in FOUR],
        "MLPs": lambda: [last.mlp(patches) for name in FOUR if METHODS[name].whole],
        "projections to the texts' space": lambda: [tower.projected(patches) for _ in FOUR],
        "class token": lambda: tower.embedding(before, heads),
        "the ordinary last block, no longer needed": lambda: tower.visual.transformer.resblocks[-1](before),
    }


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
        made_of = {name: multiplications(run) / operations["plain"] * 100 for name, run in parts(tower, crops).items()}
    plain = np.array(timed.pop("plain"))
    print(f"{architecture}, {CROPS} crops of {side} px, one thread: plain {np.median(plain):.2f} s")
    for name, seconds in timed.items():
        more = (np.array(seconds) / plain - 1) * 100
        low, high = np.percentile(more, [25, 75])
        work = (operations[name] / operations["plain"] - 1) * 100
        print(f"{name:16} {np.median(more):+5.1f} % (quartiles {low:+.1f}, {high:+.1f}), multiplications {work:+.1f} %")
    print("All four, in percent of what plain encoding multiplies:")
    for name, share in made_of.items():
        print(f"  {name:42} {share:5.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
