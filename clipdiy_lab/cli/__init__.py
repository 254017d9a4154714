"""The command line: thin, data on stdout, everything else on stderr.

Exit codes: 0 done, 1 the lab could not do it (one sentence on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import gc
import sys
import warnings
from typing import Any

import typer

from clipdiy_lab.cli import (
    about,
    calibration,
    compare,
    data,
    evaluate,
    explain,
    reproduce,
    score,
    segment,
    store,
    sweep,
)
from clipdiy_lab.cli.app import INTERRUPTED, app
from clipdiy_lab.cli.wording import in_shell
from clipdiy_lab.errors import ClipdiyError

__all__ = [
    "about",
    "app",
    "calibration",
    "compare",
    "data",
    "evaluate",
    "explain",
    "main",
    "reproduce",
    "score",
    "segment",
    "store",
    "sweep",
]


def main() -> None:
    """Run the command line; warnings and the lab's own errors become one line each on stderr."""
    warnings.showwarning = _Warnings()
    try:
        app()
    except ClipdiyError as error:
        typer.echo(f"error: {in_shell(str(error))}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted.", err=True)
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # Python ends with a search for garbage, which takes a second where torch was imported


class _Warnings:
    """What shows a warning, in the place of `warnings.showwarning`: its sentence, once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, message: Warning | str, *_: Any, **__: Any) -> None:
        from tqdm import tqdm  # a bar on the screen is cleared first, and drawn again below the line

        sentence = in_shell(str(message))
        if sentence not in self._said:
            self._said.add(sentence)
            tqdm.write(f"warning: {sentence}", file=sys.stderr)
