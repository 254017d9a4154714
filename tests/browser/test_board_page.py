"""The board as people use it: in JupyterLab, in a real browser, with the kernel's word beside it."""

import re

import pytest

pytest.importorskip("playwright")
from laboratory import ROOT, Notebook

BOARD = """
import clipdiy_lab as lab
board = lab.ablation_board(lab.load("tiny"), lab.open_dataset("scenes"), limit=2)
board.choose(saliency_weight=[0.0, 0.5, 1.0])
board
"""
ROWS = ".cdi-rowtable tbody tr"


@pytest.fixture(scope="module")
def notebook(server, chromium):
    made = Notebook(server, chromium, "board.ipynb", [BOARD])
    made.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    made.run_all()
    made.find(".cdi-run").wait_for()
    yield made
    made.close()


@pytest.fixture
def board(notebook):
    """The board with the grid that it starts with; nothing runs, nothing is refused."""
    notebook.ask("(board.cancel(), board.wait(60), board.looker.wait(60)) and None")
    others = "dict.fromkeys(set(board.grid) - {'saliency_weight'})"
    notebook.ask(f"(board.choose(**{others}, saliency_weight=[0.0, 0.5, 1.0]), setattr(board, 'limit', 2)) and None")
    said(notebook, ".cdi-price", "3 rows on 2 images")
    values = field(notebook, "saliency_weight")
    values.focus()
    values.press("Escape")
    return notebook


@pytest.fixture
def swept(board):
    """The board after a sweep of five rows."""
    type_values(board, "saliency_weight", "0, 0.25, 0.5, 0.75, 1")
    said(board, ".cdi-price", "5 rows on 2 images")
    run(board, 5)
    return board


def field(board: Notebook, knob: str):
    return board.find(f".cdi-values[data-knob='{knob}']")


def type_values(board: Notebook, knob: str, text: str) -> None:
    field(board, knob).fill(text)
    field(board, knob).press("Enter")


def said(board: Notebook, place: str, text: str) -> None:
    board.page.locator(place, has_text=text).first.wait_for()


def click(board: Notebook, name: str) -> None:
    board.page.get_by_role("button", name=name, exact=True).click()


def run(board: Notebook, rows: int) -> None:
    board.find(".cdi-run").click()
    said(board, ".cdi-busy-text", f"Done: {rows} rows")
    board.find(f".cdi-board[data-rows='{rows}']").wait_for()


def column(board: Notebook, place: int) -> list[str]:
    """Texts of a column of the table, from the top; the marks of the best left out."""
    texts = board.page.locator(f"{ROWS} > *:nth-child({place})").all_inner_texts()
    return [text.replace("best", "").strip() for text in texts]


def test_the_board_opens_whole(board):
    assert board.errors() == []
    facts = board.page.locator(".cdi-facts li").all_inner_texts()
    assert facts == ["protocol mmseg", "dataset scenes-val-voc", "split val", "model tiny", "saliency found-tiny",
                     "images 2 of 200"]  # fmt: skip
    assert board.page.locator(".jp-OutputArea-output[data-mime-type='text/html']").count() == 0


def test_a_sweep_runs_on_the_board_and_its_rows_are_named(swept):
    assert swept.ask("board.table['miou_percent'].notna().sum().item()") == 5
    assert column(swept, 1) == ["0", "0.25", "0.5", "0.75", "1"]
    expected = swept.ask("[f'{score:.1f}' for score in board.table['miou_percent']]")
    assert column(swept, 2) == expected
    assert swept.page.locator(".cdi-plot .cdi-dot").count() == 5
    assert not swept.find(".cdi-runbar progress").is_visible()
    assert "left" not in swept.find(".cdi-runbar").inner_text()


def test_the_best_row_is_marked_and_whether_the_images_tell_it_apart(swept):
    best = swept.ask("int(board.table['miou_percent'].idxmax())")
    assert swept.page.locator(f"{ROWS}[data-row='{best}'] .cdi-best").count() == 1
    assert swept.page.locator(".cdi-rowtable .cdi-best").count() == 1
    assert swept.find(".cdi-standing").inner_text() == swept.ask("board.results.standing").replace("  ", " ")
    near = swept.ask("int((~board.results.behind['apart']).sum()) - 1")
    assert swept.page.locator(f"{ROWS} .cdi-unseen", has_text="cannot be told apart").count() == near


def test_a_click_on_a_heading_sorts_and_says_so(swept):
    heading = swept.page.locator(".cdi-rowtable thead th", has_text="mIoU")
    scores = [float(text) for text in column(swept, 2)]
    heading.get_by_role("button").click()
    assert [float(text) for text in column(swept, 2)] == sorted(scores, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    swept.page.keyboard.press("Enter")  # the heading keeps the focus
    assert [float(text) for text in column(swept, 2)] == sorted(scores)
    assert heading.get_attribute("aria-sort") == "ascending"
    swept.page.keyboard.press("Enter")
    assert [float(text) for text in column(swept, 2)] == scores
    assert heading.get_attribute("aria-sort") == "none"


def test_a_row_shows_its_images_with_truth_and_one_opens_the_explorer(swept):
    swept.page.locator(f"{ROWS}[data-row='1'] button").focus()
    swept.page.keyboard.press("Enter")
    said(swept, ".cdi-rowimages h3", "Images of saliency weight 0.25")
    assert swept.page.locator(".cdi-cards li").count() == 2
    titles = swept.page.locator(".cdi-cards li").first.locator("figcaption").all_inner_texts()
    assert titles == ["predicted", "truth", "errors"]
    assert swept.page.locator(f"{ROWS}[aria-current='true']").get_attribute("data-row") == "1"
    swept.page.locator(".cdi-open").first.click()
    swept.find(".cdi-opened .cdi-picture").wait_for()
    said(swept, ".cdi-opened h3", "saliency weight 0.25")
    assert swept.ask("board.widget.explorer.config == board.config_of(1)")
    click(swept, "Close")
    swept.find(".cdi-opened").wait_for(state="hidden")
    assert swept.ask("board.widget.explorer") is None


def test_a_click_on_a_point_or_a_cell_shows_the_images_of_its_row(swept):
    swept.page.locator(".cdi-plot .cdi-rowmark[data-row='3']").click()
    said(swept, ".cdi-rowimages h3", "Images of saliency weight 0.75")
    swept.ask("board.choose(saliency_weight=[0.0, 1.0], placement=['stretched', 'centred'])")
    said(swept, ".cdi-price", "4 rows")
    run(swept, 4)
    assert not swept.find(".cdi-rowimages").is_visible()  # they were of a row of another grid
    assert swept.page.locator(".cdi-plot .cdi-cell").count() == 4
    swept.page.locator(".cdi-plot .cdi-rowmark").nth(1).click()
    said(swept, ".cdi-rowimages h3", "Images of saliency weight 0, placement centred")


def test_three_knobs_are_bars(board):
    more = "placement=['stretched', 'centred'], interpolation=['bilinear', 'nearest']"
    board.ask(f"board.choose(saliency_weight=[0.0, 1.0], {more})")
    said(board, ".cdi-price", "8 rows")
    run(board, 8)
    assert board.page.locator(".cdi-plot .cdi-rowbar").count() == 8


def test_published_values_stand_beside_ours_once_each(swept):
    manifest = "__import__('clipdiy_lab.datasets.manifests', fromlist=['']).load_manifest('voc21')"
    swept.ask(f"setattr(type(board.dataset), 'manifest', {manifest})")
    try:
        swept.ask("board.start()")
        said(swept, ".cdi-published summary", "4 published values")
        assert swept.page.locator(".cdi-plot .cdi-theirs").count() == 1
        said(swept, ".cdi-plot text", "CLIP-DIY, published: 59.9")
    finally:
        swept.ask("delattr(type(board.dataset), 'manifest')")


def test_values_are_refused_beside_their_field_and_nothing_changes(board):
    board.find(".cdi-addrow select").select_option("scales")
    click(board, "Add knob")
    field(board, "scales").wait_for()
    before = board.ask("(board.grid, board.widget.root.form['price'])")
    for text, reason in (("0, soon", "saliency_weight='soon' is never valid"),
                         ("(0, 0.5, 1)", "saliency_weight=(0, 0.5, 1) is never valid"),
                         (" , ;", "saliency_weight has no values")):  # fmt: skip
        type_values(board, "saliency_weight", text)
        beside = board.page.locator("li", has=field(board, "saliency_weight")).locator(".cdi-refused")
        board.page.locator("li .cdi-refused", has_text=reason).wait_for()
        assert "Still in effect: 0.0; 0.5; 1.0" in beside.inner_text()
        assert field(board, "saliency_weight").get_attribute("aria-invalid") == "true"
    scales = board.page.locator("li", has=field(board, "scales")).locator(".cdi-refused")
    assert scales.inner_text() == ""
    assert board.ask("(board.grid, board.widget.root.form['price'])") == before
    field(board, "saliency_weight").press("Escape")
    assert field(board, "saliency_weight").input_value() == "0.0; 0.5; 1.0"
    assert beside.inner_text() == ""
    board.find(".cdi-images").fill("900")
    board.find(".cdi-images").press("Enter")
    said(board, ".cdi-addrow .cdi-refused", "images is 900; expected 1 to 200")
    assert board.ask("board.limit") == 2


def test_an_empty_grid_says_what_to_do_and_no_longer_once_there_is_a_knob(board):
    click(board, "Do not vary saliency weight")
    said(board, ".cdi-price", "Choose a knob to vary")
    assert not board.find(".cdi-run").is_visible()
    board.ask("board.start()")
    said(board, ".cdi-error", "the grid is empty")
    board.find(".cdi-addrow select").select_option("saliency_weight")
    click(board, "Add knob")
    said(board, ".cdi-price", "3 rows on 2 images")
    assert board.find(".cdi-error").inner_text() == ""


def test_an_estimate_is_asked_for_and_goes_when_the_grid_changes(board):
    board.ask("board.passes.pace.passes.clear()")
    type_values(board, "saliency_weight", "0, 0.1, 0.2, 0.3")
    said(board, ".cdi-price", "4 rows")
    click(board, "How long?")
    said(board, ".cdi-price", "about")
    type_values(board, "saliency_weight", "0, 0.1")
    said(board, ".cdi-price", "2 rows on 2 images")
    board.ask("board.choose(refine=['guided'])")
    board.page.wait_for_function("!document.querySelector('.cdi-price').textContent.includes('about')")


def test_files_and_the_clipboard_get_the_table_with_its_caption(swept):
    click(swept, "Copy LaTeX")
    said(swept, ".cdi-boardfiles", "LaTeX copied.")
    copied = swept.page.evaluate("navigator.clipboard.readText()")
    sweep = "lab.sweep(board.source, board.dataset, board.grid, limit=2, stores=board.passes._kept.name)"
    assert copied == swept.ask(f"lab.results.to_latex({sweep})")
    assert "protocol: mmseg" in copied
    click(swept, "Export")
    said(swept, ".cdi-boardfiles", "Exported to board.tex.")
    assert (swept.server.work / "board.tex").read_text() == copied
    swept.find(".cdi-boardfiles select").select_option("csv")
    assert "Exported" not in swept.find(".cdi-boardfiles").inner_text()
    click(swept, "Export")
    said(swept, ".cdi-boardfiles", "Exported to board.csv.")
    click(swept, "Run")
    board_files = swept.page.locator(".cdi-boardfiles", has_text="Exported")
    board_files.wait_for(state="detached")


def test_a_sweep_is_cancelled_and_goes_on_with_the_rest(board):
    board.ask("setattr(board, 'limit', 150)")
    type_values(board, "saliency_weight", ", ".join(f"{i / 40:g}" for i in range(40)))
    said(board, ".cdi-price", "40 rows on 150 images")
    board.find(".cdi-run").click()
    said(board, ".cdi-busy-text", "Encoding images")
    assert not board.find(".cdi-run").is_visible()
    click(board, "Cancel")
    said(board, ".cdi-busy-text", "Stopped; 0 of 40 rows are finished and kept.")
    assert not board.find(".cdi-runbar progress").is_visible()
    assert "left" not in board.find(".cdi-count").inner_text() or not board.find(".cdi-count").is_visible()
    assert board.errors() == []


@pytest.mark.parametrize("width", [600, 900, 1400, 1800])
def test_nothing_is_cut_at_any_width(swept, width):
    swept.page.locator(f"{ROWS}[data-row='4'] button").click()
    said(swept, ".cdi-rowimages h3", "Images of saliency weight 1")
    try:
        swept.page.set_viewport_size({"width": width, "height": 900})
        swept.page.wait_for_timeout(500)
        wide = """[...document.querySelectorAll('.cdi-board *')].filter(one => {
            const box = one.getBoundingClientRect(), all = document.querySelector('.cdi-board').getBoundingClientRect();
            return box.width > 0 && !one.closest('.cdi-unseen') && box.right > all.right + 1;
        }).map(one => one.className.baseVal ?? (one.className || one.tagName))"""
        assert swept.page.evaluate(wide) == []
        cut = """[...document.querySelectorAll('.cdi-board button, .cdi-board th, .cdi-board td, .cdi-scroll')].filter(
            one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""
        assert swept.page.evaluate(cut) == []
    finally:
        swept.page.set_viewport_size({"width": 1280, "height": 1500})


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_axe_finds_nothing_serious_and_no_paper_is_of_the_other_theme(swept, theme):
    axe = ROOT / "node_modules/axe-core/axe.min.js"
    assert axe.exists(), "npm ci has not been run"
    swept.page.locator(f"{ROWS}[data-row='2'] button").click()
    said(swept, ".cdi-rowimages h3", "Images of saliency weight 0.5")
    swept.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    swept.page.wait_for_function(
        "light => document.querySelector('.cdi-host').dataset.theme === light", arg=theme.split()[1].lower()
    )
    swept.page.add_script_tag(content=axe.read_text())
    found = swept.page.evaluate("() => axe.run('.cdi-host')")
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    papers = """[...document.querySelectorAll('.cdi-board, .cdi-board *')].map(one => getComputedStyle(one))
        .flatMap(style => [style.backgroundColor]).filter(color => /^rgb\\(/.test(color))"""
    grey = [color for color in swept.page.evaluate(papers) if _grey(color)]
    assert grey
    assert {_bright(color) for color in grey} == {theme == "JupyterLab Light"}


def _grey(color: str) -> bool:
    parts = list(map(int, re.findall(r"\d+", color)[:3]))
    return max(parts) - min(parts) < 24


def _bright(color: str) -> bool:
    return sum(map(int, re.findall(r"\d+", color)[:3])) > 3 * 128


def test_a_kernel_that_stops_leaves_the_rows_and_says_so(swept):
    rows = column(swept, 2)
    swept.lose_kernel()
    swept.find(".jp-Dialog-content").wait_for()
    swept.page.locator(".jp-Dialog-content button").last.click()
    said(swept, ".cdi-lost", "The kernel has stopped")
    assert column(swept, 2) == rows
    assert not swept.find(".cdi-run").is_visible()
