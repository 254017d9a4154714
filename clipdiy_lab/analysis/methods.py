"""Published methods as data: what their code runs on each benchmark, as a configuration and a protocol of the lab."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clipdiy_lab.analysis.protocols import Decision, Protocol
from clipdiy_lab.datasets.manifests import load_manifest, manifest_folder, manifest_names, read_facts
from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning, ConfigError, nearest
from clipdiy_lab.method.config import Config

Text = Annotated[str, Field(min_length=1)]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Section(_Facts):
    """What is different on one benchmark.

    Attributes
    ----------
    config : mapping of knob to value
        On top of the method's.
    protocol : mapping of field to value
        On top of the method's.
    not_reproduced : tuple of str
        One sentence each, besides those of the method.
    """

    config: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    not_reproduced: tuple[Text, ...] = ()


class MethodFile(_Facts):
    """A file of `data_manifests/methods`.

    Attributes
    ----------
    id, title, summary : str
    code : str
        Repository and commit of the official code.
    backbone : str
        What the published figures were made with; the lab takes any.
    names : str or None
        Variant of the benchmarks' manifests whose label names and synonyms the method uses; None: the manifests' own.
    config : mapping of knob to value
        Knobs other than the defaults of `Config`.
    protocol : mapping of field to value
        Of `Protocol`, without id and summary.
    sources : tuple of str
        Where the settings come from.
    not_reproduced : tuple of str
        What the official run does and the lab does not.
    benchmarks : mapping of manifest to Section
        The benchmarks of which the settings are known.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: Text
    summary: Text
    code: Text
    backbone: Text
    names: Text | None
    config: dict[str, Any]
    protocol: dict[str, Any]
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]
    not_reproduced: tuple[Text, ...]
    benchmarks: dict[str, Section]

    @model_validator(mode="after")
    def _is_a_configuration_and_a_protocol(self) -> Self:
        for benchmark in (None, *self.benchmarks):
            try:
                self.on(benchmark)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"])) or "protocol"
                raise ValueError(f"{benchmark or 'the method'}: protocol, {field}: {first['msg']}") from error
            except ClipdiyError as error:
                raise ValueError(f"{benchmark or 'the method'}: {error}") from error
        return self

    def on(self, benchmark: str | None) -> PublishedMethod:
        """Return the settings on a benchmark; on None, or one that is not listed, those of the method.

        Raises
        ------
        ConfigError, DatasetError, pydantic.ValidationError
            If they are no configuration and no protocol, or there is no such benchmark.
        """
        section, knobs, names = Section(), dict(self.config), None
        extra: tuple[str, ...] = ()
        if benchmark is not None:
            manifest = load_manifest(benchmark)
            knobs |= manifest.config
            if benchmark in self.benchmarks:
                section = self.benchmarks[benchmark]
            else:
                extra = (f"The settings of {self.title} on {benchmark} are not known; its general ones are used.",)
            if self.names in manifest.variants:
                names = self.names
                knobs["synonyms"] = manifest.phrases(names)
        name = self.id if benchmark is None else f"{self.id}_{benchmark}"
        fields = {"id": name, "summary": f"as the code of {self.title} scores", **self.protocol, **section.protocol}
        return PublishedMethod(
            id=self.id,
            title=self.title,
            benchmark=benchmark,
            config=Config(**{**knobs, **section.config}),
            protocol=Protocol.model_validate(fields),
            names=names,
            not_reproduced=(*extra, *self.not_reproduced, *section.not_reproduced),
        )


@dataclass(frozen=True, kw_only=True)
class PublishedMethod:
    """A published method on a benchmark, in the lab's terms.

    Attributes
    ----------
    id, title : str
    benchmark : str or None
        Name of its manifest; None for any dataset.
    config : Config
    protocol : Protocol
    names : str or None
        What `open_dataset` takes as ``names``: whose spelling of the labels `config.synonyms` goes with.
    not_reproduced : tuple of str
        What the official run does and this does not.
    """

    id: str
    title: str
    benchmark: str | None
    config: Config
    protocol: Protocol
    names: str | None
    not_reproduced: tuple[str, ...]


def method_names() -> tuple[str, ...]:
    """Names of the published methods that the lab can state.

    Examples
    --------
    >>> "naclip" in method_names()
    True
    """
    return tuple(sorted(path.stem for path in (manifest_folder() / "methods").glob("*.yaml")))


def load_method(name: str) -> MethodFile:
    """Read and check the file of a method.

    Raises
    ------
    ConfigError
        For an unknown name, with the nearest; for a file that does not fit, with file, line and field.
    """
    if name not in method_names():
        raise ConfigError(f"there is no method {name!r}. {nearest(str(name), method_names())}")
    return read_facts(manifest_folder() / "methods" / f"{name}.yaml", MethodFile, ConfigError)


def published_method(name: str, benchmark: str | None = None) -> PublishedMethod:
    """Return a published method as a configuration and a protocol.

    Parameters
    ----------
    name : str
        One of `list_methods`.
    benchmark : str, optional
        Name of a benchmark, such as "voc21". Without it, or if the method's settings for it are not known, its general
        settings are used.

    Raises
    ------
    ConfigError
        For an unknown method or benchmark, with the nearest names.

    Warns
    -----
    ClipdiyWarning
        Lists the differences from the official code, so that a score is not mistaken for a reproduction.

    Examples
    --------
    >>> published_method("clip_diy", benchmark="voc21").config == Config.paper()
    True
    """
    file = load_method(name)
    if benchmark is not None and benchmark not in manifest_names():
        raise ConfigError(f"there is no benchmark {benchmark!r}. {nearest(str(benchmark), manifest_names())}")
    method = file.on(benchmark)
    if method.not_reproduced:
        warnings.warn(
            f"{method.title} is not fully reproduced. {' '.join(method.not_reproduced)}", ClipdiyWarning, stacklevel=2
        )
    return method


_PUBLISHED_AS = {
    "maskclip": "MaskCLIP",
    "maskclip_reduced": "MaskCLIP (values alone)",
    "sclip": "SCLIP",
    "clearclip": "ClearCLIP",
    "naclip": "NACLIP",
}


def features_title(config: Config) -> str:
    """Name the method whose features a configuration looks at, as tables of published results spell it.

    Examples
    --------
    >>> features_title(Config()), features_title(Config(scales=(), dense="naclip"))
    ('CLIP-DIY', 'NACLIP')
    >>> features_title(Config(dense="sclip"))
    'CLIP-DIY with patches of SCLIP'
    """
    if config.dense == "none":
        return "CLIP-DIY"
    patches = _PUBLISHED_AS[config.dense]
    return f"CLIP-DIY with patches of {patches}" if config.scales else patches


def list_methods() -> pd.DataFrame:
    """List the published methods.

    Returns
    -------
    pandas.DataFrame
        One row per method and benchmark whose settings are known: ``name``, ``title``, ``benchmark``, ``dense``,
        ``image_short``, ``window``, ``stride``, ``background``, ``names``, ``logit_scale``, ``probability_threshold``
        and ``area_threshold`` of the decision (missing where there is none), ``refine``, the ``backbone`` of the
        published figures, ``code``, and ``not_reproduced``, the number of known differences.
    """
    rows = []
    for file in map(load_method, method_names()):
        for method in map(file.on, file.benchmarks):
            protocol, config = method.protocol, method.config
            row: dict[str, Any] = {
                "name": file.id,
                "title": file.title,
                "benchmark": method.benchmark,
                "dense": config.dense,
            }
            row |= {field: getattr(protocol, field) for field in ("image_short", "window", "stride")}
            row |= {"background": config.background, "names": method.names}
            row |= {field: getattr(protocol.decision, field, None) for field in Decision.model_fields}
            row |= {"refine": config.refine}
            row |= {"backbone": file.backbone, "code": file.code, "not_reproduced": len(method.not_reproduced)}
            rows.append(row)
    return pd.DataFrame(rows)
