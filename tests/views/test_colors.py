"""A label has one colour, decided by its name, that can be told from its neighbours' with and without colour vision."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipdiy_lab.datasets.scenes import VOC_NAMES
from clipdiy_lab.views import colors

ROOT = Path(__file__).parents[2]
# Simulations of dichromats after Vienot, Brettel and Mollon (1999): others than those the table was made with.
RED_BLIND = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
GREEN_BLIND = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

letters = st.text("abcdefghijklmnopqrstuvwxyz ", min_size=1, max_size=12)
words = st.lists(
    letters.filter(lambda word: word.strip() not in ("", "background")),
    min_size=1,
    max_size=25,
    unique_by=lambda word: word.replace(" ", ""),
)


def lab_coordinates(rgb, blindness):
    """CIELAB (D65) of sRGB bytes, written out here on purpose."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ blindness.T
    xyz = np.clip(linear, 0, None) @ TO_XYZ.T / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def smallest_gap(rgb, blindness):
    place = lab_coordinates(rgb, blindness)
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
    return apart[~np.eye(len(rgb), dtype=bool)].min()


@given(words, st.randoms(use_true_random=False))
def test_position_decides_nothing(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert colors.label_css(names) == colors.label_css(shuffled)


@given(words)
def test_the_labels_of_a_figure_differ(names):
    made = colors.label_colors([*names, "background"])
    assert len(np.unique(made, axis=0)) == len(names) + 1
    assert smallest_gap(made, np.eye(3)) > 6


@given(words)
def test_the_names_of_voc_never_give_way(names):
    spellings = {"".join(filter(str.isalpha, name)) for name in (*VOC_NAMES, "airplane", "motorcycle", "couch", "tv")}
    others = [name for name in names if name.replace(" ", "") not in spellings]
    alone = {name: colors.label_css([name])[name] for name in VOC_NAMES}
    together = colors.label_css([*others, *VOC_NAMES])
    assert {name: together[name] for name in VOC_NAMES} == alone


def test_two_names_that_prefer_the_same_colour_get_two():
    alone = {}
    for number in range(200):
        name = f"thing {number}"
        alone.setdefault(colors.label_css([name])[name], []).append(name)
    first, second = sorted(next(pair for pair in alone.values() if len(pair) > 1))[:2]
    both = colors.label_css([second, first])
    assert both[first] == colors.label_css([first])[first]
    assert both[second] != both[first]


@pytest.mark.parametrize(("blindness", "least"), [(np.eye(3), 16), (RED_BLIND, 9), (GREEN_BLIND, 11)])
def test_the_names_of_voc_and_background_can_be_told_apart(blindness, least):
    assert smallest_gap(colors.label_colors(["background", *VOC_NAMES]), blindness) > least


def test_spellings_of_a_thing_share_its_colour():
    for names in (("aeroplane", "airplane"), ("tv/monitor", "tvmonitor"), ("sofa", "couch"), ("Cat", "cat")):
        assert len({colors.label_css([name])[name] for name in names}) == 1


def test_the_background_is_grey_by_name_and_by_index():
    made = colors.label_colors(["cat", "wall", "background"], background=1)
    assert made[1:].tolist() == [list(colors.BACKGROUND)] * 2
    assert made[0].tolist() != list(colors.BACKGROUND)


@pytest.mark.parametrize("count", [64, 65, 255, 256, 847, 1000])
def test_more_labels_than_the_table_has_differ_too(count):
    names = [f"label {i}" for i in range(count)]
    made = colors.label_colors(["background", *names])
    assert len(np.unique(made, axis=0)) == count + 1
    assert colors.label_css(names) == colors.label_css(names[::-1])


def test_many_labels_take_no_colour_from_the_names_of_voc():
    names = [f"a label {i}" for i in range(500)]
    together = colors.label_css([*names, *VOC_NAMES])
    assert {name: together[name] for name in VOC_NAMES} == {n: colors.label_css([n])[n] for n in VOC_NAMES}


def test_no_labels_have_no_colours():
    assert colors.label_colors([]).shape == (0, 3)


def test_the_table_is_what_the_tool_makes():
    spec = importlib.util.spec_from_file_location("label_palette", ROOT / "tools/label_palette.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tuple(tool.table()) == colors._TABLE
