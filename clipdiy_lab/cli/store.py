"""Commands that make and maintain stores of embeddings of whole datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import (
    AsJson,
    Checkpoint,
    DatasetName,
    Knobs,
    Limit,
    Model,
    Partial,
    Root,
    Runtime,
    Saliency,
    Scheduler,
    Settings,
    Split,
    Workers,
    read_cluster,
    read_config,
    read_dataset,
    read_knobs,
    read_segmenter,
)

store_app = typer.Typer(help="Inspect and maintain an embedding store made by `embed`.", no_args_is_help=True)
app.add_typer(store_app, name="store")

Store = Annotated[Path, typer.Argument(help="Folder of the store.")]


@app.command()
def embed(
    context: typer.Context,
    dataset: DatasetName,
    store: Annotated[Path, typer.Option(help="Folder of the store; an unfinished store is completed.")],
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    config: Settings = "paper",
    knobs: Knobs = None,
    split: Split = "val",
    root: Root = None,
    partial: Partial = False,
    limit: Limit = None,
    shard_size: Annotated[int | None, typer.Option(help="Images per shard; default 64.")] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Encode a dataset once and store the embeddings and saliency maps, for use by `sweep`."""
    from clipdiy_lab.pipeline.embeddings.upkeep import info as describe
    from clipdiy_lab.pipeline.embeddings.write import embed as write

    settings = read_config(config).replace(**read_knobs(knobs, context))
    data = read_dataset(dataset, split, root, partial)
    segmenter = read_segmenter(model, checkpoint, saliency, runtime)
    with read_cluster(scheduler, workers) as client:
        write(segmenter, data, store, settings, shard_size=shard_size, limit=limit, progress=True, client=client)
    _print(describe(store), as_json)


@store_app.command()
def info(store: Store, as_json: AsJson = False) -> None:
    """Show what a store contains, how complete it is, and how it was made."""
    from clipdiy_lab.pipeline.embeddings.upkeep import info as describe

    _print(describe(store), as_json)


@store_app.command()
def verify(store: Store, as_json: AsJson = False) -> None:
    """Check every shard against its recorded hash. Exit code 1 if a shard is missing or damaged."""
    from clipdiy_lab.pipeline.embeddings.upkeep import verify as check

    table = check(store)
    print_table(table, as_json)
    if (table["state"] != "whole").any():
        raise typer.Exit(1)


@store_app.command()
def prune(store: Store) -> None:
    """Remove files left behind by interrupted writers, and all other files that no record lists."""
    from clipdiy_lab.pipeline.embeddings.upkeep import prune as clean

    removed = clean(store)
    for path in removed:
        say(path)
    typer.echo(f"{len(removed)} removed", err=True)


@store_app.command()
def export(
    store: Store,
    out: Annotated[Path, typer.Argument(help="A new .nc file or .zarr folder.")],
    partial: Partial = False,
) -> None:
    """Copy a finished store to one file or folder that other programs can read."""
    from clipdiy_lab.pipeline.embeddings.upkeep import export as copy

    say(copy(store, out, partial=partial))


def _print(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            say(f"{name}:")
            for inner, detail in value.items():
                say(f"  {inner:22} {detail}")
        else:
            say(f"{name:24} {value}")
