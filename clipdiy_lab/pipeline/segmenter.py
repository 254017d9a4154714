"""What needs the network: from an image to embeddings of its windows, and on to a run."""

from __future__ import annotations

import json
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
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config, Precision, as_config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.encoders import Encoder, as_encoder, as_vectors, describe_usage, to_input
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
from clipdiy_lab.pipeline.encoding import Encoding, saliency_in_frame
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.provenance import versions
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
        self.batch_size = batch_size
        self._texts = TextCache(self.encoder)
        self._precisions: dict[str, Encoder] = {}

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
        config = as_config(config)
        pixels = read_image(image)
        frame = ops.resize_image(torch.from_numpy(pixels), config.image_size, config.image_resize)
        applied = self.saliency_map(pixels, frame, config, saliency)
        return Encoding(
            config=self._settled(config),
            embeddings=dict(zip(config.grids, self._embed(frame, config, watch), strict=True)),
            saliency=applied,
            frame=frame,
            size=(pixels.shape[0], pixels.shape[1]),
            provenance=self._provenance(saliency is not None)
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
            Rows for `labels` to use instead of the encoder's, one a label.

        Returns
        -------
        array (phrase, feature)
            With the coordinates ``phrase`` and ``phrase_label``; one row a label where the configuration has no
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
                f"text_embeddings has shape {rows.shape}, expected {expected}: a row a label, as wide as the "
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

    def _embed(self, frame: Tensor, config: Config, watch: Watch) -> list[Tensor]:
        """Embeddings of every grid's windows, rows x cols x features; all grids share the batches."""
        encoder = self._at(config)
        # Products of 22-bit weights need float64, which mps lacks; there the crops are prepared on the CPU.
        device = getattr(encoder, "device", torch.device("cpu"))
        frame = frame.to(device) if device.type == "cuda" else frame
        grids = Plan.of(config).crops
        sides = [config.crop_input.get(grid.window, encoder.image_size) for grid in grids]
        for side in set(sides) - {encoder.image_size}:
            _check_side(encoder, side)
        with torch.inference_mode():
            crops = [
                to_input(ops.cut_windows(frame, grid), side, encoder) for grid, side in zip(grids, sides, strict=True)
            ]
            parts = self._encode_grids(encoder, crops, sides, watch)
        # A cosine is meant whatever length one's own encoder gives; unit vectors keep theirs.
        unit = [torch.nn.functional.normalize(vectors, dim=-1).cpu().float() for vectors in parts]
        return [vectors.reshape(grid.rows, grid.cols, -1) for grid, vectors in zip(grids, unit, strict=True)]

    def _encode_grids(self, encoder: Encoder, crops: list[Tensor], sides: list[int], watch: Watch) -> list[Tensor]:
        """Encode the crops of every grid; grids whose input has one size share the batches."""
        found: dict[int, Tensor] = {}
        done, total = 0, sum(len(part) for part in crops)
        for side in dict.fromkeys(sides):
            here = [place for place, one in enumerate(sides) if one == side]
            vectors = self._encode_batched(encoder, torch.cat([crops[place] for place in here]), watch, done, total)
            counts = [len(crops[place]) for place in here]
            done += sum(counts)
            shape, expected = tuple(vectors.shape), (sum(counts), encoder.embedding_dim)
            if shape != expected or not bool(torch.isfinite(vectors).all()):
                what = f"of shape {shape}" if shape != expected else "with NaN or infinite values"
                raise ModelError(
                    f"The encoder {encoder.name!r} gave embeddings {what}, expected shape {expected}, all finite."
                )
            found |= dict(zip(here, torch.split(vectors, counts), strict=True))
        return [found[place] for place in range(len(crops))]

    def _encode_batched(self, encoder: Encoder, crops: Tensor, watch: Watch, before: int, total: int) -> Tensor:
        size = min(self.batch_size or len(crops), watch.every or len(crops))
        while True:
            try:
                parts = []
                for place, part in enumerate(torch.split(crops, size)):
                    watch.check()
                    parts.append(as_vectors(encoder.encode_crops(part), encoder, "encode_crops"))
                    watch.progress(before + place * size + len(part), total)
                return torch.cat(parts)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size = self.batch_size = (size + 1) // 2
                torch.cuda.empty_cache()

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

    def _settled(self, config: Config) -> Config:
        """Return the configuration with the precision that is used for it."""
        return config.replace(precision=getattr(self._at(config), "precision", config.precision))

    def provenance(self, config: Config) -> dict[str, Any]:
        """Attributes that every run of this segmenter carries, whatever the image; the precision is settled."""
        return {**self._provenance(), "config": self._settled(config).to_json()}

    def _provenance(self, given: bool = False) -> dict[str, Any]:
        """Collect what it takes to repeat a run, the configuration apart; `given` says that the saliency was given."""
        source = self.saliency
        applied = source.name != "none"
        return {
            "schema_version": s.SCHEMA_VERSION,
            "encoder": self.encoder.name,
            "encoder_fingerprint": self.encoder.fingerprint,
            "encoder_usage": json.dumps(describe_usage(self.encoder)),
            "encoder_recipe": json.dumps(getattr(self.encoder, "recipe", None), default=spelled),
            "saliency_source": "given" if given else source.name,
            "saliency_options": "{}" if given else json.dumps(getattr(source, "options", {}), default=str),
            "saliency_fingerprint": source.fingerprint if applied and not given else "",
            "versions": json.dumps(versions(self.encoder)),
        }


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


def _check_side(encoder: Encoder, side: int) -> None:
    check = getattr(encoder, "check_side", None)
    if check is None:
        raise ModelError(
            f"the encoder {encoder.name!r} reads crops of {encoder.image_size} pixels only; leave out crop_input."
        )
    check(side)


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
