"""The operations, against the libraries they repeat and against plain loops."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from PIL import Image

from clipdiy_lab.method import ops
from clipdiy_lab.method.grid import WindowGrid

# Up, down, one axis only, one pixel, exactly twice (OpenCV then averages areas), a photograph's size.
SIZES = [
    ((300, 451), (256, 256)),
    ((512, 512), (256, 256)),
    ((64, 64), (256, 256)),
    ((100, 40), (33, 256)),
    ((256, 300), (256, 256)),
    ((300, 256), (256, 256)),
    ((1, 1), (5, 7)),
    ((1, 90), (8, 8)),
    ((90, 1), (8, 8)),
    ((7, 9), (1, 1)),
    ((2, 2), (3, 255)),
    ((1333, 2000), (256, 256)),
]


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
@pytest.mark.parametrize("how", ["bilinear", "nearest"])
def test_resizing_is_opencvs_to_the_last_bit(old, new, how):
    image = pixels(*old)
    flag = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}[how]
    got = ops.resize_image(torch.from_numpy(image), new, how)
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got.numpy(), cv2.resize(image, new[::-1], interpolation=flag))


def test_extremes_stay_extremes():
    for value in (0, 255):
        flat = torch.full((13, 17, 3), value, dtype=torch.uint8)
        assert ops.resize_image(flat, (50, 41)).unique().tolist() == [value]


@pytest.mark.parametrize(
    ("how", "theirs"), [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)]
)
def test_crop_input_is_pillows_to_the_last_bit(how, theirs):
    image = pixels(64, 64)
    for size in (64, 63, 65, 224, 16, 1):
        expected = np.asarray(Image.fromarray(image).resize((size, size), theirs))
        mean, std = (0.1, 0.2, 0.3), (0.5, 1.5, 2.5)
        got = ops.to_encoder_input(torch.from_numpy(image).permute(2, 0, 1)[None], size, mean, std, how)
        assert got.dtype == torch.float32
        back = got[0].permute(1, 2, 0).double().numpy() * std + mean
        np.testing.assert_allclose(back * 255, expected, atol=1e-3, rtol=0)


def test_windows_come_row_by_row():
    frame = torch.from_numpy(pixels(50, 70))
    grid = WindowGrid(20, 8, (50, 70))
    windows = ops.cut_windows(frame, grid)
    naive = [frame[top : top + 20, left : left + 20] for top in range(0, 31, 8) for left in range(0, 51, 8)]
    assert len(windows) == grid.rows * grid.cols == len(naive)
    assert torch.equal(windows, torch.stack(naive).permute(0, 3, 1, 2))


def test_the_merge_divides_by_the_number_of_scales_not_by_the_sum_of_weights():
    logits = torch.rand(3, 4, 5, 6)
    merged = ops.merge(logits, (1.0, 1.0, 0.0))
    torch.testing.assert_close(merged, (logits[0] + logits[1]) / 3)
    torch.testing.assert_close(ops.merge(logits, (2.0, 2.0, 2.0)), 2 * logits.mean(0))
    torch.testing.assert_close(ops.merge(logits, (0.0, 0.0, 0.25)), logits[2] / 12)


def test_the_guide_of_the_paper():
    saliency = torch.rand(5, 6)
    guide = ops.guide(saliency, 3, background=1)
    torch.testing.assert_close(guide, torch.stack([saliency, 1 - saliency, saliency]))
    torch.testing.assert_close(ops.guide(saliency, 2, background=None), torch.stack([saliency, saliency]))
    assert torch.equal(ops.guide(saliency, 3, background=0, weight=0.0), torch.ones(3, 5, 6))
    torch.testing.assert_close(ops.guide(saliency, 3, 1, weight=0.25), 0.75 + 0.25 * guide)


def test_the_guide_leaves_the_saliency_alone():
    saliency = torch.rand(5, 6)
    before = saliency.clone()
    ops.guide(saliency, 3, background=0)
    assert torch.equal(saliency, before)


def test_probabilities():
    fused = torch.randn(4, 5, 6)
    probability = ops.probability(fused, 0.1)
    torch.testing.assert_close(probability.sum(0), torch.ones(5, 6))
    torch.testing.assert_close(probability, torch.exp(fused * 10) / torch.exp(fused * 10).sum(0))
    assert torch.isfinite(ops.probability(fused, 1e-3)).all()


def test_the_margin_is_the_winner_minus_the_runner_up():
    fused = torch.tensor([0.5, -1.0, 0.25]).view(3, 1, 1).expand(3, 2, 2)
    assert torch.equal(ops.margin(fused), torch.full((2, 2), 0.25))
    assert torch.equal(ops.margin(torch.zeros(2, 3, 3)), torch.zeros(3, 3))
    assert torch.equal(ops.margin(-torch.rand(1, 3, 3)), torch.zeros(3, 3))


def test_saliency_of_the_frames_size_is_left_as_it_is():
    saliency = torch.rand(20, 30)
    assert torch.equal(ops.resize_saliency(saliency, (20, 30)), saliency)
    ramp = ops.resize_saliency(torch.tensor([[0.0, 1.0]]), (1, 4))
    torch.testing.assert_close(ramp, torch.tensor([[0.0, 0.25, 0.75, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.int32])
def test_labels_keep_their_type_and_values(dtype):
    labels = torch.randint(0, 30_000, (32, 48)).to(dtype)
    for size in ((448, 597), (31, 5), (32, 48), (64, 96), (1, 1)):
        got = ops.resize_labels(labels, size)
        assert got.dtype == dtype
        expected = F.interpolate(labels[None, None].double(), size=size, mode="nearest")[0, 0]
        assert got.shape == size
        assert set(got.unique().tolist()) <= set(labels.unique().tolist())
        if size[0] % 32 == 0 and size[1] % 48 == 0:
            assert torch.equal(got, expected.to(dtype))


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.resize_image(torch.zeros(5, 5, 4, dtype=torch.uint8), (3, 3)),
        lambda: ops.resize_image(torch.zeros(5, 5, 3), (3, 3)),
        lambda: ops.to_encoder_input(torch.zeros(1, 3, 4, 5, dtype=torch.uint8), 8, (0, 0, 0), (1, 1, 1)),
        lambda: ops.cosine(torch.zeros(2, 2, 5), torch.zeros(3, 4)),
        lambda: ops.upsample(torch.zeros(2, 2, 3), torch.zeros(8, 2), torch.zeros(8, 3)),
        lambda: ops.fuse(torch.zeros(2, 4, 4), torch.zeros(2, 4, 5)),
    ],
)
def test_shapes_are_machine_checked_in_tests(call):
    with pytest.raises(TypeCheckError):
        call()
