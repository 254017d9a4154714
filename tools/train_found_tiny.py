"""Train the head of `found-tiny`: FOUND's recipe on the tower of `tiny`, on scenes of the train split, never with masks.

After `tools/train_tiny.py`; about ten minutes on two CPU cores. Needs OpenCV with its contributions (the extra
`spectral`) for the bilateral solver::

    python tools/train_found_tiny.py

The steps are those of Simeoni et al., CVPR 2023: a background seed is the patch that the class token attends to least;
background are the patches whose keys, heads weighed by their sparsity, resemble it; a 1x1 convolution on the keys learns
the complement, refined by a bilateral solver; then it learns its own predictions, refined likewise.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.models.saliency.found import discover_background, prepare
from clipdiy_lab.models.saliency.found_tiny import PyramidViT, build_backbone, squashed

ASSETS = Path(__file__).resolve().parents[1] / "clipdiy_lab" / "assets" / "found_tiny"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result."""

    levels: tuple[int, ...] = (256, 128, 64)
    blocks: tuple[int, ...] = (-2, -1)
    tau: float = 0.3
    images: int = 400
    rounds: int = 3
    steps: int = 300
    batch: int = 32
    rate: float = 5e-3
    seed: int = 0


def refine(frame: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """Bilateral solver: let a soft map follow the picture's edges; both at the frame's size."""
    confidence = np.full(soft.shape, 0.999, dtype=np.float32)
    solved = cv2.ximgproc.fastBilateralSolverFilter(frame, soft.astype(np.float32), confidence, 8, 8, 8)
    return np.clip(solved, 0, 1)
