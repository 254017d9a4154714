"""The plan: how many windows, where they are, what they see, and where their values stand in the frame."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Grid, Plan, WindowGrid
from clipdiy_lab.method.naming import grid_name, grid_title, window_grid_name


def test_the_papers_59_crops():
    plan = Plan.of(Config.paper())
    assert [(g.window, g.hop, g.rows, g.cols) for g in plan] == [(256, 256 // 2, 1, 1), (128, 64, 3, 3), (64, 32, 7, 7)]
    assert plan.windows == 1 + 9 + 49
    assert len(plan) == len(list(plan)) == 3
    assert plan[128].tops.tolist() == plan[128].lefts.tolist() == [0, 64, 128]
    assert plan[256].centre_y.tolist() == [127.5]
    assert plan[64].centre_x.tolist() == [31.5, 63.5, 95.5, 127.5, 159.5, 191.5, 223.5]


def test_height_and_width_are_independent():
    grid = WindowGrid(32, 16, (100, 70))
    assert (grid.rows, grid.cols) == (5, 3)
    assert grid.uncovered == (100 - 64 - 32, 70 - 32 - 32)
    assert grid.coverage().shape == (100, 70)


def test_the_repr_says_what_no_window_sees():
    plan = Plan.of(Config(scales=(64, 48, 32), image_size=(100, 128)))
    assert repr(plan) == (
        "Plan(frame 100 x 128, 53 windows: 64 px 2 x 3, 48 px 3 x 4, 32 px 5 x 7; "
        "64 px misses 4 rows, 0 columns; 48 px misses 4 rows, 8 columns; 32 px misses 4 rows, 0 columns)"
    )
    assert "misses" not in repr(Plan.of(Config()))


def test_a_grid_that_the_plan_lacks_is_named_with_its_neighbours():
    plan = Plan.of(Config())
    for grid in (65, "65", "s065"):
        with pytest.raises(ConfigError, match=r"no grid 's065'\. Did you mean 's064'"):
            plan[grid]
    for grid in (None, 64.5, True, ("s064",)):
        with pytest.raises(ConfigError, match=r"a grid is .*; expected its name"):
            grid_name(grid)


def test_a_grid_has_one_name_and_one_title():
    plan = Plan.of(Config(scales=(1024, 64, 8), image_size=1024))
    assert plan.names == ("s1024", "s064", "s008")
    assert [grid.title for grid in plan] == [grid_title(name) for name in plan.names] == ["1024 px", "64 px", "8 px"]
    for grid in plan:
        assert isinstance(grid, Grid)
        assert plan[grid.name] is plan[grid.window] is plan[str(grid.window)]
        assert window_grid_name(grid.window) == grid_name(grid.window) == grid_name(np.int64(grid.window)) == grid.name
    assert plan.crops == plan.grids  # all grids are of windows so far
    assert grid_title("dense") == "dense"


def test_plans_are_values():
    assert Plan.of(Config()) == Plan.of(Config(temperature=0.1))
    assert Plan.of(Config()) != Plan.of(Config(stride=4))
    assert len({Plan.of(Config()), Plan.of(Config(placement="centred"))}) == 1


@pytest.mark.parametrize("placement", ["stretched", "centred"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_matrices_cannot_be_written_to(placement, interpolation):
    for matrix in Plan.of(Config())[64].matrices(placement, interpolation):
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 0] = 5


def centre_of_mass(weights):
    return np.arange(len(weights)) @ weights / weights.sum()


def middle_of_peak(weights):
    """Position of the greatest value of a straight-sided peak, from where its two sides would meet."""
    peaks = np.flatnonzero(np.isclose(weights, weights.max(), atol=1e-12, rtol=0))
    return float(peaks.mean())


@pytest.mark.parametrize("scale", [128, 64])
def test_centred_puts_a_window_where_it_is(scale):
    grid = Plan.of(Config(placement="centred"))[scale]
    down, across = grid.matrices("centred")
    for row, centre in enumerate(grid.centre_y[1:-1], start=1):
        assert middle_of_peak(down[:, row]) == centre
        assert centre_of_mass(down[:, row]) == pytest.approx(centre, abs=1e-9)
        one_hot = np.zeros((grid.rows, grid.cols))
        one_hot[row, 1] = 1
        spread = down @ one_hot @ across.T
        peaks = np.argwhere(spread > spread.max() - 1e-12)
        assert peaks.mean(0).tolist() == [centre, grid.centre_x[1]]
    # At the centre of a window its value stands unmixed: midway between the two pixels beside it.
    first, last = grid.centre_y[[0, -1]]
    assert np.all(down[: int(first) + 1, 0] == 1)
    assert np.all(down[int(np.ceil(last)) :, -1] == 1)


@pytest.mark.parametrize(("scale", "outward"), [(128, 21.3), (64, 13.7)])
def test_stretched_puts_the_outermost_window_too_far_out(scale, outward):
    """The figures of the official code's quirk, as read off the matrices."""
    grid = Plan.of(Config())[scale]
    down, _ = grid.matrices("stretched")
    # Two neighbouring values say where the grid's values stand: position p has index sum(weights * index).
    index = down @ np.arange(grid.rows)
    inner = (index > 0.1) & (index < grid.rows - 1.1)
    slope, offset = np.polyfit(np.arange(256)[inner], index[inner], 1)
    stands = (np.arange(grid.rows) - offset) / slope
    error = grid.centre_y - stands
    assert error[0] == pytest.approx(outward, abs=0.05)
    assert error[-1] == pytest.approx(-outward, abs=0.05)
    assert error[grid.rows // 2] == pytest.approx(0, abs=1e-6)
    assert np.all(np.diff(error) < 0)


def test_centred_nearest_gives_every_pixel_the_window_whose_centre_is_nearest():
    grid = WindowGrid(32, 24, (90, 32))
    down, across = grid.matrices("centred", "nearest")
    distance = np.abs(np.arange(90)[:, None] - grid.centre_y)
    assert np.array_equal(down.sum(1), np.ones(90))
    assert np.array_equal(distance[np.arange(90), down.argmax(1)], distance.min(1))
    assert np.array_equal(across, np.ones((32, 1)))


@pytest.mark.parametrize(("n", "side"), [(14, 46), (39, 66), (21, 69), (7, 256)])
def test_stretched_nearest_rounds_as_torch_does_in_float32(n, side):
    """In the first three sizes, computing in double would give a pixel at a tile's edge to the other tile."""
    grid = WindowGrid(side - n + 1, 1, (side, side)) if n != 7 else WindowGrid(64, 32, (256, 256))
    assert grid.rows == n
    down, _ = grid.matrices("stretched", "nearest")
    tiles = F.interpolate(torch.arange(float(n))[None, None], size=side, mode="nearest")[0, 0]
    np.testing.assert_array_equal(down.argmax(1), tiles)
