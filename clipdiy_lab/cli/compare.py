"""Compare two results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import AsJson

ResultFile = Annotated[Path, typer.Argument(help="A .nc file of `evaluate` or `score`.")]


@app.command()
def compare(
    first: ResultFile,
    second: ResultFile,
    common: Annotated[bool, typer.Option("--common", help="Take the images that both have.")] = False,
    images: Annotated[int, typer.Option(help="How many images of largest gain and loss to list.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Compare two results on the same images: differences with paired intervals, and what was set otherwise."""
    from clipdiy_lab.analysis import results
    from clipdiy_lab.analysis.compare import compare as run

    opened = [results.open_result(path) for path in (first, second)]
    names = (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))
    found = run(*opened, names=names, common=common)
    labels, ranked, settings = (
        make(found) for make in (results.label_differences, results.image_differences, results.setting_differences)
    )
    if as_json:
        tables = {"labels": labels, "images": ranked, "settings": settings}
        records = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        facts = {name: found.attrs[name] for name in ("summary", "mious", "miou_difference", "sign_holds", "images")}
        bounds = [found.attrs["miou_difference_low"], found.attrs["miou_difference_high"]]
        typer.echo(json.dumps({**facts, "interval": bounds, **records}))
        return
    print_table(labels.round(2), as_json=False)
    for title, table in (("helps most", ranked.head(images)), ("hurts most", ranked.tail(images)[::-1])):
        say("", f"{title}:")
        print_table(table.round(2), as_json=False)
    say("", "set otherwise:" if len(settings) else "nothing was set otherwise")
    for row in settings.itertuples(index=False):
        say(f"  {row[0]}: {row[1]} / {row[2]}")
    say("", found.attrs["summary"])
