"""``duecare witness``: be an independent witness of other people's logs.

The rule of this module: a witness has a folder of its own and never looks into a home.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from duecare.cli.output import JsonOption, console, moment, plain, print_json, print_json_line, say, table
from duecare.errors import BadInput
from duecare.evidence.checkpoint import Checkpoint, Note, given_key
from duecare.evidence.witness import Known, Witness

app = typer.Typer(
    help="Witness the logs of others: cosign only what was seen to grow (独立见证方).", no_args_is_help=True
)

_LOG_HINT = "Give the log's public key, or the file it is in, keys/log.pub in the home of its keeper."

DirOption = Annotated[Path, typer.Option("--dir", help="The folder of the witness: its key, and what it saw.")]


@app.command()
def init(
    directory: DirOption,
    name: Annotated[
        str,
        typer.Option("--name", help="Name of the key, such as witness.example/w1.", show_default="a random one"),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a witness and its key in a folder, and print its public key. One that is there already is kept.

    Example: duecare witness init --dir witness --name witness.example/w1
    """
    witness = Witness.make(directory, name)
    if name and witness.key.name != name:
        raise BadInput(
            f"{directory} holds the witness {witness.key.name}, not {name}.", hint="Make another in another folder."
        )
    if as_json:
        print_json({"key": str(witness.key), "file": str(directory / "witness.pub")})
    else:
        say(plain(witness.key))
    witness.close()


@app.command()
def trust(
    directory: DirOption,
    keys: Annotated[
        list[str], typer.Argument(metavar="LOGKEY...", help="The log's public key, or the file log.pub it is in.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Know a log by its public key, so that its checkpoints can be cosigned.

    Example: duecare witness trust --dir witness ~/.duecare/keys/log.pub
    """
    logs = [given_key(text, _LOG_HINT) for text in keys]
    witness = Witness.at(directory)
    added = [(key, witness.trust(key)) for key in logs]
    witness.close()
    if as_json:
        print_json([{"origin": key.name, "key": str(key), "new": new} for key, new in added])
        return
    for key, new in added:
        say(f"{plain(key.name)}  [dim]{'known from now on' if new else 'known already'}[/]")


@app.command()
def show(directory: DirOption, as_json: JsonOption = False) -> None:
    """Print the witness's public key, and what it cosigned last of each log it knows.

    Exit code 1 if a log signed two different states of one size.

    Example: duecare witness show --dir witness
    """
    witness = Witness.at(directory)
    key, logs = witness.key, witness.logs()
    witness.close()
    if as_json:
        print_json({"key": str(key), "logs": [_document(log) for log in logs]})
    else:
        _print(key, logs)
    if any(log.contradictions for log in logs):
        raise typer.Exit(1)


@app.command()
def serve(
    directory: DirOption,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any that is free.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Answer the logs that ask for a cosignature (C2SP tlog-witness), until SIGTERM or Ctrl-C.

    The protocol asks nobody who he is; put a server that speaks TLS in front where others are to reach it.

    Example: duecare witness serve --dir witness --port 8470
    """
    from duecare.evidence.witness_server import serve as run

    witness = Witness.at(directory)

    def ready(address: str) -> None:
        if as_json:
            print_json_line({"url": address, "key": str(witness.key)})
        else:
            say(f"{plain(address)}  {plain(witness.key)}")
        console.file.flush()

    run(witness, host, port, ready)
    witness.close()


def _document(log: Known) -> dict[str, Any]:
    root = Checkpoint.parse(Note.parse(log.note.encode()).text).root.hex() if log.note else None
    return {
        "origin": log.origin,
        "keys": [str(key) for key in log.keys],
        "size": log.size,
        "root": root,
        "at": log.at,
        "checkpoint": log.note or None,
        "contradictions": list(log.contradictions),
    }


def _print(key: object, logs: list[Known]) -> None:
    say(plain(key))
    if not logs:
        say("No log is known yet. To know one: [bold]duecare witness trust[/].")
        return
    rows = table("log", "cosigned up to", "at", "")
    for log in logs:
        odd = f"[bold red]signed {len(log.contradictions) + 1} states of this size[/]" if log.contradictions else ""
        rows.add_row(plain(log.origin), str(log.size) if log.at else "never", moment(log.at), odd)
    console.print(rows)
