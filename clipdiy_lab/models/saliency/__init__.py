"""Saliency sources: maps of where in an image there are objects, independently of their labels.

A source is any object that meets `Saliency`. The following sources, and those that installed packages register under
the entry points ``clipdiy_lab.saliency``, can be built by name:

========== =====================================================================================
name       what it is
========== =====================================================================================
found      FOUND as published: DINO ViT-S/8 and a 1x1 head (fetched at first use)
found-seed FOUND's training-free background discovery on the same transformer (fetched at first use)
found-tiny FOUND's recipe on the embedded transformer; nothing to fetch
spectral   OpenCV's spectral residual; no weights, needs the extra `spectral`
file       a map from a `.npy` file or a gray image
constant   one value everywhere
none       saliency is not applied
========== =====================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.registry import Registry
from clipdiy_lab.models.saliency.protocol import GIVEN, Saliency, as_saliency, check_image, validate_map

__all__ = ["GIVEN", "Saliency", "as_saliency", "build", "check_image", "names", "validate_map"]

# Builders import what they need when they are called, so that asking for the names loads neither torch nor OpenCV.


def _found(device: str = "cpu", precision: Any = "auto", runtime: Any = "torch", calibration: Any = None) -> Saliency:
    from clipdiy_lab.models.saliency.found import Found

    source: Any = Found.published(device=device, precision=precision, runtime=runtime, calibration=calibration)
    if runtime != "torch" and (calibration is None or callable(calibration)):
        source.recipe = Recipe("found", {"runtime": runtime})
    return cast(Saliency, source)


def _found_seed(
    tau: float = 0.3, weigh_heads: bool = True, epsilon: float = 1e-10, block: int = -1, device: str = "cpu"
) -> Saliency:
    from clipdiy_lab.models.saliency.found import FoundSeed, published_backbone

    return FoundSeed(
        published_backbone(), tau=tau, weigh_heads=weigh_heads, epsilon=epsilon, block=block, device=device
    )


def _found_tiny(device: str = "cpu") -> Saliency:
    from clipdiy_lab.models.saliency.found_tiny import FoundTiny

    return FoundTiny(device=device)


def _spectral() -> Saliency:
    from clipdiy_lab.models.saliency.spectral import SpectralSaliency

    return SpectralSaliency()


def _file(path: str | Path) -> Saliency:
    from clipdiy_lab.models.saliency.simple import FileSaliency

    return FileSaliency(path)


def _constant(value: float) -> Saliency:
    from clipdiy_lab.models.saliency.simple import ConstantSaliency

    return ConstantSaliency(value)


def _none() -> Saliency:
    from clipdiy_lab.models.saliency.simple import NoSaliency

    return NoSaliency()


_SOURCES: Registry[Saliency] = Registry(
    "saliency",
    "clipdiy_lab.saliency",
    {
        "found": _found,
        "found-seed": _found_seed,
        "found-tiny": _found_tiny,
        "spectral": _spectral,
        "file": _file,
        "constant": _constant,
        "none": _none,
    },
    as_saliency,
    lambda name: name in (GIVEN, "oracle"),  # a sweep's name for the truth
)


def names() -> tuple[str, ...]:
    """Names that `build` accepts.

    Returns
    -------
    tuple of str
        In the order of the table above, followed by those of packages.

    Warns
    -----
    ClipdiyWarning
        If a package registers a name of the lab; the lab's own takes precedence.

    Examples
    --------
    >>> names()[:7]
    ('found', 'found-seed', 'found-tiny', 'spectral', 'file', 'constant', 'none')
    """
    return _SOURCES.names()


def build(name: str, *, device: str = "cpu", **options: Any) -> Saliency:
    """Build a saliency source by name.

    Parameters
    ----------
    name : str
        One of `names()`.
    device : str
        "cpu", "cuda", "mps" or "auto", for the sources that run a network; the others ignore it.
    **options
        What the source takes: `precision`, `runtime` and `calibration` for "found" (see `Found`);
        `tau`, `weigh_heads`, `epsilon`, `block` for "found-seed"; `path` for "file"; `value`
        for "constant"; what its package says for another.

    Returns
    -------
    Saliency
        The source, with its `recipe`: ``build(recipe.name, **recipe.options)`` repeats it.

    Raises
    ------
    ModelError
        If the name is unknown, an option is unknown or missing, the source does not run on this machine, or a source
        from a package cannot be used.
    SaliencyError
        If the value of "constant" or the file of "file" is not a valid saliency map.

    Examples
    --------
    >>> build("constant", value=0.5).recipe
    Recipe(name='constant', options={'value': 0.5})
    >>> build("fuond")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    clipdiy_lab.errors.ModelError: There is no saliency 'fuond'. Did you mean 'found'...
    """
    return _SOURCES.build(name, device=device, **options)
