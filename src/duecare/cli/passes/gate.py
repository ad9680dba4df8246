"""``duecare passes gate``: a gate's own program. It runs at the gate, and needs no home.

The rule of this module: a gate has a folder of its own and never looks into a home.
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.files import read_bytes
from duecare.cli.output import JsonOption, moment, plain, print_json, print_json_line, say
from duecare.cli.passes.centre import count
from duecare.errors import BadInput, DuecareError

if TYPE_CHECKING:
    from duecare.systems.passes.device import Gate
    from duecare.systems.passes.wire import Answer

gate = typer.Typer(help="Be a gate: ask the centre, or decide by the signed list while it cannot be reached.",
                   no_args_is_help=True)  # fmt: skip

DirOption = Annotated[Path, typer.Option("--dir", help="The folder of the gate: its key, its list, its journal.")]


@gate.command()
def make(
    directory: DirOption,
    name: Annotated[str, typer.Option("--name", help="The gate's name, such as east.")],
    centre: Annotated[str, typer.Option("--centre", help="Address of the centre.")],
    key: Annotated[str, typer.Option("--key", help="The centre's public key, or the file it is in (keys/gates.pub).")],
    as_json: JsonOption = False,
) -> None:
    """Make a gate with a key of its own, and print its public key, by which the centre is to know it.

    Example: duecare passes gate make --dir gate-east --name east --centre http://127.0.0.1:8480 --key gates.pub
    """
    from duecare.evidence.checkpoint import given_key
    from duecare.systems.passes.device import Gate

    trusted = given_key(key, "Give the centre's public key, or the file it is in, keys/gates.pub in its home.")
    with Gate.make(directory, name, centre, str(trusted)) as made:
        said = {"key": str(made.key), "file": str(directory / "gate.pub")}
    if as_json:
        print_json(said)
    else:
        say(plain(said["key"]))


@gate.command()
def enter(
    directory: DirOption,
    card: Annotated[Path, typer.Option("--card", help="File with the card's number, - for standard input.")],
    id_number: Annotated[
        Path | None, typer.Option("--id-number", help="File with the number of the ID card shown.", show_default=False)
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="The template that the sensor made.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let somebody in, or not: what they show is a card, and an ID card or a template. Exit code 1: it stays shut.

    Example: duecare passes gate enter --dir gate-east --card card.txt --id-number id.txt
    """
    from duecare.systems.passes.device import Gate, Presentation

    shown = Presentation(_text(card), _text(id_number) if id_number else "", read_bytes(template) if template else b"")
    with Gate(directory) as opened:
        answer = opened.enter(shown)
    if as_json:
        print_json(answer.as_json())
    else:
        say("[green]开 open[/]" if answer.open else "[red]关 shut[/]")
        for word in answer.words:
            say(f"  {plain(word.zh)}\n  {plain(word.en)}  [dim]{word.id}[/]")
    if not answer.open:
        raise typer.Exit(1)


@gate.command()
def run(directory: DirOption, as_json: JsonOption = False) -> None:
    """Be the gate: a line of JSON in for each who stands there, a line of JSON out for each answer, until the end.

    A line in is {"card": "…"} with "id_number" or "template" (base64) beside it; it comes from the card reader, the
    ID-card reader or the sensor. The list is fetched whenever it is five minutes old.

    Example: reader | duecare passes gate run --dir gate-east
    """
    from duecare.systems.passes.device import REFRESH, Gate

    del as_json  # what it prints is JSON anyway
    with Gate(directory) as opened:
        synced = 0.0
        for line in sys.stdin:
            if time.monotonic() - synced > REFRESH.total_seconds():
                synced = time.monotonic()
                _try_to_sync(opened)
            print_json_line(_answered(opened, line).as_json())
            sys.stdout.flush()


@gate.command()
def sync(directory: DirOption, as_json: JsonOption = False) -> None:
    """Hand over what was decided alone, and fetch the list. Exit code 1 where the centre cannot be reached.

    Example: duecare passes gate sync --dir gate-east
    """
    from duecare.systems.passes.device import Gate

    with Gate(directory) as opened:
        done = opened.sync()
    if as_json:
        print_json(vars(done))
    else:
        say(
            f"Handed over {done.taken}, {done.conflicts} for a person to look at; "
            f"{count(done.cards, 'card')} on the list."
        )
        if done.refused:
            say(f"{count(done.refused, 'decision')} not taken by the centre, and put aside: {_aside(directory)}.")


@gate.command()
def show(directory: DirOption, as_json: JsonOption = False) -> None:
    """Show the gate's key, its list, and what it decided alone and has not handed over.

    Example: duecare passes gate show --dir gate-east
    """
    from duecare.systems.passes.device import Gate

    with Gate(directory) as opened:
        head, waiting, refused = opened.list(), opened.journal(), opened.refused()
        said = {
            "name": opened.name,
            "key": str(opened.key),
            "centre": opened.centre,
            "list": {"issued": head.issued, "expires": head.expires, "cards": head.cards} if head else None,
            "waiting": [each.as_json() for each in waiting],
            "refused": [each.as_json() for each in refused],
        }
    if as_json:
        print_json(said)
        return
    say(f"{plain(opened.name)}  {plain(opened.key)}  [dim]{plain(opened.centre)}[/]")
    if head:
        say(f"{count(head.cards, 'card')} on the list of {moment(head.issued)}, good until {moment(head.expires)}")
    else:
        say("There is no list yet.")
    say(f"{len(waiting)} {'decision waits' if len(waiting) == 1 else 'decisions wait'} to be handed over.")
    if refused:
        say(f"{count(len(refused), 'decision')} not taken by the centre, and put aside: {_aside(directory)}.")


@gate.command()
def sensor(
    person: Annotated[str, typer.Argument(help="An invented person.")],
    out: Annotated[Path, typer.Option("--out", help="File to write the template to.")],
    kind: Annotated[str, typer.Option("--kind", help="fingerprint or face.")] = "fingerprint",
    reading: Annotated[int, typer.Option("--reading", min=0, help="Which reading of the person.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a template of an invented person, for a trial without a device.

    Example: duecare passes gate sensor alice --kind face --out alice.template
    """
    from duecare.systems.passes.matching import KINDS
    from duecare.systems.passes.sensor import Sensor

    if kind not in KINDS:
        raise BadInput(f"{kind!r} is not a kind of template.", hint=f"Kinds: {', '.join(KINDS)}.")
    data = Sensor(KINDS[kind]).read(person, reading).data()
    try:
        out.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}.", hint="Name a file with --out.") from None
    if as_json:
        print_json({"file": str(out), "kind": kind, "bytes": len(data)})
    else:
        say(f"{plain(out)}: {len(data)} bytes")


def _aside(directory: Path) -> str:
    return plain(str(directory / "refused.jsonl"))


def _try_to_sync(opened: Gate) -> None:
    try:
        opened.sync()
    except DuecareError:
        return  # it decides by the list it holds, and tries again


def _answered(opened: Gate, line: str) -> Answer:
    from duecare.systems.passes.device import Presentation

    try:
        said = json.loads(line)
        template = b64decode(said.get("template", ""), validate=True)
        shown = Presentation(str(said.get("card", "")), str(said.get("id_number", "")), template)
    except (ValueError, AttributeError, TypeError):
        shown = Presentation("")
    return opened.enter(shown)


def _text(path: Path) -> str:
    return read_bytes(path).decode("utf-8", "replace").strip()
