"""What a network runs on, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch

from clipdiy_lab.errors import ModelError, nearest
from clipdiy_lab.method.config import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions in which torch computes."""
Runtime = Literal["torch", "openvino"]
"""What computes a network."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device asked for, or for "auto" the first of cuda, mps and cpu that is there.

    Raises
    ------
    ModelError
        If the device asked for is not on this machine.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    if not there.get(str(device).split(":")[0], False):
        listed = ", ".join(kind for kind, available in there.items() if available)
        raise ModelError(f"The device {str(device)!r} is not available on this machine; here: {listed}.")
    return torch.device(device)


def resolve_precision(precision: Precision, device: torch.device) -> str:
    """Return the precision asked for, or for "auto" bf16 on a CUDA device that has it and fp32 elsewhere.

    Raises
    ------
    ModelError
        If torch does not compute in it.
    """
    if precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "int8":
        raise ModelError("precision 'int8' needs OpenVINO: clipdiy_lab.load(..., runtime='openvino').")
    if precision not in DTYPES:
        raise ModelError(f"precision is {precision!r}. {nearest(str(precision), ['auto', *DTYPES])}")
    return precision
