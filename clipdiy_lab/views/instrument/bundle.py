"""The instrument's modules as one script: what a page in one file and a widget can hold."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

_IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\./(\S+)\.js";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


@cache
def bundled(entry: str, *, default: bool = False) -> str:
    """Join a module of ``js/`` and all that it imports.

    Each module becomes a function that is called once and returns what the module exports, after those that it needs;
    so it keeps its own names. The result exports what the entry exports.

    Parameters
    ----------
    entry : str
        Name of the module, such as ``page``.
    default : bool
        Export one object that holds what the entry exports, as anywidget asks.

    Returns
    -------
    str
        A module of its own, without imports.
    """
    names = _ordered(entry, [])
    exported = ", ".join(_EXPORT.findall(source(entry)))
    end = f"export default {{ {exported} }};" if default else f"export {{ {exported} }};"
    return "\n".join([*map(_scoped, names), f"const {{ {exported} }} = module_{entry};", end])


@cache
def source(name: str) -> str:
    """Text of a module, or by its full name of a style sheet, of ``js/``."""
    suffix = "" if "." in name else ".js"
    return resources.files(__package__).joinpath("js", name + suffix).read_text(encoding="utf-8")


def _ordered(name: str, before: list[str]) -> list[str]:
    for _, needed in _IMPORT.findall(source(name)):
        if needed not in before:
            before = _ordered(needed, before)
    return [*before, name]


def _scoped(name: str) -> str:
    body = _IMPORT.sub(r"const \1 = module_\2;\n", source(name))
    exported = ", ".join(_EXPORT.findall(body))
    return f"const module_{name} = (() => {{\n{_EXPORT.sub('', body)}\nreturn {{ {exported} }};\n}})();"
