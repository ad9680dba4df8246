"""``duecare passes gates``: which gates may ask the centre."""

from __future__ import annotations

from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, moment, plain, print_json, say
from duecare.cli.passes.centre import done, opened

gates = typer.Typer(help="The gates that may ask, each by a key of its own.", no_args_is_help=True)


@gates.command("list")
def list_gates(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the gates that may ask, and the public key of the centre that they need.

    Example: duecare passes gates list --json
    """
    from duecare.systems.passes import gates as known

    with opened(home) as park:
        key = str(known.centre_key(park).verifier)
        with park.home.database.session() as session:
            found = known.gates(session)
    if as_json:
        rows = [{"name": row.name, "key": row.key, "added_at": row.added_at} for row in found]
        print_json({"key": key, "gates": rows})
        return
    say(f"The centre's key: {plain(key)}")
    if not found:
        say("No gate may ask yet: duecare passes gates add gate.pub.")
    for row in found:
        say(f"{plain(row.name)}  [dim]since {moment(row.added_at)}  {plain(row.key)}[/]")


@gates.command("add")
def add_gate(
    key: Annotated[str, typer.Argument(help="The gate's public key, or the file gate.pub it is in.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a gate ask, by its public key.

    Example: duecare passes gates add gate-east/gate.pub
    """
    from duecare.evidence.checkpoint import given_key
    from duecare.systems.passes import gates as known

    verifier = given_key(key, "Give the gate's public key, or the file it is in, gate.pub in the folder of the gate.")
    with opened(home) as park, park.home.database.session() as session:
        known.add_gate(session, verifier, park.now())
    done({"name": verifier.name, "key": str(verifier)}, f"The gate {plain(verifier.name)} may ask.", as_json)


@gates.command("end")
def end_gate(
    name: Annotated[str, typer.Argument(help="The gate's name.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """A gate may no longer ask.

    Example: duecare passes gates end east
    """
    from duecare.systems.passes import gates as known

    with opened(home) as park, park.home.database.session() as session:
        known.end_gate(session, name, park.now())
    done({"name": name, "ended": True}, f"The gate {plain(name)} may no longer ask.", as_json)
