"""Make the table of `clipdiy_lab/views/colors.py`: colours that stay far apart, with and without full colour vision.

Start with the background's grey and the seven colours of Okabe and Ito (2008); then always add the colour of a regular
grid whose smallest distance from all before is largest. Distance: Euclidean in OKLab (Ottosson 2020), the smallest of
normal vision (times 0.75, so that the weaker views decide) and of protanopia and deuteranopia as simulated by Machado,
Oliveira and Fernandes (2009), severity 1. Lightness 0.45 to 0.9, to be seen on white and on near-black.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipdiy_lab.views.colors import BACKGROUND

OKABE_ITO = ("e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7")
SIZE = 64
_TO_CONES = np.array(
    [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]],
)
_TO_LAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
_PROTANOPIA = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
_DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])

Floats = npt.NDArray[np.float64]


def seen(colors: npt.ArrayLike) -> Floats:
    """Return OKLab coordinates, views x colours x 3, of sRGB bytes under normal, protanopic, deuteranopic vision."""
    share = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    views = [linear, linear @ _PROTANOPIA.T, linear @ _DEUTERANOPIA.T]
    return np.stack([np.cbrt(np.clip(view, 0, None) @ _TO_CONES.T) @ _TO_LAB.T for view in views])


def distances(some: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """Return the distance of each of some colours from each of the others."""
    apart = np.linalg.norm(seen(some)[:, :, None] - seen(others)[:, None], axis=-1)
    closest: Floats = np.minimum(0.75 * apart[0], apart[1:].min(0))
    return closest


def table() -> list[str]:
    """Return the colours in their order, without the background."""
    steps = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lightness = seen(grid)[0][:, 0]
    grid = grid[(lightness > 0.45) & (lightness < 0.9)]
    chosen = [BACKGROUND, *(tuple(bytes.fromhex(one)) for one in OKABE_ITO)]
    near = distances(grid, chosen).min(1)
    while len(chosen) <= SIZE:
        best = grid[near.argmax()]
        chosen.append(tuple(int(v) for v in best))
        near = np.minimum(near, distances(grid, best[None])[:, 0])
    return [bytes(one).hex() for one in chosen[1:]]


if __name__ == "__main__":
    print(" ".join(table()))
