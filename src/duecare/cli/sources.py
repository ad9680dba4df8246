"""``duecare sources``: where facts come from, by what right, and how old what we hold is."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, moment, plain, print_json, say
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.registers.catalogue import SourceState

app = typer.Typer()

_STATES = {
    "empty": ("[dim]尚未收录[/]", "[dim]nothing held[/]"),
    "fresh": ("[green]正常[/]", "[green]fresh[/]"),
    "stale": ("[yellow]! 已过期[/]", "[yellow]! stale[/]"),
}


@app.callback(invoke_without_command=True)
def sources(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the sources with the age of what is held; a stale one says so.

    Example: duecare sources --json
    """
    if context.invoked_subcommand is not None:
        return
    from duecare.registers.catalogue import states

    with Home(load(home=home)) as opened:
        found = states(opened)
        now = opened.clock.now()
    if as_json:
        print_json([state.as_json() for state in found])
        return
    language = opened.settings.language
    for state in found:
        source = state.adapter.source
        title = source.title_zh if language == "zh" else source.title_en
        held = f" · [yellow]{state.held_batches} held[/]" if state.held_batches else ""
        say(f"[bold]{plain(source.name)}[/]  {_state(state, now, language)}{held}")
        say(f"    {plain(title)} · [dim]{plain(source.legal_basis)}[/]")
    say("\nTo read one: [bold]duecare ingest SOURCE FILE[/]. To map a CSV: [bold]duecare sources add MAPPING.toml[/].")


def _state(state: SourceState, now: datetime, language: str) -> str:
    """Whether what is held is fresh, since when, and how old that is."""
    words = _STATES[state.state][0 if language == "zh" else 1]
    if state.last_observed is None:
        return words
    days = (now - state.last_observed).days
    age = f"{days} 天前" if language == "zh" else f"{days} days old"
    return f"{words} · {moment(state.last_observed)}, {age}"


@app.command()
def add(
    mapping: Annotated[Path, typer.Argument(help="A TOML file that maps a CSV to sections.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a CSV mapping in this home; its files are then ingested by the source's name.

    Example: duecare sources add mutuals.toml
    """
    from duecare.registers.catalogue import add_mapping

    with Home(load(home=home)) as opened:
        adapter = add_mapping(opened, mapping)
    if as_json:
        print_json({"source": adapter.source.name, "sections": [section.name for section in adapter.sections]})
    else:
        say(f"Added source [bold]{plain(adapter.source.name)}[/]: {plain(adapter.source.title_en)}.")
