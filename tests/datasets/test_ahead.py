"""Samples that are read while the last one is worked on."""

import threading

import pytest

from clipdiy_lab.datasets.sample import ahead


def test_samples_come_in_order_and_the_next_is_read_meanwhile():
    begun = [threading.Event() for _ in range(6)]
    reads = []

    def read(position):
        reads.append(position)
        begun[position].set()
        return position * 10

    for row, found in enumerate(ahead(read, range(1, 6))):
        assert found == (row + 1) * 10
        if row < 4:
            assert begun[row + 2].wait(10)  # nobody asked for it yet
        assert len(reads) <= row + 2  # one ahead, not more
    assert reads == [1, 2, 3, 4, 5]
    assert list(ahead(read, [])) == []


def test_an_error_comes_where_its_sample_would_have():
    def read(position):
        if position == 2:
            raise ValueError("image 2 is damaged")
        return position

    found = ahead(read, range(5))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="image 2 is damaged"):
        next(found)


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    found = ahead(lambda position: position, range(100))
    assert next(found) == 0
    found.close()
    assert threading.active_count() == before
