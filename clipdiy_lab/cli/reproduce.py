"""Repeat a published score, or this repository's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import (
    AsJson,
    Limit,
    Partial,
    Root,
    Scheduler,
    Split,
    Workers,
    method_name,
    read_cluster,
    wants_progress,
)


@app.command()
def reproduce(
    benchmark: Annotated[
        str, typer.Argument(help="A benchmark, e.g. voc21, or 'scenes', which comes with the package.")
    ],
    method: Annotated[str, typer.Option("--method", help="A published method, e.g. clip-diy.")] = "clip-diy",
    split: Split = "val",
    root: Root = None,
    partial: Partial = False,
    limit: Limit = None,
    out: Annotated[
        Path, typer.Option(help="Folder for results and report; an interrupted run resumes from it.")
    ] = Path("out/reproduce"),
    scheduler: Scheduler = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Run a method as published and compare its score with the expected one. Exit code 1 if they differ too much."""
    from clipdiy_lab.analysis.reproduce import reproduce as run

    with read_cluster(scheduler, workers) as client:
        found = run(
            benchmark,
            method_name(method),
            split=split,
            root=root,
            partial=partial,
            limit=limit,
            out=out,
            progress=wants_progress(),
            client=client,
        )
    if as_json:
        typer.echo(json.dumps(found.report))
    else:
        print_table(found.table.round(2), as_json=False)
        reasons: dict[str, None] = {}
        for row in found.report["rows"]:
            reasons |= dict.fromkeys(row["why_it_may_differ"])
        say("", "possible reasons for a difference:", *(f"  {reason}" for reason in reasons))
        say("", *(f"written: {path}" for path in found.files))
    if not found.agrees:
        say("a score differs from the expected one by more than the tolerance.", err=True)
        raise typer.Exit(1)
