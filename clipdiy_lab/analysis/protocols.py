"""How a benchmark is scored: at which size, through which windows, and what an absent label counts.

mIoU of one method differs by whole points between protocols, so a score never travels without the name of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clipdiy_lab.datasets.manifests import manifest_of
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ConfigError, nearest
from clipdiy_lab.files import read_text
from clipdiy_lab.method import ops

Pixels = Annotated[int, Field(ge=1, le=8192)]


class Decision(BaseModel):
    """How scores of a whole image become labels where every phrase competes on its own.

    The probability of a phrase is the softmax of ``logit_scale`` times its score over all phrases; a label has the
    largest of its phrases, and the label with the largest wins. (SCLIP, ClearCLIP and NACLIP decide so.)

    Attributes
    ----------
    logit_scale : float
    probability_threshold : float or None
        A pixel whose largest probability is below it is background.
    area_threshold : float or None
        A label other than the background competes only if, without this rule, it wins more than this share of the
        pixels that are not background.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    logit_scale: Annotated[float, Field(gt=0)]
    probability_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    area_threshold: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def makes_background(self) -> bool:
        """Whether it can only be applied where a label is the background."""
        return self.probability_threshold is not None or self.area_threshold is not None


class Protocol(BaseModel):
    """A way of scoring.

    Attributes
    ----------
    id : str
        Its name.
    summary : str
        In one sentence, for tables.
    truth_short : int or None
        Short side, in pixels, that masks are brought to before labels are compared; None compares at their own size.
    absent : {"nan", "zero"}
        What a label counts that is neither true nor predicted anywhere.
    image_short, image_long : int or None
        The image is resized to this short side, with a long side of at most `image_long`, before windows are cut;
        None: the method gets the image as it is.
    window, stride : int or None
        Sliding windows over the resized image, in pixels; each is segmented as an image. None with an `image_short`:
        the resized image is the one window, and the method's frame, whatever its ``image_size``. Scores are averaged
        over the windows and brought to the size of comparison; a refinement that the configuration asks for acts
        there, once, on the whole image.
    decision : Decision or None
        How these scores become labels; None: the greatest wins, and of a label's phrases the best counts in every
        cell of a grid already.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    summary: Annotated[str, Field(min_length=1)]
    truth_short: Pixels | None = None
    absent: Literal["nan", "zero"]
    image_short: Pixels | None = None
    image_long: Pixels | None = None
    window: Pixels | None = None
    stride: Pixels | None = None
    decision: Decision | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.window is None) != (self.stride is None):
            raise ValueError("window and stride must be given together")
        if self.image_short is None and (self.window is not None or self.image_long is not None):
            raise ValueError("window, stride and image_long need image_short: give it too, or none of them")
        if self.image_short is None and self.decision is not None:
            raise ValueError("decision needs image_short: give both or neither")
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(f"stride {self.stride} is greater than window {self.window}, so pixels would be left out")
        return self

    @property
    def slides(self) -> bool:
        """Whether the image is resized first, and segmented window by window (without `window`: in one)."""
        return self.image_short is not None

    def size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width at which the labels of a mask of this shape are compared."""
        height, width = shape[0], shape[1]
        if self.truth_short is None:
            return height, width
        short = min(height, width)
        # torchvision's rule for the longer side: cut off, not rounded.
        return int(self.truth_short * height / short), int(self.truth_short * width / short)

    def truth(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Bring a mask, height x width, to the size of comparison with Pillow's nearest."""
        size = self.size(mask.shape)
        if size == mask.shape:
            return mask
        return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))

    def prediction(self, labels: npt.NDArray[np.integer], shape: tuple[int, ...]) -> npt.NDArray[np.integer]:
        """Bring a label map, y x x, to the size of comparison for a mask of this shape, with torch's nearest.

        The two nearest rules differ, as they do in the official evaluation.
        """
        resized: npt.NDArray[np.integer] = ops.resize_labels(torch.from_numpy(labels), self.size(shape)).numpy()
        return resized


DEFAULT = "mmseg"
"""The protocol of a dataset that names none: that of most of the field's tables."""

# "official" follows wysoczanska/clip-diy at f88932d: src/datasets/load_dataset.py, src/semseg/evaluate.py and
# eval_clipconv.py.
PROTOCOLS = {
    protocol.id: protocol
    for protocol in (
        Protocol(
            id="official",
            summary="CLIP-DIY's own: truth at short side 448, nearest; an absent label counts 0",
            truth_short=448,
            absent="zero",
        ),
        Protocol(id="mmseg", summary="truth at its own size; absent labels are left out of the mean", absent="nan"),
        Protocol(
            id="sliding",
            summary="image at short side 448 (long side at most 2048), windows of 448, stride 224; scored as mmseg",
            absent="nan",
            image_short=448,
            image_long=2048,
            window=448,
            stride=224,
        ),
    )
}


def get_protocol(given: str | os.PathLike[str] | Protocol) -> Protocol:
    """Return a protocol by its name, or read it from a YAML file that holds the fields of `Protocol`.

    Parameters
    ----------
    given : str, path or Protocol
        "official", "mmseg", "sliding", or the path of a `.yaml` file.

    Raises
    ------
    ConfigError
        For an unknown name, with the nearest ones; for a file that cannot be read or does not fit, with the field.

    Examples
    --------
    >>> get_protocol("official").size((375, 500))
    (448, 597)
    """
    if isinstance(given, Protocol):
        return given
    name = os.fspath(given)
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if Path(name).suffix in (".yaml", ".yml"):
        return _read(Path(name))
    raise ConfigError(
        f"there is no protocol {name!r}. {nearest(name, PROTOCOLS)} To use your own, give the path of a .yaml file."
    )


def protocol_for(dataset: Dataset, given: str | os.PathLike[str] | Protocol | None) -> Protocol:
    """Return the protocol that is asked for, else the one that the dataset's manifest names, else "mmseg".

    Raises
    ------
    ConfigError
        As `get_protocol`.
    """
    manifest = manifest_of(dataset)
    if given is not None or manifest is None or manifest.protocol is None:
        return get_protocol(DEFAULT if given is None else given)
    try:
        return get_protocol(manifest.protocol)
    except ConfigError as error:
        raise ConfigError(f"the manifest {manifest.reference!r} names its protocol, but {error}") from error


def _read(path: Path) -> Protocol:
    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the protocol {path} cannot be read ({reason}); expected a YAML file of fields.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the protocol {path} holds a {type(content).__name__}; expected fields such as absent: nan.")
    if isinstance(content.get("absent"), float):  # YAML 1.1 reads `.nan` as a number
        content["absent"] = "nan"
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        # A mistyped field is also a missing one; the unknown name is what the reader recognises.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = f"unknown field. {nearest(field, Protocol.model_fields)}"
        raise ConfigError(f"the protocol {path}, field {field}: {reason.rstrip('.')}.") from error
