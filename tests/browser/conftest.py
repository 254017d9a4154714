"""A real browser for the tests in this folder."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from chromium import find_chromium

if TYPE_CHECKING:
    from laboratory import Server
    from playwright.sync_api import Browser


# Not of the session: while it lives, an event loop runs in this thread, and asyncio.run in other files would fail.
@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """This machine's Chromium, started; without one the test is skipped, except in CI, where it must be there."""
    found = find_chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        what = "playwright (pip install playwright) and Chromium (Debian: apt-get install chromium)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"CI must have {what}")
        pytest.skip(f"needs {what}")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start as root, which containers run as; the pages are our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(chromium: "Browser", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """A JupyterLab of the module's own."""
    from laboratory import Server

    made = Server(tmp_path_factory.mktemp("jupyter"))
    yield made
    made.stop()
