"""Score a model on a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.cli.app import (
    Preset,
    Scheduler,
    Workers,
    app,
    print_table,
    read_cluster,
    read_config,
    read_saliency,
)


@app.command()
def evaluate(
    dataset: Annotated[str, typer.Argument(help="A name of `clipdiy-lab data list`, a folder, or a .yaml manifest.")],
    model: Annotated[str, typer.Option(help="'tiny' or ARCHITECTURE/TAG, see `clipdiy-lab models`.")] = "tiny",
    checkpoint: Annotated[Path | None, typer.Option(help="Local weights for the architecture --model.")] = None,
    saliency: Annotated[
        str | None, typer.Option(help="found, found-seed, found-tiny, spectral, none, file=PATH or constant=VALUE.")
    ] = None,
    config: Annotated[str, typer.Option(help="paper, demo, or a JSON file as Config.to_json writes it.")] = "paper",
    protocol: Annotated[str, typer.Option(help="mmseg, official, sliding, or a .yaml file.")] = "mmseg",
    split: Annotated[str, typer.Option(help="Part of the dataset.")] = "val",
    root: Annotated[Path | None, typer.Option(help="Where the dataset is, if not in the data folder.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first images.")] = None,
    out: Annotated[
        Path, typer.Option(help="A .nc file or a folder; a result that is there is read, an unfinished one continued.")
    ] = Path("out/results"),
    scheduler: Scheduler = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print scores and protocol card as JSON.")] = False,
) -> None:
    """Score a model on a dataset: mIoU with its interval, IoU of every label, and how they were measured."""
    from clipdiy_lab.analysis.evaluate import evaluate as run
    from clipdiy_lab.analysis.protocols import get_protocol
    from clipdiy_lab.analysis.results import label_scores, plain_attrs
    from clipdiy_lab.datasets.registry import open_dataset
    from clipdiy_lab.pipeline.segmenter import load

    settings, chosen = _settings(config), get_protocol(protocol)
    options: dict[str, Any] = {} if root is None else {"root": root}
    data = open_dataset(dataset, split=split, **options)
    segmenter = load(model, checkpoint=checkpoint, saliency=read_saliency(saliency))
    quiet = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    with read_cluster(scheduler, workers) as client:
        result = run(segmenter, data, settings, limit, protocol=chosen, out=out, progress=not quiet, client=client)
    facts, table = plain_attrs(result), label_scores(result)
    if as_json:
        typer.echo(json.dumps({**facts, "labels": json.loads(table.to_json(orient="records"))}))
        return
    print_table(table.round(4), as_json=False)
    typer.echo(
        f"\nmIoU {100 * facts['miou']:.2f} % (95 %: {100 * facts['miou_low']:.2f} to {100 * facts['miou_high']:.2f}), "
        f"pixel accuracy {100 * facts['pixel_accuracy']:.2f} %; {facts['images']} of {facts['images_of_split']} images "
        f"of {facts['dataset']}, protocol {facts['protocol']}, {facts['encoder']} with {facts['saliency_source']}"
    )


def _settings(text: str) -> Any:
    """Return a preset by its name, or the configuration of a file."""
    from clipdiy_lab.errors import ConfigError, nearest

    presets = [preset.value for preset in Preset]
    if text in presets:
        return read_config(Preset(text), None)
    if not text.endswith(".json"):
        raise ConfigError(f"--config is {text!r}; expected a preset or a .json file. {nearest(text, presets)}")
    return read_config(Preset.paper, Path(text))
