"""What needs the network: from an image to embeddings of its windows, and on to a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.datasets.images import content_hash, describe, read_image
from clipdiy_lab.datasets.registry import open_dataset
from clipdiy_lab.errors import ConfigError, ModelError, spelled
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config, Precision, as_config
from clipdiy_lab.models.dense_tokens import as_token_encoder
from clipdiy_lab.models.encoders import Encoder, as_encoder
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.openclip import EMBEDDED
from clipdiy_lab.models.openvino import OpenVinoEncoder
from clipdiy_lab.models.prompts import (
    TextCache,
    check_labels,
    check_one_phrase,
    given_rows,
    phrases,
    warn_of_shared_phrases,
)
from clipdiy_lab.models.saliency import Saliency, as_saliency, build, validate_map
from clipdiy_lab.models.tokenizers import Tokenizer
from clipdiy_lab.models.usage import Activation
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.caution import caution, warn
from clipdiy_lab.pipeline.crops import CropBatches
from clipdiy_lab.pipeline.encoding import Encoding, saliency_in_frame
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.provenance import made_by
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch

FloatMap = npt.NDArray[np.float32]
Runtime = Literal["torch", "openvino"]


class Segmenter:
    """An encoder and a saliency source, ready for images.

    Parameters
    ----------
    encoder : str or Encoder
        A name for `load_encoder`, or any object that meets the protocol.
    saliency : str or Saliency
        A name for `models.saliency.build`, or any object that meets the protocol; ``"none"`` applies no saliency.
    batch_size : int, optional
        Crops that go through the network at once. None: all crops of an image; halved by itself, and kept there, where
        memory runs out.

    Raises
    ------
    ModelError
        If the encoder is unknown, or an object that does not meet the protocol.
    SaliencyError
        If the saliency is an object that does not meet the protocol.
    ConfigError
        If the batch size is no positive whole number.

    Examples
    --------
    >>> import clipdiy_lab as lab
    >>> segmenter = lab.load("tiny")
    >>> sample = lab.open_dataset("scenes")[0]
    >>> run = segmenter.segment(sample.image, ["cat", "train"])
    >>> dict(run["labels"].sizes)
    {'y': 256, 'x': 256}
    """

    def __init__(
        self, encoder: str | Encoder = EMBEDDED, saliency: str | Saliency = "none", *, batch_size: int | None = None
    ) -> None:
        self.encoder: Encoder = load_encoder(encoder) if isinstance(encoder, str) else as_encoder(encoder)
        self.saliency: Saliency = build(saliency) if isinstance(saliency, str) else as_saliency(saliency)
        whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
        if batch_size is not None and not (whole and batch_size >= 1):
            raise ConfigError(f"batch_size is {batch_size!r}; expected a positive whole number of crops, or None.")
        self._batches = CropBatches(batch_size)
        self._texts = TextCache(self.encoder)
        self._precisions: dict[str, Encoder] = {}

    @property
    def batch_size(self) -> int | None:
        """Crops that go through the network at once; None: all crops of an image."""
        return self._batches.size

    def segment(
        self,
        image: Any,
        labels: Sequence[str],
        config: Config | None = None,
        *,
        text_embeddings: npt.ArrayLike | None = None,
        saliency: npt.ArrayLike | None = None,
    ) -> xr.DataTree:
        """Segment an image with free-text labels.

        Parameters
        ----------
        image : path, bytes, PIL image or H x W x 3 uint8 array
        labels : sequence of str
            What to look for. A background label is added as the policy asks.
        config : Config, optional
            Default: `Config()`, the paper's settings.
        text_embeddings : array, labels x features, optional
            Used instead of the encoder's own for the given labels; scaled to length 1.
        saliency : array, H x W (the image's own size) in [0, 1], optional
            Used instead of the saliency source.

        Returns
        -------
        xarray.DataTree
            The run: every stage as a labelled array, see `method.schema`.

        Raises
        ------
        ClipdiyError
            A child of it for every kind of bad input.

        Warns
        -----
        OutOfDistributionWarning
            If the embedded model is shown something else than a scene; the run's attribute ``caution`` says it too.
        """
        config = as_config(config)
        checked = check_labels(labels)
        text = self.text_embeddings(checked, config, text_embeddings)
        encoding = self.encoding(image, config, saliency=saliency)
        warn(encoding.provenance)
        return fuse(encoding, text, config)

    def encode(self, image: Any, config: Config | None = None, *, saliency: npt.ArrayLike | None = None) -> xr.DataTree:
        """Do what needs the network: frame, embeddings of all windows, saliency.

        Returns
        -------
        xarray.DataTree
            A run without labels; `fuse` makes it whole.
        """
        encoding = self.encoding(image, config, saliency=saliency)
        warn(encoding.provenance)
        return encoding.tree()

    def encoding(
        self,
        image: Any,
        config: Config | None = None,
        *,
        saliency: npt.ArrayLike | None = None,
        watch: Watch = UNWATCHED,
    ) -> Encoding:
        """Do what `encode` does, and return it as the value that the lab itself works with.

        Parameters
        ----------
        image, config, saliency
            As for `segment`.
        watch : Watch, optional
            Hears of the crops that are encoded, and may stop the work between two batches.

        Raises
        ------
        StoppedError
            If the watch stops it.
        """
        config = self.settled(as_config(config))
        pixels = read_image(image)
        frame = ops.resize_image(torch.from_numpy(pixels), config.image_size, config.image_resize)
        applied = self.saliency_map(pixels, frame, config, saliency)
        return Encoding(
            config=config,
            embeddings=self._batches.embed(frame, config, self._at(config), watch),
            saliency=applied,
            frame=frame,
            size=(pixels.shape[0], pixels.shape[1]),
            provenance=made_by(self.encoder, None if saliency is not None else self.saliency)
            | {"image_source": describe(image), "image_sha256": content_hash(pixels)}
            | caution(self.encoder, pixels),
        )

    def text_embeddings(
        self, labels: Sequence[str], config: Config | None = None, given: npt.ArrayLike | None = None
    ) -> xr.DataArray:
        """Embed the phrases of labels, the background of the policy included; every prompt is embedded only once.

        Parameters
        ----------
        labels : sequence of str
        config : Config, optional
        given : array, labels x features, optional
            Rows for `labels` to use instead of the encoder's, one per label.

        Returns
        -------
        array (phrase, feature)
            With the coordinates ``phrase`` and ``phrase_label``; one row per label where the configuration has no
            synonyms. The labels are those of `method.schema.labels_of`.

        Raises
        ------
        LabelError
            Labels that cannot be prompted; synonyms of other labels, or of labels whose rows are given.
        ModelError
            `given` of another shape, or holding zero, NaN or infinite vectors.
        """
        config = as_config(config)
        checked = check_labels(labels)
        wanted = phrases(checked, config)
        if given is None:
            warn_of_shared_phrases(wanted)
            vectors = self._texts.embed([phrase for several in wanted.values() for phrase in several], config)
        else:
            vectors = self._given_rows(given, checked)
            check_one_phrase(checked, wanted)
            # What the policy adds stands before the labels that were given.
            added = [phrase for label, several in wanted.items() if label not in checked for phrase in several]
            vectors = np.concatenate([self._texts.embed(added, config), vectors]) if added else vectors
        return stages.text_embedding(vectors, wanted)

    def _given_rows(self, given: npt.ArrayLike, labels: tuple[str, ...]) -> FloatMap:
        rows = given_rows(given)
        expected = (len(labels), self.encoder.embedding_dim)
        if rows.shape != expected:
            raise ModelError(
                f"text_embeddings has shape {rows.shape}, expected {expected}: a row per label, as wide as the "
                f"embeddings of {self.encoder.name!r}."
            )
        return rows

    def saliency_map(
        self, pixels: npt.NDArray[np.uint8], frame: Tensor, config: Config, given: npt.ArrayLike | None = None
    ) -> Tensor | None:
        """Apply the saliency source to an image, and bring its map to the frame.

        Parameters
        ----------
        pixels : uint8 array, height x width x 3
            The image at its own size.
        frame : uint8 tensor, y x x x 3
        config : Config
            Says which of the two the source looks at.
        given : array, height x width in [0, 1], optional
            Used instead of the source.

        Returns
        -------
        float32 tensor, y x x, in [0, 1], or None
            None where no source is applied.

        Raises
        ------
        SaliencyError
            For a map of another shape, or values outside [0, 1].
        """
        if given is None and self.saliency.name == "none":
            return None
        seen = frame.numpy() if config.saliency_input == "frame" and given is None else pixels
        checked = validate_map(self.saliency(seen) if given is None else given, seen.shape[:2])
        return saliency_in_frame(checked, config.image_size)

    def _at(self, config: Config) -> Encoder:
        """Return the encoder in the precision that the configuration asks for."""
        wanted = config.precision
        if wanted in ("auto", getattr(self.encoder, "precision", "auto")):
            return self.encoder
        if not hasattr(self.encoder, "with_precision"):
            if wanted == "fp32":
                return self.encoder  # a plain object computes in float32
            raise ConfigError(f"encoder {self.encoder.name!r} cannot change its precision; use precision='auto'.")
        if wanted not in self._precisions:
            self._precisions[wanted] = self.encoder.with_precision(wanted)
        return self._precisions[wanted]

    def settled(self, config: Config) -> Config:
        """Return the configuration with what is left to the encoder: the precision, and the size of patches.

        Raises
        ------
        ModelError
            If it asks for patch tokens and the encoder gives none.
        """
        encoder = self._at(config)
        config = config.replace(precision=getattr(encoder, "precision", config.precision))
        if config.dense == "none":
            return config
        return config.replace(patches=(encoder.image_size, as_token_encoder(encoder).patch_size))

    def provenance(self, config: Config) -> dict[str, Any]:
        """Attributes that every run of this segmenter carries, whatever the image; the precision is settled."""
        return {**made_by(self.encoder, self.saliency), "config": self.settled(config).to_json()}


def as_segmenter(given: object) -> Segmenter:
    """Return what was given as a segmenter.

    Raises
    ------
    ModelError
        If it is something else, such as a model's name.
    """
    if isinstance(given, Segmenter):
        return given
    named = given if isinstance(given, str) and given else EMBEDDED
    raise ModelError(f"segmenter is {spelled(given)}; expected a segmenter: lab.load({named!r}).")


def load(
    name: str = EMBEDDED,
    *,
    saliency: str | Saliency | None = None,
    checkpoint: str | PathLike[str] | None = None,
    sha256: str | None = None,
    mean: Any = None,
    std: Any = None,
    activation: Activation | None = None,
    tokenizer: Tokenizer | str | PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int | None = None,
    runtime: Runtime = "torch",
    calibration: Sequence[Any] | None = None,
) -> Segmenter:
    """Load a segmenter by the name of its encoder.

    Parameters
    ----------
    name : str
        ``"tiny"`` (embedded, knows pictograms), ``"ARCHITECTURE/TAG"`` of `list_models`, such as
        ``"ViT-B-32/laion2b_s34b_b79k"``, the paper's, or another name that `models.loading.load_encoder` takes.
    saliency : str or Saliency, optional
        ``found``, ``found-seed``, ``found-tiny``, ``spectral``, ``none``, or any object that meets the protocol.
        Default: ``found-tiny`` beside ``tiny``, ``found`` beside every other encoder.
    checkpoint : path, optional
        Local weights for the architecture `name`; a tag beside it says how they were trained.
    sha256 : str, optional
        Expected hash of the file of weights.
    mean, std, activation, tokenizer : optional
        How the weights were trained, where neither tag nor file says so or you know better, see
        `models.loading.load_encoder`.
    device : {"auto", "cuda", "mps", "cpu"}
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        fp16 for graphics cards, int8 for the runtime ``openvino``.
    batch_size : int, optional
        See `Segmenter`.
    runtime : {"torch", "openvino"}
        What computes the image tower. OpenVINO is for processors, see `models.openvino.OpenVinoEncoder`.
    calibration : sequence of images, optional
        Anything that `Segmenter.segment` takes; int8 sets its ranges by them. Default: 8 scenes of the training split;
        for photographs, give a few photographs.

    Raises
    ------
    ModelError
        If the name is unknown or no text, the weights are neither on this machine nor to be fetched, nothing says how
        they were trained, or the runtime cannot do what is asked of it.
    SaliencyError
        If the saliency is neither a name nor a source.
    """
    if not isinstance(name, str):
        raise ModelError(
            f"name is {spelled(name)}; expected the name of a model, such as {EMBEDDED!r}. An encoder of one's own "
            "goes into lab.Segmenter(encoder=..., saliency=...)."
        )
    if runtime not in get_args(Runtime):
        raise ModelError(f"runtime is {runtime!r}; expected 'torch' or 'openvino'.")
    if calibration is not None and runtime == "torch":
        raise ModelError("calibration is for int8, which needs runtime='openvino'.")
    trained = {"mean": mean, "std": std, "activation": activation, "tokenizer": tokenizer}
    find = partial(load_encoder, name, checkpoint=checkpoint, sha256=sha256, **trained)
    encoder: Encoder
    if runtime == "torch":
        encoder = find(device=device, precision=precision)
    else:
        images = _calibration_scenes if calibration is None else [read_image(one) for one in calibration]
        plain = find(device="cpu" if device == "auto" else device, precision="fp32")
        encoder = OpenVinoEncoder(plain, precision=precision, calibration=images)
    if saliency is None:
        saliency = "found-tiny" if name == EMBEDDED else "found"
    if isinstance(saliency, str):
        saliency = build(saliency, device=device)
    return Segmenter(encoder, saliency, batch_size=batch_size)


def _calibration_scenes() -> list[npt.NDArray[np.uint8]]:
    scenes = open_dataset("scenes", split="train", length=8)
    return [scenes[index].image for index in range(len(scenes))]
