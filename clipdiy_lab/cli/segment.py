"""Segment an image; the demonstration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import app, fresh, label_rows, refuse_inside, say
from clipdiy_lab.cli.options import (
    AsJson,
    Checkpoint,
    ImageFile,
    Knobs,
    Labels,
    LabelsFile,
    Model,
    Runtime,
    Saliency,
    Settings,
    read_config,
    read_knobs,
    read_labels,
    read_segmenter,
)


@app.command()
def segment(
    context: typer.Context,
    image: ImageFile,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    config: Settings = "paper",
    knobs: Knobs = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default out/NAME OF THE IMAGE.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Segment an image: pictures of every stage, the label map, the run as NetCDF, an HTML page."""
    from clipdiy_lab.files import atomic_path
    from clipdiy_lab.pipeline.runs import save_run
    from clipdiy_lab.pipeline.watch import interruptible
    from clipdiy_lab.views.demo import format_labels
    from clipdiy_lab.views.report import label_table, write_folder

    wanted, settings = read_labels(labels, labels_file), read_config(config).replace(**read_knobs(knobs, context))
    folder = out or Path("out") / image.stem
    if overwrite:
        refuse_inside(image, folder)
    with interruptible(lambda: "nothing was written, and the same command begins anew."):
        segmenter = read_segmenter(model, checkpoint, saliency, runtime)
        run = segmenter.segment(image, wanted, settings)
        with fresh(folder, overwrite), atomic_path(folder, folder=True) as part:
            save_run(run, part / "run.nc")
            write_folder(run, part)
    table = label_table(run)
    if as_json:
        facts = {"image": str(image), "folder": str(folder), "model": model}
        typer.echo(json.dumps({**facts, "labels": label_rows(table)}))
    else:
        typer.echo(format_labels(table))
        say("", f"written to {folder}/ (open {folder}/index.html)", err=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder; an earlier result in it is replaced.")] = Path("out/demo"),
) -> None:
    """Segment a bundled scene, tabulate a small ablation, and write everything to look at."""
    from clipdiy_lab.views.demo import demo as run_demo

    with fresh(out, overwrite=True):
        page = run_demo(out, typer.echo)
    say("", f"Look at {page}")
