"""Scores equal a plain restatement of the method; sweeps equal single evaluations."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from baseline import embed_plainly, encode_plainly, miou_plainly, segment_plainly
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors

LIMIT = 3
CONFIG = lab.Config.paper()


@pytest.fixture(scope="module")
def segmenter():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val")


def plain_predictions(segmenter, dataset, limit, sizes=None):
    """The official loop in our own words: the masks, and a label map for each, at the masks' own size or another."""
    text = embed_plainly(segmenter.encoder, dataset.label_names)
    truths, guesses = [], []
    for i in range(limit):
        sample = dataset[i]
        frame = cv2.resize(sample.image, (256, 256), interpolation=cv2.INTER_LINEAR)
        merged = encode_plainly(segmenter.encoder, frame, text)
        height, width = sample.mask.shape if sizes is None else sizes(*sample.mask.shape)
        truth = Image.fromarray(sample.mask).resize((width, height), Image.Resampling.NEAREST)
        truths.append(np.asarray(truth))
        guesses.append(segment_plainly(merged, segmenter.saliency(sample.image), (height, width)))
    return truths, guesses


def plain_miou(segmenter, dataset, limit):
    return miou_plainly(*plain_predictions(segmenter, dataset, limit), len(dataset.label_names))


def short_448(height, width):
    return (448, int(448 * width / height)) if height <= width else (int(448 * height / width), 448)


def official_miou(truths, guesses, labels):
    """Mean over all labels of pooled intersection / max(union, 1e-8): an absent one counts 0."""
    truth, guess = (np.concatenate([one.ravel() for one in many]) for many in (truths, guesses))
    truth, guess = truth[truth != 255], guess[truth != 255]
    scores = [
        ((truth == k) & (guess == k)).sum() / max(((truth == k) | (guess == k)).sum(), 1e-8) for k in range(labels)
    ]
    return np.mean(scores)


def check_official(segmenter, dataset, limit):
    labels = len(dataset.label_names)
    result = lab.evaluate(segmenter, dataset, CONFIG, limit=limit, protocol="official")
    truths, guesses = plain_predictions(segmenter, dataset, limit, short_448)
    assert result.attrs["miou"] == pytest.approx(official_miou(truths, guesses, labels), abs=1e-9)
    for truth, guess, row in zip(truths, guesses, result["tp"].values, strict=True):
        assert row.tolist() == [int(((truth == k) & (guess == k)).sum()) for k in range(labels)]
    assert result["ignored"].values.tolist() == [int((truth == 255).sum()) for truth in truths]
    return result


def test_the_official_score_on_scenes(segmenter, scenes):
    check_official(segmenter, scenes, 2)


@pytest.mark.filterwarnings("ignore::clipdiy_lab.errors.ClipdiyWarning")
def test_the_official_score_on_real_voc_files(segmenter, shared, tmp_path):
    sys.path.append(str(Path(__file__).parents[1] / "datasets"))
    try:
        from reading import copy_voc
    finally:
        sys.path.pop()
    root = copy_voc(shared("samples/voc2012"), tmp_path / "VOCdevkit/VOC2012")
    dataset = lab.open_dataset("voc21", root=root, partial=True)
    card = check_official(segmenter, dataset, 2).attrs
    assert (card["dataset"], card["benchmark"], card["split"], card["images"]) == ("voc21-val", "voc21", "val", 2)
    assert card["images_of_split"] == 3
    assert card["truth_size"].startswith("short side 448")
    assert card["encoder_fingerprint"] == segmenter.encoder.fingerprint
    assert card["saliency_fingerprint"] == segmenter.saliency.fingerprint
    assert set(json.loads(card["versions"])) >= {"clipdiy_lab", "torch", "open_clip"}


@pytest.mark.filterwarnings("ignore::clipdiy_lab.errors.ClipdiyWarning")
def test_the_official_score_on_real_coco_files(segmenter, shared):
    dataset = lab.open_dataset("coco_object_diy", root=shared("samples/coco"), partial=True)
    card = check_official(segmenter, dataset, 2).attrs
    assert card["filter"] == "official"
    assert card["split"] == "val"


def test_the_score_equals_the_plain_loop(segmenter, scenes):
    result = lab.evaluate(segmenter, scenes, CONFIG, limit=LIMIT)
    assert result.attrs["miou"] == pytest.approx(plain_miou(segmenter, scenes, LIMIT), abs=1e-9)
    assert result.attrs["images"] == LIMIT
    assert int(result["confusion"].sum()) == sum(scenes[i].mask.size for i in range(LIMIT))


def test_scales_and_fuse_knobs_share_one_encoding(counting_encoder, scenes):
    segmenter = lab.Segmenter(counting_encoder)
    configs = [lab.Config(scales=s, saliency_weight=w) for s in ((256,), (128, 64)) for w in (0.0, 1.0)]
    lab.sweep(segmenter, scenes, configs, limit=1)
    assert counting_encoder.batches == [1 + 9 + 49]
    counting_encoder.batches.clear()
    lab.sweep(segmenter, scenes, [lab.Config(), lab.Config(image_size=128, scales=(128,))], limit=1)
    assert sorted(counting_encoder.batches) == [1, 59]


def test_oracle_saliency_is_better_than_none(segmenter, scenes):
    oracle = lab.evaluate(segmenter, scenes, CONFIG, limit=8, oracle_saliency=True).attrs["miou"]
    nothing = lab.evaluate(segmenter, scenes, CONFIG.replace(saliency_weight=0), limit=8).attrs["miou"]
    assert oracle > nothing


@pytest.mark.parametrize("limit", [0, -1, True])
def test_bad_limits(counting_encoder, scenes, limit):
    with pytest.raises(errors.ConfigError, match="limit"):
        lab.evaluate(lab.Segmenter(counting_encoder), scenes, limit=limit)


def test_an_empty_dataset(counting_encoder):
    with pytest.raises(errors.DatasetError, match="has no images"):
        lab.evaluate(lab.Segmenter(counting_encoder), lab.open_dataset("scenes", length=0))


def test_a_background_that_the_dataset_does_not_have(counting_encoder, scenes):
    with pytest.raises(errors.ConfigError, match="background_label"):
        lab.evaluate(lab.Segmenter(counting_encoder), scenes, lab.Config(background_label="stuff"), limit=1)
