"""A gate and the centre, over real HTTP: who enters, who does not, and why."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select, text

from duecare.clock import SetClock
from duecare.errors import BadInput, UnknownName
from duecare.evidence.checkpoint import SigningKey
from duecare.evidence.outbox import EvidenceEntry
from duecare.rules.engine import Engine
from duecare.store.home import Home
from duecare.systems.passes import changes, enrolment, entries, gates, sales, signatures, truth, wire
from duecare.systems.passes.device import CentreRefuses, Gate, Presentation
from duecare.systems.passes.methods import CARD_FACE, CARD_ID_CARD
from duecare.systems.passes.models import Visit
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.wire import Answer, Question
from duecare.vault import erasure

from .conftest import BOUGHT
from .people import FACES, HE, SHE, face, finger, id_number


def why(answer: Answer) -> list[str]:
    return [word.id for word in answer.words]


def visits(park: Park) -> int:
    with park.home.database.session() as session:
        return session.scalar(select(func.count()).select_from(Visit)) or 0


@pytest.fixture
def enrolled(park: Park, sold: Sold) -> Sold:
    """The pass, its first holder enrolled with his finger."""
    enrolment.enrol(park, sold.cards[0].subject, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    return sold


def test_card_and_id_card(gate: Gate, park: Park, sold: Sold) -> None:
    """Every holder enters with card and ID card, whatever else they agreed to; each entry is a visit."""
    for issued, buyer in zip(sold.cards, (HE, SHE), strict=True):
        answer = gate.enter(Presentation(issued.card, buyer.id_number))
        assert (answer.open, why(answer)) == (True, ["guo_v_safari_park.enter"])
        assert all(word.zh and word.en for word in answer.words)
    assert visits(park) == 2


def test_card_and_fingerprint(gate: Gate, enrolled: Sold) -> None:
    """Who agreed and was enrolled enters by the finger of another day; and still with card and ID card."""
    his = enrolled.cards[0]
    assert gate.enter(Presentation(his.card, template=finger("he", 1))).open
    assert gate.enter(Presentation(his.card, HE.id_number)).open


def test_a_wrong_person_does_not_enter(gate: Gate, park: Park, enrolled: Sold) -> None:
    """Somebody else's finger or ID card with this card opens nothing, and card and ID card is named as the way."""
    his = enrolled.cards[0]
    for shown in (Presentation(his.card, template=finger("she")), Presentation(his.card, SHE.id_number)):
        answer = gate.enter(shown)
        assert (answer.open, why(answer), answer.ways) == (False, ["gate.no_match"], ("card_id_card",))
    assert visits(park) == 0


def test_faces_are_not_asked_of_those_who_never_agreed(park: Park, gate: Gate, enrolled: Sold) -> None:
    """Once faces are offered, one who agreed to fingerprints is not admitted by his face: the holding says why."""
    changes.publish(park, ["card_id_card", "card_fingerprint", "card_face"])
    answer = gate.enter(Presentation(enrolled.cards[0].card, template=face("he")))
    assert not answer.open
    assert why(answer) == [
        "guo_v_safari_park.unilateral_change",
        "guo_v_safari_park.no_biometrics_without_grant",
    ]
    assert "原约定" in answer.words[0].zh
    assert "enter as agreed" in answer.words[0].en
    assert gate.enter(Presentation(enrolled.cards[0].card, template=finger("he", 2))).open


def test_a_finger_that_was_withdrawn(park: Park, gate: Gate, enrolled: Sold) -> None:
    """Who took their consent back is told that, in both languages; nobody changed anything on them, and of faces that
    replace fingers nothing is said."""
    his = enrolled.cards[0]
    truth.withdraw(park, his.subject, "fingerprint_entry", how="click", screen="page of truth")
    answer = gate.enter(Presentation(his.card, template=finger("he", 1)))
    assert why(answer) == ["gate.withdrawn", "guo_v_safari_park.no_biometrics_without_grant"]
    assert "撤回" in answer.words[0].zh
    assert "withdrawn" in answer.words[0].en
    assert answer.ways == ("card_id_card",)
    assert not any("人脸识别" in word.zh or "faces replace" in word.en for word in answer.words)
    enrolment.enrol(park, his.subject, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    assert gate.enter(Presentation(his.card, template=finger("he", 1))).open, "given anew"


def test_fingers_that_were_never_enrolled(gate: Gate, sold: Sold) -> None:
    """A way that was chosen at the sale, but not enrolled yet, is denied for want of a consent."""
    answer = gate.enter(Presentation(sold.cards[0].card, template=finger("he")))
    assert why(answer) == ["guo_v_safari_park.no_biometrics_without_grant"]
    assert answer.ways == ("card_id_card",)


def test_a_withdrawn_consent_closes_the_way_at_once(park: Park, gate: Gate, enrolled: Sold) -> None:
    """After the withdrawal the finger opens nothing, and card and ID card does."""
    his = enrolled.cards[0]
    erasure.withdraw(park.vault, his.subject, "fingerprint_entry", how="click", screen="page of truth")
    assert why(gate.enter(Presentation(his.card, template=finger("he", 1)))) == [
        "gate.withdrawn", "guo_v_safari_park.no_biometrics_without_grant",
    ]  # fmt: skip
    assert gate.enter(Presentation(his.card, HE.id_number)).open


def test_a_way_that_is_not_offered(gate: Gate, sold: Sold) -> None:
    """A face where faces are not offered is no question of consent: there is no such way."""
    answer = gate.enter(Presentation(sold.cards[1].card, template=face("she")))
    assert why(answer) == ["gate.not_offered"]


def test_the_days_of_a_pass(gate: Gate, sold: Sold, clock: SetClock) -> None:
    """It opens from its first day to its last, both included."""
    wanted = {-1: "gate.not_yet_valid", 0: "", 1: "", 364: "", 365: "gate.expired", 400: "gate.expired"}
    for days, word in wanted.items():
        clock.set(BOUGHT + timedelta(days=days))
        answer = gate.enter(Presentation(sold.cards[1].card, SHE.id_number))
        assert why(answer) == [word or "guo_v_safari_park.enter"], days


def test_days_are_those_of_the_park(gate: Gate, sold: Sold, clock: SetClock) -> None:
    """On the last day the gate opens until midnight in the park, which is four in the afternoon of UTC."""
    clock.advance(timedelta(days=364, hours=13, minutes=59))
    assert gate.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    clock.advance(timedelta(minutes=1))
    assert not gate.enter(Presentation(sold.cards[1].card, SHE.id_number)).open


def test_a_lost_card(park: Park, gate: Gate, sold: Sold) -> None:
    """A card reported lost opens nothing; the new one, made on showing the ID card, opens."""
    hers = sold.cards[1]
    assert sales.report_lost(park, hers.subject, actor="clerk") == 1
    assert why(gate.enter(Presentation(hers.card, SHE.id_number))) == ["gate.card_lost"]
    fresh = sales.replace_card(park, SHE.id_number.lower(), actor="clerk")
    assert fresh.card != hers.card
    assert gate.enter(Presentation(fresh.card, SHE.id_number)).open
    assert why(gate.enter(Presentation(hers.card, SHE.id_number))) == ["gate.card_lost"]


def test_unknown_cards_and_unreadable_ones(gate: Gate, sold: Sold) -> None:
    """A card that is not ours, a number or template that cannot be read: the gate stays shut and says so."""
    assert why(gate.enter(Presentation(secrets.token_hex(16), SHE.id_number))) == ["gate.unknown_card"]
    assert why(gate.enter(Presentation("not a card", SHE.id_number))) == ["gate.unreadable"]
    assert why(gate.enter(Presentation(sold.cards[1].card, "123"))) == ["gate.unreadable"]
    assert why(gate.enter(Presentation(sold.cards[0].card, template=b"noise"))) == ["gate.unreadable"]


def test_a_damaged_template(gate: Gate, enrolled: Sold) -> None:
    """A template that is cut short is unreadable, not somebody else's."""
    answer = gate.enter(Presentation(enrolled.cards[0].card, template=finger("he", 1)[:-4]))
    assert why(answer) == ["gate.unreadable"]


def test_a_ticket_opens_once(park: Park, gate: Gate) -> None:
    """A ticket names nobody, opens once on its day, and asks for nothing."""
    ticket = sales.sell(park, "single_ticket", screen="counter", actor="clerk")
    assert ticket.price == 220
    assert why(gate.enter(Presentation(ticket.cards[0].card, SHE.id_number))) == ["gate.not_offered"]
    assert gate.enter(Presentation(ticket.cards[0].card)).open
    assert why(gate.enter(Presentation(ticket.cards[0].card))) == ["gate.used"]


def test_a_ticket_opens_one_of_two_gates_at_once(park: Park, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second gate asks after the first was judged and before its entry is recorded: one opens, the other says why."""
    ticket = sales.sell(park, "single_ticket", screen="counter", actor="clerk").cards[0]
    question = Presentation(ticket.card).question(park.now())
    draw, west = secrets.token_hex, list[Answer]()

    def between(size: int) -> str:
        monkeypatch.setattr(entries.secrets, "token_hex", draw)
        west.append(entries.enter(park, "west", question, "w" * 16))
        return draw(size)

    monkeypatch.setattr(entries.secrets, "token_hex", between)
    east = entries.enter(park, "east", question, "e" * 16)
    assert (west[0].open, east.open, why(east)) == (True, False, ["gate.used"])
    assert visits(park) == 1


def test_a_pass_shown_alone(park: Park, gate: Gate, enrolled: Sold) -> None:
    """With nothing to show whose it is, it opens nothing: the answer says what is missing, by the way in agreed with
    the holder, and blames no change of it."""
    his, hers = enrolled.cards
    for card, missing, zh, en in (
        (hers.card, "gate.show_id_card", "请同时出示持卡人的身份证", "show its holder's ID card"),
        (his.card, "gate.show_fingerprint", "请按约定验指纹", "give the finger"),
    ):
        answer = gate.enter(Presentation(card))
        assert (answer.open, why(answer), answer.ways) == (False, [missing], ("card_id_card",))
        assert zh in answer.words[0].zh
        assert en in answer.words[0].en
    number = changes.publish(park, FACES).number
    changes.answer(park, his.subject, number, accepted=True, how="click", screen="page of truth")
    enrolment.enrol(park, his.subject, "card_face", face("he"), screen="centre", actor="clerk")
    answer = gate.enter(Presentation(his.card))
    assert why(answer) == ["gate.show_face"]
    assert "人脸" in answer.words[0].zh
    assert visits(park) == 0


def test_a_pass_shown_alone_whose_way_in_the_rules_deny(park: Park, gate: Gate, enrolled: Sold) -> None:
    """Without a consent the finger is not asked for: the ID card is, and the holding says why."""
    his = enrolled.cards[0]
    erasure.withdraw(park.vault, his.subject, "fingerprint_entry", how="click", screen="page of truth")
    assert why(gate.enter(Presentation(his.card))) == [
        "gate.show_id_card", "guo_v_safari_park.no_biometrics_without_grant",
    ]  # fmt: skip
    assert gate.enter(Presentation(his.card, HE.id_number)).open


def test_a_pass_shown_alone_where_nothing_is_allowed(home: Home, park: Park, enrolled: Sold, tmp_path: Path) -> None:
    """An operator's policy that closes the gates is what is said, and nothing is asked for."""
    own = '@id("mine.closed") @en("The park is closed.") forbid (principal, action == Action::"enter", resource);'
    (tmp_path / "own.cedar").write_text(own, encoding="utf-8")
    with Park.open(home, Engine.load(tmp_path)) as closed:
        for issued in enrolled.cards:
            answer = entries.enter(closed, "east", Presentation(issued.card).question(closed.now()), issued.card)
            assert (answer.open, why(answer)) == (False, ["mine.closed"])


def test_the_same_question_is_answered_the_same(park: Park, sold: Sold) -> None:
    """Asked again under its key, even at once and many times over, a question has one answer and makes one visit."""
    question = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: entries.enter(park, "east", question, "k" * 16), range(12)))
    assert answers[0].open
    assert all(answer == answers[0] for answer in answers)
    assert visits(park) == 1
    another = Question(question.card, CARD_FACE, question.at, template=face("she"))
    with pytest.raises(entries.AnotherQuestion, match="another question"):
        entries.enter(park, "east", another, "k" * 16)


def test_nothing_personal_is_answered_or_left(park: Park, gate: Gate, enrolled: Sold) -> None:
    """Answers name nobody, and evidence knows the holder by a commitment alone."""
    answer = gate.enter(Presentation(enrolled.cards[0].card, HE.id_number))
    with park.home.database.session() as session:
        rows = session.scalars(select(EvidenceEntry)).all()
    said = json.dumps([answer.as_json(), *(f"{row.subject} {row.body}" for row in rows)], ensure_ascii=False)
    assert any(row.kind == "entry:open" for row in rows)
    for secret in (
        HE.name, HE.id_number, HE.phone, enrolled.cards[0].card, enrolled.cards[0].subject, SHE.mail,
    ):  # fmt: skip
        assert secret not in said


def test_a_gate_that_is_not_known_learns_nothing(park: Park, gate: Gate, sold: Sold) -> None:
    """A gate that was ended is refused whoever stands there, and does not decide by itself instead."""
    gate.sync()
    with park.home.database.session() as session:
        gates.end_gate(session, "east", park.now())
    answer = gate.enter(Presentation(sold.cards[1].card, SHE.id_number))
    assert (answer.open, why(answer)) == (False, ["gate.refused"])
    with pytest.raises(CentreRefuses, match="signature of east does not hold"):
        gate.sync()


def test_gates_are_added_and_ended(park: Park) -> None:
    """A name holds one key at a time; ended, it may be taken again with another."""
    one, other = SigningKey.make("north").verifier, SigningKey.make("north").verifier
    with park.home.database.session() as session:
        gates.add_gate(session, one, park.now())
        gates.add_gate(session, one, park.now())
        with pytest.raises(BadInput, match="another key"):
            gates.add_gate(session, other, park.now())
        gates.end_gate(session, "north", park.now())
        with pytest.raises(UnknownName):
            gates.end_gate(session, "north", park.now())
        gates.add_gate(session, other, park.now())
        assert [(row.name, row.key) for row in gates.gates(session)] == [("north", str(other))]


@pytest.fixture
def asked(park: Park, centre: str, gate: Gate) -> object:
    """Ask the centre as ``gate``, with anything in the place of what should be there."""

    def ask(
        body: bytes,
        *,
        path: str = wire.ENTRIES,
        method: str = "POST",
        key: str = "",
        wrong: dict[str, str] | None = None,
    ) -> httpx.Response:
        name = key or secrets.token_hex(16)
        created = int(park.now().timestamp())
        headers = signatures.sign_request(gate._key, "east", method, path, body, name, created)
        answer = httpx.request(method, centre + path, content=body, headers={**headers, **(wrong or {})})
        signatures.verify_answer(
            gates.centre_key(park).verifier, answer.status_code, answer.content, answer.headers, name
        )
        return answer

    return ask


WRONG = [
    (b"", "not JSON"),
    (b"[]", "has not the members"),
    (b"{}", "has not the members"),
    (b'{"card":"0","method":"card_id_card","at":"2019-04-27T02:00:00Z","code":"0"}', "card is not 64"),
    (b'{"card":"%s","method":"card_ear","at":"2019-04-27T02:00:00Z"}' % (b"0" * 64), "method is 'card_ear'"),
    (b'{"card":"%s","method":"card_id_card","at":"2019-04-27T02:00:00Z"}' % (b"0" * 64), "does not go with"),
    (b'{"card":"%s","method":"ticket","at":"2019-04-27 02:00"}' % (b"0" * 64), "at is '2019-04-27 02:00'"),
    (b'{"card":"%s","method":"ticket","at":"2019-04-27T01:00:00Z"}' % (b"0" * 64), "at is more than 120 seconds"),
    (b'{"card":"%s","method":"card_face","at":"2019-04-27T02:00:00Z","template":"AA"}' % (b"0" * 64), "base64"),
    (
        b'{"card":"%s","method":"ticket","at":"2019-04-27T02:00:00Z","name":"x"}' % (b"0" * 64),
        "has not the members",
    ),
]


def test_questions_out_of_form(asked) -> None:  # type: ignore[no-untyped-def]
    """What is not a question is refused with what is wrong, as a signed problem (RFC 9457)."""
    for body, why_not in WRONG:
        answer = asked(body)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert why_not in answer.json()["detail"]


def test_a_record_with_the_character_nought(asked, park: Park) -> None:  # type: ignore[no-untyped-def]
    """Not every database keeps U+0000: on either, a record that has it is refused, as a signed problem."""
    record = wire.Record("k" * 16, "0" * 64, "ticket", park.now(), True, "gate.\0", "")
    answer = asked(wire.records_body([record]), path=wire.RECORDS)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "reason is not text" in answer.json()["detail"]


def test_a_key_used_for_another_question(asked, park: Park, sold: Sold) -> None:  # type: ignore[no-untyped-def]
    """An idempotency key that comes with another question is a conflict."""
    first = Question("0" * 64, CARD_ID_CARD, park.now(), code="1" * 64)
    other = Question("0" * 64, CARD_ID_CARD, park.now(), code="2" * 64)
    assert asked(first.data(), key="k" * 16).status_code == 200
    assert asked(first.data(), key="k" * 16).status_code == 200
    assert asked(other.data(), key="k" * 16).status_code == 409


def test_what_is_not_signed_is_refused(asked, park: Park) -> None:  # type: ignore[no-untyped-def]
    """A request whose signature, digest or key is another, or that carries a query or too much, is refused."""
    body = Question("0" * 64, CARD_ID_CARD, park.now(), code="1" * 64).data()
    assert asked(body, wrong={"signature": "gate=:AAAA:"}).status_code == 401
    assert asked(body, wrong={"content-digest": signatures.content_digest(b"other")}).status_code == 401
    assert asked(body, wrong={"signature-input": ""}).status_code == 401
    assert asked(body, path=wire.ENTRIES + "?x=1").status_code == 400
    assert asked(b" " * (gates.MAX_REQUEST + 1)).status_code == 413
    assert asked(b"", path=f"{wire.LIST}/{'0' * 64}", method="GET").status_code == 404


ELSEWHERE = [
    ("GET", "/v1/gate/nothing", 404, ""),
    ("POST", "/v1/gate/", 404, ""),
    ("GET", f"{wire.LIST}/a/b", 404, ""),
    ("GET", wire.ENTRIES, 405, "POST"),
    ("DELETE", wire.ENTRIES, 405, "POST"),
    ("OPTIONS", wire.RECORDS, 405, "POST"),
    ("FETCH", wire.LIST, 405, "GET"),
    ("POST", f"{wire.LIST}/{'0' * 64}", 405, "GET"),
    ("POST", f"{wire.ENTRIES}/", 404, ""),
]


@pytest.mark.parametrize(("method", "path", "status", "allowed"), ELSEWHERE)
def test_what_is_asked_elsewhere_is_refused_by_the_centre(asked, method, path, status, allowed) -> None:  # type: ignore[no-untyped-def]
    """An unknown path or a wrong method has a signed answer, so that a gate is refused and does not decide alone."""
    answer = asked(b"", path=path, method=method)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.headers.get("allow", "") == allowed
    assert answer.json()["status"] == status
    assert asked(b"", path=path, method=method, wrong={"signature": "gate=:AAAA:"}).status_code == 401


def test_a_fault_that_nobody_foresaw(asked, park: Park, gate: Gate, sold: Sold, capfd) -> None:  # type: ignore[no-untyped-def]
    """The database lost a table: the answer is a signed 500, nothing of the question is logged, and the gate goes on by
    its list."""
    gate.sync()
    with park.home.database.session() as session:
        session.execute(text("ALTER TABLE gate_answers RENAME TO lost"))
    question = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    answer = asked(question.data())
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["title"] == "A fault"
    logged = "".join(capfd.readouterr())
    assert "entries.py" in logged
    assert question.card not in logged
    assert question.code not in logged
    assert why(gate.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.on_the_list"]


def test_faces_after_a_change(park: Park, gate: Gate, enrolled: Sold) -> None:
    """Who accepts the new notice enters with card and ID card until they are enrolled, and by face afterwards."""
    his = enrolled.cards[0]
    number = changes.publish(park, FACES).number
    changes.answer(park, his.subject, number, accepted=True, how="click", screen="page of truth")
    assert why(gate.enter(Presentation(his.card, template=face("he")))) == [
        "guo_v_safari_park.unilateral_change", "guo_v_safari_park.no_biometrics_without_grant",
    ]  # fmt: skip
    assert gate.enter(Presentation(his.card, HE.id_number)).open
    enrolment.enrol(park, his.subject, "card_face", face("he"), screen="centre", actor="clerk")
    assert gate.enter(Presentation(his.card, template=face("he", 1))).open
    assert not gate.enter(Presentation(his.card, template=face("she", 1))).open


def test_people_of_the_tests_have_good_numbers() -> None:
    """The invented ID-card numbers are all different."""
    assert len({id_number(number) for number in range(500)}) == 500
