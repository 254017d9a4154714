"""How weights are run: as they were trained. Settled here, and nowhere else, from the tag, the file or the user.

An architecture does not say it. Weights of one architecture were trained with different means and standard deviations
of their images and with two forms of GELU; run the wrong way they still give vectors, only worse ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import open_clip

from clipdiy_lab.errors import ClipdiyWarning, ModelError, nearest
from clipdiy_lab.method.ops import CropResize

Activation = Literal["gelu", "quickgelu"]
Three = tuple[float, float, float]
Said = Mapping[str, Any]
"""What one source says of how weights are run: any of the fields of `Usage`."""

FIELDS = ("mean", "std", "activation", "interpolation")
# OpenAI's program is the only one that keeps these three beside its weights, and it knows one way to run them.
OPENAI_FIELDS = ("input_resolution", "context_length", "vocab_size")
OPENAI_SAYS: Said = {
    "mean": tuple(open_clip.OPENAI_DATASET_MEAN),
    "std": tuple(open_clip.OPENAI_DATASET_STD),
    "activation": "quickgelu",
    "interpolation": "bicubic",
}


@dataclass(frozen=True)
class Usage:
    """How the weights of a model are run.

    Attributes
    ----------
    mean, std : tuple of three floats
        Normalisation of the images, RGB on the scale [0, 1].
    activation : {"gelu", "quickgelu"}
        Of the blocks that open_clip builds. QuickGELU is OpenAI's approximation x * sigmoid(1.702 x).
    interpolation : {"bicubic", "bilinear"}
        How crops are brought to the model's input.

    Notes
    -----
    open_clip's tables also say whether an image is squashed or cropped to a square; crops are square already, so it
    changes nothing here.
    """

    mean: Three
    std: Three
    activation: Activation
    interpolation: CropResize

    def __str__(self) -> str:
        """One line, as `doctor` shows it."""
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"{self.activation}, mean {mean}, std {std}, {self.interpolation}"


def of_tag(architecture: str, tag: str) -> dict[str, Any]:
    """Return what open_clip's table says of the weights of a tag.

    Notes
    -----
    A tag that says nothing of QuickGELU leaves it to the architecture, as open_clip does.
    """
    published = open_clip.get_pretrained_cfg(architecture, tag)
    quick = published.get("quick_gelu", open_clip.get_model_config(architecture).get("quick_gelu", False))
    return {**_preprocessing(published, f"the tag {tag!r}"), "activation": "quickgelu" if quick else "gelu"}


def of_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what an ``open_clip_config.json``, which is published beside weights, says of them.

    Raises
    ------
    ModelError
        If it says something that makes no sense.
    """
    quick = config["model_cfg"].get("quick_gelu", False)
    preprocessing = config.get("preprocess_cfg") or {}
    if not isinstance(preprocessing, Mapping):
        raise ModelError(f"{where}: preprocess_cfg is {preprocessing!r}; expected a table of names and values.")
    return {**_preprocessing(preprocessing, where), "activation": "quickgelu" if quick else "gelu"}


def of_user(mean: Any = None, std: Any = None, activation: Any = None) -> dict[str, Any]:
    """Return what a user says, checked; None says nothing.

    Raises
    ------
    ModelError
        If a mean or deviation is no three finite numbers, a deviation not above zero, or the activation unknown.
    """
    settings: dict[str, Any] = {}
    if mean is not None:
        settings["mean"] = _three(mean, "mean")
    if std is not None:
        settings["std"] = _three(std, "std")
    if activation is not None:
        if activation not in get_args(Activation):
            raise ModelError(f"activation is {activation!r}. {nearest(str(activation), get_args(Activation))}")
        settings["activation"] = activation
    return settings


def settle(name: str, tags: Mapping[str, Said], file: Said, user: Said, default: Activation) -> Usage:
    """Decide how weights are run.

    Parameters
    ----------
    name : str
        Of the model, for messages.
    tags : mapping of str to what is said
        One entry where the weights have a tag or a configuration of their own; where nobody says which tag they have,
        all tags of the architecture; empty where it has none.
    file : what the weights file says
    user : what the user says
        Goes before everything else.
    default : str
        The architecture's activation, for weights that nobody has published.

    Raises
    ------
    ModelError
        Where the sources disagree, or the tags among which nobody chose; it says what to pass.

    Warns
    -----
    ClipdiyWarning
        Where nobody says anything, and open_clip's own defaults are taken.
    """
    settled: dict[str, Any] = {}
    unsettled: dict[str, dict[Any, str]] = {}
    unsaid: list[str] = []
    defaults = {**OPENAI_SAYS, "activation": default}
    for field in FIELDS:
        # Which tags say which value; the first of each value is enough for a message.
        values: dict[Any, str] = {}
        for tag, settings in tags.items():
            if field in settings:
                values.setdefault(settings[field], tag)
        if field in user:
            settled[field] = user[field]
        elif field in file and (len(tags) != 1 or field not in next(iter(tags.values()))):
            settled[field] = file[field]
        elif field in file and file[field] not in values:
            raise ModelError(
                f"{name!r} is run with {field} {_text(next(iter(values)))}, the file with {_text(file[field])}: it is "
                f"one of OpenAI's. Name the tag that the file has, or pass {field}={file[field]!r}."
            )
        elif len(values) == 1:
            settled[field] = next(iter(values))
        elif values:
            unsettled[field] = values
        else:
            settled[field] = defaults[field]
            unsaid.append(field)
    if unsettled:
        raise _ambiguous(name, unsettled)
    # Configurations that are silent on interpolation are older than the choice, and nobody could pass another.
    if guessed := {field: settled[field] for field in unsaid if field != "interpolation"}:
        _warn_of_defaults(name, guessed)
    return Usage(**settled)


def _ambiguous(name: str, unsettled: Mapping[str, Mapping[Any, str]]) -> ModelError:
    tag = next(iter(next(iter(unsettled.values())).values()))
    ways = "; ".join(
        f"{field}={_text(value)} as {tag!r}" for field, values in unsettled.items() for value, tag in values.items()
    )
    names = " and ".join(f"{field}=" for field in unsettled)
    return ModelError(
        f"weights of {name!r} were trained in different ways, and nothing says how these were: {ways}. Name their tag "
        f"too, such as '{name}/{tag}', or pass {names}."
    )


def _warn_of_defaults(name: str, defaults: Said) -> None:
    listed = ", ".join(f"{field}={_text(value)}" for field, value in defaults.items())
    warnings.warn(
        f"Nothing says how these weights of {name!r} were trained; they are run by open_clip's defaults: {listed}. If "
        "they were trained otherwise, pass mean=, std= and activation=.",
        ClipdiyWarning,
        stacklevel=2,
    )


def _text(value: Any) -> str:
    return f"({', '.join(f'{part:.4g}' for part in value)})" if isinstance(value, tuple) else repr(value)


def _preprocessing(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        field: _three(table[field], f"{field} of {where}") for field in ("mean", "std") if table.get(field) is not None
    }
    interpolation = table.get("interpolation")
    if interpolation is not None:
        if interpolation not in get_args(CropResize):
            raise ModelError(f"{where} has interpolation {interpolation!r}; the lab knows 'bicubic' and 'bilinear'.")
        settings["interpolation"] = interpolation
    return settings


def _three(values: Any, what: str) -> Three:
    """Check a mean or a deviation."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    lowest = math.ulp(0.0) if what.startswith("std") else 0.0
    if len(numbers) != 3 or not all(lowest <= value <= 1 for value in numbers):
        expected = "above 0 and at most 1" if lowest else "from 0 to 1"
        raise ModelError(
            f"{what} is {values!r}; expected three numbers {expected}, for red, green and blue of images in [0, 1]."
        )
    red, green, blue = numbers
    return red, green, blue


def as_dict(usage: Usage) -> dict[str, Any]:
    """Return the fields as plain values, for attributes and files."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(usage).items()}
