"""Sale, enrolment, renewal and refund: what is agreed to, what it costs, and what it does to how long data is kept."""

from __future__ import annotations

import traceback
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from duecare.clock import BEIJING, SetClock
from duecare.consent import grants, notices
from duecare.consent import purposes as declared
from duecare.errors import BadInput, Erased, Forbidden, NotGranted, UnknownName, UseError
from duecare.evidence.outbox import EvidenceEntry
from duecare.rules.engine import Engine
from duecare.store.home import Home
from duecare.systems.passes import changes, enrolment, holders, messages, offers, refunds, sales
from duecare.systems.passes.matching import FACE, Template
from duecare.systems.passes.models import Card, Holder, Pass, Period
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO, Product, Way
from duecare.systems.passes.purposes import CONTRACT, NOTICE
from duecare.systems.passes.sales import Buyer, Sold
from duecare.vault import erasure, retention

from .people import FACES, FINGERS, HE, SHE, face, finger, id_number


def sell(park: Park, *buyers: Buyer) -> Sold:
    return sales.sell(park, "pass_for_two", buyers or (HE, SHE), screen="counter 1", actor="clerk")


def reasons(error: Forbidden) -> str:
    return " ".join([str(error), *error.reasons])


def test_what_is_sold(park: Park, sold: Sold) -> None:
    """A pass for two costs 1,360 yuan and is valid for 365 days from its sale; each holder has a card of their own."""
    assert (sold.price, sold.first, sold.last) == (Decimal("1360.00"), date(2019, 4, 27), date(2020, 4, 25))
    assert [each.method for each in sold.cards] == ["card_fingerprint", "card_id_card"]
    assert len({each.card for each in sold.cards} | {each.subject for each in sold.cards}) == 4
    assert sold.cards[0].card not in repr(sold)
    assert HE.id_number not in repr(HE)


def test_what_a_sale_agrees_to(park: Park, sold: Sold) -> None:
    """Buying agrees to the contract and to entry by ID card, and to no biometrics, whatever way in was chosen."""
    with park.home.database.session() as session:
        for each in sold.cards:
            stands = {grant.purpose for grant in grants.standing(session, each.subject)}
            assert {"pass_contract", "card_entry"} <= stands <= {"pass_contract", "card_entry", "mail_contact"}
            assert notices.binding(session, each.subject, NOTICE) == 1


def test_what_is_kept_is_sealed(park: Park, sold: Sold) -> None:
    """Names and numbers are in the vault alone, and found by an exact number."""
    assert park.vault.open("name", sold.cards[0].subject, CONTRACT, "clerk") == HE.name
    assert holders.identify(park, f" {HE.id_number[:6]} {HE.id_number[6:]}", "clerk") == sold.cards[0].subject
    with pytest.raises(UseError, match="No pass is held") as caught:
        holders.identify(park, id_number(7), "clerk")
    assert id_number(7) not in str(caught.value)


def test_several_passes_of_one_person(park: Park, sold: Sold) -> None:
    """Who holds several passes is asked which one; a pass that is named is found."""
    second = sell(park)
    with pytest.raises(UseError, match="several passes"):
        holders.identify(park, HE.id_number, "clerk")
    assert holders.identify(park, HE.id_number, "clerk", pass_id=second.pass_id) == second.cards[0].subject


@pytest.mark.parametrize(
    ("buyers", "why"),
    [
        ([HE], "for 2 by name; 1 were given"),
        ([HE, Buyer(" ", id_number(2), "13800138002")], "has no name"),
        ([HE, Buyer("乙", "123", "13800138002")], "not the number of an ID card"),
        ([HE, Buyer("乙", id_number(2), "call me")], "not a telephone number"),
        ([HE, Buyer("乙", id_number(2), "13800138002", mail="nowhere")], "not a mail address"),
        ([HE, Buyer("乙", id_number(2), "13800138002", "card_ear")], "card_ear"),
        (
            [HE, Buyer("乙", id_number(2), "13800138002", "card_face")],
            "is not on sale with card_face. It is with card_id_card, card_fingerprint",
        ),
    ],
)
def test_a_sale_that_cannot_be_made(park: Park, buyers: list[Buyer], why: str) -> None:
    """A wrong number, name or way in stops the whole sale: nothing of it is left."""
    with pytest.raises((BadInput, UnknownName), match=why):
        sell(park, *buyers)
    with park.home.database.session() as session:
        assert [session.scalar(select(each).limit(1)) for each in (Pass, Period, Holder, Card)] == [None] * 4


@pytest.mark.parametrize(
    "buyer",
    [Buyer("丙某某", "110105194912310021", "13800138002"), Buyer("丙某某", id_number(2), "1380013800x"),
     Buyer("丙某某", id_number(2), "13800138002", mail="third.person")],
    ids=["id_number", "phone", "mail"],
)  # fmt: skip
def test_an_error_does_not_repeat_what_a_person_gave(park: Park, buyer: Buyer) -> None:
    """Errors go to screens and into logs: what was misread at the counter is not in them."""
    with pytest.raises(BadInput) as raised:
        sell(park, HE, buyer)
    told = "".join(traceback.format_exception(raised.value))
    assert not [each for each in (buyer.name, buyer.id_number, buyer.phone, buyer.mail) if each and each in told]


def test_tickets_name_nobody(park: Park) -> None:
    """A ticket with a name is refused: what is not needed is not taken."""
    with pytest.raises(BadInput, match="for nobody by name"):
        sales.sell(park, "single_ticket", [HE], screen="counter", actor="clerk")
    with pytest.raises(UnknownName, match="pass_for_two"):
        sales.sell(park, "pass_for_tow", [HE, SHE], screen="counter", actor="clerk")


def test_biometrics_are_never_the_only_way(park: Park) -> None:
    """A sale with faces alone, or with a dearer card and ID card beside them, is denied, naming the holding."""
    with park.home.database.session() as session, pytest.raises(Forbidden) as caught:
        offers.open_sale(session, park.engine, PASS_FOR_TWO, ["card_face"], park.now())
    assert "only_biometric" in reasons(caught.value)
    dear = Product(
        "p", "年卡", "pass", 1, (Way("card_face", Decimal(1360), 365), Way("card_id_card", Decimal(1400), 365))
    )
    with park.home.database.session() as session, pytest.raises(Forbidden):
        offers.open_sale(session, park.engine, dear, ["card_face", "card_id_card"], park.now())
    with park.home.database.session() as session:
        assert {way.method for way in offers.standing(session, PASS_FOR_TWO)} == set(FINGERS)
        assert offers.standing(session, dear) == ()


def test_the_choice_that_is_shown(park: Park) -> None:
    """A buyer is shown every way in with its price and what the rules say to it."""
    with park.home.database.session() as session:
        shown = offers.on_sale(session, park.engine, PASS_FOR_TWO)
    assert [(each.way.method, each.way.price) for each in shown] == [("card_id_card", 1360), ("card_fingerprint", 1360)]
    assert all("guo_v_safari_park.offer" in each.decision.sentences("zh")[0] for each in shown)


def test_an_operator_who_forbids_the_alternative_does_not_make_biometrics_the_only_way(
    park: Park, tmp_path: Path
) -> None:
    """What an operator's policy takes off sale is no alternative: the biometric ways go with it."""
    policy = '@id("mine.no_card") @en("No card.") forbid (principal, action == Action::"offer", resource is Method)'
    (tmp_path / "mine.cedar").write_text(policy + " when { !context.biometric };")
    engine = Engine.load(tmp_path)
    with park.home.database.session() as session:
        assert any(shown.way.biometric for shown in offers.on_sale(session, park.engine, PASS_FOR_TWO))
        assert offers.on_sale(session, engine, PASS_FOR_TWO) == []
        with pytest.raises(Forbidden) as caught:
            offers.choose(session, engine, PASS_FOR_TWO, "card_fingerprint")
    assert "guo_v_safari_park.only_biometric" in reasons(caught.value)


def test_enrolment_takes_a_consent_of_its_own(park: Park, sold: Sold) -> None:
    """With the template comes a separate grant, for its purpose alone, and the agreed way in changes with it."""
    hers = sold.cards[1].subject
    enrolment.enrol(park, hers, "card_fingerprint", finger("she"), screen="centre 2", actor="clerk")
    with park.home.database.session() as session:
        (given,) = grants.standing(session, hers, "fingerprint_entry")
        assert (given.separate, given.screen) == (True, "centre 2")
        assert holders.by_subject(session, hers).holder.method == "card_fingerprint"
    assert park.vault.open("fingerprint_template", hers, "fingerprint_entry", "clerk") == finger("she")


def test_biometrics_are_never_bundled(park: Park, sold: Sold) -> None:
    """A consent to fingerprints together with another is denied, naming the holding."""
    with park.home.database.session() as session, pytest.raises(Forbidden) as caught:
        grants.give(
            session, park.engine, sold.cards[0].subject, ["pass_photo", "fingerprint_entry"], notice=NOTICE, version=1,
            how="signed", screen="counter", at=park.now(),
        )  # fmt: skip
    assert "guo_v_safari_park.bundled" in reasons(caught.value)


def test_a_template_that_is_none(park: Park, sold: Sold) -> None:
    """A face in the place of a finger, or a template for a way without one, is refused, and no consent is recorded."""
    hers = sold.cards[1].subject
    with pytest.raises(BadInput, match="of the kind face"):
        enrolment.enrol(park, hers, "card_fingerprint", face("she"), screen="centre", actor="clerk")
    with pytest.raises(BadInput, match="takes no template"):
        enrolment.enrol(park, hers, "card_id_card", finger("she"), screen="centre", actor="clerk")
    with pytest.raises(BadInput, match="not on sale with card_face"):
        enrolment.enrol(park, hers, "card_face", face("she"), screen="centre", actor="clerk")
    with park.home.database.session() as session:
        assert grants.standing(session, hers, "fingerprint_entry") == []


def test_the_photo_for_the_pass_feeds_no_recognition(park: Park, sold: Sold) -> None:
    """The photo opens for the pass; for faces it does not open, cannot be allowed, and its purpose refines nothing."""
    his = sold.cards[0].subject
    number = changes.publish(park, ["card_id_card", "card_fingerprint", "card_face"]).number
    changes.answer(park, his, number, accepted=True, how="click", screen="page")
    enrolment.take_photo(park, his, b"\xff\xd8 photo", screen="centre", actor="clerk")
    assert park.vault.open("photo", his, "pass_photo", "clerk") == b"\xff\xd8 photo"
    with pytest.raises(NotGranted) as caught:
        park.vault.open("photo", his, "face_entry", "service:recognition")
    assert "guo_v_safari_park.other_purpose" in reasons(caught.value)
    with park.home.database.session() as session, pytest.raises(NotGranted):
        park.vault.allow(session, his, ["photo"], "face_entry", "service:recognition")
    with park.home.database.session() as session, pytest.raises(NotGranted):
        park.vault.seal(session, his, {"face_template": face("he")}, ["pass_photo"], "service:recognition")
    with pytest.raises(BadInput, match="0 bytes"):
        enrolment.take_photo(park, his, b"", screen="centre", actor="clerk")
    assert Template.parse(face("he"), FACE).kind is FACE


def test_renewals_in_a_row(park: Park, sold: Sold, clock: SetClock) -> None:
    """A renewal in time follows on the last day, and earns 92, 92 and 85 percent, and then a year for nothing."""
    wanted = [
        (2, "1251.20", date(2020, 4, 26), date(2021, 4, 25)),
        (3, "1251.20", date(2021, 4, 26), date(2022, 4, 25)),
        (4, "1156.00", date(2022, 4, 26), date(2023, 4, 25)),
        (5, "0.00", date(2023, 4, 26), date(2024, 4, 24)),
        (6, "1360.00", date(2024, 4, 25), date(2025, 4, 24)),
    ]
    for year, price, first, last in wanted:
        clock.set(datetime(first.year, 4, 1, 4, tzinfo=BEIJING))
        renewed = sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
        assert (renewed.year, str(renewed.price), renewed.first, renewed.last) == (year, price, first, last)


def test_a_renewal_within_the_window(park: Park, sold: Sold, clock: SetClock) -> None:
    """For three months after the last day a renewal continues the row, from the day on which it is paid; not longer."""
    clock.set(datetime(2020, 7, 25, 12, tzinfo=BEIJING))
    renewed = sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
    assert (renewed.year, renewed.first) == (2, date(2020, 7, 25))
    clock.set(datetime(2021, 10, 25, 12, tzinfo=BEIJING))
    with pytest.raises(UseError, match="renewal window on 2021-10-24"):
        sales.renew(park, sold.pass_id, screen="counter", actor="clerk")


@pytest.mark.parametrize(
    ("paid", "again"), [(date(2019, 5, 1), date(2020, 4, 27)), (date(2020, 5, 1), date(2020, 5, 2))]
)
def test_one_year_ahead_at_most(park: Park, sold: Sold, clock: SetClock, paid: date, again: date) -> None:
    """A second click is refused and told when it may be: once the year that the first one added has begun."""
    clock.set(datetime(paid.year, paid.month, paid.day, 10, tzinfo=BEIJING))
    last = sales.renew(park, sold.pass_id, screen="counter", actor="clerk").last
    for moment in (park.now(), datetime(again.year, again.month, again.day, tzinfo=BEIJING) - timedelta(seconds=1)):
        clock.set(moment)
        with pytest.raises(UseError, match=f"renewed already, from .* to {last}") as refused:
            sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
        assert f"again from {again} on" in str(refused.value)
    clock.advance(timedelta(seconds=1))
    assert sales.renew(park, sold.pass_id, screen="counter", actor="clerk").year == 3


def test_a_renewal_moves_retention(park: Park, sold: Sold, clock: SetClock) -> None:
    """What would have gone three months after the first year stays with the renewal, and goes after the second."""
    his = sold.cards[0].subject
    enrolment.enrol(park, his, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    clock.set(datetime(2020, 4, 1, 12, tzinfo=BEIJING))
    sales.renew(park, sold.pass_id, screen="counter", actor="clerk")

    def due(day: date) -> set[tuple[str, str]]:
        with park.home.database.session() as session:
            at = datetime(day.year, day.month, day.day, 12, tzinfo=BEIJING)
            return {(each.purpose, each.subject) for each in retention.due(park.vault, session, at)}

    assert due(date(2020, 7, 26)) == set()
    assert due(date(2021, 7, 25)) == set()
    assert ("fingerprint_entry", his) in due(date(2021, 7, 26))
    assert ("pass_contract", his) not in due(date(2027, 4, 25))
    assert ("pass_contract", his) in due(date(2027, 4, 26))


def test_tickets_are_not_renewed(park: Park) -> None:
    """A ticket has one day."""
    ticket = sales.sell(park, "single_ticket", screen="counter", actor="clerk")
    with pytest.raises(UseError, match="is not renewed"):
        sales.renew(park, ticket.pass_id, screen="counter", actor="clerk")


def test_a_refund_where_the_agreed_way_ended(park: Park, sold: Sold, clock: SetClock) -> None:
    """Both holders agreed to fingerprints, which end; they decline faces: on 26 October 678 of 1,360 yuan are due."""
    couple = sell(park, HE, Buyer("成员丙", id_number(3), "13800138003", "card_fingerprint"))
    both = [each.subject for each in couple.cards]
    with pytest.raises(UseError, match="No refund is owed"):
        refunds.pay_back(park, couple.pass_id, both, reason="asks for it", actor="clerk")
    changes.publish(park, FACES)
    changes.end_method(park, "card_fingerprint", note="fingerprint gates stopped")
    clock.set(datetime(2019, 10, 26, 10, tzinfo=BEIJING))
    with park.home.database.session() as session:
        assert all(refunds.entitled(session, holders.by_subject(session, each), park.today()) for each in both)
        assert not refunds.entitled(session, holders.by_subject(session, sold.cards[1].subject), park.today())
    paid = refunds.pay_back(park, couple.pass_id, both, reason="declines faces", actor="clerk")
    assert (paid.amount, paid.days_left, paid.days) == (678, 182, 365)
    with pytest.raises(UseError, match="or they were"):
        refunds.pay_back(park, couple.pass_id, both, reason="again", actor="clerk")
    with park.home.database.session() as session:
        assert holders.by_subject(session, both[0]).fault(date(2019, 10, 27)) == "gate.refunded"
        due = retention.due(park.vault, session, datetime(2020, 1, 27, 12, tzinfo=BEIJING))
        assert {each.subject for each in due} == set(both)
    with pytest.raises(UseError, match="was refunded"):
        sales.renew(park, couple.pass_id, screen="counter", actor="clerk")


def test_a_refund_for_one_of_two(park: Park, sold: Sold, clock: SetClock) -> None:
    """One who leaves a pass for two is refunded half of its price, and the other goes on."""
    changes.publish(park, FACES)
    changes.end_method(park, "card_fingerprint", note="fingerprint gates stopped")
    clock.set(datetime(2019, 10, 26, 10, tzinfo=BEIJING))
    his, hers = (each.subject for each in sold.cards)
    assert refunds.pay_back(park, sold.pass_id, [his], reason="declines", actor="clerk").amount == 339
    with park.home.database.session() as session:
        assert holders.by_subject(session, hers).fault(park.today()) == ""
    clock.set(datetime(2020, 4, 1, 10, tzinfo=BEIJING))
    renewed = sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
    assert ([each.subject for each in renewed.cards], str(renewed.price)) == ([hers], "625.60")


def test_nothing_is_taken_for_a_pass_that_was_refunded(park: Park, sold: Sold) -> None:
    """It opens the gates until the day is over, but no photo or finger is taken for it any more."""
    his = sold.cards[0].subject
    refunds.pay_back(park, sold.pass_id, [his], reason="moves", actor="clerk", goodwill=True)
    with pytest.raises(UseError, match="nothing is taken for it any more"):
        enrolment.take_photo(park, his, b"photo", screen="centre", actor="clerk")
    with pytest.raises(UseError, match="nothing is taken for it any more"):
        enrolment.enrol(park, his, "card_fingerprint", finger("he"), screen="centre", actor="clerk")


def test_refunds_one_after_the_other(park: Park, sold: Sold) -> None:
    """Two holders who leave one after the other are each refunded their own half, and never the other's."""
    his, hers = (each.subject for each in sold.cards)
    for subject in (his, hers):
        paid = refunds.pay_back(park, sold.pass_id, [subject], reason="moves", actor="clerk", goodwill=True)
        assert (paid.price, paid.amount) == (680, 678)


def test_a_refund_of_a_pass_renewed_early(park: Park, sold: Sold, clock: SetClock) -> None:
    """The year that runs is refunded pro rata, and the one that has not begun as it was paid."""
    clock.set(datetime(2020, 4, 20, 10, tzinfo=BEIJING))
    sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
    both = [each.subject for each in sold.cards]
    paid = refunds.pay_back(park, sold.pass_id, both, reason="moves", actor="clerk", goodwill=True)
    assert (paid.days_left, paid.days, str(paid.amount)) == (5 + 365, 730, str(Decimal(19) + Decimal("1251.20")))


def test_who_accepts_is_owed_nothing(park: Park, sold: Sold) -> None:
    """Who accepted the new notice agreed to the change; a refund to them is goodwill, and says so."""
    his = sold.cards[0].subject
    number = changes.publish(park, FACES).number
    changes.answer(park, his, number, accepted=True, how="click", screen="page")
    changes.end_method(park, "card_fingerprint", note="fingerprint gates stopped")
    with pytest.raises(UseError, match="No refund is owed"):
        refunds.pay_back(park, sold.pass_id, [his], reason="moved away", actor="clerk")
    with pytest.raises(BadInput, match="no reason"):
        refunds.pay_back(park, sold.pass_id, [his], reason=" ", actor="clerk", goodwill=True)
    assert refunds.pay_back(park, sold.pass_id, [his], reason="moved away", actor="clerk", goodwill=True).amount > 0


def test_only_holders_are_refunded(park: Park, sold: Sold) -> None:
    """A stranger, nobody, or the same holder twice is refused."""
    other = sell(park).cards[0].subject
    for readers in ([other], [], [sold.cards[0].subject] * 2):
        with pytest.raises(UseError, match="not held by those"):
            refunds.pay_back(park, sold.pass_id, readers, reason="x", actor="clerk", goodwill=True)


def test_a_refund_where_a_way_ended_without_a_new_notice(park: Park, sold: Sold, clock: SetClock) -> None:
    """The agreed way ends under the notice that promised it: a refund is owed as long as a day is left."""
    his = sold.cards[0].subject
    changes.end_method(park, "card_fingerprint", note="fingerprint gates stopped")
    for day, owed in ((date(2019, 10, 26), True), (date(2020, 4, 24), True), (date(2020, 4, 25), False)):
        clock.set(datetime(day.year, day.month, day.day, 10, tzinfo=BEIJING))
        with park.home.database.session() as session:
            assert refunds.entitled(session, holders.by_subject(session, his), day) is owed
            until = retention.expiry(session, his, declared.purpose(session, "pass_contract").retention)
    with pytest.raises(UseError, match="No day of the pass"):
        refunds.pay_back(park, sold.pass_id, [his], reason="late", actor="clerk", goodwill=True)
    with park.home.database.session() as session:
        assert retention.expiry(session, his, declared.purpose(session, "pass_contract").retention) == until


def test_a_renewal_takes_no_agreed_way_away(park: Park, sold: Sold, clock: SetClock) -> None:
    """While the year runs that was agreed with fingerprints, a renewal without them is refused; after it, card and ID
    card are agreed for the new year, recorded and told, and the fingerprint is erased."""
    his = sold.cards[0].subject
    enrolment.enrol(park, his, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    changes.publish(park, FACES)
    clock.set(datetime(2020, 4, 25, 10, tzinfo=BEIJING))
    with pytest.raises(UseError, match="agreed with a holder of this pass until 2020-04-25"):
        sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
    assert park.vault.open("fingerprint_template", his, "fingerprint_entry", "service:gate-east") == finger("he")
    clock.set(datetime(2020, 4, 26, 10, tzinfo=BEIJING))
    assert sales.renew(park, sold.pass_id, screen="counter", actor="clerk").cards[0].method == "card_id_card"
    with pytest.raises(Erased):
        park.vault.open("fingerprint_template", his, "fingerprint_entry", "service:gate-east")
    with park.home.database.session() as session:
        kinds = [row.kind for row in session.scalars(select(EvidenceEntry).order_by(EvidenceEntry.id))]
        assert kinds.index("pass:method", kinds.index("notice:publish", 1)) < kinds.index("pass:renew")
        assert [each.kind for each in messages.of_holder(session, his)][-1] == "renewed"


def test_one_who_was_erased_leaves_the_pass_to_the_other(park: Park, sold: Sold, clock: SetClock) -> None:
    """An erasure by the operator's own command ends the one holder's part, and the other renews theirs."""
    his, hers = (each.subject for each in sold.cards)
    erasure.erase(park.vault, his)
    clock.set(datetime(2020, 4, 20, 10, tzinfo=BEIJING))
    assert [each.subject for each in sales.renew(park, sold.pass_id, screen="c", actor="clerk").cards] == [hers]


def test_nothing_is_taken_for_a_pass_that_is_over(park: Park, sold: Sold, clock: SetClock) -> None:
    """No photo and no fingerprint of who was refunded, was erased, or has not renewed."""
    his, hers = (each.subject for each in sold.cards)
    refunds.pay_back(park, sold.pass_id, [his], reason="moves", actor="clerk", goodwill=True)
    clock.set(datetime(2020, 4, 26, 10, tzinfo=BEIJING))
    for subject in (his, hers):
        with pytest.raises(UseError, match="nothing is taken for it any more"):
            enrolment.enrol(park, subject, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
        with pytest.raises(UseError, match="nothing is taken for it any more"):
            enrolment.take_photo(park, subject, b"photo", screen="centre", actor="clerk")
    erasure.erase(park.vault, hers)
    with pytest.raises(UnknownName):
        enrolment.take_photo(park, hers, b"photo", screen="centre", actor="clerk")


def test_two_holders_are_two_people(park: Park) -> None:
    """The same ID card twice on one pass is refused: neither could be told from the other."""
    with pytest.raises(BadInput, match="the same ID card"):
        sell(park, HE, HE)


def test_the_evidence_of_a_sale(park: Park, sold: Sold) -> None:
    """Sale and seal leave entries that say what and by whom, and name nobody."""
    with park.home.database.session() as session:
        rows = session.scalars(select(EvidenceEntry).order_by(EvidenceEntry.id)).all()
    kinds = [row.kind for row in rows]
    assert {"product:offer", "notice:publish", "grant:give", "field:seal", "pass:sell"} <= set(kinds)
    text = "".join(row.body + row.subject for row in rows)
    for secret in (HE.name, HE.id_number, HE.phone, sold.cards[0].subject, sold.cards[0].card):
        assert secret not in text


def test_a_clerk_and_a_second_look(home: Home, park: Park, sold: Sold, clock: SetClock) -> None:
    """Opening the home again changes nothing: the offers, the notice and the holders are as they were."""
    again = Park.open(home)
    changed = changes.publish(again, FINGERS)
    assert (changed.number, changed.told) == (1, 0)
    clock.advance(timedelta(days=1))
    with home.database.session() as session:
        assert len(holders.of_pass(session, sold.pass_id)) == 2
        with pytest.raises(UnknownName):
            holders.of_pass(session, "0" * 32)
        with pytest.raises(UnknownName):
            holders.by_subject(session, "0" * 32)
        with pytest.raises(UnknownName):
            holders.held(session, 10**6)
    again.vault.close()
