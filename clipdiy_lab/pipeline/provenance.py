"""What made a result: encoder, saliency source, and the versions of everything that decides its numbers."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

from clipdiy_lab._version import __version__
from clipdiy_lab.errors import spelled
from clipdiy_lab.method.schema import SCHEMA_VERSION
from clipdiy_lab.models.encoders import Encoder, describe_usage
from clipdiy_lab.models.saliency import Saliency


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


def made_by(encoder: Encoder, saliency: Saliency | None) -> dict[str, Any]:
    """Return the attributes of a run that say what made it, the configuration and the image apart.

    Parameters
    ----------
    encoder : Encoder
    saliency : Saliency or None
        None where the map was given.
    """
    if saliency is None:
        source, options, fingerprint = "given", "{}", ""
    else:
        source, options = saliency.name, json.dumps(getattr(saliency, "options", {}), default=str)
        fingerprint = "" if source == "none" else saliency.fingerprint
    return {
        "schema_version": SCHEMA_VERSION,
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "encoder_usage": json.dumps(describe_usage(encoder)),
        "encoder_recipe": json.dumps(getattr(encoder, "recipe", None), default=spelled),
        "saliency_source": source,
        "saliency_options": options,
        "saliency_fingerprint": fingerprint,
        "versions": json.dumps(versions(encoder)),
    }
