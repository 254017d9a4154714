"""Commands that report the models, the published methods, and the state of this machine."""

from __future__ import annotations

import json

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import AsJson


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that can be loaded by name, and show which of them are on this machine."""
    from clipdiy_lab.models.loading import list_models

    table = list_models().sort_values("here", ascending=False, kind="stable")
    print_table(table, as_json)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the published methods for `--method`, and the benchmarks for which their settings are known."""
    from clipdiy_lab.analysis.methods import list_methods

    shown = ["name", "title", "benchmark", "dense", "image_short", "window", "stride", "not_reproduced"]
    table = list_methods()
    print_table(table if as_json else table[shown], as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Report versions, device, precisions, caches and missing parts. Exit code 1 if the lab cannot run."""
    from clipdiy_lab.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps(findings))
    else:
        for name, value in findings["facts"].items():
            say(f"{name:22} {value}")
        for problem in findings["problems"]:
            say(f"PROBLEM  {problem}")
        for advice in findings["advice"]:
            say(f"optional {advice}")
    if findings["problems"]:
        raise typer.Exit(1)
