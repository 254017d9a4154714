"""The Python that makes what the explorer shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from clipdiy_lab.method.config import Config
from clipdiy_lab.models import saliency as sources_of_saliency
from clipdiy_lab.models.openclip import EMBEDDED
from clipdiy_lab.views.explorer.state import View

_DEFAULT_SALIENCY = {EMBEDDED: "found-tiny"}


def code(
    view: View,
    given_model: bool = False,
    given_saliency: bool = False,
    loaded: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Write the Python that makes a view: segmenter, image, labels, configuration, run, figure.

    Parameters
    ----------
    view : View
    given_model : bool
        Whether the encoder is an object of the caller's own, which no name can load.
    given_saliency : bool
        The same of the saliency source.
    loaded : mapping of str to str
        Options of `clipdiy_lab.load` that the encoder was loaded with, where they are not the usual ones.

    Returns
    -------
    str
        Runs as it stands, except where it says which object of one's own it needs.
    """
    imports, segmenter = ["import clipdiy_lab as lab"], _segmenter(view, given_model, given_saliency, loaded)
    if "build(" in segmenter:
        imports.append("from clipdiy_lab.models.saliency import build")
    return "\n".join(
        [
            *imports,
            "",
            segmenter,
            _image(view),
            f"labels = {list(view.labels)!r}",
            f"config = lab.Config({_knobs(view.config)})",
            "run = segmenter.segment(image, labels, config)",
            f"run.diy.overlay(opacity={view.opacity:g})",
            "",
        ]
    )


def _segmenter(view: View, given_model: bool, given_saliency: bool, loaded: Mapping[str, str]) -> str:
    if given_model or given_saliency:
        what = " and ".join(["encoder"] * given_model + ["saliency source"] * given_saliency)
        named = f"{view.model!r}, {view.saliency!r}"
        return f"# segmenter ({named}) holds an {what} of your own: the object that lab.explore was given"
    asked = "".join(f", {name}={value!r}" for name, value in loaded.items())
    if view.saliency == _DEFAULT_SALIENCY.get(view.model, "found"):
        return f"segmenter = lab.load({view.model!r}{asked})"
    options = "".join(f", {name}={value!r}" for name, value in view.saliency_options.items())
    source = f"build({view.saliency!r}{options})" if options else repr(view.saliency)
    return f"segmenter = lab.load({view.model!r}, saliency={source}{asked})"


def _image(view: View) -> str:
    kind, name = view.image.kind, view.image.name
    if kind == "scene":
        split, number = name.split("/")
        return f'image = lab.open_dataset("scenes", split={split!r})[{number}].image'
    if kind == "file":
        return f"image = {name!r}"
    if kind == "upload":
        return f"image = {name!r}  # the file that was uploaded; explorer.image holds its pixels"
    return f"# image is the one that lab.explore was given: {name}"


def _knobs(config: Config) -> str:
    changed = Config().changed(config)
    return ", ".join(f"{name}={getattr(config, name)!r}" for name in changed)


def named_saliency(name: str) -> bool:
    """Whether the lab can build a saliency source by this name."""
    return name in sources_of_saliency.names()
