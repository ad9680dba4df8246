"""An older copy of the database is put back beside the newer log and keys: no right that ended since comes back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from duecare.clock import SetClock
from duecare.consent import notices
from duecare.evidence.checkpoint import SigningKey
from duecare.evidence.outbox import EvidenceEntry, read_entries
from duecare.settings import load
from duecare.store.database import Base
from duecare.store.home import Home
from duecare.systems.passes import (
    changes,
    clerks,
    enrolment,
    entries,
    gates,
    holders,
    lacking,
    lists,
    messages,
    offers,
    refunds,
    replay,
    sales,
    truth,
)
from duecare.systems.passes.device import Presentation
from duecare.systems.passes.models import Conflict, GateAnswer, HolderMessage, PaidBack, Visit
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO, SINGLE_TICKET
from duecare.systems.passes.purposes import NOTICE
from duecare.systems.passes.sales import Buyer, Sold
from duecare.systems.passes.wire import Record
from duecare.vault import retention
from duecare.vault.backup import backup, restore
from duecare.vault.copies import Copy, Missing

from ...vault.copies import DatabaseCopy, drop_copy
from ...vault.test_backup import strip
from .conftest import BOUGHT
from .people import FACES, FINGERS, HE, SHE, face, finger

LATER = BOUGHT + timedelta(hours=2)


@dataclass
class Rig:
    """A home whose database can go back in time, beside its log and keys."""

    folder: Path
    url: str
    clock: SetClock

    @contextmanager
    def opened(self, at: datetime) -> Iterator[Park]:
        self.clock.set(at)
        with Home(self.settings, self.clock) as home, Park.open(home, witnessed_by=[]) as park:
            yield park

    @property
    def settings(self) -> Any:
        return load(
            home=self.folder / "home", database_url=self.url, controller_name="某野生动物世界有限公司",
            controller_code="91330100000000000X", controller_address="某市某区某路1号",
            controller_contact="privacy@park.example",
        )  # fmt: skip

    def copy(self, name: str = "copy") -> DatabaseCopy:
        return DatabaseCopy(self.url, self.folder, name)


@dataclass
class Sales:
    """What was sold before the copy was taken."""

    two: Sold
    ticket: Sold
    clerk: str


@pytest.fixture
def rig(database_url: str, tmp_path: Path, clock: SetClock) -> Iterator[Rig]:
    made = Rig(tmp_path, database_url, clock)
    with made.opened(BOUGHT) as park:
        changes.publish(park, FINGERS)
        changes.open_tickets(park)
    yield made
    drop_copy(database_url)
    drop_copy(database_url, "newer")


@pytest.fixture
def before(rig: Rig) -> Sales:
    """A pass for two, of whom one enrolled a finger; a ticket; and a clerk."""
    with rig.opened(BOUGHT) as park:
        two, ticket = sold(park), sales.sell(park, "single_ticket", screen="counter", actor="clerk")
        enrolment.enrol(park, two.cards[0].subject, "card_fingerprint", finger("he"), screen="counter", actor="clerk")
        with park.home.database.session() as session:
            key = clerks.add(session, "mei", park.now())
    return Sales(two, ticket, key)


def sold(park: Park, *buyers: Buyer) -> Sold:
    return sales.sell(park, "pass_for_two", buyers or [HE, SHE], screen="counter", actor="clerk")


def ask(park: Park, card: str, gate: str = "east", **shown: Any) -> tuple[bool, list[str]]:
    """What a gate is answered, and why."""
    question = Presentation(card, **shown).question(park.now())
    answer = entries.enter(park, gate, question, secrets.token_hex(16))
    return answer.open, [word.id for word in answer.words]


def lose(park: Park, before: Sales) -> None:
    sales.report_lost(park, before.two.cards[1].subject, actor="clerk")


def refund(park: Park, before: Sales) -> None:
    readers = [before.two.cards[1].subject]
    refunds.pay_back(park, before.two.pass_id, readers, reason="moves away", actor="clerk", goodwill=True)


def use(park: Park, before: Sales) -> None:
    assert ask(park, before.ticket.cards[0].card) == (True, ["gate.ticket"])


def withdraw(park: Park, before: Sales) -> None:
    truth.withdraw(park, before.two.cards[0].subject, "fingerprint_entry", how="a click", screen="my data")


def shown_alone(park: Park, before: Sales) -> tuple[bool, list[str]]:
    return ask(park, before.ticket.cards[0].card)


def shown_by_her(park: Park, before: Sales) -> tuple[bool, list[str]]:
    return ask(park, before.two.cards[1].card, id_number=SHE.id_number)


def finger_shown(park: Park, before: Sales) -> tuple[bool, list[str]]:
    return ask(park, before.two.cards[0].card, template=finger("he", 1))


ENDS = {
    "lost card": (lose, shown_by_her, timedelta(0)),
    "refund": (refund, shown_by_her, timedelta(days=1)),
    "used ticket": (use, shown_alone, timedelta(0)),
    "withdrawn finger": (withdraw, finger_shown, timedelta(0)),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_ended_since_the_copy_stays_ended(rig: Rig, before: Sales, name: str) -> None:
    """The gate opened before the act; on the older copy it answers as it did after it."""
    act, shown, wait = ENDS[name]
    copy = rig.copy()
    with rig.opened(LATER) as park:
        act(park, before)
        rig.clock.set(LATER + wait)
        answered = shown(park, before)
    assert answered[0] is False
    copy.put_back()
    with rig.opened(LATER + wait) as park:
        assert shown(park, before) == answered
        assert sum(park.vault.recovered.again.values()) >= 1
        assert not park.vault.recovered.missing
        said = evidence(park, "erasure:replay")[-1]
        assert said["again"] == dict(park.vault.recovered.again)
    with rig.opened(LATER + wait) as park:
        assert park.vault.recovered.again == {}, "once is enough"
        assert shown(park, before) == answered


@pytest.mark.parametrize("name", ENDS)
def test_without_an_end_the_copy_opens_as_before(rig: Rig, before: Sales, name: str) -> None:
    """Something else happened since the copy: nothing is taken from those whom it does not concern."""
    _, shown, wait = ENDS[name]
    copy = rig.copy()
    with rig.opened(LATER) as park, park.home.database.session() as session:
        gates.add_gate(session, SigningKey.make("west").verifier, park.now())
    copy.put_back()
    with rig.opened(LATER + wait) as park:
        assert shown(park, before)[0] is True


def test_a_sealed_backup_is_restored(rig: Rig, before: Sales, tmp_path: Path) -> None:
    """The same with ``duecare backup`` and ``restore``: all at once, beside the keys and the log that were left."""
    with rig.opened(BOUGHT) as park:
        made = backup(park.home, tmp_path / "backup")
    with rig.opened(LATER) as park:
        use(park, before)
        lose(park, before)
        later = sold(park, *others())
    strip(rig.folder / "home", rig.url, "keys", "log", "home.id")
    restore(rig.settings, made.folder)
    with rig.opened(LATER) as park:
        assert park.vault.recovered.again == {"entry:open": 1, "card:lose": 1}
        assert park.vault.recovered.missing == (Missing("pass", later.pass_id, 2, later.last),)
        assert shown_alone(park, before) == (False, ["gate.used"])
        assert shown_by_her(park, before) == (False, ["gate.card_lost"])


def others() -> list[Buyer]:
    return [Buyer("成员丙", "11010519491231002X", "13800138003"), Buyer("成员丁", "330108197001010011", "13800138004")]


def test_a_pass_sold_after_the_copy_is_named_and_refused_with_the_reason(rig: Rig, before: Sales) -> None:
    """Who bought it is gone: the operator is told which pass, the person at the gate what to do; until it is over."""
    copy = rig.copy()
    with rig.opened(LATER) as park:
        later = sold(park, *others())
    card, number = later.cards[0].card, others()[0].id_number
    copy.put_back()
    with rig.opened(LATER) as park:
        assert ask(park, card, id_number=number) == (False, ["gate.card_not_restored"])
        with park.home.database.session() as session:
            assert lacking.lacking(session, park) == [Missing("pass", later.pass_id, 2, later.last)]
        assert evidence(park, "erasure:replay")[-1]["missing"] == {"pass": 2}
    with rig.opened(BOUGHT + timedelta(days=366)) as park, park.home.database.session() as session:
        assert lacking.lacking(session, park) == []
    with rig.opened(BOUGHT + timedelta(days=366)) as park:
        assert ask(park, card, id_number=number) == (False, ["gate.unknown_card"])


def test_a_card_that_replaced_another_is_missing_until_a_new_one_is_issued(rig: Rig, before: Sales) -> None:
    """The old card stays shut, the new one is not known, and the holder gets another."""
    copy = rig.copy()
    with rig.opened(LATER) as park:
        first = sales.replace_card(park, SHE.id_number, actor="clerk")
    copy.put_back()
    with rig.opened(LATER) as park:
        assert park.vault.recovered.again == {"card:lose": 1}
        assert park.vault.recovered.missing == (Missing("card", before.two.pass_id, 1, before.two.last),)
        assert shown_by_her(park, before) == (False, ["gate.card_lost"])
        assert ask(park, first.card, id_number=SHE.id_number) == (False, ["gate.card_not_restored"])
        again = sales.replace_card(park, SHE.id_number, actor="clerk")
        assert ask(park, again.card, id_number=SHE.id_number)[0]
        with park.home.database.session() as session:
            assert lacking.lacking(session, park) == []
        assert ask(park, first.card, id_number=SHE.id_number) == (False, ["gate.unknown_card"])


def test_a_copy_that_is_put_back_twice(rig: Rig, before: Sales) -> None:
    """What was done after the first restore is done again too, and the card that was issued then is not lost by the
    loss of the one before."""
    copy = rig.copy()
    with rig.opened(LATER) as park:
        lose(park, before)
    copy.put_back()
    with rig.opened(LATER + timedelta(hours=1)) as park:
        issued = sales.replace_card(park, SHE.id_number, actor="clerk")
        use(park, before)
    copy.put_back()
    with rig.opened(LATER + timedelta(hours=2)) as park:
        assert shown_alone(park, before) == (False, ["gate.used"])
        assert shown_by_her(park, before) == (False, ["gate.card_lost"])
        assert ask(park, issued.card, id_number=SHE.id_number) == (False, ["gate.card_not_restored"])


def test_a_newer_copy_that_is_put_back_after_an_older_one(rig: Rig, before: Sales) -> None:
    """The wrong backup first: what the right one has is not done again, and misses nothing of the time between."""
    he = before.two.cards[0].subject
    older = rig.copy()
    with rig.opened(LATER) as park:
        use(park, before)
        lose(park, before)
        changes.publish(park, FACES)
        changes.answer(park, he, 2, accepted=True, how="a click", screen="my pass")
        enrolment.enrol(park, he, "card_face", face("he"), screen="counter", actor="clerk")
        issued = sales.replace_card(park, SHE.id_number, actor="clerk")
        sold(park, *others())
        sales.renew(park, before.two.pass_id, screen="counter", actor="clerk")
        known = dump(park, *TABLES, "retention_events", "erasures", "legal_holds")
    newer = rig.copy("newer")
    older.put_back()
    with rig.opened(LATER + timedelta(hours=1)) as park, park.home.database.session() as session:
        assert {each.what for each in lacking.lacking(session, park)} == {"pass", "card", "enrolment", "notice"}
    newer.put_back()
    with rig.opened(LATER + timedelta(hours=2)) as park:
        assert dump(park, *TABLES, "retention_events", "erasures", "legal_holds") == known
        with park.home.database.session() as session:
            assert lacking.lacking(session, park) == []
        assert ask(park, issued.card, id_number=SHE.id_number)[0]
        assert ask(park, before.two.cards[0].card, template=face("he", 1))[0]
        assert shown_alone(park, before) == (False, ["gate.used"])


class Ticking(SetClock):
    """A clock that is never asked twice at the same time."""

    def now(self) -> datetime:
        self.advance(timedelta(microseconds=1))
        return super().now()


def test_a_lost_card_is_lost_since_the_same_moment(rig: Rig, before: Sales) -> None:
    """The database and the log date one act alike."""
    copy, rig.clock = rig.copy(), Ticking(LATER)
    with rig.opened(LATER) as park:
        lose(park, before)
        known = dump(park, "pass_cards")
    copy.put_back()
    with rig.opened(LATER + timedelta(hours=1)) as park:
        assert dump(park, "pass_cards") == known


def test_the_rights_are_dated_as_the_log_dates_them(rig: Rig, before: Sales) -> None:
    """A loss, a refund and a visit have the times that they had, and the books the refund, once."""
    copy = rig.copy()

    def account(park: Park) -> list[Any]:
        with park.home.database.session() as session:
            page = [truth.truth(park, each.subject) for each in before.two.cards]
            paid = [
                {key: value for key, value in vars(row).items() if key not in ("_sa_instance_state", "id")}
                for row in session.scalars(select(PaidBack))
            ]
        return [[each["pass"], each["visits"]] for each in page] + [paid]

    with rig.opened(LATER) as park:
        assert shown_by_her(park, before)[0]
        lose(park, before)
        refund(park, before)
        known = account(park)
    assert known[-1]
    copy.put_back()
    with rig.opened(LATER) as park:
        assert account(park) == known


def test_a_renewal_is_paid_for_and_comes_back(rig: Rig, before: Sales) -> None:
    """The year that was added stands whole in the log."""
    day = datetime.combine(before.two.last, BOUGHT.timetz())
    copy = rig.copy()
    with rig.opened(day) as park:
        renewed = sales.renew(park, before.two.pass_id, screen="counter", actor="clerk")
        known = dump(park, "pass_periods")
    copy.put_back()
    with rig.opened(day + timedelta(days=1)) as park:
        assert dump(park, "pass_periods") == known
        assert shown_by_her(park, before)[0]
        assert renewed.first == before.two.last + timedelta(days=1)


def test_an_answer_to_a_notice_comes_back(rig: Rig, before: Sales) -> None:
    """Who declined has declined; who accepted a notice without their way in has left it."""
    he, she = (each.subject for each in before.two.cards)
    with rig.opened(BOUGHT) as park:
        changes.publish(park, FACES)
    copy = rig.copy()
    with rig.opened(LATER) as park:
        changes.answer(park, she, 2, accepted=False, how="by telephone", screen="post")
        changes.answer(park, he, 2, accepted=True, how="a click", screen="my pass")
        with park.home.database.session() as session:
            known = changes.answers(session, park, 2)
    assert known.declined == (she,)
    assert known.accepted == (he,)
    copy.put_back()
    with rig.opened(LATER) as park, park.home.database.session() as session:
        assert changes.answers(session, park, 2) == known
        assert notices.binding(session, he, NOTICE) == 2
        assert holders.by_subject(session, he).holder.method == "card_id_card"
        said = session.query(EvidenceEntry).filter_by(kind="notice:answer").count()
        assert said == 2, "nothing is said twice"


def test_a_way_that_was_enrolled_since_gives_way_to_the_id_card(rig: Rig, before: Sales) -> None:
    """The consent and the template are lost with the database: what was left is left, and the operator is told."""
    he = before.two.cards[0].subject
    with rig.opened(BOUGHT) as park:
        changes.publish(park, FACES)
        changes.answer(park, he, 2, accepted=True, how="a click", screen="my pass")
    copy = rig.copy()
    with rig.opened(LATER) as park:
        enrolment.enrol(park, he, "card_face", face("he"), screen="counter", actor="clerk")
        assert ask(park, before.two.cards[0].card, template=face("he", 1))[0]
    copy.put_back()
    with rig.opened(LATER) as park:
        assert park.vault.recovered.missing == (Missing("enrolment", before.two.pass_id, 1, before.two.last),)
        with park.home.database.session() as session:
            assert holders.by_subject(session, he).holder.method == "card_id_card"
        assert not ask(park, before.two.cards[0].card, template=face("he", 1))[0]
        assert ask(park, before.two.cards[0].card, id_number=HE.id_number)[0]


def test_whom_nobody_expects_is_not_missing(rig: Rig, before: Sales) -> None:
    """A pass that was sold since the copy and paid back since, one whose holder had all erased, a ticket that was used:
    nobody is to be given another in its place."""
    copy = rig.copy()
    with rig.opened(LATER) as park:
        back, erased = sold(park, *others()), sold(park, *others())
        ticket, unused = (sales.sell(park, "single_ticket", screen="counter", actor="clerk") for _ in range(2))
        readers = [each.subject for each in back.cards]
        refunds.pay_back(park, back.pass_id, readers, reason="moves away", actor="clerk", goodwill=True)
        truth.erase(park, erased.cards[0].subject, ends_pass=True, how="a letter", screen="post")
        assert ask(park, ticket.cards[0].card)[0]
    copy.put_back()
    with rig.opened(LATER) as park, park.home.database.session() as session:
        left = [Missing("pass", erased.pass_id, 1, erased.last), Missing("pass", unused.pass_id, 1, unused.last)]
        assert lacking.lacking(session, park) == left
        assert park.vault.recovered.missing == tuple(left)


def test_what_is_missing_of_a_renewed_pass_is_missing_until_its_new_end(rig: Rig, before: Sales) -> None:
    """Of a pass that is gone, and of a card for one that is there."""
    copy = rig.copy()
    with rig.opened(LATER) as park:
        gone = sold(park, *others())
        sales.replace_card(park, SHE.id_number, actor="clerk")
    with rig.opened(LATER + timedelta(days=300)) as park:
        for each in (gone, before.two):
            last = sales.renew(park, each.pass_id, screen="counter", actor="clerk").last
    copy.put_back()
    in_its_second_year = LATER + timedelta(days=370)
    with rig.opened(in_its_second_year) as park, park.home.database.session() as session:
        known = [Missing("pass", gone.pass_id, 2, last), Missing("card", before.two.pass_id, 1, last)]
        assert lacking.lacking(session, park) == known
        assert set(park.vault.recovered.missing) == set(known), "and the restore says the same"
    with rig.opened(in_its_second_year) as park:
        refunds.pay_back(
            park, before.two.pass_id, [before.two.cards[1].subject], reason="moves", actor="clerk", goodwill=True
        )
        with park.home.database.session() as session:
            assert lacking.lacking(session, park) == known[:1], "who has left needs no card"


def test_an_enrolment_is_missing_until_it_is_done_again(rig: Rig, before: Sales) -> None:
    """Whoever shares the pass and chose the ID card misses none."""
    he = before.two.cards[0].subject
    with rig.opened(BOUGHT) as park:
        changes.publish(park, FACES)
        changes.answer(park, he, 2, accepted=True, how="a click", screen="my pass")
    copy = rig.copy()
    with rig.opened(LATER) as park:
        enrolment.enrol(park, he, "card_face", face("he"), screen="counter", actor="clerk")
    copy.put_back()
    with rig.opened(LATER + timedelta(hours=1)) as park:
        with park.home.database.session() as session:
            assert lacking.lacking(session, park) == [Missing("enrolment", before.two.pass_id, 1, before.two.last)]
        enrolment.enrol(park, he, "card_face", face("he"), screen="counter", actor="clerk")
        with park.home.database.session() as session:
            assert lacking.lacking(session, park) == []


def test_a_pass_that_a_legal_hold_keeps_is_over_all_the_same(rig: Rig, before: Sales) -> None:
    """Nothing was erased, so that no erasure is replayed; the end of the pass is."""
    she = before.two.cards[1].subject
    with rig.opened(BOUGHT) as park, park.home.database.session() as session:
        about = {"article": "民事诉讼法第八十四条", "reason": "案件审理中", "by": "counsel", "at": BOUGHT}
        retention.legal_hold(session, **about, subject=she)
    copy = rig.copy()
    with rig.opened(LATER) as park:
        truth.erase(park, she, ends_pass=True, how="a letter", screen="post")
    copy.put_back()
    with rig.opened(LATER + timedelta(days=1)) as park:
        assert shown_by_her(park, before) == (False, ["gate.refunded"])


def test_gates_clerks_and_offers_are_what_they_were(rig: Rig, before: Sales) -> None:
    """A gate and a clerk that ended act no more, one that was added acts since then; what is off sale stays off."""
    east, west = SigningKey.make("east").verifier, SigningKey.make("west").verifier
    with rig.opened(BOUGHT) as park, park.home.database.session() as session:
        gates.add_gate(session, east, park.now())
        clerks.add(session, "lan", park.now())
    copy = rig.copy()
    with rig.opened(LATER) as park:
        with park.home.database.session() as session:
            gates.end_gate(session, "east", park.now())
            gates.add_gate(session, west, park.now())
            clerks.end(session, "lan", park.now())
            clerks.add(session, "mei", park.now())
            clerks.add(session, "tao", park.now())
        changes.end_method(park, "card_fingerprint", note="fingerprint gates stopped")
        known = dump(park, "gates"), dump(park, "pass_offers")
    copy.put_back()
    with rig.opened(LATER) as park:
        assert (dump(park, "gates"), dump(park, "pass_offers")) == known
        with park.home.database.session() as session:
            assert clerks.known(session, before.clerk) is None, "her key was replaced"
            assert clerks.clerks(session) == []
            assert [each.name for each in lacking.lacking(session, park)] == ["mei", "tao"]
            assert [way.method for way in offers.standing(session, PASS_FOR_TWO)] == ["card_id_card"]
            assert offers.standing(session, SINGLE_TICKET)
            clerks.add(session, "mei", park.now())
            assert [each.name for each in lacking.lacking(session, park)] == ["tao"]


def alone(card: str, at: datetime, *, opens: bool = True, method: str = "ticket") -> Record:
    question = Presentation(card).question(at)
    return Record(secrets.token_hex(16), question.card, method, question.at, opens, "gate.on_the_list", "0" * 64)


def test_what_a_gate_decided_alone_is_taken_once(rig: Rig, before: Sales) -> None:
    """The gate that was not told that its records were taken hands them over again; what was flagged waits still."""
    once, twice = (alone(before.ticket.cards[0].card, LATER) for _ in range(2))
    copy = rig.copy()
    with rig.opened(LATER) as park:
        assert entries.reconcile(park, "east", [once, twice])[1] == [twice.key]
        known = dump(park, "pass_visits"), dump(park, "gate_answers")
    copy.put_back()
    with rig.opened(LATER) as park:
        assert shown_alone(park, before) == (False, ["gate.used"])
        assert entries.reconcile(park, "east", [once, twice]) == ([once.key, twice.key], [twice.key])
        with park.home.database.session() as session:
            visits = [(each.key, each.offline) for each in session.scalars(select(Visit))]
            assert sorted(visits) == sorted([(once.key, True), (twice.key, True)])
            (flagged,) = entries.conflicts(session)
            assert (flagged.key, flagged.kind, flagged.at) == (twice.key, "used_twice", LATER)
            taken = session.query(GateAnswer).filter(GateAnswer.key.in_([once.key, twice.key])).count()
            assert taken == 2
        assert dump(park, "pass_visits") == known[0]


def test_what_a_person_settled_stays_settled(rig: Rig, before: Sales) -> None:
    """A conflict that was looked at after the copy waits for nobody."""
    records = [alone(before.ticket.cards[0].card, LATER) for _ in range(2)]
    with rig.opened(LATER) as park:
        entries.reconcile(park, "east", records)
    copy = rig.copy()
    with rig.opened(LATER) as park, park.home.database.session() as session:
        (flagged,) = entries.conflicts(session)
        entries.settle(session, flagged.id, by="mei", note="twins", at=park.now())
    copy.put_back()
    with rig.opened(LATER) as park, park.home.database.session() as session:
        (flagged,) = session.scalars(select(Conflict))
        assert (flagged.settled_by, flagged.note, flagged.settled_at) == ("mei", "twins", LATER)


def test_a_question_whose_answer_was_lost_makes_one_visit(rig: Rig, before: Sales) -> None:
    """The centre decided, the gate never heard it and opened by its list: one visit, on the copy too."""
    card = before.ticket.cards[0].card
    said = alone(card, LATER)
    copy = rig.copy()
    with rig.opened(LATER) as park:
        assert entries.enter(park, "east", Presentation(card).question(LATER), said.key).open
    copy.put_back()
    with rig.opened(LATER) as park:
        assert entries.reconcile(park, "east", [said])[0] == [said.key]
        with park.home.database.session() as session:
            assert session.query(Visit).count() == 1


def test_a_message_that_went_out_is_not_owed_again(rig: Rig, before: Sales) -> None:
    """It was due when the copy was taken, and was given up after it; a new one has a key of its own."""
    with rig.opened(BOUGHT) as park:
        changes.publish(park, FACES)
    copy = rig.copy()
    with rig.opened(LATER) as park:
        run, keys = messages._Run(park, messages.Backoff()), []
        with park.home.database.session() as session:
            waiting = list(session.scalars(select(HolderMessage)))
        for each in waiting:
            run._note(each, messages.MessageState.SENT)
        with park.home.database.session() as session:
            messages.queue(session, [before.two.cards[0].subject], changes._over("card_face"), park.now())
            newest = session.scalars(select(HolderMessage).order_by(HolderMessage.id.desc())).first()
            keys.append(run._envelope(newest, "13800138001").key)
    copy.put_back()
    with rig.opened(LATER + timedelta(hours=1)) as park, park.home.database.session() as session:
        states = {(each.state, each.sent_at) for each in session.scalars(select(HolderMessage))}
        assert states == {("sent", LATER)}
        messages.queue(session, [before.two.cards[0].subject], changes._over("card_face"), park.now())
        newest = session.scalars(select(HolderMessage).order_by(HolderMessage.id.desc())).first()
        run = messages._Run(park, messages.Backoff())
        assert run._envelope(newest, "13800138001").key not in keys, "the number was given before"


def dump(park: Park, *tables: str) -> list[Any]:
    """All rows of tables, without the numbers that the database gives."""
    with park.home.database.session() as session:
        found = []
        for name in tables:
            table = Base.metadata.tables[name]
            columns = [each for each in table.columns if each.name != "id"]
            found += [(name, *map(repr, row)) for row in session.execute(select(*columns))]
    return sorted(found)


TABLES = (
    "pass_offers", "passes", "pass_periods", "pass_holders", "pass_cards", "pass_visits", "gates", "gate_answers",
    "gate_conflicts", "pass_refunds", "holder_messages", "pass_clerks", "notice_answers", "grants",
)  # fmt: skip


def test_done_again_where_nothing_was_lost_nothing_changes(rig: Rig, before: Sales) -> None:
    """Every act of the log, done again on the database that did them, twice: it is what it was, and misses nothing."""
    he, she = (each.subject for each in before.two.cards)
    with rig.opened(LATER) as park:
        use(park, before)
        lose(park, before)
        issued = sales.replace_card(park, SHE.id_number, actor="clerk")
        assert ask(park, issued.card, id_number=SHE.id_number)[0]
        records = [alone(before.ticket.cards[0].card, LATER), alone("f" * 32, LATER)]
        entries.reconcile(park, "east", records)
        with park.home.database.session() as session:
            entries.settle(session, entries.conflicts(session)[0].id, by="mei", note="twins", at=park.now())
            clerks.end(session, "mei", tick(rig))
            clerks.add(session, "mei", tick(rig))
            gates.add_gate(session, SigningKey.make("east").verifier, tick(rig))
            gates.end_gate(session, "east", tick(rig))
            gates.add_gate(session, SigningKey.make("east").verifier, tick(rig))
        changes.publish(park, FACES)
        changes.answer(park, he, 2, accepted=True, how="a click", screen="my pass")
        enrolment.enrol(park, he, "card_face", face("he"), screen="counter", actor="clerk")
        sales.renew(park, before.two.pass_id, screen="counter", actor="clerk")
        refunds.pay_back(park, before.two.pass_id, [she], reason="moves", actor="clerk", goodwill=True)
        gone = sold(park, *others())
        truth.erase(park, gone.cards[0].subject, ends_pass=True, how="a letter", screen="post")
        park.log()
        known = dump(park, *TABLES)
        for _ in range(2):
            with park.home.database.session() as session:
                copy = Copy(session, park.now())
                for entry in read_entries(park.vault.log, 0, list(replay.replays())):
                    replay.replays()[entry.kind](copy, entry)
                assert copy.missing == ()
                assert set(copy.done) <= {"pass:method"}, "which comes from way to way to the one that was agreed last"
            assert dump(park, *TABLES) == known


def tick(rig: Rig) -> datetime:
    """A second later."""
    rig.clock.advance(timedelta(seconds=1))
    return rig.clock.now()


def act_at_the_counter(name: str) -> Callable[[Park, Sales], Any]:
    return {"lost": lose, "refund": refund, "withdrawal": withdraw}[name]


@pytest.mark.parametrize("name", ["lost", "refund", "withdrawal"])
def test_what_ends_a_right_is_in_the_log_when_it_is_said_to_be_done(rig: Rig, before: Sales, name: str) -> None:
    """The disk of the database may be gone in the next moment."""
    with rig.opened(LATER) as park:
        size = park.vault.log.size
        act_at_the_counter(name)(park, before)
        kinds = {entry.kind for entry in read_entries(park.vault.log, size)}
    assert kinds & {"card:lose", "pass:refund", "pass:method"}


def test_a_list_for_gates_that_is_made_on_the_copy(rig: Rig, before: Sales) -> None:
    """It is issued later than the one that a gate holds, and opens no more than that one did."""
    copy = rig.copy()
    with rig.opened(LATER) as park:
        lose(park, before)
        held = listed(park)
    copy.put_back()
    with rig.opened(LATER + timedelta(minutes=1)) as park:
        fresh = listed(park)
    assert fresh[0] > held[0]
    assert fresh[1] == held[1]
    assert len(held[1]) == 2, "his card, and the ticket"


def listed(park: Park) -> tuple[datetime, dict[str, Any]]:
    key = gates.centre_key(park)
    made = gates.Lists(park, key)
    head = lists.read_head(made.head(), key.verifier)
    body = made.body(head.sha256)
    assert body is not None
    return head.issued, dict(lists.read_body(body, head))


def evidence(park: Park, kind: str) -> list[dict[str, Any]]:
    with park.home.database.session() as session:
        rows = session.scalars(select(EvidenceEntry).filter_by(kind=kind).order_by(EvidenceEntry.id))
        return [json.loads(row.body) for row in rows]


def test_missing_says_what_it_read() -> None:
    """What is missing stands in evidence as it is read from there."""
    for each in (Missing("pass", "a" * 32, 2, date(2020, 4, 25)), Missing("clerk", "mei")):
        assert Missing.read(each.as_json()) == each
