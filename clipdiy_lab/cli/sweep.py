"""Command that scores every configuration of a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.cli.app import app, say
from clipdiy_lab.cli.options import (
    AsJson,
    Checkpoint,
    DatasetName,
    Knobs,
    Limit,
    OwnProtocol,
    OwnSettings,
    Partial,
    Root,
    Runtime,
    Saliency,
    Scheduler,
    Split,
    Workers,
    read_assignments,
    read_cluster,
    read_config,
    read_dataset,
    read_knobs,
    read_segmenter,
    wants_progress,
)
from clipdiy_lab.cli.wording import in_shell


@app.command()
def sweep(
    context: typer.Context,
    dataset: DatasetName,
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid", help="KNOB=JSON_LIST of values, once per knob, e.g. --grid 'saliency_weight=[0, 0.5, 1]'."
        ),
    ],
    store: Annotated[
        Path | None, typer.Option(help="A store made by `embed`, so that no image is encoded again.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model name, as for `segment`. Default: tiny, or the model of the store.")
    ] = None,
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    stores: Annotated[Path | None, typer.Option(help="Without --store: folder in which embeddings are kept.")] = None,
    split: Split = "val",
    root: Root = None,
    partial: Partial = False,
    protocol: OwnProtocol = None,
    config: OwnSettings = None,
    knobs: Knobs = None,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option(help="File of finished rows; an interrupted sweep resumes from it.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the complete table to this CSV file.")] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    yes: Annotated[bool, typer.Option("--yes", help="Allow any number of rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate every combination of the given values and print one row per configuration."""
    from clipdiy_lab.analysis.ranking import standing
    from clipdiy_lab.analysis.sweep import MAX_ROWS
    from clipdiy_lab.analysis.sweep import sweep as run
    from clipdiy_lab.analysis.tables import SCORES, subject_line, to_csv, to_text
    from clipdiy_lab.analysis.trials import plain_table
    from clipdiy_lab.errors import ConfigError, OutputError
    from clipdiy_lab.files import atomic_path
    from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
    from clipdiy_lab.pipeline.sources import config_for

    values, changes = read_grid(grid), read_knobs(knobs, context)
    for name in changes:
        if name in values:
            raise ConfigError(f"--set and --grid both name {name!r}; leave one out.")
    if csv is not None and not csv.parent.is_dir():
        raise OutputError(f"--csv is {str(csv)!r}, but the folder {str(csv.parent)!r} does not exist; create it first.")
    for option, value in {"--saliency": saliency, "--stores": stores}.items():
        if store is not None and value is not None:
            raise ConfigError(f"{option} cannot be combined with --store, which already has embeddings and saliency.")
    data = read_dataset(dataset, split, root, partial)
    # With a store, a model is its text encoder; the weights are compared.
    segmenter: Any = None
    if store is None or model is not None or checkpoint is not None:
        segmenter = read_segmenter(model or "tiny", checkpoint, saliency if store is None else "none", runtime)
    source: Any = segmenter if store is None else EmbeddingStore(store, partial=partial)
    base = None if config is None else read_config(config)
    base = config_for(data, base, read_config("paper") if store is None else source.config).replace(**changes)
    with read_cluster(scheduler, workers) as client:
        table = run(
            source,
            data,
            values,
            base=base,
            limit=limit,
            protocol=protocol,
            segmenter=None if store is None else segmenter,
            stores=stores,
            out=out,
            max_rows=10**9 if yes else MAX_ROWS,
            progress=wants_progress(),
            client=client,
        )
    plain = plain_table(table)
    if csv is not None:
        with atomic_path(csv) as part:
            part.write_text(to_csv(plain), encoding="utf-8")
    if as_json:
        typer.echo(plain.to_json(orient="records"))
        _fail_if_all_failed(table)
        return
    shown = [*values, *SCORES, "seconds"]
    if (table["error"] != "").any():
        shown.append("error")
    typer.echo(to_text(plain.reindex(columns=shown), "{:.2f}".format))
    say("", subject_line(table), standing(table))
    _fail_if_all_failed(table)


def _fail_if_all_failed(table: Any) -> None:
    """Print the errors and exit with code 1 if no row has a score."""
    failed = table["error"] != ""
    if failed.any():
        first = in_shell(str(table.loc[failed, "error"].iloc[0]))
        typer.echo(f"{failed.sum()} of {len(table)} rows failed: {first}", err=True)
    if failed.all():
        raise typer.Exit(1)


def read_grid(given: list[str]) -> dict[str, Any]:
    """Return the grid that options of the form KNOB=JSON LIST spell.

    Raises
    ------
    ConfigError
        If one is spelt otherwise.
    """
    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.method.knob_values import from_text
    from clipdiy_lab.text import quoted

    form = "KNOB=JSON LIST, such as 'saliency_weight=[0, 0.5, 1]' or 'placement=[\"stretched\", \"centred\"]'"
    values = {name: from_text(text) for name, text in read_assignments(given, "--grid", form).items()}
    for name, choices in values.items():
        if not isinstance(choices, list):
            raise ConfigError(f"--grid is {quoted(f'{name}={choices}')}; expected {form}.")
    return values
