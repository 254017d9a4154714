"""The demonstration: one scene stage by stage, and a small ablation on forty."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from clipdiy_lab.analysis.sweep import sweep
from clipdiy_lab.analysis.tables import MIOU, subject_line, to_text
from clipdiy_lab.datasets.registry import open_dataset
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.files import atomic_path
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline.loading import load
from clipdiy_lab.pipeline.runs import save_run
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.views.report import label_table, write_folder

SCENES = 40
SCENE = 1


def demo_configs() -> dict[str, Config]:
    """Return the rows of the small ablation: each grid alone, all together, saliency weight 0, 0.5 and 1."""
    paper = Config.paper()
    alone = {f"{grid.title} alone": paper.only(grid.name) for grid in Plan.of(paper)}
    weights = {f"all grids, saliency weight {w:g}": paper.replace(saliency_weight=w) for w in (0.0, 0.5, 1.0)}
    return alone | weights


def demo(folder: str | PathLike[str], say: Callable[[str], None]) -> Path:
    """Run the demonstration and write its pictures, page and run into a folder, whole or not at all.

    Parameters
    ----------
    folder : path
        Must not exist yet, or be empty.
    say : callable
        Receives each piece of text for the user.

    Returns
    -------
    path
        The HTML page.

    Raises
    ------
    OutputError
        If the folder is taken or cannot be written to.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target, folder=True) as part:
        segmenter, dataset = load(), open_dataset("scenes")
        sample = dataset[SCENE]
        run = segmenter.segment(sample.image, dataset.label_names, Config.paper())
        run.attrs["image_source"] = f"scenes/{sample.id}"
        table = label_table(run)
        say(f"{sample.id}, segmented by '{segmenter.encoder.name}' with saliency '{segmenter.saliency.name}':")
        say(format_labels(table))
        say(f"\nAblation on {SCENES} scenes of the validation split:")
        ablation, about = _ablation(segmenter, dataset)
        say(f"{to_text(ablation, '{:.1f}'.format)}\n{about}")
        _write(run, sample.image, part, ablation, about)
    return target / "index.html"


def format_labels(table: pd.DataFrame) -> str:
    """Format the labels that won pixels: share of the image and mean margin."""
    won = table[table["share"] > 0]
    shown = pd.DataFrame(
        {"share %": (won["share"] * 100).round(1), "mean margin": won["mean_margin"].round(3)}, index=won.index
    )
    return to_text(shown.reset_index())


def _ablation(segmenter: Segmenter, dataset: Dataset) -> tuple[pd.DataFrame, str]:
    """Return the scores with their intervals, and what they are of."""
    configs = demo_configs()
    scored = sweep(segmenter, dataset, list(configs.values()), limit=SCENES, progress=True)
    headed = dict(zip(("mIoU %", "low %", "high %"), (scored[name].to_numpy() for name in MIOU), strict=True))
    return pd.DataFrame({"configuration": list(configs), **headed}), subject_line(scored)


def _write(run: xr.DataTree, image: np.ndarray, folder: Path, ablation: pd.DataFrame, about: str) -> None:
    Image.fromarray(image).save(folder / "input.png")
    save_run(run, folder / "run.nc")
    write_folder(run, folder, {f"Ablation on {SCENES} scenes: {about}": ablation})
