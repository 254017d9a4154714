"""A JupyterLab of the tests' own: a server on loopback, a notebook on a page, and the kernel's own word."""

import ast
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import find_chromium
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[2]
PATIENCE = 40
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}


@contextmanager
def opened_laboratory(who: str) -> Iterator[tuple["Server", Browser]]:
    """Start a server and this machine's Chromium, for scripts; end the script where there is none."""
    found = find_chromium()
    if found is None:
        sys.exit(f"{who} need Chromium (Debian: apt-get install chromium).")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        server = Server(Path(place))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield server, browser
        finally:
            browser.close()
            server.stop()


class Server:
    """JupyterLab without news, terminals, extensions of the user or a browser, with a token, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for name, values in _SETTINGS.items():
            path = folder / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        own = {
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "spaces",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
        }
        env = os.environ | {name: str(folder / place) for name, place in own.items()}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
        options = {"ServerApp.token": self.token, "ServerApp.root_dir": str(self.work), "ServerApp.port": self.port,
                   "ServerApp.ip": "127.0.0.1", "ServerApp.terminals_enabled": False, "ServerApp.port_retries": 0,
                   "LabApp.expose_app_in_browser": True, "LabApp.news_url": None}  # fmt: skip
        flags = [f"--{name}={value}" for name, value in options.items()]
        self.log = (folder / "server.log").open("w")
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *flags]
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        self._await()

    def _await(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("api/status")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"JupyterLab did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")

    def get(self, path: str):
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}")
        asked.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def _of_cells(cells: list[str]) -> dict:
    return {
        "nbformat": 4, "nbformat_minor": 5,
        # Without a kernel's name JupyterLab asks for one, in a dialog that swallows every click.
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [{"cell_type": "code", "id": f"cell{i}", "source": one, "metadata": {}, "outputs": [],
                   "execution_count": None} for i, one in enumerate(cells)],
    }  # fmt: skip


class Notebook:
    """A notebook on a page, and its kernel."""

    def __init__(self, server: Server, browser: Browser, name: str, cells: list[str] | Path) -> None:
        self.server, self.name = server, name
        text = cells.read_text() if isinstance(cells, Path) else json.dumps(_of_cells(cells))
        (server.work / name).write_text(text)
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 1500})
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.goto(f"http://127.0.0.1:{server.port}/doc/tree/{name}?token={server.token}")
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.page.wait_for_function("window.jupyterapp !== undefined")
        self.client: BlockingKernelClient | None = None
        self.await_kernel()

    def await_kernel(self) -> None:
        """Wait until the kernel answers on a channel of our own."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            kernels = [one["kernel"]["id"] for one in self.server.get("api/sessions") if one["path"] == self.name]
            if kernels and kernels[0]:
                break
            time.sleep(0.1)
        if self.client is not None:
            self.client.stop_channels()
        self.client = BlockingKernelClient()
        self.client.load_connection_file(str(self.server.folder / "runtime" / f"kernel-{kernels[0]}.json"))
        # Without heartbeat: on a machine that is busy a kernel which starts is slow, not dead.
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=PATIENCE)

    def run_all(self) -> None:
        """Run every cell in the browser, and wait for the last."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")

    def restart(self) -> None:
        """Restart the kernel as the menu does, without its question."""
        self.page.evaluate("() => { jupyterapp.commands.execute('kernelmenu:restart'); }")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.await_kernel()

    def lose_kernel(self) -> None:
        """Kill the kernel, as the kernel of a machine without memory is."""
        os.kill(self.ask("__import__('os').getpid()"), signal.SIGKILL)

    def ask(self, expression: str):
        """Value of an expression in the kernel."""
        reply = self.client.execute("", user_expressions={"it": expression}, reply=True, timeout=PATIENCE)
        told = reply["content"]["user_expressions"]["it"]
        assert told["status"] == "ok", told
        return ast.literal_eval(told["data"]["text/plain"])

    def until(self, expression: str, wanted, timeout: float = PATIENCE) -> None:
        """Wait until an expression in the kernel has a value."""
        end, value = time.monotonic() + timeout, None
        while time.monotonic() < end:
            value = self.ask(expression)
            if value == wanted:
                return
            time.sleep(0.05)
        raise AssertionError(f"{expression} is {value!r}, expected {wanted!r}")

    def find(self, selector: str) -> Locator:
        return self.page.locator(selector).first

    def errors(self) -> list[str]:
        """What the cells wrote as errors or tracebacks."""
        kinds = ("application/vnd.jupyter.stderr", "application/vnd.jupyter.error")
        places = ", ".join(f".jp-OutputArea-output[data-mime-type='{kind}']" for kind in kinds)
        return self.page.locator(places).all_inner_texts()

    def close(self) -> None:
        if self.client is not None:
            self.client.stop_channels()
        self.page.close()
