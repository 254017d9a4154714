"""Score every configuration of a grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.cli.app import Preset, Scheduler, Workers, app, read_cluster, read_config, read_saliency


@app.command()
def sweep(
    dataset: Annotated[str, typer.Argument(help="A name of `clipdiy-lab data list`, or a folder of one's own.")],
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid", help="KNOB=JSON LIST OF VALUES, once a knob, e.g. --grid 'saliency_weight=[0, 0.5, 1]'."
        ),
    ],
    store: Annotated[Path | None, typer.Option(help="A store that `embed` made; no image is encoded again.")] = None,
    model: Annotated[str, typer.Option(help="Without --store: 'tiny' or ARCHITECTURE/TAG.")] = "tiny",
    saliency: Annotated[str | None, typer.Option(help="Without --store: as for `segment`.")] = None,
    stores: Annotated[Path | None, typer.Option(help="Without --store: folder to keep embeddings in.")] = None,
    split: Annotated[str, typer.Option(help="Which part of the dataset.")] = "val",
    protocol: Annotated[str, typer.Option(help="official, mmseg, or a YAML file.")] = "mmseg",
    preset: Annotated[Preset, typer.Option(help="Settings that the grid starts from.")] = Preset.paper,
    config: Annotated[Path | None, typer.Option(help="The same, from a JSON file as Config.to_json writes it.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first images.")] = None,
    out: Annotated[Path | None, typer.Option(help="File of finished rows; a killed sweep goes on from it.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the whole table here.")] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    yes: Annotated[bool, typer.Option("--yes", help="However many rows there are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON records.")] = False,
) -> None:
    """Score every combination of the values; one line a configuration."""
    from clipdiy_lab.analysis.sweep import MAX_ROWS
    from clipdiy_lab.analysis.sweep import sweep as run
    from clipdiy_lab.analysis.trials import plain_table
    from clipdiy_lab.atomic import atomic_path
    from clipdiy_lab.datasets.registry import open_dataset
    from clipdiy_lab.pipeline.segmenter import load

    knobs = read_grid(grid)
    source: Any = store if store is not None else load(model, saliency=read_saliency(saliency))
    with read_cluster(scheduler, workers) as client:
        table = run(
            source,
            open_dataset(dataset, split=split),
            knobs,
            base=read_config(preset, config),
            limit=limit,
            protocol=protocol,
            stores=stores,
            out=out,
            max_rows=10**9 if yes else MAX_ROWS,
            progress=True,
            client=client,
        )
    plain = plain_table(table)
    if csv is not None:
        with atomic_path(csv) as part:
            plain.to_csv(part, index=False)
    if as_json:
        typer.echo(plain.to_json(orient="records"))
        return
    shown = [*knobs, "miou", "miou_low", "miou_high", "pixel_accuracy", "seconds"]
    if (table["error"] != "").any():
        shown.append("error")
    typer.echo(plain.reindex(columns=shown).to_string(index=False, float_format="{:.4f}".format))


def read_grid(given: list[str]) -> dict[str, Any]:
    """Return the grid that options of the form KNOB=JSON LIST spell.

    Raises
    ------
    ConfigError
        If one is spelt otherwise.
    """
    from clipdiy_lab.errors import ConfigError

    knobs: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        try:
            values = json.loads(text)
        except ValueError as error:
            values = error
        if not equals or not isinstance(values, list):
            raise ConfigError(
                f"--grid is {one!r}; expected KNOB=JSON LIST, such as 'saliency_weight=[0, 0.5, 1]' or "
                '\'placement=["stretched", "centred"]\'.'
            )
        if name in knobs:
            raise ConfigError(f"--grid names {name!r} twice; give all its values in one list.")
        knobs[name] = values
    return knobs
