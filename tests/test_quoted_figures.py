"""What the documents quote of this repository's own scores is what `reproduce` expects."""

import re
from pathlib import Path

import pytest
from quote import DOCUMENTS, MARKED, renewed

from clipdiy_lab.analysis.expected import expectations

ROOT = Path(__file__).parents[1]
README = {
    "`Config.paper()`: three scales, found-tiny": "all scales, found-tiny (the paper's recipe)",
    "the same, refined by PAMR (dilations 8, 16)": "the same, refined by PAMR (dilations 8, 16)",
    "the same without saliency": "all scales, no saliency",
    "the same with ground-truth saliency": "all scales, true saliency",
}
SPLITS = ("val", "val_unseen")


def quoted(path: str) -> dict[str, tuple[str, ...]]:
    """Rows of the tables over both splits: their cells by the first one."""
    rows = re.findall(r"^\| ([^|]+) \| *([\d.]*) *\| *([\d.]*) *\|$", (ROOT / path).read_text(), re.MULTILINE)
    return {name: cells for name, *cells in rows}


def expected(split: str) -> dict[str, float]:
    return {one.row: one.miou_percent for one in expectations("scenes", "clip_diy", split)}


@pytest.mark.parametrize("path", ["README.md", "docs/understanding/embedded_world.md"])
def test_quoted_figures_are_those_that_reproduce_expects(path):
    found = quoted(path)
    compared = 0
    for place, split in enumerate(SPLITS):
        known = expected(split)
        for name, cells in found.items():
            row = README.get(name, name.replace("oracle", "true"))
            if row in known and cells[place]:
                assert cells[place] == f"{known[row]:.1f}", f"{path}: {name}, {split}"
                compared += 1
    assert compared >= 7


@pytest.mark.parametrize("path", DOCUMENTS)
def test_tables_of_speed_are_those_that_were_measured(path):
    text = (ROOT / path).read_text()
    assert MARKED.search(text)
    assert renewed(text) == text, "run python benchmarks/quote.py"
