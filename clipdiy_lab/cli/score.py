"""Score label maps that any tool wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.cli.app import app, say
from clipdiy_lab.cli.evaluate import print_result
from clipdiy_lab.cli.options import (
    AsJson,
    DatasetName,
    Limit,
    OwnProtocol,
    Partial,
    Root,
    Split,
    read_dataset,
    wants_progress,
)


@app.command()
def score(
    folder: Annotated[
        Path, typer.Argument(help="Folder with one PNG per image, holding label indices or RGB colours.")
    ],
    dataset: DatasetName,
    protocol: OwnProtocol = None,
    method: Annotated[str | None, typer.Option(help="Name of the method. Default: the name of the folder.")] = None,
    colours: Annotated[
        Path | None,
        typer.Option(
            help="For RGB predictions: a text file with one 'red, green, blue' line per label, starting with label 0."
        ),
    ] = None,
    split: Split = "val",
    root: Root = None,
    partial: Partial = False,
    limit: Limit = None,
    out: Annotated[
        Path, typer.Option(help="A .nc file or a folder. A finished result is reused; an unfinished one is resumed.")
    ] = Path("out/results"),
    as_json: AsJson = False,
) -> None:
    """Score label maps written by any tool, as `evaluate` does, or list all problems with the files."""
    from clipdiy_lab.analysis.protocols import get_protocol
    from clipdiy_lab.analysis.score import score as run
    from clipdiy_lab.errors import PredictionError

    table = None if colours is None else read_colours(colours)
    chosen = None if protocol is None else get_protocol(protocol)
    data = read_dataset(dataset, split, root, partial)
    options: dict[str, Any] = {"protocol": chosen, "method": method, "colours": table, "out": out}
    try:
        result = run(folder, data, limit, progress=wants_progress(), **options)
    except PredictionError as error:
        say(*(f"{file}: {text}" for file, text in error.problems), err=True)
        raise
    print_result(result, as_json)


def read_colours(path: Path) -> Any:
    """Return the colours of a text file, labels x 3.

    Raises
    ------
    ConfigError
        If it cannot be read as rows of three whole numbers.
    """
    import numpy as np

    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.files import read_text

    try:
        rows = [line.replace(",", " ").split() for line in read_text(path).splitlines() if line.strip()]
        return np.array([[int(value) for value in row] for row in rows])
    except (OSError, ValueError) as error:
        raise ConfigError(f"--colours {path} cannot be read ({error}); expected lines such as 128, 0, 0.") from error
