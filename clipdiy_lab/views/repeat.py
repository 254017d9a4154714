"""The code that repeats a run: the one writer of it, for the explorer, the page and the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clipdiy_lab.method.config import Config
from clipdiy_lab.models import saliency as sources
from clipdiy_lab.models.openclip import EMBEDDED
from clipdiy_lab.text import join_list

_DEFAULT_SALIENCY: Final = {EMBEDDED: "found-tiny"}
# Not repeated: the name stands first, the device is the machine's.
_UNTOLD: Final = ("name", "device")
_SHELL_OPTIONS: Final = ("checkpoint", "runtime")


@dataclass(frozen=True)
class Maker:
    """What made a run: encoder and saliency source, as code can make them again.

    Attributes
    ----------
    encoder : str
        Its name.
    load : mapping or None
        Options of `clipdiy_lab.load` beside the name; None for an object of one's own, which no name loads.
    saliency : str
        Name of the source; ``given`` for a map that was given as an array.
    options : mapping
        Of the source.
    """

    encoder: str
    load: Mapping[str, Any] | None = field(default_factory=dict)
    saliency: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, attrs: Mapping[Any, Any]) -> Maker:
        """Read the attributes of a run."""
        load = load_options(json.loads(attrs.get("encoder_recipe", "null")), json.loads(attrs["config"])["precision"])
        options = json.loads(attrs.get("saliency_options", "{}"))
        return cls(str(attrs["encoder"]), load, str(attrs["saliency_source"]), options)

    @property
    def own(self) -> list[str]:
        """What is an object of one's own."""
        named = self.saliency == "given" or self.saliency in sources.names()
        return ["encoder"] * (self.load is None) + ["saliency source"] * (not named)

    @property
    def source(self) -> str:
        """Name of the source that a segmenter needs; a map that was given needs none."""
        return "none" if self.saliency == "given" else self.saliency


def load_options(recipe: Mapping[str, Any] | None, precision: str) -> dict[str, Any] | None:
    """Return the options of `clipdiy_lab.load` that make an encoder again.

    Parameters
    ----------
    recipe : mapping or None
        The encoder's; None for an object of one's own.
    precision : str
        In which it computes.
    """
    if recipe is None:
        return None
    options = {name: value for name, value in recipe.items() if name not in _UNTOLD}
    return options if precision in ("auto", "fp32") else {**options, "precision": precision}


def segmenter_line(maker: Maker) -> str:
    """Return the Python that makes the segmenter, or a comment that says which object of one's own it needs.

    Examples
    --------
    >>> segmenter_line(Maker("tiny", {}, "constant", {"value": 0.5}))
    "segmenter = lab.load('tiny', saliency=lab.saliency.build('constant', value=0.5))"
    """
    if maker.own:
        what = " and ".join(maker.own)
        return f"# segmenter ({maker.encoder!r}, {maker.saliency!r}) holds an {what} of your own: the object you gave"
    arguments = [repr(maker.encoder)]
    if maker.options and maker.saliency != "given":
        options = "".join(f", {name}={value!r}" for name, value in maker.options.items())
        arguments.append(f"saliency=lab.saliency.build({maker.saliency!r}{options})")
    elif maker.source != _DEFAULT_SALIENCY.get(maker.encoder, "found"):
        arguments.append(f"saliency={maker.source!r}")
    arguments += [f"{name}={value!r}" for name, value in (maker.load or {}).items()]
    return f"segmenter = lab.load({', '.join(arguments)})"


def config_line(config: Config) -> str:
    """Return the Python that makes a configuration: what differs from the paper's; the precision is the segmenter's."""
    changed = [name for name in Config().changed(config) if name != "precision"]
    return f"config = lab.Config({', '.join(f'{name}={getattr(config, name)!r}' for name in changed)})"


def python_code(maker: Maker, image: str, labels: Sequence[str], config: Config, last: str) -> str:
    """Return the Python that repeats a run.

    Parameters
    ----------
    maker : Maker
    image : str
        Line that makes the image.
    labels : sequence of str
    config : Config
    last : str
        Line that shows the run.
    """
    given = ", saliency=saliency" if maker.saliency == "given" else ""
    return "\n".join(
        [
            "import clipdiy_lab as lab",
            "",
            segmenter_line(maker),
            image,
            *(["# saliency is the map that was given, an array of the image's height and width"] if given else []),
            f"labels = {list(labels)!r}",
            config_line(config),
            f"run = segmenter.segment(image, labels, config{given})",
            last,
            "",
        ]
    )


def image_line(attrs: Mapping[Any, Any]) -> str:
    """Return the line that names the image of a run: its path, where it was given as one."""
    path = image_path(attrs)
    if path is not None:
        return f"image = {path!r}"
    return f"# image is the one that was given ({attrs.get('image_source')}); sha256 of its pixels: {_hash(attrs)}"


def image_path(attrs: Mapping[Any, Any]) -> str | None:
    """Return the path of the image of a run; None where it was given otherwise."""
    source = str(attrs.get("image_source", ""))
    return source[1:-1] if source[:1] in ("'", '"') and source[:1] == source[-1:] else None


def _hash(attrs: Mapping[Any, Any]) -> str:
    return str(attrs.get("image_sha256", "unknown"))


def shell_command(maker: Maker, image: str, labels: Sequence[str], settings: Mapping[str, Any]) -> str | None:
    """Return the command that repeats a run as a page; None where the command line cannot make the segmenter.

    Parameters
    ----------
    maker : Maker
    image : str
        Path of the image.
    labels : sequence of str
    settings : mapping
        What differs from the paper's configuration; where there is any, the command reads ``config.json``.
    """
    load = {name: value for name, value in (maker.load or {}).items() if name not in ("sha256", "precision")}
    told = maker.saliency in ("file", "constant") or not maker.options
    if maker.own or maker.saliency == "given" or not told or not set(load) <= set(_SHELL_OPTIONS):
        return None
    words = ["clipdiy-lab", "explain", image, "--labels", join_list(labels), "--model", maker.encoder]
    words += [word for name, value in load.items() for word in (f"--{name}", str(value))]
    value = next((f"={value}" for value in maker.options.values()), "")
    words += ["--saliency", f"{maker.source}{value}"]
    words += ["--config", "config.json"] if settings else []
    return shlex.join([*words, "--html", "page.html"])
