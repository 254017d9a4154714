"""Segment images; the demonstration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import app, fresh, label_rows, refuse_inside, say
from clipdiy_lab.cli.batch import find_images, segment_all, targets_of, write_all
from clipdiy_lab.cli.options import (
    AsJson,
    Checkpoint,
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
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders of images, or quoted patterns such as 'photos/*.jpg'.")
    ],
    labels: Labels = None,
    labels_file: LabelsFile = None,
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    config: Settings = "paper",
    knobs: Knobs = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. Default: out/NAME_OF_THE_IMAGE for one image, out for several.")
    ] = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="Write only one PNG of label indices per image, and classes.txt.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")] = False,
    as_json: AsJson = False,
) -> None:
    """Segment images and write pictures of every stage, the label map, the run as NetCDF and an HTML page.

    Several images get one folder each. Existing results are kept, so the same command continues after Ctrl-C.
    """
    from clipdiy_lab.pipeline.watch import interruptible
    from clipdiy_lab.views.demo import format_labels
    from clipdiy_lab.views.report import label_table

    wanted, settings = read_labels(labels, labels_file), read_config(config).replace(**read_knobs(knobs, context))
    paths = find_images(images)
    if flat or paths != [Path(images[0])]:
        targets = targets_of(paths, out or Path("out"), flat)
        segmenter = read_segmenter(model, checkpoint, saliency, runtime)
        segment_all(targets, flat, segmenter, wanted, settings, overwrite, as_json)
        return
    (image,) = paths
    folder = out or Path("out") / image.stem
    if overwrite:
        refuse_inside(image, folder)
    with interruptible(lambda: "nothing was written; run the same command to start again."):
        segmenter = read_segmenter(model, checkpoint, saliency, runtime)
        run = segmenter.segment(image, wanted, settings)
        write_all(run, folder, overwrite)
    table = label_table(run)
    if as_json:
        facts = {"image": str(image), "folder": str(folder), "model": model}
        typer.echo(json.dumps({**facts, "labels": label_rows(table)}))
    else:
        typer.echo(format_labels(table))
        say("", f"written to {folder}/ (open {folder}/index.html)", err=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Output folder; earlier results in it are replaced.")] = Path("out/demo"),
) -> None:
    """Segment a bundled scene, run a small ablation, and write the pictures, tables and an HTML page."""
    from clipdiy_lab.views.demo import demo as run_demo

    with fresh(out, overwrite=True):
        page = run_demo(out, typer.echo)
    say("", f"Open {page}")
