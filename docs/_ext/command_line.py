"""The page of the command line, from the Typer application itself."""

import inspect
from typing import Any

import typer
from pages import SOURCE, code, table, write

from clipdiy_lab.cli import app


def commands() -> list[tuple[str, Any, Any]]:
    """Return every command: its words, the command, and a context for it; groups are not among them."""
    root = typer.main.get_command(app)
    found: list[tuple[str, Any, Any]] = []

    def walk(command: Any, words: str, parent: Any) -> None:
        context = command.context_class(command, parent=parent, info_name=words.rsplit(" ", 1)[-1])
        inner = getattr(command, "commands", None)
        if inner is None:
            found.append((words, command, context))
            return
        for name in sorted(inner):
            walk(inner[name], f"{words} {name}", context)

    walk(root, "clipdiy-lab", None)
    return found


def _section(words: str, command: Any, context: Any) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    described = inspect.cleandoc(command.help or "").replace("\b\n", "")
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [(code(name), what) for name, what in filter(None, records)]
    return f"## `{words}`\n\n{described}\n\n```text\n{words} {usage}\n```\n\n{table(['parameter', 'what'], rows)}\n"


def make_page() -> None:
    """Write `reference/cli`."""
    head = (
        "# Command line\n\n"
        "Data goes to stdout, everything else to stderr; `--json` prints what a program reads. Exit codes: 0 done, 1 "
        "the lab could not do it (one sentence on stderr says why), 2 wrong usage, 130 interrupted. `clipdiy-lab "
        "--version` prints the version, `clipdiy-lab COMMAND --help` what stands here.\n\n"
    )
    write(SOURCE / "reference" / "cli.md", head + "\n".join(_section(*one) for one in commands()))
