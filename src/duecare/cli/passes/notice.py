"""``duecare passes publish``, ``answer``, ``answers``, ``end`` and ``send``: the notice and its changes."""

from __future__ import annotations

from typing import Annotated

import typer

from duecare.cli.output import FOR_EVER, HomeOption, JsonOption, console, plain, print_json, say, table
from duecare.cli.passes.centre import SCREEN, SubjectArgument, count, done, opened, owed
from duecare.errors import BadInput


def publish(
    way: Annotated[list[str], typer.Option("--way", help="A way in: card_id_card, card_fingerprint, card_face.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the pass on sale with these ways in, under a notice that speaks of them; tickets too.

    Where a notice is in force, it is its next version: holders are told, and bound only if they accept. Biometrics are
    never the only way.

    Example: duecare passes publish --way card_id_card --way card_fingerprint
    """
    from duecare.systems.passes import changes

    with opened(home) as park:
        changed = changes.publish(park, way)
        changes.open_tickets(park)
        language = park.home.settings.language
    if as_json:
        difference = changed.difference.as_json() if changed.difference else None
        print_json({"version": changed.number, "messages": changed.told, "difference": difference})
        return
    say(f"Version {changed.number} of the notice is in force; {owed(changed.told)}.")
    if changed.difference:
        say(plain(changed.difference.text(language)))


def answer(
    subject: SubjectArgument,
    version: Annotated[int, typer.Argument(help="The version of the notice.")],
    accept: Annotated[bool, typer.Option("--accept", help="The holder accepts it.")] = False,
    decline: Annotated[bool, typer.Option("--decline", help="The holder declines it.")] = False,
    how: Annotated[str, typer.Option("--how", help=f"How they said it; {FOR_EVER}")] = "at the counter",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what a holder answers to a version of the notice. Silence is no answer.

    Example: duecare passes answer 3c2d86b824444c2cff36b859f0b09aba 2 --decline --how "by telephone"
    """
    from duecare.systems.passes import changes

    if accept is decline:
        raise BadInput("It is not clear what the holder said.", hint="Give --accept or --decline, one of the two.")
    with opened(home) as park:
        changes.answer(park, subject, version, accepted=accept, how=how, screen=SCREEN)
    said = {"subject": subject, "version": version, "accepted": accept}
    done(said, f"Version {version} was {'accepted' if accept else 'declined'}.", as_json)


def answers(
    version: Annotated[int, typer.Argument(help="The version of the notice.")],
    remind: Annotated[bool, typer.Option("--remind", help="Tell those who have not answered once more.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many holders accepted a version of the notice, declined it, or said nothing.

    Example: duecare passes answers 2 --remind
    """
    from duecare.systems.passes import changes

    with opened(home) as park:
        told = changes.remind(park, version) if remind else 0
        with park.home.database.session() as session:
            said = changes.answers(session, park, version)
    if as_json:
        print_json({**vars(said), "reminded": told})
        return
    rows = table("接受 accepted", "拒绝 declined", "未答复 silent")
    rows.add_row(str(len(said.accepted)), str(len(said.declined)), str(len(said.silent)))
    console.print(rows)
    if remind:
        say(f"{owed(told).capitalize()}.")


def end(
    way: Annotated[str, typer.Argument(help="card_fingerprint or card_face.")],
    note: Annotated[str, typer.Option("--note", help=f"Why; {FOR_EVER}")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A way in ends for good: what was held for it alone is erased of everybody, and they are told.

    Example: duecare passes end card_fingerprint --note "fingerprint gates stopped"
    """
    from duecare.systems.passes import changes

    with opened(home) as park:
        ended = changes.end_method(park, way, note=note)
    said = f"Erased of {count(ended.erased, 'person', 'people')}; {owed(ended.told)}. They enter with card and ID card."
    done(vars(ended), said, as_json)


def send(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Send the messages that are owed. Exit code 1 if something was given up.

    Example: DUECARE_SMS_URL=http://localhost:8080 duecare passes send
    """
    from duecare.systems.passes import messages

    with opened(home) as park:
        sent = messages.send(park)
    if as_json:
        print_json({**vars(sent), "waiting": dict(sent.waiting)})
    else:
        say(f"Sent {sent.sent} · to try again {sent.retried}")
        for channel, missing in sent.waiting:
            say(f"[yellow]! messages wait for {plain(channel)}[/]: {plain(missing)}")
        if sent.given_up:
            say(f"[red]! given up: {sent.given_up}[/]")
    if sent.given_up:
        raise typer.Exit(1)
