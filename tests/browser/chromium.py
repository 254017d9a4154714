"""Where this machine's Chromium is."""

import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """Path of the first browser that is there."""
    return next(filter(None, map(shutil.which, _NAMES)), None)
