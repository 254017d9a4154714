"""The command line: thin, data on stdout, everything else on stderr.

Exit codes: 0 done, 1 the lab could not do it (one sentence on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import json
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from clipdiy_lab.errors import ClipdiyError, OutputError

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


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP, TIFF, BMP or GIF file.")],
    labels: Annotated[str, typer.Option(help='Comma-separated, e.g. "cat, sofa".')],
    model: Annotated[str, typer.Option(help="'tiny' or ARCHITECTURE/TAG, see `clipdiy-lab models`.")] = "tiny",
    checkpoint: Annotated[Path | None, typer.Option(help="Local weights for the architecture --model.")] = None,
    saliency: Annotated[
        str | None, typer.Option(help="found, found-seed, found-tiny, spectral, none, file=PATH or constant=VALUE.")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Settings to start from.")] = Preset.paper,
    config: Annotated[Path | None, typer.Option(help="A JSON file as Config.to_json writes it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default out/NAME OF THE IMAGE.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Segment an image: pictures of every stage, the label map, the run as NetCDF, an HTML page."""
    from clipdiy_lab.atomic import atomic_path
    from clipdiy_lab.pipeline.segmenter import load
    from clipdiy_lab.pipeline.store import save_run
    from clipdiy_lab.views.demo import format_labels
    from clipdiy_lab.views.report import label_table, write_folder

    settings = _config(preset, config)
    folder = out or Path("out") / image.stem
    segmenter = load(model, checkpoint=checkpoint, saliency=_saliency(saliency))
    run = segmenter.segment(image, labels.split(","), settings)
    with _fresh(folder, overwrite), atomic_path(folder, folder=True) as part:
        save_run(run, part / "run.nc")
        write_folder(run, part)
    table = label_table(run)
    if as_json:
        rows = json.loads(table.reset_index().to_json(orient="records"))
        typer.echo(json.dumps({"image": str(image), "folder": str(folder), "model": model, "labels": rows}))
    else:
        typer.echo(format_labels(table))
        typer.echo(f"\nwritten to {folder}/ (open {folder}/index.html)", err=True)


def _config(preset: Preset, path: Path | None) -> Any:
    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.method.config import Config

    if path is None:
        return getattr(Config, preset)()
    try:
        return Config.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read ({error}).") from error


def _saliency(text: str | None) -> Any:
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


class _fresh:  # noqa: N801 - reads as a word in `with`
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


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to; replaced if it is there.")] = Path("out/demo"),
) -> None:
    """Segment a bundled scene, tabulate a small ablation, and write everything to look at."""
    from clipdiy_lab.views.demo import demo as run_demo

    with _fresh(out, overwrite=True):
        page = run_demo(out, typer.echo)
    typer.echo(f"\nLook at {page}")


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the models that can be named, and which of them are on this machine."""
    from clipdiy_lab.models.encoders import list_models

    _print(list_models(), as_json)


@app.command()
def datasets(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the datasets."""
    from clipdiy_lab.datasets.registry import list_datasets

    _print(list_datasets(), as_json)


def _print(table: Any, as_json: bool) -> None:
    typer.echo(table.to_json(orient="records") if as_json else table.to_string(index=False))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Report versions, device, precisions, caches, and what is missing. Exit code 1 if the lab cannot work."""
    from clipdiy_lab.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps(findings))
    else:
        for name, value in findings["facts"].items():
            typer.echo(f"{name:22} {value}")
        for problem in findings["problems"]:
            typer.echo(f"PROBLEM  {problem}")
        for advice in findings["advice"]:
            typer.echo(f"optional {advice}")
    if findings["problems"]:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; the lab's own errors become one sentence on stderr and exit code 1."""
    try:
        app()
    except ClipdiyError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing half-written was left behind.", err=True)
        sys.exit(130)
