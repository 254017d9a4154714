"""Counts and scores, against counting by hand; what cannot be counted is refused."""

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

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
    with pytest.raises(DatasetError, match=r"mask has shape \(2, 3\), the prediction \(3, 2\)"):
        metrics.confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)


def test_pooling_is_not_a_mean_over_images():
    small, large = np.zeros((1, 1), int), np.zeros((10, 10), int)
    counts = metrics.confusion(small, small + 1, 2) + metrics.confusion(large, large, 2)
    assert metrics.iou(counts)[0] == 100 / 101


@st.composite
def image_streams(draw):
    """Some images of truths (255 among them) and predictions, for 2 to 6 labels."""
    labels = draw(st.integers(2, 6))
    truth = st.sampled_from([*range(labels), 255])
    shapes = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
    pairs = [
        (
            draw(hnp.arrays(np.uint8, shape, elements=truth)),
            draw(hnp.arrays(np.int16, shape, elements=st.integers(0, labels - 1))),
        )
        for shape in shapes
    ]
    return labels, pairs


def count_plainly(labels, pairs):
    """Every score restated pixel by pixel, in Python's own integers."""
    pixels = [(int(t), int(p)) for truth, guess in pairs for t, p in zip(truth.flat, guess.flat, strict=True)]
    valid = [(t, p) for t, p in pixels if t != 255]
    rows = []
    for k in range(labels):
        both = sum(t == p == k for t, p in valid)
        true, union = sum(t == k for t, _ in valid), sum(k in pair for pair in valid)
        rows.append((both, true, union))
    return rows, len(valid)


@hypothesis.settings(max_examples=1000)
@hypothesis.given(image_streams(), st.randoms(use_true_random=False))
def test_scores_equal_a_restatement_and_torchmetrics_in_any_order(stream, random):
    labels, pairs = stream
    counts = sum(metrics.confusion(truth, guess, labels) for truth, guess in pairs)
    wide = [(truth.astype(np.int64), guess.astype(np.int64)) for truth, guess in random.sample(pairs, len(pairs))]
    np.testing.assert_array_equal(sum(metrics.confusion(*pair, labels) for pair in wide), counts)

    rows, valid = count_plainly(labels, pairs)
    assert counts.sum() == valid
    nan = math.nan
    expected = [both / union if union else nan for both, _, union in rows]
    np.testing.assert_array_equal(metrics.iou(counts), expected)
    np.testing.assert_array_equal(metrics.accuracy(counts), [b / t if t else nan for b, t, _ in rows])
    some = [one for one in expected if one == one]
    assert metrics.mean_iou(counts) == pytest.approx(math.fsum(some) / len(some) if some else nan, nan_ok=True)
    assert metrics.mean_iou(counts, "zero") == pytest.approx(math.fsum(some) / labels)
    if valid:
        weighted = math.fsum(true * (both / union) for both, true, union in rows if union) / valid
        assert metrics.frequency_weighted_iou(counts) == pytest.approx(weighted)
        assert metrics.pixel_accuracy(counts) == sum(both for both, _, _ in rows) / valid
        found = [both / true for both, true, _ in rows if true]
        assert metrics.mean_accuracy(counts) == pytest.approx(math.fsum(found) / len(found))

    truths, guesses = (
        torch.from_numpy(np.concatenate([image.ravel() for image in part])).long() for part in zip(*pairs, strict=True)
    )
    theirs = multiclass_confusion_matrix(guesses, truths, labels, ignore_index=255, validate_args=False)
    np.testing.assert_array_equal(theirs.numpy(), counts)
    # It divides in float32; whole numbers this small are exact there, so only the quotient is rounded.
    iou = multiclass_jaccard_index(guesses, truths, labels, "none", ignore_index=255, validate_args=False)
    np.testing.assert_array_equal(iou.numpy(), metrics.iou(counts, "zero").astype(np.float32))


def test_nothing_counted_has_no_score():
    for score in (metrics.mean_iou, metrics.mean_accuracy, metrics.pixel_accuracy, metrics.frequency_weighted_iou):
        assert math.isnan(score(np.zeros((3, 3), np.int64)))
    nothing = np.zeros((0, 4), np.uint8)
    assert (metrics.confusion(nothing, nothing, 3) == np.zeros((3, 3))).all()


def test_what_is_predicted_where_the_truth_is_ignored_does_not_matter():
    truth = np.array([0, 255, 1, 255], np.uint8)
    assert metrics.confusion(truth, np.array([0, 255, 0, -1]), 2).tolist() == [[1, 0], [1, 0]]


def test_the_size_of_the_confusion_is_the_effective_number_of_labels():
    counts = np.array([[6, 0, 0, 0], [0, 0, 5, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(metrics.confusion_size(counts), [1, 1, 4, np.nan])
    table = np.random.default_rng(0).integers(0, 9, (5, 5))
    shares = table / table.sum()
    joint, marginal = (-(part[part > 0] * np.log(part[part > 0])).sum() for part in (shares, shares.sum(1)))
    assert metrics.mean_confusion_size(table) == pytest.approx(np.exp(joint - marginal))  # H(prediction | truth)
    assert np.isnan(metrics.mean_confusion_size(np.zeros((3, 3), np.int64)))
