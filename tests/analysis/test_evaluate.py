"""Scores equal a plain restatement of the method; sweeps equal single evaluations."""

import cv2
import pytest
from baseline import embed_plainly, encode_plainly, miou_plainly, segment_plainly

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


def plain_miou(segmenter, dataset, limit):
    """The official loop in our own words, scored by counting label by label."""
    text = embed_plainly(segmenter.encoder, dataset.label_names)
    truths, guesses = [], []
    for i in range(limit):
        sample = dataset[i]
        frame = cv2.resize(sample.image, (256, 256), interpolation=cv2.INTER_LINEAR)
        merged = encode_plainly(segmenter.encoder, frame, text)
        truths.append(sample.mask)
        guesses.append(segment_plainly(merged, segmenter.saliency(sample.image), sample.mask.shape))
    return miou_plainly(truths, guesses, len(dataset.label_names))


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


def test_a_background_that_the_dataset_does_not_have(counting_encoder, scenes):
    with pytest.raises(errors.ConfigError, match="background_label"):
        lab.evaluate(lab.Segmenter(counting_encoder), scenes, lab.Config(background_label="stuff"), limit=1)
