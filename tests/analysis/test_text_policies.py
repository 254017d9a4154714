"""Background policies, synonyms and templates through evaluation and sweeps."""

import itertools

import pytest

import clipdiy_lab as lab


def test_they_are_swept_on_one_encoding_and_scored_as_they_are_segmented(counting_encoder):
    scenes = lab.open_dataset("scenes")
    plain = lab.Segmenter(counting_encoder)
    words = {"background_words": [("sky", "grass", "wall")], "synonyms": [{}, {"sofa": ("sofa", "couch")}]}
    grid = {"background": ["saliency", "prompt", "threshold", "words"], **words, "template": ["{label}", "imagenet80"]}
    table = lab.sweep(plain, scenes, grid, limit=1)
    assert len(table) == 4 * 2 * 2
    assert counting_encoder.batches == [59]
    assert table["miou_percent"].between(0, 100).all()
    names = [name for name in scenes.label_names if name != "background"]
    for background, several in itertools.product(grid["background"], grid["synonyms"]):
        config = lab.Config(background=background, synonyms=several, background_words=("sky", "grass", "wall"))
        alone = lab.evaluate(plain, scenes, config, limit=1)
        assert list(alone["label"].values) == list(scenes.label_names)
        sample = scenes[0]
        predicted = plain.segment(sample.image, names, config)["labels_full"].values
        hits = int((predicted == sample.mask)[sample.mask != 255].sum())
        assert alone.attrs["pixel_accuracy"] == pytest.approx(hits / (sample.mask != 255).sum())
        assert lab.Config.from_json(alone.attrs["config"]).synonyms == several
