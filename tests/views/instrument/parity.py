"""The browser's engine compared with Python: the same labels, scores and parts, whatever is turned.

Python computes scores in single precision, the engine in double; where the best two labels are nearer than 1e-6 to each
other, either may win. Those pixels are left out of the comparison of labels, and counted.
"""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from configurations import State, maps_of, parts_of

import clipdiy_lab as lab
from clipdiy_lab.method import schema as s

NEAR = 1e-6


def array(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), kind)


def compare(run: xr.DataTree, state: State, answer: dict[str, Any], whole: bool = True) -> int:
    """Compare an answer with Python's, parts and maps only if it is whole; return how many pixels were left out."""
    there = state.run(run)
    names = list(s.labels_of(run))
    places = np.array([names.index(name) for name in s.labels_of(there)])
    kept = s.competing(there)
    assert answer["competing"] == places[kept].tolist()

    if answer["scores"] is not None:
        scores = s.scores(there).values[kept]
        np.testing.assert_allclose(array(answer["scores"], "f4"), scores.ravel(), atol=NEAR)
    margin = s.stage(there, "margin").values.ravel()
    np.testing.assert_allclose(array(answer["margin"], "f4"), margin, atol=NEAR)
    sure = margin > NEAR
    np.testing.assert_array_equal(
        array(answer["labels"], "i2")[sure], places[s.stage(there, "labels").values.ravel()][sure]
    )
    compare_story(there, state, answer["pixels"][0]["story"], names)
    if whole:  # these take Python longer than all the rest
        compare_maps(there, answer, places)
        compare_parts(there, state, answer["pixels"][0], names)
    return int((~sure).sum())


def compare_maps(there: xr.DataTree, answer: dict[str, Any], places: npt.NDArray[np.int64]) -> None:
    """Compare the maps that explain, where the best two labels are not too near to call."""
    if str(s.scores(there).name) == "refined":
        return  # Python makes some of these maps of refined runs too, the engine none.
    expected, found = maps_of(there), answer["maps"]
    sure = s.stage(there, "margin").values.ravel() > NEAR
    grids = len(lab.Config.from_json(there.attrs["config"]).grids)
    assert (found["flip_change"] is not None) == ("flip_change" in expected)
    assert (found["grid_shapley"] is not None) == ("grid_shapley" in expected and grids > 1)
    for name, text in found.items():
        if text is None or name not in expected:
            continue
        stage = expected[name]
        own = array(text, "i2" if name in ("flip_label", "grid_flips", "deciding_grid") else "f4")
        alike = agree(name, own, stage.values, places)
        assert (~alike & np.broadcast_to(sure, (alike.size // sure.size, sure.size)).ravel()).mean() < 0.002, name


def agree(
    name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Where a map of the engine says what Python's says."""
    expected = expected.ravel()
    if name == "grid_flips":
        return (found == 0) == expected
    if name == "flip_label":
        return found == np.where(expected < 0, -1, places[expected])
    if name == "deciding_grid":
        return found == expected
    tolerance = {"flip_change": 1e-3, "background_threshold": 1e-3, "threshold_distance": 1e-3, "entropy": 1e-3}
    return np.isclose(found, expected, rtol=1e-3, atol=tolerance.get(name, NEAR), equal_nan=True)


def compare_story(there: xr.DataTree, state: State, story: dict[str, Any], names: list[str]) -> None:
    y, x = state.pixel
    scores = s.scores(there).values[:, y, x]
    order = np.argsort(-np.where(s.competing(there), scores, -np.inf), kind="stable")
    best = scores[order[0]]
    assert story["scores"][0] == pytest.approx(best, abs=NEAR)
    if len(order) > 1 and best - scores[order[1]] > NEAR:
        assert names[story["winner"]] == s.labels_of(there)[order[0]]


def compare_parts(there: xr.DataTree, state: State, answer: dict[str, Any], names: list[str]) -> None:
    story, parts = answer["story"], answer["parts"]
    expected = parts_of(there, state.pixel)
    titles = [str(grid) for grid in lab.Config.from_json(there.attrs["config"]).grids]
    for label, score, cells in zip(story["labels"], story["scores"], parts, strict=True):
        if cells is None:
            assert names[label] not in expected
            continue
        assert sum(cell["contribution"] for cell in cells) == pytest.approx(score, abs=NEAR)
        given = {(titles[cell["grid"]], cell["row"], cell["col"]): cell["contribution"] for cell in cells}
        own = expected[names[label]]
        for place in given.keys() | own.keys():
            assert given.get(place, 0.0) == pytest.approx(own.get(place, 0.0), abs=NEAR), (names[label], place)
