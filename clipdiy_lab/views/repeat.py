"""The code that repeats a run: the one writer of it, for the explorer, the page and the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clipdiy_lab.method.config import Config
from clipdiy_lab.models import recipes
from clipdiy_lab.models.encoders import EMBEDDED
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency import GIVEN
from clipdiy_lab.text import join_list

_DEFAULT_SALIENCY: Final = {EMBEDDED: "found-tiny"}
_SHELL_OPTIONS: Final = ("checkpoint", "runtime")


@dataclass(frozen=True)
class Maker:
    """What made a run: encoder and saliency source, as code can make them again.

    Attributes
    ----------
    encoder, saliency : str
        Their names; the saliency is ``given`` where a map was given as an array.
    encoder_recipe, saliency_recipe : Recipe or None
        None for a user-defined object, which cannot be made by name.
    precision : str
        In which the encoder computes.
    """

    encoder: str
    encoder_recipe: Recipe | None
    saliency: str
    saliency_recipe: Recipe | None
    precision: str = "auto"

    @classmethod
    def of(cls, attrs: Mapping[Any, Any]) -> Maker:
        """Read the attributes of a run."""
        encoder, saliency = (recipes.read(attrs.get(f"{what}_recipe", "null")) for what in ("encoder", "saliency"))
        precision = json.loads(attrs["config"])["precision"]
        return cls(str(attrs["encoder"]), encoder, str(attrs["saliency_source"]), saliency, precision)

    @property
    def own(self) -> list[str]:
        """Which objects are user-defined."""
        owns_saliency = self.saliency_recipe is None and self.saliency != GIVEN
        return ["encoder"] * (self.encoder_recipe is None) + ["saliency source"] * owns_saliency

    @property
    def load(self) -> Recipe:
        """Name and options of `clipdiy_lab.load`, the saliency apart; the device is left to the machine."""
        recipe = (self.encoder_recipe or Recipe(self.encoder)).without("device")
        plain = self.precision in ("auto", "fp32")
        return recipe if plain else Recipe(recipe.name, {**recipe.options, "precision": self.precision})

    @property
    def source(self) -> Recipe:
        """Name and options of the source that a segmenter needs; a map that was given needs none."""
        source = self.saliency_recipe or Recipe("none")
        # The runtime that the encoder is loaded with is the source's as well.
        return (
            source.without("runtime") if source.options.get("runtime") == self.load.options.get("runtime") else source
        )


def segmenter_line(maker: Maker) -> str:
    """Return the Python that makes the segmenter, or a comment that says which user-defined object it needs.

    Examples
    --------
    >>> segmenter_line(Maker("tiny", Recipe("tiny"), "constant", Recipe("constant", {"value": 0.5})))
    "segmenter = lab.load('tiny', saliency=lab.saliency.build('constant', value=0.5))"
    """
    if maker.own:
        what = " and ".join(maker.own)
        return f"# segmenter ({maker.encoder!r}, {maker.saliency!r}) holds an {what} of your own: the object you gave"
    load, source = maker.load, maker.source
    arguments = [repr(load.name)]
    if source.options:
        arguments.append(f"saliency={source.code('lab.saliency.build')}")
    elif source.name != _DEFAULT_SALIENCY.get(load.name, "found"):
        arguments.append(f"saliency={source.name!r}")
    arguments += [f"{name}={value!r}" for name, value in load.options.items()]
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
    given = ", saliency=saliency" if maker.saliency == GIVEN else ""
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
    load, source = maker.load.without("sha256", "precision"), maker.source
    told = source.name in ("file", "constant") or not source.options
    if maker.own or maker.saliency == GIVEN or not told or not set(load.options) <= set(_SHELL_OPTIONS):
        return None
    words = ["clipdiy-lab", "explain", image, "--labels", join_list(labels), "--model", load.name]
    words += [word for name, value in load.options.items() for word in (f"--{name}", str(value))]
    value = next((f"={value}" for value in source.options.values()), "")
    words += ["--saliency", f"{source.name}{value}"]
    words += ["--config", "config.json"] if settings else []
    return shlex.join([*words, "--html", "page.html"])
