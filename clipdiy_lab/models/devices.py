"""Which device a network runs on."""

from __future__ import annotations

import torch

from clipdiy_lab.errors import ModelError


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
