"""``duecare passes serve`` and ``conflicts``: the centre that gates ask, and what they decided without it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from duecare.cli.output import (
    FOR_EVER,
    HomeOption,
    JsonOption,
    console,
    moment,
    plain,
    print_json,
    print_json_line,
    say,
    table,
)
from duecare.cli.passes.centre import ByOption, opened


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any that is free.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the gates, the pass centre and the holders' pages, until SIGTERM or Ctrl-C.

    Retention, messages and what else is due run by themselves meanwhile. Put a server that speaks TLS in front where
    others are to reach it.

    Example: duecare passes serve --port 8480
    """
    from duecare.systems.passes.gates import centre_key
    from duecare.systems.passes.lacking import lacking
    from duecare.systems.passes.server import serve as run

    with opened(home) as park:
        key = str(centre_key(park).verifier)
        with park.home.database.session() as session:
            gone = sum(each.count for each in lacking(session, park))

        def ready(address: str) -> None:
            if as_json:
                print_json_line({"url": address, "key": key, "missing": gone})
            else:
                say(f"{plain(address)}  {plain(key)}")
                if gone:
                    words = "is one thing that is" if gone == 1 else f"are {gone} things that are"
                    say(f"[yellow]! There {words} missing since a restore[/]: duecare passes missing")
            sys.stdout.flush()

        run(park, host, port, ready)


def conflicts(
    settle: Annotated[int | None, typer.Option("--settle", help="One that was looked at.", show_default=False)] = None,
    note: Annotated[str, typer.Option("--note", help=f"What was found; {FOR_EVER}")] = "",
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what gates decided alone and a person has to look at, or settle one. Exit code 1 while any is open.

    Example: duecare passes conflicts --settle 1 --note "it was her; she had found the card"
    """
    from duecare.systems.passes import entries

    with opened(home) as park, park.home.database.session() as session:
        if settle is not None:
            entries.settle(session, settle, by=by, note=note, at=park.now())
        open_ones = entries.conflicts(session)
    if as_json:
        print_json(
            [
                {"id": row.id, "gate": row.gate, "kind": row.kind, "at": row.at, "subject": row.subject}
                for row in open_ones
            ]
        )
    elif open_ones:
        rows = table("", "gate", "what", "when", "holder")
        for row in open_ones:
            rows.add_row(str(row.id), plain(row.gate), row.kind, moment(row.at), plain(row.subject or ""))
        console.print(rows)
    else:
        say("No conflict is open.")
    if open_ones:
        raise typer.Exit(1)
