"""Score a model on a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import (
    AsJson,
    Checkpoint,
    DatasetName,
    Knobs,
    Limit,
    Method,
    Model,
    OwnProtocol,
    OwnSettings,
    Partial,
    Root,
    Runtime,
    Saliency,
    Scheduler,
    Split,
    Workers,
    read_cluster,
    read_config,
    read_dataset,
    read_knobs,
    read_labels,
    read_method,
    read_segmenter,
    wants_progress,
)


@app.command()
def evaluate(
    context: typer.Context,
    dataset: DatasetName,
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    config: OwnSettings = None,
    knobs: Knobs = None,
    protocol: OwnProtocol = None,
    method: Method = None,
    split: Split = "val",
    root: Root = None,
    partial: Partial = False,
    limit: Limit = None,
    out: Annotated[
        Path, typer.Option(help="A .nc file or a folder. A finished result is reused; an unfinished one is resumed.")
    ] = Path("out/results"),
    predictions: Annotated[
        Path | None,
        typer.Option(help="Folder for the predictions: one PNG of label indices per image, as `score` reads them."),
    ] = None,
    soft: Annotated[
        str | None,
        typer.Option(
            help="With --predictions: also write the scores of these labels (NetCDF); same syntax as --labels."
        ),
    ] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on a dataset: mIoU with its confidence interval, and the IoU of every label."""
    from clipdiy_lab.analysis.evaluate import evaluate as run
    from clipdiy_lab.analysis.protocols import get_protocol
    from clipdiy_lab.pipeline.sources import config_for

    given, changes = None if config is None else read_config(config), read_knobs(knobs, context)
    chosen, names = None if protocol is None else get_protocol(protocol), None
    published = read_method(method, dataset, config, protocol)
    if published is not None:
        given, chosen, names = published.config, published.protocol, published.names
    data = read_dataset(dataset, split, root, partial, names)
    segmenter = read_segmenter(model, checkpoint, saliency, runtime)
    settings, bar = config_for(data, given, read_config("paper")).replace(**changes), wants_progress()
    with read_cluster(scheduler, workers) as client:
        result = run(
            *(segmenter, data, settings, limit),
            protocol=chosen,
            out=out,
            predictions=predictions,
            soft=() if soft is None else read_labels(soft, None),
            progress=bar,
            client=client,
        )
    print_result(result, as_json)


def print_result(result: Any, as_json: bool) -> None:
    """Print a result of `evaluate` or `score`: its labels, and one line with the scores and how they were measured."""
    from clipdiy_lab.analysis.results import label_scores, plain_attrs

    facts, table = plain_attrs(result), label_scores(result)
    if as_json:
        typer.echo(json.dumps({**dict(sorted(facts.items())), "labels": json.loads(table.to_json(orient="records"))}))
        return
    print_table(table.round(2), as_json=False)
    method = facts["method"] if "method" in facts else f"{facts['encoder']} with {facts['saliency_source']}"
    say(
        "",
        f"mIoU {100 * facts['miou']:.2f} % (95 %: {100 * facts['miou_low']:.2f} to {100 * facts['miou_high']:.2f}), "
        f"pixel accuracy {100 * facts['pixel_accuracy']:.2f} %; {facts['images']} of {facts['images_of_split']} images "
        f"of {facts['dataset']}, protocol {facts['protocol']}, {method}; "
        f"{(table['pixels'] == 0).sum()} of {len(table)} labels occur in no mask, "
        f"{100 * facts['ignored_share']:.1f} % of the pixels are ignored",
    )
