"""What comes from outside reaches no terminal as a command."""

from __future__ import annotations

import unicodedata
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipdiy_lab import errors
from clipdiy_lab.text import join_list, printable, split_list

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_printable_is_one_encodable_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert all(unicodedata.category(c) not in HIDDEN or c in "\u200c\u200d" for c in shown)
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["", "cat", "building, edifice", "café", "cafe\u0301", "猫", "قط", "می\u200cخواهم", "👩\u200d🔬", "a\u00a0b"],
)
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\r\nerror: b", r"a\r\nerror: b"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("cat\u200b", r"cat\u200b"),
        ("\ud800cat", r"\ud800cat"),
        ("\U000e0041", r"\U000e0041"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_hidden_characters_become_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def _all_errors(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(child for direct in kind.__subclasses__() for child in _all_errors(direct))]


@pytest.mark.parametrize("kind", [*_all_errors(errors.ClipdiyError), errors.ClipdiyWarning])
def test_every_error_and_warning_shows_a_hostile_name_escaped(kind: type[Exception]) -> None:
    assert str(kind("no file \x1b[2Jx.jpg\nok")) == r"no file \x1b[2Jx.jpg\nok"


def test_a_warning_is_printed_escaped() -> None:
    message = warnings.WarningMessage(errors.ClipdiyWarning("odd \x1b[31m"), errors.ClipdiyWarning, "f.py", 1)
    assert r"odd \x1b[31m" in warnings.formatwarning(message.message, message.category, "f.py", 1, "")


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("car, tv/monitor,cat", ["car", "tv/monitor", "cat"]),
        ('"building, edifice", sky', ["building, edifice", "sky"]),
        ('sky ,"building, edifice" , "wall"  ', ["sky", "building, edifice", "wall"]),
        ("it's, 5\" pipe", ["it's", '5" pipe']),
        ('"say ""cheese"""', ['say "cheese"']),
        ("cat,", ["cat", ""]),
        (" , ", ["", ""]),
        ("", []),
    ],
)
def test_a_line_is_split_at_commas_outside_quotes(line, labels):
    assert split_list(line) == labels


@pytest.mark.parametrize("line", ['"cat, sofa', '"cat" dog, sofa', 'cat\n"'])
def test_a_line_whose_quotes_do_not_close(line):
    with pytest.raises(ValueError, match=r"expected|unexpected|new-line"):
        split_list(line)


label_texts = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1).filter(lambda t: t == t.strip())


@given(st.lists(label_texts, min_size=1, max_size=5))
def test_what_is_joined_splits_into_the_same(labels):
    assert split_list(join_list(labels)) == labels
