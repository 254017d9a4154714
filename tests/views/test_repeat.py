"""Every saliency source through store, sweep, board and report; the code that the report prints is run."""

import html
import re

import numpy as np
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.repeat import Maker, image_line, python_code, segmenter_line, shell_command

LABELS = ["car", "cat"]
TINY = Recipe("tiny")
SOURCES = ("found-tiny", "spectral", "constant", "file", "none", "own")


class Own:
    """A source that no name builds."""

    name, fingerprint = "own", "own-1"

    def __call__(self, image):
        return np.full(image.shape[:2], 0.5, np.float32)


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", length=1)


def source_of(name, folder):
    if name == "own":
        return Own()
    if name == "file":
        np.save(folder / "map.npy", np.full(lab.open_dataset("scenes")[0].image.shape[:2], 0.25, np.float32))
    options = {"constant": {"value": 0.3}, "file": {"path": folder / "map.npy"}}.get(name, {})
    return lab.saliency.build(name, **options)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_goes_through_store_sweep_board_and_report(name, scenes, tmp_path, monkeypatch):
    segmenter = lab.load("tiny", saliency=source_of(name, tmp_path))
    config = lab.Config(scales=(256, 128), saliency_weight=0.5)
    store = lab.embed(segmenter, scenes, tmp_path / "scenes.store", config)
    swept = lab.sweep(store, scenes, {"saliency_weight": [0.5]}, base=config)
    plain = lab.evaluate(store, scenes, config)
    assert swept["error"].tolist() == [""]
    assert swept["miou_percent"].iloc[0] / 100 == pytest.approx(plain.attrs["miou"], abs=1e-12)
    board = Board(store, scenes, base=config)
    board.choose(saliency_weight=[0.5])
    board.start()
    assert board.wait(60)
    assert board.table["miou_percent"].tolist() == swept["miou_percent"].tolist()
    board.close()
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scenes[0].image).save("scene.png")
    run = segmenter.segment("scene.png", LABELS, config)
    page = lab.report(run, "first.html").read_text()
    code = html.unescape(re.search(r"<h3>Python</h3><pre><code>(.*?)</code></pre>", page, re.DOTALL)[1])
    space = {"segmenter": segmenter} if name == "own" else {}
    assert ("of your own" in code) == (name == "own")
    exec(code, space)  # what a reader of the page would do
    np.testing.assert_array_equal(space["run"]["labels"].values, run["labels"].values)
    assert (tmp_path / "page.html").exists()


def test_the_code_says_how_the_encoder_was_loaded():
    run = lab.load("tiny", precision="bf16", saliency="none").segment(lab.open_dataset("scenes")[0].image, LABELS)
    maker = Maker.of(run.attrs)
    assert segmenter_line(maker) == "segmenter = lab.load('tiny', saliency='none', precision='bf16')"
    assert image_line(run.attrs).startswith("# image is the one that was given")
    recipe = Recipe("ViT-B-32/openai", {"checkpoint": "w.pt", "mean": [0, 0, 0], "device": "cuda"})
    checkpoint = Maker("ViT-B-32/openai", recipe, "found", Recipe("found"))
    assert segmenter_line(checkpoint) == "segmenter = lab.load('ViT-B-32/openai', checkpoint='w.pt', mean=[0, 0, 0])"


def test_the_command_is_there_only_where_it_does_the_same():
    none = Recipe("none")
    constant = Recipe("constant", {"value": 0.5})
    assert shell_command(Maker("tiny", TINY, "constant", constant), "a b.png", ["cat, dog", "car"], {}) == (
        "clipdiy-lab explain 'a b.png' --labels '\"cat, dog\", car' --model tiny --saliency constant=0.5 "
        "--html page.html"
    )
    for maker in (Maker("mine", None, "none", none),
                  Maker("tiny", TINY, "given", None), Maker("tiny", TINY, "mine", None),
                  Maker("tiny", TINY, "found-seed", Recipe("found-seed", {"tau": 0.2})),
                  Maker("ViT-B-32", Recipe("ViT-B-32", {"std": [1, 1, 1]}), "none", none)):  # fmt: skip
        assert shell_command(maker, "a.png", ["cat"], {}) is None


def test_a_map_that_was_given_is_asked_for():
    code = python_code(Maker("tiny", TINY, "given", None), "image = 'a.png'", ["cat"], lab.Config(), "run")
    assert "segmenter = lab.load('tiny', saliency='none')" in code
    assert "segment(image, labels, config, saliency=saliency)" in code


def test_weights_that_are_run_otherwise_are_the_same_weights(tmp_path, scenes):
    sample = scenes[0]
    plain = lab.load("tiny", saliency="none")
    run = plain.segment(sample.image, LABELS, lab.Config(scales=(256,)))
    run.attrs["encoder_fingerprint"] += "+calibrated"
    assert lab.recombine(run, segmenter=plain, labels=[*LABELS, "dog"])
    assert lab.report(run, tmp_path / "page.html", segmenter=plain).exists()
    assert lab.explain.occlude(run, plain, (256, 0, 0), "car").size
    store = lab.open_store(lab.embed(plain, scenes, tmp_path / "store", lab.Config(scales=(256,))).path)
    store.attrs["encoder_fingerprint"] += "+calibrated"
    assert lab.sweep(store, scenes, {"saliency_weight": [0.0]}, segmenter=plain)["error"].tolist() == [""]
    for thing in (run, store):
        thing.attrs["encoder_fingerprint"] = "0" * 64 + "+calibrated"
    with pytest.raises(errors.RunError, match="with other weights than 'tiny' has"):
        lab.recombine(run, segmenter=plain, labels=[*LABELS, "dog"])
    with pytest.raises(errors.StoreError, match="with other weights than 'tiny' has"):
        lab.sweep(store, scenes, {"saliency_weight": [0.0]})


def test_the_runtime_of_the_encoder_is_that_of_found_as_well():
    encoder, found = Recipe("ViT-B-32/tag", {"runtime": "openvino"}), Recipe("found", {"runtime": "openvino"})
    line = "segmenter = lab.load('ViT-B-32/tag', runtime='openvino')"
    assert segmenter_line(Maker("ViT-B-32/tag", encoder, "found", found)) == line
    by_torch = segmenter_line(Maker("ViT-B-32/tag", Recipe("ViT-B-32/tag"), "found", found))
    assert by_torch == (
        "segmenter = lab.load('ViT-B-32/tag', saliency=lab.saliency.build('found', runtime='openvino'))"
    )
