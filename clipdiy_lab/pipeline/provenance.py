"""What made a result: encoder, saliency source, and the versions of everything that decides its numbers."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from functools import lru_cache
from typing import Any

from clipdiy_lab._version import __version__
from clipdiy_lab.method.schema import SCHEMA_VERSION
from clipdiy_lab.models import recipes
from clipdiy_lab.models.capabilities import HasRuntime, recipe_of
from clipdiy_lab.models.encoders import Encoder, describe_usage
from clipdiy_lab.models.saliency import GIVEN, Saliency


def versions(*networks: object) -> dict[str, str]:
    """Return the versions that decide the numbers of a result.

    Parameters
    ----------
    *networks : Encoder or Saliency
        Their ``runtime`` (name and version of what computes them beside torch) is added where they have one.

    Returns
    -------
    dict of str to str
        By the package, and ``python``.
    """
    runtimes = [one.runtime for one in networks if isinstance(one, HasRuntime)]
    return {
        "clipdiy_lab": __version__,
        **_installed(),
        "python": platform.python_version(),
        **{name: version for runtime in runtimes for name, version in runtime.items()},
    }


@lru_cache(maxsize=1)
def _installed() -> dict[str, str]:
    """Versions of packages; reading them takes milliseconds, and every image asks."""
    packages = {"torch": "torch", "open_clip": "open_clip_torch", "xarray": "xarray", "numpy": "numpy"}
    return {name: importlib.metadata.version(package) for name, package in packages.items()}


def made_by(encoder: Encoder, saliency: Saliency | None) -> dict[str, Any]:
    """Return the attributes of a run that say what made it, the configuration and the image apart.

    Parameters
    ----------
    encoder : Encoder
    saliency : Saliency or None
        None where the map was given.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "encoder_usage": json.dumps(describe_usage(encoder)),
        "encoder_recipe": recipes.write(recipe_of(encoder)),
        **saliency_facts(saliency),
        "versions": json.dumps(versions(encoder, saliency)),
    }


def saliency_facts(saliency: Saliency | None) -> dict[str, str]:
    """Return the attributes of a run that say where its saliency comes from; None: a map that was given."""
    if saliency is None:
        return {"saliency_source": GIVEN, "saliency_recipe": recipes.write(None), "saliency_fingerprint": ""}
    return {
        "saliency_source": saliency.name,
        "saliency_recipe": recipes.write(recipe_of(saliency)),
        "saliency_fingerprint": "" if saliency.name == "none" else saliency.fingerprint,
    }


def same_weights(one: str, other: str) -> bool:
    """Whether two fingerprints of encoders name the same weights; what stands after ``+`` tells how they are run.

    Examples
    --------
    >>> same_weights("0a1b", "0a1b+77"), same_weights("0a1b+77", "0a1b+78"), same_weights("0a1b", "0a1c")
    (True, True, False)
    """
    return one.partition("+")[0] == other.partition("+")[0]
