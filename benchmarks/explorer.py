"""From a knob to the new picture: the explorer in JupyterLab, in the system's Chromium, measured inside the page.

A slider is moved; the clock starts at that event and stops in the first task after the next animation frame, when the
browser has painted. Bytes are those that come over the kernel's web socket meanwhile, as Chromium counts them. Run:
python benchmarks/explorer.py [CHANGES]
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

CELL = """import json
import clipdiy_lab as lab
explorer = lab.explore(labels=lab.open_dataset("scenes").label_names[1:])
explorer"""
LIMIT = 16
CHANGE = """async ([knob, value]) => {
    const range = document.querySelector(`.cdi-strip input[type=range][aria-label='${knob}']`);
    await new Promise(done => setTimeout(done, 100));
    const start = performance.now();
    range.value = String(value);
    range.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
    return performance.now() - start;
}"""


def main(changes: int) -> None:
    """Print median, 90th percentile and bytes of each knob, and the size of a scene."""
    with opened_laboratory("Explorer benchmarks") as (server, browser):
        notebook = Notebook(server, browser, "explorer.ipynb", [CELL])
        notebook.run_all()
        notebook.find(".cdi-picture").wait_for()
        print(f"{machine()['processor']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
        for knob in ("saliency weight", "256 px", "64 px"):
            measure(notebook.page, knob, changes)
        size = notebook.ask("len(json.dumps(explorer.widget.root.scene))")
        print(f"a scene of {notebook.ask('len(explorer.view.labels)')} labels: {size / 1000:.0f} kB of JSON")
        print(f"load {os.getloadavg()[0]:.1f} after")


def measure(page: Page, knob: str, changes: int) -> None:
    """Move one slider to and fro."""
    received: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameReceived", lambda event: received.append(len(event["response"]["payloadData"])))
    took = [page.evaluate(CHANGE, [knob, step % 20 / 20]) for step in range(changes)]
    session.detach()
    high = statistics.quantiles(took, n=10)[-1]
    verdict = "within" if statistics.median(took) <= LIMIT else "above"
    print(
        f"{knob}: {len(took)} changes, median {statistics.median(took):.0f} ms, 90th percentile {high:.0f} ms "
        f"({verdict} {LIMIT} ms), {sum(received)} bytes"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
