"""Timing side by side, and what the machine is."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after one round to warm up; a noisy machine hurts all ways alike."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                took[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in took.items()}


def machine() -> dict[str, Any]:
    """Processor, instruction sets that matter here, threads and versions."""
    flags, model = "", platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            flags = value if name.strip() == "flags" else flags
            model = value.strip() if name.strip() == "model name" else model
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    return {
        "processor": model,
        "instructions": [one for one in known if one in flags.split()],
        "threads": torch.get_num_threads(),
        "waiting threads": os.environ.get("OMP_WAIT_POLICY", "as OpenMP has it"),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def peak_memory() -> int:
    """Most memory that this process has held, kB: of it alone, where `getrusage` counts from the parent's size on."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
