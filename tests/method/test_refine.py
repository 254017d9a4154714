"""Refinement: the official PAMR, OpenCV's guided filter, and the weights behind every refined score."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipdiy_lab.method.refine import Guided, Pamr

MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)


def picture(height, width, seed=0):
    """Smooth colours with a sharp edge in them."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    image[:, width // 2 :] = 255 - image[:, width // 2 :]
    return torch.from_numpy(image)


@pytest.fixture(scope="module")
def official(golden):
    with np.load(golden("pamr.npz")) as data:
        return dict(data)


@pytest.mark.parametrize("name", ["wide", "odd"])
def test_pamr_is_the_official_code_s(official, name):
    size = tuple(official[f"{name}.ori_shape"])
    image = (torch.from_numpy(official[f"{name}.image"]) - torch.tensor(MEAN)) / torch.tensor(STD)

    def resized(maps, size):
        return F.interpolate(maps.permute(2, 0, 1)[None], size=size, mode="bilinear").squeeze(0).permute(1, 2, 0)

    cosines = torch.from_numpy(official[f"{name}.similarity"])
    scores = resized(resized(cosines, image.shape[:2]), size).permute(2, 0, 1)
    np.testing.assert_allclose(scores[:, ::8, ::8], official[f"{name}.logits_every8"], atol=5e-6)
    refined = Pamr(resized(image, size), iterations=10, dilations=(8, 16))(scores)
    np.testing.assert_allclose(refined[:, ::8, ::8], official[f"{name}.pamr_logits_every8"], atol=5e-6)
    labels = official[f"{name}.pamr_labels_plain"]
    assert (refined.argmax(0).numpy() == labels).mean() >= 0.9995
    assert (scores.argmax(0).numpy() != labels).mean() > 0.01  # it does something here


@pytest.mark.parametrize("radius", [1, 4, 8, 16])
@pytest.mark.parametrize("eps", [1e-3, 1e-2])
def test_the_guided_filter_is_opencv_s(radius, eps):
    image = picture(40, 51)
    score = torch.rand(40, 51, generator=torch.Generator().manual_seed(1))
    expected = cv2.ximgproc.guidedFilter(image.numpy(), score.numpy(), radius, eps * 255**2)
    np.testing.assert_allclose(Guided(image, radius, eps)(score[None])[0], expected, atol=2e-6)


OPERATORS = {
    "pamr": lambda image: Pamr(image, 3, (1, 4)),
    "pamr, far": lambda image: Pamr(image, 2, (8,)),
    "pamr, 0 steps": lambda image: Pamr(image, 0, (1,)),
    "guided": lambda image: Guided(image, 2, 1e-3),
    "guided, wide": lambda image: Guided(image, 7, 1e-4),
}


@pytest.fixture(params=list(OPERATORS))
def operator(request):
    return OPERATORS[request.param](picture(9, 12))


def test_sources_are_the_rows_of_the_operator(operator):
    """Refining a map of a single pixel gives a column of the operator's matrix; all of them give the matrix."""
    matrix = operator(torch.eye(9 * 12, dtype=torch.float64).reshape(-1, 9, 12)).flatten(1).T
    pixels = torch.eye(9 * 12, dtype=torch.float64).reshape(-1, 9, 12)
    rows = torch.stack([operator.sources(pixel).flatten() for pixel in pixels])
    np.testing.assert_allclose(rows, matrix, atol=1e-12)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    weights = torch.rand(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    np.testing.assert_allclose(operator.sources(weights).flatten(), weights.flatten() @ matrix, atol=1e-12)


def test_it_is_linear_and_leaves_what_is_the_same_everywhere(operator):
    scores = torch.rand(2, 9, 12, generator=torch.Generator().manual_seed(2))
    mixed = operator((scores[0] - 2 * scores[1])[None])[0]
    refined = operator(scores)
    np.testing.assert_allclose(mixed, refined[0] - 2 * refined[1], atol=1e-6)
    np.testing.assert_allclose(operator(torch.full((1, 9, 12), 0.3)), 0.3, atol=1e-6)


def test_pamr_keeps_labels_on_their_side_of_an_edge():
    """Left dark, right bright; the scores are three pixels off. PAMR brings them to the edge."""
    image = torch.zeros(16, 24, 3, dtype=torch.uint8)
    image[:, 12:] = 200
    scores = torch.zeros(2, 16, 24)
    scores[0, :, :9], scores[1, :, 9:] = 1, 1
    labels = Pamr(image, 10, (1, 4))(scores).argmax(0)
    assert labels[:, :12].eq(0).all()
    assert labels[:, 12:].eq(1).all()


def test_pamr_does_not_ask_for_the_scale_of_a_channel():
    image = picture(20, 20)
    scores = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(3))
    other = image.float() * torch.tensor([0.01, 1.0, 3.0]) + 7
    np.testing.assert_allclose(Pamr(image)(scores), Pamr(other)(scores), atol=1e-5)
