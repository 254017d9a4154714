"""Whether a picture may be one of the scenes, told from its pixels alone: their size, and how few colours they hold."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import UInt8

from clipdiy_lab.datasets.scenes import SIDES

_TILE: Final = 32
# The grounds of scenes are drawn with few colours, on lines in the space of colours. Among 9,600 scenes (every split
# and vocabulary, several seeds) the largest values are 0.270 and 3.44; of 108 photographs, made to fit into 400 pixels
# so that their size tells nothing, 104 exceed one of the bounds or are gray.
_MOST_COLORS: Final = 0.3
_MOST_PER_GREEN: Final = 4.0


def may_be_scene(pixels: UInt8[np.ndarray, "y x 3"]) -> bool:
    """Whether nothing speaks against a picture being a scene as `Scenes` draws it.

    True for every scene, however it was stored without loss. False for nearly every photograph: other sides than
    scenes have, gray alone, or too many colours in most of its tiles. Also False for a scene that was resized, cut or
    compressed with loss, if that has left traces.

    Parameters
    ----------
    pixels : uint8 array, height x width x 3

    Examples
    --------
    >>> from clipdiy_lab.datasets.scenes import Scenes
    >>> scene = Scenes("val")[0].image
    >>> may_be_scene(scene), may_be_scene(scene[:100]), may_be_scene(scene[..., [1, 1, 1]])
    (True, False, False)
    """
    if not all(SIDES[0] <= side <= SIDES[1] for side in pixels.shape[:2]):
        return False
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return False
    colors, greens = _distinct(_tiles(red << 16 | green << 8 | blue)), _distinct(_tiles(green))
    return bool(np.median(colors) <= _MOST_COLORS * _TILE**2 and np.median(colors / greens) <= _MOST_PER_GREEN)


def _tiles(values: np.ndarray) -> np.ndarray:
    """Cut rows x columns into tiles x pixels; what is left over at the right and below is dropped."""
    down, across = (side // _TILE for side in values.shape)
    whole = values[: down * _TILE, : across * _TILE].reshape(down, _TILE, across, _TILE)
    return whole.swapaxes(1, 2).reshape(down * across, _TILE**2)


def _distinct(tiles: np.ndarray) -> np.ndarray:
    """Count the different values of every row."""
    ordered = np.sort(tiles, axis=1)
    return np.asarray(np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1) + 1)
