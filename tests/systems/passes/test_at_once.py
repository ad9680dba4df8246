"""Two people, or the same one twice, at work on one pass at once: it ends as if one had come after the other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import select

from duecare.clock import SetClock
from duecare.errors import UseError
from duecare.systems.passes import changes, enrolment, entries, offers, refunds, sales, truth
from duecare.systems.passes.device import Presentation
from duecare.systems.passes.models import Card, Holder, HolderMessage, PaidBack, Period
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO
from duecare.systems.passes.sales import Sold

from ...at_once import at_once
from .people import FACES, FINGERS, HE, SHE, finger

ROUNDS = 3


def pay(park: Park, sold: Sold, *readers: str) -> Callable[[], object]:
    return partial(refunds.pay_back, park, sold.pass_id, readers, reason="x", actor="clerk", goodwill=True)


def renew(park: Park, sold: Sold) -> Callable[[], object]:
    return partial(sales.renew, park, sold.pass_id, screen="counter", actor="clerk")


def enrol(park: Park, subject: str) -> Callable[[], object]:
    return partial(enrolment.enrol, park, subject, FINGERS[1], finger(subject), screen="centre", actor="clerk")


def sell(park: Park) -> Sold:
    return sales.sell(park, "pass_for_two", [HE, SHE], screen="counter", actor="clerk")


def done(*works: Callable[[], object]) -> list[object]:
    """What ``works``, begun at once, came to: their results, and the ``UseError`` of those that were refused."""
    found: list[object] = [None] * len(works)

    def run(number: int, work: Callable[[], object]) -> None:
        try:
            found[number] = work()
        except UseError as error:
            found[number] = error

    at_once(*(partial(run, number, work) for number, work in enumerate(works)))
    return found


def refused(found: list[object]) -> int:
    return sum(isinstance(each, UseError) for each in found)


@pytest.mark.parametrize("what", ["template", "photo"])
def test_an_erasure_takes_what_is_taken_meanwhile(park: Park, what: str) -> None:
    """Fingers are enrolled, or a photo taken, while everything of the holder is erased: refused, or erased too."""
    for _ in range(ROUNDS):
        subject = sell(park).cards[0].subject
        take = partial(enrolment.take_photo, park, subject, b"\xff\xd8 photo", screen="centre", actor="clerk")
        erase = partial(truth.erase, park, subject, ends_pass=True, how="page", screen="truth")
        erased, _ = done(erase, take if what == "photo" else enrol(park, subject))
        assert not isinstance(erased, UseError)
        with park.home.database.session() as session:
            assert {each.state for each in park.vault.holds(session, subject)} == {"erased"}


def test_a_refund_that_is_sent_twice_is_paid_once(park: Park) -> None:
    """Without a key too: of two refunds of a holder at once, the second is refused."""
    for _ in range(ROUNDS):
        sold = sell(park)
        assert refused(done(*[pay(park, sold, sold.cards[0].subject)] * 2)) == 1
        with park.home.database.session() as session:
            assert len(session.scalars(select(PaidBack).where(PaidBack.pass_id == sold.pass_id)).all()) == 1


def test_a_pass_is_renewed_or_refunded(park: Park) -> None:
    """Of a refund and a renewal at once, the renewal comes first and is paid back too, or it is refused."""
    for _ in range(ROUNDS):
        sold = sell(park)
        paid, renewed = done(
            pay(park, sold, *(each.subject for each in sold.cards)),
            renew(park, sold),
        )
        assert isinstance(paid, refunds.Refund)
        before = renewed.price if isinstance(renewed, Sold) else Decimal(0)
        assert paid.price == sold.price + before


@pytest.mark.parametrize("days", [0, 300, 364, 365, 400])
def test_two_renewals_are_one_year(park: Park, clock: SetClock, days: int) -> None:
    """Of two renewals at once, without a key, one adds a year, and the other is told so: while the first year runs, and
    in the window after it, where the new year begins on the same day."""
    couples = [sell(park) for _ in range(ROUNDS)]
    clock.advance(timedelta(days=days))
    for sold in couples:
        found = done(*[renew(park, sold)] * 2)
        (error,) = [each for each in found if isinstance(each, UseError)]
        assert "was renewed already" in error.message
        with park.home.database.session() as session:
            years = select(Period.year).where(Period.pass_id == sold.pass_id).order_by(Period.number)
            assert session.scalars(years).all() == [1, 2]


def test_of_two_new_cards_one_opens_the_gate(park: Park) -> None:
    """Of two cards that are issued to a holder at once, the later one replaces the earlier one."""
    for number in range(ROUNDS):
        sold = sell(park)
        replace = partial(sales.replace_card, park, HE.id_number, actor="clerk", pass_id=sold.pass_id)
        issued = done(replace, replace)
        assert refused(issued) == 0
        with park.home.database.session() as session:
            lost = session.scalars(
                select(Card.lost_at)
                .join(Holder, Holder.id == Card.holder_id)
                .where(Holder.subject == sold.cards[0].subject)
            ).all()
        assert sum(each is None for each in lost) == 1
        opened = [
            entries.enter(
                park, "east", Presentation(each.card, HE.id_number).question(park.now()), f"{number}{at}" * 8
            ).open
            for at, each in enumerate(issued)
            if isinstance(each, sales.Issued)
        ]
        assert sorted(opened) == [False, True]


def test_who_chooses_a_way_in_while_it_ends_is_told(park: Park) -> None:
    """Whoever enrols while their way in ends is refused; or it is erased of them too, and they are told."""
    subjects = [sell(park).cards[1].subject for _ in range(4)]

    end = partial(changes.end_method, park, FINGERS[1], note="test")
    found = done(end, *(enrol(park, each) for each in subjects))
    assert isinstance(found[0], changes.Ended)
    with park.home.database.session() as session:
        told = set(session.scalars(select(HolderMessage.subject).where(HolderMessage.kind.startswith("ended:"))))
        for subject, result in zip(subjects, found[1:], strict=True):
            assert (subject in told) is not isinstance(result, UseError)
            held = {each.field: each.state for each in park.vault.holds(session, subject)}
            assert held.get("fingerprint_template", "erased") == "erased"


def test_ways_in_that_end_at_once_are_all_off_sale(park: Park) -> None:
    """Neither ending puts the other's way in back on sale."""
    changes.publish(park, [*FINGERS, FACES[1]])
    done(*(partial(changes.end_method, park, name, note="test") for name in (FINGERS[1], FACES[1])))
    with park.home.database.session() as session:
        assert [way.method for way in offers.standing(session, PASS_FOR_TWO)] == [FINGERS[0]]
