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
