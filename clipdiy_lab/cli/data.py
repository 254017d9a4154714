"""Commands that fetch, verify, locate and list datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipdiy_lab.cli.app import app, print_table, say
from clipdiy_lab.cli.options import AsJson

if TYPE_CHECKING:
    from clipdiy_lab.datasets.manifest_schema import Manifest

data = typer.Typer(
    help="Fetch, verify, locate and list datasets. They are stored in $CLIPDIY_LAB_DATA or in the lab's cache.",
    no_args_is_help=True,
)
app.add_typer(data, name="data")

Name = Annotated[str, typer.Argument(help="A name from `clipdiy-lab data list`, or your own manifest (.yaml).")]


@data.command()
def fetch(
    name: Name,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not use the network; use the archives already here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download, check and unpack a dataset; an interrupted download is resumed."""
    from clipdiy_lab.datasets.get import describe, fetch_dataset, plan
    from clipdiy_lab.datasets.layouts import find_root
    from clipdiy_lab.pipeline.watch import interruptible

    with interruptible(lambda: "the data received so far is kept; run the same command again to continue."):
        manifest = _manifest(name)
        say(describe(manifest, plan(manifest)), err=True)
        steps = fetch_dataset(manifest, offline=offline, progress=True)
    root = None if manifest.layout is None else str(find_root(manifest, None))
    if as_json:
        archives = [{"name": step.archive.name, "was_done": step.done} for step in steps]
        typer.echo(json.dumps({"name": manifest.id, "root": root, "archives": archives}))
    else:
        say(root or f"{manifest.id} comes with the package and needs no files.")


@data.command()
def verify(
    name: Annotated[str, typer.Argument(help="As for fetch, or your own folder (images/, masks/, classes.txt).")],
    deep: Annotated[bool, typer.Option("--deep", help="Read every image and mask, and check all values.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check archives, files and splits. Exit code 1 if there is an error; warnings alone give exit code 0."""
    from clipdiy_lab.datasets.manifests import manifest_names
    from clipdiy_lab.datasets.readers_folder import validate_folder
    from clipdiy_lab.datasets.verify import verify_dataset
    from clipdiy_lab.errors import DatasetError

    folder = Path(name).is_dir() and name not in manifest_names()
    report = validate_folder(name) if folder else verify_dataset(_manifest(name), deep=deep, progress=True)
    faulty = report.loc[report["level"] == "error" if folder else report["problem"] != ""]
    problems = [tuple(row) for row in faulty[["file" if folder else "name", "problem"]].values]
    warned = report.loc[report["level"] == "warning"] if folder else report.iloc[:0]
    if as_json:
        print_table(report, as_json)
    else:
        if not folder:
            print_table(report.assign(problem=report["problem"].where(report["problem"] == "", "yes")), as_json=False)
        for where_it_is, problem in problems:
            say(f"{where_it_is}: {problem}")
        for _, row in warned.iterrows():
            say(f"{row['file']}: warning: {row['problem']}")
    if problems:
        raise DatasetError(f"{name} has {len(problems)} problems; the first: {problems[0][0]}: {problems[0][1]}")
    say(f"{name}: no problems found.", err=True)


@data.command()
def where(
    name: Annotated[str | None, typer.Argument(help="As for fetch. Default: all named datasets.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where a dataset and its archives are or will be stored, and whether it is complete."""
    from clipdiy_lab.datasets.verify import where_datasets

    print_table(where_datasets(None if name is None else [_manifest(name)]), as_json)


@data.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the datasets: their splits, labels, how to get them, and which are in the data folder."""
    from clipdiy_lab.datasets.registry import list_datasets

    print_table(list_datasets(), as_json)


def _manifest(name: str) -> Manifest:
    from clipdiy_lab.datasets.manifests import load_manifest

    return load_manifest(name)
