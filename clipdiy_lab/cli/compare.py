"""Compare two results, or two runs of one image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import AsJson

ResultFile = Annotated[
    Path, typer.Argument(help="A .nc file written by `evaluate` or `score`, or a saved run (.nc or .zarr).")
]


@app.command()
def compare(
    first: ResultFile,
    second: ResultFile,
    common: Annotated[
        bool, typer.Option("--common", help="When comparing results: use only the images that both contain.")
    ] = False,
    images: Annotated[
        int, typer.Option(help="Number of images to list with the largest gains and with the largest losses.")
    ] = 3,
    html: Annotated[Path | None, typer.Option(help="Write the comparison to this HTML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two results, or two runs of one image: scores, confidence intervals, and settings that differ."""
    from clipdiy_lab.analysis.compare import compare as run
    from clipdiy_lab.analysis.results import setting_differences

    opened = [read_result_or_run(path) for path in (first, second)]
    names = (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))
    found = run(*opened, names=names, common=common)
    if html is not None:
        from clipdiy_lab.views.report import report

        report(found, html)
    settings = setting_differences(found)
    if as_json:
        every = {**_tables(found, None), "settings": settings}
        records = {name: json.loads(table.to_json(orient="records")) for name, table in every.items()}
        facts = {name: value for name, value in found.attrs.items() if name not in ("differs", "protocol_card")}
        typer.echo(json.dumps({**facts, **records}))
        return
    for title, table in _tables(found, images).items():
        say(f"{title}:")
        print_table(table.round(2), as_json=False)
        say("")
    say("settings that differ:" if len(settings) else "no settings differ")
    for row in settings.itertuples(index=False):
        say(f"  {row[0]}: {row[1]} / {row[2]}")
    say("", found.attrs["summary"])


def read_result_or_run(path: Path) -> Any:
    """Return the result of a file, or the run of a file or folder.

    Raises
    ------
    OutputError, RunError
        If it is neither.
    """
    from clipdiy_lab.analysis.result_files import open_result
    from clipdiy_lab.errors import OutputError, RunError
    from clipdiy_lab.pipeline.runs import open_run

    try:
        return open_result(path)
    except OutputError as error:
        if not path.exists():
            raise
        try:
            return open_run(path)
        except RunError as other:
            raise OutputError(f"{path} is neither a result nor a run: {error} As a run: {other}") from error


def _tables(found: Any, images: int | None) -> dict[str, Any]:
    """Return the tables of a comparison by their titles; of the images only so many at either end, None for all."""
    from clipdiy_lab.analysis import results

    if found.attrs["kind"] == "runs":
        return {"labels": results.label_changes(found)}
    ranked = results.image_differences(found)
    tables = {"labels": results.label_differences(found)}
    if images is None:
        return {**tables, "images": ranked}
    points = ranked["difference_points"]
    return {
        **tables,
        "helps most": ranked[points > 0].head(images),
        "hurts most": ranked[points < 0].tail(images)[::-1],
    }
