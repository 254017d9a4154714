"""Counts add up exactly in any order and any parts; the interval is a bootstrap over the images."""

import math

import numpy as np
import pytest

from clipdiy_lab.analysis.scoring.counts import INTERVAL, REPLICATES, TrialCounts, draws
from clipdiy_lab.errors import DatasetError
from clipdiy_lab.method import metrics

RNG = np.random.default_rng(5)
IMAGES = [[RNG.integers(0, 2**40, (3, 3)) for _ in range(2)] for _ in range(11)]
"""Confusion counts of two trials of three labels on each image."""


def tally_of(images, per_image=True):
    counts = TrialCounts(2, 3, per_image=per_image)
    for position in images:
        counts.add(position, f"image {position}", IMAGES[position], position)
    return counts


def same(one, other):
    assert one.arrays().keys() == other.arrays().keys()
    for name, values in one.arrays().items():
        np.testing.assert_array_equal(values, other.arrays()[name])


@pytest.mark.parametrize("per_image", [True, False])
def test_counts_of_parts_add_up_exactly(per_image):
    whole = tally_of(range(11), per_image)
    for first in range(12):
        for second in range(first, 12):
            merged = TrialCounts(2, 3, per_image=per_image)
            for part in (range(first), range(first, second), range(second, 11)):
                merged.merge(tally_of(part, per_image).arrays())
            same(merged, whole)
            assert [merged.interval(trial) for trial in (0, 1)] == [whole.interval(trial) for trial in (0, 1)]


def test_what_is_counted_is_what_was_added():
    whole = tally_of(range(11))
    for trial in (0, 1):
        np.testing.assert_array_equal(whole.confusion[trial], sum(image[trial] for image in IMAGES))
        for name, by_image in whole.hits(trial)._asdict().items():
            expected = [getattr(metrics.Hits.of(image[trial]), name) for image in IMAGES]
            np.testing.assert_array_equal(by_image, expected)
    assert whole.ids == [f"image {position}" for position in range(11)]
    assert whole.image_ignored.tolist() == list(range(11))
    assert whole.ignored == sum(range(11))
    assert whole.ignored_share == pytest.approx(55 / (55 + whole.confusion[0].sum()))


@pytest.mark.parametrize(
    "other",
    [TrialCounts(2, 4, per_image=True), TrialCounts(1, 3, per_image=True), TrialCounts(2, 3)],
    ids=["labels", "trials", "without images"],
)
def test_counts_of_something_else_are_refused(other):
    mine = tally_of(range(2))
    before = mine.arrays()
    with pytest.raises(DatasetError, match="can be added"):
        mine.merge(other.arrays())
    for name, values in before.items():
        np.testing.assert_array_equal(mine.arrays()[name], values)


def test_memory_does_not_grow_with_the_images():
    counts = TrialCounts(2, 21)
    assert TrialCounts.bytes_per_trial(21) == sum(
        values[:1].nbytes for values in counts.arrays().values() if values.ndim
    )
    size = {name: values.nbytes for name, values in counts.arrays().items()}
    for position in range(50):
        counts.add(position, str(position), [np.eye(21, dtype=np.int64)] * 2, 0)
    assert {name: values.nbytes for name, values in counts.arrays().items()} == size


def test_nothing_counted_has_no_score():
    assert math.isnan(TrialCounts(1, 3).ignored_share)
    assert all(map(math.isnan, TrialCounts(1, 3).interval()))
    blank = TrialCounts(1, 3)
    blank.add(0, "blank", [np.zeros((3, 3), np.int64)], 12)
    assert all(map(math.isnan, blank.interval()))
    assert blank.interval(absent="zero") == (0, 0)
    assert blank.ignored_share == 1


def test_the_interval_is_that_of_weighing_the_images():
    """In every replicate an image counts as often as its draw says; the mean IoU is that of the weighed sum."""
    scores = []
    for replicate in range(REPLICATES):
        counts = sum(int(draws(position)[replicate]) * image[0] for position, image in enumerate(IMAGES))
        scores.append(metrics.mean_iou(counts))
    assert tally_of(range(11)).interval() == pytest.approx(tuple(np.percentile(scores, [2.5, 97.5])), abs=1e-12)
    assert INTERVAL == "95 % Poisson bootstrap over images, 200 replicates"


def image(rng):
    hits = int(1000 * rng.beta(4, 2))
    return np.array([[hits, 1000 - hits], [300, 700]], dtype=np.int64)


def test_the_interval_covers_what_it_should():
    """Over many samples of one population, the interval holds its score about 95 times in 100."""
    rng = np.random.default_rng(2)
    population = metrics.mean_iou(sum(image(rng) for _ in range(20_000)))
    inside = 0
    for trial in range(100):
        counts = TrialCounts(1, 2)
        for position in range(60):
            counts.add(trial * 60 + position, "", [image(rng)], 0)
        low, high = counts.interval()
        inside += low <= population <= high
    assert 85 <= inside <= 100


def test_the_interval_narrows_with_more_images():
    rng, widths = np.random.default_rng(0), []
    for images in (10, 1000):
        counts = TrialCounts(1, 2)
        for position in range(images):
            counts.add(position, "", [image(rng)], 0)
        low, high = counts.interval()
        assert low < metrics.mean_iou(counts.confusion[0]) < high
        widths.append(high - low)
    assert 0 < widths[1] < widths[0] / 3


def test_draws_are_poisson_of_mean_one_and_always_the_same():
    many = np.concatenate([draws(position) for position in range(300)])
    assert len(many) == 300 * REPLICATES
    assert abs(many.mean() - 1) < 0.02
    assert abs(many.var() - 1) < 0.03
    assert draws(7)[:8].tolist() == draws.__wrapped__(7)[:8].tolist()
