"""From a knob to the new picture: the explorer in JupyterLab, in the system's Chromium, measured inside the page.

A slider is moved by its key; the clock starts at that event and stops at the second animation frame after the labels'
picture is another one and has loaded, so the browser has painted it. Bytes are those that come over the kernel's web
socket within 200 ms more, as Chromium counts them. Run with: python benchmarks/explorer.py [CHANGES]
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

from playwright.sync_api import Page
from timing import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/browser"))
from laboratory import Notebook, opened_laboratory

CELL = """import clipdiy_lab as lab
explorer = lab.explore(labels=["cat", "dog", "car", "train", "tvmonitor"])
explorer"""
KNOBS = {"weight of 256 px": (".clipdiy-weight-256", "Home"), "saliency weight": (".clipdiy-saliency-weight", "End")}
LIMIT = 150
CHANGE = """([knob, key]) => new Promise((done, failed) => {
    const picture = document.querySelector(".clipdiy-explorer .clipdiy-labels[src]");
    const count = document.querySelector(".clipdiy-count");
    const handle = document.querySelector(knob + " .noUi-handle");
    setTimeout(() => { noted.disconnect(); done(null); }, 1000);
    let start = 0;
    const noted = new MutationObserver(async () => {
        noted.disconnect();
        await picture.decode();
        requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
    });
    noted.observe(picture, {attributes: true, attributeFilter: ["src"]});
    start = performance.now();
    handle.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
})"""


def main(changes: int) -> None:
    """Print median, 90th percentile and bytes of each knob."""
    with opened_laboratory("Explorer benchmarks") as (server, browser):
        notebook = Notebook(server, browser, "explorer.ipynb", [CELL])
        notebook.run_all()
        notebook.find(".clipdiy-legend").wait_for()
        notebook.find(".clipdiy-explorer .clipdiy-labels[src]").wait_for()
        print(f"{machine()['processor']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
        for name, (knob, first) in KNOBS.items():
            measure(notebook.page, name, knob, first, changes)
        print(f"load {os.getloadavg()[0]:.1f} after")


def measure(page: Page, name: str, knob: str, first: str, changes: int) -> None:
    """Move one slider step by step to where the labels change, and back."""
    received: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameReceived", lambda event: received.append(len(event["response"]["payloadData"])))
    page.locator(f"{knob} .noUi-handle").first.evaluate(
        "(handle, key) => handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))", first
    )
    page.wait_for_timeout(1000)
    up = "ArrowUp" if first == "Home" else "ArrowDown"
    down = "ArrowDown" if up == "ArrowUp" else "ArrowUp"
    took, size, same, step = [], [], 0, 0
    while len(took) < changes and step < 10 * changes:
        received.clear()
        spent = page.evaluate(CHANGE, [knob, up if step // 15 % 2 == 0 else down])
        step += 1
        page.wait_for_timeout(200)  # the rest of this change's messages; they count as its bytes
        if spent is None:  # the same labels: there is no new picture
            same += 1
            continue
        took.append(spent)
        size.append(sum(received) * 3 / 4)  # frames are told in base 64
    session.detach()
    high = statistics.quantiles(took, n=10)[-1]
    verdict = "within" if statistics.median(took) <= LIMIT else "above"
    print(
        f"{name}: {len(took)} changes, median {statistics.median(took):.0f} ms, 90th percentile {high:.0f} ms "
        f"({verdict} {LIMIT} ms), {statistics.median(size) / 1000:.1f} kB a change, at most {max(size) / 1000:.1f} kB; "
        f"{same} steps changed no label"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
