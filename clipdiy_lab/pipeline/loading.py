"""Load segmenters and encoders by name, for any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from clipdiy_lab.datasets.images import read_image
from clipdiy_lab.datasets.registry import open_dataset
from clipdiy_lab.errors import ModelError, spelled
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models.compiled import Calibration
from clipdiy_lab.models.devices import Runtime
from clipdiy_lab.models.encoders import EMBEDDED, Encoder
from clipdiy_lab.models.loading import load_encoder
from clipdiy_lab.models.openvino import OpenVinoEncoder
from clipdiy_lab.models.saliency import Saliency, build
from clipdiy_lab.models.tokenizers import Tokenizer
from clipdiy_lab.models.usage import Activation
from clipdiy_lab.pipeline.segmenter import Segmenter


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
    **options: Any,
) -> Segmenter:
    """Load a segmenter by the name of its encoder.

    Parameters
    ----------
    name : str
        ``"tiny"`` (comes with the package, recognises pictograms only), ``"ARCHITECTURE/TAG"`` of `list_models`, such
        as the paper's ``"ViT-B-32/laion2b_s34b_b79k"``, or another name that `models.loading.load_encoder` accepts,
        such as one registered by an installed package.
    saliency : str or Saliency, optional
        A name of `lab.saliency.names`, such as ``found``, ``found-tiny`` or ``none``, or any object that meets the
        protocol.
        Default: ``found-tiny`` for ``tiny``, ``found`` for every other encoder.
    checkpoint : path, optional
        Local weights for the architecture `name`; a tag in `name` tells how they were trained.
    sha256 : str, optional
        Expected hash of the weights file.
    mean, std, activation, tokenizer : optional
        Preprocessing, activation and tokenizer with which the weights were trained, if neither tag nor file gives
        them or to override them, see `models.loading.load_openclip`.
    device : {"auto", "cuda", "mps", "cpu"}
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        fp16 is for GPUs, int8 for the runtime ``openvino``.
    batch_size : int, optional
        See `Segmenter`.
    runtime : {"torch", "openvino"}
        Library that runs the image tower, and the transformer of the saliency ``found``. OpenVINO is for CPUs, see
        `models.openvino.OpenVinoEncoder` and `models.saliency.fast_dino.FastDino`.
    calibration : sequence of images, optional
        Images, as for `Segmenter.segment`, from which int8 quantisation takes its ranges. Default: 8 scenes of the
        training split; for photographs, give a few photographs.
    **options
        Further options of an encoder from an installed package.

    Raises
    ------
    ModelError
        If the name is unknown or not a string, the weights are not on this machine and cannot be downloaded, it is not
        known how they were trained, or the runtime does not support what is requested.
    SaliencyError
        If the saliency is neither a name nor a source.
    """
    trained = {"mean": mean, "std": std, "activation": activation, "tokenizer": tokenizer}
    asked = {**trained, "checkpoint": checkpoint, "sha256": sha256}
    encoder = make_encoder(
        name,
        runtime=runtime,
        calibration=calibration,
        device=device,
        precision=precision,
        **{option: value for option, value in asked.items() if value is not None},
        **options,
    )
    if saliency is None:
        saliency = "found-tiny" if name == EMBEDDED else "found"
    if isinstance(saliency, str):
        saliency = make_saliency(saliency, runtime=runtime, calibration=calibration, device=device, precision=precision)
    return Segmenter(encoder, saliency, batch_size=batch_size)


def make_encoder(
    name: str,
    *,
    runtime: Runtime = "torch",
    calibration: Sequence[Any] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    **options: Any,
) -> Encoder:
    """Make an encoder, as `load` does, but without a saliency source; also used to repeat a recipe.

    Parameters
    ----------
    name, runtime, calibration, device, precision
        As for `load`.
    **options
        As for `models.loading.load_encoder`.

    Raises
    ------
    ModelError
        As `load`.
    """
    if not isinstance(name, str):
        raise ModelError(
            f"name is {spelled(name)}; expected the name of a model, such as {EMBEDDED!r}. To use your own "
            "encoder, pass it to lab.Segmenter(encoder=..., saliency=...)."
        )
    if runtime not in get_args(Runtime):
        raise ModelError(f"runtime is {runtime!r}; expected 'torch' or 'openvino'.")
    if runtime == "torch":
        if calibration is not None:
            raise ModelError("calibration is for int8, which needs runtime='openvino'.")
        return load_encoder(name, device=device, precision=precision, **options)
    images = _calibration(calibration)
    plain = load_encoder(name, device="cpu" if device == "auto" else device, precision="fp32", **options)
    return OpenVinoEncoder(plain, precision=precision, calibration=images)


def make_saliency(
    name: str,
    *,
    runtime: Runtime = "torch",
    calibration: Sequence[Any] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    **options: Any,
) -> Saliency:
    """Make a saliency source: what `load` does for a name, and what repeats a recipe.

    Parameters
    ----------
    name : str
        A name of `models.saliency.names`.
    runtime, calibration, device, precision
        As for `load`; sources other than ``found`` are computed by torch in float32, whatever is asked. A segmenter
        asks for the precision of its configuration in the end.
    **options
        As for `models.saliency.build`.

    Raises
    ------
    ModelError, SaliencyError
        As `models.saliency.build`.
    """
    if name != "found" or runtime == "torch":
        return build(name, device=device, precision=precision, **options)
    there, images = "cpu" if device == "auto" else device, _calibration(calibration)
    return build(name, device=there, precision=precision, runtime=runtime, calibration=images, **options)


def _calibration(given: Sequence[Any] | None) -> Calibration:
    return _calibration_scenes if given is None else [read_image(one) for one in given]


def _calibration_scenes() -> list[npt.NDArray[np.uint8]]:
    scenes = open_dataset("scenes", split="train", length=8)
    return [scenes[index].image for index in range(len(scenes))]
