"""The explorer and the board as people use them: in JupyterLab, in a real browser, with the kernel's word beside it."""

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
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


def take_away(page: Notebook, label: str) -> None:
    tag = page.page.locator(".clipdiy-labels .jupyter-widget-tag", has_text=label)
    tag.locator(".jupyter-widget-tag-close").click()


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


def test_a_label_is_typed_and_taken_away_again(page):
    field = page.find(".clipdiy-labels .clipdiy-add input")
    field.click()
    page.page.keyboard.type("tvmonitor")
    page.page.keyboard.press("Enter")
    page.until("explorer.view.labels", ("cat", "dog", "car", "train", "tvmonitor"))
    settle(page)
    assert field.input_value() == ""
    assert "tvmonitor" in page.find(".clipdiy-legend").inner_text()
    take_away(page, "tvmonitor")
    page.until("explorer.view.labels", ("cat", "dog", "car", "train"))
    settle(page)
    assert "tvmonitor" not in page.find(".clipdiy-legend").inner_text()


def test_a_scale_is_typed_and_waits_for_the_network(page):
    field = page.find(".clipdiy-scales .clipdiy-add input")
    field.click()
    page.page.keyboard.type("half")
    page.page.keyboard.press("Enter")
    page.find(".clipdiy-error").get_by_text("'half' is no whole number").wait_for()
    field.fill("96")
    page.page.keyboard.press("Enter")
    page.find(".clipdiy-apply").click()
    page.until("sorted(explorer.run['scales'].children)", ["s064", "s096", "s128", "s256"])
    page.find(".clipdiy-weight-96").wait_for()


def test_a_click_on_a_pixel_opens_the_inspector(page):
    box = page.find(".clipdiy-explorer .js-plotly-plot .nsewdrag").bounding_box()
    x, y = box["x"] + 0.55 * box["width"], box["y"] + 0.37 * box["height"]
    page.page.mouse.move(x - 3, y - 3)
    page.page.mouse.move(x, y)
    page.find(".clipdiy-explorer .hoverlayer text").wait_for(state="attached")
    page.page.mouse.click(x, y)
    told = page.find(".clipdiy-inspector")
    told.wait_for()
    row, column = page.ask("explorer.view.pixel")
    assert max(abs(row - 0.37 * 256), abs(column - 0.55 * 256)) < 3
    names, number = page.ask("explorer.run.attrs['labels']"), page.ask(f"int(explorer.run['labels'][{row}, {column}])")
    assert told.get_attribute("data-label") == json.loads(names)[number]
    assert told.locator("img").count() == 6
    assert "Without 64 px" in told.inner_text()


def test_an_image_is_uploaded_and_a_bad_upload_is_said(page, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(good)
    bad.write_text("this is no image")
    page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header", has_text="Image").click()
    for path, said in ((bad, "the upload 'bad.png' cannot be used"), (good, "")):
        with page.page.expect_file_chooser() as chooser:
            page.find(".clipdiy-upload").click()
        chooser.value.set_files(str(path))
        if said:
            page.find(".clipdiy-error").get_by_text(said).wait_for()
    page.until("(explorer.view.image.kind, explorer.view.image.name)", ("upload", "good.png"))
    settle(page)
    assert page.ask("explorer.error") == ""
    assert page.page.locator(".clipdiy-error").count() == 0
    assert page.ask("explorer.run['image'].values[9, 9].tolist()") == [200, 30, 30]
    page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header", has_text="Scales").click()


def test_what_is_wrong_is_said_and_the_explorer_goes_on(page):
    """All scales off, then a label of 300 characters, then neither."""
    painted = page.ask(PAINTED)
    for scale in (256, 128, 64):
        page.find(f".clipdiy-scale-{scale} input").uncheck()
    page.find(".clipdiy-error").wait_for()
    page.find(".clipdiy-scale-64 input").check()
    page.until("explorer.error", "")
    page.until("explorer.config.scales", (64,))
    field = page.find(".clipdiy-labels .clipdiy-add input")
    field.fill("x" * 300)
    field.press("Enter")
    page.find(".clipdiy-error").wait_for()
    page.page.locator(".clipdiy-labels .jupyter-widget-tag", has_text="xxx").locator(
        ".jupyter-widget-tag-close"
    ).click()
    page.until("explorer.error", "")
    settle(page)
    assert page.ask(PAINTED) > painted


def test_a_saved_state_is_opened_again(page, server):
    press(page, ".clipdiy-weight-128", "End")
    page.until("explorer.config.weights", (1.0, 4.0, 1.0))
    headers = page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header")
    headers.filter(has_text="Code and files").click()
    page.find(".clipdiy-save").click()
    page.find(".clipdiy-wait").get_by_text("saved to").wait_for()
    assert json.loads((server.work / "explorer.json").read_text())["config"]["scale_weights"]["128"] == 4.0
    page.ask("explorer.change(scale_weights={128: 0.5})")
    page.until("explorer.config.weights", (1.0, 0.5, 1.0))
    page.find(".clipdiy-load").click()
    page.until("explorer.config.weights", (1.0, 4.0, 1.0))
    headers.filter(has_text="Scales").click()
    page.find(".clipdiy-weight-128 .widget-readout").get_by_text("4.00").wait_for()
    settle(page)


def test_every_view_shows_pictures_or_a_table(page):
    buttons = page.page.locator(".clipdiy-panels button")
    for number, least in ((1, 11), (2, 3), (3, 6)):
        buttons.nth(number).click()
        page.page.wait_for_function(f"document.querySelectorAll('.clipdiy-explorer figure img').length >= {least}")
    buttons.nth(4).click()
    page.find(".clipdiy-table").wait_for()
    buttons.nth(0).click()
    page.page.wait_for_function("document.querySelectorAll('.clipdiy-explorer figure img').length === 0")


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


def test_a_click_on_a_point_opens_its_images_and_an_image_the_explorer(board):
    point = board.page.locator(".clipdiy-board .scatterlayer .point").nth(1).bounding_box()
    x, y = point["x"] + point["width"] / 2, point["y"] + point["height"] / 2
    board.page.mouse.move(x - 4, y - 4)
    board.page.mouse.move(x, y)
    board.find(".clipdiy-board .hoverlayer text").wait_for(state="attached")
    board.page.mouse.click(x, y)
    board.find(".clipdiy-board-open").wait_for()
    assert board.ask("board.widget.row.value") == 1
    board.find(".clipdiy-board-open").click()
    board.find(".clipdiy-explorer .clipdiy-legend").wait_for()
    assert board.ask("board.config_of(1).saliency_weight") == 0.25
    assert board.ask("board.widget.open_explorer.config == board.config_of(1)")


def test_a_sweep_is_cancelled_on_the_board(board):
    limit = board.find(".clipdiy-board-limit input")
    limit.fill("200")
    limit.press("Enter")
    values = board.find(".clipdiy-values-saliency-weight input")
    values.fill("; ".join(f"{i / 40:g}" for i in range(40)))
    values.press("Enter")
    board.page.get_by_text("40 runs on 200 images").wait_for()
    board.find(".clipdiy-board-run").click()
    board.until("board.widget.bar.value >= 1", True)
    board.find(".clipdiy-board-cancel").click()
    board.until("board.scheduler.busy", False)
    board.find(".clipdiy-board-busy").get_by_text("Stopped").wait_for()
    assert board.ask("len(board.table)") < 40


@pytest.mark.parametrize("name", ["06_explorer", "07_ablations_and_tables"])
def test_a_notebook_runs_from_top_to_bottom(name, server, chromium):
    content = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    figures = sum("plotly" in kind for cell in code for one in cell["outputs"] for kind in one.get("data", {}))
    notebook = Notebook(
        server, chromium, f"{name}.ipynb", [*("".join(cell["source"]) for cell in code), "FINISHED = True"]
    )
    try:
        notebook.run_all()
        notebook.until("'FINISHED' in globals()", True, timeout=150)
        drawn = "document.querySelectorAll('.jp-RenderedPlotly .main-svg .bglayer, .js-plotly-plot .bglayer').length"
        notebook.page.wait_for_function(f"{drawn} >= {figures}")
        assert figures >= 1
        assert notebook.errors() == []
        assert notebook.page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
    finally:
        notebook.close()


def test_after_a_restart_of_the_kernel_the_cell_runs_again(notebook):
    notebook.restart()
    runs_again(notebook)


def test_a_kernel_that_dies_is_said_and_the_cell_runs_again(notebook):
    os.kill(notebook.ask("__import__('os').getpid()"), signal.SIGKILL)
    notebook.page.locator(".jp-Dialog", has_text="appears to have died").wait_for()
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()
    notebook.await_kernel()
    runs_again(notebook)


def runs_again(notebook: Notebook) -> None:
    notebook.run_all()
    notebook.until("'explorer' in globals() and explorer.widget.painted >= 1", True)
    notebook.find(".clipdiy-legend").wait_for()
    painted = notebook.ask(PAINTED)
    notebook.find(".clipdiy-weight-256 .noUi-handle").wait_for()
    press(notebook, ".clipdiy-weight-256", "End")
    notebook.until(f"{PAINTED} > {painted}", True)
    assert notebook.errors() == []
