"""Pictures say what the arrays say."""

import numpy as np

from clipdiy_lab.views import pictures
from clipdiy_lab.views.colors import label_colors


def test_heat_runs_from_dark_to_bright_and_clips():
    ramp = pictures.heat(np.linspace(-1, 2, 301)[None], 0, 1)
    lightness = ramp[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness[100:201]) >= -0.5).all()
    assert (ramp[0, :100] == ramp[0, 100]).all()
    assert (ramp[0, 201:] == ramp[0, 200]).all()
    assert (pictures.heat(np.full((2, 2), 5.0), 5, 5) == pictures.heat(np.zeros((2, 2)), 0, 1)).all()


def test_overlay_leaves_the_background_clear():
    image = np.full((8, 8, 3), 100, np.uint8)
    labels = np.zeros((8, 8), int)
    labels[:, 6:] = 1
    laid = pictures.overlay(image, labels, label_colors(["background", "cat"]), background=0)
    assert (laid[:, :6] == 100).all()
    assert (laid[:, 6:] != 100).any()


def test_small_multiples_place_every_panel():
    panels = [[np.full((10, 20, 3), 40 * r + 20 * c, np.uint8) for c in range(3)] for r in range(2)]
    grid = np.asarray(pictures.small_multiples(panels, ["a", "b", "a title much too long for its panel"], ["1", "2"]))
    for row in panels:
        for panel in row:
            assert (grid == panel[0, 0]).all(-1).sum() >= 168 * 336


def test_the_legend_wraps():
    names = [f"label number {i}" for i in range(12)]
    colors = label_colors(names)
    wide, narrow = pictures.legend(names, colors, 2000), pictures.legend(names, colors, 200)
    assert narrow.height > 5 * wide.height // 2
    for color in colors:
        assert (np.asarray(narrow) == color).all(-1).sum() >= 100
