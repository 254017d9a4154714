"""Command that measures how well the probabilities are calibrated."""

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
    Model,
    OwnProtocol,
    OwnSettings,
    Partial,
    Root,
    Runtime,
    Saliency,
    Split,
    read_config,
    read_dataset,
    read_knobs,
    read_segmenter,
    wants_progress,
)


@app.command()
def calibration(
    context: typer.Context,
    dataset: DatasetName,
    model: Model = "tiny",
    checkpoint: Checkpoint = None,
    runtime: Runtime = "torch",
    saliency: Saliency = None,
    config: OwnSettings = None,
    knobs: Knobs = None,
    protocol: OwnProtocol = None,
    split: Split = "val",
    limit: Limit = None,
    fit_split: Annotated[
        str, typer.Option(help="Split used to fit the temperature; must differ from --split.")
    ] = "train",
    fit_limit: Annotated[int, typer.Option(help="Use only the first N images of that split.")] = 200,
    fit_dataset: Annotated[
        str | None, typer.Option(help="Dataset used for the fit, if not the same, such as a second folder of your own.")
    ] = None,
    root: Root = None,
    partial: Partial = False,
    out: Annotated[Path, typer.Option(help="Folder for both results; existing results are reused.")] = Path(
        "out/results"
    ),
    as_json: AsJson = False,
) -> None:
    """Fit a softmax temperature on one split and report the calibration error on another."""
    from clipdiy_lab.analysis.calibration import calibration as run
    from clipdiy_lab.analysis.result_files import plain_card
    from clipdiy_lab.analysis.results import calibration_bins
    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.pipeline.sources import config_for

    if fit_dataset is None and Path(dataset).is_dir():
        raise ConfigError(
            f"{dataset!r} is a folder, which has only one split; give another dataset with --fit-dataset, so that the "
            "temperature is not fitted on the images that are reported."
        )
    if out.suffix:
        raise ConfigError(
            f"--out is {str(out)!r}; expected a folder, because two results are written (fit and report)."
        )
    if fit_dataset is None and fit_split == split:
        raise ConfigError(f"--fit-split and --split are both {split!r}; fit the temperature on another split.")
    data = read_dataset(dataset, split, root, partial)
    fitting = read_dataset(fit_dataset or dataset, fit_split if fit_dataset is None else "val", root, partial)
    segmenter = read_segmenter(model, checkpoint, saliency, runtime)
    given = None if config is None else read_config(config)
    settings = config_for(data, given, read_config("paper")).replace(**read_knobs(knobs, context))
    shared: dict[str, Any] = {"protocol": protocol, "out": out, "progress": wants_progress()}
    fitted = run(segmenter, fitting, settings, fit_limit, **shared)
    found = run(segmenter, data, settings, limit, fitted=fitted, **shared)
    facts, table = plain_card(found), calibration_bins(found)
    if as_json:
        errors = {name: found[name].values.tolist() for name in ("temperature", "ece", "nll")}
        typer.echo(json.dumps({**facts, **errors, "bins": json.loads(table.to_json(orient="records"))}))
        return
    print_table(table.round(2), as_json=False)
    say("")
    reported = (found[name].values for name in ("temperature", "ece", "nll"))
    for temperature, ece, nll in zip(*reported, strict=True):
        say(f"temperature {temperature:.4g}: expected calibration error {100 * ece:.2f} %, {nll:.3f} nats per pixel")
    say(
        f"{facts['images']} images of {facts['dataset']}, protocol {facts['protocol']}, {facts['encoder']} with "
        f"{facts['saliency_source']}; the second temperature was fitted on {facts['fitted_on']}"
    )
