"""Grids of patch tokens from an image to a run, a store and back, and what refuses them."""

import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import ops
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline.embeddings.write import plan
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.sources import SegmenterSource

LABELS = ["cat", "car", "chair"]
CONFIG = lab.Config(scales=(64, 32), image_size=(64, 80), background="prompt", dense="naclip", dense_from="crops")
FRAME = CONFIG.replace(dense_from="frame")
BOTH = pytest.mark.parametrize("config", [CONFIG, FRAME], ids=["crops", "frame"])


@pytest.fixture(scope="module")
def image():
    return lab.open_dataset("scenes", split="val", length=1)[0].image


@pytest.fixture(scope="module")
def runs(golden_segmenter, image):
    return {config.dense_from: golden_segmenter.segment(image, LABELS, config) for config in (CONFIG, FRAME)}


def normalised(pixels, encoder):
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (encoder.mean, encoder.std))
    return (pixels.float() / 255 - mean) / std


def test_tokens_of_the_crops_are_those_of_every_crop_by_itself(runs, golden_encoder):
    """A plain loop: each window is cut, encoded alone, its map drawn, and the maps are averaged."""
    run = runs["crops"]
    frame = torch.from_numpy(run["image"].values)
    text = torch.from_numpy(run["text_embedding"].values)
    config = lab.Config.from_json(run.attrs["config"])
    for windows in Plan.of(config).crops:
        total, times = np.zeros((len(text), 64, 80)), np.zeros((64, 80))
        for top in windows.tops:
            for left in windows.lefts:
                side = windows.window
                crop = frame[top : top + side, left : left + side].permute(2, 0, 1)[None]
                given = ops.to_encoder_input(crop, golden_encoder.image_size, golden_encoder.mean, golden_encoder.std)
                with torch.inference_mode():
                    _, tokens = golden_encoder.encode_crops_and_tokens(given, "naclip")
                cosines = (tokens[0] @ text.T).permute(2, 0, 1)[None]
                drawn = F.interpolate(cosines, size=(side, side), mode="bilinear")[0].numpy()
                total[:, top : top + side, left : left + side] += drawn
                times[top : top + side, left : left + side] += 1
        seen = times > 0
        found = run["logits"].sel(grid=f"dense{windows.window:03d}").values
        np.testing.assert_allclose(found[:, seen], (total / np.maximum(times, 1))[:, seen], atol=2e-6)


def test_tokens_of_the_frame_are_those_of_the_whole_image(runs, golden_encoder):
    run = runs["frame"]
    pixels = torch.from_numpy(run["image"].values).permute(2, 0, 1)
    with torch.inference_mode():
        tokens = golden_encoder.encode_tokens(normalised(pixels, golden_encoder), "naclip")
    np.testing.assert_allclose(run["grids/dense/embedding"].values, tokens.numpy(), atol=1e-6)
    assert list(run["logits"].grid.values) == ["s064", "s032", "dense"]


@BOTH
def test_embeddings_of_the_crops_are_the_same_with_patch_tokens_and_without(runs, golden_segmenter, image, config):
    plain = golden_segmenter.encode(image, config.replace(dense="none"))
    run = runs[config.dense_from]
    for name in ("s064", "s032"):
        vectors = [one[f"grids/{name}/embedding"].values for one in (run, plain)]
        np.testing.assert_allclose(*vectors, rtol=0, atol=1e-6 if config.dense_from == "crops" else 0)


def test_the_frame_may_be_read_larger_than_it_is(golden_segmenter, image):
    run = golden_segmenter.segment(image, LABELS, FRAME.replace(scales=(), dense_side=128))
    patch = golden_segmenter.encoder.patch_size
    assert run["grids/dense/similarity"].shape == (128 // patch, 160 // patch, 4)
    assert list(run["grids"].children) == ["dense"]
    assert run["merged"].shape == (4, 64, 80)


@BOTH
def test_batches_of_any_size_give_the_same_tokens(golden_encoder, runs, image, config):
    again = lab.Segmenter(golden_encoder, batch_size=3).encode(image, config)
    for name, node in again["grids"].children.items():
        expected = runs[config.dense_from][f"grids/{name}/embedding"].values
        np.testing.assert_allclose(node["embedding"].values, expected, atol=1e-6)


@BOTH
def test_a_run_is_written_read_and_recombined(runs, config, tmp_path):
    run = runs[config.dense_from]
    lab.save_run(run, tmp_path / "run.nc")
    back = lab.open_run(tmp_path / "run.nc")
    for found in (run, back):
        alone = lab.recombine(found, weights={"s064": 0, "s032": 0, "dense": 2.0})
        tokens = [name for name in config.grids if name.startswith("dense")]
        expected = found["logits"].sel(grid=tokens).values.sum(0) * 2 / len(config.grids)
        np.testing.assert_allclose(alone["merged"].values, expected, atol=1e-6)
        without = lab.recombine(found, dense="none")
        assert list(without["logits"].grid.values) == ["s064", "s032"]
        with pytest.raises(
            errors.RunError, match="the run was not encoded with dense='sclip', and changing it needs the encoder"
        ):
            lab.recombine(found, dense="sclip")


def test_a_run_without_patch_tokens_says_so(golden_segmenter, image):
    run = golden_segmenter.segment(image, LABELS, CONFIG.replace(dense="none"))
    with pytest.raises(
        errors.RunError, match="not encoded with the grids of dense 64 px, dense 32 px, and changing it needs"
    ):
        lab.recombine(run, dense="naclip")
    with pytest.raises(errors.ConfigError, match="weights has the grid 'dense', which this configuration lacks"):
        lab.recombine(run, weights={"dense": 1})


def test_a_file_that_hides_the_size_of_its_patches_is_no_run(runs, tmp_path):
    run = runs["frame"].copy()
    run.attrs["config"] = json.dumps(json.loads(run.attrs["config"]) | {"patches": None})
    with pytest.raises(errors.RunError, match=r"the run's configuration is not valid .*patches whose size"):
        lab.save_run(run, tmp_path / "run.nc")


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val", length=2)


@BOTH
def test_a_store_keeps_patch_tokens_and_answers_for_fewer_grids(golden_segmenter, scenes, config, tmp_path):
    planned = plan(golden_segmenter, scenes, tmp_path / "store", config).describe()
    store = lab.embed(golden_segmenter, scenes, tmp_path / "store", config)
    name = "embedding_dense032" if config.dense_from == "crops" else "embedding_dense"
    grid = Plan.of(store.config)[name.removeprefix("embedding_")]
    assert store.variables[name].bytes_per_image == grid.rows * grid.cols * golden_segmenter.encoder.embedding_dim * 2
    assert f"  {name} {2 * store.variables[name].bytes_per_image:,} bytes" in planned
    held, direct = store.encoding(1), golden_segmenter.encoding(scenes[1].image, config)
    assert isinstance(held, Encoding)
    for grid_name, vectors in direct.embeddings.items():
        torch.testing.assert_close(held.embeddings[grid_name], vectors, atol=2e-3, rtol=0)
    weights = {"weights": [{"dense": 0.5}, {"s064": 0}], "dense": [config.dense]}
    by_store = lab.sweep(store, scenes, weights, base=config, segmenter=golden_segmenter)
    by_network = lab.sweep(golden_segmenter, scenes, weights, base=config)
    assert list(by_store["error"]) == list(by_network["error"]) == ["", ""]
    np.testing.assert_allclose(by_store["miou_percent"], by_network["miou_percent"], atol=1)
    fewer = lab.evaluate(store, scenes, config.replace(dense="none"), segmenter=golden_segmenter)
    plain = lab.evaluate(golden_segmenter, scenes, config.replace(dense="none"))
    assert fewer.attrs["miou"] == pytest.approx(plain.attrs["miou"], abs=0.01)
    with pytest.raises(errors.StoreError, match="was not encoded with dense='sclip'; give a segmenter"):
        lab.evaluate(store, scenes, config.replace(dense="sclip"), segmenter=golden_segmenter)


def test_a_store_without_patch_tokens_says_so(golden_segmenter, scenes, tmp_path):
    store = lab.embed(golden_segmenter, scenes, tmp_path / "store", CONFIG.replace(dense="none"))
    with pytest.raises(errors.StoreError, match="was not encoded with the grids of dense; give a segmenter"):
        lab.evaluate(store, scenes, FRAME, segmenter=golden_segmenter)


def test_one_sweep_encodes_each_way_of_making_tokens(golden_segmenter, scenes):
    table = lab.sweep(golden_segmenter, scenes, {"dense": ["none", "clearclip", "naclip"]}, base=FRAME)
    assert list(table["error"]) == [""] * 3
    assert list(table["dense"]) == ["none", "clearclip", "naclip"]
    alone = [lab.evaluate(golden_segmenter, scenes, FRAME.replace(dense=name)).attrs["miou"] for name in table["dense"]]
    assert list(table["miou_percent"] / 100) == pytest.approx(alone, abs=1e-12)


def test_encoders_without_patch_tokens_are_refused(counting_encoder, image):
    segmenter = lab.Segmenter(counting_encoder)
    for config in (CONFIG, FRAME):
        with pytest.raises(errors.ModelError, match="the encoder 'counting' gives no patch tokens; use dense='none'"):
            segmenter.segment(image, LABELS, config)
    assert counting_encoder.batches == []


def test_grids_that_cannot_be_are_refused():
    with pytest.raises(errors.ConfigError, match="scales is empty and dense is 'none', so there is no grid"):
        lab.Config(scales=())
    with pytest.raises(errors.ConfigError, match="dense_from='crops' takes patch tokens from the crops of the windows"):
        lab.Config(scales=(), dense="naclip", dense_from="crops")
    with pytest.raises(errors.ConfigError, match=r"dense is 'naclop'; expected one of none, maskclip, .*naclip"):
        lab.Config(dense="naclop")
    with pytest.raises(errors.ConfigError, match=r"weights .* names the grid dense064 twice"):
        CONFIG.replace(weights={"dense": 1, "dense064": 2})
    with pytest.raises(errors.ConfigError, match="dense_side is 4; expected 8 to 1024"):
        lab.Config(dense="naclip", dense_side=4)


def test_an_input_of_less_than_a_patch_is_refused_before_the_network(golden_segmenter, image):
    patch = golden_segmenter.encoder.patch_size
    small = lab.Config(scales=(), image_size=patch - 1, dense="naclip", background="none")
    with pytest.raises(errors.ConfigError, match=f"with {patch - 1} pixels, which is less than one patch of {patch}"):
        golden_segmenter.segment(image, LABELS, small)


def test_some_grids_alone():
    assert FRAME.only("dense") == FRAME.replace(scales=())
    assert FRAME.only("s064") == FRAME.replace(scales=(64,), dense="none")
    assert CONFIG.only("dense032") == CONFIG.replace(scales=(32,), weights={"s032": 0})
    assert CONFIG.only("s064", "dense032").weights == {"s032": 0.0, "dense064": 0.0}
    assert CONFIG.replace(weights={"dense": 0.5}).weights == {"dense064": 0.5, "dense032": 0.5}
    assert lab.Config.from_json(CONFIG.to_json()) == CONFIG


def test_a_worker_makes_the_same_tokens(scenes):
    source = SegmenterSource(lab.load("tiny", saliency="none"), scenes, CONFIG)
    there = pickle.loads(pickle.dumps(source.sent())).open()
    for mine, other in zip(source.images([0, 1]), there.images([0, 1]), strict=True):
        assert mine.encoding.config == other.encoding.config
        assert mine.encoding.embeddings.keys() == other.encoding.embeddings.keys() == {*CONFIG.grids}
        for grid, vectors in mine.encoding.embeddings.items():
            assert torch.equal(vectors, other.encoding.embeddings[grid])
