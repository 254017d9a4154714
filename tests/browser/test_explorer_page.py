"""The explorer and the board as people use them: in JupyterLab, in a real browser, with the kernel's word beside it."""

import re

import pytest

pytest.importorskip("playwright")
from laboratory import Notebook, Server

EXPLORER = """
import clipdiy_lab as lab
explorer = lab.explore(labels=["cat", "dog", "car", "train"])
explorer
"""
BOARD = """
import clipdiy_lab as lab
board = lab.ablation_board(lab.load("tiny"), lab.open_dataset("scenes"), limit=2)
board.choose(saliency_weight=[0.0, 0.5, 1.0])
board
"""
PAINTED = "explorer.widget.painted"


@pytest.fixture(scope="module")
def server(tmp_path_factory, chromium):
    made = Server(tmp_path_factory.mktemp("jupyter"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def notebook(server, chromium):
    """One notebook with an explorer; every test brings it back to where it starts from."""
    made = Notebook(server, chromium, "explorer.ipynb", [EXPLORER])
    made.run_all()
    made.find(".clipdiy-legend").wait_for()
    made.find(".js-plotly-plot .nsewdrag").wait_for(state="attached")
    yield made
    made.close()


@pytest.fixture
def page(notebook):
    notebook.ask("(explorer.open_scene('val', 1), explorer.change(labels=('cat', 'dog', 'car', 'train'), pixel=None, "
                 "panel='overlay', scales=(256, 128, 64), scale_weights={}, scales_off=(), saliency_weight=1.0), "
                 "explorer.apply(), "
                 "explorer.scheduler.wait(60), explorer.widget.read_draft()) and None")  # fmt: skip
    assert notebook.ask("explorer.error") == ""
    return notebook


def shown_picture(page: Notebook) -> str:
    """What the browser shows as labels: the last image of the figure."""
    return page.page.locator(".clipdiy-explorer .js-plotly-plot .imagelayer image").last.get_attribute("href")


def press(page: Notebook, selector: str, key: str, times: int = 1) -> None:
    page.find(f"{selector} .noUi-handle").focus()
    for _ in range(times):
        page.page.keyboard.press(key)


def settle(page: Notebook) -> None:
    """Wait until the kernel has nothing to do, and the browser shows its last picture."""
    page.until("explorer.scheduler.busy", False)
    page.find(f".clipdiy-count[data-painted='{page.ask(PAINTED)}']").wait_for()


def test_the_explorer_appears_without_an_error(page):
    assert page.errors() == []
    assert page.find(".clipdiy-legend").inner_text().count("%") >= 1
    assert page.page.locator(".jp-OutputArea-output[data-mime-type='text/html']").count() == 0  # no stand-in beside it


def test_moving_a_scale_weight_changes_the_picture(page):
    before, painted = shown_picture(page), page.ask(PAINTED)
    press(page, ".clipdiy-weight-256", "End")
    page.until("explorer.config.weights", (4.0, 1.0, 1.0))
    page.until(f"{PAINTED} > {painted}", True)
    settle(page)
    assert shown_picture(page) != before
    assert shown_picture(page) == page.ask("explorer.widget.figure.data[1].source")


def test_a_storm_of_two_hundred_slider_events_ends_on_the_last_value(page):
    press(page, ".clipdiy-weight-64", "Home")
    page.page.evaluate("""() => {
        const handle = document.querySelector('.clipdiy-weight-64 .noUi-handle');
        for (let i = 0; i < 200; i++) {
            const key = i % 4 === 3 ? 'ArrowDown' : 'ArrowUp';
            handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        }
    }""")
    slider = "explorer.widget.scale_rows[64][1].value"
    shown = page.find(".clipdiy-weight-64 .widget-readout").inner_text()
    page.until(f"round({slider}, 2)", float(shown))
    settle(page)
    assert page.ask(f"explorer.config.scale_weights[64] == {slider}")
    expected = page.ask("explorer._bench.labels(explorer.view).labels.sum().item()")
    assert page.ask("explorer.run['labels'].values.sum().item()") == expected
    assert shown_picture(page) == page.ask("explorer.widget.figure.data[1].source")


def test_encoding_waits_for_the_button_and_can_be_cancelled(page):
    painted = page.ask(PAINTED)
    page.ask("explorer.change(scales=(256, 128, 64, 32), scales_off=())")
    page.find(".clipdiy-wait").wait_for()
    page.find(".clipdiy-cancel").click()
    page.until("explorer.scheduler.busy", False)
    assert page.ask(PAINTED) == painted
    page.ask("explorer.change(scales=(256, 128, 64, 48))")
    page.find(".clipdiy-apply").click()
    page.until(f"{PAINTED} > {painted}", True)
    page.until("sorted(explorer.run['scales'].children)", ["s048", "s064", "s128", "s256"])


@pytest.fixture(scope="module")
def board(server, chromium):
    made = Notebook(server, chromium, "board.ipynb", [BOARD])
    made.run_all()
    made.find(".clipdiy-cost").wait_for()
    yield made
    made.close()


def test_a_sweep_runs_on_the_board_and_its_rows_arrive(board):
    assert board.find(".clipdiy-cost").inner_text() == "3 runs on 2 images"
    values = board.find(".clipdiy-values-saliency-weight input")
    values.fill("0; 0.25; 0.5; 0.75; 1")
    values.press("Enter")
    board.page.get_by_text("5 runs on 2 images").wait_for()
    board.find(".clipdiy-board-run").click()
    board.find(".clipdiy-board-count[data-rows='5']").wait_for()
    board.until("board.table['miou'].notna().sum().item()", 5)
    assert len(re.findall(r"\d\d\.\d", board.find(".clipdiy-rows").inner_text())) >= 5
    assert board.page.locator(".clipdiy-board .scatterlayer .point").count() == 5
