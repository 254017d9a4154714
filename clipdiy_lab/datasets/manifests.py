"""Manifests by name, found in a wheel as in a checkout; what is wrong with one is said with file, line and field."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from clipdiy_lab.datasets import formats
from clipdiy_lab.datasets.disk import explain
from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.errors import ClipdiyError, DatasetError, nearest
from clipdiy_lab.files import read_text

__all__ = ["Manifest", "load_manifest", "manifest_folder", "manifest_names", "read_facts"]

M = TypeVar("M", bound=BaseModel)

# The C parser is ten times faster, and safe as the other; a build of PyYAML without it exists.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HERE = Path(__file__).resolve()
# In a wheel the files lie inside the package, in a checkout beside it.
_FOLDERS = (_HERE.parents[1] / "data_manifests", _HERE.parents[2] / "data_manifests")


def manifest_names() -> tuple[str, ...]:
    """Names of the manifests that the lab ships.

    Examples
    --------
    >>> {"scenes", "voc21", "coco_object_diy", "coco_object_tcl"} <= set(manifest_names())
    True
    """
    return tuple(sorted(path.stem for path in manifest_folder().glob("*.yaml")))


def load_manifest(name_or_path: str | os.PathLike[str]) -> Manifest:
    """Read and check a manifest.

    Parameters
    ----------
    name_or_path : str or path
        A name of `manifest_names`, or the path of your own YAML file.

    Raises
    ------
    DatasetError
        If there is none, or it is not a valid manifest; the message names file, line and field.

    Examples
    --------
    >>> load_manifest("voc21").splits["val"].images
    1449
    """
    given = os.fspath(name_or_path)
    if given in manifest_names():
        return _parse(manifest_folder() / f"{given}.yaml")
    path = Path(given)
    if path.suffix in (".yaml", ".yml"):
        return _parse(path).found_at(given)
    raise DatasetError(
        f"There is no manifest {given!r}. {nearest(given, manifest_names())} "
        "To use your own, give the path of a .yaml file."
    )


def manifest_folder() -> Path:
    """Folder of the manifests and of `published_results.csv`."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise DatasetError("The manifests are missing from clipdiy_lab/data_manifests: reinstall clipdiy-lab.")


def _parse(path: Path) -> Manifest:
    manifest, tree = _read(path, Manifest, DatasetError)
    if problem := formats.problem(manifest):
        raise DatasetError(f"{path}, line {_line(tree, ['reader'])}, field reader: {problem}.")
    return manifest


def read_facts(path: Path, model: type[M], error: type[ClipdiyError]) -> M:
    """Read a YAML file as a strict model; what is wrong with it is an `error` with file, line and field."""
    return _read(path, model, error)[0]


def _read(path: Path, model: type[M], error: type[ClipdiyError]) -> tuple[M, yaml.Node | None]:
    try:
        text = read_text(path)
        loader = _Loader(text)
        tree = loader.get_single_node()
        content = None if tree is None else loader.construct_document(tree)
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        line = "?" if mark is None else mark.line + 1
        reason = getattr(cause, "problem", None) or str(cause)
        raise error(f"{path}, line {line}: not valid YAML ({reason}). Correct that line.") from cause
    except OSError as cause:
        raise error(f"The manifest {path} cannot be read: {explain(cause, path)}") from cause
    except (UnicodeDecodeError, RecursionError) as cause:
        raise error(f"The manifest {path} cannot be read: {cause}. Expected a text file in UTF-8.") from cause
    _refuse_twice(path, tree, error)
    try:
        # As JSON, because only there strict checking takes a list for a tuple and a written number for a key.
        return model.model_validate_json(json.dumps(content, default=str)), tree
    except ValidationError as cause:
        raise error(_explain(path, tree, cause, model)) from cause


def _refuse_twice(path: Path, node: yaml.Node | None, error: type[ClipdiyError]) -> None:
    """YAML would keep the last of two equal keys without a word."""
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise error(f"{path}, line {key.start_mark.line + 1}: field {key.value!r} occurs twice.")
            seen.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        _refuse_twice(path, child, error)


def _explain(path: Path, tree: yaml.Node | None, error: ValidationError, model: type[BaseModel]) -> str:
    # A mistyped field is also a missing one; the unknown name is what the reader recognises.
    first, *others = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = [part for part in first["loc"] if part != "[key]"]
    field = ".".join(str(part) for part in place) or "the whole file"
    message = f"{path}, line {_line(tree, place)}, field {field}: {_reason(first, place, model)}"
    if first["type"] not in ("missing", "extra_forbidden", "value_error"):
        message += f", but it is {json.dumps(first['input'], default=str)[:80]}"
    return message + (f". ({len(others)} more of this kind in the file.)" if others else ".")


def _reason(first: Any, place: list[str | int], model: type[BaseModel]) -> str:
    if first["type"] == "extra_forbidden":
        known = _fields(model, place[:-1])
        return f"unknown field; {nearest(str(place[-1]), known) if known else 'remove it'}".rstrip(".")
    if first["type"] == "missing":
        return "this field is missing; add it (null where the fact is not known)"
    return str(first["msg"]).removeprefix("Value error, ").rstrip(".").replace("Input should be", "expected")


def _fields(model: type[BaseModel], place: list[str | int]) -> list[str]:
    """Field names that the schema knows at a place; keys of mappings and places in lists name no model."""
    for part in place:
        if str(part) in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _line(node: yaml.Node | None, place: list[str | int]) -> int:
    """Line, from 1, of the deepest part of `place` that the file has."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def manifest_of(dataset: object) -> Manifest | None:
    """Return the manifest that a dataset was opened by, in its attribute ``manifest``."""
    manifest = getattr(dataset, "manifest", None)
    return manifest if isinstance(manifest, Manifest) else None
