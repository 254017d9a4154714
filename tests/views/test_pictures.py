"""Pictures say what the arrays say."""

import numpy as np

from clipdiy_lab.views import pictures
from clipdiy_lab.views.colors import label_colors
from clipdiy_lab.views.scales import SEQUENTIAL, ColorRange


def test_pixels_without_a_value_are_chequered():
    missing = np.zeros((32, 32), bool)
    missing[:, 16:] = True
    made = pictures.cleared(np.full((32, 32, 3), 9, np.uint8), missing)
    assert (made[:, :16] == 9).all()
    assert len(np.unique(made[:, 16:].reshape(-1, 3), axis=0)) == 2


def test_a_bar_shows_the_scale_and_cuts_a_long_caption():
    colors = ColorRange(SEQUENTIAL, 0.25, 0.75)
    bar = np.asarray(pictures.scale_bar(colors, 400, "a caption " * 40))
    assert bar.shape == (36, 400, 3)
    for end in (0.0, 1.0):
        assert (bar == SEQUENTIAL.at(end)).all(-1).any()


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
