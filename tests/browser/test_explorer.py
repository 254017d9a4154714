"""The explorer and the board as people use them: in JupyterLab, in a real browser, with the kernel's word beside it."""

import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright")
from laboratory import PATIENCE, Notebook, Server

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
                 "panel='overlay', scales=(256, 128, 64), scale_weights={}, scales_off=(), saliency_weight=1.0), explorer.apply(), "
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


def test_a_label_is_added_and_removed(page):
    page.find(".clipdiy-labels").dispatch_event("click")  # the field appears when the tags are clicked
    page.find(".clipdiy-labels input").wait_for()
    page.find(".clipdiy-labels input").focus()
    page.page.keyboard.type("tvmonitor")
    page.page.keyboard.press("Enter")
    page.until("explorer.view.labels[-1]", "tvmonitor")
    settle(page)
    assert "tvmonitor" in page.find(".clipdiy-legend").inner_text()
    tag = page.page.locator(".clipdiy-labels .jupyter-widget-tag", has_text="tvmonitor")
    tag.locator(".jupyter-widget-tag-close, .fa").first.click()
    page.until("explorer.view.labels", ("cat", "dog", "car", "train"))
    settle(page)
    assert "tvmonitor" not in page.find(".clipdiy-legend").inner_text()


def test_a_click_on_a_pixel_opens_the_inspector(page):
    box = page.find(".clipdiy-explorer .js-plotly-plot .nsewdrag").bounding_box()
    x, y = box["x"] + 0.55 * box["width"], box["y"] + 0.37 * box["height"]
    page.page.mouse.move(x - 3, y - 3)
    page.page.mouse.move(x, y)
    page.find(".clipdiy-explorer .hoverlayer text").wait_for(state="attached")
    page.page.mouse.click(x, y)
    page.find(".clipdiy-inspector").wait_for()
    row, column = page.ask("explorer.view.pixel")
    assert (abs(row - 0.37 * 256), abs(column - 0.55 * 256)) < (3, 3)
    told = page.find(".clipdiy-inspector")
    names, number = page.ask("explorer.run.attrs['labels']"), page.ask(f"int(explorer.run['labels'][{row}, {column}])")
    assert told.get_attribute("data-label") == json.loads(names)[number]
    assert told.locator("img").count() == 6
    assert "Without 64 px" in told.inner_text()


def test_an_image_is_uploaded_and_a_bad_upload_is_said(page, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(good)
    bad.write_text("this is no image")
    page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header").first.click()  # fmt: skip
    with page.page.expect_file_chooser() as chooser:
        page.find(".clipdiy-upload").click()
    chooser.value.set_files(str(bad))
    page.find(".clipdiy-error").wait_for()
    assert "the upload 'bad.png' cannot be used" in page.find(".clipdiy-error").inner_text()
    with page.page.expect_file_chooser() as chooser:
        page.find(".clipdiy-upload").click()
    chooser.value.set_files(str(good))
    page.until("(explorer.view.image.kind, explorer.view.image.name)", ("upload", "good.png"))
    page.until("explorer.error", "")
    settle(page)
    assert page.page.locator(".clipdiy-error").count() == 0
    page.until("explorer.run['image'].values[9, 9].tolist()", [200, 30, 30])


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


def test_a_saved_state_is_opened_again(page, server):
    press(page, ".clipdiy-weight-128", "End")
    page.until("explorer.config.weights", (1.0, 4.0, 1.0))
    page.ask("str(explorer.save('kept.json'))")
    assert json.loads((server.work / "kept.json").read_text())["config"]["scale_weights"]["128"] == 4.0
    press(page, ".clipdiy-weight-128", "Home")
    page.until("explorer.config.weights", (1.0, 0.0, 1.0))
    page.ask("explorer.load('kept.json')")
    page.find(".clipdiy-weight-128 .widget-readout").get_by_text("4.00").wait_for()
    settle(page)
    assert page.ask("explorer.config.weights") == (1.0, 4.0, 1.0)


def test_every_panel_shows_pictures_or_a_table(page):
    buttons = page.page.locator(".clipdiy-panels button")
    for number, least in ((1, 11), (2, 3), (3, 6)):
        buttons.nth(number).click()
        page.page.wait_for_function(f"document.querySelectorAll('.clipdiy-explorer figure img').length >= {least}")
    buttons.nth(4).click()
    page.find(".clipdiy-table").wait_for()
    buttons.nth(0).click()
    page.page.wait_for_function("document.querySelectorAll('.clipdiy-explorer figure img').length === 0")


def test_after_a_restart_of_the_kernel_the_cell_runs_again(notebook):
    notebook.restart()
    notebook.run_all()
    notebook.until("'explorer' in globals() and explorer.widget.painted >= 1", True)
    notebook.find(".clipdiy-legend").wait_for()
    painted = notebook.ask(PAINTED)
    notebook.find(".clipdiy-weight-256 .noUi-handle").wait_for()
    press(notebook, ".clipdiy-weight-256", "End")
    notebook.until(f"{PAINTED} > {painted}", True)
    assert notebook.errors() == []


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


def test_a_click_on_a_point_opens_its_images_and_one_opens_the_explorer(board):
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
    board.ask("setattr(board, 'limit', 200)")
    values = board.find(".clipdiy-values-saliency-weight input")
    values.fill("; ".join(f"{i / 40:g}" for i in range(40)))
    values.press("Enter")
    board.page.get_by_text("40 runs on 200 images").wait_for()
    board.find(".clipdiy-board-run").click()
    board.until("board.widget.bar.value >= 1", True)
    board.find(".clipdiy-board-cancel").click()
    board.until("board.scheduler.busy", False, PATIENCE)
    board.find(".clipdiy-board-busy").get_by_text("Stopped").wait_for()
    assert board.ask("len(board.table) < 40")
