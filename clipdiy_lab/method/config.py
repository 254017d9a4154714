"""Every knob of the method as one frozen, validated value.

A knob's metadata says to which tier it belongs (`encode` knobs touch the network, `fuse` knobs never do), which values
it takes and what it does; user interfaces, sweeps and documents are built from that and from nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from dataclasses import replace as dataclass_replace
from functools import wraps
from typing import Any, Generic, Literal, TypeVar, get_args

from clipdiy_lab.errors import ConfigError, nearest

Tier = Literal["encode", "fuse"]
Resize = Literal["bilinear", "nearest"]
Placement = Literal["stretched", "centred"]
Interpolation = Literal["bilinear", "nearest"]
Article = Literal["official", "grammatical"]
Background = Literal["saliency", "prompt", "threshold", "words", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
SaliencyInput = Literal["image", "frame"]

MAX_SIDE = 8192
"""Longest side of the frame, in pixels; beyond it the dense stages do not fit in memory."""


OFFICIAL_TEMPLATE = "a photo of a {label}"
TEMPLATE_SETS = ("imagenet80",)
"""Names that stand for many templates; `models.prompts.templates` knows their texts."""

K = TypeVar("K")
V = TypeVar("V")


class _Frozen(Mapping[K, V], Generic[K, V]):
    """A mapping that never changes and can be hashed."""

    _items: tuple[tuple[K, V], ...]

    def __getitem__(self, key: K) -> V:
        return dict(self._items)[key]

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr(dict(self._items))


class Synonyms(_Frozen[str, tuple[str, ...]]):
    """All phrases that stand for a label, label by label in alphabetical order.

    The best phrase counts. A label counts itself only where it is among its phrases; a label that is not named here
    stands for itself alone.

    Examples
    --------
    >>> Synonyms({"sofa": ["sofa", "couch"]})
    {'sofa': ('sofa', 'couch')}
    """

    def __init__(self, phrases: Mapping[str, Iterable[str]] | None = None) -> None:
        self._items = tuple(sorted((label, tuple(several)) for label, several in (phrases or {}).items()))


class ScaleWeights(_Frozen[int, float]):
    """Weight of each scale.

    Examples
    --------
    >>> weights = ScaleWeights({256: 0, 64: 1})
    >>> weights[64], weights
    (1.0, {256: 0.0, 64: 1.0})
    """

    def __init__(self, weights: Mapping[int, float]) -> None:
        self._items = tuple((int(scale), float(weight)) for scale, weight in weights.items())


class CropInput(_Frozen[int, int]):
    """Side of the encoder's input by scale, in pixels; a scale that is not named has the encoder's own.

    Examples
    --------
    >>> CropInput({64: 96})
    {64: 96}
    """

    def __init__(self, sides: Mapping[int, int] | None = None) -> None:
        self._items = tuple(sorted((int(scale), int(side)) for scale, side in (sides or {}).items()))


C = TypeVar("C")


def _refuses_unknown_knobs(cls: type[C]) -> type[C]:
    """Let the constructor name the nearest knobs instead of raising a bare TypeError."""
    made = cls.__init__

    @wraps(made)
    def init(self: C, **knobs: Any) -> None:
        _known(knobs)
        made(self, **knobs)

    cls.__init__ = init  # type: ignore[assignment]
    return cls


def _knob(default: Any, tier: Tier, help: str, **meta: Any) -> Any:
    return field(default=default, metadata={"tier": tier, "help": help, **meta})


@_refuses_unknown_knobs
@dataclass(frozen=True, kw_only=True)
class Config:
    """The method's knobs. The defaults are the official evaluation of the paper, in the encoder's own precision.

    Attributes
    ----------
    scales : tuple of int
        Sides of the square windows, in pixels of the frame.
    stride : int
        Windows per window side: the hop is ``scale // stride``, so 2 means half overlap.
    scale_weights : mapping of int to float, or None
        Weight of each scale in the merge; None weighs each with 1. The merge divides by the number of scales, not by
        the sum of the weights (wysoczanska/clip-diy at f88932d, ``src/clip_conv.py``).
    image_size : int or (int, int)
        Height and width of the frame in pixels that the image is resized to; one number means a square.
    image_resize : {"bilinear", "nearest"}
        How: ``bilinear`` is OpenCV's ``INTER_LINEAR`` on uint8 (evaluation), ``nearest`` is the official demo.
    crop_input : mapping of int to int
        Scale -> side in pixels that its crops are brought to for the encoder, where that is not the encoder's own:
        ``{64: 96}`` gives the small windows a fifth of the tokens of 224 pixels. Position embeddings are interpolated.
        Cheaper, not the paper.
    placement : {"stretched", "centred"}
        ``stretched`` spreads the grid of similarities over the whole frame as the official code does; ``centred``
        puts each value at the true centre of its window.
    interpolation : {"bilinear", "nearest"}
        Between windows.
    align_corners : bool
        As in `torch.nn.functional.interpolate`; bilinear and stretched only.
    template : str or tuple of str
        Prompt with the field ``{label}``; several are embedded one by one, averaged and normalised again.
        ``"imagenet80"`` stands for the 80 templates that CLIP's authors used on ImageNet.
    article : {"official", "grammatical"}
        ``official`` leaves "a {label}" as it is; ``grammatical`` writes "an" before a vowel.
    synonyms : mapping of str to tuple of str
        Label -> all phrases that stand for it; its similarity in a window is the maximum over them. A label that is
        not named stands for itself; one that is named counts itself only if it is among its phrases.
    background : {"saliency", "prompt", "threshold", "words", "none"}
        ``saliency``: a background label, and the guide of the paper. ``prompt``: the background label competes by its
        text alone. ``threshold``: a pixel is background where no other label is probable enough; no text competes for
        it. ``words``: the background label stands for `background_words`, the best of them counts; no saliency.
        ``none``: no background label is added and saliency is not applied.
    background_label : str
        Which label is the background; added as the first label where the labels lack it.
    background_words : tuple of str
        Of the policy ``words``, such as sky, wall and grass; needed there, unused elsewhere.
    background_threshold : float
        Of the policy ``threshold``, 0 to 1: background is where the greatest probability of the other labels is below
        it. 0 gives no background. The default is ClearCLIP's for PASCAL VOC.
    logit_scale : float
        Of the policy ``threshold``: probabilities are the softmax of ``logit_scale * merged`` over the labels other
        than background. Default ClearCLIP's; CLIP was trained towards 100.
    saliency_input : {"image", "frame"}
        What the saliency source sees: the image at its own size (evaluation) or the resized frame (demo).
    saliency_weight : float
        ``guide_w = (1 - w) + w * guide``: 1 is the paper, 0 ignores saliency.
    saliency_threshold : float or None
        None keeps the saliency soft; a number makes it ``saliency > threshold``.
    temperature : float
        Of the softmax that turns fused scores into probabilities; it changes no label.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the encoder's arithmetic; ``auto`` leaves it as the encoder was loaded.

    Raises
    ------
    ConfigError
        For an unknown knob, with the nearest names, or a value, or a combination of values, that makes no sense.

    Examples
    --------
    >>> Config().changed(Config.paper())
    ('precision',)
    >>> Config(scales=(128, 64), scale_weights={128: 1, 64: 0.5}).weights
    (1.0, 0.5)
    """

    scales: tuple[int, ...] = _knob((256, 128, 64), "encode", "window sides in pixels", min=1, max=MAX_SIDE)
    stride: int = _knob(2, "encode", "windows per window side", min=1, max=16, step=1)
    image_size: tuple[int, int] = _knob((256, 256), "encode", "frame height and width", min=1, max=MAX_SIDE)
    image_resize: Resize = _knob("bilinear", "encode", "how the image becomes the frame", choices=get_args(Resize))
    precision: Precision = _knob("auto", "encode", "arithmetic of the encoder", choices=get_args(Precision))
    saliency_input: SaliencyInput = _knob(
        "image", "encode", "what the saliency source sees", choices=get_args(SaliencyInput)
    )
    crop_input: CropInput = _knob(CropInput(), "encode", "other side of the encoder's input, by scale", min=8, max=1024)
    scale_weights: ScaleWeights | None = _knob(None, "fuse", "weight of each scale", min=0.0, max=4.0, step=0.05)
    placement: Placement = _knob("stretched", "fuse", "where a window's value stands", choices=get_args(Placement))
    interpolation: Interpolation = _knob("bilinear", "fuse", "between windows", choices=get_args(Interpolation))
    align_corners: bool = _knob(False, "fuse", "corner pixels are grid points")
    template: str | tuple[str, ...] = _knob(
        OFFICIAL_TEMPLATE, "fuse", "prompt around a label", suggestions=(OFFICIAL_TEMPLATE, *TEMPLATE_SETS)
    )
    article: Article = _knob("official", "fuse", "'a' always, or by the vowel", choices=get_args(Article))
    synonyms: Synonyms = _knob(Synonyms(), "fuse", "phrases that stand for a label; the best counts")
    background: Background = _knob("saliency", "fuse", "what makes a pixel background", choices=get_args(Background))
    background_label: str = _knob("background", "fuse", "name of the background label")
    background_words: tuple[str, ...] = _knob((), "fuse", "what stands for the background (policy 'words')")
    background_threshold: float = _knob(
        0.5, "fuse", "background below this probability (policy 'threshold')", min=0.0, max=1.0, step=0.01
    )
    logit_scale: float = _knob(50.0, "fuse", "of the probabilities of 'threshold'", min=1.0, max=200.0, step=1.0)
    saliency_weight: float = _knob(1.0, "fuse", "0 ignores saliency, 1 is the paper", min=0.0, max=1.0, step=0.05)
    saliency_threshold: float | None = _knob(None, "fuse", "hard saliency above this", min=0.0, max=1.0, step=0.05)
    temperature: float = _knob(1.0, "fuse", "of the softmax", min=1e-3, max=100.0, step=0.01)

    def __post_init__(self) -> None:
        """Bring the values to their canonical types and check them."""
        self._set("scales", _scales(self.scales))
        self._set("image_size", _size(self.image_size))
        self._set("template", _template(self.template))
        self._set("synonyms", _synonyms(self.synonyms))
        self._set("crop_input", _crop_input(self.crop_input))
        self._set("background_words", _phrases(self.background_words, "background_words"))
        if self.scale_weights is not None:
            self._set("scale_weights", _weights(self.scale_weights, self.scales))
        for knob in fields(self):
            self._set(knob.name, _checked(knob, getattr(self, knob.name)))
        if not isinstance(self.background_label, str) or not self.background_label.strip():
            raise ConfigError(f"background_label is {self.background_label!r}; expected a word such as 'background'.")
        self._set("background_label", str(self.background_label.strip()))
        self._check_words()
        if self.align_corners and (self.interpolation, self.placement) != ("bilinear", "stretched"):
            raise ConfigError(
                "align_corners=True has a meaning only with interpolation='bilinear' and placement='stretched'; "
                f"got {self.interpolation!r} and {self.placement!r}."
            )
        for scale in self.scales:
            if scale > min(self.image_size):
                raise ConfigError(
                    f"scale {scale} does not fit into the frame of {self.image_size[0]} x {self.image_size[1]} pixels; "
                    f"use scales up to {min(self.image_size)} or a larger image_size."
                )
            if scale < self.stride:
                raise ConfigError(f"scale {scale} with stride {self.stride} hops 0 pixels; use a stride up to {scale}.")

    def _check_words(self) -> None:
        if self.background != "words":
            return
        if not self.background_words:
            raise ConfigError(
                "background='words' has no background_words; give what stands for the background, such as "
                "background_words=('sky', 'wall', 'grass')."
            )
        if self.background_label.lower() in (label.lower() for label in self.synonyms):
            raise ConfigError(
                f"both background_words and synonyms say what stands for {self.background_label!r}; give it in one of "
                "the two (synonyms go with background='prompt' or 'saliency')."
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each scale, in the order of `scales`."""
        if self.scale_weights is None:
            return (1.0,) * len(self.scales)
        return tuple(self.scale_weights[scale] for scale in self.scales)

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates as they were given, also where there is only one; see `models.prompts.templates` for texts."""
        return (self.template,) if isinstance(self.template, str) else self.template

    @classmethod
    def paper(cls) -> Config:
        """Return the settings of the official evaluation, which gave 59.9 mIoU on PASCAL VOC."""
        return cls(precision="fp32")

    @classmethod
    def demo(cls) -> Config:
        """Return the settings of the official demo notebook: nearest resize, saliency on the resized frame."""
        return cls(precision="fp32", image_resize="nearest", saliency_input="frame")

    @classmethod
    def knobs(cls, tier: Tier | None = None) -> dict[str, Mapping[str, Any]]:
        """Metadata of every knob, or of one tier's: help, and min, max, step or choices where they exist."""
        return {knob.name: knob.metadata for knob in fields(cls) if tier in (None, knob.metadata["tier"])}

    def replace(self, **changes: Any) -> Config:
        """Return a copy with some knobs changed.

        Raises
        ------
        ConfigError
            For an unknown knob, with the nearest names, or a value that makes no sense.
        """
        _known(changes)
        return dataclass_replace(self, **changes)

    def changed(self, other: Config, tier: Tier | None = None) -> tuple[str, ...]:
        """Names of the knobs in which two configurations differ."""
        return tuple(name for name in self.knobs(tier) if getattr(self, name) != getattr(other, name))

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal value."""
        values = {knob.name: getattr(self, knob.name) for knob in fields(self)}
        if self.scale_weights is not None:
            values["scale_weights"] = {str(scale): weight for scale, weight in self.scale_weights.items()}
        values["synonyms"] = dict(self.synonyms)
        values["crop_input"] = {str(scale): side for scale, side in self.crop_input.items()}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what `to_json` wrote.

        Raises
        ------
        ConfigError
            If it is not JSON, names an unknown knob or holds a value that makes no sense.
        """
        try:
            values = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"the configuration is not JSON ({error}); expected what Config.to_json wrote.") from None
        if not isinstance(values, dict):
            raise ConfigError(f"the configuration is a JSON {type(values).__name__}; expected an object of knobs.")
        _known(values)
        return cls(**values)


def as_config(config: Config | None) -> Config:
    """Return the configuration, or the default where none was given.

    Raises
    ------
    ConfigError
        If it is something else than a `Config`.
    """
    if config is None:
        return Config()
    if not isinstance(config, Config):
        raise ConfigError(f"config is {config!r} ({type(config).__name__}); expected a Config such as Config.paper().")
    return config


def _known(values: Mapping[str, Any]) -> None:
    for name in values:
        if name not in Config.knobs():
            raise ConfigError(f"there is no knob {name!r}. {nearest(name, Config.knobs())}")


def _plain(value: Any) -> Any:
    """Python's own value in the place of a scalar of numpy or torch."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _integer(given: Any, name: str) -> int:
    """Whole number as an int; a float without fraction is one."""
    value = _plain(given)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} holds {given!r}; expected whole numbers of pixels.")
    return value


def _number(given: Any) -> float | None:
    """Finite number as a float; None for anything else."""
    value = _plain(given)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _sequence(given: Any) -> tuple[Any, ...] | None:
    """Members of a list-like value; None for a text, a mapping (its values would get lost) or a single value."""
    if isinstance(given, (str, bytes, Mapping)):
        return None
    try:
        return tuple(given)
    except TypeError:
        return None


def _scales(given: Any) -> tuple[int, ...]:
    members = _sequence(given)
    if members is None:
        raise ConfigError(f"scales is {given!r}; expected window sides in pixels such as (256, 128, 64).")
    scales = tuple(_integer(scale, "scales") for scale in members)
    if not scales:
        raise ConfigError("scales is empty; expected at least one window side in pixels such as (256, 128, 64).")
    if len(set(scales)) != len(scales):
        raise ConfigError(f"scales {scales} names a scale twice; give each once and use scale_weights to weigh it.")
    if min(scales) < 1:
        raise ConfigError(f"scales {scales} holds a side below one pixel; expected positive sides.")
    return scales


def _size(given: Any) -> tuple[int, int]:
    members = _sequence(given)
    size = (given, given) if members is None else members
    if len(size) != 2:
        raise ConfigError(f"image_size is {given!r}; expected one side or (height, width) in pixels.")
    height, width = (_integer(side, "image_size") for side in size)
    if min(height, width) < 1 or max(height, width) > MAX_SIDE:
        raise ConfigError(f"image_size is {height} x {width}; expected sides from 1 to {MAX_SIDE} pixels.")
    return height, width


def _template(given: Any) -> str | tuple[str, ...]:
    templates = (given,) if isinstance(given, str) else given
    if not isinstance(templates, (tuple, list)) or not templates:
        raise ConfigError(f"template is {given!r}; expected a text with the field {{label}}, or several of them.")
    if isinstance(given, str) and given in TEMPLATE_SETS:
        return str(given)
    for template in templates:
        if not isinstance(template, str) or "{label}" not in template:
            raise ConfigError(
                f"template {template!r} lacks the field {{label}}; expected e.g. '{OFFICIAL_TEMPLATE}', "
                f"or alone one of the names {', '.join(TEMPLATE_SETS)}."
            )
    return str(given) if isinstance(given, str) else tuple(str(template) for template in templates)


def _phrases(given: Any, name: str) -> tuple[str, ...]:
    """Stripped phrases, each once; upper and lower case count as the same, since CLIP's tokenizer lowers them."""
    members = _sequence(given)
    if members is None:
        raise ConfigError(f"{name} is {given!r}; expected a list of phrases such as ['sky', 'wall'].")
    kept: dict[str, str] = {}
    for phrase in members:
        if not isinstance(phrase, str) or not phrase.strip():
            raise ConfigError(f"{name} holds {phrase!r}; expected phrases, each a text that is not empty.")
        kept.setdefault(phrase.strip().lower(), str(phrase.strip()))
    return tuple(kept.values())


def _synonyms(given: Any) -> Synonyms:
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"synonyms is {given!r}; expected phrases for each label, e.g. {{'sofa': ['sofa', 'couch']}}."
        )
    phrases: dict[str, tuple[str, ...]] = {}
    for label, members in given.items():
        if not isinstance(label, str) or not label.strip():
            raise ConfigError(f"synonyms has phrases for {label!r}; expected the text of a label.")
        name = str(label.strip())
        if name.lower() in (other.lower() for other in phrases):
            raise ConfigError(f"synonyms names the label {name!r} twice; give its phrases in one list.")
        phrases[name] = _phrases(members, f"synonyms of {name!r}")
        if not phrases[name]:
            raise ConfigError(f"synonyms of {name!r} is empty; give at least one phrase, or leave the label out.")
    return Synonyms(phrases)


def _weights(given: Any, scales: tuple[int, ...]) -> ScaleWeights:
    if not isinstance(given, Mapping):
        raise ConfigError(f"scale_weights is {given!r}; expected a weight for each scale, e.g. {{256: 1, 128: 1}}.")
    keys = _by_scale(given, "scale_weights")
    if set(keys) != set(scales):
        missing, extra = sorted(set(scales) - set(keys)), sorted(set(keys) - set(scales))
        raise ConfigError(
            f"scale_weights is for other scales than {scales}: missing {missing}, too many {extra}; "
            "give one weight for each scale (0 switches a scale off)."
        )
    if len(keys) != len(given):
        raise ConfigError(f"scale_weights {dict(given)} names a scale twice; give one weight for each scale.")
    weights = {scale: _number(keys[scale]) for scale in scales}
    for scale, weight in weights.items():
        if weight is None or weight < 0:
            raise ConfigError(f"the weight of scale {scale} is {keys[scale]!r}; expected a finite number from 0 up.")
    if not any(weights.values()):
        raise ConfigError("every scale has weight 0, so nothing is left to merge; give at least one a positive weight.")
    return ScaleWeights({scale: weight for scale, weight in weights.items() if weight is not None})


def _crop_input(given: Any) -> CropInput:
    if not isinstance(given, Mapping):
        raise ConfigError(f"crop_input is {given!r}; expected a side in pixels by scale, e.g. {{64: 96}}.")
    limits = Config.knobs()["crop_input"]
    sides = {scale: _integer(side, "crop_input") for scale, side in _by_scale(given, "crop_input").items()}
    for scale, side in sides.items():
        if not limits["min"] <= side <= limits["max"]:
            raise ConfigError(
                f"crop_input gives scale {scale} a side of {side}; expected {limits['min']} to {limits['max']} pixels."
            )
    return CropInput(sides)


def _by_scale(given: Mapping[Any, Any], name: str) -> dict[int, Any]:
    # JSON has only texts as keys.
    return {int(k) if isinstance(k, str) and k.isdecimal() else _integer(k, name): given[k] for k in given}


def _checked(knob: Field[Any], value: Any) -> Any:
    """Value of a knob in its canonical type, checked against the knob's metadata."""
    meta, value = knob.metadata, _plain(value)
    if "choices" in meta and not (isinstance(value, str) and value in meta["choices"]):
        hint = nearest(str(value), meta["choices"])
        raise ConfigError(f"{knob.name} is {value!r}; expected one of {', '.join(meta['choices'])}. {hint}")
    if isinstance(knob.default, bool) and not isinstance(value, bool):
        raise ConfigError(f"{knob.name} is {value!r}; expected True or False.")
    if "min" not in meta or knob.name in ("scales", "image_size", "scale_weights", "crop_input"):
        return value
    if value is None and knob.default is None:
        return None
    whole = isinstance(knob.default, int)
    number = _number(value)
    if number is None or (whole and number != int(number)):
        raise ConfigError(f"{knob.name} is {value!r}; expected a {'whole ' if whole else ''}number.")
    if not meta["min"] <= number <= meta["max"]:
        raise ConfigError(f"{knob.name} is {value}; expected {meta['min']} to {meta['max']} ({meta['help']}).")
    return int(number) if whole else number
