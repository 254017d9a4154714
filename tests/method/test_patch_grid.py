"""Patch tokens as grids: their places, and maps against a plain loop that draws every rectangle's map by itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import last_block
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan, WindowGrid

FRAME = Config(scales=(), image_size=(48, 80), dense="naclip", patches=(32, 8))
CROPS = Config(scales=(32, 16), image_size=(50, 72), dense="naclip", dense_from="crops", patches=(32, 8))


def drawn(values, size, **how):
    """Map of one rectangle, L x height x width."""
    grid = torch.from_numpy(values).permute(2, 0, 1)[None]
    return F.interpolate(grid, size=size, **({"mode": "bilinear"} | how))[0].numpy()


def values_of(grid, labels=3):
    return np.random.default_rng(0).normal(size=(grid.rows, grid.cols, labels))


def spread(grid, values, *how):
    down, across = grid.matrices(*how)
    np.testing.assert_allclose([down.sum(1).min(), across.sum(1).max()], 1, atol=1e-12)
    return down @ values.transpose(2, 0, 1) @ across.T


HOWS = {
    "bilinear": (("stretched", "bilinear", False), {"mode": "bilinear"}),
    "corners": (("stretched", "bilinear", True), {"mode": "bilinear", "align_corners": True}),
    "nearest": (("stretched", "nearest", False), {"mode": "nearest"}),
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stride", [2, 1, 4])
@pytest.mark.parametrize("config", [CROPS, CROPS.replace(crop_input={16: 24, 32: 48})], ids=["own", "other"])
def test_the_map_of_the_crops_is_the_mean_of_the_windows_maps(config, stride, how):
    config = config.replace(stride=stride)
    plan = Plan.of(config)
    ours, torchs = HOWS[how]
    for windows, grid in zip(plan.crops, plan.tokens, strict=True):
        count = config.crop_input.get(windows.window, 32) // 8
        assert (grid.rows, grid.cols) == (windows.rows * count, windows.cols * count)
        values = values_of(grid)
        total, times = np.zeros((3, 50, 72)), np.zeros((50, 72))
        for row, top in enumerate(windows.tops):
            for col, left in enumerate(windows.lefts):
                own = values[row * count : (row + 1) * count, col * count : (col + 1) * count]
                place = (slice(top, top + windows.window), slice(left, left + windows.window))
                total[:, *place] += drawn(own, (windows.window, windows.window), **torchs)
                times[place] += 1
        seen = times > 0
        assert seen.sum() == (50 - windows.uncovered[0]) * (72 - windows.uncovered[1])
        found = spread(grid, values, *ours)
        np.testing.assert_allclose(found[:, seen], (total / np.maximum(times, 1))[:, seen], atol=1e-12)
        # What no window sees takes the outermost tokens of the nearest window.
        height = 50 - windows.uncovered[0]
        assert np.allclose(found[:, height:], found[:, height - 1 : height]) or how != "nearest"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("method", last_block.METHODS)
def test_the_map_of_the_frame_is_torchs(method, how):
    for size in ((48, 80), (50, 83), (47, 81)):
        config = FRAME.replace(dense=method, image_size=size)
        (grid,) = Plan.of(config)
        values = values_of(grid)
        ours, torchs = HOWS[how]
        rows, cols = (side // 8 if method in ("sclip", "naclip") else -(-side // 8) for side in size)
        assert (grid.rows, grid.cols) == (rows, cols)
        if last_block.METHODS[method].remainder == "centre":  # the padding is cut away
            top, left = ((count * 8 - side) // 2 for count, side in zip((rows, cols), size, strict=True))
            whole = drawn(values, (rows * 8, cols * 8), **torchs)[:, top : top + size[0], left : left + size[1]]
        else:
            whole = drawn(values, size, **torchs)
        np.testing.assert_allclose(spread(grid, values, *ours), whole, atol=1e-12)


def test_cells_are_where_their_patches_are():
    (grid,) = Plan.of(FRAME)
    assert (grid.name, grid.title, grid.window, grid.rows, grid.cols) == ("dense", "dense", 8, 6, 10)
    assert list(grid.tops) == [0, 8, 16, 24, 32, 40]
    assert list(grid.centre_x[:3]) == [3.5, 11.5, 19.5]
    (larger,) = Plan.of(FRAME.replace(dense_side=96))
    assert (larger.rows, larger.cols, larger.window) == (12, 20, 4)
    windows, tokens = Plan.of(CROPS.replace(scales=(32,)))
    assert (tokens.name, tokens.title, tokens.window) == ("dense032", "dense 32 px", 8)
    assert list(tokens.tops) == [0, 8, 16, 24, 16, 24, 32, 40]
    assert isinstance(windows, WindowGrid)
    assert isinstance(tokens, Grid)
    (padded,) = Plan.of(FRAME.replace(dense="clearclip", image_size=(45, 80)))
    assert list(padded.centre_y[:2]) == [2.5, 10.5]  # one row of padding before the frame
    assert list(padded.tops[:2]) == [0, 7]


def test_true_places_differ_from_stretched_ones_only_where_patches_do_not_fill_the_frame():
    def both(config):
        (grid,) = Plan.of(config)
        return [grid.matrices(placement)[0] for placement in ("stretched", "centred")]

    stretched, centred = both(FRAME)
    assert np.array_equal(stretched, centred)
    stretched, centred = both(FRAME.replace(image_size=(54, 80)))
    assert not np.allclose(stretched, centred)
    # Six patches of eight pixels end at row 48; below, the last row of patches holds.
    assert np.array_equal(centred[48:, -1], np.ones(6))
    assert np.array_equal(*both(FRAME.replace(dense="clearclip", image_size=(45, 80))))


def test_a_plan_names_its_grids_and_says_what_it_lacks():
    assert Plan.of(CROPS).names == ("s032", "s016", "dense032", "dense016") == CROPS.grids
    assert repr(Plan.of(FRAME)) == "Plan(frame 48 x 80, 0 windows: dense 6 x 10)"
    assert Plan.of(Config(dense="sclip", patches=(32, 8))).windows == 59
    with pytest.raises(ConfigError, match="dense='sclip' has patches whose size depends on the encoder"):
        Plan.of(Config(dense="sclip"))
    with pytest.raises(
        ConfigError, match=r"the shorter side of the frame reaches the encoder with 24 pixels, .* one patch of 32"
    ):
        Plan.of(Config(scales=(), image_size=(24, 64), dense="maskclip", patches=(224, 32)))
    with pytest.raises(
        ConfigError, match=r"crops of 16 pixels reach the encoder with 24 pixels, .* less than one patch of 32"
    ):
        Plan.of(CROPS.replace(crop_input={16: 24}, patches=(64, 32)))
