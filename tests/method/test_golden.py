"""The official code's outputs: every case of every image, stage by stage and through the segmenter."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab.method import metrics, ops
from clipdiy_lab.method.grid import Plan

IMAGES = ("chelsea", "coffee", "voc_000030")
CASES = ("default", "weighted", "nearest_nonoverlap", "corners_stride4")


def read(path):
    with np.load(path) as data:
        return dict(data)


@pytest.fixture(params=IMAGES)
def source(request, golden):
    return read(golden(f"input_{request.param}.npz"))


PAIRS = [(image, case) for image in IMAGES for case in CASES]


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, golden):
    """Input, expected outputs and configuration of one golden case."""
    image, name = request.param
    file = f"clipdiy_{image}_{name}.npz"
    index = json.loads(golden("clipdiy_index.json").read_text())
    entry = next(one for one in index if one["file"] == file)
    (stride,) = entry["strides"]
    config = lab.Config.paper().replace(
        scales=entry["patch_sizes"],
        stride=stride,
        weights=dict(zip(entry["patch_sizes"], entry["w"], strict=True)),
        interpolation="bilinear" if entry["interpolate_logits"] else "nearest",
        align_corners=entry["align_corners"],
    )
    return read(golden(f"input_{image}.npz")), read(golden(file)), config


def agreement(got, expected):
    return float((np.asarray(got) == expected).mean())


def every8(maps):
    return np.asarray(maps)[:, ::8, ::8]


def test_the_index_names_all_cases_and_no_other(golden):
    index = json.loads(golden("clipdiy_index.json").read_text())
    assert {one["file"] for one in index} == {f"clipdiy_{image}_{case}.npz" for image in IMAGES for case in CASES}


def test_the_frame_is_equal_to_the_last_bit(source):
    frame = ops.resize_image(torch.from_numpy(source["image"]), (256, 256))
    np.testing.assert_array_equal(frame.numpy(), source["image_256"])


def test_the_saliency_in_the_frame(source):
    frame = ops.resize_saliency(torch.from_numpy(source["saliency"]), (256, 256))
    np.testing.assert_allclose(frame.numpy(), source["saliency_256"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "case", [("chelsea", "default"), ("chelsea", "nearest_nonoverlap")], ids="-".join, indirect=True
)
def test_cosines_of_the_windows(case, golden_encoder):
    given, expected, config = case
    frame = torch.from_numpy(given["image_256"])
    text = torch.nn.functional.normalize(torch.from_numpy(expected["class_embeddings"]), dim=-1)
    for grid in Plan.of(config):
        crops = ops.to_encoder_input(
            ops.cut_windows(frame, grid), golden_encoder.image_size, golden_encoder.mean, golden_encoder.std
        )
        with torch.inference_mode():
            vectors = golden_encoder.encode_crops(crops).reshape(grid.rows, grid.cols, -1)
        cosines = ops.cosine(vectors, text).flatten(0, 1).numpy()
        np.testing.assert_allclose(cosines, expected[f"patch_similarity_{grid.window}"], atol=2e-5, rtol=0)


def test_from_the_cosines_onward(case):
    given, expected, config = case
    maps = []
    for grid in Plan.of(config):
        cosines = torch.from_numpy(expected[f"patch_similarity_{grid.window}"]).reshape(grid.rows, grid.cols, -1)
        matrices = grid.matrices(config.placement, config.interpolation, config.align_corners)
        maps.append(ops.upsample(cosines, *(torch.tensor(m, dtype=torch.float32) for m in matrices)))
        near = {"atol": 1e-5, "rtol": 0}
        np.testing.assert_allclose(every8(maps[-1]), expected[f"scale_map_{grid.window}_every8"], **near)
    merged = ops.merge(torch.stack(maps), [config.weight(grid.name) for grid in Plan.of(config)])
    fused = ops.fuse(merged, ops.guide(torch.from_numpy(given["saliency_256"]), len(merged), background=0))
    np.testing.assert_allclose(every8(merged), expected["aggregate_every8"], **near)
    np.testing.assert_allclose(every8(fused), expected["guided_every8"], **near)
    np.testing.assert_allclose(every8(ops.probability(fused)), expected["probability_every8"], **near)
    assert agreement(fused.argmax(0), expected["labels"]) >= 0.9999
    assert agreement(merged.argmax(0), expected["labels_without_saliency"]) >= 0.9999


@pytest.fixture(scope="module")
def segment(golden_segmenter):
    """Segment a golden case; where only fuse knobs differ from an earlier case, recombine that one's run."""
    runs = {}

    def make(given, expected, config):
        key = given["image"].shape, config.scales, config.stride
        if key in runs:
            return lab.recombine(runs[key], config=config)
        labels = ["background", *(f"thing {i}" for i in range(1, len(expected["class_embeddings"])))]
        runs[key] = golden_segmenter.segment(
            given["image"], labels, config, text_embeddings=expected["class_embeddings"], saliency=given["saliency"]
        )
        return runs[key]

    return make


def test_through_the_segmenter(case, segment):
    given, expected, config = case
    run = segment(given, expected, config)
    np.testing.assert_array_equal(run["image"], given["image_256"])
    np.testing.assert_allclose(run["saliency"], given["saliency_256"], atol=1e-6, rtol=0)
    for scale in config.scales:
        cosines = run[f"grids/s{scale:03d}/similarity"].values
        # The golden files promise 2e-3; crops that are right to the last bit come much closer.
        np.testing.assert_allclose(np.concatenate(cosines), expected[f"patch_similarity_{scale}"], atol=2e-5, rtol=0)
    for stage, name in (("merged", "aggregate"), ("fused", "guided"), ("probability", "probability")):
        np.testing.assert_allclose(every8(run[stage]), expected[f"{name}_every8"], atol=5e-5, rtol=0)
    assert agreement(run["labels"], expected["labels"]) >= 0.999
    without = lab.recombine(run, saliency_weight=0)
    assert agreement(without["labels"], expected["labels_without_saliency"]) >= 0.999
    np.testing.assert_array_equal(without["fused"], without["merged"])


def test_the_official_evaluation(golden):
    data = read(golden("evaluation.npz"))
    labels = len(data["iou"])
    counts = np.zeros((labels, labels), np.int64)
    for i in range(sum(name.startswith("gt_") for name in data)):
        truth, predicted = data[f"gt_{i}"], torch.from_numpy(data[f"pred256_{i}"])
        height, width = truth.shape
        short = min(height, width)
        size = int(448 * height / short), int(448 * width / short)
        predicted = ops.resize_labels(predicted.to(torch.int64), size).numpy()
        # Pillow adds up its steps; the closed form floor((i + 0.5) * old / new) differs from it in a few pixels.
        truth = np.asarray(Image.fromarray(truth).resize(size[::-1], Image.Resampling.NEAREST))
        counts += metrics.confusion(truth, predicted, labels)
    assert counts.sum() == data["valid_pixels"]
    np.testing.assert_array_equal(metrics.iou(counts, absent="zero"), data["iou"])
    assert metrics.mean_iou(counts, absent="zero") == data["miou"]
    assert metrics.pixel_accuracy(counts) == data["pixel_accuracy"]
    # Label 17 is nowhere true but predicted in places: its IoU is 0 either way, and no label here is wholly absent.
    assert np.flatnonzero(counts.sum(1) == 0).tolist() == [17]
    np.testing.assert_array_equal(metrics.iou(counts, absent="nan"), data["iou"])


def test_a_missing_golden_file_is_never_skipped_silently(golden, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must have the shared folder"):
        golden("no such file")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="needs shared/golden/no such file"):
        golden("no such file")
