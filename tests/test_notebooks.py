"""Guards around nbval, which compares nothing in a cell without an execution count and never compares pictures."""

import ast
import base64
import html
import json
import re
from io import BytesIO
from pathlib import Path

import nbconvert
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NOT_COMPARED = "nbval-ignore-output"
TABLE = '<table border="1" class="dataframe">'
FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/svg+xml"
OWN_OBJECTS = "09_bring_your_own"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def loaded(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def says_something(cell):
    """Whether nbval compares text of the cell: what it prints, or a table."""
    tables = [TABLE in "".join(out.get("data", {}).get("text/html", "")) for out in cell["outputs"]]
    return any(tables) or any(out.get("name") == "stdout" for out in cell["outputs"])


def figures_of(path):
    outputs = [output.get("data", {}) for cell in code_of(loaded(path)) for output in cell["outputs"]]
    return [data for data in outputs if FIGURE in data]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 12


def test_the_notebook_is_executed_light_and_really_compared(path):
    notebook = loaded(path)
    cells = code_of(notebook)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run it top to bottom: make notebooks"
    compared = [cell for cell in cells if NOT_COMPARED not in cell["metadata"].get("tags", [])]
    assert len([cell for cell in compared if says_something(cell)]) >= 5
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


def test_a_figure_has_a_picture_for_readers_without_plotly(path):
    for data in figures_of(path):
        svg, layout = "".join(data[PICTURE]), data[FIGURE]["layout"]
        inside = re.search('href="data:image/webp;base64,([^"]+)"', svg)
        assert inside, "make notebooks"
        picture = Image.open(BytesIO(base64.b64decode(inside[1])))
        assert picture.width == pytest.approx(1.5 * layout["width"], abs=1)
        assert picture.height == pytest.approx(1.5 * layout["height"], abs=1)
        title = html.unescape(re.search("<title>(.*)</title>", svg)[1])
        assert title == html.unescape(layout["title"]["text"]).replace("<br>", " ")


def test_a_page_made_of_a_notebook_shows_its_figures_and_tables(path, recwarn):
    page, _ = nbconvert.HTMLExporter().from_filename(str(path))
    assert page.count('src="data:image/svg+xml;base64,') == len(figures_of(path))
    tables = sum(
        TABLE in "".join(o.get("data", {}).get("text/html", "")) for c in code_of(loaded(path)) for o in c["outputs"]
    )
    assert page.count('class="dataframe"') == tables
    assert not [one for one in recwarn if "not able to be represented" in str(one.message)]


def test_every_picture_has_numbers_beside_it(path):
    """Only text is compared, so a figure stands next to a cell with some, up to one figure between them."""
    cells = code_of(loaded(path))
    prints = [says_something(cell) for cell in cells]
    for place, cell in enumerate(cells):
        if any(FIGURE in out.get("data", {}) for out in cell["outputs"]):
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
