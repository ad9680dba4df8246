"""``duecare sources``: where facts come from, by what right, and how old what we hold is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, moment, plain, print_json, say, table
from duecare.settings import load
from duecare.store.home import Home

app = typer.Typer()

_STATES = {"empty": "[dim]nothing held[/]", "fresh": "[green]fresh 正常[/]", "stale": "[yellow]! stale 已过期[/]"}


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
    rows = table("source", "title", "held as of", "age", "state", "legal basis")
    for state in found:
        source = state.adapter.source
        age = f"{(now - state.last_observed).days} d" if state.last_observed else ""
        held = f" · [yellow]{state.held_batches} held[/]" if state.held_batches else ""
        rows.add_row(
            plain(source.name),
            plain(source.title_en),
            moment(state.last_observed),
            age,
            _STATES[state.state] + held,
            plain(source.legal_basis),
        )
    from duecare.cli.output import console

    console.print(rows)
    say("\nTo read one: [bold]duecare ingest SOURCE FILE[/]. To map a CSV: [bold]duecare sources add MAPPING.toml[/].")


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
