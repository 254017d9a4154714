"""Inside a crop: the maps find what made the cosine, and the curves say so in numbers."""

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.analysis.explain.attention import recorded
from clipdiy_lab.analysis.explain.crops import Crop


@pytest.fixture(scope="module")
def tiny():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def scene(tiny):
    """A scene, and the window and label with the highest cosine among the labels that are there."""
    scenes = lab.open_dataset("scenes")
    sample = scenes[0]
    there = [scenes.label_names[i] for i in np.unique(sample.mask) if 0 < i < 255]
    run = tiny.segment(sample.image, there)
    cosines = run["grids/s128/similarity"].sel(label=there[0]).values
    row, col = np.unravel_index(cosines.argmax(), cosines.shape)
    return run, ("s128", int(row), int(col)), there[0]


@pytest.fixture(scope="module")
def maps(tiny, scene):
    run, window, label = scene
    return {
        "occlusion": lab.explain.occlude(run, tiny, window, label),
        "attention": lab.explain.attend(run, tiny, window, label),
    }


def test_maps_lie_where_the_window_lies(scene, maps):
    _, (grid, row, col), _ = scene
    assert grid == "s128"
    for made in maps.values():
        assert made.shape == (128, 128)
        assert (int(made["y"][0]), int(made["x"][0])) == (row * 64, col * 64)
        assert np.isfinite(made).all()
    assert (maps["attention"] >= 0).all()


def test_both_maps_are_more_faithful_than_chance(scene, maps, tiny):
    run, window, label = scene
    found = lab.explain.faithfulness(run, tiny, window, label, maps)
    cosine = float(run["grids/s128/similarity"].sel(label=label)[window[1], window[2]])
    # Deletion starts, and insertion ends, with the whole crop; the other ends are the bare mean colour.
    np.testing.assert_allclose(found["deletion"][:, 0], cosine, atol=1e-5)
    np.testing.assert_allclose(found["insertion"][:, -1], cosine, atol=1e-5)
    np.testing.assert_allclose(found["deletion"][:, -1], found["insertion"][:, 0], atol=1e-5)
    for name in maps:
        own, random = found.sel(explanation=name), found.sel(explanation="random")
        assert float(own["deletion_auc"]) < float(random["deletion_auc"]) - found.attrs["random_deletion_sd"]
        assert float(own["insertion_auc"]) > float(random["insertion_auc"]) + found.attrs["random_insertion_sd"]
    area = np.trapezoid(found["deletion"].values, found["share"].values, axis=1)
    np.testing.assert_allclose(found["deletion_auc"], area, atol=1e-6)


def test_an_explanation_turned_upside_down_is_unfaithful(scene, maps, tiny):
    run, window, label = scene
    found = lab.explain.faithfulness(
        run, tiny, window, label, {"right": maps["occlusion"], "wrong": -maps["occlusion"]}, repeats=1
    )
    right, wrong = (found.sel(explanation=name) for name in ("right", "wrong"))
    assert float(right["deletion_auc"]) < float(wrong["deletion_auc"])
    assert float(right["insertion_auc"]) > float(wrong["insertion_auc"])


def test_recording_attention_changes_no_embedding(tiny):
    tower = tiny.encoder.visual
    layers = [block.attn for block in tower.transformer.resblocks]
    given = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain = tower(given)
        with recorded(layers) as attentions:
            seen = tower(given)
        after = tower(given)
    torch.testing.assert_close(seen, plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after, plain, atol=0, rtol=0)
    assert len(attentions) == len(layers)
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(attentions[0].shape[:-1]))


class Corner:
    """An encoder that looks at one quarter of the crop only: the first feature is its redness."""

    name, fingerprint = "corner", "corner-1"
    image_size, embedding_dim = 8, 2
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def encode_crops(self, crops):
        red = crops[:, 0, :4, :4].mean((1, 2))
        return torch.stack([red, torch.full_like(red, 0.5)], 1)

    def encode_texts(self, texts):
        return torch.tensor([[1.0, 0.0]] * len(texts))


def test_occlusion_finds_the_only_quarter_that_matters():
    segmenter = lab.Segmenter(Corner(), batch_size=3)
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :4, 0] = 255
    config = lab.Config(scales=(8,), image_size=8, background="none")
    run = segmenter.segment(picture, ["red"], config)
    found = lab.explain.occlude(run, segmenter, (8, 0, 0), "red", patch=4, step=4).values
    # By hand: redness 1 before; hidden by the mean colour, 64 of 255, redness 64/255.
    fall = 1 / np.hypot(1, 0.5) - (64 / 255) / np.hypot(64 / 255, 0.5)
    np.testing.assert_allclose(found[:4, :4], fall, atol=1e-6)
    np.testing.assert_allclose(found[4:], 0, atol=1e-6)
    np.testing.assert_allclose(found[:4, 4:], 0, atol=1e-6)


def test_attention_of_an_encoder_that_has_none():
    segmenter = lab.Segmenter(Corner())
    run = segmenter.segment(np.zeros((8, 8, 3), np.uint8), ["red"], lab.Config(scales=(8,), image_size=8))
    with pytest.raises(errors.ModelError, match=r"'corner' is not one. Use explain.occlude"):
        lab.explain.attend(run, segmenter, (8, 0, 0), "red")


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ((100, 0, 0), "no grid 's100'; it has s256, s128, s064"),
        (("dense", 0, 0), "no grid 'dense'"),
        ((None, 0, 0), "expected"),
        ((128, 3, 0), "3 x 3"),
        ((128, -1, 0), "3 x 3"),
        (128, "expected"),
        ("abc", "expected"),
    ],
)
def test_a_window_that_is_not_there(scene, tiny, window, says):
    run, _, label = scene
    with pytest.raises(errors.RunError, match=says):
        lab.explain.occlude(run, tiny, window, label)


def test_other_bad_input(scene, maps, tiny, golden_segmenter):
    run, window, label = scene
    with pytest.raises(errors.LabelError, match="no label 'nothing'"):
        lab.explain.occlude(run, tiny, window, "nothing")
    with pytest.raises(errors.RunError, match="other weights"):
        lab.explain.occlude(run, golden_segmenter, window, label)
    with pytest.raises(errors.ConfigError, match="patch is 129"):
        lab.explain.occlude(run, tiny, window, label, patch=129)
    with pytest.raises(errors.RunError, match="not of this window"):
        lab.explain.faithfulness(run, tiny, window, label, {"half": maps["occlusion"][:64]})
    with pytest.raises(errors.RunError, match="holds NaN"):
        lab.explain.faithfulness(run, tiny, window, label, {"nan": maps["occlusion"] * np.nan})
    for wrong in ({"cells": 0}, {"steps": 65}, {"repeats": 0}):
        with pytest.raises(errors.ConfigError, match="expected 1 <= cells"):
            lab.explain.faithfulness(run, tiny, window, label, maps, **wrong)


def test_a_crop_is_read_at_the_side_that_its_run_was_encoded_with(tiny):
    sample = lab.open_dataset("scenes")[1]
    run = tiny.segment(sample.image, ["car", "train"], lab.Config(crop_input={64: 32}))
    crop = Crop.of(run, tiny, (64, 3, 3), "car")
    stored = float(run["grids/s064/similarity"].sel(label="car").isel(row=3, col=3))
    assert crop.cosines([crop.pixels])[0] == pytest.approx(stored, abs=1e-5)
