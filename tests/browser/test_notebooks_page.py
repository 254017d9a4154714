"""Notebooks as people run them: every cell in JupyterLab, in a real browser; no cell fails, what is shown is there."""

import pytest

pytest.importorskip("playwright")
from laboratory import ROOT, Notebook

LONG = 150
SHOWS = {
    "06_explorer": ".cdi-picture .cdi-map",
    "02_scales": ".js-plotly-plot .main-svg",
}


@pytest.mark.parametrize("name", SHOWS)
def test_a_notebook_runs_from_top_to_bottom(server, chromium, name):
    notebook = Notebook(server, chromium, f"{name}.ipynb", ROOT / f"notebooks/{name}.ipynb")
    try:
        # Its outputs are saved in it; they must come again.
        notebook.page.evaluate("() => jupyterapp.commands.execute('editmenu:clear-all')")
        notebook.page.locator(".jp-OutputArea-output").first.wait_for(state="detached")
        notebook.page.set_default_timeout(1000 * LONG)
        assert notebook.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')") is not False
        assert notebook.errors() == []
        cells = notebook.page.locator(".jp-CodeCell")
        prompts = cells.locator(".jp-InputPrompt").all_inner_texts()
        assert prompts == [f"[{n + 1}]:" for n in range(cells.count())]
        notebook.find(SHOWS[name]).wait_for()  # and stays, for whoever opens it
    finally:
        notebook.close()


def test_a_stored_figure_is_plotlys_and_no_wider_than_its_cell_beside_the_sidebar(server, chromium):
    """Whoever opens a tutorial sees live figures, not the pictures for readers without plotly, and none is cut."""
    name = "01_first_look.ipynb"
    (server.work / name).write_text((ROOT / "notebooks" / name).read_text())
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    try:
        page.goto(f"http://127.0.0.1:{server.port}/lab/tree/{name}?token={server.token}")
        page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=1000 * LONG)
        if not page.locator("#jp-left-stack").is_visible():  # as the workspace was left
            page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
        page.locator("#jp-left-stack").wait_for()
        page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 8")
        assert page.locator(".jp-RenderedSVG").count() == 0
        widths = page.locator(".jp-OutputArea-output:has(.js-plotly-plot)").evaluate_all(
            "all => all.map(one => [one.querySelector('.main-svg').getBoundingClientRect().width, one.clientWidth])"
        )
        assert all(figure <= cell for figure, cell in widths), widths
    finally:
        page.close()
