"""``duecare retention``: what may not be kept any longer, and what a law keeps.

The rule of this module: what is shown is what a run would do.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import (
    FOR_EVER,
    HomeOption,
    JsonOption,
    console,
    counting,
    filled,
    moment,
    plain,
    print_json,
    say,
    table,
)
from duecare.clock import parse_moment
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.vault.retention import Due, Hold

retention = typer.Typer(help="How long personal data is kept: what is due, and legal holds.", no_args_is_help=True)

REASONS = {
    "schedule": ("保存期限届满", "its time is up"),
    "withdrawal": ("撤回同意", "withdrawn"),
    "purpose_ended": ("目的终止", "its purpose ended"),
    "request": ("本人请求", "at the person's request"),
}
"""Why something is erased, in words."""

_DUE = {
    "zh": ("处理目的", "个人", "缘由", "事件", "保存至", ""),
    "en": ("purpose", "subject", "why", "event", "kept until", ""),
}

ByOption = Annotated[str, typer.Option("--by", help="Who orders it; it is kept.")]


@retention.command()
def show(
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="What will be due when this day ends in Beijing, or at this time (default: now).",
            show_default=False,
            callback=filled,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would erase and why, what a legal hold keeps, and the holds. Changes nothing.

    Exit code 1 if something is due.

    Example: duecare retention show --at 2020-07-26
    """
    from duecare.vault.records import Vault
    from duecare.vault.retention import due, legal_holds

    with Home(load(home=home)) as opened, Vault(opened) as vault, opened.database.session() as session:
        then = parse_moment(at, to_the_end=True) if at else opened.clock.now()
        found, holds, zh = due(vault, session, then), legal_holds(session), opened.settings.language == "zh"
    if as_json:
        print_json({"at": then, "due": [each.__dict__ for each in found], "holds": [each.__dict__ for each in holds]})
    else:
        _print(found, holds, then, zh=zh)
    if any(not each.held for each in found):
        raise typer.Exit(1)


@retention.command()
def run(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Erase what is due, whatever earlier runs missed, finish what was interrupted, and ask the witness again.

    Exit code 1 if it is erased, and a witness that is configured does not cosign: the certificates wait.

    Example: duecare retention run
    """
    from duecare.vault.records import Vault
    from duecare.vault.retention import run as work

    with Home(load(home=home)) as opened, Vault(opened) as vault, counting() as count:
        ran = work(vault, count("erasing"), count("certificates"))
        failed = bool(vault.witnesses and ran.finished.witness)
    if as_json:
        print_json({"erased": ran.erased, "held": ran.held, **ran.finished.__dict__})
    else:
        say(f"Erased {ran.erased} · kept by a legal hold {ran.held} · certificates made {ran.finished.certified}")
        if ran.finished.witness:
            say(f"[yellow]! {ran.finished.pending} certificates pending[/], because: {plain(ran.finished.witness)}")
    if failed:
        raise typer.Exit(1)


@retention.command()
def hold(
    article: Annotated[str, typer.Option("--article", help="The law or order that has it kept.")],
    reason: Annotated[str, typer.Option("--reason", help=f"Why it applies here; {FOR_EVER}")],
    by: ByOption,
    subject: Annotated[
        str | None, typer.Option("--subject", help="One person (default: all).", callback=filled)
    ] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", help="One purpose (default: all).", callback=filled)
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop erasure by a legal hold. What is held is stored, and used for nothing else.

    Example: duecare retention hold --purpose pass_contract --article "Civil Procedure Law art. 84" --reason "case 1234" --by counsel
    """  # noqa: E501 - an example is one line
    from duecare.evidence.outbox import sequence
    from duecare.vault.records import Vault
    from duecare.vault.retention import legal_hold

    with Home(load(home=home)) as opened, Vault(opened) as vault:
        with opened.database.session() as session:
            at = opened.clock.now()
            number = legal_hold(session, article=article, reason=reason, by=by, at=at, subject=subject, purpose=purpose)
        # At once: a backup that is put back knows of the hold from the log alone.
        sequence(opened.database, vault.log)
    print_json({"hold": number}) if as_json else say(f"Legal hold {number} stands.")


@retention.command()
def lift(
    number: Annotated[int, typer.Argument(help="The number of the hold.")],
    reason: Annotated[str, typer.Option("--reason", help=f"Why it ends; {FOR_EVER}")],
    by: ByOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift a legal hold: what became due meanwhile goes with the next run.

    Example: duecare retention lift 1 --reason "case closed" --by counsel
    """
    from duecare.evidence.outbox import sequence
    from duecare.vault.records import Vault
    from duecare.vault.retention import lift as end

    with Home(load(home=home)) as opened, Vault(opened) as vault:
        with opened.database.session() as session:
            end(session, number, by=by, reason=reason, at=opened.clock.now())
        sequence(opened.database, vault.log)
    print_json({"lifted": number}) if as_json else say(f"Legal hold {number} is lifted.")


def _print(found: list[Due], holds: list[Hold], at: datetime, *, zh: bool) -> None:
    if not found:
        say(f"{moment(at)} 没有到期应删除的信息。" if zh else f"Nothing is due at {moment(at)}.")
    else:
        rows = table(*_DUE["zh" if zh else "en"], text=("缘由", "why"))
        for each in found:
            why = REASONS[each.reason][0 if zh else 1]
            event = f"{plain(each.event)} {each.on}" if each.on else ""
            kept = ("依法留存" if zh else "legal hold") if each.held else ""
            rows.add_row(plain(each.purpose), each.subject, why, event, str(each.until or ""), kept)
        console.print(rows)
    for one in holds:
        about = one.subject or ("所有人" if zh else "everyone")
        what = one.purpose or ("所有目的" if zh else "every purpose")
        lead = "依法留存" if zh else "legal hold"
        say(
            f"{lead} {one.id}: {about}, {plain(what)}; {plain(one.article)}; "
            f"{plain(one.reason)} ({plain(one.placed_by)})"
        )
