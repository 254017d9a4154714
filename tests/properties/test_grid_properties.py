"""Windows and interpolation on frames of any size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs

from clipdiy_lab.method.grid import Plan, WindowGrid


@st.composite
def grids(draw, most=48):
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    scale = draw(st.integers(1, min(height, width)))
    return WindowGrid(scale, draw(st.integers(1, scale)), (height, width))


@given(grids())
def test_windows_lie_in_the_frame_and_no_further_one_would(grid):
    for n, starts, side, centres in (
        (grid.rows, grid.tops, grid.frame[0], grid.centre_y),
        (grid.cols, grid.lefts, grid.frame[1], grid.centre_x),
    ):
        assert n == (side - grid.window) // grid.hop + 1 == len(starts) == len(centres)
        assert starts[0] == 0
        assert np.all(np.diff(starts) == grid.hop)
        assert starts[-1] + grid.window <= side < starts[-1] + grid.hop + grid.window
        for start, centre in zip(starts, centres, strict=True):
            assert centre == np.mean(range(start, start + grid.window))


@given(grids(most=30))
def test_coverage_is_what_counting_gives(grid):
    counted = np.zeros(grid.frame, int)
    for top in grid.tops:
        for left in grid.lefts:
            counted[top : top + grid.window, left : left + grid.window] += 1
    np.testing.assert_array_equal(grid.coverage(), counted)
    full = all((side - grid.window) % grid.hop == 0 for side in grid.frame)
    assert (counted.min() > 0) == full == (grid.uncovered == (0, 0))
    unseen_rows, unseen_columns = grid.uncovered
    assert (counted.max(1) == 0).sum() == unseen_rows
    assert (counted.max(0) == 0).sum() == unseen_columns


@settings(max_examples=40)
@given(configs(max_side=60))
def test_the_plan_says_what_is_uncovered(config):
    plan = Plan.of(config)
    assert plan.windows == sum(plan[scale].rows * plan[scale].cols for scale in config.scales)
    assert len(plan) == len(list(plan))
    assert [grid.window for grid in plan.crops] == list(config.scales)
    assert plan.names == config.grids
    for grid in plan.crops:
        assert (f"; {grid.title} misses" in repr(plan)) == bool((grid.coverage() == 0).any())


@settings(max_examples=40)
@given(configs(max_side=60))
def test_a_flat_grid_stays_flat(config):
    for grid in Plan.of(config):
        for matrix in grid.matrices(config.placement, config.interpolation, config.align_corners):
            np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
            assert matrix.min() >= 0


@given(grids(), st.sampled_from(["stretched", "centred"]), st.sampled_from(["bilinear", "nearest"]), st.booleans())
def test_every_pixel_is_a_mean_of_at_most_two_neighbours_an_axis(grid, placement, interpolation, align_corners):
    matrices = grid.matrices(placement, interpolation, align_corners)
    shapes = [(side, n) for side, n in zip(grid.frame, (grid.rows, grid.cols), strict=True)]
    assert [matrix.shape for matrix in matrices] == shapes
    for matrix in matrices:
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
        assert matrix.min() >= 0
        used = matrix > 0
        assert used.sum(1).max() <= (2 if interpolation == "bilinear" else 1)
        assert np.all(np.abs(np.diff(matrix @ np.arange(matrix.shape[1]))) <= 1 + 1e-12)  # never jumps over a window
        first, last = used.argmax(1), matrix.shape[1] - 1 - used[:, ::-1].argmax(1)
        assert np.all(last - first <= 1)
        # A flat grid stays flat and the order of windows is kept.
        assert np.all(np.diff(matrix @ np.arange(matrix.shape[1])) >= -1e-12)


@given(grids(), st.sampled_from([("bilinear", False), ("bilinear", True), ("nearest", False)]), st.integers(0, 99))
def test_stretched_is_torchs_interpolate(grid, how, seed):
    interpolation, align_corners = how
    values = np.random.default_rng(seed).normal(size=(grid.rows, grid.cols)).astype(np.float32)
    down, across = grid.matrices("stretched", interpolation, align_corners)
    corners = {"align_corners": align_corners} if interpolation == "bilinear" else {}
    tensor = torch.from_numpy(values)[None, None]
    # Nearest has no roundings to forgive; torch decides on the tile in float32, as it does for float32 maps.
    expected = F.interpolate(tensor, size=grid.frame, mode=interpolation, **corners)[0, 0].numpy()
    np.testing.assert_allclose(down @ values @ across.T, expected, atol=0 if interpolation == "nearest" else 2e-5)


@given(grids())
def test_centred_values_stand_at_the_centres_of_their_windows(grid):
    for matrix, centres in zip(grid.matrices("centred"), (grid.centre_y, grid.centre_x), strict=True):
        pixels = np.arange(len(matrix))
        # Interpolating the centres themselves gives back every pixel between the outermost two.
        np.testing.assert_allclose(matrix @ centres, np.clip(pixels, centres[0], centres[-1]), atol=1e-9)
        for n, centre in enumerate(centres):
            weights = matrix[:, n]
            peaks = np.flatnonzero(weights >= weights.max() - 1e-12)
            if centres[0] < centre < centres[-1]:
                assert peaks.mean() == pytest.approx(centre)
                assert pixels @ weights / weights.sum() == pytest.approx(centre)
            else:
                assert peaks.min() <= centre <= peaks.max() or abs(peaks - centre).min() <= 0.5
