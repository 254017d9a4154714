"""Every knob of the method as one frozen, validated value.

A knob's metadata says to which tier it belongs (`encode` knobs touch the network, `fuse` knobs never do), which values
it takes and what it does; user interfaces, sweeps and documents are built from that and from nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from dataclasses import replace as dataclass_replace
from functools import partial, wraps
from os import PathLike
from typing import Any, Literal, TypeVar, get_args

from clipdiy_lab.errors import ConfigError, nearest, spelled
from clipdiy_lab.method import knob_values
from clipdiy_lab.method.knob_values import (
    MAX_INPUT,
    MAX_LABELS,
    MAX_SIDE,
    MIN_INPUT,
    OFFICIAL_TEMPLATE,
    TEMPLATE_SETS,
    CropInput,
    Synonyms,
    Weights,
)
from clipdiy_lab.method.naming import grid_name, grid_names

Tier = Literal["encode", "fuse"]
Resize = Literal["bilinear", "nearest"]
Placement = Literal["stretched", "centred"]
Interpolation = Literal["bilinear", "nearest"]
Article = Literal["official", "grammatical"]
Background = Literal["saliency", "prompt", "threshold", "words", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
SaliencyInput = Literal["image", "frame"]
Refine = Literal["none", "pamr", "guided"]

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
    weights : mapping of grid to float
        Weight of a grid in the merge, by the grid's name or by the side of its windows (``{"s064": 0.5, 256: 2}``); a
        grid that is not named weighs 1, and 0 leaves it out. Kept are the weights other than 1, by name, in the order
        of the plan. The merge divides by the number of grids, not by the sum of the weights (wysoczanska/clip-diy at
        f88932d, ``src/clip_conv.py``).
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
    keep_labels : int or None
        None: all labels compete for every pixel. A number: only so many of them, beside the background, those that
        the windows speak for most clearly (`method.presence.evidence`). At most the labels there are.
    refine : {"none", "pamr", "guided"}
        What the edges of the image do to the fused scores: ``pamr`` spreads them among pixels of like colours
        (`method.refine.Pamr`), ``guided`` is the guided filter (`method.refine.Guided`). Not the paper.
    refine_iterations : int
        Of ``pamr``. 0 changes nothing.
    refine_dilations : tuple of int
        Of ``pamr``: distances in pixels of the frame at which a pixel's neighbours are, below its shorter side. The
        default is NACLIP's; smaller ones keep smaller things.
    refine_radius : int
        Of ``guided``: radius of its windows in pixels of the frame, below its shorter side.
    refine_eps : float
        Of ``guided``: variance of a colour, on the scale [0, 1], that counts as no edge.
    temperature : float
        Of the softmax that turns fused scores into probabilities; it changes no label.
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        Of the encoder's arithmetic; ``auto`` leaves it as the encoder was loaded, ``int8`` needs the runtime OpenVINO.

    Raises
    ------
    ConfigError
        For an unknown knob, with the nearest names, or a value, or a combination of values, that makes no sense.

    Examples
    --------
    >>> Config().changed(Config.paper())
    ('precision',)
    >>> Config(weights={128: 1, "s064": 0.5}).weights
    {'s064': 0.5}
    """

    scales: tuple[int, ...] = _knob((256, 128, 64), "encode", "window sides in pixels", min=1, max=MAX_SIDE)
    stride: int = _knob(2, "encode", "windows per window side", min=1, max=16, step=1)
    image_size: tuple[int, int] = _knob((256, 256), "encode", "frame height and width", min=1, max=MAX_SIDE)
    image_resize: Resize = _knob("bilinear", "encode", "how the image becomes the frame", choices=get_args(Resize))
    precision: Precision = _knob("auto", "encode", "arithmetic of the encoder", choices=get_args(Precision))
    saliency_input: SaliencyInput = _knob(
        "image", "encode", "what the saliency source sees", choices=get_args(SaliencyInput)
    )
    crop_input: CropInput = _knob(
        CropInput(), "encode", "other side of the encoder's input, by scale", min=MIN_INPUT, max=MAX_INPUT
    )
    weights: Weights = _knob(Weights(), "fuse", "weight of each grid", min=0.0, max=4.0, step=0.05)
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
    keep_labels: int | None = _knob(None, "fuse", "labels that compete, by evidence", min=1, max=MAX_LABELS, step=1)
    refine: Refine = _knob("none", "fuse", "what edges do to the fused scores", choices=get_args(Refine))
    refine_iterations: int = _knob(10, "fuse", "steps of 'pamr'", min=0, max=100, step=1)
    refine_dilations: tuple[int, ...] = _knob(
        (8, 16), "fuse", "distances of neighbours of 'pamr', pixels", min=1, max=MAX_SIDE
    )
    refine_radius: int = _knob(8, "fuse", "radius of the windows of 'guided', pixels", min=1, max=MAX_SIDE, step=1)
    refine_eps: float = _knob(1e-3, "fuse", "variance that is no edge to 'guided'", min=1e-6, max=1.0, step=1e-3)
    temperature: float = _knob(1.0, "fuse", "of the softmax", min=1e-3, max=100.0, step=0.01)

    def __post_init__(self) -> None:
        """Bring the values to their canonical types and check them."""
        for knob in fields(self):
            given = getattr(self, knob.name)
            read = _READERS.get(knob.name)
            self._set(knob.name, knob_values.read_plain(knob, given) if read is None else read(given))
        self._check_words()
        self._check_refinement()
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
        self._set("weights", knob_values.read_weights(self.weights, self.grids))

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

    def _check_refinement(self) -> None:
        if self.keep_labels == 1 and self.background == "threshold":
            raise ConfigError(
                "keep_labels=1 leaves background='threshold' one label to compare, whose probability is always 1; keep "
                "at least two."
            )
        reach = {"pamr": max(self.refine_dilations), "guided": self.refine_radius}.get(self.refine, 0)
        if reach >= min(self.image_size):
            knob = "refine_dilations" if self.refine == "pamr" else "refine_radius"
            raise ConfigError(
                f"{knob} reaches {reach} pixels, the frame has {self.image_size[0]} x {self.image_size[1]}; "
                f"use at most {min(self.image_size) - 1}."
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def grids(self) -> tuple[str, ...]:
        """Names of the grids of a run, in the order of the plan."""
        return grid_names(self.scales)

    def weight(self, grid: str | int) -> float:
        """Weight of a grid in the merge, by the grid's name or window side.

        Raises
        ------
        ConfigError
            If the configuration has no such grid.
        """
        return self.weights.get(self._grid(grid), 1.0)

    def only(self, *grids: str | int) -> Config:
        """Return a copy that has only some of its grids, each with weight 1.

        Raises
        ------
        ConfigError
            If the configuration has no such grid.
        """
        names = {self._grid(grid) for grid in grids}
        return self.replace(scales=tuple(side for side in self.scales if grid_name(side) in names), weights={})

    def _grid(self, given: str | int) -> str:
        name = grid_name(given)
        if name not in self.grids:
            raise ConfigError(f"the configuration has no grid {name!r}. {nearest(name, self.grids)}")
        return name

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
        return json.dumps(values, default=dict)  # the mappings, whose keys become texts

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
            if isinstance(text, PathLike) or (isinstance(text, str) and text.strip().endswith(".json")):
                raise ConfigError(
                    f"the configuration is {spelled(text)}, which looks like a path; from_json takes the file's text: "
                    f"Config.from_json(Path({os.fspath(text)!r}).read_text())."
                ) from None
            raise ConfigError(f"the configuration is not JSON ({error}); expected what Config.to_json wrote.") from None
        if not isinstance(values, dict):
            raise ConfigError(f"the configuration is a JSON {type(values).__name__}; expected an object of knobs.")
        _known(values)
        return cls(**values)


# Knobs that are more than a number, a choice or a switch.
_READERS: dict[str, Callable[[Any], Any]] = {
    "scales": knob_values.read_scales,
    "keep_labels": knob_values.read_keep_labels,
    "refine_dilations": knob_values.read_dilations,
    "image_size": knob_values.read_size,
    "template": knob_values.read_template,
    "synonyms": knob_values.read_synonyms,
    "crop_input": knob_values.read_crop_input,
    "background_label": knob_values.read_background_label,
    "background_words": partial(knob_values.read_phrases, name="background_words"),
    "weights": lambda given: given,  # needs the plan
}


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
