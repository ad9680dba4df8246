"""``duecare passes``: the pass centre at the command line, and its server.

The rule of this module: a name or a number of a person is read from a file or from standard input, never from the
command line, where others see it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duecare.cli.files import read_bytes
from duecare.cli.gate import gate
from duecare.cli.output import HomeOption, JsonOption, console, moment, plain, print_json, print_json_line, say, table
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.systems.passes.park import Park
    from duecare.systems.passes.sales import Sold

passes = typer.Typer(help="Annual passes: sale, enrolment, gates, the holder's page of truth.", no_args_is_help=True)
passes.add_typer(gate, name="gate")
clerks = typer.Typer(help="Who works at the pass centre, each by a key of their own.", no_args_is_help=True)
passes.add_typer(clerks, name="clerks")
gates = typer.Typer(help="The gates that may ask, each by a key of its own.", no_args_is_help=True)
passes.add_typer(gates, name="gates")

SubjectArgument = Annotated[str, typer.Argument(help="The holder, by the name of 32 hex digits.")]
PassArgument = Annotated[str, typer.Argument(metavar="PASS", help="The pass, by the name of 32 hex digits.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it; the name is kept.")]

_SCREEN = "duecare passes"


@passes.command()
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

    with _park(home) as park:
        changed = changes.publish(park, way)
        changes.open_tickets(park)
        language = park.home.settings.language
    if as_json:
        difference = changed.difference.as_json() if changed.difference else None
        print_json({"version": changed.number, "messages": changed.told, "difference": difference})
        return
    say(f"Version {changed.number} of the notice is in force; {changed.told} messages are owed.")
    if changed.difference:
        say(plain(changed.difference.text(language)))


@passes.command()
def sell(
    product: Annotated[str, typer.Argument(help="single_ticket or pass_for_two.")],
    holders: Annotated[
        Path | None,
        typer.Option(
            "--holders",
            help='JSON file, - for standard input: [{"name", "id_number", "phone", "method", "mail"}, …].',
            show_default=False,
        ),
    ] = None,
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sell a ticket or a pass, and print the numbers of its cards, which are known now and never again.

    Example: duecare passes sell pass_for_two --holders holders.json
    """
    from duecare.systems.passes import sales

    buyers = [_buyer(each) for each in _read_json(holders)] if holders else []
    with _park(home) as park:
        sold = sales.sell(park, product, buyers, screen=_SCREEN, actor=by)
    _say_sold(sold, as_json=as_json)


@passes.command()
def photo(
    subject: SubjectArgument,
    file: Annotated[Path, typer.Argument(help="The photo.")],
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a photo for the pass, with the holder's consent to that alone.

    Example: duecare passes photo 3c2d86b824444c2cff36b859f0b09aba photo.jpg
    """
    from duecare.systems.passes import enrolment

    with _park(home) as park:
        enrolment.take_photo(park, subject, read_bytes(file), screen=_SCREEN, actor=by)
    _done({"subject": subject, "purpose": "pass_photo"}, "The photo is kept for the pass, for nothing else.", as_json)


@passes.command()
def enrol(
    subject: SubjectArgument,
    way: Annotated[str, typer.Argument(help="card_fingerprint or card_face.")],
    template: Annotated[Path, typer.Argument(help="The template that the device made.")],
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a holder's template, with the separate consent that is given with it.

    Example: duecare passes enrol 3c2d86b824444c2cff36b859f0b09aba card_fingerprint finger.template
    """
    from duecare.systems.passes import enrolment

    with _park(home) as park:
        enrolment.enrol(park, subject, way, read_bytes(template), screen=_SCREEN, actor=by)
    _done({"subject": subject, "way": way}, f"From now on: {way}, and card_id_card as before.", as_json)


@passes.command()
def renew(pass_id: PassArgument, by: ByOption = "clerk", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Add the next year to a pass; what is kept of its holders is kept so much longer.

    Example: duecare passes renew 0b09aba3c2d86b824444c2cff36b859f
    """
    from duecare.systems.passes import sales

    with _park(home) as park:
        sold = sales.renew(park, pass_id, screen=_SCREEN, actor=by)
    _say_sold(sold, as_json=as_json)


@passes.command()
def refund(
    pass_id: PassArgument,
    holder: Annotated[list[str], typer.Option("--holder", help="Who leaves it; repeat for more.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")],
    goodwill: Annotated[bool, typer.Option("--goodwill", help="Pay though nothing is owed.")] = False,
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refund holders pro rata, today: those whose agreed way in ended, and who did not accept the change.

    Example: duecare passes refund 0b09aba3c2d86b824444c2cff36b859f --holder 3c2d86b824444c2cff36b859f0b09aba
    --reason "declines faces"
    """
    from duecare.systems.passes import refunds

    with _park(home) as park:
        paid = refunds.pay_back(park, pass_id, holder, reason=reason, actor=by, goodwill=goodwill)
    said = {"amount": str(paid.amount), "days_left": paid.days_left, "days": paid.days}
    _done(said, f"{paid.amount} yuan, for {paid.days_left} of {paid.days} days.", as_json)


@passes.command()
def lost(
    subject: SubjectArgument, by: ByOption = "clerk", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """The holder's cards open nothing from now on.

    Example: duecare passes lost 3c2d86b824444c2cff36b859f0b09aba
    """
    from duecare.systems.passes import sales

    with _park(home) as park:
        count = sales.report_lost(park, subject, actor=by)
    _done({"subject": subject, "cards": count}, f"{count} cards open nothing any more.", as_json)


@passes.command()
def reissue(
    id_number: Annotated[
        Path, typer.Option("--id-number", help="File with the number of the ID card shown, - for standard input.")
    ],
    pass_id: Annotated[str, typer.Option("--pass", help="Which pass, where they hold several.")] = "",
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A new card for the holder whose ID card is shown; the old ones open nothing any more.

    Example: duecare passes reissue --id-number -
    """
    from duecare.systems.passes import sales

    number = read_bytes(id_number).decode("utf-8", "replace")
    with _park(home) as park:
        issued = sales.replace_card(park, number, actor=by, pass_id=pass_id)
    said = {"subject": issued.subject, "method": issued.method, "card": issued.card}
    _done(said, f"Card [bold]{issued.card}[/] of {issued.subject}.", as_json)


@passes.command()
def answer(
    subject: SubjectArgument,
    version: Annotated[int, typer.Argument(help="The version of the notice.")],
    accept: Annotated[bool, typer.Option("--accept/--decline", help="What the holder says.")],
    how: Annotated[str, typer.Option("--how", help="How they said it; it is kept.")] = "at the counter",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what a holder answers to a version of the notice. Silence is no answer.

    Example: duecare passes answer 3c2d86b824444c2cff36b859f0b09aba 2 --decline --how "by telephone"
    """
    from duecare.systems.passes import changes

    with _park(home) as park:
        changes.answer(park, subject, version, accepted=accept, how=how, screen=_SCREEN)
    said = {"subject": subject, "version": version, "accepted": accept}
    _done(said, f"Version {version} was {'accepted' if accept else 'declined'}.", as_json)


@passes.command()
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

    with _park(home) as park:
        told = changes.remind(park, version) if remind else 0
        with park.home.database.session() as session:
            said = changes.answers(session, version)
    if as_json:
        print_json({**vars(said), "reminded": told})
        return
    rows = table("接受 accepted", "拒绝 declined", "未答复 silent")
    rows.add_row(str(len(said.accepted)), str(len(said.declined)), str(len(said.silent)))
    console.print(rows)
    if remind:
        say(f"{told} messages are owed.")


@passes.command()
def end(
    way: Annotated[str, typer.Argument(help="card_fingerprint or card_face.")],
    note: Annotated[str, typer.Option("--note", help="Why; it is kept with each erasure.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A way in ends for good: what was held for it alone is erased of everybody, and they are told.

    Example: duecare passes end card_fingerprint --note "fingerprint gates stopped"
    """
    from duecare.systems.passes import changes

    with _park(home) as park:
        ended = changes.end_method(park, way, note=note)
    said = f"Erased of {ended.erased} people; {ended.told} messages are owed. They enter with card and ID card."
    _done(vars(ended), said, as_json)


@passes.command()
def send(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Send the messages that are owed. Exit code 1 if something was given up.

    Example: DUECARE_SMS_URL=http://localhost:8080 duecare passes send
    """
    from duecare.systems.passes import messages

    with _park(home) as park:
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


@passes.command()
def truth(subject: SubjectArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a holder's page of truth: what is held, for what, until when, who opened it and why, and what was erased.

    Example: duecare passes truth 3c2d86b824444c2cff36b859f0b09aba --json
    """
    from duecare.systems.passes.truth import truth as page

    with _park(home) as park:
        shown = page(park, subject)
        zh = park.home.settings.language == "zh"
    if as_json:
        print_json(shown)
    else:
        _say_truth(shown, zh=zh)


@passes.command()
def withdraw(
    subject: SubjectArgument,
    purpose: Annotated[str, typer.Argument(help="The purpose whose consent is taken back.")],
    how: Annotated[str, typer.Option("--how", help="How they said it; it is kept.")] = "at the counter",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a holder's consent back, in effect at once; what was held for it alone is erased.

    Example: duecare passes withdraw 3c2d86b824444c2cff36b859f0b09aba fingerprint_entry
    """
    from duecare.systems.passes.truth import withdraw as take_back

    with _park(home) as park:
        done = take_back(park, subject, purpose, how=how, screen=_SCREEN)
    ids = [each.id for each in done.erasures]
    said = f"Withdrawn and erased: {plain(', '.join(ids)) or 'nothing was held'}."
    _done({"erasures": ids, "held": list(done.held)}, said, as_json)


@passes.command()
def conflicts(
    settle: Annotated[int | None, typer.Option("--settle", help="One that was looked at.", show_default=False)] = None,
    note: Annotated[str, typer.Option("--note", help="What was found; it is kept.")] = "",
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what gates decided alone and a person has to look at, or settle one. Exit code 1 while any is open.

    Example: duecare passes conflicts --settle 1 --note "it was her; she had found the card"
    """
    from duecare.systems.passes import entries

    with _park(home) as park, park.home.database.session() as session:
        if settle is not None:
            entries.settle(session, settle, by=by, note=note, at=park.now())
        open_ones = entries.conflicts(session)
    if as_json:
        print_json(
            [
                {"id": row.id, "gate": row.gate, "kind": row.kind, "at": row.at, "subject": row.subject}
                for row in open_ones
            ]
        )
    elif open_ones:
        rows = table("", "gate", "what", "when", "holder")
        for row in open_ones:
            rows.add_row(str(row.id), plain(row.gate), row.kind, moment(row.at), plain(row.subject or ""))
        console.print(rows)
    else:
        say("No conflict is open.")
    if open_ones:
        raise typer.Exit(1)


@passes.command()
def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any that is free.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the gates, the pass centre and the holders' pages, until SIGTERM or Ctrl-C.

    Retention, messages and what else is due run by themselves meanwhile. Put a server that speaks TLS in front where
    others are to reach it.

    Example: duecare passes serve --port 8480
    """
    from duecare.systems.passes.gates import centre_key
    from duecare.systems.passes.server import serve as run

    with _park(home) as park:
        key = str(centre_key(park).verifier)

        def ready(address: str) -> None:
            if as_json:
                print_json_line({"url": address, "key": key})
            else:
                say(f"{plain(address)}  {plain(key)}")
            sys.stdout.flush()

        run(park, host, port, ready)


@clerks.command("add")
def add_clerk(
    name: Annotated[str, typer.Argument(help="Their name.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """A new key for a clerk, shown once; one they had opens nothing any more.

    Example: duecare passes clerks add li
    """
    from duecare.systems.passes import clerks as people

    with _park(home) as park, park.home.database.session() as session:
        key = people.add(session, name, park.now())
    _done({"name": name, "key": key}, f"[bold]{plain(key)}[/]  keep it, it is not shown again.", as_json)


@clerks.command("end")
def end_clerk(
    name: Annotated[str, typer.Argument(help="Their name.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """The clerk's key opens nothing any more.

    Example: duecare passes clerks end li
    """
    from duecare.systems.passes import clerks as people

    with _park(home) as park, park.home.database.session() as session:
        people.end(session, name, park.now())
    _done({"name": name, "ended": True}, f"The key of {plain(name)} opens nothing any more.", as_json)


@gates.command("list")
def list_gates(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the gates that may ask, and the public key of the centre that they need.

    Example: duecare passes gates list --json
    """
    from duecare.systems.passes import gates as known

    with _park(home) as park:
        key = str(known.centre_key(park).verifier)
        with park.home.database.session() as session:
            found = known.gates(session)
    if as_json:
        rows = [{"name": row.name, "key": row.key, "added_at": row.added_at} for row in found]
        print_json({"key": key, "gates": rows})
        return
    say(f"The centre's key: {plain(key)}")
    for row in found:
        say(f"{plain(row.name)}  [dim]since {moment(row.added_at)}  {plain(row.key)}[/]")


@gates.command("add")
def add_gate(
    key: Annotated[str, typer.Argument(help="The gate's public key, or the file gate.pub it is in.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a gate ask, by its public key.

    Example: duecare passes gates add gate-east/gate.pub
    """
    from duecare.evidence.checkpoint import VerifierKey, read_key
    from duecare.systems.passes import gates as known

    verifier = VerifierKey.parse(key) if "+" in key and not Path(key).exists() else read_key(Path(key))
    with _park(home) as park, park.home.database.session() as session:
        known.add_gate(session, verifier, park.now())
    _done({"name": verifier.name, "key": str(verifier)}, f"The gate {plain(verifier.name)} may ask.", as_json)


@gates.command("end")
def end_gate(
    name: Annotated[str, typer.Argument(help="The gate's name.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """A gate may no longer ask.

    Example: duecare passes gates end east
    """
    from duecare.systems.passes import gates as known

    with _park(home) as park, park.home.database.session() as session:
        known.end_gate(session, name, park.now())
    _done({"name": name, "ended": True}, f"The gate {plain(name)} may no longer ask.", as_json)


@contextmanager
def _park(home: Path | None) -> Iterator[Park]:
    from duecare.systems.passes.park import Park

    with Home(load(home=home)) as opened, Park.open(opened) as park:
        yield park


def _read_json(path: Path) -> list[dict[str, Any]]:
    hint = 'Write [{"name": "…", "id_number": "…", "phone": "…", "method": "card_id_card"}, …].'
    try:
        said = json.loads(read_bytes(path))
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}.", hint=hint) from None
    if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
        raise BadInput(f"{path} is not a list of holders.", hint=hint)
    return said


def _buyer(said: dict[str, Any]) -> Any:
    from duecare.systems.passes.sales import Buyer

    names = {"name", "id_number", "phone", "method", "mail"}
    if not {"name", "id_number", "phone"} <= set(said) <= names or not all(
        isinstance(each, str) for each in said.values()
    ):
        raise BadInput(
            "A holder has not the members that it should have.",
            hint="Needed as text: name, id_number, phone. Possible: method, mail.",
        )
    return Buyer(**said)


def _say_sold(sold: Sold, *, as_json: bool) -> None:
    if as_json:
        cards = [{"subject": each.subject, "method": each.method, "card": each.card} for each in sold.cards]
        print_json({**vars(sold), "price": str(sold.price), "cards": cards})
        return
    say(f"{sold.product} [bold]{sold.pass_id}[/], year {sold.year}: {sold.price} yuan, {sold.first} to {sold.last}")
    for each in sold.cards:
        card = f"card [bold]{each.card}[/]" if each.card else "card as before"
        say(f"  {each.subject or 'nobody in particular'}  {each.method}  {card}")


def _say_truth(shown: dict[str, Any], *, zh: bool) -> None:
    def word(each: dict[str, str]) -> str:
        return each["zh" if zh else "en"]

    held_pass = shown["pass"]
    if held_pass:
        days = f"{held_pass['first']} – {held_pass['last']}"
        say(f"[bold]{word(held_pass['product'])}[/]  {days}  {word(held_pass['agreed_way'])}")
    else:
        say("没有年卡。" if zh else "There is no pass.")
    purposes = {each["name"]: word(each) for each in shown["purposes"]}
    rows = table("信息", "目的", "", "自", "至") if zh else table("what", "for what", "", "since", "until")
    for each in shown["held"]:
        name = word(each) if "zh" in each else each["field"]
        state = {"held": "持有", "kept": "依法留存", "erased": "已删除"}[each["state"]] if zh else each["state"]
        until = str(each["until"] or "") if each["state"] != "erased" else moment(each["erased_at"])
        rows.add_row(plain(name), plain(purposes[each["purpose"]]), state, moment(each["since"]), until)
    console.print(rows)
    rows = table("何时", "何人", "为何", "打开了什么") if zh else table("when", "who", "why", "opened what")
    for each in shown["openings"]:
        rows.add_row(moment(each["at"]), plain(each["by"]), plain(each["why"]), plain(", ".join(each["fields"])))
    console.print(rows)
    for each in shown["erasures"]:
        sign = "[green]✓[/]" if each["certificate"] else "…"
        say(f"{sign} {purposes[each['purpose']]}: {each['reason']}, {each['id']}")


def _done(said: Any, words: str, as_json: bool) -> None:
    if as_json:
        print_json(said)
    else:
        say(words)
