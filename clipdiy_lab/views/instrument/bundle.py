"""The instrument's modules as one script: what a page in one file and a widget can hold."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

_IMPORT: Final = re.compile(r'^import (?:\{[^}]*\}|\S+) from "\./(\S+)\.js";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)


@cache
def bundled(entry: str) -> str:
    """Join a module of ``js/`` and all that it imports, each after what it needs.

    The modules' names of the top level differ from each other (a test sees to it), so joining them changes nothing.

    Parameters
    ----------
    entry : str
        Name of the module, such as ``page``.
    """
    return "\n".join(_without_imports(name) for name in _ordered(entry, []))


@cache
def source(name: str) -> str:
    """Text of a module or a style sheet beside it."""
    suffix = "" if "." in name else ".js"
    return resources.files(__package__).joinpath("js", name + suffix).read_text(encoding="utf-8")


def _ordered(name: str, before: list[str]) -> list[str]:
    for needed in _IMPORT.findall(source(name)):
        if needed not in before:
            before = _ordered(needed, before)
    return before if name in before else [*before, name]


def _without_imports(name: str) -> str:
    return _EXPORT.sub("", _IMPORT.sub("", source(name)))
