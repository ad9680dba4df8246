"""``duecare screen``: screen what is new, verify what waits, and decide what is held."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from duecare.cli.output import (
    FOR_EVER,
    HomeOption,
    JsonOption,
    console,
    dated,
    errors,
    filled,
    in_short,
    moment,
    plain,
    print_json,
    say,
    say_if_asleep,
    table,
)
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home

screen = typer.Typer()

TargetArgument = Annotated[
    str, typer.Argument(metavar="HOLD|BATCH", help="A hold's number, or a batch's name.", callback=filled)
]
ByOption = Annotated[str, typer.Option("--by", help="Who decides.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help=f"Why; {FOR_EVER}", show_default=False)]
EntityOption = Annotated[
    list[str] | None,
    typer.Option("--entity", help="Only this company; repeat for more.", show_default=False, callback=filled),
]
ChangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--change",
        help="Only this change, by id or its beginning; repeat for more.",
        show_default=False,
        callback=filled,
    ),
]
DatedOption = Annotated[bool, typer.Option("--dated", help="Only what the register dates.")]
UndatedOption = Annotated[bool, typer.Option("--undated", help="Only what the register does not date.")]


@screen.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    site: Annotated[
        list[str] | None,
        typer.Option(help="SOURCE=ADDRESS: where pages are looked up anew.", show_default=False),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Screen every batch not screened yet, look up at the official source what is due, and raise the alerts.

    First observations are never told; what is out of line with its own history is held; what is sensitive is verified.

    Example: duecare screen --site cn-national-register=http://127.0.0.1:8080
    """
    if context.invoked_subcommand is not None:
        return
    from duecare.radar.walk import walk
    from duecare.rules.engine import Engine

    with Home(load(home=home)) as opened, _bar("screening") as progress:
        sites = {**opened.settings.sites, **_sites(opened, site or [])}
        walked = walk(opened, Engine.load(opened.settings.policies), sites=sites, progress=progress)
        folder = opened.path
    if as_json:
        print_json(walked.as_json())
        return
    for outcome in walked.screened:
        counts = " · ".join(f"{_WORDS[state]} {number:,}" for state, number in sorted(outcome.counts.items()))
        say(f"[bold]{outcome.batch[:8]}[/] {plain(outcome.source)}: {counts or 'no changes'}")
    looked = sum(walked.verified.outcomes.values())
    found = ", ".join(f"{number:,} {name}" for name, number in sorted(walked.verified.outcomes.items()))
    say(f"Batches screened {len(walked.screened)} · looked up {looked:,}{f' ({found})' if found else ''}")
    say(f"Alerts {walked.raised.alerts:,} · deliveries owed {walked.raised.deliveries:,}")
    if walked.verified.outcomes.get("unavailable") or walked.looked_up:
        say_if_asleep(folder)
    holds = sum(len(outcome.holds) for outcome in walked.screened)
    if holds:
        say(f"[yellow]! {holds} held[/]. To see them: [bold]duecare screen list[/].")


@screen.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List what waits for a person: holds out of line with their history, batches that covered too little, notices of
    error that were looked up, or that only a person can look up, and what the newest crawl of a source could not read.

    Example: duecare screen list --json
    """
    from duecare.radar import holds, notices
    from duecare.registers.catalogue import unreadable

    with Home(load(home=home)) as opened:
        found, objected, language = holds.waiting(opened), notices.tasks(opened), opened.settings.language
        lost = unreadable(opened)
    if as_json:
        print_json([*found, *({"what": "notice", **each} for each in objected), *lost])
        return
    for each in lost:
        counts = [f"{section} of {number:,} companies" for section, number in each["sections"].items()]
        what = ", ".join([f"{each['pages']:,} whole pages", *counts] if each["pages"] else counts)
        say(
            f"[yellow]![/] Unreadable in the newest crawl of {plain(each['source'])} ({moment(each['observed_at'])}, "
            f"batch {each['batch'][:8]}): {plain(what)}. What was known of it stands."
        )
    for each in objected:
        what = f"{plain(each['entity'])} {plain(each['section'])}"
        say(f"[yellow]![/] Notice of error {each['id']}, {what}: {plain(each[f'next_{language}'])}")
    if not found:
        say("Nothing is held.")
        return
    rows = table("hold", "source", "what", "held", "expected", "likelihood", "since", text=("what",))
    for item in found:
        if item["what"] == "hold":
            rows.add_row(
                str(item["id"]),
                plain(item["source"]),
                f"{plain(item['section'])} {item['kind']}",
                f"{item['left']:,} of {item['observed']:,}" if item["state"] == "partly" else f"{item['observed']:,}",
                _band(item),
                _tail(item["tail"]),
                moment(item["opened_at"]),
            )
        else:
            rows.add_row(
                item["id"][:8], plain(item["source"]), plain(item["why"]), "", "", "", moment(item["opened_at"])
            )
    console.print(rows)


@screen.command()
def show(hold: Annotated[int, typer.Argument(help="The hold's number.")], home: HomeOption = None,
         as_json: JsonOption = False) -> None:  # fmt: skip
    """Show a hold: its history, the expected band, and twenty samples.

    Example: duecare screen show 1
    """
    from duecare.radar import holds

    with Home(load(home=home)) as opened:
        found, language = holds.show(opened, hold), opened.settings.language
    if as_json:
        print_json(found)
        return
    say(f"[bold]Hold {found['id']}[/] · {plain(found['source'])} · {plain(found['section'])} · {found['kind']}")
    say(f"Observed {found['observed']:,}, expected {_band(found)}: likelihood {_tail(found['tail'])}")
    if found["decided_by"]:
        say(f"{found['state']} by {plain(found['decided_by'])}: {plain(found['reason'])}; {found['left']:,} still held")
    _picture([item["changes"] for item in found["history"]], found["observed"], found["high"])
    for reason in found["reasons"]:
        say(f"  {plain(reason[language])} [dim]{plain(reason['id'])}[/]")
    if not found["states"]:
        say("None of these can be told, whatever is decided: the rules never allow it.")
    rows = table("change", "company", "key", "before", "after", "register's date", text=("key", "before", "after"))
    for item in found["samples"]:
        rows.add_row(
            item["id"][:8],
            plain(item["entity"]),
            plain(_key(item["key"], language)),
            plain(_said(item["before"], language)),
            plain(_said(item["after"], language)),
            dated(item["effective_on"], language),
        )
    console.print(rows)


@screen.command()
def release(
    target: TargetArgument,
    by: ByOption = "",
    reason: ReasonOption = "",
    entity: EntityOption = None,
    change: ChangeOption = None,
    dated: DatedOption = False,
    undated: UndatedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a hold, or part of it, go on. What is sensitive is still verified before anyone is told.

    Example: duecare screen release 1 --dated --by zhang --reason "the register published a backlog"
    """
    _decide("release", target, by, reason, _part(entity, change, dated, undated), home, as_json)


@screen.command()
def reject(
    target: TargetArgument,
    by: ByOption = "",
    reason: ReasonOption = "",
    entity: EntityOption = None,
    change: ChangeOption = None,
    dated: DatedOption = False,
    undated: UndatedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a hold, or part of it, aside for good: nobody is told of it.

    Example: duecare screen reject 1 --by zhang --reason "the parser's fault"
    """
    _decide("reject", target, by, reason, _part(entity, change, dated, undated), home, as_json)


_NUMBER = re.compile("[0-9]{1,9}")
_WORDS = {"passed": "passed", "verifying": "to verify", "held": "held", "refused": "never told"}


def _decide(verb: str, target: str, by: str, reason: str, part: Any, home: Any, as_json: bool) -> None:
    from duecare.radar import holds
    from duecare.registers.batches import find
    from duecare.registers.codes import held_as
    from duecare.rules.engine import Engine

    with Home(load(home=home)) as opened:
        part = replace(part, entities=tuple(held_as(opened, each) for each in part.entities))
        # A batch's name is hexadecimal and may begin with digits alone: what is no hold may be one.
        numbers = [int(target)] if _NUMBER.fullmatch(target) and holds.is_hold(opened, int(target)) else []
        if not numbers:
            with opened.database.session() as session:
                batch = find(session, target)
            if batch.state == "held":
                _decide_batch(opened, verb, batch.id, by, reason, part, as_json)
                return
            numbers = holds.of_batch(opened, batch.id)
            if not numbers:
                raise BadInput(f"Nothing of batch {batch.id} is held.", hint="`duecare screen list` shows what is.")
        engine = Engine.load(opened.settings.policies)
        word = "released" if verb == "release" else "rejected"
        done = holds.decide(opened, engine, numbers, word, by=by, reason=reason, part=part)
    if as_json:
        print_json([each.as_json() for each in done])
        return
    for each in done:
        counts = " · ".join(f"{_WORDS[state]} {number:,}" for state, number in sorted(each.changes.items()))
        say(f"Hold {each.hold} {each.state}: {counts or 'nothing of it can be told'}; {each.left:,} still held")


def _decide_batch(home: Home, verb: str, batch: str, by: str, reason: str, part: Any, as_json: bool) -> None:
    """A batch that covered too little is applied whole or not at all."""
    from duecare.radar.deciders import must_be_named
    from duecare.registers import ingest

    must_be_named(by, reason)
    if not part.everything:
        raise BadInput(f"Batch {batch} is applied whole or not at all.", hint="Give no part of it.")
    if verb == "release":
        outcome = ingest.release(home, batch, by, reason).as_json()
    else:
        ingest.reject(home, batch, by, reason)
        outcome = {"batch": batch, "state": "rejected"}
    if as_json:
        print_json(outcome)
    else:
        say(f"Batch {batch[:8]} is {outcome['state']}.")


def _part(entity: list[str] | None, change: list[str] | None, dated: bool, undated: bool) -> Any:
    from duecare.radar.holds import Selection

    if dated and undated:
        raise BadInput("--dated and --undated are both given.", hint="Give one of them, or none for all.")
    return Selection(tuple(entity or ()), tuple(change or ()), dated if dated or undated else None)


def _sites(home: Home, given: list[str]) -> dict[str, str]:
    from duecare.registers.catalogue import adapter_for

    found = {}
    for each in given:
        source, equals, address = each.partition("=")
        if not (source and equals and address.startswith(("http://", "https://"))):
            raise BadInput(f"--site {each!r} is not SOURCE=ADDRESS.", hint="Write cn-national-register=http://….")
        adapter_for(home, source)  # of a name that is misspelt nothing would ever be looked up
        found[source] = address
    return found


def _said(value: str | None, language: str) -> str:
    """A fact's fields, as a person reads them."""
    return " · ".join(in_short(str(field), language) for field in json.loads(value).values()) if value else ""


def _key(key: str, language: str) -> str:
    """What tells an entry from others of its section; it is a list of fields where no one field does."""
    parts = map(str, json.loads(key)) if key.startswith("[") else [key]
    return " · ".join(in_short(part, language) for part in parts)


def _band(item: dict[str, Any]) -> str:
    return f"{item['expected']:,.0f} ({item['low']:,.0f} to {item['high']:,.0f})"


def _tail(tail: float) -> str:
    return "under 1e-300" if tail <= 1e-300 else f"{tail:.1e}"


def _picture(history: list[int], observed: int, high: float) -> None:
    """The counts of the accepted batches, oldest first, and this one, as bars on one scale."""
    most = max(observed, int(high), *history, 1)
    for name, number in [*((f"-{len(history) - at}", number) for at, number in enumerate(history)), ("now", observed)]:
        bar = "█" * round(40 * number / most) or ("▏" if number else "")
        colour = "red" if number > high else "cyan"
        say(f"{name:>4} [{colour}]{bar:<40}[/] {number:,}")


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
