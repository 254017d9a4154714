"""What made a result: versions of everything that decides its numbers."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from clipdiy_lab._version import __version__


def versions(encoder: Any = None) -> dict[str, str]:
    """Return the versions that decide the numbers of a result.

    Parameters
    ----------
    encoder : Encoder, optional
        Its ``runtime`` (name and version of what computes it beside torch) is added where it has one.

    Returns
    -------
    dict of str to str
        By the package, and ``python``.
    """
    packages = {"torch": "torch", "open_clip": "open_clip_torch", "xarray": "xarray", "numpy": "numpy"}
    return {
        "clipdiy_lab": __version__,
        **{name: importlib.metadata.version(package) for name, package in packages.items()},
        "python": platform.python_version(),
        **getattr(encoder, "runtime", {}),
    }
