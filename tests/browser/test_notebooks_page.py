"""Notebooks as people run them: every cell in JupyterLab, in a real browser; no cell fails, what is shown is there."""

import pytest

pytest.importorskip("playwright")
from laboratory import ROOT, Notebook

LONG = 150
SHOWS = {
    "06_explorer": ".clipdiy-explorer .clipdiy-photograph[src]",
    "07_ablations_and_tables": ".js-plotly-plot .main-svg",
}


# The explorer's notebook closes it in its last cell, so what is shown is noted when it comes.
NOTE = """shown => {
    const look = () => { window.cameUp ||= document.querySelector(shown) !== null; };
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


@pytest.mark.parametrize("name", SHOWS)
def test_a_notebook_runs_from_top_to_bottom(server, chromium, name):
    notebook = Notebook(server, chromium, f"{name}.ipynb", ROOT / f"notebooks/{name}.ipynb")
    try:
        # Its outputs are saved in it; they must come again.
        notebook.page.evaluate("() => jupyterapp.commands.execute('editmenu:clear-all')")
        notebook.page.locator(".jp-OutputArea-output").first.wait_for(state="detached")
        notebook.page.set_default_timeout(1000 * LONG)
        notebook.page.evaluate(NOTE, SHOWS[name])
        assert notebook.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')") is not False
        assert notebook.errors() == []
        cells = notebook.page.locator(".jp-CodeCell")
        prompts = cells.locator(".jp-InputPrompt").all_inner_texts()
        assert prompts == [f"[{n + 1}]:" for n in range(cells.count())]
        notebook.page.wait_for_function("window.cameUp")
    finally:
        notebook.close()
