"""Command that explains the segmentation of an image on a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import app, label_rows, say
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
def explain(
    context: typer.Context,
    image: ImageFile,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    html: Annotated[Path, typer.Option(help="File to write; an existing one is replaced.")] = Path("explained.html"),
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    config: Settings = "paper",
    knobs: Knobs = None,
    as_json: AsJson = False,
) -> None:
    """Segment an image and explain its labels: one HTML page with all stages, maps and the interactive instrument."""
    from clipdiy_lab.errors import OutputError
    from clipdiy_lab.pipeline.watch import interruptible
    from clipdiy_lab.views.demo import format_labels
    from clipdiy_lab.views.report import label_table, report

    if html.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"--html is {str(html)!r}; expected a name that ends in .html.")
    if not html.absolute().parent.is_dir():  # said before anything is computed
        raise OutputError(
            f"--html is {str(html)!r}, but the folder {str(html.parent)!r} does not exist; create it first."
        )
    wanted, settings = read_labels(labels, labels_file), read_config(config).replace(**read_knobs(knobs, context))
    with interruptible(lambda: "nothing was written; run the same command to start again."):
        segmenter = read_segmenter(model, checkpoint, saliency, runtime)
        run = segmenter.segment(image, wanted, settings)
        report(run, html, segmenter=segmenter, image=image)
    table = label_table(run)
    if as_json:
        facts = {"image": str(image), "html": str(html), "bytes": html.stat().st_size, "model": model}
        typer.echo(json.dumps({**facts, "labels": label_rows(table)}))
    else:
        typer.echo(format_labels(table))
        say("", f"written to {html}", err=True)
