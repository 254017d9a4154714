"""Recipes: equal texts for equal things, nothing that is no plain value, and code that can be run."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.models import recipes
from clipdiy_lab.models.capabilities import recipe_of
from clipdiy_lab.models.recipes import Recipe

PLAIN = {"tau": np.float64(0.5), "mean": (0.1, np.float32(0.5), 1), "deep": {"a": [None, True]}, "word": "é\n"}


def test_a_recipe_survives_json_pickle_and_its_own_code():
    recipe = Recipe("mine", PLAIN)
    assert recipe.options == {"tau": 0.5, "mean": [0.1, 0.5, 1], "deep": {"a": [None, True]}, "word": "é\n"}
    for again in (Recipe.from_json(recipe.to_json()), pickle.loads(pickle.dumps(recipe)), eval(recipe.code("Again"), {
        "Again": lambda name, **options: Recipe(name, options)
    })):  # fmt: skip
        assert again == recipe
        assert hash(again) == hash(recipe)
    assert recipe != Recipe("mine", {**PLAIN, "tau": 0.6})
    assert recipe.without("tau", "deep", "mean") == Recipe("mine", {"word": "é\n"})
    reordered = Recipe("mine", dict(reversed(PLAIN.items())))
    assert (reordered, reordered.to_json()) == (recipe, recipe.to_json())


def test_what_is_given_may_change_afterwards(monkeypatch, tmp_path):
    options = {"values": [1, 2], "path": Path("a.npy")}
    monkeypatch.chdir(tmp_path)
    recipe = Recipe("mine", options)
    options["values"].append(3)
    monkeypatch.chdir("/")
    assert recipe == Recipe("mine", {"values": [1, 2], "path": str(tmp_path / "a.npy")})


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (3, {}, "name of a recipe is a int"),
        ("mine", {"a": object()}, "option 'a' of a recipe is a object; expected texts, finite numbers"),
        ("mine", {"a": [float("nan")]}, "option 'a' of a recipe is a float"),
        ("mine", {"a": {1: 2}}, "option 'a' of a recipe is a dict"),
        ("mine", {"a=1); import os; (": 1}, "which is no name of an argument"),
        ("mine", {"class": 1}, "which is no name of an argument"),
        ("mine", {3: 1}, "which is no name of an argument"),
    ],
)
def test_what_cannot_be_written_down_is_refused(name, options, says):
    with pytest.raises(errors.ModelError, match=says):
        Recipe(name, options)
    if isinstance(name, str):
        assert Recipe.of(name, options) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"name": "a"}', '{"name": "a", "options": []}', '{"name": "a", "options": {}, "": 1}',
             '{"name": null, "options": {}}', '{"name": "a", "options": {"a": NaN}}', "[" * 100_000]
)  # fmt: skip
def test_what_is_no_recipe_is_refused(text):
    with pytest.raises(errors.ModelError):
        Recipe.from_json(text)


def test_an_object_of_ones_own_has_no_recipe():
    assert recipe_of(object()) is None
    assert recipes.read(recipes.write(None)) is None
    assert recipes.read(recipes.write(Recipe("a"))) == Recipe("a")


def test_a_run_says_how_encoder_and_source_are_made_again(tmp_path):
    np.save(tmp_path / "map.npy", np.full((9, 7), 0.25, np.float32))
    source = lab.saliency.build("file", path=tmp_path / "map.npy")
    attrs = lab.load("tiny", saliency=source, device="cpu").encoding(np.zeros((9, 7, 3), np.uint8)).provenance
    assert json.loads(attrs["encoder_recipe"]) == {"name": "tiny", "options": {"device": "cpu"}}
    assert json.loads(attrs["saliency_recipe"]) == {"name": "file", "options": {"path": str(tmp_path / "map.npy")}}
    again = Recipe.from_json(attrs["saliency_recipe"])
    assert lab.saliency.build(again.name, **again.options).fingerprint == source.fingerprint
