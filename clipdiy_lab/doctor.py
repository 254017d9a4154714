"""What is installed here, what it can do, and what is missing. Imports nothing that may be broken before it has to."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata
from typing import Any

_CORE = ("torch", "torchvision", "open_clip_torch", "xarray", "pandas", "Pillow", "h5netcdf", "zarr")
_OPTIONAL = {
    "plotly": 'figures: pip install "clipdiy-lab[lab]"',
    "anywidget": 'live plotly figures: pip install "clipdiy-lab[lab]"',
    "ipywidgets": 'the explorer: pip install "clipdiy-lab[lab]"',
    "kaleido": 'figures as SVG, PDF and PNG, with Chromium or Chrome: pip install "clipdiy-lab[lab]"',
    "distributed": 'more than one process or machine: pip install "clipdiy-lab[scale]"',
    "jupyterlab": 'the notebooks: pip install "clipdiy-lab[lab]"',
    "transformers": 'models whose texts need it, such as SigLIP: pip install "clipdiy-lab[hf]"',
    "openvino": 'faster encoders on CPUs: pip install "clipdiy-lab[openvino]"',
    "opencv-contrib-python-headless": 'saliency "spectral": pip install "clipdiy-lab[spectral]"',
}


def examine() -> dict[str, Any]:
    """Look at this machine.

    Returns
    -------
    dict
        ``facts`` (name to text), ``problems`` (the lab cannot work; each says what to do), ``advice`` (optional parts
        that are missing).
    """
    facts = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    problems: list[str] = []
    for name in _CORE:
        version = _version(name)
        facts[name] = version or "missing"
        if version is None:
            problems.append(f"{name} is not installed: pip install clipdiy-lab.")
    if not problems:
        problems += _imports()
    if not problems:
        facts |= _hardware() | _caches()
    there = [f"{name} {version}" for name in _OPTIONAL if (version := _version(name)) is not None]
    facts["optional, installed"] = ", ".join(there) or "none"
    advice = [f"{name} is missing ({why})" for name, why in _OPTIONAL.items() if _version(name) is None]
    return {"facts": facts, "problems": problems, "advice": advice}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _imports() -> list[str]:
    """Import what breaks in practice: torch and torchvision of different builds."""
    try:
        importlib.import_module("torchvision")
        importlib.import_module("open_clip")
    except Exception as error:  # a broken binary raises whatever its loader raises
        if "torchvision::nms" in str(error) or "torchvision" in str(error):
            return [
                f"torch {_version('torch')} and torchvision {_version('torchvision')} are not a pair ({error}): "
                "reinstall both together, from one registry: pip install --force-reinstall torch torchvision "
                "-c constraints.txt."
            ]
        return [f"open_clip cannot be imported ({type(error).__name__}: {error}): reinstall clipdiy-lab."]
    return []


def _hardware() -> dict[str, str]:
    import torch

    from clipdiy_lab.models.devices import resolve_device

    device = resolve_device("auto").type
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    precisions = ["fp32", "bf16"] + (["fp16"] if device != "cpu" else [])
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        precisions.remove("bf16")
    if device == "cpu":
        fast = torch.backends.cpu.get_cpu_capability()
        precisions = [p + (" (slow here)" if p == "bf16" and "AVX512" not in fast else "") for p in precisions]
    return {
        "device": f"{device} ({name})",
        "precisions": ", ".join(precisions),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
    }


def _caches() -> dict[str, str]:
    from huggingface_hub import constants

    from clipdiy_lab.models import saliency, weights
    from clipdiy_lab.models.absent import absent_saliency
    from clipdiy_lab.models.loading import describe, list_models

    absent = absent_saliency("found")
    here = [f"{name} ({describe(name)})" for name in list_models().query("here")["name"]]
    return {
        "model cache": str(constants.HF_HUB_CACHE),
        "weights cache": str(weights.cache_folder()),
        "models here": "; ".join(here),
        "saliency sources": ", ".join(saliency.names()),
        "FOUND's weights": f"not here, fetched at first use: {', '.join(absent)}" if absent else "here",
    }
