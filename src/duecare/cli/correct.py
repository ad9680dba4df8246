"""``duecare correct``: notices of error, what is decided of them, and alerts that are taken back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import typer

from duecare.cli.output import (
    FOR_EVER,
    HomeOption,
    JsonOption,
    console,
    filled,
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


def correct(
    entity: Annotated[str, typer.Argument(metavar="CODE", help="The company.", show_default=False)] = "",
    section: Annotated[
        str, typer.Option(help="The section that is wrong, such as liquidation.", show_default=False)
    ] = "",
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this fact of it. With --decide: a fact that was wrong; repeat for more.",
            show_default=False,
            callback=filled,
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The source that says it.", show_default=False, callback=filled)
    ] = None,
    statement: Annotated[str, typer.Option(help="What is wrong with it.", show_default=False)] = "",
    claimant: Annotated[str, typer.Option(help="Who says so.", show_default=False)] = "",
    listing: Annotated[bool, typer.Option("--list", help="List the notices.")] = False,
    decide: Annotated[
        int | None, typer.Option(metavar="NOTICE", help="Decide this notice.", show_default=False)
    ] = None,
    outcome: Annotated[str, typer.Option(help="upheld or refused.", show_default=False)] = "",
    alerts: Annotated[
        list[int] | None,
        typer.Option("--alert", help="Upheld, take back only this alert; repeat for more.", show_default=False),
    ] = None,
    retract: Annotated[
        int | None, typer.Option(metavar="ALERT", help="Take this alert back without a notice.", show_default=False)
    ] = None,
    by: Annotated[str, typer.Option(help="Who decides.", show_default=False)] = "",
    reason: Annotated[str, typer.Option(help=f"Why; recipients are told it, and {FOR_EVER}", show_default=False)] = "",
    reason_en: Annotated[str, typer.Option(help="The same for those who read English.", show_default=False)] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """File a notice of error, decide one, or take an alert back.

    The fact is disputed at once. Upheld, the alerts of it are corrected to exactly those who were told, through the
    channels that told them: all of them, or those named with --alert where earlier ones were right. Changes that nobody
    was told of yet wait; upheld, those that were known when the notice was filed are refused. Where a notice is about
    several facts, --key names those that were wrong, and the others go on.

    Example: duecare correct 91500000MA5U00002X --section liquidation --statement "我司正常经营"

    Example: duecare correct --decide 1 --outcome upheld --by zhang --reason "官方页面没有清算信息"
    """
    asked = [name for name, given in (("--list", listing), ("--decide", decide), ("--retract", retract)) if given]
    keys = key or []
    if alerts and decide is None:
        raise BadInput("--alert goes with --decide.", hint="--retract ALERT takes one back without a notice.")
    if keys and (listing or retract is not None):
        raise BadInput("--key goes with a company or with --decide.", hint="`duecare correct --list` shows the keys.")
    if len(asked) + bool(entity) != 1:
        raise BadInput(
            f"Given: {', '.join([*asked, *([entity] if entity else [])]) or 'nothing'}.",
            hint="Give a company with --section and --statement, or one of --list, --decide and --retract.",
        )
    with Home(load(home=home)) as opened:
        if listing:
            _list(opened, as_json)
        elif decide is not None:
            _decide(opened, decide, outcome, by, reason, reason_en, alerts or (), keys, as_json)
        elif retract is not None:
            _retract(opened, retract, by, reason, reason_en, as_json)
        else:
            if not section:
                raise BadInput("--section is missing.", hint="Name the section that is wrong, such as liquidation.")
            if len(keys) > 1:
                raise BadInput(
                    "A notice is about one fact, or about all of a section.",
                    hint="File one for each fact, or leave --key out and say with --decide which were wrong.",
                )
            from duecare.radar.notices import open_notice
            from duecare.registers.codes import held_as

            entity = held_as(opened, entity, source)
            number = open_notice(
                opened, entity, section, statement, claimant=claimant, key=keys[0] if keys else "", source=source
            )
            if as_json:
                print_json({"notice": number, "entity": entity, "section": section, "state": "open"})
            else:
                say(f"Notice {number} is open; the fact is marked as disputed (异议处理中).")
                say("`duecare screen` looks it up at the official source; `duecare correct --list` shows what it said.")
                say_if_asleep(opened.path)


def _list(home: Home, as_json: bool) -> None:
    from duecare.radar.notices import listed

    found = listed(home)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No notice of error was filed.")
        return
    language = home.settings.language
    rows = table(
        "notice",
        "company",
        "section",
        "statement",
        "since",
        "state",
        "the source says",
        "changes that wait",
        "reason",
        "what is to be done",
        text=("statement", "the source says", "changes that wait", "reason", "what is to be done"),
    )
    for item in found:
        rows.add_row(
            str(item["id"]),
            plain(item["entity"]),
            plain(item["section"]),
            plain(item["statement"]),
            moment(item["opened_at"]),
            item["state"],
            " ".join([item["verification"], *(plain(point[language]) for point in item["contradictions"])]),
            plain(_waiting(item, language)),
            plain(item["reason"]),
            plain(item[f"next_{language}"]),
        )
    console.print(rows)


def _waiting(item: dict[str, Any], language: str) -> str:
    """How many changes wait because of a notice, of which facts, and how many were found after it was filed."""
    if not item["pending"]:
        return ""
    later = item["pending_later"]
    if language == "zh":
        after, colon, comma = f"（其中 {later} 条在异议提出后发现）", "：", "、"
    else:
        after, colon, comma = f" ({later} found after it was filed)", ": ", ", "
    keys = comma.join(filter(None, item["pending_keys"]))
    return f"{item['pending']}{after if later else ''}{colon if keys else ''}{keys}"


def _decide(
    home: Home,
    notice: int,
    outcome: str,
    by: str,
    reason: str,
    reason_en: str,
    alerts: Collection[int],
    keys: Collection[str],
    as_json: bool,
) -> None:
    from duecare.radar import notices

    done = notices.decide(home, notice, outcome, by=by, reason=reason, reason_en=reason_en, alerts=alerts, keys=keys)
    if as_json:
        print_json(done.as_json())
        return
    say(f"Notice {done.notice} is {done.outcome}.")
    if done.refused:
        what = "change is" if done.refused == 1 else "changes are"
        say(f"{done.refused:,} {what} refused that waited because of it: nobody is told of that.")
    if done.going_on:
        what = "change that waited goes on" if done.going_on == 1 else "changes that waited go on"
        say(f"{done.going_on:,} {what}: `duecare screen` decides anew.")
    for each in done.corrections:
        _say_correction(each)


def _retract(home: Home, alert: int, by: str, reason: str, reason_en: str, as_json: bool) -> None:
    from duecare.radar import corrections

    done = corrections.retract(home, alert, reason, by, reason_en=reason_en)
    if as_json:
        print_json(done.as_json())
    else:
        _say_correction(done)


def _say_correction(done: Any) -> None:
    if done.correction is None:
        say(f"Alert {done.alert} is withdrawn: nobody had been told ({done.cancelled} deliveries cancelled).")
        return
    say(
        f"Alert {done.alert} is corrected by alert {done.correction}: {done.recipients} will hear it, "
        f"{done.cancelled} had not been told and will not be. `duecare deliver` sends it."
    )
    if done.waiting:
        say(
            f"{done.waiting} of them are just being written to: they hear it only if the alert reaches them. "
            "`duecare deliver` settles it."
        )
    if done.rerouted:
        members = ", ".join(map(str, done.rerouted))
        say(f"[yellow]! The address has ended; the correction is in the message centre[/] of member {members}.")
    if done.left:
        say(f"[yellow]! {done.left} of those who were told have left[/], and nobody knows any more who they were.")
