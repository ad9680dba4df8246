"""The page of truth, and what an erasure reaches: every table of the system, every file, a backup taken before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text

from duecare.clock import BEIJING, SetClock
from duecare.consent.receipts import verify_receipt
from duecare.errors import Erased, NotGranted, UnknownName, UseError
from duecare.evidence.certificate import verify_certificate
from duecare.evidence.check import all_hold
from duecare.store.database import Base
from duecare.store.home import Home
from duecare.systems.passes import changes, enrolment, entries, holders, offers, refunds, sales, truth
from duecare.systems.passes.cards import digest
from duecare.systems.passes.device import Presentation
from duecare.systems.passes.models import Card, Holder
from duecare.systems.passes.park import Park
from duecare.systems.passes.places import places
from duecare.systems.passes.products import PASS_FOR_TWO
from duecare.systems.passes.sales import Buyer, Sold
from duecare.systems.passes.wire import Record
from duecare.vault import erasure, exports, retention

from ...evidence.witnessing import Served
from .people import FACES, FINGERS, HE, SHE, finger


@pytest.fixture
def witness(home: Home, tmp_path: Path) -> Iterator[Served]:
    """An independent witness, a process of its own, that knows the log of the home."""
    from duecare.evidence.log import Log

    with Served(tmp_path / "witness", Log.at(home.path).key) as served:
        yield served


@pytest.fixture
def park(home: Home, witness: Served) -> Iterator[Park]:
    """The park, with a witness."""
    with Park.open(home, witnessed_by=[witness.remote()]) as opened:
        changes.publish(opened, FINGERS)
        yield opened


@pytest.fixture
def his(park: Park, sold: Sold) -> str:
    """A holder with everything there can be: enrolled, photographed, entered, and owed a message."""
    subject = sold.cards[0].subject
    enrolment.enrol(park, subject, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    enrolment.take_photo(park, subject, b"\xff\xd8 photo of him", screen="centre", actor="clerk")
    question = Presentation(sold.cards[0].card, HE.id_number).question(park.now())
    assert entries.enter(park, "east", question, "k" * 16).open
    changes.publish(park, FACES)
    return subject


def test_the_page_shows_everything(park: Park, his: str, sold: Sold) -> None:
    """What is held, for what, until when, who opened it and why; visits, messages, answers; and no value."""
    page = truth.truth(park, his)
    assert page["pass"]["product"]["zh"] == "双人年卡"
    assert page["pass"]["ways"] == ["card_fingerprint", "card_id_card"]
    held = {(each["field"], each["purpose"]): each for each in page["held"]}
    assert set(held) == {
        ("name", "pass_contract"), ("id_number", "pass_contract"), ("phone", "pass_contract"),
        ("entry_code", "card_entry"), ("photo", "pass_photo"), ("fingerprint_template", "fingerprint_entry"),
    }  # fmt: skip
    assert str(held["fingerprint_template", "fingerprint_entry"]["until"]) == "2020-07-25"
    assert str(held["name", "pass_contract"]["until"]) == "2026-04-25"
    assert held["photo", "pass_photo"]["zh"] == "年卡照片"
    (opened,) = [each for each in page["openings"] if each["by"] == "service:gate-east"]
    assert (opened["fields"], opened["purpose"]) == (["entry_code"], "card_entry")
    assert "入园核验" in opened["why"]
    assert [(each["gate"], each["way"]) for each in page["visits"]] == [("east", "card_id_card")]
    assert "新增年卡加人脸" in page["messages"][0]["zh"]
    assert page["notice"]["binding"] == 1
    assert page["notice"]["difference"]["terms"][0]["zh"] == "入园方式"
    can = {each["name"]: each["can_withdraw"] for each in page["purposes"]}
    assert can == {
        "pass_contract": False, "card_entry": False, "pass_photo": True, "fingerprint_entry": True,
        "face_entry": False, "mail_contact": False,
    }  # fmt: skip
    said = json.dumps(page, ensure_ascii=False, default=str)
    for secret in (HE.name, HE.id_number, HE.phone, SHE.name, sold.cards[1].subject):
        assert secret not in said


def test_withdrawing_on_the_page(park: Park, his: str) -> None:
    """One call takes the consent back, erases what was held for it, and leaves a certificate and a way in."""
    done = truth.withdraw(park, his, "fingerprint_entry", how="click", screen="page of truth")
    (gone,) = done.erasures
    with pytest.raises(Erased):
        park.vault.open("fingerprint_template", his, "fingerprint_entry", "service:gate-east")
    data = truth.certificate(park, his, gone.id)
    witnesses = [each.key for each in park.vault.witnesses]
    assert all_hold(verify_certificate(data, park.vault.log.key, witnesses))
    page = truth.truth(park, his)
    assert page["pass"]["agreed_way"]["name"] == "card_id_card"
    assert page["erasures"][0]["certificate"] is True
    assert ("end", "fingerprint_entry") in [(each["what"], each["about"]) for each in page["history"]]
    (grant,) = [each["grant"] for each in page["purposes"] if each["name"] == "fingerprint_entry"]
    assert grant["ended"]["why"] == "withdrawal"


def test_the_page_says_what_was_paid_back(park: Park, sold: Sold, clock: SetClock) -> None:
    """Each holder sees their own refund, on which day and of what it was computed; who was paid nothing sees none."""
    clock.set(datetime(2019, 10, 26, 10, tzinfo=BEIJING))
    his, hers = (each.subject for each in sold.cards)
    refunds.pay_back(park, sold.pass_id, [his], reason="declines faces", actor="clerk", goodwill=True)
    assert truth.truth(park, his)["pass"]["refund"] == {
        "owed": False,
        "paid": {
            "on": date(2019, 10, 26), "persons": 1, "reason": "declines faces", "amount": "339", "price": "680.00",
            "days_left": 182, "days": 365,
        },
    }  # fmt: skip
    assert truth.truth(park, hers)["pass"]["refund"] == {"owed": False, "paid": None}
    refunds.pay_back(park, sold.pass_id, [hers], reason="moves", actor="clerk", goodwill=True)
    assert truth.truth(park, hers)["pass"]["refund"]["paid"]["reason"] == "moves", "on the same day, and her own"
    assert truth.truth(park, his)["pass"]["refund"]["paid"]["reason"] == "declines faces"


def test_a_receipt_is_handed_out(park: Park, his: str, sold: Sold) -> None:
    """The receipt of a consent verifies offline; somebody else's is not handed out."""
    page = truth.truth(park, his)
    (grant,) = [each["grant"] for each in page["purposes"] if each["name"] == "fingerprint_entry"]
    assert all_hold(verify_receipt(truth.receipt(park, his, grant["id"]), park.vault.log.key))
    with pytest.raises(UnknownName):
        truth.receipt(park, sold.cards[1].subject, grant["id"])


def test_only_ones_own_certificates(park: Park, his: str, sold: Sold) -> None:
    """The certificate of somebody else's erasure is not there for others."""
    (gone,) = truth.withdraw(park, his, "pass_photo", how="click", screen="page").erasures
    with pytest.raises(UnknownName):
        truth.certificate(park, sold.cards[1].subject, gone.id)


def test_a_copy_of_ones_own(park: Park, his: str) -> None:
    """The person's own copy has every value that is held."""
    data = json.loads(truth.copy(park, his))["data"]
    assert data["pass_contract"]["name"] == HE.name
    assert set(data) == {"pass_contract", "card_entry", "pass_photo", "fingerprint_entry"}


def test_a_copy_that_is_handed_over_is_left_nowhere(park: Park, his: str) -> None:
    """What the person takes home does not stay with us in plaintext."""
    assert HE.id_number.encode() in truth.copy(park, his)
    assert files(park.home.path, HE.id_number.encode()) == []


def test_the_page_shows_what_rests_outside_of_the_vault(park: Park, his: str, sold: Sold) -> None:
    """A copy on our disk, and what a gate that was alone did and a person has to look at, concern the holder too."""
    exports.export(park.vault, his, "counter")
    sales.report_lost(park, his, actor="clerk")
    card, hers = digest(sold.cards[0].card), sold.cards[1].subject
    entries.reconcile(park, "east", [Record("r" * 16, card, "card_id_card", park.now(), True, "gate.on_the_list", "")])
    with park.home.database.session() as session:
        (open_one,) = entries.conflicts(session)
        entries.settle(session, open_one.id, by="clerk", note="it was him", at=park.now())
    page = truth.truth(park, his)
    (held,) = page["copies"]
    assert set(held["purposes"]) == {"pass_contract", "card_entry", "pass_photo", "fingerprint_entry"}
    assert [(each["gate"], each["kind"], each["note"]) for each in page["conflicts"]] == [
        ("east", "card_lost", "it was him")
    ]
    other = truth.truth(park, hers)
    assert (other["copies"], other["conflicts"]) == ([], [])


@pytest.mark.parametrize("right", ["withdraw", "erase", "end"])
def test_a_right_that_was_interrupted_is_finished(
    park: Park, his: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once anything has committed, the rest follows at the next start: the pass, the way in, who is told."""
    rights = {
        "withdraw": lambda: truth.withdraw(park, his, "fingerprint_entry", how="click", screen="page"),
        "erase": lambda: truth.erase(park, his, ends_pass=True, how="click", screen="page"),
        "end": lambda: changes.end_method(park, "card_fingerprint", note="stopped"),
    }

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "complete", killed)
        with pytest.raises(KeyboardInterrupt):
            rights[right]()
    erasure.finish(park.vault)
    page = truth.truth(park, his)
    states = {each["purpose"]: each["state"] for each in page["held"]}
    assert states["fingerprint_entry"] == "erased"
    if right == "withdraw":
        assert page["pass"]["agreed_way"]["name"] == "card_id_card"
    elif right == "erase":
        assert page["pass"] is None or page["pass"]["ended_on"] is not None
        assert set(states.values()) == {"erased"}
    else:
        assert any("停用" in each["zh"] for each in page["messages"])
        with park.home.database.session() as session:
            assert "card_fingerprint" not in [each.method for each in offers.standing(session, PASS_FOR_TWO)]


def test_the_contract_is_not_withdrawn_by_a_click(park: Park, his: str) -> None:
    """What does not rest on consent cannot be withdrawn; everything can be erased, which ends the pass and says so."""
    with pytest.raises(UseError, match="does not rest on a consent"):
        truth.withdraw(park, his, "pass_contract", how="click", screen="page")
    with pytest.raises(UseError, match="The pass is valid"):
        truth.erase(park, his, ends_pass=False, how="click", screen="page")
    assert truth.truth(park, his)["held"]


def files(folder: Path, needle: bytes) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and needle in path.read_bytes()]


def test_erasing_everything(park: Park, his: str, sold: Sold, home: Home) -> None:
    """Nothing of the person is left: no row of the system names them, no file holds a value; what was erased and why
    is still told, and the other holder's pass goes on."""
    done = truth.erase(park, his, ends_pass=True, how="click", screen="page")
    assert {each.purpose for each in done.erasures} == {
        "pass_contract", "card_entry", "pass_photo", "fingerprint_entry",
    }  # fmt: skip
    places_of = {name: count for each in done.erasures for name, count in each.places.items()}
    assert places_of == {"holders": 1, "messages": 1, "visits": 1}
    with home.database.session() as session:
        with pytest.raises(UnknownName):
            holders.by_subject(session, his)
        rows = session.scalars(select(Holder).where(Holder.pass_id == sold.pass_id).order_by(Holder.id)).all()
        assert [row.subject for row in rows] == [None, sold.cards[1].subject]
        assert [row.left_on is not None for row in rows] == [True, False]
        assert session.scalar(select(Card).where(Card.holder_id == rows[0].id)) is None
        for table in (each for each in Base.metadata.tables if each.startswith(("pass", "holder_", "gate"))):
            for row in session.execute(text(f"SELECT * FROM {table}")):
                assert his not in str(row), table
    for secret in (HE.name, HE.id_number, HE.phone, sold.cards[0].card):
        assert files(home.path, secret.encode()) == []
    page = truth.truth(park, his)
    assert page["pass"] is None
    assert {each["state"] for each in page["held"]} == {"erased"}
    question = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    assert entries.enter(park, "east", question, "n" * 16).open
    question = Presentation(sold.cards[0].card, HE.id_number).question(park.now())
    assert [word.id for word in entries.enter(park, "east", question, "o" * 16).words] == ["gate.unknown_card"]


def test_retention_runs_by_itself(park: Park, his: str, clock: SetClock) -> None:
    """Three months after the pass expires biometrics, photo and entry code go; after six years the rest, with every
    certificate; and the page still tells."""
    clock.set(datetime(2020, 7, 25, 12, tzinfo=BEIJING))
    assert retention.run(park.vault).erased == 0
    clock.set(datetime(2020, 7, 26, 12, tzinfo=BEIJING))
    assert retention.run(park.vault).erased == 5
    with pytest.raises((Erased, NotGranted)):
        park.vault.open("fingerprint_template", his, "fingerprint_entry", "service:gate-east")
    assert park.vault.open("name", his, "pass_contract", "clerk") == HE.name
    clock.set(datetime(2026, 4, 25, 12, tzinfo=BEIJING))
    assert retention.run(park.vault).erased == 0
    clock.set(datetime(2026, 4, 26, 12, tzinfo=BEIJING))
    assert retention.run(park.vault).erased == 2
    page = truth.truth(park, his)
    assert {each["state"] for each in page["held"]} == {"erased"}
    assert {each["reason"] for each in page["erasures"]} == {"schedule"}
    assert all(each["certificate"] for each in page["erasures"])
    assert (page["pass"], page["visits"], page["messages"]) == (None, [], [])


def test_every_table_with_a_subject_is_a_place(home: Home) -> None:
    """A table of the system that names a subject is emptied by an erasure; one that is forgotten fails here."""
    with home.database.engine.connect() as connection:
        seen = inspect(connection)
        ours = [name for name in seen.get_table_names() if name.startswith(("pass", "holder_", "gate"))]
        named = {name for name in ours if any(each["name"] == "subject" for each in seen.get_columns(name))}
    covered = {getattr(place, "table", "pass_holders") for place in places()}
    assert named == covered


def test_a_stranger_has_no_page(park: Park, sold: Sold) -> None:
    """A subject that never was is an error; one who bought again has a page for each pass."""
    with pytest.raises(UnknownName):
        truth.truth(park, "0" * 32)
    fresh = sales.sell(park, "pass_for_two", [Buyer(HE.name, HE.id_number, HE.phone), SHE], screen="c", actor="clerk")
    assert fresh.cards[0].subject != sold.cards[0].subject
    assert truth.truth(park, fresh.cards[0].subject)["visits"] == []
