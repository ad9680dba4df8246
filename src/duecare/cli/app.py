"""All commands, in one place.

The rule of this module: a command is loaded when it is called or shown, and none that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from duecare.cli.output import HomeOption

_COMMANDS = {
    "ingest": "ingest:ingest",
    "crawl": "ingest:crawl",
    "reread": "ingest:reread",
    "tidy": "tidy:tidy",
    "changes": "company:changes",
    "company": "company:company",
    "search": "company:search",
    "snapshot": "snapshot:snapshot",
    "demo": "demo:demo",
    "cases": "cases:cases",
    "deliver": "deliver:deliver",
    "digest": "digest:digest",
    "correct": "correct:correct",
    "receipt": "receipt:receipt",
    "held": "held:held",
    "erase": "erase:erase",
    "certificate": "certificate:certificate",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "proof": "proof:proof",
    "verify": "verify:verify",
    "sources": "sources:app",
    "screen": "screen:screen",
    "watch": "watch:watch",
    "consent": "consent:consent",
    "notices": "notices:notices",
    "retention": "retention:retention",
    "keys": "keys:keys",
    "witness": "witness:app",
    "passes": "passes:passes",
    "policies": "policies:policies",
}
"""Every command, in the order in which they are shown: its module in this package, and its name there."""


class _Commands(Mapping[str, Any]):
    """The commands by their names, each loaded when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _loaded(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Duecare(TyperGroup):
    """The program itself."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "commands": _Commands()})


@cache
def _loaded(name: str) -> Any:
    module, _, member = _COMMANDS[name].partition(":")
    found = getattr(import_module(f"duecare.cli.{module}"), member)
    alone = _typer()
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name=name)(found)
    return typer.main.get_group(alone).commands[name]


def _typer(**given: Any) -> typer.Typer:
    return typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False, **given)


app = _typer(
    name="duecare",
    help="Data services with due care (注意义务): official registers, real differences, careful alerts, proof.",
    no_args_is_help=True,
    cls=_Duecare,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duecare {version('duecare')}")
        raise typer.Exit


@app.callback()
def every(
    home: HomeOption = None,
    told: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What can be given before any command: ``--home`` counts for all of them."""
