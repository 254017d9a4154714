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
from configurations import State, flips_of, parts_of

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
        compare_maps(there, answer, sure)
        compare_parts(there, state, answer["pixels"][0], names)
    return int((~sure).sum())


def compare_maps(there: xr.DataTree, answer: dict[str, Any], sure: npt.NDArray[np.bool_]) -> None:
    maps = flips_of(there)
    assert (answer["flips"] is None) == (maps is None)
    if maps is None:
        return
    flips, thresholds = (each.ravel() for each in maps)
    found = array(answer["thresholds"], "f4")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(thresholds))
    np.testing.assert_allclose(found, thresholds, rtol=1e-3, atol=1e-4)
    found = array(answer["flips"], "f4")
    # A line that reaches another at the very end of the range, or hardly rises, is a matter of rounding.
    alike = np.isclose(found, flips, atol=1e-3, equal_nan=True)
    assert (~alike & sure).mean() < 0.002


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
