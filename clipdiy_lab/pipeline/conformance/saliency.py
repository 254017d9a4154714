"""Whether a saliency source keeps what the lab relies on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clipdiy_lab.models.capabilities import recipe_of
from clipdiy_lab.models.saliency import Saliency, as_saliency, build, validate_map
from clipdiy_lab.pipeline.conformance.report import Conformance, named, require, travelled

Image = npt.NDArray[np.uint8]
_SIZES = ((48, 64), (1, 1), (1, 37), (37, 1), (3, 200), (65, 33))


def check_saliency(saliency: object, images: Iterable[Any] | None = None) -> Conformance:
    """Check that your own saliency source meets all requirements of the lab.

    Parameters
    ----------
    saliency : object
        Should meet `models.saliency.Saliency`.
    images : iterable of uint8 array, height x width x 3, optional
        Default: noise of odd sizes down to one pixel, all black and all white. Give images if the source accepts only
        certain ones, such as a map from a file.

    Returns
    -------
    Conformance
        ``ok``, ``table``, and a text that explains what to fix. Maps are compared exactly.

    Examples
    --------
    >>> import clipdiy_lab as lab
    >>> lab.check_saliency(lab.saliency.build("constant", value=0.5)).ok
    True
    """
    report = Conformance(named(saliency))

    def protocol() -> str:
        as_saliency(saliency)
        return "name, fingerprint, called with an image"

    advice = "Give the object all of these; see clipdiy_lab.models.saliency.Saliency."
    if not report.look("protocol", advice, protocol):
        return report
    subject = as_saliency(saliency)
    report.look("facts", "Let both be texts that are not empty.", lambda: _facts(subject))
    given = _images() if images is None else {f"image {n}": np.asarray(image) for n, image in enumerate(images)}
    advice = "Return float32 in [0, 1] of the image's height and width, for images of any size and content."
    whole = [report.look(f"map: {what}", advice, partial(_map, subject, image)) for what, image in given.items()]
    if not all(whole):
        return report
    image = next(iter(given.values()))
    report.look(
        "determinism",
        "Switch randomness off (eval mode, a fixed seed); stores and resumed work rely on equal numbers.",
        lambda: _same(subject(image), subject(image)),
    )
    report.look(
        "input", "Work on a copy of the image, and return a new map every time.", lambda: _unchanged(subject, image)
    )
    _check_identity(report, subject, image)
    return report


def _facts(saliency: Saliency) -> str:
    for name in ("name", "fingerprint"):
        value = getattr(saliency, name)
        require(isinstance(value, str) and bool(value), f"{name} is {value!r}")
    return f"{saliency.name}, {saliency.fingerprint[:16]}"


def _images() -> dict[str, Image]:
    random = np.random.default_rng(0)
    noise = {
        f"{rows} x {columns} noise": random.integers(0, 256, (rows, columns, 3), np.uint8) for rows, columns in _SIZES
    }
    flat = {name: np.full((20, 30, 3), value, np.uint8) for name, value in (("black", 0), ("white", 255))}
    first = next(iter(noise.values()))
    return noise | flat | {"mirrored view": first[:, ::-1]}


def _map(saliency: Saliency, image: Image) -> str:
    image = image.view()
    image.flags.writeable = False  # as arrays of files are
    made = saliency(image)
    checked = validate_map(made, image.shape[:2])
    require(made.dtype == np.float32, f"{made.dtype}, expected float32")
    return f"{checked.shape[0]} x {checked.shape[1]}, {checked.min():.3f} to {checked.max():.3f}"


def _same(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> str:
    same = np.array_equal(first, second)
    return require(same, "equal" if same else "two calls give different maps")


def _unchanged(saliency: Saliency, image: Image) -> str:
    given = image.copy()
    first = saliency(given)
    kept = first.copy()
    require(np.array_equal(given, image), "the image was changed")
    if first.flags.writeable:
        first[...] = 0  # what a caller does with a map is no business of the next call
    same = np.array_equal(saliency(given), kept)
    return require(same, "image and map are kept" if same else "a map that a caller changes is handed out again")


def _check_identity(report: Conformance, saliency: Saliency, image: Image) -> None:
    def journey() -> str:
        copy = travelled(saliency)
        require(copy.fingerprint == saliency.fingerprint, "the copy has another fingerprint")
        return _same(saliency(image), copy(image))

    advice = "Let the object be pickled, and compute the fingerprint from weights and settings: workers get a copy."
    report.look("pickle", advice, journey)
    recipe = recipe_of(saliency)
    if recipe is not None:

        def made() -> str:
            again = build(recipe.name, **recipe.options)
            require(again.fingerprint == saliency.fingerprint, "what it builds has another fingerprint")
            return recipe.code("lab.saliency.build")

        report.look("recipe", "Let the recipe hold every option that decides the numbers.", made)
