"""``duecare passes clerks``: who works at the pass centre."""

from __future__ import annotations

from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, moment, plain, print_json, say
from duecare.cli.passes.centre import done, opened

clerks = typer.Typer(help="Who works at the pass centre, each by a key of their own.", no_args_is_help=True)


@clerks.command("list")
def list_clerks(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show who works at the pass centre.

    Example: duecare passes clerks list
    """
    from duecare.systems.passes import clerks as people

    with opened(home) as park, park.home.database.session() as session:
        found = people.clerks(session)
    if as_json:
        print_json([{"name": row.name, "added_at": row.added_at} for row in found])
        return
    for row in found:
        say(f"{plain(row.name)}  [dim]since {moment(row.added_at)}[/]")
    if not found:
        say("Nobody has a key yet: duecare passes clerks add NAME.")


@clerks.command("add")
def add_clerk(
    name: Annotated[str, typer.Argument(help="Their name.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """A new key for a clerk, shown once; one they had opens nothing any more.

    Example: duecare passes clerks add li
    """
    from duecare.systems.passes import clerks as people

    with opened(home) as park, park.home.database.session() as session:
        key = people.add(session, name, park.now())
    done({"name": name, "key": key}, f"[bold]{plain(key)}[/]  keep it, it is not shown again.", as_json)


@clerks.command("end")
def end_clerk(
    name: Annotated[str, typer.Argument(help="Their name.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """The clerk's key opens nothing any more.

    Example: duecare passes clerks end li
    """
    from duecare.systems.passes import clerks as people

    with opened(home) as park, park.home.database.session() as session:
        people.end(session, name, park.now())
    done({"name": name, "ended": True}, f"The key of {plain(name)} opens nothing any more.", as_json)
