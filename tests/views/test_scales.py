"""Colour scales: even, clipped, and about zero where values have a sign."""

import numpy as np
import pytest

from clipdiy_lab.views.scales import DIVERGING, SEQUENTIAL, ColorRange

LIGHTNESS = np.array([0.2126, 0.7152, 0.0722])


def test_the_sequential_scale_runs_from_dark_to_bright_and_clips():
    ramp = ColorRange(SEQUENTIAL, 0, 1).paint(np.linspace(-1, 2, 301)[None])[0]
    assert (np.diff(ramp[100:201] @ LIGHTNESS) >= -0.5).all()
    assert (ramp[:100] == ramp[100]).all()
    assert (ramp[201:] == ramp[200]).all()


def test_the_diverging_scale_is_palest_at_zero():
    colors = ColorRange.of([np.array([-0.2, 0.7])], DIVERGING)
    assert (colors.low, colors.high) == (-0.7, 0.7)
    ramp = colors.paint(np.linspace(-0.7, 0.7, 101)[None])[0] @ LIGHTNESS
    assert ramp.argmax() == 50
    assert (np.diff(ramp[:51]) >= 0).all()
    assert (np.diff(ramp[50:]) <= 0).all()


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ([0.2, 0.5], (), (0.2, 0.5)),
        ([-3.0, 0.5, np.nan, np.inf], (0, 1), (0, 0.5)),
        ([0.5, 0.5], (), (0.45, 0.55)),
        ([np.nan], (), (0, 1)),
    ],
)
def test_a_range_is_of_the_numbers_within_the_bounds_and_never_empty(values, bounds, expected):
    colors = ColorRange.of([np.array(values)], SEQUENTIAL, *bounds)
    assert (colors.low, colors.high) == pytest.approx(expected)


def test_plotly_css_and_pixels_have_the_same_colours():
    for scale in (SEQUENTIAL, DIVERGING):
        for place, color in scale.stops:
            assert "#" + scale.at(place).tobytes().hex() == color
            assert color in scale.css
