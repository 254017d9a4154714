"""Film the instrument for the README: python tools/animate.py FILE.webp.

A page of `lab.report` in the system's Chromium: the pointer moves and windows light up, a click takes a pixel apart, a
slider turns, labels go, two states are compared.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page, sync_playwright

import clipdiy_lab as lab

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/browser"))
from chromium import find_chromium

SCENE, LABELS = 1, ["car", "tv/monitor", "train", "person", "cat", "boat"]
SIZE = {"width": 1180, "height": 720}
SHOWN = 940
"""Width of the film, pixels."""
BEAT = 90
"""Milliseconds of a frame."""
MOST = 2_000_000
QUALITY = 60


class Film:
    """Frames of a page, each with a pointer drawn where the mouse is."""

    def __init__(self, page: Page) -> None:
        self.page, self.frames, self.beats = page, list[Image.Image](), list[int]()
        self.at = (600.0, 400.0)

    def take(self, beats: int = 1) -> None:
        """Take a frame that stands for so many beats."""
        self.page.wait_for_timeout(60)
        frame = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        draw, (x, y) = ImageDraw.Draw(frame), self.at
        arrow = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12)]
        draw.polygon([(x + dx, y + dy) for dx, dy in arrow], fill="black", outline="white")
        self.frames.append(frame.resize((SHOWN, round(SHOWN * frame.height / frame.width)), Image.Resampling.LANCZOS))
        self.beats.append(beats * BEAT)

    def move(self, x: float, y: float, steps: int = 6) -> None:
        """Move the pointer, a frame a step."""
        start = self.at
        for step in range(1, steps + 1):
            share = step / steps
            self.at = (start[0] + share * (x - start[0]), start[1] + share * (y - start[1]))
            self.page.mouse.move(*self.at)
            self.take()

    def onto(self, selector: str, x: float = 0.5, y: float = 0.5, steps: int = 6) -> None:
        """Move to a place inside an element, in shares of its sides."""
        box = self.page.locator(selector).first.bounding_box()
        assert box is not None, selector
        self.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Move there and click."""
        self.onto(selector, x, y)
        self.page.mouse.click(*self.at)
        self.take(6)

    def choose(self, selector: str, value: str) -> None:
        """Move to a list and choose from it; the open list itself is drawn by the system, so no frame shows it."""
        self.onto(selector)
        self.page.locator(selector).select_option(value)
        self.take(8)


def main(target: Path) -> None:
    """Write the film."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), sync_playwright() as playwright:
        sample = lab.open_dataset("scenes")[SCENE]
        # A run names its image as it was given, and the film shows that name.
        Image.fromarray(sample.image).save("street.png")
        run = lab.load("tiny").segment("street.png", LABELS)
        page_file = lab.report(run, Path(folder) / "page.html", image="street.png")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(page_file.as_uri())
        page.wait_for_selector(".cdi-headline")
        page.evaluate("document.querySelector('.cdi').scrollIntoView()")
        page.mouse.move(600, 400)
        film = Film(page)
        play(film)
        browser.close()
    save(film, target)


def play(film: Film) -> None:
    """The story: windows vote, a click explains, a slider turns, a label goes, two states are compared."""
    picture = ".cdi-picture"
    film.take(6)
    for x, y in ((0.5, 0.35), (0.62, 0.42), (0.7, 0.75)):
        film.onto(picture, x, y, steps=5)
    film.click(picture, 0.52, 0.75)
    film.click(".cdi-compare button")
    slide(film, ".cdi-strip input[type=range]", 1.0, 0.15)
    film.onto(picture, 0.6, 0.6)
    film.take(6)
    slide(film, ".cdi-strip input[type=range]", 0.15, 1.0)
    film.click(".cdi-compare button")  # A comparison shows labels alone.
    film.choose("[aria-label='Explanation map']", "deciding_grid")
    film.click("[role=tab][data-name=grids]")
    film.click("[role=tab][data-name=labels]")
    film.onto(".cdi-chip[data-label='1']")
    film.take(4)
    film.onto(picture, 0.5, 0.35)
    film.take(8)


def slide(film: Film, selector: str, start: float, end: float, steps: int = 9) -> None:
    """Drag a slider from one value to another."""
    film.onto(selector, start)
    range_input = film.page.locator(selector).first
    for step in range(1, steps + 1):
        value = start + (end - start) * step / steps
        range_input.fill(f"{round(value / 0.05) * 0.05:.2f}")
        box = range_input.bounding_box()
        assert box is not None
        film.at = (box["x"] + value * box["width"], film.at[1])
        film.take()


def save(film: Film, target: Path) -> None:
    """Write the frames as an animated WebP below 2 MB."""
    first, *rest = film.frames
    first.save(target, save_all=True, append_images=rest, duration=film.beats, loop=0, quality=QUALITY, method=4)
    size = target.stat().st_size
    if size > MOST:
        raise SystemExit(f"{target} has {size:,} bytes, and {MOST:,} is the most; take fewer frames.")
    print(f"{target}: {len(film.frames)} frames, {size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
