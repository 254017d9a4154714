"""Options that several commands have, and what their texts mean: one spelling and one sentence for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

PRESETS = ("paper", "demo")

ImageFile = Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP, TIFF, BMP or GIF file.")]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", help="Comma-separated, e.g. 'cat, sofa'. Put a label that contains a comma in double quotes."
    ),
]
LabelsFile = Annotated[
    Path | None, typer.Option("--labels-file", help="A text file (UTF-8) with one label per line, instead of --labels.")
]
Model = Annotated[
    str, typer.Option("--model", help="Model name, e.g. tiny or ViT-B-32/openai; see `clipdiy-lab models`.")
]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="Local weights file for the architecture given by --model.")
]
Runtime = Annotated[str, typer.Option("--runtime", help="Library that runs the encoder: torch or openvino.")]
Saliency = Annotated[
    str | None,
    typer.Option(
        "--saliency",
        help="Saliency source: found, found-seed, found-tiny, spectral, none, file=PATH or constant=VALUE.",
    ),
]
Settings = Annotated[str, typer.Option("--config", help="paper, demo, or a JSON file written by Config.to_json.")]
OwnSettings = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="paper, demo, or a JSON file. Default: paper plus the benchmark's own settings, or those of the store.",
    ),
]
Knobs = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KNOB=VALUE",
        help="Change a knob of --config; repeatable: --set saliency_weight=0.3 --set 'scales=[128, 64]'.",
    ),
]
OwnProtocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="mmseg, official, sliding, or a .yaml file. Default: the benchmark's own, or mmseg."
    ),
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="Use the configuration and protocol of a published method, e.g. naclip."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

DatasetName = Annotated[
    str, typer.Argument(help="A name from `clipdiy-lab data list`, your own folder, or a .yaml manifest.")
]
Split = Annotated[str, typer.Option("--split", help="Split of the dataset.")]
Root = Annotated[Path | None, typer.Option("--root", help="Folder of the dataset, if it is not in the data folder.")]
Partial = Annotated[
    bool, typer.Option("--partial", help="Use incomplete data: skip samples with missing files, and unfinished shards.")
]
Limit = Annotated[int | None, typer.Option("--limit", help="Use only the first N images.")]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="Address of the dask scheduler to use, e.g. tcp://HOST:8786."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Number of worker processes on this machine; they accept only local TLS connections from this command.",
    ),
]


def read_labels(labels: str | None, file: Path | None) -> list[str]:
    """Return the labels that exactly one of two options gives.

    Raises
    ------
    LabelError
        If a quote is not closed, a comma is escaped otherwise, or the file cannot be read.
    typer.BadParameter
        If neither option is given, or both are.
    """
    if (labels is None) == (file is None):
        raise typer.BadParameter("give either --labels or --labels-file, not both.", param_hint="--labels")
    return _split_labels(labels or "") if file is None else _read_labels_file(file)


def _split_labels(line: str) -> list[str]:
    from clipdiy_lab.errors import LabelError
    from clipdiy_lab.text import quoted, split_list

    hint = "expected commas between labels, and a label with a comma in double quotes"
    try:
        labels = split_list(line)
    except ValueError as error:
        raise LabelError(f"--labels is {quoted(line)} ({error}); {hint}.") from None
    if any(label.endswith("\\") for label in labels):
        raise LabelError(f"--labels is {quoted(line)}, with a backslash before a comma; {hint}.")
    if len(labels) == 1 and os.path.isfile(labels[0].removeprefix("@")):
        raise LabelError(f"--labels is {quoted(line)}, which is a file; read it with --labels-file.")
    return labels


def _read_labels_file(file: Path) -> list[str]:
    from clipdiy_lab.errors import LabelError

    try:
        lines = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(
            f"--labels-file {file} cannot be read ({error}); expected UTF-8, one label per line."
        ) from None
    return lines.rstrip().split("\n") if lines.strip() else []


def read_config(text: str) -> Any:
    """Return a preset by its name, or the configuration of a file.

    Raises
    ------
    ConfigError
        If it is neither, or the file holds no configuration.
    """
    from clipdiy_lab.errors import ConfigError, nearest
    from clipdiy_lab.files import read_text
    from clipdiy_lab.method.config import Config

    if text in PRESETS:
        return getattr(Config, text)()
    if not text.endswith(".json"):
        raise ConfigError(f"--config is {text!r}; expected a preset or a .json file. {nearest(text, PRESETS)}")
    try:
        return Config.from_json(read_text(text))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {text} cannot be read ({error}).") from error


def read_knobs(texts: list[str] | None, context: typer.Context) -> dict[str, Any]:
    """Return the knobs that options of the form KNOB=VALUE set in a command.

    Raises
    ------
    ConfigError
        If one has another form, names a knob twice or none at all, or an option of the command says something else.
    """
    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.method.config import Config
    from clipdiy_lab.method.knob_values import from_text

    options = {str(option.name): option.opts[0] for option in context.command.params if option.opts[0].startswith("-")}
    known, values = Config.knobs(), {}
    for name, text in read_assignments(texts or [], "--set", "KNOB=VALUE, such as saliency_weight=0.3").items():
        if name in options and name not in known:
            raise ConfigError(f"--set names {name!r}, which is not a knob; use the option {options[name]}.")
        Config.require_known([name])
        values[name] = from_text(text, known[name]["form"])
        source, other = context.get_parameter_source(name), context.params.get(name)
        if source and source.name == "COMMANDLINE" and from_text(str(other), known[name]["form"]) != values[name]:
            raise ConfigError(f"--set gives {name}={text}, but {options[name]} gives {other}; use only one of the two.")
    return values


def read_assignments(texts: list[str], option: str, form: str) -> dict[str, str]:
    """Return what stands before and after the first ``=`` of every text that an option gives.

    Raises
    ------
    ConfigError
        If a text has another form, or two begin with the same name.
    """
    from clipdiy_lab.errors import ConfigError
    from clipdiy_lab.text import quoted

    assigned: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals:
            raise ConfigError(f"{option} is {quoted(text)}; expected {form}.")
        if name in assigned:
            raise ConfigError(f"{option} names {name!r} twice; give it once.")
        assigned[name] = value
    return assigned


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
    from clipdiy_lab.pipeline.loading import load

    return load(model, checkpoint=checkpoint, saliency=read_saliency(saliency), runtime=runtime)


def read_method(name: str | None, dataset: str, config: str | None, protocol: str | None) -> Any:
    """Return the published method that an option names, as it is on a dataset; None where it names none.

    Raises
    ------
    ConfigError
        If there is no such method, or another option says what the method says.
    """
    from clipdiy_lab.analysis.methods import published_method
    from clipdiy_lab.datasets.manifests import manifest_names
    from clipdiy_lab.errors import ConfigError

    if name is None:
        return None
    if config is not None or protocol is not None:
        raise ConfigError(
            f"--method {name} sets the configuration and the protocol; leave out --config and --protocol (single knobs "
            "can be changed with --set)."
        )
    on = dataset if dataset in manifest_names() and dataset != "scenes" else None
    return published_method(method_name(name), on)


def method_name(text: str) -> str:
    """Return the name of a published method as an option spells it, with hyphens or underscores."""
    return text.replace("-", "_")


def read_dataset(name: str, split: str, root: Path | None, partial: bool, names: str | None = None) -> Any:
    """Return the dataset that the options name, with the label names of a variant where `names` says so.

    `scenes` and user-provided folders are always complete, so `partial` has no effect on them.
    """
    from clipdiy_lab.datasets.manifests import manifest_names
    from clipdiy_lab.datasets.registry import open_dataset

    options: dict[str, Any] = {} if root is None else {"root": root}
    if names is not None:
        options["names"] = names
    if partial and name != "scenes" and (name in manifest_names() or Path(name).suffix in (".yaml", ".yml")):
        options["partial"] = True
    return open_dataset(name, split=split, **options)


def read_cluster(scheduler: str | None, workers: int | None) -> AbstractContextManager[Any]:
    """Return what lends a client of the cluster that the options name, or None where they name none."""
    if scheduler is None and workers is None:
        return nullcontext()
    return _connected(scheduler, workers)


@contextmanager
def _connected(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    from clipdiy_lab.pipeline.cluster import connect

    with connect(scheduler, workers) as client:
        if workers is not None:
            typer.echo(
                f"Worker processes started: {workers}. They listen only on the loopback interface of this machine and "
                "accept "
                "only this command (TLS, with a key made for this call).",
                err=True,
            )
        yield client


def wants_progress() -> bool:
    """Whether progress bars are to be shown: unless TQDM_DISABLE says no."""
    return os.environ.get("TQDM_DISABLE", "") in ("", "0")
