"""``duecare watch``: members, how they are reached, and what they watch."""

from __future__ import annotations

from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, console, moment, plain, print_json, say, table
from duecare.settings import load
from duecare.store.home import Home

watch = typer.Typer(help="Watch companies: members, their addresses, what they watch.", no_args_is_help=True)
people = typer.Typer()
watch.add_typer(people, name="members")

MemberArgument = Annotated[str, typer.Argument(help="The member's name.")]
EntityArgument = Annotated[str, typer.Argument(metavar="CODE", help="The company's code in its source.")]


@watch.command()
def add(
    member: MemberArgument,
    entity: EntityArgument,
    source: Annotated[str | None, typer.Option(help="Only changes from this source.")] = None,
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
            made = row.id
    if as_json:
        print_json({"id": made, "member": member, "entity": entity})
    else:
        say(f"{plain(member)} watches [bold]{plain(entity)}[/]{' in real time' if realtime else ''}.")


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
    rows = table("member", "company", "source", "categories", "channels", "told", "since", "until")
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
    from duecare.radar import watches

    with Home(load(home=home)) as opened, opened.database.session() as session:
        watches.end_watch(session, watches.find_member(session, member), entity, at=opened.clock.now())
    if as_json:
        print_json({"member": member, "entity": entity, "ended": True})
    else:
        say(f"{plain(member)} no longer watches [bold]{plain(entity)}[/].")


@people.callback(invoke_without_command=True)
def members(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List members and how they are reached.

    Example: duecare watch members --json
    """
    if context.invoked_subcommand is not None:
        return
    from duecare.radar import watches

    with Home(load(home=home)) as opened, opened.database.session() as session:
        found = watches.members(session)
    if as_json:
        print_json(
            [
                {
                    "name": member.name,
                    "language": member.language,
                    "zone": member.zone,
                    "digest_hour": member.digest_hour,
                    "addresses": [{"channel": one.channel, "address": one.address} for one in reached],
                }
                for member, reached in found
            ]
        )
        return
    if not found:
        say("There are no members. To add one: [bold]duecare watch members add NAME --mail ADDRESS[/].")
        return
    rows = table("member", "language", "digest at", "reached by")
    for member, reached in found:
        ways = ", ".join(f"{one.channel} {one.address}".strip() for one in reached)
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
    """Add a member. Everyone has a message centre; further ways to reach them are options.

    Example: duecare watch members add alice --mail alice@example.org --hour 8 --zone Asia/Shanghai
    """
    from duecare.radar import watches

    reach = [watches.Reach("mail", one) for one in mail or ()]
    reach += [watches.Reach("webhook", one, secret) for one in webhook or ()]
    reach += [watches.Reach("wecom", one) for one in wecom or ()]
    reach += [watches.Reach("sms", one) for one in sms or ()]
    with Home(load(home=home)) as opened, opened.database.session() as session:
        member = watches.add_member(
            session, name, at=opened.clock.now(), reach=reach, language=language, zone=zone, digest_hour=hour
        )
        secrets = [one.secret for known, ways in watches.members(session) if known.id == member.id for one in ways]
    shown = [one for one in secrets if one] if not secret else []
    if as_json:
        print_json({"name": name, "secrets": shown})
        return
    say(f"Added [bold]{plain(name)}[/].")
    for one in shown:
        say(f"Webhooks are signed with [bold]{plain(one)}[/]; keep it, it is not shown again.")
