"""The steps that need the network: from an image to the embeddings of its windows, and to a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from clipdiy_lab.errors import ConfigError, ModelError, spelled
from clipdiy_lab.method.config import Config, Precision, as_config
from clipdiy_lab.models.capabilities import as_token_encoder, in_precision, precision_of, saliency_in
from clipdiy_lab.models.encoders import EMBEDDED, Encoder, as_encoder
from clipdiy_lab.models.prompts import (
    TextCache,
    check_labels,
    check_one_phrase,
    given_rows,
    phrases,
    warn_of_shared_phrases,
)
from clipdiy_lab.models.saliency import Saliency, as_saliency, build, validate_map
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.caution import warn
from clipdiy_lab.pipeline.crops import CropBatches
from clipdiy_lab.pipeline.encoding import Encoding, saliency_in_frame
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.prepared import Prepared, prepare
from clipdiy_lab.pipeline.provenance import made_by
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch

FloatMap = npt.NDArray[np.float32]


class Segmenter:
    """An encoder and a saliency source, ready to segment images.

    Parameters
    ----------
    encoder : str or Encoder
        A name for `load_encoder`, or any object that meets the protocol.
    saliency : str or Saliency
        A name for `models.saliency.build`, or any object that meets the protocol; ``"none"`` applies no saliency.
    batch_size : int, optional
        Number of crops per forward pass. None: all crops of an image. If memory runs out, it is halved automatically
        and stays at the lower value.

    Raises
    ------
    ModelError
        If the encoder is unknown, or an object that does not meet the protocol.
    SaliencyError
        If the saliency is an object that does not meet the protocol.
    ConfigError
        If the batch size is not a positive integer.

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
        self.encoder: Encoder = _encoder_named(encoder) if isinstance(encoder, str) else as_encoder(encoder)
        self.saliency: Saliency = build(saliency) if isinstance(saliency, str) else as_saliency(saliency)
        whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
        if batch_size is not None and not (whole and batch_size >= 1):
            raise ConfigError(f"batch_size is {batch_size!r}; expected a positive whole number of crops, or None.")
        self._batches = CropBatches(batch_size)
        self._texts = TextCache(self.encoder)
        self._precisions: dict[str, Encoder] = {}
        self._saliencies: dict[str, Saliency] = {}

    @property
    def batch_size(self) -> int | None:
        """Number of crops per forward pass; None: all crops of an image."""
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
            Labels to segment. A background label is added if the background policy needs one.
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
            A subclass for each kind of bad input.

        Warns
        -----
        OutOfDistributionWarning
            If the embedded model is given something other than a scene; the run's attribute ``caution`` contains the
            same warning.
        """
        config = as_config(config)
        checked = check_labels(labels)
        text = self.text_embeddings(checked, config, text_embeddings)
        encoding = self.encoding(image, config, saliency=saliency)
        warn(encoding.provenance)
        return fuse(encoding, text, config)

    def encode(self, image: Any, config: Config | None = None, *, saliency: npt.ArrayLike | None = None) -> xr.DataTree:
        """Run the steps that need the network: frame, embeddings of all windows, saliency.

        Returns
        -------
        xarray.DataTree
            A run without labels; `fuse` adds the remaining stages.
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
        """Do the same as `encode`, and return the lab's internal representation.

        Parameters
        ----------
        image, config, saliency
            As for `segment`; the image may also be what `prepare` gave.
        watch : Watch, optional
            Notified of the crops that are encoded; it can stop the work between two batches.

        Raises
        ------
        StoppedError
            If the watch stops it.
        """
        config = self.settled(as_config(config))
        ready = self.prepare(image, config)
        applied = self.saliency_map(ready.pixels, ready.frame, config, saliency)
        return Encoding(
            config=config,
            embeddings=self._batches.embed(ready.frame, config, self._at(config), watch),
            saliency=applied,
            frame=ready.frame,
            size=(ready.pixels.shape[0], ready.pixels.shape[1]),
            provenance={**made_by(self.encoder, None if saliency is not None else self.saliency), **ready.facts},
        )

    def prepare(self, image: Any, config: Config) -> Prepared:
        """Do what `encoding` does before the networks, which a thread may do ahead; it takes the result as an image."""
        return prepare(image, config, self.encoder)

    def text_embeddings(
        self, labels: Sequence[str], config: Config | None = None, given: npt.ArrayLike | None = None
    ) -> xr.DataArray:
        """Embed the phrases of the labels, including the background of the policy; every prompt is embedded only once.

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
            If labels cannot be used in prompts, or synonyms belong to other labels or to labels whose rows are given.
        ModelError
            If `given` has another shape, or contains zero, NaN or infinite vectors.
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
        """Apply the saliency source to an image, and resize its map to the frame.

        Parameters
        ----------
        pixels : uint8 array, height x width x 3
            The image at its own size.
        frame : uint8 tensor, y x x x 3
        config : Config
            Decides which of the two is given to the source, and in which precision it runs.
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
        checked = validate_map(self._saliency_at(config)(seen) if given is None else given, seen.shape[:2])
        return saliency_in_frame(checked, config.image_size)

    def _at(self, config: Config) -> Encoder:
        """Return the encoder in the precision that the configuration asks for."""
        wanted = config.precision
        if wanted not in self._precisions:
            self._precisions[wanted] = in_precision(self.encoder, wanted)
        return self._precisions[wanted]

    def _saliency_at(self, config: Config) -> Saliency:
        """Return the saliency source in the precision that the encoder has under the configuration."""
        used = precision_of(self._at(config))
        if used not in self._saliencies:
            self._saliencies[used] = saliency_in(self.saliency, cast(Precision, used))
        return self._saliencies[used]

    def settled(self, config: Config) -> Config:
        """Return the configuration with the values that depend on the encoder filled in: precision and patch size.

        Raises
        ------
        ModelError
            If it asks for patch tokens and the encoder gives none.
        """
        encoder = self._at(config)
        used = precision_of(encoder)
        config = config if used == "auto" else config.replace(precision=used)
        if config.dense == "none":
            return config
        return config.replace(patches=(encoder.image_size, as_token_encoder(encoder).patch_size))

    def provenance(self, config: Config) -> dict[str, Any]:
        """Attributes that every run of this segmenter has, independent of the image; the precision is filled in."""
        return {**made_by(self.encoder, self.saliency), "config": self.settled(config).to_json()}


def _encoder_named(name: str) -> Encoder:
    from clipdiy_lab.models.loading import load_encoder  # here, since opening a run should not wait for open_clip

    return load_encoder(name)


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
