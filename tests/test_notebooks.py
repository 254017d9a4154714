"""Guards around nbval, which compares nothing in a cell without an execution count and never compares pictures."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
NOT_COMPARED = "nbval-ignore-output"


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_executed_light_and_really_compared(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run it top to bottom: make notebooks"
    outputs = [out for cell in cells if NOT_COMPARED not in cell["metadata"].get("tags", []) for out in cell["outputs"]]
    assert sum(out["output_type"] == "stream" and out["name"] == "stdout" for out in outputs) >= 5
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    assert not [out for cell in cells for out in cell["outputs"] if out.get("name") == "stderr"]
    assert "widgets" not in notebook["metadata"]
    assert path.stat().st_size < 1_000_000
    assert all(len("".join(cell["source"]).splitlines()) <= 12 for cell in cells)
