"""Names and counts that show what is wrong with a dataset, and those that show nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipdiy_lab.datasets.checks import label_findings, name_errors, name_findings
from clipdiy_lab.datasets.manifests import load_manifest, manifest_names
from clipdiy_lab.errors import LabelError
from clipdiy_lab.models.prompts import check_labels

NAMES = ("background", "car", "dog", "bus")


def texts(findings):
    return [f"{finding.level}: {finding.text}" for finding in findings]


@pytest.mark.parametrize("name", manifest_names())
def test_the_names_of_the_benchmarks_are_sound(name):
    manifest = load_manifest(name)
    for variant in (None, *manifest.variants):
        names = manifest.names(variant)
        assert texts(name_errors(names)) == []
        without = manifest.config.get("background") == "none"
        assert [finding.level for finding in name_findings(names)] == ["warning"] * without


ODD = [
    "Cat",
    "cat",
    "CAT ",
    " dog",
    "\u00e9",
    "e\u0301",
    "E\u0301",
    "red  car",
    "Red Car",
    "",
    " ",
    "a\x1bb",
    "x" * 1001,
]


@given(st.lists(st.sampled_from(ODD) | st.text(max_size=3), min_size=1, max_size=5))
def test_an_error_is_found_exactly_where_labels_are_refused(names):
    try:
        check_labels(names)
        refused = False
    except LabelError:
        refused = True
    assert bool(texts(name_errors(names))) == refused


@pytest.mark.parametrize(
    ("names", "number", "word"),
    [
        (["0: background", "1: cat"], "'0: background'", "'background'"),
        (["0 background", "1 traffic light"], "'0 background'", "'background'"),
        (["[0] sky", "[1] tree"], "'[0] sky'", "'sky'"),
        (["background,0", "cat,1", "dog,2"], "'background,0'", "'background'"),
        (["1. wall", "2. floor"], "'1. wall'", "Line 1 is numbered 1, but names the mask value 0."),
        (["background\t0", "cat\t1"], "'background\\t0'", "'background'"),
    ],
)
def test_numbered_lines(names, number, word):
    (said,) = texts(name_findings(names))
    assert said.startswith("error: Each line has a number")
    assert number in said
    assert word in said


@pytest.mark.parametrize(
    "names",
    [
        ["background", "911", "912"],
        ["background", "class_0", "class_1"],
        ["class_0", "class_1", "background"],
        ["background", "2 euro", "5 euro"],
        ["background", "3d printer", "4d printer"],
        ["background", "cat 1", "dog"],
    ],
)
def test_numbers_that_belong_to_the_names(names):
    assert "number" not in " ".join(texts(name_findings(names)))


def found(pixels, ignored, whole=True):
    return " | ".join(texts(label_findings(NAMES[: len(pixels)], np.array(pixels), ignored, whole=whole)))


def test_the_background_alone():
    assert texts(name_findings(["Background"]))[0].startswith("error: 'Background' is the only name.")


def test_counts_that_show_a_cause():
    assert "error: 3 of 4 labels occur in no mask: 'car', 'dog', 'bus'. 9.1 %" in found([100, 0, 0, 0], 10)
    assert "Painting tools save foreground as 255" in found([100, 0], 1)
    assert "Painting tools save foreground as 255" in found([100, 0], 1, whole=False)
    assert "If 255 stands for 'dog' in the masks, write 2 instead." in found([5, 5, 0, 5], 3)
    assert "If the masks count from 1, the names are shifted by one: 'background' is label 0" in found([0, 5, 5], 0)
    assert "The masks end at label 1, 'car': check that the names belong to these masks" in found([5, 5, 0, 0], 0)
    assert "in the order of the mask values" in found([5, 0, 0, 5], 0)
    assert found([0, 0], 3) == "error: Every pixel is ignored (mask value 255), so nothing can be scored."
    assert found([1, 1], 3).startswith("warning: 60.0 % of the pixels are ignored (mask value 255).")


def test_counts_that_show_nothing():
    assert found([5, 5, 5, 5], 0) == ""
    assert found([5, 5, 5, 5], 20) == ""
    assert found([5, 0, 5, 5], 10, whole=False) == ""
    assert found([5, 0], 0, whole=False) == ""
    assert found([0, 0], 0) == ""


def test_many_labels_are_not_all_listed():
    names = [f"thing {index}" for index in range(40)]
    (said,) = texts(label_findings(names, np.array([1] * 20 + [0] * 20), 0))
    assert "20 of 40 labels occur in no mask: 'thing 20', " in said
    assert "'thing 24' and 15 more." in said
    assert "thing 25" not in said


def test_control_characters_in_names_are_escaped():
    names = ["background", "a\x1b[31m", "b"]
    assert "\x1b" not in " ".join(texts(label_findings(names, np.array([1, 0, 0]), 1)))
    assert "\x1b" not in " ".join(texts(name_errors([*names, "A\x1b[31m"])))
