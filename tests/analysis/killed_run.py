"""Processes to be killed: score scenes with a cheap encoder, and say every image that is read.

python killed_run.py STORE

Torch takes seconds to import. So this process imports it once and forks a child for every line "HOW OUT" on stdin; it
says "child PID" first, and "ended" when the child is gone.
"""

import math
import os
import sys

import torch

import clipdiy_lab as lab
from clipdiy_lab.analysis.scoring import resume
from clipdiy_lab.datasets.scenes import Scenes

IMAGES = 24
CONFIG = lab.Config(scales=(64,))
GRID = {"background": ["saliency", "prompt"], "placement": ["stretched", "centred"]}
PROBES = {"evaluate": 2, "predictions": 2, "sweep": 0, "sweep-store": 2}
"""Images that a run reads to tell what it is, before it counts."""


class MeanColour:
    """Embeds a crop as its mean colour, a text by its length; an encoder that costs nothing."""

    name, fingerprint = "mean-colour", "mean-colour-1"
    image_size, embedding_dim = 4, 3
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def encode_crops(self, crops):
        return torch.nn.functional.normalize(crops.mean((2, 3)) + 0.01, dim=-1)

    def encode_texts(self, texts):
        rows = [[len(text) % 5 - 2.0, len(text) % 3 - 1.0, 1.0] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(rows), dim=-1)


class Talkative(Scenes):
    def __getitem__(self, index):
        print(index, flush=True)
        return super().__getitem__(index)


def keep_every_image():
    resume.KEEP_SECONDS, resume.WRITING_SHARE = 0, math.inf


def run(how, out, store, dataset=Scenes):
    """Score scenes; `out` None keeps nothing."""
    segmenter, scenes = lab.Segmenter(MeanColour(), "none"), dataset("val", length=IMAGES)
    if how in ("evaluate", "predictions"):
        masks = None if how == "evaluate" or out is None else f"{out}.masks"
        return lab.evaluate(segmenter, scenes, CONFIG, out=out, predictions=masks)
    if how == "sweep":
        return lab.sweep(segmenter, scenes, GRID | {"saliency": ["oracle"]}, base=CONFIG, out=out)
    return lab.sweep(store, scenes, GRID, segmenter=segmenter, out=out)


if __name__ == "__main__":
    keep_every_image()
    _ = lab.Segmenter, lab.evaluate, lab.sweep  # imports them, once for all children
    Scenes("val", length=1)[0]  # reads the drawings, once for all children
    for line in sys.stdin:
        how, out = line.split()
        child = os.fork()
        if child == 0:
            run(how, out, sys.argv[1], Talkative)
            os._exit(0)
        print("child", child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)
