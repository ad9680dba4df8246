"""``duecare passes missing``: what a restore could not bring back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from duecare.cli.output import HomeOption, JsonOption, console, plain, print_json, say, table
from duecare.cli.passes.centre import opened

if TYPE_CHECKING:
    from duecare.vault.copies import Missing


def missing(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List what the log knows and a restored database has not: passes and cards to be issued anew, clerks' keys.

    Who comes with such a card is sent to the pass centre by the gate. Exit code 1 while anything is missing.

    Example: duecare passes missing
    """
    from duecare.systems.passes.lacking import lacking

    with opened(home) as park, park.home.database.session() as session:
        found = lacking(session, park)
    if as_json:
        print_json([each.as_json() for each in found])
    elif found:
        console.print(lines(found))
    else:
        say("Nothing is missing.")
    if found:
        raise typer.Exit(1)


def lines(found: Iterable[Missing]) -> Table:
    """What is missing, as a table."""
    rows = table("what", "name", "how many", "until")
    for each in found:
        rows.add_row(each.what, plain(each.name), str(each.count), str(each.until or ""))
    return rows
