"""Take the pictures of the explorer and the board that the README shows: python tools/screenshots.py FOLDER.

They are taken in a JupyterLab of its own, in the system's Chromium, by what the browser tests use.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/browser"))
from laboratory import Notebook, Server, opened_laboratory

EXPLORER = """import clipdiy_lab as lab
explorer = lab.explore(labels=["cat", "car", "train", "tvmonitor", "bus"])
explorer"""
BOARD = """import clipdiy_lab as lab
board = lab.ablation_board(lab.load("tiny"), lab.open_dataset("scenes"), limit=10)
board.choose(saliency_weight=[0.0, 0.25, 0.5, 0.75, 1.0], placement=["stretched", "centred"])
board"""
COLORS, MOST = 256, 300_000


def main(folder: Path) -> None:
    """Take both pictures."""
    with opened_laboratory("Screenshots") as (server, browser):
        keep(explorer(server, browser), folder / "explorer.png")
        keep(board(server, browser), folder / "board.png")


def explorer(server: Server, browser: Browser) -> bytes:
    """Open the explorer, click on the car, take its picture."""
    notebook = Notebook(server, browser, "explorer.ipynb", [EXPLORER])
    notebook.page.set_viewport_size({"width": 1400, "height": 1200})
    notebook.run_all()
    picture = notebook.find(".cdi-picture")
    picture.wait_for()
    box = picture.bounding_box()
    notebook.page.mouse.click(box["x"] + 0.58 * box["width"], box["y"] + 0.38 * box["height"])
    notebook.page.mouse.move(10, 10)
    notebook.page.wait_for_timeout(500)
    return notebook.find(".cdi").screenshot()


def board(server: Server, browser: Browser) -> bytes:
    """Run the board's grid, show the images of a row, take its picture."""
    notebook = Notebook(server, browser, "board.ipynb", [BOARD])
    notebook.page.set_viewport_size({"width": 1400, "height": 1500})
    notebook.run_all()
    notebook.find(".cdi-run").click()
    notebook.find(".cdi-board[data-rows='10']").wait_for()
    notebook.page.locator(".cdi-rowtable tbody button").nth(4).click()
    notebook.find(".cdi-open").wait_for()
    notebook.page.mouse.move(10, 10)
    notebook.page.wait_for_timeout(1000)
    return notebook.find(".cdi-board").screenshot()


def keep(picture: bytes, path: Path) -> None:
    """Write a screenshot with fewer colours: small enough for a repository, and sharp text."""
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLORS, kmeans=2)
    few.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {few.width} x {few.height}, {size / 1000:.0f} kB")
    if size > MOST:
        sys.exit(f"{path} is larger than {MOST / 1000:.0f} kB.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
