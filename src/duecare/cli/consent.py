"""``duecare consent``: what a person agreed to, what stands, what stood, and how it ended.

The rule of this module: it shows what was kept, and decides nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from duecare.cli.output import HomeOption, JsonOption, filled, moment, plain, print_json, say
from duecare.clock import BEIJING, parse_moment
from duecare.consent.grants import Event, Grant, history
from duecare.consent.notices import binding
from duecare.consent.purposes import Purpose
from duecare.consent.purposes import purpose as declared
from duecare.consent.subjects import subject as person
from duecare.settings import load
from duecare.store.home import Home

consent = typer.Typer(help="What people agreed to, and what of it stands.", no_args_is_help=True)

_ANSWERED = {"accept": ("接受告知书", "accepted the notice"), "decline": ("拒绝告知书", "declined the notice")}
_ENDED = {
    "withdrawal": ("撤回同意", "withdrawn"),
    "purpose_ended": ("目的终止", "its purpose ended"),
    "expired": ("保存期限届满", "expired"),
    "request": ("本人请求", "at the person's request"),
    "superseded": ("由新的同意代替", "replaced by a newer grant"),
}


@consent.callback()
def _consent() -> None:
    """Keep the subcommand even while there is only one."""


@consent.command()
def show(
    subject: Annotated[str, typer.Argument(help="The person, by the name of 32 hex digits under which we know them.")],
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="What stood when this day ended in Beijing, or at this ISO 8601 time.",
            show_default=False,
            callback=filled,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a person's grants: what stands, what stood, when and how each was given and ended, and by which screen.

    With ``--at``, as it was at that moment: nothing that came later is shown.

    Example: duecare consent show 3c2d86b824444c2cff36b859f0b09aba --at 2019-10-17
    """
    then = parse_moment(at, to_the_end=True) if at else None
    with Home(load(home=home)) as opened:
        found = _look_up(opened, subject, then)
        if as_json:
            print_json(found)
        else:
            _print(found, zh=opened.settings.language == "zh")


def _look_up(home: Home, name: str, at: datetime | None) -> dict[str, Any]:
    with home.database.session() as session:
        known = person(session, name)
        events = [each for each in history(session, name) if at is None or each.at <= at]
        given = [each.grant for each in events if each.kind == "give" and each.grant is not None]
        answered = {each.about for each in events if each.kind in _ANSWERED}
        notices = sorted(answered | {each.notice for each in given})
        return {
            "subject": known.id,
            "since": known.created_at,
            "at": at,
            "grants": [
                _grant_json(each, declared(session, each.purpose, number=each.purpose_version), at) for each in given
            ],
            "bound_by": {each: binding(session, name, each, at) for each in notices},
            "history": [_event_json(each) for each in events],
        }


def _grant_json(each: Grant, purpose: Purpose, at: datetime | None) -> dict[str, Any]:
    over = each.end if each.end is not None and (at is None or each.end.at <= at) else None
    return {
        "grant": each.id,
        "purpose": each.purpose,
        "zh": purpose.zh,
        "en": purpose.en,
        "purpose_version": each.purpose_version,
        "notice": each.notice,
        "notice_version": each.notice_version,
        "stands": over is None,
        "separate": each.separate,
        "given_at": each.given_at,
        "how": each.how,
        "screen": each.screen,
        "end": {"kind": over.kind.value, "at": over.at, "how": over.how, "screen": over.screen, "reason": over.reason}
        if over
        else None,
    }


def _event_json(each: Event) -> dict[str, Any]:
    return {
        "at": each.at,
        "kind": each.kind,
        "about": each.about,
        "version": each.number,
        "grant": each.grant.id if each.grant else None,
        "how": each.how,
        "screen": each.screen,
        "reason": each.reason,
    }


def _print(found: dict[str, Any], *, zh: bool) -> None:
    say(f"\n[bold]{plain(found['subject'])}[/]  [dim]{moment(found['since'])}[/]")
    if found["at"]:
        # With its zone: the other times are Beijing's, and who copies one of them is to see how it was read.
        then = f"{found['at'].astimezone(BEIJING):%Y-%m-%d %H:%M:%S}"
        say(f"  截至北京时间 {then}" if zh else f"  As of {then} in Beijing")
    say()
    if not found["grants"]:
        say(f"  {'没有任何同意' if zh else 'This person has agreed to nothing.'}\n")
    for each in sorted(found["grants"], key=lambda one: not one["stands"]):
        _print_grant(each, zh=zh)
    for each in found["history"]:
        if each["kind"] in _ANSWERED:
            answered = _ANSWERED[each["kind"]][0 if zh else 1]
            _print_act(each["at"], f"{answered} {each['about']} {each['version']}", each)
    for notice, number in found["bound_by"].items():
        bound = str(number) if number is not None else ("无" if zh else "none")
        say(f"  {'受约束的告知书版本' if zh else 'Bound by version'}: {plain(notice)} {bound}")
    say()


def _print_grant(each: dict[str, Any], *, zh: bool) -> None:
    words, colour = (("有效", "stands"), "green") if each["stands"] else (("已结束", "ended"), "red")
    state = f"[{colour}]{words[0 if zh else 1]}[/]"
    name = plain(each["zh" if zh else "en"])
    alone = ("  单独同意" if zh else "  by itself") if each["separate"] else ""
    under = f"{each['purpose']} {each['purpose_version']} · {each['notice']} {each['notice_version']}"
    say(f"  {state}  [bold]{name}[/]{alone}  [dim]{'编号' if zh else 'grant'} {each['grant']} · {plain(under)}[/]")
    _print_act(each["given_at"], "同意" if zh else "agreed", each)
    if each["end"]:
        _print_act(each["end"]["at"], _ENDED[each["end"]["kind"]][0 if zh else 1], each["end"])
    say()


def _print_act(at: datetime, what: str, act: dict[str, Any]) -> None:
    said = " · ".join(part for part in (act["how"], act["screen"], act.get("reason", "")) if part)
    say(f"      {moment(at)}  {plain(what)}  [dim]{plain(said)}[/]")
