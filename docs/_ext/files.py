"""The page of the files that people write themselves, from the classes that check them."""

import json
from typing import Any

from numpydoc.docscrape import NumpyDocString
from pages import EXTRA, SOURCE, code, table, write
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from clipdiy_lab.analysis.methods import MethodFile, Section
from clipdiy_lab.analysis.protocols import Decision, Protocol
from clipdiy_lab.datasets import manifest_schema

Model = type[BaseModel]


def manifest_models() -> list[Model]:
    """Return the classes of a manifest, the whole first."""
    found = [one for one in vars(manifest_schema).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    public = [one for one in found if not one.__name__.startswith("_") and one is not BaseModel]
    return sorted(public, key=lambda one: one is not manifest_schema.Manifest)


FILES: dict[str, tuple[str, str, list[Model]]] = {
    "manifest": ("Manifests", "One YAML file a benchmark, under `data_manifests/` or your own.", manifest_models()),
    "method": (
        "Methods",
        "One YAML file a published method, under `data_manifests/methods/`.",
        [MethodFile, Section],
    ),
    "protocol": ("Protocols", "A YAML file for `--protocol` and `protocol=`.", [Protocol, Decision]),
}
"""Name of the schema to title, sentence, and the classes that check it, the whole first."""


def _described(model: Model) -> dict[str, tuple[str, str]]:
    """Type and sentence of every field, from the docstring of its class."""
    said: dict[str, tuple[str, str]] = {}
    for names, kind, lines in NumpyDocString(model.__doc__ or "")["Attributes"]:
        for name in names.split(","):
            said[name.strip()] = (kind, " ".join(lines))
    return said


def _default(field: Any) -> str:
    return "required" if field.default is PydanticUndefined else code(field.default) or "`null`"


def _section(model: Model) -> str:
    said = _described(model)
    rows = [(code(name), *said[name], _default(field)) for name, field in model.model_fields.items()]
    rows = [(name, kind, default, sentence.replace("``", "`")) for name, kind, sentence, default in rows]
    summary = NumpyDocString(model.__doc__ or "")["Summary"]
    return f"### `{model.__name__}`\n\n{' '.join(summary)}\n\n{table(['field', 'type', 'default', 'what'], rows)}\n"


def make_page() -> None:
    """Write `reference/files`, and the JSON schemas."""
    text = (
        "# Manifests, methods and protocols\n\n"
        "YAML files with plain values. An unknown field, a wrong type or facts that contradict each other are "
        "refused with file, line and field. The tables are made from the classes that do it; editors can use the "
        "JSON schemas.\n\n"
    )
    for name, (title, sentence, models) in FILES.items():
        schema = models[0].model_json_schema()
        write(EXTRA / "schema" / f"{name}.json", json.dumps(schema, indent=2) + "\n")
        link = f'<a href="../schema/{name}.json">JSON schema</a>'
        text += f"## {title}\n\n{sentence} {link}.\n\n" + "".join(_section(model) for model in models)
    write(SOURCE / "reference" / "files.md", text)
