"""clipdiy_lab: run, explain and evaluate CLIP-DIY, a training-free method for open-vocabulary segmentation.

Everything that a notebook needs can be imported from here. Slow imports are deferred until they are used.

Examples
--------
>>> import clipdiy_lab as lab
>>> lab.Config.paper().scales
(256, 128, 64)
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from clipdiy_lab._version import __version__ as __version__
from clipdiy_lab.threads import sleep_while_waiting

if TYPE_CHECKING:
    from clipdiy_lab import datasets
    from clipdiy_lab.analysis import explain, results
    from clipdiy_lab.analysis.calibration import calibration
    from clipdiy_lab.analysis.compare import compare
    from clipdiy_lab.analysis.evaluate import evaluate
    from clipdiy_lab.analysis.methods import list_methods, published_method
    from clipdiy_lab.analysis.reproduce import reproduce
    from clipdiy_lab.analysis.score import score
    from clipdiy_lab.analysis.sweep import sweep
    from clipdiy_lab.datasets.readers_folder import validate_folder
    from clipdiy_lab.datasets.registry import list_datasets, open_dataset
    from clipdiy_lab.datasets.sample import Dataset, Sample
    from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning
    from clipdiy_lab.method.config import Config
    from clipdiy_lab.method.grid import Plan
    from clipdiy_lab.models import saliency
    from clipdiy_lab.models.encoders import Encoder
    from clipdiy_lab.models.loading import list_models
    from clipdiy_lab.models.saliency.protocol import Saliency
    from clipdiy_lab.pipeline.cluster import connect
    from clipdiy_lab.pipeline.conformance.dataset import check_dataset
    from clipdiy_lab.pipeline.conformance.encoder import check_encoder
    from clipdiy_lab.pipeline.conformance.saliency import check_saliency
    from clipdiy_lab.pipeline.embeddings.opened import as_encoded, open_store
    from clipdiy_lab.pipeline.embeddings.write import embed
    from clipdiy_lab.pipeline.fusion import fuse, label_map
    from clipdiy_lab.pipeline.loading import load
    from clipdiy_lab.pipeline.recombine import recombine
    from clipdiy_lab.pipeline.runs import open_run, save_run
    from clipdiy_lab.pipeline.segmenter import Segmenter
    from clipdiy_lab.views import figures
    from clipdiy_lab.views.board.show import ablation_board
    from clipdiy_lab.views.explorer.show import explore
    from clipdiy_lab.views.report import label_table, report

sleep_while_waiting()

_WHERE = {
    "ClipdiyError": "errors",
    "ClipdiyWarning": "errors",
    "Config": "method.config",
    "Dataset": "datasets.sample",
    "Encoder": "models.encoders",
    "Plan": "method.grid",
    "Saliency": "models.saliency.protocol",
    "Sample": "datasets.sample",
    "Segmenter": "pipeline.segmenter",
    "ablation_board": "views.board.show",
    "as_encoded": "pipeline.embeddings.opened",
    "calibration": "analysis.calibration",
    "check_dataset": "pipeline.conformance.dataset",
    "check_encoder": "pipeline.conformance.encoder",
    "check_saliency": "pipeline.conformance.saliency",
    "compare": "analysis.compare",
    "connect": "pipeline.cluster",
    "embed": "pipeline.embeddings.write",
    "evaluate": "analysis.evaluate",
    "explore": "views.explorer.show",
    "fuse": "pipeline.fusion",
    "label_map": "pipeline.fusion",
    "label_table": "views.report",
    "list_datasets": "datasets.registry",
    "list_methods": "analysis.methods",
    "list_models": "models.loading",
    "load": "pipeline.loading",
    "open_dataset": "datasets.registry",
    "open_run": "pipeline.runs",
    "open_store": "pipeline.embeddings.opened",
    "published_method": "analysis.methods",
    "recombine": "pipeline.recombine",
    "report": "views.report",
    "reproduce": "analysis.reproduce",
    "save_run": "pipeline.runs",
    "score": "analysis.score",
    "sweep": "analysis.sweep",
    "validate_folder": "datasets.readers_folder",
}

_MODULES = {
    "datasets": "datasets",
    "explain": "analysis.explain",
    "figures": "views.figures",
    "results": "analysis.results",
    "saliency": "models.saliency",
}

__all__ = [
    "ClipdiyError",
    "ClipdiyWarning",
    "Config",
    "Dataset",
    "Encoder",
    "Plan",
    "Saliency",
    "Sample",
    "Segmenter",
    "ablation_board",
    "as_encoded",
    "calibration",
    "check_dataset",
    "check_encoder",
    "check_saliency",
    "compare",
    "connect",
    "datasets",
    "embed",
    "evaluate",
    "explain",
    "explore",
    "figures",
    "fuse",
    "label_map",
    "label_table",
    "list_datasets",
    "list_methods",
    "list_models",
    "load",
    "open_dataset",
    "open_run",
    "open_store",
    "published_method",
    "recombine",
    "report",
    "reproduce",
    "results",
    "saliency",
    "save_run",
    "score",
    "sweep",
    "validate_folder",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _MODULES:
        found: Any = importlib.import_module(f"clipdiy_lab.{_MODULES[name]}")
    elif name in _WHERE:
        found = getattr(importlib.import_module(f"clipdiy_lab.{_WHERE[name]}"), name)
    else:
        raise AttributeError(f"module 'clipdiy_lab' has no attribute {name!r}")
    # What brings xarray can make or read a run, and a run has `run.diy`. Without xarray there is nothing to put it on.
    if "xarray" in sys.modules:
        importlib.import_module("clipdiy_lab.views.accessor")
    return found


def __dir__() -> list[str]:
    """List the public names alone, for tab completion."""
    return sorted([*__all__, "__version__"])
