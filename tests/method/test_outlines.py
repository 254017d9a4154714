"""Boundary IoU and trimaps against restatements of their definitions."""

import numpy as np
import pytest
from scipy import ndimage

from clipdiy_lab.method.metrics import Hits
from clipdiy_lab.method.outlines import WIDTHS, Outlines

LABELS = 3


def blobs(seed, shape=(60, 80), ignored=True):
    rng = np.random.default_rng(seed)
    noise = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 5) for _ in range(LABELS)])
    labels = noise.argmax(0).astype(np.uint8)
    if ignored:
        labels[ndimage.gaussian_filter(rng.normal(size=shape), 4) > 0.08] = 255
    return labels


def band_inside(mask, width):
    """As the paper has it: what an erosion by so many pixels takes away; what lies outside the image is no mask."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3])
def test_boundary_iou_is_that_of_the_paper(share):
    truth, predicted = blobs(0), blobs(1, ignored=False)
    width = max(1, round(share * np.hypot(*truth.shape)))
    valid = truth != 255
    found = Hits(*Outlines.of(truth, predicted, LABELS, share).boundary)
    for label in range(LABELS):
        true, guess = (band_inside((labels == label) & valid, width) for labels in (truth, predicted))
        assert found.tp[label] == (true & guess).sum()
        assert found.fp[label] == (guess & ~true).sum()
        assert found.fn[label] == (true & ~guess).sum()
        assert found.iou()[label] == (true & guess).sum() / (true | guess).sum()


def test_a_trimap_counts_what_is_near_a_true_outline():
    truth, predicted = blobs(2), blobs(3, ignored=False)
    found = Outlines.of(truth, predicted, LABELS).trimap
    distance = np.full(truth.shape, np.inf)
    for value in np.unique(truth):
        other = ndimage.distance_transform_cdt(truth == value, "chessboard")
        distance = np.where(truth == value, other, distance)
    for width, counts in zip(WIDTHS, found, strict=True):
        near = (distance <= width) & (truth != 255)
        tp, fp, fn = counts
        for label in range(LABELS):
            true, guess = (truth == label) & near, (predicted == label) & near
            assert (tp[label], fp[label], fn[label]) == (
                (true & guess).sum(), (guess & ~true).sum(), (true & ~guess).sum()
            )  # fmt: skip


def test_a_perfect_prediction_and_one_that_is_a_pixel_off():
    truth = blobs(4, ignored=False)
    assert np.nanmin(Hits(*Outlines.of(truth, truth, LABELS).boundary).iou()) == 1
    shifted = np.roll(truth, 1, axis=1)
    whole = np.mean(truth == shifted)
    scores = Hits(*Outlines.of(truth, shifted, LABELS, 0.02).boundary).iou()
    assert scores.max() < whole  # a thin band is hit hardest
    trimap = Hits(*np.moveaxis(Outlines.of(truth, shifted, LABELS).trimap, 1, 0))
    shares = trimap.tp.sum(1) / (trimap.tp + trimap.fn).sum(1)
    assert (np.diff(shares[:4]) > 0).all()  # the wider the band, the less it shows


def test_what_is_predicted_where_the_truth_is_ignored_does_not_matter():
    truth, predicted = blobs(5), blobs(6, ignored=False)
    changed = np.where(truth == 255, (predicted + 1) % LABELS, predicted)
    for found, expected in zip(Outlines.of(truth, changed, LABELS), Outlines.of(truth, predicted, LABELS), strict=True):
        np.testing.assert_array_equal(found, expected)
    perfect = Outlines.of(truth, np.where(truth == 255, 0, truth), LABELS)
    assert np.nanmin(Hits(*perfect.boundary).iou()) == 1


def test_one_label_everywhere_has_only_the_edge_of_the_image():
    truth = np.zeros((10, 20), np.uint8)
    found = Outlines.of(truth, truth, LABELS, 0.1)
    assert found.boundary[0].tolist() == [200 - 6 * 16, 0, 0]
    assert not found.trimap.any()
    empty = Outlines.of(np.full((4, 4), 255, np.uint8), truth[:4, :4], LABELS)
    assert not empty.boundary.any()
    assert not empty.trimap.any()
