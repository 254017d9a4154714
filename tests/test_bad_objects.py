"""Whoever takes a dataset, a segmenter or a store says what it is where something else is given, such as a name."""

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors

SMALL = lab.Config(scales=(16, 8), image_size=(24, 32))
GRID = {"saliency_weight": [1]}
OF_A_DATASET = {
    "evaluate": lambda segmenter, path, given: lab.evaluate(segmenter, given),
    "embed": lambda segmenter, path, given: lab.embed(segmenter, given, path),
    "sweep": lambda segmenter, path, given: lab.sweep(segmenter, given, GRID),
    "ablation_board": lambda segmenter, path, given: lab.ablation_board(segmenter, given),
    "error_budget": lambda segmenter, path, given: lab.explain.error_budget(segmenter, given),
}
OF_A_SEGMENTER = {
    "embed": lambda given, scenes, run, path: lab.embed(given, scenes, path),
    "recombine": lambda given, scenes, run, path: lab.recombine(run, segmenter=given),
    "report": lambda given, scenes, run, path: lab.report(run, path, segmenter=given),
    "absent": lambda given, scenes, run, path: lab.explain.absent(run, ["dog"], given),
    "attend": lambda given, scenes, run, path: lab.explain.attend(run, given, (8, 0, 0), "cat"),
}
OF_A_STORE = {
    "evaluate": lab.evaluate,
    "explore": lambda given, scenes: lab.explore(segmenter=given),
    "sweep": lambda given, scenes: lab.sweep(given, scenes, GRID),
    "ablation_board": lab.ablation_board,
    "error_budget": lab.explain.error_budget,
}


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", length=2)


@pytest.fixture
def segmenter(counting_encoder):
    return lab.Segmenter(counting_encoder)


@pytest.fixture
def run(segmenter):
    return segmenter.segment(np.full((24, 32, 3), 80, dtype=np.uint8), ["cat"], SMALL)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("scenes", r"dataset is the text 'scenes'; expected a dataset: lab.open_dataset\('scenes'\)"),
        (None, r"dataset is None; expected a dataset: lab.open_dataset\('scenes'\)"),
        (np.zeros((2, 3)), "dataset is a ndarray; expected a dataset"),
    ],
    ids=["name", "none", "array"],
)
@pytest.mark.parametrize("call", OF_A_DATASET.values(), ids=OF_A_DATASET)
def test_what_is_no_dataset(segmenter, tmp_path, call, given, says):
    with pytest.raises(errors.DatasetError, match=says):
        call(segmenter, tmp_path / "new", given)
    assert list(tmp_path.iterdir()) == []


def test_the_class_of_a_dataset(segmenter, scenes):
    with pytest.raises(errors.DatasetError, match="dataset is the class Scenes; expected"):
        lab.evaluate(segmenter, type(scenes))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("tiny", r"segmenter is the text 'tiny'; expected a segmenter: lab.load\('tiny'\)"),
        (3.5, "segmenter is a float; expected a segmenter"),
    ],
    ids=["name", "number"],
)
@pytest.mark.parametrize("call", OF_A_SEGMENTER.values(), ids=OF_A_SEGMENTER)
def test_what_is_no_segmenter(scenes, run, tmp_path, call, given, says):
    with pytest.raises(errors.ModelError, match=says):
        call(given, scenes, run, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", OF_A_STORE.values(), ids=OF_A_STORE)
def test_what_is_neither_segmenter_nor_store(call, segmenter, scenes, tmp_path):
    path = tmp_path / "scenes.store"
    lab.embed(segmenter, scenes, path, limit=1)
    for given, says in (
        ("tiny", r"tiny is not an embedding store.*meant as a model, give a segmenter: lab.load\('tiny'\)"),
        (lab.open_store(path).drop_vars("image"), "Expected a store, or some images of it, as open_store"),
        (3.5, "source is a float; expected a segmenter .*, or a store of embeddings: what lab.embed or lab.open_store"),
    ):
        with pytest.raises(errors.StoreError, match=says):
            call(given, scenes)


def test_the_name_of_a_segmenter_beside_a_store(segmenter, scenes, tmp_path):
    store = lab.embed(segmenter, scenes, tmp_path / "scenes.store", limit=1)
    with pytest.raises(errors.ModelError, match="segmenter is the text 'tiny'"):
        lab.sweep(store, scenes, GRID, segmenter="tiny")
