"""Connected regions: those of scipy, whatever the map."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from clipdiy_lab.method.regions import regions

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def plainly(values):
    """Number the regions with scipy, value by value, then by their first pixels."""
    found, count = np.zeros(values.shape, np.int64), 0
    for value in np.unique(values):
        numbered, several = ndimage.label(values == value)
        found[values == value] = (numbered + count)[values == value]
        count += several
    order = {number: place for place, number in enumerate(dict.fromkeys(found.ravel().tolist()))}
    return np.vectorize(order.get)(found)


@given(SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(-1, 2))))
def test_the_regions_are_scipys(values):
    np.testing.assert_array_equal(regions(values), plainly(values))


@pytest.mark.parametrize("side", [1, 64])
def test_a_long_way_round_is_one_region(side):
    spiral = np.zeros((2 * side + 1, 2 * side + 1), np.int64)
    spiral[1::2] = 1
    spiral[1::4, -1] = 0
    spiral[3::4, 0] = 0
    found = regions(spiral)
    assert len(np.unique(found[spiral == 0])) == 1
    assert found.max() == side
