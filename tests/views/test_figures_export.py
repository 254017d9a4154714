"""Figures as files for papers; what is missing is said in one sentence."""

import importlib.util
import re
import shutil
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import pytest
from commands import python
from PIL import Image

from clipdiy_lab import errors
from clipdiy_lab.views import figures

HAS_KALEIDO = importlib.util.find_spec("kaleido") is not None
BROWSER = next((b for b in ("chromium", "google-chrome", "chrome") if shutil.which(b)), None)
draws = pytest.mark.skipif(
    not (HAS_KALEIDO and BROWSER), reason="left out: drawing files needs kaleido and Chromium or Chrome"
)
SAVE = """
import plotly.graph_objects as go
from clipdiy_lab import errors
from clipdiy_lab.views import figures
try:
    figures.save(go.Figure(go.Bar(x=[1], y=[2])), {path!r})
except errors.FigureError as error:
    print("FigureError:", error)
"""


@pytest.mark.parametrize(("columns", "millimetres"), [(1, 84), (2, 174)])
def test_column_width(scene_run, columns, millimetres):
    figure = figures.grids(scene_run, "car")
    before = figure.layout.width
    made = figures.at_column_width(figure, columns)
    assert made.layout.width == pytest.approx(millimetres / 25.4 * 96)
    assert made.layout.font.size == pytest.approx(8 / 72 * 96)
    assert figure.layout.width == before, "a copy"


@draws
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("make", [figures.similarity, lambda run, label: figures.windows(run, 64, label)])
def test_grids_fill_the_column_and_their_colour_bar_is_as_wide(scene_run, tmp_path, make, columns):
    path = figures.save(make(scene_run, "car"), tmp_path / "grids.png", columns)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    colored = np.ptp(pixels, axis=-1) > 40  # text and paper are gray
    down = np.flatnonzero(colored.any(1))
    parts = np.split(down, np.flatnonzero(np.diff(down) > 1) + 1)
    assert len(parts) == 2, "the grids, and under them the colour bar"
    ends = [np.flatnonzero(colored[part].any(0))[[0, -1]] for part in parts]
    np.testing.assert_allclose(*ends, atol=0.01 * pixels.shape[1])
    assert np.diff(ends[0]) > 0.9 * pixels.shape[1]


@pytest.mark.parametrize(
    "use",
    [lambda run, path: figures.save(run, path), lambda run, _: figures.at_column_width(run),
     lambda run, _: figures.theme(run, "dark")],
    ids=["save", "at_column_width", "theme"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["png", "html"])
def test_a_run_is_no_figure(scene_run, tmp_path, use, kind):
    with pytest.raises(errors.FigureError, match=r"figure is a DataTree; expected .* such as lab.figures.overlay\(run"):
        use(scene_run, tmp_path / f"x.{kind}")
    assert list(tmp_path.iterdir()) == []


def test_html_needs_no_browser(scene_run, tmp_path):
    page = figures.save(figures.saliency(scene_run), tmp_path / "figure.html").read_text()
    assert "foreground probability" in page
    assert not re.search(r"<script[^>]+src=", page)
    again = figures.save(figures.saliency(scene_run), tmp_path / "again.html").read_text()
    assert len(again) == len(page)


def test_bad_targets(scene_run, tmp_path):
    figure = figures.image(scene_run)
    with pytest.raises(errors.FigureError, match=r"ends in '.jpeg'; expected one of .svg, .pdf, .png, .html"):
        figures.save(figure, tmp_path / "figure.jpeg")
    with pytest.raises(errors.FigureError, match="columns is 3"):
        figures.save(figure, tmp_path / "figure.svg", columns=3)
    with pytest.raises(errors.OutputError):
        figures.save(figure, tmp_path / "nowhere" / "figure.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("browser", ["/bin/false", "/nowhere/chromium"])
def test_a_missing_or_broken_browser_is_one_error_that_says_what_to_install(tmp_path, browser):
    said = python(SAVE.format(path=str(tmp_path / "figure.svg")), cwd=tmp_path, BROWSER_PATH=browser).stdout
    assert said.startswith("FigureError: A .svg file needs " + ("a browser" if HAS_KALEIDO else "kaleido"))
    assert "pip install 'kaleido>=1,<2'" in said
    assert "apt-get install chromium" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@draws
@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_files_for_papers(scene_run, tmp_path, kind):
    content = figures.save(figures.overlay(scene_run), tmp_path / f"figure.{kind}").read_bytes()
    if kind == "png":
        assert Image.open(BytesIO(content)).width == pytest.approx(84 / 25.4 * 300, abs=2)
    if kind == "svg":
        text = content.decode()
        assert float(re.search(r'width="([\d.]+)"', text)[1]) == pytest.approx(84 / 25.4 * 96)
        assert "The result over the image" in text
        assert text.count('href="data:image/') >= 3  # photograph, label colours and outlines
    if kind == "pdf":
        assert content.startswith(b"%PDF-")
        box = [float(v) for v in re.search(rb"/MediaBox\s*\[([^\]]+)\]", content)[1].split()]
        assert box[2] == pytest.approx(84 / 25.4 * 72, abs=2)


@draws
def test_every_chart_can_be_drawn_in_the_dark(sweep_table, tmp_path):
    figure = figures.theme(figures.sweep_heat(sweep_table, "scales", "saliency_weight"), "dark")
    assert isinstance(figure, go.Figure)
    picture = Image.open(figures.save(figure, tmp_path / "dark.png")).convert("RGB")
    assert picture.getpixel((2, 2)) == (0x16, 0x16, 0x1A)


@draws
def test_many_figures_are_drawn_by_one_browser(scene_run, sweep_table, tmp_path, monkeypatch):
    started = []
    kaleido = pytest.importorskip("kaleido")
    own = kaleido.Kaleido.open

    async def counted(browser):
        started.append(browser)
        return await own(browser)

    monkeypatch.setattr(kaleido.Kaleido, "open", counted)
    wanted = {
        tmp_path / "overlay.svg": figures.overlay(scene_run),
        tmp_path / "page.html": figures.saliency(scene_run),
        tmp_path / "heat.pdf": figures.sweep_heat(sweep_table, "scales", "saliency_weight"),
        tmp_path / "grids.png": figures.grids(scene_run, "car"),
    }
    assert figures.save_all(wanted, columns=2) == list(wanted)
    assert len(started) == 1
    assert "The result over the image" in (tmp_path / "overlay.svg").read_text()
    assert (tmp_path / "heat.pdf").read_bytes().startswith(b"%PDF-")
    assert Image.open(BytesIO((tmp_path / "grids.png").read_bytes())).width == pytest.approx(174 / 25.4 * 300, abs=2)
    assert "plotly" in (tmp_path / "page.html").read_text()


def test_one_bad_target_and_nothing_is_written(scene_run, tmp_path):
    figure = figures.image(scene_run)
    with pytest.raises(errors.FigureError, match=r"ends in '.jpeg'"):
        figures.save_all({tmp_path / "a.html": figure, tmp_path / "b.jpeg": figure})
    assert list(tmp_path.iterdir()) == []
