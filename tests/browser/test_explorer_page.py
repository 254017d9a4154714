"""The explorer and the board as people use them: in JupyterLab, in a real browser, with the kernel's word beside it."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright")
from laboratory import Notebook

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
def notebook(server, chromium):
    """One notebook with an explorer; every test brings it back to where it starts from."""
    made = Notebook(server, chromium, "explorer.ipynb", [EXPLORER])
    made.run_all()
    made.find(".clipdiy-legend").wait_for()
    made.find(".clipdiy-picture").wait_for()
    yield made
    made.close()


@pytest.fixture
def page(notebook):
    start = {"labels": ("cat", "dog", "car", "train"), "pixel": None, "panel": "overlay", "scales": (256, 128, 64),
             "weights": {}, "scales_off": (), "saliency_weight": 1.0}  # fmt: skip
    notebook.ask(f"(explorer.open_scene('val', 1), explorer.change(**{start}), explorer.apply()) and None")
    settle(notebook)
    assert notebook.ask("explorer.error") == ""
    return notebook


def shown_picture(page: Notebook) -> str:
    """What the browser shows as labels."""
    return page.find(".clipdiy-explorer .clipdiy-labels[src]").get_attribute("src")


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


def test_moving_the_weight_of_a_grid_changes_the_picture(page):
    before, painted = shown_picture(page), page.ask(PAINTED)
    press(page, ".clipdiy-weight-s256", "End")
    page.until("explorer.config.weights", {"s256": 4.0})
    page.until(f"{PAINTED} > {painted}", True)
    settle(page)
    assert shown_picture(page) != before
    assert shown_picture(page) == page.ask("explorer.widget.picture.labels")


def test_a_label_is_added_and_removed(page):
    field = page.find(".clipdiy-labels input")
    field.click()
    page.page.keyboard.type("tvmonitor")
    page.page.keyboard.press("Enter")
    page.until("explorer.view.labels", ("cat", "dog", "car", "train", "tvmonitor"))
    settle(page)
    assert "tvmonitor" in page.find(".clipdiy-legend").inner_text()
    page.page.wait_for_function("document.activeElement.placeholder === 'add a label'")  # ready for the next
    page.page.keyboard.type("bus")
    page.page.keyboard.press("Enter")
    page.until("explorer.view.labels[4:]", ("tvmonitor", "bus"))
    for name in ("bus", "tvmonitor"):
        page.page.locator(".clipdiy-tag", has_text=name).click()
    page.until("explorer.view.labels", ("cat", "dog", "car", "train"))
    settle(page)
    assert "tvmonitor" not in page.find(".clipdiy-legend").inner_text()


def test_a_scale_is_typed_and_taken_out(page):
    page.find(".clipdiy-scales input").click()
    page.page.keyboard.type("small")
    page.page.keyboard.press("Enter")
    page.page.get_by_text("'small' is no whole number").wait_for()
    page.page.keyboard.type("48")
    page.page.keyboard.press("Enter")
    page.find(".clipdiy-weight-s048").wait_for()
    page.until("(explorer.config.scales, explorer.error)", ((256, 128, 64, 48), ""))
    page.page.locator(".clipdiy-scales .clipdiy-tag", has_text="256").click()
    page.until("explorer.config.scales", (128, 64, 48))
    page.find(".clipdiy-weight-s256").wait_for(state="detached")


def test_a_click_on_a_pixel_opens_the_inspector(page):
    box = page.find(".clipdiy-picture").bounding_box()
    page.page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.37 * box["height"])
    told = page.find(".clipdiy-inspector")
    told.wait_for()
    row, column = page.ask("explorer.view.pixel")
    assert page.find(".clipdiy-pointer").inner_text() == f"row {row}, column {column}"
    assert abs(row - 0.37 * 256) <= 1
    assert abs(column - 0.55 * 256) <= 1
    names, number = page.ask("explorer.run.attrs['labels']"), page.ask(f"int(explorer.run['labels'][{row}, {column}])")
    assert told.get_attribute("data-label") == json.loads(names)[number]
    assert told.get_attribute("data-pixel") == f"{row},{column}"
    text = told.inner_text()
    assert re.search(r"Without 64 px: (still )?\w+\.", text)
    best = page.ask(f"float(explorer.run['fused'].values[:, {row}, {column}].max())")
    assert f"{best:.4f}" in text
    crops = told.locator("img")
    assert crops.count() == 6
    assert told.evaluate("told => [...told.querySelectorAll('img')].every(one => one.complete && one.naturalWidth > 0)")
    mark = page.find(".clipdiy-mark").bounding_box()
    assert abs(mark["x"] + mark["width"] / 2 - box["x"] - 0.55 * box["width"]) < 3


def test_a_bad_upload_is_said_and_a_good_one_is_shown(page, tmp_path):
    good = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(good, "PNG")
    header = page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header", has_text="Image").first
    header.click()
    upload = page.find(".clipdiy-upload")
    upload.wait_for()
    painted = page.ask(PAINTED)
    for name, content in (("bad.png", b"this is no image"), ("good.png", good.getvalue())):
        with page.page.expect_file_chooser() as chooser:
            upload.click()
        chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})
        if name == "bad.png":
            page.find(".clipdiy-error").wait_for()
            assert "the upload 'bad.png' cannot be used" in page.find(".clipdiy-error").inner_text()
            assert page.ask(PAINTED) == painted
    page.until("(explorer.view.image.kind, explorer.view.image.name)", ("upload", "good.png"))
    page.until(f"{PAINTED} > {painted}", True)
    settle(page)
    assert page.page.locator(".clipdiy-error").count() == 0
    assert page.ask("explorer.run['image'].values[9, 9].tolist()") == [200, 30, 30]
    page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header", has_text="Scales").first.click()
    page.find(".clipdiy-weight-s256 .noUi-handle").wait_for()


def test_a_saved_state_is_opened_again(page, server):
    readout = page.find(".clipdiy-weight-s128 .widget-readout")
    page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header", has_text="Code and files").first.click()
    page.ask("explorer.change(weights={128: 4.0})")
    page.find(".clipdiy-weight-s128 .noUi-handle[aria-valuenow='4.0']").wait_for(state="attached")
    page.find(".clipdiy-save").click()
    page.page.get_by_text("saved to explorer.json").wait_for()
    assert json.loads((server.work / "explorer.json").read_text())["config"]["weights"]["s128"] == 4.0
    page.ask("explorer.change(weights={128: 0.5})")
    assert page.ask("dict(explorer.config.weights)") == {"s128": 0.5}
    page.find(".clipdiy-load").click()
    page.page.get_by_text("loaded explorer.json").wait_for()
    assert page.ask("dict(explorer.config.weights)") == {"s128": 4.0}
    page.page.locator(".clipdiy-settings .jupyter-widget-Collapse-header", has_text="Scales").first.click()
    readout.get_by_text("4.00").wait_for()


def test_every_panel_shows_pictures_or_a_table(page):
    buttons = page.page.locator(".clipdiy-panels button")
    drawn = (
        "() => [...document.querySelectorAll('.clipdiy-explorer figure img')].filter(i => i.naturalWidth > 0).length"
    )
    for number, least in ((1, 11), (2, 3), (3, 6)):
        buttons.nth(number).click()
        page.page.wait_for_function(f"({drawn})() >= {least}")
        settle(page)
        assert page.page.evaluate(drawn) == page.page.locator(".clipdiy-explorer figure img").count()
        # The panels before are gone when the next one comes: each has pictures of its own number.
        buttons.nth(0).click()
        page.page.wait_for_function(f"({drawn})() === 0")
    buttons.nth(4).click()
    page.find(".clipdiy-table").wait_for()
    assert "mean margin" in page.find(".clipdiy-table").inner_text()


def test_a_storm_of_two_hundred_slider_events_ends_on_the_last_value(page):
    press(page, ".clipdiy-weight-s064", "Home")
    page.page.evaluate("""() => {
        const handle = document.querySelector('.clipdiy-weight-s064 .noUi-handle');
        for (let i = 0; i < 200; i++) {
            const key = i % 4 === 3 ? 'ArrowDown' : 'ArrowUp';
            handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        }
    }""")
    slider = "explorer.widget.scale_rows[64][1].value"
    page.until("bool(explorer.config.weights)", True)
    shown = page.find(".clipdiy-weight-s064 .widget-readout").inner_text()
    page.until(f"round({slider}, 2)", float(shown))
    settle(page)
    assert page.ask(f"explorer.config.weights['s064'] == {slider}")
    expected = page.ask("explorer._bench.labels(explorer.view).labels.sum().item()")
    assert page.ask("explorer.run['labels'].values.sum().item()") == expected
    assert shown_picture(page) == page.ask("explorer.widget.picture.labels")


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
    page.until("sorted(explorer.run['grids'].children)", ["s048", "s064", "s128", "s256"])


def test_after_a_restart_of_the_kernel_the_cell_runs_again(notebook):
    notebook.restart()
    works_again(notebook)


def test_a_kernel_that_dies_is_told_and_the_cell_runs_again(notebook):
    notebook.lose_kernel()
    dialog = notebook.find(".jp-Dialog-content")
    dialog.wait_for()
    assert "appears to have died. It will restart automatically" in dialog.inner_text()
    dialog.locator("button").last.click()
    notebook.await_kernel()
    works_again(notebook)


def works_again(notebook: Notebook) -> None:
    """Run the cell of a new kernel and turn a knob."""
    notebook.run_all()
    notebook.until("'explorer' in globals() and explorer.widget.painted >= 1", True)
    settle(notebook)
    painted = notebook.ask(PAINTED)
    notebook.find(".clipdiy-weight-s256 .noUi-handle").wait_for()
    press(notebook, ".clipdiy-weight-s256", "End")
    notebook.until(f"{PAINTED} > {painted}", True)
    settle(notebook)
    assert shown_picture(notebook) == notebook.ask("explorer.widget.picture.labels")
    assert notebook.errors() == []


@pytest.fixture(scope="module")
def board(server, chromium):
    made = Notebook(server, chromium, "board.ipynb", [BOARD])
    made.run_all()
    made.find(".clipdiy-cost").wait_for()
    yield made
    made.close()


@pytest.fixture(scope="module")
def swept(board):
    """The board after a sweep of five rows."""
    assert board.find(".clipdiy-cost").inner_text() == "3 runs on 2 images"
    values = board.find(".clipdiy-values-saliency-weight input")
    values.fill("0; 0.25; 0.5; 0.75; 1")
    values.press("Enter")
    board.page.get_by_text("5 runs on 2 images").wait_for()
    board.find(".clipdiy-board-run").click()
    board.find(".clipdiy-board-count[data-rows='5']").wait_for()
    board.until("board.scheduler.busy", False)
    return board


def test_a_sweep_runs_on_the_board_and_its_rows_arrive(swept):
    assert swept.ask("board.table['miou_percent'].notna().sum().item()") == 5
    assert len(re.findall(r"\d\d\.\d", swept.find(".clipdiy-rows").inner_text())) >= 5
    swept.page.locator(".clipdiy-board .scatterlayer .point").nth(4).wait_for()
    assert swept.page.locator(".clipdiy-board .scatterlayer .point").count() == 5


def test_a_click_on_a_point_opens_its_images_and_one_opens_the_explorer(swept):
    board = swept
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
    board.page.get_by_text("Encoding images").wait_for()
    board.find(".clipdiy-board-cancel").click()
    board.page.get_by_text("Stopped; the rows that were finished are kept.").wait_for()
    board.until("board.scheduler.busy", False)
    assert board.ask("len(board.table) < 40")
    assert board.errors() == []
