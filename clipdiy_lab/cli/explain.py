"""Take the segmentation of an image apart, as a page."""

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
    read_config,
    read_saliency,
)


@app.command()
def explain(
    image: ImageFile,
    labels: Labels,
    html: Annotated[Path, typer.Option(help="File to write; replaced if it is there.")] = Path("explained.html"),
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    saliency: Saliency = None,
    preset: From = Preset.paper,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Explain the labels of an image: one HTML page with every stage, maps, and an inspector of its pixels."""
    from clipdiy_lab.pipeline.segmenter import load
    from clipdiy_lab.views.demo import format_labels
    from clipdiy_lab.views.report import label_table, report

    settings = read_config(preset, config)
    segmenter = load(model, checkpoint=checkpoint, saliency=read_saliency(saliency))
    run = segmenter.segment(image, labels.split(","), settings)
    report(run, html, segmenter=segmenter)
    table = label_table(run)
    if as_json:
        rows = json.loads(table.reset_index().to_json(orient="records"))
        size = html.stat().st_size
        typer.echo(json.dumps({"image": str(image), "html": str(html), "bytes": size, "model": model, "labels": rows}))
    else:
        typer.echo(format_labels(table))
        typer.echo(f"\nwritten to {html}", err=True)
