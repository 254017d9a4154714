"""The repository as a stranger meets it: import cost, environments that agree, a front door that opens."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from commands import run
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image

import clipdiy_lab as lab

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "torch": "pytorch",
    "opencv-contrib-python-headless": "opencv",
    "kaleido": "python-kaleido",
    "playwright": "playwright-python",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def split(requirement: str) -> tuple[str, str]:
    name, bounds = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement.replace(" ", "")).groups()
    return normal(name), bounds


def pip_requirements() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = dict(split(one) for group in (project["dependencies"], *extras.values()) for one in group)
    return {CONDA_NAMES.get(name, name): bounds for name, bounds in wanted.items()}


def test_environment_yml_asks_for_what_pyproject_asks_for():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(split(one) for one in listed if isinstance(one, str))
    python = conda.pop("python")
    conda.pop("pip")
    assert conda == pip_requirements()
    assert python == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]


def test_the_conda_recipe_asks_for_what_pyproject_asks_for():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = dict(split(one) for one in recipe["requirements"]["run"])
    assert conda.pop("python") == project["requires-python"]
    pip = dict(split(one) for one in project["dependencies"])
    assert conda == {CONDA_NAMES.get(name, name): bounds for name, bounds in pip.items()}
    assert recipe["context"]["version"] == lab.__version__
    assert f"clipdiy-lab = {project['scripts']['clipdiy-lab']}" in recipe["build"]["python"]["entry_points"]


@pytest.fixture(scope="module")
def pins():
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def test_constraints_are_exact_and_within_the_bounds_of_pyproject(pins):
    back = {conda: pip for pip, conda in CONDA_NAMES.items()}
    bounds = {back.get(name, name): bounds for name, bounds in pip_requirements().items()}
    assert all(re.fullmatch(r"[\w.+]+", version) for version in pins.values())
    assert [name for name, bound in bounds.items() if not SpecifierSet(bound).contains(pins[name])] == []


def test_constraints_pin_everything_that_the_package_brings_here(pins):
    """Whatever is installed because the package, or one of its extras, asks for it, at any remove."""
    back = {conda: pip for pip, conda in CONDA_NAMES.items()}
    needed, left = set(), [(back.get(name, name), "") for name in pip_requirements()]
    while left:
        name, extra = left.pop()
        if (name, extra) in needed:
            continue
        try:
            requirements = map(Requirement, metadata.requires(name) or ())
        except metadata.PackageNotFoundError:  # of an extra that is not installed here
            continue
        needed.add((name, extra))
        for one in requirements:
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                left += [(normal(one.name), asked) for asked in ("", *one.extras)]
    assert len(needed) > 100
    assert {name for name, _ in needed} - pins.keys() - {"setuptools"} == set()  # which Python's own venv brings


def test_import_is_light():
    code = (
        "import time, sys; start = time.perf_counter(); import clipdiy_lab; took = time.perf_counter() - start; "
        "heavy = {'torch', 'plotly', 'numpy', 'xarray', 'pandas', 'open_clip', 'PIL'} & set(sys.modules); "
        "print(took, sorted(heavy))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    took, heavy = zip(*(run.stdout.strip().split(" ", 1) for run in runs), strict=True)
    assert set(heavy) == {"[]"}
    assert min(map(float, took)) < 0.5


def test_what_reads_runs_does_not_wait_for_the_networks():
    code = (
        "import sys, clipdiy_lab.analysis.explain, clipdiy_lab.pipeline.runs, clipdiy_lab.views.look, "
        "clipdiy_lab.views.report; print(*{'open_clip', 'timm', 'torchvision', 'transformers'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_every_module_imports_alone():
    for path in sorted((ROOT / "clipdiy_lab").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not module.endswith("__main__"):
            assert importlib.import_module(module)


def test_embedded_files_stay_small():
    files = [path for path in (ROOT / "clipdiy_lab" / "assets").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15_000_000


def test_the_wheel_carries_templates_and_manifests_and_finds_them(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as book:
        names = [name for name in book.namelist() if name.startswith("clipdiy_lab/data_manifests/")]
        shipped = {name.removeprefix("clipdiy_lab/data_manifests/"): book.read(name) for name in names}
        carried = set(book.namelist())
        book.extractall(tmp_path / "installed")
    assert "clipdiy_lab/py.typed" in carried
    views = ROOT / "clipdiy_lab" / "views"
    files = [*views.glob("templates/*.html"), *views.glob("page/*.css"), *views.glob("instrument/js/*")]
    assert {path.suffix for path in files} == {".css", ".html", ".js"}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= carried
    folder = ROOT / "data_manifests"
    beside = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert shipped == beside
    assert {"voc21.yaml", "published_results.csv", "expected_results.csv", "methods/naclip.yaml"} <= set(shipped)
    code = (
        "import clipdiy_lab as lab; from clipdiy_lab.datasets import manifests; "
        "print(manifests.manifest_folder(), *sorted(set(lab.list_datasets()['name'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "installed",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    )
    folder, *found = done.stdout.split()
    assert folder == str(tmp_path / "installed/clipdiy_lab/data_manifests")
    assert found == sorted(name.removesuffix(".yaml") for name in shipped if name.endswith(".yaml") and "/" not in name)


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme_runs_as_typed(readme, tmp_path, monkeypatch, capsys):
    """One block after the other, without a file that a fresh clone does not have; a warning is an error here."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(readme, "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "run.html").stat().st_size > 10_000
    assert capsys.readouterr().out == "".join(blocks(readme, "text"))


def test_the_commands_of_the_readme_run_as_typed(readme, tmp_path):
    """But for the model's name: its weights cannot be had here. The targets of make run in CI themselves."""
    Image.fromarray(lab.open_dataset("scenes")[1].image).save(tmp_path / "photo.jpg")
    makefile, lines = (ROOT / "Makefile").read_text(), "".join(blocks(readme, "bash")).splitlines()
    for line in lines:
        command, *arguments = shlex.split(line, comments=True)
        if command == "make":
            assert f"\n{arguments[0]}: " in makefile
            continue
        assert command == "clipdiy-lab"
        known = ["tiny" if argument.startswith("ViT-B-32/") else argument for argument in arguments]
        done = run(*known, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def made_for_the_site(page):
    """Whether a page is made when the site is built; links to it are checked then (`make docs`)."""
    name = page.relative_to(ROOT / "docs").as_posix()
    return name.startswith("reference/") or name in {f"{one}/index.md" for one in ("gallery", "live", "benchmarks")}


def test_the_readme_is_short_and_its_links_lead_somewhere(readme):
    assert len(readme[: readme.index("## Citation")].split()) < 900
    written = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *written]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            place = (document.parent / target).resolve()
            if "://" not in target and not (place.is_relative_to(ROOT / "docs") and made_for_the_site(place)):
                assert place.exists(), f"{document.name}: {target}"


def test_the_version_to_cite_is_this_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == lab.__version__
