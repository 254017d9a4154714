"""The command line: thin, data on stdout, everything else on stderr.

Exit codes: 0 done, 1 the lab could not do it (one sentence on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import sys

import typer

from clipdiy_lab.cli import data, evaluate, explain, inform, segment, store, sweep
from clipdiy_lab.cli.app import app
from clipdiy_lab.errors import ClipdiyError

__all__ = ["app", "data", "evaluate", "explain", "inform", "main", "segment", "store", "sweep"]


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
