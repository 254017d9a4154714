"""Tables as files: a text in a cell is never a formula, a link, a command or the end of its cell."""

import csv
import html
import io
import re

import mistune
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipdiy_lab as lab
from clipdiy_lab.analysis.tables import to_csv, to_latex, to_markdown, to_text
from clipdiy_lab.text import printable
from clipdiy_lab.views.report import label_table

HOSTILE = [
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\uff1d1+1",
    "a|b",
    "[click](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "http://evil.example/?q=1",
    "www.evil.example",
    "me@evil.example",
    "<img src=http://evil.example>",
    "<http://evil.example>",
    "[ref]: http://evil.example",
    "`code`",
    "*bold* ~~gone~~",
    "&lt;b&gt;",
    "back\\slash",
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "\u202egpj.exe",
    "\ud800cat",
    "building, edifice",
    'say "cheese"',
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=20)
render = mistune.create_markdown(plugins=["table", "url", "strikethrough"])


def cells_of(rendered: str) -> list[str]:
    return [html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", rendered, re.S)]


@given(st.lists(texts, min_size=1, max_size=4))
def test_no_cell_of_a_csv_is_a_formula(cells):
    rows = list(csv.reader(io.StringIO(to_csv(pd.DataFrame({"label": cells})), newline="")))
    assert rows[0] == ["label"]
    for row, text in zip(rows[1:], cells, strict=True):
        (cell,) = row or [""]
        assert cell.removeprefix("'") == printable(text).removeprefix("'")
        if re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", cell):
            float(cell)


def test_numbers_of_a_csv_stay_what_they_are(tmp_path):
    frame = pd.DataFrame({"x": [-1.5, np.nan, 1e-17], "n": [-1, 2, 3], "text": ["-1.5", "+2", "plain"]})
    back = pd.read_csv(lab.results.export(frame, tmp_path / "t.csv"), dtype={"text": str})
    pd.testing.assert_frame_equal(back, frame.astype({"text": back["text"].dtype}))


def test_the_head_of_a_csv_is_no_formula_either():
    assert to_csv(pd.DataFrame({"=1+1": [1], "dog": [2]})) == "'=1+1,dog\n1,2\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_markdown_is_text(text):
    """By a Markdown renderer: no link, picture or tag, and the cells say what was given."""
    page = render(to_markdown(pd.DataFrame({"label": [text], "share": [0.5]})))
    assert set(re.findall(r"<(\w+)", page)) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert cells_of(page) == [printable(" ".join(text.split())), "0.50"]


def test_the_caption_of_a_sweep_in_markdown_is_text_too():
    sweep = lab.sweep(lab.load("tiny"), lab.open_dataset("scenes"), {"saliency_weight": [0, 1]}, limit=1)
    page = render(to_markdown(sweep.assign(protocol="[click](http://evil.example)")))
    assert "href" not in page
    assert "[click](http://evil.example)" in html.unescape(page)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("50 % of $x_1$ & y^2", r"50 \% of \$x\_1\$ \& y\textasciicircum{}2"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("[3cm]", "{}[3cm]"),
        ("* star", "{}* star"),
        ("a\x1b[31m", r"a\textbackslash{}x1b[31m"),
    ],
)
def test_a_cell_of_latex_is_text(text, written):
    assert f"{written} & 1 \\\\" in to_latex(pd.DataFrame({"label": [text], "n": [1]}))


def test_row_names_are_kept_and_row_numbers_are_not(tmp_path):
    frame = pd.DataFrame({"share": [0.25, 0.75]}, index=pd.Index(["sofa", "cat"], name="label"))
    assert to_latex(frame).splitlines()[2:5] == [r"label & share \\", r"\midrule", r"sofa & 0.25 \\"]
    assert to_markdown(frame).splitlines()[::2] == ["| label | share |", "| sofa | 0.25 |"]
    assert to_csv(frame) == "label,share\nsofa,0.25\ncat,0.75\n"
    assert to_csv(frame.rename_axis(None)).splitlines()[1] == "sofa,0.25"
    assert to_csv(frame.reset_index()) == to_csv(frame.reset_index().iloc[[0, 1]]) == to_csv(frame)
    assert to_csv(frame.reset_index().sort_values("share", ascending=False)).splitlines()[1] == "cat,0.75"
    both = frame.assign(label=["x", "y"])
    assert to_csv(both).splitlines()[:2] == ["label,share,label", "sofa,0.25,x"]
    pairs = frame.set_index(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["model", None]))
    assert to_csv(pairs).splitlines()[:2] == ["model,,share", "a,1,0.25"]


def test_the_table_of_labels_is_exported_with_its_labels(tmp_path):
    run = lab.load("tiny").segment(lab.open_dataset("scenes")[1].image, ["car", "sofa"])
    latex = lab.results.export(label_table(run), tmp_path / "t.tex").read_text()
    assert {line.split(" & ")[0] for line in latex.splitlines() if line.endswith(r"\\")} == {
        *("label", "background", "car", "sofa"),
    }


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_table_on_a_terminal_has_no_control_characters(cells):
    shown = to_text(pd.DataFrame({"label": cells, "\x1b[31m": range(len(cells))}))
    assert len(shown.split("\n")) == len(cells) + 1
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")
