"""Counts and scores, against counting by hand; what cannot be counted is refused."""

import numpy as np
import pytest

from clipdiy_lab.errors import DatasetError
from clipdiy_lab.method import metrics


def test_counts_by_hand():
    truth = np.array([[0, 0, 1], [2, 255, 1]])
    predicted = np.array([[0, 1, 1], [0, 2, 1]])
    counts = metrics.confusion(truth, predicted, 4)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(metrics.iou(counts), [1 / 3, 2 / 3, 0, np.nan])
    np.testing.assert_array_equal(metrics.iou(counts, absent="zero"), [1 / 3, 2 / 3, 0, 0])
    assert metrics.mean_iou(counts) == pytest.approx(1 / 3)
    assert metrics.mean_iou(counts, absent="zero") == pytest.approx(1 / 4)
    assert metrics.pixel_accuracy(counts) == 3 / 5


def test_ignored_pixels_count_nowhere_whatever_was_predicted_there():
    truth = np.full((3, 3), 255, np.uint8)
    for predicted in (np.zeros((3, 3), np.uint8), np.full((3, 3), 255, np.uint8), np.full((3, 3), 77, np.int64)):
        counts = metrics.confusion(truth, predicted, 2)
        assert not counts.any()
    assert np.isnan(metrics.pixel_accuracy(counts))
    assert np.isnan(metrics.mean_iou(counts))
    assert metrics.mean_iou(counts, absent="zero") == 0


def test_small_integers_do_not_overflow():
    truth = np.full((4, 4), 200, np.uint8)
    counts = metrics.confusion(truth, truth, 201)
    assert counts[200, 200] == counts.sum() == 16


@pytest.mark.parametrize(
    ("truth", "predicted", "says"),
    [
        ([0, 3], [0, 0], "mask holds label 3, expected 0 to 2 or 255"),
        ([0, 0], [0, 3], "prediction holds label 3, expected 0 to 2;"),
        ([0, 0], [0, 255], "prediction holds label 255, expected 0 to 2;"),
        # The culprit is named, not the greatest value.
        ([2, -1], [0, 0], "mask holds label -1"),
        ([2, 0], [2, -1], "prediction holds label -1"),
    ],
)
def test_labels_outside_the_range_are_refused(truth, predicted, says):
    with pytest.raises(DatasetError, match=says):
        metrics.confusion(np.array(truth), np.array(predicted), 3)


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(DatasetError, match=r"mask is \(2, 3\), the prediction \(3, 2\)"):
        metrics.confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)


def test_pooling_is_not_a_mean_over_images():
    small, large = np.zeros((1, 1), int), np.zeros((10, 10), int)
    counts = metrics.confusion(small, small + 1, 2) + metrics.confusion(large, large, 2)
    assert metrics.iou(counts)[0] == 100 / 101
