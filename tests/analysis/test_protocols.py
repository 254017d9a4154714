"""Protocols: the official one to the digit, windows against a plain restatement, files of one's own."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from baseline import embed_plainly, encode_plainly
from hypothesis import given
from hypothesis import strategies as st

import clipdiy_lab as lab
from clipdiy_lab.analysis.protocols import Protocol, get_protocol
from clipdiy_lab.analysis.scoring.counts import TrialCounts
from clipdiy_lab.analysis.scoring.sliding import resized_size, window_starts
from clipdiy_lab.analysis.summary import summarise
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method import metrics


def test_the_official_evaluation_comes_out_exactly(golden):
    with np.load(golden("evaluation.npz")) as data:
        golden_values = dict(data)
    official, labels = get_protocol("official"), len(golden_values["iou"])
    scored = TrialCounts(1, labels, per_image=True)
    for i in range(sum(name.startswith("gt_") for name in golden_values)):
        mask = golden_values[f"gt_{i}"]
        truth = official.truth(mask)
        predicted = official.prediction(golden_values[f"pred256_{i}"], mask.shape)
        counts = metrics.confusion(truth, predicted, labels)
        scored.add(i, str(i), [counts], truth.size - int(counts.sum()))
    result = summarise(scored, [str(k) for k in range(labels)], official)
    assert int(result["confusion"].sum()) == golden_values["valid_pixels"]
    np.testing.assert_array_equal(result["iou"], golden_values["iou"])
    assert result.attrs["miou"] == golden_values["miou"]
    assert result.attrs["pixel_accuracy"] == golden_values["pixel_accuracy"]
    assert result.attrs["miou_low"] <= result.attrs["miou"] <= result.attrs["miou_high"]


def test_sizes_of_comparison():
    assert get_protocol("official").size((500, 375)) == (597, 448)
    assert get_protocol("mmseg").size((500, 375)) == (500, 375)
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert get_protocol("mmseg").truth(mask) is mask


def test_the_long_side_has_a_cap():
    sliding = get_protocol("sliding")
    assert resized_size((1024, 2048), sliding) == (448, 896)
    assert resized_size((100, 4000), sliding) == (51, 2048)
    assert resized_size((375, 500), sliding) == (448, 597)


@given(st.integers(1, 400), st.integers(1, 90), st.data())
def test_windows_cover_every_pixel_and_stay_inside(length, window, data):
    stride = data.draw(st.integers(1, window))
    starts = window_starts(length, window, stride)
    covered = np.zeros(length, int)
    for start in starts:
        covered[start : start + window] += 1
        assert 0 <= start <= max(length - window, 0)
    assert covered.all()
    assert starts == sorted(set(starts))


class OneImage:
    name = "one"
    label_names = ("background", "cat", "sofa")

    def __init__(self, height, width):
        rng = np.random.default_rng(1)
        small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        self.sample = Sample("only", image, rng.integers(0, 3, (height, width), dtype=np.uint8))

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.sample


@pytest.mark.parametrize(("height", "width"), [(60, 110), (120, 70), (40, 40)])
def test_windows_equal_the_plain_loop(counting_encoder, height, width):
    protocol = Protocol(id="mine", summary="small", absent="nan", image_short=80, image_long=130, window=64, stride=32)
    dataset = OneImage(height, width)
    segmenter = lab.Segmenter(counting_encoder, "spectral")
    result = lab.evaluate(segmenter, dataset, protocol=protocol)

    scale = min(80 / min(height, width), 130 / max(height, width))
    high, wide = int(height * scale + 0.5), int(width * scale + 0.5)
    picture = cv2.resize(dataset.sample.image, (wide, high), interpolation=cv2.INTER_LINEAR)
    text = embed_plainly(counting_encoder, dataset.label_names)
    total, times = torch.zeros(3, high, wide), torch.zeros(high, wide)
    tops = sorted({min(t, max(high - 64, 0)) for t in range(0, high, 32)})
    lefts = sorted({min(left, max(wide - 64, 0)) for left in range(0, wide, 32)})
    for top in tops:
        for left in lefts:
            part = picture[top : top + 64, left : left + 64]
            merged = encode_plainly(counting_encoder, cv2.resize(part, (256, 256)), text)
            soft = torch.from_numpy(segmenter.saliency(np.ascontiguousarray(part)))[None, None]
            soft = F.interpolate(soft, size=(256, 256), mode="bilinear")[0]
            fused = merged * torch.cat([1 - soft, soft, soft])
            total[:, top : top + 64, left : left + 64] += F.interpolate(
                fused[None], size=part.shape[:2], mode="bilinear"
            )[0]
            times[top : top + 64, left : left + 64] += 1
    best = F.interpolate((total / times)[None], size=(height, width), mode="bilinear")[0].argmax(0).numpy()
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (dataset.sample.mask.ravel(), best.ravel()), 1)
    # A score may round to the other side of a tie between the two computations.
    assert np.abs(result["confusion"].values - expected).sum() <= 2
    assert len(np.unique(best)) > 1


def test_oracle_saliency_has_no_windows(counting_encoder):
    with pytest.raises(ConfigError, match="oracle_saliency needs a protocol without"):
        lab.evaluate(lab.Segmenter(counting_encoder), OneImage(8, 8), protocol="sliding", oracle_saliency=True)


GOOD = "id: mine\nsummary: half size\nabsent: nan\ntruth_short: 224\n"


def test_a_protocol_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert get_protocol(path) == Protocol(id="mine", summary="half size", absent="nan", truth_short=224)
    path.write_text(GOOD.replace("absent: nan", "absent: .nan"))
    assert get_protocol(str(path)).absent == "nan"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "truth_sort: 1\n", "field truth_sort: unknown field. Did you mean 'truth_short'"),
        (GOOD.replace("224", "'224'"), "field truth_short: Input should be a valid integer"),
        (GOOD.replace("224", "0"), "field truth_short"),
        (GOOD.replace("absent: nan\n", ""), "field absent: Field required"),
        (GOOD.replace("absent: nan", "absent: half"), "field absent"),
        (GOOD + "window: 448\n", "must be given together"),
        (GOOD + "image_long: 448\n", "need image_short"),
        (GOOD + "image_short: 448\nwindow: 64\nstride: 65\n", "stride 65 is greater"),
        ("- a\n", "holds a list"),
        ("a: [", "cannot be read"),
        ("", "holds a NoneType"),
    ],
)
def test_protocol_files_that_do_not_fit(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml") as caught:
        get_protocol(path)
    assert says in str(caught.value)


def test_unknown_protocols():
    with pytest.raises(ConfigError, match="Did you mean 'official'"):
        get_protocol("oficial")
    with pytest.raises(ConfigError, match="cannot be read"):
        get_protocol("nowhere/mine.yaml")
