"""Procedural textures that the drawings of the embedded world are placed on.

All arithmetic is on integers, so that the bytes do not depend on a machine's floating point. Maps hold values from 0
to 255 as int32; only the finished picture is uint8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clipdiy_lab.datasets.dice import Dice

Map = NDArray[np.int32]
Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


def _ramp(length: int, cell: int) -> tuple[NDArray[np.intp], Map]:
    """Lattice position and smooth weight (0..256) of each of `length` pixels."""
    place = np.arange(length)
    part = (place % cell) * 256 // cell
    return place // cell, (part * part * (768 - 2 * part) >> 16).astype(np.int32)


def noise(dice: Dice, height: int, width: int, cell_y: int, cell_x: int) -> Map:
    """Smooth noise whose bumps are about `cell_y` x `cell_x` pixels large."""
    rows, down = _ramp(height, cell_y)
    columns, across = _ramp(width, cell_x)
    lattice = dice.field(int(rows[-1]) + 2, int(columns[-1]) + 2)
    left, right = lattice[:, columns], lattice[:, columns + 1]
    wide = left * 256 + (right - left) * across
    top, bottom = wide[rows], wide[rows + 1]
    smooth: Map = (top + ((bottom - top) * down[:, None] >> 8)) >> 8
    return smooth


def layers(dice: Dice, height: int, width: int, cell_y: int, cell_x: int) -> Map:
    """Noise of three sizes, the coarsest counting most."""
    parts = [noise(dice, height, width, max(1, cell_y >> k), max(1, cell_x >> k)) for k in range(3)]
    return (parts[0] * 4 + parts[1] * 2 + parts[2]) // 7


def blend(amount: Map, dark: Colour, light: Colour) -> Map:
    """Colours between `dark` (amount 0) and `light` (amount 255)."""
    first, second = (np.array(colour, dtype=np.int32) for colour in (dark, light))
    return first + ((second - first) * amount[..., None] >> 8)


def _shade(dice: Dice, colour: Colour, spread: int = 18) -> Colour:
    red, green, blue = (min(255, max(0, part + dice.between(-spread, spread))) for part in colour)
    return red, green, blue


def _finish(picture: Map) -> Picture:
    return np.clip(picture, 0, 255).astype(np.uint8)


def grass(dice: Dice, height: int, width: int) -> Picture:
    """Blades over lighter and darker patches."""
    patches = layers(dice, height, width, 90, 120)
    blades = noise(dice, height, width, dice.between(6, 12), dice.between(2, 3))
    dark, light = _shade(dice, (34, 84, 24)), _shade(dice, (122, 168, 62))
    return _finish(blend((patches + blades) >> 1, dark, light))


def sky(dice: Dice, height: int, width: int) -> Picture:
    """Blue that pales towards the horizon, with clouds."""
    fall = (np.arange(height, dtype=np.int32) * 255 // height)[:, None] + np.zeros((1, width), dtype=np.int32)
    base = blend(fall, _shade(dice, (70, 128, 205)), _shade(dice, (172, 205, 235)))
    cloud = np.clip((layers(dice, height, width, 48, 110) - dice.between(110, 175)) * 4, 0, 225)[..., None]
    return _finish(base + ((250 - base) * cloud >> 8))


def sand(dice: Dice, height: int, width: int) -> Picture:
    """Fine grain over ripples."""
    ripple = layers(dice, height, width, dice.between(12, 24), dice.between(60, 140))
    amount = (ripple * 5 + dice.field(height, width) * 3) >> 3
    return _finish(blend(amount, _shade(dice, (168, 132, 86)), _shade(dice, (236, 212, 160))))


def water(dice: Dice, height: int, width: int) -> Picture:
    """Flat waves with glints."""
    waves = layers(dice, height, width, dice.between(6, 12), dice.between(30, 70))
    base = blend(waves, _shade(dice, (16, 62, 104)), _shade(dice, (92, 160, 196)))
    glint = np.clip(waves - 190, 0, 40)[..., None] * 3
    return _finish(base + glint)


def brick_wall(dice: Dice, height: int, width: int) -> Picture:
    """Bricks in running bond."""
    tall, long, joint = dice.between(12, 20), dice.between(32, 52), dice.between(2, 3)
    row = np.arange(height) // tall
    along = np.arange(width)[None, :] + (row % 2 * (long // 2))[:, None]
    brick = dice.field(int(row[-1]) + 1, int(along.max()) // long + 1)[row[:, None], along // long]
    amount = (brick + noise(dice, height, width, 5, 5)) >> 1
    picture = blend(amount, _shade(dice, (118, 50, 36)), _shade(dice, (196, 104, 76)))
    mortar = ((np.arange(height) % tall < joint)[:, None]) | (along % long < joint)
    picture[mortar] = blend(dice.field(height, width), (160, 152, 142), (204, 198, 188))[mortar]
    return _finish(picture)


def wood_floor(dice: Dice, height: int, width: int) -> Picture:
    """Boards with grain."""
    board = dice.between(22, 44)
    lines = np.arange(height) // board
    tone = dice.field(int(lines[-1]) + 1, 1)[lines]
    grain = layers(dice, height, width, 4, 90)
    picture = blend((tone + grain * 2) // 3, _shade(dice, (96, 60, 30)), _shade(dice, (206, 156, 100)))
    picture[np.arange(height) % board < 2] = picture[np.arange(height) % board < 2] >> 1
    return _finish(picture)


def road(dice: Dice, height: int, width: int) -> Picture:
    """Asphalt, with or without a white line."""
    amount = (layers(dice, height, width, 60, 80) + dice.field(height, width)) >> 1
    picture = blend(amount, _shade(dice, (58, 58, 62), 8), _shade(dice, (128, 128, 130), 8))
    if dice.percent(60):
        top, thick, dash = dice.between(height // 5, height * 4 // 5), dice.between(4, 8), dice.between(30, 60)
        line = np.zeros((height, width), dtype=bool)
        line[top : top + thick] = (np.arange(width) // dash % 2 == 0)[None, :]
        picture[line] = 150 + (picture[line] >> 1)
    return _finish(picture)


def snow(dice: Dice, height: int, width: int) -> Picture:
    """White with blue shadows."""
    amount = (layers(dice, height, width, 50, 90) * 7 + dice.field(height, width)) >> 3
    return _finish(blend(amount, _shade(dice, (172, 192, 220), 10), (254, 254, 255)))


def foliage(dice: Dice, height: int, width: int) -> Picture:
    """Leaves in light and shadow, and what grows between them."""
    leaf = noise(dice, height, width, dice.between(8, 14), dice.between(8, 14))
    depth = layers(dice, height, width, 40, 40)
    picture = blend((leaf + depth) >> 1, _shade(dice, (16, 44, 20)), _shade(dice, (120, 158, 60)))
    warm = (noise(dice, height, width, 10, 10) > dice.between(200, 235))[..., None]
    return _finish(np.where(warm, picture + np.array([60, 20, 0], dtype=np.int32), picture))


def carpet(dice: Dice, height: int, width: int) -> Picture:
    """Stripes or checks of two colours, woven."""
    first = _shade(dice, ((150, 60, 60), (60, 90, 140), (120, 110, 80), (90, 120, 100))[dice.below(4)], 30)
    second = _shade(dice, first, 60)
    wide = dice.between(14, 40)
    across, down = np.arange(width)[None, :] // wide, np.arange(height)[:, None] // wide
    check = ((across + down * dice.below(2)) % 2 * 255).astype(np.int32) + np.zeros((height, 1), dtype=np.int32)
    weave = (dice.field(height, width) - 128) // 6
    return _finish(blend(check, first, second) + weave[..., None])


def tiles(dice: Dice, height: int, width: int) -> Picture:
    """Square tiles with joints."""
    side = dice.between(26, 60)
    across, down = np.arange(width)[None, :], np.arange(height)[:, None]
    tone = dice.field((height - 1) // side + 1, (width - 1) // side + 1)[down // side, across // side]
    picture = blend(
        (tone + layers(dice, height, width, 40, 40)) >> 1, _shade(dice, (166, 160, 150), 30), (232, 230, 224)
    )
    picture[(across % side < 2) | (down % side < 2)] = 118
    return _finish(picture)


def plaster(dice: Dice, height: int, width: int) -> Picture:
    """A painted wall, unevenly lit."""
    paint = _shade(dice, ((206, 196, 170), (170, 190, 200), (200, 170, 165), (180, 195, 165))[dice.below(4)], 24)
    amount = (layers(dice, height, width, 120, 120) * 3 + noise(dice, height, width, 3, 3)) >> 2
    red, green, blue = paint
    return _finish(blend(amount, (red * 3 // 4, green * 3 // 4, blue * 3 // 4), paint))


GROUNDS: dict[str, Callable[[Dice, int, int], Picture]] = {
    "grass": grass,
    "sky": sky,
    "sand": sand,
    "water": water,
    "brick wall": brick_wall,
    "wood floor": wood_floor,
    "road": road,
    "snow": snow,
    "foliage": foliage,
    "carpet": carpet,
    "tiles": tiles,
    "plaster": plaster,
}
_BELOW = {
    "sky": ("grass", "sand", "water", "snow", "road", "foliage"),
    "brick wall": ("road", "grass", "tiles", "wood floor"),
    "plaster": ("wood floor", "carpet", "tiles"),
}


def draw_ground(dice: Dice, height: int, width: int) -> tuple[Picture, tuple[str, ...]]:
    """One ground, or one above another; returns the picture and the names, the upper one first."""
    if not dice.percent(40):
        name = tuple(GROUNDS)[dice.below(len(GROUNDS))]
        return GROUNDS[name](dice, height, width), (name,)
    upper = tuple(_BELOW)[dice.below(len(_BELOW))]
    lower = _BELOW[upper][dice.below(len(_BELOW[upper]))]
    horizon = dice.between(height * 3 // 10, height * 6 // 10)
    # Nature's horizon is uneven, the foot of a wall is straight.
    swell = (noise(dice, 1, width, 1, 60)[0] - 128) * height // 2000 if upper == "sky" else np.zeros(width, np.int32)
    above = np.arange(height)[:, None] < horizon + swell[None, :]
    picture = np.where(above[..., None], GROUNDS[upper](dice, height, width), GROUNDS[lower](dice, height, width))
    return picture, (upper, lower)
