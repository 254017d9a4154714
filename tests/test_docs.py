"""The site says what the code has: checked on the pages' sources, without building the site (`make docs` does that)."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.schema import STAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN = [ROOT / "README.md", *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts)]


@pytest.fixture(scope="module")
def maker():
    """Modules of docs/_ext that need nothing but the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        names = ("pages", "interface", "command_line", "knobs_and_stages", "gallery")
        yield {name: importlib.import_module(name) for name in names}
        for name in names:
            del sys.modules[name]


@pytest.fixture
def reference(maker, tmp_path, monkeypatch):
    """The folder of the reference, made anew."""
    for module in maker.values():
        if hasattr(module, "SOURCE"):
            monkeypatch.setattr(module, "SOURCE", tmp_path)
    maker["interface"].make_pages()
    maker["command_line"].make_page()
    maker["knobs_and_stages"].make_pages()
    return tmp_path / "reference"


def test_every_public_name_has_one_place_in_the_reference(maker, reference):
    text = "".join(path.read_text() for path in (reference / "api").glob("*.rst"))
    modules = maker["interface"].public_modules()
    names = [name for name in lab.__all__ if name not in modules]
    names += [f"{name}.{one}" for name, module in modules.items() for one in set(module.__all__) - set(lab.__all__)]
    assert len(names) > 100
    shown = re.findall(r"^\.\. auto\w+:: clipdiy_lab::(.+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(names)
    listed = (reference / "api" / "index.rst").read_text().split()
    assert {path.stem for path in (reference / "api").glob("*.rst")} - {"index"} <= set(listed)


def test_every_error_is_in_the_reference(reference):
    text = (reference / "api" / "errors.rst").read_text()
    known = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, lab.ClipdiyError)]
    assert len(known) > 15
    assert all(f"::{one.__name__}\n" in text for one in known)


def test_every_knob_and_stage_is_in_the_reference(reference):
    knobs, stages = (reference / "config.md").read_text(), (reference / "stages.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)` \|", knobs, re.MULTILINE)) == sorted(vars(Config()))
    assert re.findall(r"^\| \S*`(\w+)` \|", stages, re.MULTILINE) == list(STAGES)


def test_every_figure_is_in_the_gallery_by_a_few_lines(maker):
    (_, preparation), *cells = maker["gallery"].cells().items()
    assert sorted(name for name, _ in cells) == lab.figures.__all__
    for name, code in cells:
        assert f"lab.figures.{name}(" in code
        assert "figure = " in code
        assert len(code.splitlines()) <= 5
        assert getattr(lab.figures, name).__module__.rsplit(".", 1)[-1] in maker["gallery"].GROUPS
    assert preparation.count("\n") < 20


def test_every_notebook_is_a_tutorial():
    listed = re.findall(r"^\d\d_\w+$", (DOCS / "tutorials" / "index.md").read_text(), re.MULTILINE)
    assert listed == [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def options_of(command):
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)}


def test_commands_in_documents_have_the_words_and_options_that_they_are_shown_with(maker):
    known = {words: options_of(command) for words, command, _ in maker["command_line"].commands()}
    seen = 0
    for path in WRITTEN:
        for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.replace("[", "").replace("]", ""), comments=True)
                if not words or words[0] != "clipdiy-lab":
                    continue
                command = next((name for name in (" ".join(words[:3]), " ".join(words[:2])) if name in known), None)
                assert command, f"{path.name}: {line}"
                asked = {word.split("=")[0] for word in words if word.startswith("--")}
                assert asked <= known[command] | {"--help"}, f"{path.name}: {line}"
                seen += 1
    assert seen > 30


@pytest.mark.parametrize("page", ["own_dataset", "encoder", "saliency"])
def test_objects_of_ones_own_work_as_they_are_told(page, tmp_path, monkeypatch):
    """The blocks of Python in their order, up to those about a package that is not there."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    text = (DOCS / "howto" / f"{page}.md").read_text(encoding="utf-8").split("## Register names")[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
