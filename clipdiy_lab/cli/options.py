"""Options that several commands have, and what their texts mean: one spelling and one sentence for each."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

PRESETS = ("paper", "demo")

ImageFile = Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP, TIFF, BMP or GIF file.")]
Labels = Annotated[str, typer.Option("--labels", help='Comma-separated, e.g. "cat, sofa".')]
Model = Annotated[str, typer.Option("--model", help="'tiny' or ARCHITECTURE/TAG, see `clipdiy-lab models`.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="Local weights for the architecture --model.")]
Runtime = Annotated[str, typer.Option("--runtime", help="torch or openvino: what computes the encoder.")]
Saliency = Annotated[
    str | None,
    typer.Option("--saliency", help="found, found-seed, found-tiny, spectral, none, file=PATH or constant=VALUE."),
]
Settings = Annotated[str, typer.Option("--config", help="paper, demo, or a JSON file as Config.to_json writes it.")]
OwnSettings = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="paper, demo, or a JSON file. Default: paper with what the benchmark's manifest sets; a store's own.",
    ),
]
OwnProtocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="mmseg, official, sliding, or a .yaml file. Default: the benchmark's own, or mmseg."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

DatasetName = Annotated[
    str, typer.Argument(help="A name of `clipdiy-lab data list`, a folder of one's own, or a .yaml manifest.")
]
Split = Annotated[str, typer.Option("--split", help="Which part of the dataset.")]
Root = Annotated[Path | None, typer.Option("--root", help="Where the dataset is, if not in the data folder.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Only the first images.")]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="Address of a dask scheduler whose workers do the work, e.g. tcp://HOST:8786."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Share the work among so many processes of this machine.")
]


def read_config(text: str) -> Any:
    """Return a preset by its name, or the configuration of a file.

    Raises
    ------
    ConfigError
        If it is neither, or the file holds no configuration.
    """
    from clipdiy_lab.errors import ConfigError, nearest
    from clipdiy_lab.method.config import Config

    if text in PRESETS:
        return getattr(Config, text)()
    if not text.endswith(".json"):
        raise ConfigError(f"--config is {text!r}; expected a preset or a .json file. {nearest(text, PRESETS)}")
    try:
        return Config.from_json(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {text} cannot be read ({error}).") from error


def read_saliency(text: str | None) -> Any:
    """Return the saliency source that an option names: NAME, file=PATH or constant=VALUE.

    Raises
    ------
    SaliencyError
        If the value does not fit.
    """
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


def read_segmenter(model: str, checkpoint: Path | None, saliency: str | None, runtime: Any = "torch") -> Any:
    """Return the segmenter that the options name."""
    from clipdiy_lab.pipeline.segmenter import load

    return load(model, checkpoint=checkpoint, saliency=read_saliency(saliency), runtime=runtime)


def read_dataset(name: str, split: str, root: Path | None) -> Any:
    """Return the dataset that three options name."""
    from clipdiy_lab.datasets.registry import open_dataset

    return open_dataset(name, split=split) if root is None else open_dataset(name, split=split, root=root)


def read_cluster(scheduler: str | None, workers: int | None) -> AbstractContextManager[Any]:
    """Return what lends a client of the cluster that the options name, or None where they name none."""
    if scheduler is None and workers is None:
        return nullcontext()
    from clipdiy_lab.pipeline.cluster import connect

    return connect(scheduler, workers)


def wants_progress() -> bool:
    """Whether progress bars are to be shown: unless TQDM_DISABLE says no."""
    return os.environ.get("TQDM_DISABLE", "") in ("", "0")
