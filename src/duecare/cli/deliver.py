"""``duecare deliver``: send what is owed; list what failed."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from duecare.cli.output import HomeOption, JsonOption, console, errors, moment, plain, print_json, say, table
from duecare.settings import load
from duecare.store.home import Home


def deliver(
    failed: Annotated[bool, typer.Option("--failed", help="List what was given up instead of sending.")] = False,
    retrying: Annotated[
        bool, typer.Option("--retrying", help="List what failed and is to be tried again instead of sending.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compose the digests that are due and send all that is due by every channel that is configured.

    Several may run at once; each delivery is sent by one of them. Exit code 1 if something was given up.

    Example: DUECARE_SMTP_URL=smtp://localhost:25 duecare deliver
    """
    with Home(load(home=home)) as opened:
        if failed or retrying:
            _list(opened, as_json, over=failed)
            return
        from duecare.evidence.outbox import keep_up
        from duecare.radar.delivery import deliver as run

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=errors, transient=True) as progress:
            task = progress.add_task("sending", total=None)
            report = run(opened, progress=lambda done, due: progress.update(task, completed=done, total=due))
        keep_up(opened.database, opened.path)
    if as_json:
        print_json(report.as_json())
    else:
        say(f"Digests composed {report.digests} · sent {report.sent} · to try again {report.retried}")
        if report.retried:
            say("[dim]Why, and when: duecare deliver --retrying[/]")
        if report.cancelled:
            say(f"Cancelled, the address has ended or the member has left: {report.cancelled}")
        for channel, (count, missing) in report.waiting.items():
            say(f"[yellow]! {count} wait for {plain(channel)}[/]: {plain(missing)}")
        if report.given_up:
            say(f"[red]! given up: {report.given_up}[/]. To see them: [bold]duecare deliver --failed[/].")
    if report.given_up:
        raise typer.Exit(1)


def _list(home: Home, as_json: bool, *, over: bool) -> None:
    """What was given up (``over``), or what is to be tried again."""
    from duecare.radar.failures import failures

    with home.database.session() as session:
        found = failures(session, over=over)
    if as_json:
        print_json([one.__dict__ for one in found])
        return
    if not found:
        say("Nothing was given up." if over else "Nothing waits for another try.")
        return
    when = () if over else ("again at",)
    rows = table("delivery", "member", "channel", "what", "attempts", "first tried", *when, "why", text=("what", "why"))
    for one in found:
        rows.add_row(
            one.delivery_id,
            plain(one.member),
            one.channel,
            plain(one.what),
            str(one.attempts),
            moment(one.since),
            *(() if over else (moment(one.next_at),)),
            plain(one.error),
        )
    console.print(rows)
