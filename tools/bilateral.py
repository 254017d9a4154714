"""A bilateral solver: the smoothest map that stays near a given one and breaks only where the picture does.

Barron and Poole, The Fast Bilateral Solver, ECCV 2016; FOUND refines its pseudo-masks with it. Needs SciPy.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

SPACE, LUMA, CHROMA = 16, 8, 8  # sides of a cell of the grid: pixels, and steps of 0..255
SMOOTH, CONFIDENCE, STEPS = 128.0, 0.999, 25


def solve(frame: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Refine `target` (height x width, 0 to 1) along the edges of `frame` (height x width x 3, uint8)."""
    splat, blurs = _grid(frame)
    counts = np.asarray(splat.sum(axis=1)).ravel()
    scale = _balance(counts, blurs)
    smooth = sparse.diags_array(counts) - sparse.diags_array(scale) @ _blur(blurs, scale)
    weights = splat @ np.full(target.size, CONFIDENCE)
    system = SMOOTH * smooth + sparse.diags_array(weights)
    right = splat @ (CONFIDENCE * target.ravel())
    start = right / np.maximum(weights, 1e-9)
    found, _ = cg(system, right, x0=start, maxiter=STEPS, rtol=1e-5)
    return np.clip(splat.T @ found, 0, 1).reshape(target.shape)


def _grid(frame: np.ndarray) -> tuple[sparse.csr_array, list[sparse.csr_array]]:
    """Pixels to occupied cells, and, axis by axis, which cells are neighbours."""
    height, width = frame.shape[:2]
    red, green, blue = np.moveaxis(frame.astype(np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = [(blue - luma) * 0.564 + 128, (red - luma) * 0.713 + 128]
    rows, columns = np.mgrid[:height, :width]
    parts = [columns // SPACE, rows // SPACE, luma // LUMA, chroma[0] // CHROMA, chroma[1] // CHROMA]
    place = np.stack([part.ravel().astype(np.int64) for part in parts], axis=1)
    base = np.array([256**power for power in range(5)], dtype=np.int64)
    cells, owner = np.unique((place + 1) @ base, return_inverse=True)
    splat = sparse.csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(len(cells), len(owner)))
    blurs = []
    for step in base:
        spot = np.searchsorted(cells, cells + step)
        met = np.flatnonzero((spot < len(cells)) & (cells[np.minimum(spot, len(cells) - 1)] == cells + step))
        pairs = sparse.csr_array((np.ones(len(met)), (met, spot[met])), shape=(len(cells), len(cells)))
        blurs.append(pairs + pairs.T)
    return splat, blurs


def _balance(counts: np.ndarray, blurs: list[sparse.csr_array]) -> np.ndarray:
    """Scale of each cell that makes the blur's rows and columns sum to the cell's count."""
    scale = np.ones_like(counts)
    for _ in range(10):
        scale = np.sqrt(scale * counts / (2 * len(blurs) * scale + sum(blur @ scale for blur in blurs)))
    return scale


def _blur(blurs: list[sparse.csr_array], scale: np.ndarray) -> sparse.csr_array:
    both = sum(blurs, start=sparse.csr_array(blurs[0].shape)) + 2 * len(blurs) * sparse.eye_array(len(scale))
    return sparse.csr_array(both @ sparse.diags_array(scale))
