"""``duecare digest``: compose the daily digests that are due and show them."""

from __future__ import annotations

from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, plain, print_json, say
from duecare.clock import BEIJING, end_of_day, parse_day
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home


def digest(
    member: Annotated[str | None, typer.Option(help="Only of this member; the digest is then shown whole.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="DATE", help="Show those of this day; compose none after its end in Beijing.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compose the digests that are due at their members' hours and show them; ``duecare deliver`` sends them.

    Example: duecare digest --member alice --at 2019-05-06
    """
    from duecare.radar.digests import compose_due, digests
    from duecare.radar.reader import Lexicon
    from duecare.radar.watches import find_member

    day = parse_day(at) if at is not None else None
    with Home(load(home=home)) as opened:
        now = opened.clock.now()
        if day is not None and day > now.astimezone(BEIJING).date():
            raise BadInput(f"{day} is still to come.", hint="Give a day up to today, or none for what is due now.")
        with opened.database.session() as session:
            if member is not None:
                find_member(session, member)
        composed = compose_due(
            opened, Lexicon.of(opened), now=now if day is None else min(now, end_of_day(day)), member=member
        )
        with opened.database.session() as session:
            found = digests(session, day=day, member=member)
    if day is None and found:
        found = [one for one in found if one[0].created_at >= now] or found[:1]
    if as_json:
        print_json(
            [
                {
                    "member": name,
                    "channel": channel,
                    "day": one.day,
                    "zone": one.zone,
                    "subject": one.subject,
                    "counts": one.counts,
                    "text": one.body_text,
                }
                for one, name, channel in found
            ]
        )
        return
    if not found:
        say("No digest: nothing was found for anyone since the last, or it is not yet their hour.")
        return
    say(f"Composed {composed} now.")
    for one, name, channel in found:
        say(f"[bold]{plain(name)}[/] by {channel}: {plain(one.subject)}")
    if member is not None:
        say(f"\n{plain(found[0][0].body_text)}")
