"""Networks compiled by OpenVINO for this processor, in fp32, bf16 or int8."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdiy_lab.errors import ModelError, nearest
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models import weights
from clipdiy_lab.models.hub import quiet

Images = Sequence[npt.NDArray[np.uint8]]
Calibration = Images | Callable[[], Images]
"""Images whose crops or patches set the ranges of int8; a callable returns the same ones every time."""

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_PRECISIONS = ("fp32", "bf16", "int8")
_INSTALL = 'pip install "clipdiy-lab[openvino]"'


Compiled = Callable[[Tensor], Tensor]
"""A network of one input and one output: float32 to float32, on the CPU."""


def settled(precision: Precision, calibration: Calibration | None) -> str:
    """Return the precision that is meant by one that is asked for; ``auto`` is fp32.

    Raises
    ------
    ModelError
        If OpenVINO has no such precision, or int8 has no images.
    """
    if precision not in ("auto", *_PRECISIONS):
        raise ModelError(f"precision is {precision!r} under OpenVINO. {nearest(precision, ['auto', *_PRECISIONS])}")
    if precision == "int8" and (calibration is None or (not callable(calibration) and not len(calibration))):
        raise ModelError("int8 needs images to set its ranges by; give calibration, or use clipdiy_lab.load.")
    return "fp32" if precision == "auto" else precision


def images_of(calibration: Calibration | None) -> Images:
    """Return the images that set the ranges of int8."""
    return calibration() if callable(calibration) else calibration or ()


def mark(calibration: Calibration | None) -> str:
    """Return a short hash of images of one's own; empty where there are none, or a callable gives them."""
    if calibration is None or callable(calibration):
        return ""
    return weights.fingerprint({str(n): torch.from_numpy(one) for n, one in enumerate(calibration)})[:16]


def compile_network(
    network: torch.nn.Module,
    example: Tensor,
    open_side: tuple[int, int],
    precision: str,
    samples: Callable[[], Sequence[Tensor]],
    *,
    rest: str = "fp32",
) -> Compiled:
    """Compile a network for as many threads as `torch.get_num_threads` says.

    Parameters
    ----------
    network : torch.nn.Module
        In float32; takes and gives one tensor.
    example : tensor
        An input.
    open_side : (int, int)
        Which dimension of it may have another size, and the largest.
    precision : {"fp32", "bf16", "int8"}
        ``int8`` quantises weights and activations after training (NNCF: SmoothQuant for transformers).
    samples : callable
        Gives the inputs whose values set the ranges of int8.
    rest : {"fp32", "bf16"}
        Under int8, the precision of what is not quantised; float32 where the processor lacks bf16.

    Raises
    ------
    ModelError
        If OpenVINO, or for int8 NNCF, is not installed, or the processor lacks the precision.

    Notes
    -----
    The usage statistics of OpenVINO and NNCF stay off.
    """
    openvino = _openvino()
    with _without_statistics(), quiet():
        model = openvino.convert_model(_exported(network, example, *open_side))
        if precision == "int8":
            model = _quantised(model, samples())
    hint = _HINTS[rest if precision == "int8" else precision]
    wanted = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(model, "CPU", wanted)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != hint and precision != "int8":
        raise ModelError(f"this processor cannot compute in {precision} (OpenVINO would use {used}).")

    def compute(given: Tensor) -> Tensor:
        return torch.from_numpy(compiled([given.float().cpu().contiguous().numpy()])[0])

    return compute


def version() -> str:
    """Return the version of OpenVINO; a `ModelError` where it is not installed."""
    return str(_openvino().__version__)


def _openvino() -> Any:
    with _without_statistics(), quiet():
        try:
            import openvino
        except ImportError as error:
            raise ModelError(f"runtime 'openvino' needs OpenVINO, which is not installed: {_INSTALL}.") from error
    return openvino


def _exported(network: torch.nn.Module, example: Tensor, dimension: int, most: int) -> Any:
    sizes = {dimension: torch.export.Dim("size", min=1, max=most)}
    # Without gradients, but not in inference mode, which cannot be exported.
    with torch.inference_mode(False), torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(sizes,))


def _quantised(model: Any, samples: Sequence[Tensor]) -> Any:
    try:
        import nncf
    except ImportError as error:
        raise ModelError(f"int8 needs NNCF, which is not installed: {_INSTALL}.") from error
    given = nncf.Dataset([sample.numpy() for sample in samples])
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(model, given, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples))


@contextlib.contextmanager
def _without_statistics() -> Iterator[None]:
    """Import OpenVINO and NNCF as if their package for usage statistics, on by default, were not installed."""
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
