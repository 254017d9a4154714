"""How soon the explorer answers: from a key on a slider to the new picture in a browser, and the bytes that travel.

``python benchmarks/explorer.py [--changes N] [--out FOLDER]``. A JupyterLab on loopback, Debian's Chromium, `tiny` on a
scene; each change throws a slider from one end to the other, so the picture is another one every time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from timing import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
from laboratory import Notebook, Server

CELL = """
import clipdiy_lab as lab
explorer = lab.explore(labels=["cat", "dog", "car", "train", "tvmonitor"])
explorer
"""
SLIDERS = {"weight of 64 px": ".clipdiy-weight-64", "saliency weight": ".clipdiy-saliency-weight"}
# From the key until the last image of the figure is another one and the frame that shows it has begun.
CHANGE = """([selector, key]) => new Promise(done => {
    const picture = () => [...document.querySelectorAll('.clipdiy-explorer .imagelayer image')].at(-1).href.baseVal;
    const before = picture(), start = performance.now();
    const watch = new MutationObserver(() => {
        if (picture() === before) return;
        watch.disconnect();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
    });
    const figure = document.querySelector('.clipdiy-explorer .js-plotly-plot');
    watch.observe(figure, {subtree: true, childList: true, attributes: true});
    const handle = document.querySelector(selector + ' .noUi-handle');
    handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
})"""


class Wire:
    """Counts the bytes of the page's websockets, both ways."""

    def __init__(self, page: Page) -> None:
        self.bytes = 0
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        for event in ("Network.webSocketFrameSent", "Network.webSocketFrameReceived"):
            session.on(event, lambda frame: self._count(frame["response"]["payloadData"]))

    def _count(self, payload: str) -> None:
        self.bytes += len(payload) * 3 // 4  # the messages are binary, shown in base64


def measure(changes: int) -> dict[str, dict[str, float]]:
    """Throw each slider to and fro; milliseconds and bytes a change."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        try:
            notebook = Notebook(server, browser, "explorer.ipynb", [CELL])
            wire = Wire(notebook.page)
            notebook.run_all()
            notebook.find(".clipdiy-legend").wait_for()
            for name, selector in SLIDERS.items():
                if not notebook.find(selector).is_visible():
                    notebook.page.locator(".jupyter-widget-Collapse-header", has_text="Saliency").click()
                notebook.find(f"{selector} .noUi-handle").wait_for()
                found[name] = _throw(notebook, wire, selector, changes)
        finally:
            browser.close()
            server.stop()
    return found


def _throw(notebook: Notebook, wire: Wire, selector: str, changes: int) -> dict[str, float]:
    took, sizes = [], []
    for number in range(changes + 2):
        before = wire.bytes
        milliseconds = notebook.page.evaluate(CHANGE, [selector, ("Home", "End")[number % 2]])
        notebook.until("explorer.scheduler.busy", False)
        if number >= 2:  # the first two warm up
            took.append(milliseconds)
            sizes.append(wire.bytes - before)
    tenths = statistics.quantiles(took, n=10)
    return {"median_ms": statistics.median(took), "p90_ms": tenths[-1], "bytes": statistics.median(sizes), "n": changes}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "explorer": measure(options.changes)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "explorer.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found["explorer"], indent=1))


if __name__ == "__main__":
    main()
