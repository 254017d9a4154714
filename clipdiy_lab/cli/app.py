"""The application that every group of commands registers with, and what commands share."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clipdiy_lab._version import __version__
from clipdiy_lab.cli.wording import in_shell
from clipdiy_lab.errors import OutputError
from clipdiy_lab.text import printable

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""


class _Commands(TyperGroup):
    """Command group that reports what is kept after Ctrl-C, and prints usage errors with control characters escaped."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _printable_usage():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            kept = " ".join(getattr(error, "__notes__", ())) or "no partly written file was left behind."
            typer.echo(f"interrupted: {in_shell(kept)}", err=True)
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _printable_usage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Typer has had several base classes for wrong usage; what they share is the message that they show.
        message = getattr(error, "message", None)
        if isinstance(message, str):
            error.message = printable(message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Commands,
    help="clipdiy_lab: run, explain and evaluate CLIP-DIY, a training-free open-vocabulary segmentation method.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"clipdiy-lab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# What `segment` and `demo` write.
_RESULT = re.compile(r"\d\d_\w+\.png|(strip|labels|input)\.png|index\.html|run\.nc")


class fresh:  # noqa: N801 - reads as a word in `with`
    """Move an earlier result aside for `--overwrite`; bring it back if the new one fails, else remove it.

    Raises
    ------
    OutputError
        If the folder holds anything that is no result, is the current folder, or cannot be written to.
    """

    def __init__(self, folder: Path, overwrite: bool) -> None:
        self.folder, self.overwrite = folder, overwrite
        self.aside: Path | None = None

    def __enter__(self) -> None:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if self.overwrite and self.folder.is_dir():
                self._check()
                self.aside = Path(tempfile.mkdtemp(prefix=".clipdiy-", suffix=".old", dir=self.folder.parent))
                self.folder.rename(self.aside / self.folder.name)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written to ({error.strerror}); choose another --out."
            ) from error

    def _check(self) -> None:
        here = Path.cwd()
        if self.folder.resolve() in (here, *here.parents):
            raise OutputError(f"{self.folder} is or contains the current folder; choose another --out.")
        other = sorted(path.name for path in self.folder.iterdir() if not _RESULT.fullmatch(path.name))
        if other:
            raise OutputError(
                f"{self.folder} contains {other[0]!r}, which this command did not write, so it is not replaced; "
                "choose another --out."
            )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.aside is None:
            return
        if kind is not None and not self.folder.exists():
            (self.aside / self.folder.name).rename(self.folder)
        shutil.rmtree(self.aside, ignore_errors=True)


def refuse_inside(image: Path, folder: Path) -> None:
    """Refuse a folder of results that the image itself lies in.

    Raises
    ------
    OutputError
    """
    if folder.resolve() in image.resolve().parents and folder.exists():
        raise OutputError(f"{image} is inside {folder}, which would be replaced; choose another --out.")


def say(*lines: object, err: bool = False) -> None:
    """Print lines with control characters escaped, so that a name in them cannot steer the terminal."""
    for line in lines:
        typer.echo(printable(str(line)), err=err)


def print_table(table: Any, as_json: bool) -> None:
    """Print a table for people, or as JSON records for programs."""
    from clipdiy_lab.analysis.tables import to_text

    typer.echo(table.to_json(orient="records") if as_json else to_text(table))


def label_rows(table: Any) -> Any:
    """Return a table of labels as records of plain values."""
    return json.loads(table.reset_index().to_json(orient="records"))
