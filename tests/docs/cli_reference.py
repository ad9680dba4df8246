"""The reference of the command line, made from the commands.

To write it anew: ``python -m tests.docs.cli_reference > docs/reference/cli.md``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from duecare.cli.app import app
from duecare.settings import Settings

_OPEN = """# The command line

Made from the commands themselves; a test compares the two. Every command prints for a person, or JSON with `--json`.
Exit codes: 0 all is well, 1 something was found or failed, 2 bad use. Progress and errors go to standard error.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group by its words, in order of declaration."""
    yield from _below("duecare", typer.main.get_command(app))


def runs(command: Any) -> bool:
    """Whether a command does something by itself, and is not only a group."""
    return not hasattr(command, "commands") or bool(getattr(command, "invoke_without_command", False))


def reference() -> str:
    """The whole page."""
    parts = [_OPEN]
    for words, command in commands():
        parts.append(f"## `{words}`\n\n{_text(command)}\n")
        rows = [_row(param) for param in command.params if param.name != "help" and not getattr(param, "hidden", False)]
        if rows:
            parts.append("| | |\n|---|---|\n" + "\n".join(rows) + "\n")
    rows = [
        f"| `{name}` | `DUECARE_{name.upper()}` | {field.description} | `{field.default!s}` |"
        for name, field in Settings.model_fields.items()
    ]
    parts.append(
        "## Settings\n\nThe environment wins over `settings.toml` in the home folder, which wins over the default. "
        "A variable\nthat is called like a setting and is none is told on standard error.\n\n"
        "| setting | environment | | default |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return "\n".join(parts)


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if words != "duecare":
        yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _below(f"{words} {name}", below)


def _text(command: Any) -> str:
    text = inspect.cleandoc(command.help or "").replace("``", "`")
    return re.sub(r"^Example: (.*?)(?=\n\n|\Z)", _example, text, flags=re.MULTILINE | re.DOTALL)


def _example(found: re.Match[str]) -> str:
    """The whole example as one piece of code, however many lines it takes in the help."""
    return f"Example: `{' '.join(found[1].split())}`"


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        name = param.metavar or param.name.upper()
    else:
        name = ", ".join(param.opts)
    return f"| `{name}` | {(getattr(param, 'help', '') or '').replace('|', '/')} |"


if __name__ == "__main__":
    print(reference(), end="")
