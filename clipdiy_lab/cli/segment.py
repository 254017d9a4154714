"""Segment an image; the demonstration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import (
    Checkpoint,
    ConfigFile,
    From,
    ImageFile,
    Labels,
    Model,
    Preset,
    Saliency,
    app,
    fresh,
    read_config,
    read_saliency,
)


@app.command()
def segment(
    image: ImageFile,
    labels: Labels,
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    saliency: Saliency = None,
    preset: From = Preset.paper,
    config: ConfigFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default out/NAME OF THE IMAGE.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Segment an image: pictures of every stage, the label map, the run as NetCDF, an HTML page."""
    from clipdiy_lab.atomic import atomic_path
    from clipdiy_lab.pipeline.segmenter import load
    from clipdiy_lab.pipeline.store import save_run
    from clipdiy_lab.views.demo import format_labels
    from clipdiy_lab.views.report import label_table, write_folder

    settings = read_config(preset, config)
    folder = out or Path("out") / image.stem
    segmenter = load(model, checkpoint=checkpoint, saliency=read_saliency(saliency))
    run = segmenter.segment(image, labels.split(","), settings)
    with fresh(folder, overwrite), atomic_path(folder, folder=True) as part:
        save_run(run, part / "run.nc")
        write_folder(run, part)
    table = label_table(run)
    if as_json:
        rows = json.loads(table.reset_index().to_json(orient="records"))
        typer.echo(json.dumps({"image": str(image), "folder": str(folder), "model": model, "labels": rows}))
    else:
        typer.echo(format_labels(table))
        typer.echo(f"\nwritten to {folder}/ (open {folder}/index.html)", err=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to; replaced if it is there.")] = Path("out/demo"),
) -> None:
    """Segment a bundled scene, tabulate a small ablation, and write everything to look at."""
    from clipdiy_lab.views.demo import demo as run_demo

    with fresh(out, overwrite=True):
        page = run_demo(out, typer.echo)
    typer.echo(f"\nLook at {page}")
