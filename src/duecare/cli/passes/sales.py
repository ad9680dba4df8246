"""``duecare passes sell``, ``renew``, ``refund``, ``lost`` and ``reissue``: passes and their cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duecare.cli.files import read_bytes
from duecare.cli.output import FOR_EVER, HomeOption, JsonOption, print_json, say
from duecare.cli.passes.centre import SCREEN, ByOption, PassArgument, SubjectArgument, count, done, opened
from duecare.errors import BadInput

if TYPE_CHECKING:
    from duecare.systems.passes.sales import Sold


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
    with opened(home) as park:
        sold = sales.sell(park, product, buyers, screen=SCREEN, actor=by)
    _say_sold(sold, as_json=as_json)


def renew(pass_id: PassArgument, by: ByOption = "clerk", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Add the next year to a pass, one ahead at most; what is kept of its holders is kept so much longer.

    Example: duecare passes renew 0b09aba3c2d86b824444c2cff36b859f
    """
    from duecare.systems.passes import sales

    with opened(home) as park:
        sold = sales.renew(park, pass_id, screen=SCREEN, actor=by)
    _say_sold(sold, as_json=as_json)


def refund(
    pass_id: PassArgument,
    holder: Annotated[list[str], typer.Option("--holder", help="Who leaves it; repeat for more.")],
    reason: Annotated[str, typer.Option("--reason", help=f"Why; {FOR_EVER}")],
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

    with opened(home) as park:
        paid = refunds.pay_back(park, pass_id, holder, reason=reason, actor=by, goodwill=goodwill)
    said = {"amount": str(paid.amount), "days_left": paid.days_left, "days": paid.days}
    done(said, f"{paid.amount} yuan, for {paid.days_left} of {paid.days} days.", as_json)


def lost(
    subject: SubjectArgument, by: ByOption = "clerk", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """The holder's cards open nothing from now on.

    Example: duecare passes lost 3c2d86b824444c2cff36b859f0b09aba
    """
    from duecare.systems.passes import sales

    with opened(home) as park:
        lost_cards = sales.report_lost(park, subject, actor=by)
    said = f"{count(lost_cards, 'card')} of theirs {'opens' if lost_cards == 1 else 'open'} nothing any more."
    done({"subject": subject, "cards": lost_cards}, said, as_json)


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
    with opened(home) as park:
        issued = sales.replace_card(park, number, actor=by, pass_id=pass_id)
    said = {"subject": issued.subject, "method": issued.method, "card": issued.card}
    done(said, f"Card [bold]{issued.card}[/] of {issued.subject}.", as_json)


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
