"""The application that every group of commands registers with, and what commands share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import typer

from clipdiy_lab.errors import OutputError

app = typer.Typer(
    help="clipdiy_lab: an explainable laboratory around CLIP-DIY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class fresh:  # noqa: N801 - reads as a word in `with`
    """Move an existing folder aside for `--overwrite`; bring it back if the new one fails."""

    def __init__(self, folder: Path, overwrite: bool) -> None:
        self.folder, self.overwrite = folder, overwrite
        self.aside = folder.with_name(folder.name + ".old")

    def __enter__(self) -> None:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if self.overwrite and self.folder.exists():
                shutil.rmtree(self.aside, ignore_errors=True)
                self.folder.rename(self.aside)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written to ({error.strerror}); choose another --out."
            ) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.aside.exists() and not self.folder.exists():
            self.aside.rename(self.folder)
        shutil.rmtree(self.aside, ignore_errors=True)


def print_table(table: Any, as_json: bool) -> None:
    """Print a table for people, or as JSON records for programs."""
    typer.echo(table.to_json(orient="records") if as_json else table.to_string(index=False))


def label_rows(table: Any) -> Any:
    """Return a table of labels as records of plain values."""
    return json.loads(table.reset_index().to_json(orient="records"))
