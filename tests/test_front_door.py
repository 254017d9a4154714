"""Public names: what `clipdiy_lab` lists, what opens, and what documents and notebooks tell people to write."""

import ast
import json
import re
from pathlib import Path

import pytest

import clipdiy_lab as lab

ROOT = Path(__file__).parents[1]
ROOMS = "analysis|cli|datasets|method|models|pipeline|views"
# Decisions and the record of changes speak to those who work on the package.
INSIDE = {"decisions.md", "CHANGELOG.md", "CONTRIBUTING.md"}
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").glob("**/*.md") if "_build" not in path.parts),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(path):
    """What a document tells its readers to run: blocks of Python, or the cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("name", lab.__all__)
def test_every_public_name_opens(name):
    assert getattr(lab, name) is not None


@pytest.mark.parametrize("module", [lab, lab.datasets, lab.explain, lab.figures, lab.results, lab.saliency])
def test_a_module_lists_what_it_has(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)


@pytest.mark.parametrize("module", [lab, lab.datasets])
def test_completion_offers_public_names_alone(module):
    assert {"__version__", *module.__all__} >= set(dir(module)) >= set(module.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segmnter'"):
        lab.segmnter  # noqa: B018
    with pytest.raises(AttributeError, match=r"'clipdiy_lab\.datasets' has no attribute 'fetch'"):
        lab.datasets.fetch  # noqa: B018


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS], ids=lambda path: path.name)
def test_nobody_is_sent_inside(path):
    """Code that is shown imports the front door, and takes from it what is there."""
    for block in code_of(path):
        if block.lstrip().startswith(("%", "!")):
            continue
        assert not re.search(rf"^\s*(from|import) clipdiy_lab\.({ROOMS})", block, re.MULTILINE), block
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lab":
                assert node.attr in lab.__all__ or node.attr == "__version__", node.attr


def test_every_public_name_is_explained_somewhere():
    told = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS if path.name not in INSIDE)
    told += "\n".join("\n".join(code_of(path)) for path in NOTEBOOKS)
    assert [name for name in lab.__all__ if not re.search(rf"\blab\.{name}\b", told)] == []
