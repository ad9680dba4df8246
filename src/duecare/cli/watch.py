"""``duecare watch``: members, how they are reached, and what they watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, console, filled, moment, plain, print_json, say, table
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.registers.search import Hit

watch = typer.Typer(help="Watch companies: members, their addresses, what they watch.", no_args_is_help=True)
people = typer.Typer()
watch.add_typer(people, name="members")

MemberArgument = Annotated[str, typer.Argument(help="The member's name.")]
EntityArgument = Annotated[
    str, typer.Argument(metavar="CODE", help="The company's code in its source.", callback=filled)
]


@watch.command()
def add(
    member: MemberArgument,
    entity: EntityArgument,
    source: Annotated[str | None, typer.Option(help="Only changes from this source.", callback=filled)] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(help="registration, litigation, risk or operation; repeat for more. All if none."),
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="Only by this channel; repeat for more. All if none.")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Tell at once instead of in the daily digest.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch a company for a member.

    Example: duecare watch add alice 91500000MA5U00002X --category risk --channel mail --realtime
    """
    from duecare.radar import watches

    with Home(load(home=home)) as opened:
        if source is not None:
            from duecare.registers.catalogue import adapter_for

            adapter_for(opened, source)
        from duecare.registers.codes import held_as

        entity = held_as(opened, entity, source)
        with opened.database.session() as session:
            row = watches.add_watch(
                session,
                watches.find_member(session, member),
                entity,
                at=opened.clock.now(),
                source=source,
                categories=category or (),
                channels=channel or (),
                realtime=realtime,
            )
            made, entity = row.id, row.entity
        here, near = _met(opened, entity, source)
    if as_json:
        suggested = [{"entity": hit.entity, "name": hit.name} for hit in near]
        print_json({"id": made, "member": member, "entity": entity, "known": here, "near": suggested})
        return
    say(f"{plain(member)} watches [bold]{plain(entity)}[/]{' in real time' if realtime else ''}.")
    if not here:
        where = f" in {plain(source)}" if source else ""
        say(f"[yellow]! Nothing is known of {plain(entity)} yet{where}[/]; the watch waits for it to come.")
    if near:
        meant = " or ".join(f"{plain(hit.entity)} ({plain(hit.name)})" for hit in near)
        say(f"  A company is watched by its code. Did you mean {meant}?")


def _met(home: Home, entity: str, source: str | None) -> tuple[bool, list[Hit]]:
    """Whether anything is held of ``entity``, and if not, the companies that have the word in their name."""
    from duecare.registers.company import known
    from duecare.registers.search import search

    if known(home, entity, source):
        return True, []
    return False, [hit for hit in search(home, entity, 3) if hit.entity != entity]


@watch.command("list")
def list_(
    member: Annotated[str | None, typer.Option(help="Only of this member.")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that have ended.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is watched, by whom, how.

    Example: duecare watch list --member alice --json
    """
    from duecare.radar import watches

    with Home(load(home=home)) as opened, opened.database.session() as session:
        found = watches.watches(session, member=member, ended=ended)
    if as_json:
        print_json([one.as_json() for one in found])
        return
    if not found:
        say("Nothing is watched. To begin: [bold]duecare watch add MEMBER CODE[/].")
        return
    rows = table(
        "member",
        "company",
        "source",
        "categories",
        "channels",
        "told",
        "since",
        "until",
        text=("categories", "channels"),
    )
    for one in found:
        rows.add_row(
            plain(one.member),
            plain(one.entity),
            plain(one.source or "any"),
            plain(", ".join(one.categories) or "all"),
            plain(", ".join(one.channels) or "all"),
            "at once" if one.realtime else "daily",
            moment(one.created_at),
            moment(one.ended_at),
        )
    console.print(rows)


@watch.command()
def end(member: MemberArgument, entity: EntityArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a watch. What was told stays known, and a correction of it will still come.

    Example: duecare watch end alice 91500000MA5U00002X
    """
    from duecare.evidence.outbox import keep_up
    from duecare.radar import watches

    with Home(load(home=home)) as opened:
        with opened.database.session() as session:
            entity = watches.end_watch(session, watches.find_member(session, member), entity, at=opened.clock.now())
        keep_up(opened.database, opened.path)
    if as_json:
        print_json({"member": member, "entity": entity, "ended": True})
    else:
        say(f"{plain(member)} no longer watches [bold]{plain(entity)}[/].")


@people.callback(invoke_without_command=True)
def members(
    context: typer.Context,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Also the addresses, masked; needs --by and --why, which are kept.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="Who looks at the addresses.")] = "",
    why: Annotated[str, typer.Option("--why", help="Why; the members can ask for it.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List members and the channels they are reached by. Addresses are sealed, and opening them leaves evidence.

    Example: duecare watch members --reveal --by 李雷 --why "a mail came back"
    """
    if context.invoked_subcommand is not None:
        return
    from duecare.radar import watches

    if reveal is not bool(by.strip() and why.strip()):
        raise BadInput(
            f"--reveal is {'given' if reveal else 'not given'}, --by is {by!r}, --why is {why!r}.",
            hint="Addresses are shown to a named person for a reason: give all three, or none.",
        )
    shown: dict[int, str] = {}
    with Home(load(home=home)) as opened:
        if reveal:
            from duecare.vault.records import Vault

            with Vault(opened) as vault:
                shown = watches.masked(vault, by, why)
        with opened.database.session() as session:
            found = watches.members(session)
    if as_json:
        print_json(
            [
                {
                    "name": member.name,
                    "language": member.language,
                    "zone": member.zone,
                    "digest_hour": member.digest_hour,
                    "addresses": [
                        {"channel": one.channel, **({"masked": shown.get(one.id, "")} if reveal else {})}
                        for one in reached
                    ],
                }
                for member, reached in found
            ]
        )
        return
    if not found:
        say("There are no members. To add one: [bold]duecare watch members add NAME --mail ADDRESS[/].")
        return
    rows = table("member", "language", "digest at", "reached by", text=("reached by",))
    for member, reached in found:
        ways = ", ".join(f"{one.channel} {shown.get(one.id, '')}".strip() for one in reached)
        rows.add_row(plain(member.name), member.language, f"{member.digest_hour:02}:00 {member.zone}", plain(ways))
    console.print(rows)


@people.command("add")
def add_person(
    name: MemberArgument,
    mail: Annotated[list[str] | None, typer.Option(help="Mail address.")] = None,
    webhook: Annotated[list[str] | None, typer.Option(help="Address that takes signed webhooks.")] = None,
    secret: Annotated[str, typer.Option(help="Signing secret of the webhooks (whsec_…); made if not given.")] = "",
    wecom: Annotated[list[str] | None, typer.Option(help="Address of a WeCom group robot.")] = None,
    sms: Annotated[list[str] | None, typer.Option(help="Telephone number.")] = None,
    language: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    zone: Annotated[str, typer.Option(help="IANA time zone.")] = "Asia/Shanghai",
    hour: Annotated[int, typer.Option(help="Hour of the daily digest in that zone, 0 to 23.")] = 8,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a member, who was shown the notice `watch`. Everyone has a message centre; other ways are options.

    How they are reached is sealed. The settings controller_… say who answers for it.

    Example: duecare watch members add alice --mail alice@example.org --hour 8 --zone Asia/Shanghai
    """
    from duecare.radar import watches
    from duecare.vault.records import Vault

    reach = [watches.Reach("mail", one) for one in mail or ()]
    reach += [watches.Reach("webhook", one, secret) for one in webhook or ()]
    reach += [watches.Reach("wecom", one) for one in wecom or ()]
    reach += [watches.Reach("sms", one) for one in sms or ()]
    reach = [watches.checked(one) for one in reach]
    with Home(load(home=home)) as opened, Vault(opened) as vault, opened.database.session() as session:
        watches.add_member(
            vault,
            session,
            name,
            at=opened.clock.now(),
            reach=reach,
            language=language,
            zone=zone,
            digest_hour=hour,
        )
    shown = [one.secret for one in reach if one.secret] if not secret else []
    if as_json:
        print_json({"name": name, "secrets": shown})
        return
    say(f"Added [bold]{plain(name)}[/].")
    for one in shown:
        say(f"Webhooks are signed with [bold]{plain(one)}[/]; keep it, it is not shown again.")


@people.command("leave")
def leave_person(
    name: MemberArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the certificate to.")] = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A member leaves: nothing is sent to them any more, and who they were is erased. Writes the certificate.

    A correction of what they were told cannot reach them afterwards. Exit code 1 if a legal hold keeps something, or
    the certificate waits for its witness.

    Example: duecare watch members leave alice --out certificates
    """
    from duecare.cli.certificate import write_certificate
    from duecare.radar.leaving import leave
    from duecare.vault.records import Vault

    with Home(load(home=home)) as opened, Vault(opened) as vault:
        outcome = leave(vault, name)
        written = [write_certificate(vault, each.id, out) for each in outcome.erasures]
    if as_json:
        print_json({"name": name, "certificates": {each.id: each.path for each in written}, "held": outcome.held})
    else:
        say(f"[bold]{plain(name)}[/] has left.")
        for one in written:
            say(f"{one.id}: erased. {one.line()}")
        if outcome.held:
            say("[yellow]! A legal hold keeps what is held[/]; it is used for nothing.")
    if outcome.held or not all(each.path for each in written):
        raise typer.Exit(1)
