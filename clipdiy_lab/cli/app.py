"""The application that every group of commands registers with, and what commands share."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.errors import OutputError

app = typer.Typer(
    help="clipdiy_lab: an explainable laboratory around CLIP-DIY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Preset(StrEnum):
    """Presets of `Config`."""

    paper = "paper"
    demo = "demo"


ImageFile = Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP, TIFF, BMP or GIF file.")]
Labels = Annotated[str, typer.Option("--labels", help='Comma-separated, e.g. "cat, sofa".')]
Model = Annotated[str, typer.Option("--model", help="'tiny' or ARCHITECTURE/TAG, see `clipdiy-lab models`.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="Local weights for the architecture --model.")]
Saliency = Annotated[
    str | None,
    typer.Option("--saliency", help="found, found-seed, found-tiny, spectral, none, file=PATH or constant=VALUE."),
]
From = Annotated[Preset, typer.Option("--preset", help="Settings to start from.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A JSON file as Config.to_json writes it.")]


def read_config(preset: Preset, path: Path | None) -> Any:
    """Return the configuration of a file, or a preset where no file is named."""
    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.method.config import Config

    if path is None:
        return getattr(Config, preset)()
    try:
        return Config.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read ({error}).") from error


def read_saliency(text: str | None) -> Any:
    """Return the saliency source that an option names: NAME, file=PATH or constant=VALUE."""
    from clipdiy_lab.errors import SaliencyError
    from clipdiy_lab.models.saliency import build

    if text is None:
        return None
    name, _, value = text.partition("=")
    if name == "file" and value:
        return build("file", path=value)
    if name == "constant" and value:
        try:
            return build("constant", value=float(value))
        except ValueError as error:
            raise SaliencyError(f"--saliency is {text!r} ({error}); expected constant=NUMBER from 0 to 1.") from None
    return text


Scheduler = Annotated[
    str | None, typer.Option(help="Address of a dask scheduler whose workers do the work, e.g. tcp://HOST:8786.")
]
Workers = Annotated[int | None, typer.Option(help="Share the work among so many processes of this machine.")]


def read_cluster(scheduler: str | None, workers: int | None) -> AbstractContextManager[Any]:
    """Return what lends a client of the cluster that the options name, or None where they name none."""
    if scheduler is None and workers is None:
        return nullcontext()
    from clipdiy_lab.pipeline.cluster import connect

    return connect(scheduler, workers)


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
