"""A Node for tests that run the instrument's modules without a browser."""

import shutil
from functools import cache


@cache
def node() -> str:
    """Path of this machine's Node, or of the one that Playwright brings."""
    found = shutil.which("node")
    if found:
        return found
    from playwright._impl._driver import compute_driver_executable

    return str(compute_driver_executable()[0])
