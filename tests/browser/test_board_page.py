"""The board as people use it: in JupyterLab, in a real browser, with the kernel's word beside it."""

import re

import pytest

pytest.importorskip("playwright")
from laboratory import Notebook

BOARD = """
import clipdiy_lab as lab
board = lab.ablation_board(lab.load("tiny"), lab.open_dataset("scenes"), limit=2)
board.choose(saliency_weight=[0.0, 0.5, 1.0])
board
"""


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
    board.find(".clipdiy-board .cdi-picture").wait_for()
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
