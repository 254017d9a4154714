"""The operations on tensors of any size."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import random_pixels, seeds, sides

from clipdiy_lab.method import metrics, ops
from clipdiy_lab.method.grid import WindowGrid


def uniform(seed, *shape, low=0.0, high=1.0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32))


@given(sides(60), sides(60), sides(60), sides(60), seeds)
def test_bilinear_is_opencvs(height, width, new_height, new_width, seed):
    image = random_pixels(height, width, seed)
    expected = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    got = ops.resize_image(torch.from_numpy(image), (new_height, new_width))
    np.testing.assert_array_equal(got.numpy(), expected)


@given(sides(200), sides(200), sides(200), sides(200), seeds)
def test_nearest_is_opencvs(height, width, new_height, new_width, seed):
    image = random_pixels(height, width, seed)
    expected = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_NEAREST)
    got = ops.resize_image(torch.from_numpy(image), (new_height, new_width), "nearest")
    np.testing.assert_array_equal(got.numpy(), expected)


@settings(max_examples=50)
@given(sides(100), sides(100), seeds)
def test_crop_input_is_pillows(side, size, seed):
    image = random_pixels(side, side, seed)
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    crops = torch.from_numpy(image).permute(2, 0, 1)[None]
    got = ops.to_encoder_input(crops, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal((got[0] * 255).round().permute(1, 2, 0).numpy(), expected)


@given(sides(30), sides(30), st.data())
def test_windows_are_plain_slices(height, width, data):
    scale = data.draw(st.integers(1, min(height, width)))
    grid = WindowGrid(scale, data.draw(st.integers(1, scale)), (height, width))
    frame = torch.from_numpy(random_pixels(height, width, 0))
    naive = [frame[y : y + scale, x : x + scale].permute(2, 0, 1) for y in grid.tops for x in grid.lefts]
    assert torch.equal(ops.cut_windows(frame, grid), torch.stack(naive))


@given(sides(200), sides(200), sides(200), sides(200), seeds)
def test_resizing_labels_is_torchs_nearest(height, width, new_height, new_width, seed):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 200, (height, width)))
    expected = F.interpolate(labels[None, None].to(torch.uint8), size=(new_height, new_width), mode="nearest")[0, 0]
    assert torch.equal(ops.resize_labels(labels, (new_height, new_width)), expected.long())


@given(seeds, st.integers(2, 5))
def test_background_wins_exactly_below_the_closed_form_threshold(seed, labels):
    """With positive cosines: background where s < c_bg / (c_bg + max_c)."""
    merged = uniform(seed, labels, 12, 13, low=0.05, high=0.4)
    saliency = uniform(seed + 1, 12, 13)
    threshold = merged[0] / (merged[0] + merged[1:].amax(0))
    clear = (saliency - threshold).abs() > 1e-5  # within rounding of the threshold either may win
    fused = ops.fuse(merged, ops.guide(saliency, labels, background=0))
    background = fused.argmax(0) == 0
    assert torch.equal(background[clear], (saliency < threshold)[clear])


@given(seeds, st.integers(1, 6), st.floats(0, 1), st.floats(1, 200), st.integers(0, 6))
def test_the_threshold_score_wins_exactly_where_the_top_probability_is_below(seed, labels, threshold, scale, place):
    """Brute force in float64; within rounding of the threshold either may win."""
    others = uniform(seed, labels, 12, 13, low=-0.3, high=0.4)
    score = ops.threshold_score(others, threshold, scale)
    assert torch.isfinite(score).all()
    place = min(place, labels)
    rows = torch.cat([others[:place], score[None], others[place:]])
    top = torch.softmax(others.double() * scale, 0).amax(0)
    clear = (top - threshold).abs() > 1e-4 * threshold
    background = rows.argmax(0) == place
    assert torch.equal(background[clear], (top < threshold)[clear])
    # A higher threshold never gives less background.
    higher = ops.threshold_score(others, (1 + threshold) / 2, scale)
    assert bool((higher >= score).all())


@given(seeds, st.integers(1, 6), st.floats(1, 200), st.booleans())
def test_the_ends_of_the_threshold(seed, labels, scale, first):
    others = uniform(seed, labels, 5, 6, low=-0.3, high=0.4)
    for threshold, expected in ((0.0, False), (1 / (labels + 1), False), (1.0, labels > 1)):
        score = ops.threshold_score(others, threshold, scale)[None]
        rows = torch.cat([score, others] if first else [others, score])
        background = rows.argmax(0) == (0 if first else labels)
        certain = torch.softmax(others.double() * scale, 0).amax(0) > 1 - 1e-4  # 1 in float32, or nearly
        assert bool((background == expected)[~certain if expected else ...].all())


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_the_best_phrase_is_what_a_loop_finds_and_repeating_phrases_changes_nothing(seed, counts):
    cosines = uniform(seed, 3, 4, sum(counts), low=-1)
    best, which = ops.best_phrase(cosines, counts)
    ends = np.cumsum(counts)
    for label, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        for row, col in np.ndindex(3, 4):
            values = cosines[row, col, start:end].tolist()
            assert best[row, col, label] == max(values)
            assert which[row, col, label] == start + values.index(max(values))
    twice = torch.cat([torch.cat([part, part], -1) for part in torch.split(cosines, counts, -1)], -1)
    again, _ = ops.best_phrase(twice, [2 * count for count in counts])
    assert torch.equal(again, best)


@settings(max_examples=50)
@given(seeds, st.integers(1, 5), st.floats(1e-3, 100))
def test_temperature_changes_no_label(seed, labels, temperature):
    fused = uniform(seed, labels, 9, 7, low=-1)
    chosen = ops.probability(fused, temperature).gather(0, fused.argmax(0)[None])[0]
    # In float32 rivals may become equal, but none passes the winner.
    assert torch.equal(chosen, ops.probability(fused, temperature).amax(0))


@given(seeds, st.integers(1, 6), st.randoms())
def test_permuted_labels_give_permuted_maps(seed, labels, random):
    order = random.sample(range(labels), labels)
    merged, saliency = uniform(seed, labels, 8, 9, low=-1), uniform(seed + 1, 8, 9)
    background = random.choice([None, *range(labels)])
    fused = ops.fuse(merged, ops.guide(saliency, labels, background, 0.7))
    place = None if background is None else order.index(background)
    again = ops.fuse(merged[order], ops.guide(saliency, labels, place, 0.7))
    assert torch.equal(again, fused[order])
    assert torch.equal(torch.tensor(order)[again.argmax(0)], fused.argmax(0))
    assert torch.equal(ops.margin(again), ops.margin(fused))


@given(seeds, st.integers(1, 6), st.integers(1, 40))
def test_counts_are_what_a_loop_counts(seed, labels, n):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, labels + 1, n), rng.integers(0, labels, n)
    truth[truth == labels] = metrics.IGNORE
    naive = np.zeros((labels, labels), int)
    for true, guess in zip(truth, predicted, strict=True):
        if true != metrics.IGNORE:
            naive[true, guess] += 1
    counts = metrics.confusion(truth, predicted, labels)
    np.testing.assert_array_equal(counts, naive)
    kept = truth != metrics.IGNORE
    for label, score in enumerate(metrics.iou(counts)):
        true, guess = (truth == label) & kept, (predicted == label) & kept
        union = (true | guess).sum()
        assert (score == (true & guess).sum() / union) if union else np.isnan(score)
    np.testing.assert_array_equal(metrics.iou(counts, "zero"), np.nan_to_num(metrics.iou(counts)))
