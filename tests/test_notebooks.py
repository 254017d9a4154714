"""Guards around nbval, which compares nothing in a cell without an execution count and never compares pictures."""

import ast
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NOT_COMPARED = "nbval-ignore-output"
TABLE = '<table border="1" class="dataframe">'
OWN_OBJECTS = "09_bring_your_own"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def loaded(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 11


def test_the_notebook_is_executed_light_and_really_compared(path):
    notebook = loaded(path)
    cells = code_of(notebook)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run it top to bottom: make notebooks"
    compared = [cell for cell in cells if NOT_COMPARED not in cell["metadata"].get("tags", [])]
    printed = [cell for cell in compared if any(out.get("name") == "stdout" for out in cell["outputs"])]
    assert len(printed) >= 5
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    assert not [out for cell in cells for out in cell["outputs"] if out.get("name") == "stderr"]
    assert "widgets" not in notebook["metadata"]
    assert path.stat().st_size < 1_000_000
    assert all(len(source(cell).splitlines()) <= 12 for cell in cells)


def test_a_figure_is_stored_without_the_library_that_draws_it(path):
    for cell in code_of(loaded(path)):
        for output in cell["outputs"]:
            data = output.get("data", {})
            assert not ({"image/png", "image/jpeg"} & data.keys()), "nbval would not compare it"
            page = "".join(data.get("text/html", ""))
            # What a widget leaves for pages without a kernel, or a table, which is compared as text too.
            assert not page or "application/vnd.jupyter.widget-view+json" in data or TABLE in page
            assert "<script" not in page


def test_every_picture_has_numbers_beside_it(path):
    """Only printed text is compared, so a figure stands next to a cell that prints, up to one figure between them."""
    cells = code_of(loaded(path))
    prints = [any(out.get("name") == "stdout" for out in cell["outputs"]) for cell in cells]
    for place, cell in enumerate(cells):
        if any("application/vnd.plotly.v1+json" in out.get("data", {}) for out in cell["outputs"]):
            assert any(prints[max(0, place - 2) : place + 3]), source(cell)


def test_nothing_of_this_machine_is_inside(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(root|home|Users|tmp|work|private)/|site-packages|C:\\\\", text)


def test_nothing_is_defined_that_belongs_in_the_package(path):
    for cell in code_of(loaded(path)):
        made = [node for node in ast.walk(ast.parse(source(cell))) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert not made or path.stem == OWN_OBJECTS, source(cell)


def test_the_first_cell_tells_what_where_and_how_long_and_the_last_asks(path):
    notebook = loaded(path)
    first, last = (" ".join(source(notebook["cells"][place]).split()) for place in (0, -1))
    assert first.startswith("# ")
    assert "minute" in first
    assert "In this notebook" in first
    assert "## Your turn" in last
    assert "?" in last.split("## Your turn")[1]
    texts = "".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    links = LINK.findall(texts)
    assert any(link.endswith(".ipynb") for link in links)
    assert not [link for link in links if not (FOLDER / link).exists()]
