"""Every knob of the method as one frozen, validated value.

Each is declared with `knobs.knob`: what says where it acts also says what depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from dataclasses import replace as dataclass_replace
from typing import Any, Literal, get_args

from clipdiy_lab.errors import ConfigError, nearest
from clipdiy_lab.method import combinations, knob_values
from clipdiy_lab.method.knob_values import (
    MAX_INPUT,
    MAX_SIDE,
    MIN_INPUT,
    OFFICIAL_TEMPLATE,
    TEMPLATE_SETS,
    CropInput,
    Synonyms,
    Weights,
)
from clipdiy_lab.method.knobs import Place, Tier, knob, refuses_unknown
from clipdiy_lab.method.naming import grid_name, grid_names, token_grid_name, window_grid_name

Resize = Literal["bilinear", "nearest"]
Placement = Literal["stretched", "centred"]
Interpolation = Literal["bilinear", "nearest"]
Article = Literal["official", "grammatical"]
Background = Literal["saliency", "prompt", "threshold", "words", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
SaliencyInput = Literal["image", "frame"]
Refine = Literal["none", "pamr", "guided"]
Dense = Literal["none", "maskclip", "maskclip_reduced", "sclip", "clearclip", "naclip"]
DenseFrom = Literal["frame", "crops"]


@refuses_unknown
@dataclass(frozen=True, kw_only=True)
class Config:
    """Knobs (parameters) of the method. By default those of the official evaluation, in the encoder's own precision.

    Attributes
    ----------
    scales : tuple of int
        Sides of the square windows, in pixels of the frame.
    stride : int
        Windows per window side: neighbouring windows are ``scale // stride`` pixels apart, so 2 means half overlap.
    weights : mapping of grid to float
        Weight of a grid in the merge, by the grid's name or by the side of its windows (``{"s064": 0.5, 256: 2}``); a
        grid that is not named has weight 1, and weight 0 leaves it out. Only weights other than 1 are stored, by
        name, in the order of the plan. The merge divides by the number of grids, not by the sum of the weights
        (wysoczanska/clip-diy at f88932d, ``src/clip_conv.py``).
    image_size : int or (int, int)
        Height and width in pixels of the frame, to which the image is resized; one number means a square.
    image_resize : {"bilinear", "nearest"}
        ``bilinear``: OpenCV's ``INTER_LINEAR`` on uint8, as in the evaluation; ``nearest``: as in the official demo.
    crop_input : mapping of int to int
        Scale -> side in pixels to which its crops are resized for the encoder, where that is not the encoder's own:
        ``{64: 96}`` gives the small windows a fifth of the tokens of 224 pixels. Position embeddings are interpolated.
        Cheaper; not part of the paper.
    placement : {"stretched", "centred"}
        ``stretched`` spreads the grid of similarities over the whole frame as the official code does; ``centred``
        puts each value at the true centre of its window.
    interpolation : {"bilinear", "nearest"}
        Interpolation between the values of neighbouring windows.
    align_corners : bool
        As in `torch.nn.functional.interpolate`; bilinear and stretched only.
    template : str or tuple of str
        Prompt with the field ``{label}``; the embeddings of several templates are averaged and normalised again.
        ``"imagenet80"`` stands for the 80 templates that CLIP's authors used on ImageNet, ``"scene85"`` for these and
        the five of MaskCLIP that say "in the scene".
    article : {"official", "grammatical"}
        ``official`` leaves "a {label}" as it is; ``grammatical`` writes "an" before a vowel.
    synonyms : mapping of str to tuple of str
        Label -> all phrases used for it; its similarity in a window is the maximum over them. A label without an entry
        is its own phrase; a label with an entry is not, unless it is listed among its phrases.
    background : {"saliency", "prompt", "threshold", "words", "none"}
        ``saliency``: a background label and the guide of the paper. ``prompt``: the background label competes by its
        text embedding only. ``threshold``: a pixel is background where no other label is probable enough; the
        background has no text embedding. ``words``: the background is the best of `background_words`; no saliency.
        ``none``: no background label is added and saliency is not applied.
    background_label : str
        Name of the background label; added as the first label if it is not among the labels.
    background_words : tuple of str
        Words for the background, such as sky, wall and grass; required by the policy ``words``, otherwise unused.
    background_threshold : float
        For the policy ``threshold``, 0 to 1: a pixel is background where the highest probability of the other labels is
        below it. 0 gives no background. The default is ClearCLIP's for PASCAL VOC.
    logit_scale : float
        For the policy ``threshold``: probabilities are the softmax of ``logit_scale * merged`` over the labels other
        than background. The default is ClearCLIP's; CLIP was trained with a scale close to 100.
    saliency_input : {"image", "frame"}
        What the saliency source sees: the image at its own size (evaluation) or the resized frame (demo).
    saliency_weight : float
        ``guide_w = (1 - w) + w * guide``: 1 is the paper's setting, 0 ignores saliency.
    saliency_threshold : float or None
        None keeps the saliency soft; a number binarises it as ``saliency > threshold``.
    keep_labels : int or None
        None: all labels compete for every pixel. A number: besides the background, only this many labels compete, those
        with the most evidence in the windows (`method.presence.evidence`). At most the number of labels.
    refine : {"none", "pamr", "guided"}
        Edge-aware refinement of the fused scores: ``pamr`` propagates them among pixels of similar colour
        (`method.refine.Pamr`), ``guided`` is the guided filter (`method.refine.Guided`). Not part of the paper.
    refine_iterations : int
        Number of iterations of ``pamr``; 0 changes nothing.
    refine_dilations : tuple of int
        For ``pamr``: distances between a pixel and its neighbours, in pixels of the frame, less than its shorter side.
        The default is NACLIP's; smaller dilations preserve smaller objects.
    refine_radius : int
        For ``guided``: radius of its windows in pixels of the frame, less than its shorter side.
    refine_eps : float
        For ``guided``: colour variance, on the scale [0, 1], below which there is no edge (epsilon of He et al.).
    temperature : float
        Temperature of the softmax that turns scores into probabilities; it does not change labels.
    dense : {"none", "maskclip", "maskclip_reduced", "sclip", "clearclip", "naclip"}
        Method whose modified last block of the encoder gives patch tokens, which form additional grids, see
        `method.last_block`; ``none``: no such grid. Not part of the paper.
    dense_from : {"frame", "crops"}
        ``frame``: the whole frame is encoded once more, and its patch tokens form the grid ``dense``. ``crops``: the
        patch tokens of the crops that are encoded anyway; those of all windows of one side form one grid, such as
        ``dense064``, whose map is the mean over the windows that cover a pixel. In `weights`, the name ``dense`` refers
        to all of them.
    dense_side : int or None
        Shorter side in pixels to which the frame is resized (bilinear) for ``dense_from="frame"``; None: not resized.
    patches : (int, int) or None
        Sides of the encoder's input and of its patches, in pixels, which determine where patch tokens are. None: the
        segmenter fills it in; runs and stores contain it.
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        Precision of the networks (for saliency: of ``found``); ``auto`` keeps the encoder's own, ``int8`` needs
        OpenVINO.

    Raises
    ------
    ConfigError
        For an unknown knob (with the nearest names), an invalid value or an invalid combination of values.

    Examples
    --------
    >>> Config().changed(Config.paper())
    ('precision',)
    >>> Config(weights={128: 1, "s064": 0.5}).weights
    {'s064': 0.5}
    """

    scales: tuple[int, ...] = knob(
        (256, 128, 64), "embedding", "numbers", "window sides in pixels", min=1, max=MAX_SIDE, selects_from="grids"
    )
    stride: int = knob(2, "embedding", "count", "windows per window side", min=1, max=16, step=1)
    image_size: tuple[int, int] = knob(
        (256, 256), "embedding", "size", "height and width of the frame", min=1, max=MAX_SIDE, also_on={"saliency": {}}
    )
    image_resize: Resize = knob(
        "bilinear", "embedding", "choice", "how the image becomes the frame",
        choices=get_args(Resize), also_on={"saliency": {"saliency_input": "frame"}},
    )  # fmt: skip
    precision: Precision = knob(
        "auto", "embedding", "choice", "arithmetic of the networks", choices=get_args(Precision), left_open="auto",
        also_on={"saliency": {}},
    )  # fmt: skip
    saliency_input: SaliencyInput = knob(
        "image", "saliency", "choice", "image given to the saliency source", choices=get_args(SaliencyInput)
    )
    crop_input: CropInput = knob(
        CropInput(), "embedding", "sides", "side of the encoder's input for a scale", min=MIN_INPUT, max=MAX_INPUT
    )
    dense: Dense = knob(
        "none", "embedding", "choice", "method that gives patch tokens", choices=get_args(Dense),
        idle={"dense": "none"}, often=True,
    )  # fmt: skip
    dense_from: DenseFrom = knob(
        "frame", "embedding", "choice", "where patch tokens come from", choices=get_args(DenseFrom),
        idle={"dense": "none"},
    )  # fmt: skip
    dense_side: int | None = knob(
        None, "embedding", "optional", "shorter side of the frame when it is encoded for patch tokens",
        min=MIN_INPUT, max=MAX_INPUT, step=1, idle={"dense": "none", "dense_from": "crops"},
    )  # fmt: skip
    patches: tuple[int, int] | None = knob(
        None, "embedding", "settled", "sides of the encoder's input and of its patches, in pixels",
        min=1, max=MAX_INPUT, left_open=None, idle={"dense": "none"},
    )  # fmt: skip
    weights: Weights = knob(Weights(), "merged", "weights", "weight of each grid", min=0.0, max=4.0, step=0.05)
    placement: Placement = knob(
        "stretched", "merged", "choice", "position of a window's value", choices=get_args(Placement), often=True
    )
    interpolation: Interpolation = knob(
        "bilinear", "merged", "choice", "interpolation between windows", choices=get_args(Interpolation), often=True
    )
    align_corners: bool = knob(False, "merged", "switch", "align the corner windows with the corners of the frame")
    template: str | tuple[str, ...] = knob(
        OFFICIAL_TEMPLATE, "text", "template", "prompt around a label",
        suggestions=(OFFICIAL_TEMPLATE, *TEMPLATE_SETS), often=True,
    )  # fmt: skip
    article: Article = knob("official", "text", "choice", "always 'a', or 'an' by vowel", choices=get_args(Article))
    synonyms: Synonyms = knob(Synonyms(), "text", "phrases", "phrases used for a label; the best one counts")
    background: Background = knob(
        "saliency", "text", "choice", "what makes a pixel background", choices=get_args(Background), often=True
    )
    background_label: str = knob("background", "text", "text", "name of the background label")
    background_words: tuple[str, ...] = knob((), "text", "words", "words for the background (policy 'words')")
    background_threshold: float = knob(
        0.5, "fused", "number", "background below this probability (policy 'threshold')", min=0.0, max=1.0, step=0.01
    )
    logit_scale: float = knob(50.0, "fused", "number", "logit scale of 'threshold'", min=1.0, max=200.0, step=1.0)
    saliency_weight: float = knob(
        1.0, "guide", "number", "0 ignores saliency, 1 is the paper's setting", min=0.0, max=1.0, step=0.05, often=True
    )
    saliency_threshold: float | None = knob(
        None, "guide", "optional", "binarise saliency at this value", min=0.0, max=1.0, step=0.05, often=True
    )
    keep_labels: int | None = knob(
        None, "fused", "optional", "number of labels kept, by evidence", min=1, max=100, step=1,
        suggestions=(3, 5),
    )  # fmt: skip
    refine: Refine = knob(
        "none", "refined", "choice", "edge-aware refinement of the fused scores", choices=get_args(Refine), often=True
    )
    refine_iterations: int = knob(10, "refined", "count", "iterations of 'pamr'", min=0, max=100, step=1)
    refine_dilations: tuple[int, ...] = knob(
        (8, 16), "refined", "numbers", "neighbour distances of 'pamr', in pixels", min=1, max=MAX_SIDE
    )
    refine_radius: int = knob(8, "refined", "count", "window radius of 'guided', in pixels", min=1, max=100, step=1)
    refine_eps: float = knob(
        1e-3, "refined", "number", "regularisation of 'guided' (colour variance)", min=1e-5, max=1.0, step=1e-5
    )
    temperature: float = knob(
        1.0, "probability", "number", "temperature of the softmax", min=1e-3, max=100.0, step=0.01
    )

    def __post_init__(self) -> None:
        """Bring the values to their canonical types and check them."""
        for field in fields(self):
            self._set(field.name, knob_values.read(field, getattr(self, field.name)))
        if self.dense == "none":
            self._set("patches", None)
        combinations.check(self)
        self._set("weights", knob_values.read_weights(self.weights, self.grids))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def grids(self) -> tuple[str, ...]:
        """Names of the grids of a run, in the order of the plan."""
        return grid_names(self.scales, self.dense != "none", self.dense_from)

    def weight(self, grid: str | int) -> float:
        """Weight of a grid in the merge, by the grid's name or window side.

        Raises
        ------
        ConfigError
            If the configuration has no such grid.
        """
        return self.weights.get(self._grid(grid), 1.0)

    def only(self, *grids: str | int) -> Config:
        """Return a copy in which only some of its grids count, each with weight 1.

        The others are removed, except crops that are needed for patch tokens.

        Raises
        ------
        ConfigError
            If the configuration has no such grid.
        """
        names = {self._grid(grid) for grid in grids}
        kept = tuple(s for s in self.scales if {window_grid_name(s), token_grid_name(s)} & names)
        tokens = any(name in names for name in self.grids[len(self.scales) :])
        alone = self.replace(scales=kept, dense=self.dense if tokens else "none", weights={})
        return alone.replace(weights={name: 0 for name in alone.grids if name not in names})

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
    def knobs(cls, *where: Tier | Place) -> dict[str, Mapping[str, Any]]:
        """Metadata of every knob, or of those that act first at some places or are of some tiers; see `knobs.knob`."""
        known = {field.name: field.metadata for field in fields(cls)}
        return {name: meta for name, meta in known.items() if not where or {meta["acts_on"], meta["tier"]} & {*where}}

    @classmethod
    def require_known(cls, names: Iterable[str]) -> None:
        """Raise a `ConfigError` with the nearest names for a name that is no knob."""
        for name in names:
            if name not in cls.knobs():
                raise ConfigError(f"there is no knob {name!r}. {nearest(name, cls.knobs())}")

    def replace(self, **changes: Any) -> Config:
        """Return a copy with some knobs changed.

        Raises
        ------
        ConfigError
            For an unknown knob, with the nearest names, or an invalid value.
        """
        self.require_known(changes)
        return dataclass_replace(self, **changes)

    def changed(self, other: Config, *where: Tier | Place) -> tuple[str, ...]:
        """Names of the knobs in which two configurations differ; `where` as for `knobs`."""
        return tuple(name for name in self.knobs(*where) if getattr(self, name) != getattr(other, name))

    def plain_at(self, *where: Tier | Place) -> Config:
        """Return a copy in which the knobs that act first at some places or are of some tiers have their defaults."""
        return self.replace(**{field.name: field.default for field in fields(self) if field.name in self.knobs(*where)})

    def key_at(self, *where: Tier | Place) -> tuple[Any, ...]:
        """Return what that depends on which is made at some places or by a tier, whatever stands before it.

        Which grids are asked for is not part of it: each of them is made on its own.
        """
        return tuple(self._acting(where).values())

    def unlike(self, encoded: Config, *where: Tier | Place) -> tuple[str, ...]:
        """Names of the knobs in which an encoding with another configuration cannot serve this one.

        Which grids are asked for is not among them: an encoding may hold more. `where` may narrow it to the embedding
        or the saliency.
        """
        asked, held, knobs = self._acting(where or ("encode",)), encoded._acting(where or ("encode",)), self.knobs()
        differs = (name for name in asked if asked[name] != held[name] and not self._idle(name))
        return tuple(name for name in differs if asked[name] != knobs[name].get("left_open", held[name]))

    def settled_by(self, encoded: Config) -> Config:
        """Return a copy in which what is left to the encoder is as it was with an encoding's configuration."""
        known = self.knobs()
        open_here = [n for n in known if "left_open" in known[n] and getattr(self, n) == known[n]["left_open"]]
        return self.replace(**{name: getattr(encoded, name) for name in open_here})

    def _idle(self, name: str) -> bool:
        """Whether a knob has no effect beside the values of others."""
        return any(getattr(self, other) == value for other, value in self.knobs()[name].get("idle", {}).items())

    def _acting(self, where: tuple[Tier | Place, ...]) -> dict[str, Any]:
        """Values of the knobs that act at some places, first or not; None where one has no effect there."""
        acting: dict[str, Any] = {}
        for name, meta in self.knobs().items():
            also = [values for place, values in meta.get("also_on", {}).items() if place in where]
            first = bool({meta["acts_on"], meta["tier"]} & {*where})
            if "selects_from" not in meta and (first or also):
                effective = first or any(all(getattr(self, k) == v for k, v in values.items()) for values in also)
                effective = effective and not self._idle(name)
                acting[name] = getattr(self, name) if effective else None
        return acting

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal value."""
        values = {name: getattr(self, name) for name in self.knobs()}
        return json.dumps(values, default=dict)  # the mappings, whose keys become texts

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what `to_json` wrote.

        Raises
        ------
        ConfigError
            If it is not JSON, names an unknown knob or holds an invalid value.
        """
        return cls(**knob_values.read_json(text))


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
        raise ConfigError(f"config is {config!r} ({type(config).__name__}); expected a Config, such as Config.paper().")
    return config
