"""A gate that cannot reach the centre: what it decides on its list, what it keeps, and how it comes together again."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from duecare.clock import SetClock
from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.checkpoint import SigningKey
from duecare.evidence.outbox import EvidenceEntry
from duecare.systems.passes import changes, enrolment, entries, gates, refunds, sales, wire
from duecare.systems.passes.cards import digest
from duecare.systems.passes.device import CentreRefuses, CentreUnreachable, Gate, Presentation
from duecare.systems.passes.models import Conflict, GateAnswer, Visit
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.server import serving
from duecare.systems.passes.wire import Answer
from duecare.vault import erasure

from ...at_once import at_once
from .people import HE, SHE, finger


def why(answer: Answer) -> list[str]:
    return [word.id for word in answer.words]


@pytest.fixture
def alone(gate: Gate, park: Park, sold: Sold, clock: SetClock) -> Gate:
    """A gate that was in touch, and whose centre cannot be reached any more."""
    enrolment.enrol(park, sold.cards[0].subject, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    gate.sync()
    return cut_off(gate, clock)


def cut_off(gate: Gate, clock: SetClock, address: str = "http://127.0.0.1:9") -> Gate:
    """The same gate, with the centre at another address: where nobody listens, by default."""
    path = gate.folder / "gate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "centre": address}))
    return Gate(gate.folder, clock)


def test_card_and_id_card_are_decided_by_the_list(alone: Gate, sold: Sold) -> None:
    """Every holder enters with card and ID card, also who otherwise enters by a finger."""
    for issued, buyer in zip(sold.cards, (HE, SHE), strict=True):
        answer = alone.enter(Presentation(issued.card, buyer.id_number))
        assert (answer.open, why(answer)) == (True, ["gate.on_the_list"])
    assert why(alone.enter(Presentation(sold.cards[0].card, SHE.id_number))) == ["gate.no_match"]
    assert why(alone.enter(Presentation("0" * 32, SHE.id_number))) == ["gate.unknown_card"]


def test_no_biometrics_on_a_gate(alone: Gate, sold: Sold) -> None:
    """A finger cannot be compared there; the gate names card and ID card, which is of equal standing."""
    answer = alone.enter(Presentation(sold.cards[0].card, template=finger("he", 1)))
    assert (answer.open, why(answer), answer.ways) == (False, ["gate.no_biometrics_offline"], ("card_id_card",))


def test_nothing_personal_lies_on_a_gate(alone: Gate, sold: Sold) -> None:
    """No file of a gate holds a name, a number, a card, a subject or a template, whatever was shown to it."""
    alone.enter(Presentation(sold.cards[0].card, HE.id_number))
    alone.enter(Presentation(sold.cards[0].card, template=finger("he", 1)))
    held = b"".join(path.read_bytes() for path in alone.folder.iterdir() if path.is_file())
    assert len(alone.journal()) == 2
    for buyer, issued in zip((HE, SHE), sold.cards, strict=True):
        for secret in (buyer.name, buyer.id_number, buyer.phone, issued.card, issued.subject):
            assert secret.encode() not in held
    assert finger("he", 1)[8:72] not in held


def test_a_list_runs_out(alone: Gate, park: Park, sold: Sold, clock: SetClock) -> None:
    """After its hours, or before they begin, a list decides nothing."""
    hours = park.home.settings.gate_list_hours
    clock.advance(timedelta(hours=hours) - timedelta(seconds=1))
    assert alone.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    clock.advance(timedelta(seconds=1))
    answer = alone.enter(Presentation(sold.cards[1].card, SHE.id_number))
    assert (answer.open, why(answer), answer.ways) == (False, ["gate.no_list"], ())
    clock.advance(-timedelta(hours=hours, seconds=1))
    assert why(alone.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.no_list"]


def test_a_pass_that_expires_meanwhile(park: Park, gate: Gate, sold: Sold, clock: SetClock) -> None:
    """The days of a pass stand in the list: it opens until its last day, and not on the next."""
    clock.advance(timedelta(days=364))
    gate.sync()
    gone = cut_off(gate, clock)
    assert gone.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    clock.advance(timedelta(hours=15))
    assert why(gone.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.expired"]


def test_a_pass_renewed_early(park: Park, gate: Gate, sold: Sold, clock: SetClock) -> None:
    """A pass that was renewed opens on the days of the old year and of the new one, in touch and alone."""
    clock.advance(timedelta(days=340))
    sales.renew(park, sold.pass_id, screen="counter", actor="clerk")
    assert gate.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    gate.sync()
    gone = cut_off(gate, clock)
    assert gone.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    clock.advance(timedelta(days=30))
    assert gate.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    (line, _) = (gate.folder / "list.body").read_text().splitlines()
    assert line.split()[1:3] == ["2020-04-26", "2021-04-25"]


def test_the_day_of_a_refund_counts_as_used(park: Park, gate: Gate, centre: str, sold: Sold, clock: SetClock) -> None:
    """It was paid for: whoever is refunded at six in the evening entered rightly at nine, enters until midnight in
    touch and alone, and on the day after no gate opens, nor is what one decided then taken without a question."""
    hers = Presentation(sold.cards[1].card, SHE.id_number)
    gate.sync()
    gone = cut_off(gate, clock)
    clock.advance(timedelta(hours=23))
    old = (gate.folder / "list.body").read_bytes()
    assert gone.enter(hers).open
    clock.advance(timedelta(hours=9))
    refunds.pay_back(park, sold.pass_id, [sold.cards[1].subject], reason="moves", actor="clerk", goodwill=True)
    back = cut_off(gate, clock, centre)
    assert (back.sync().conflicts, back.enter(hers).open) == (0, True)
    assert (gate.folder / "list.body").read_bytes() != old
    gone = cut_off(gate, clock)
    clock.advance(timedelta(hours=6) - timedelta(seconds=1))
    assert gone.enter(hers).open
    clock.advance(timedelta(seconds=1))
    assert why(gone.enter(hers)) == ["gate.expired"]
    late = wire.Record("l" * 16, digest(hers.card), "card_id_card", clock.now(), True, "gate.on_the_list", "")
    assert entries.reconcile(park, "east", [late]) == (["l" * 16], ["l" * 16])
    back = cut_off(gate, clock, centre)
    assert why(back.enter(hers)) == ["gate.refunded"]
    assert (back.sync().conflicts, back.sync().cards) == (0, 1)


def test_a_gate_without_a_list(gate: Gate, clock: SetClock, sold: Sold) -> None:
    """A gate that was never in touch stays shut."""
    assert why(cut_off(gate, clock).enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.no_list"]


@pytest.mark.parametrize("name", ["list.head", "list.body"])
def test_a_list_that_was_tampered_with(alone: Gate, sold: Sold, name: str) -> None:
    """A byte changed in the list, and the gate has none."""
    path = alone.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert why(alone.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.no_list"]


def test_somebody_else_answers(gate: Gate, park: Park, sold: Sold, clock: SetClock, tmp_path: Path) -> None:
    """A server that answers in the centre's place, with a key of its own, opens nothing and is no centre."""
    gate.sync()
    path = gate.folder / "gate.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "key": str(SigningKey.make("someone").verifier)}))
    fooled = Gate(gate.folder, clock)
    with pytest.raises(CentreUnreachable, match="is not the centre"):
        fooled.sync()
    assert why(fooled.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.no_list"]


def test_coming_together_again(alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold) -> None:
    """What was decided alone is handed over once and becomes visits; then the journal is empty."""
    alone.enter(Presentation(sold.cards[1].card, SHE.id_number))
    alone.enter(Presentation(sold.cards[0].card, SHE.id_number))
    clock.advance(timedelta(hours=2))
    with pytest.raises(CentreUnreachable):
        alone.sync()
    back = cut_off(alone, clock, centre)
    handed_over = (back.folder / "journal.jsonl").read_bytes()
    assert (back.sync().taken, back.journal()) == (2, [])
    (back.folder / "journal.jsonl").write_bytes(handed_over)  # as if it had been killed before it noted the answer
    again = back.sync()
    assert (again.taken, again.conflicts) == (2, 0)
    with park.home.database.session() as session:
        found = session.query(Visit).all()
        assert [(row.gate, row.method, row.offline, row.at) for row in found] == [
            ("east", "card_id_card", True, clock.now() - timedelta(hours=2))
        ]
        assert entries.conflicts(session) == []


def test_a_card_lost_meanwhile_is_flagged(alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold) -> None:
    """A gate that opened for a card reported lost before flags it for a person, who settles it with a word."""
    clock.advance(timedelta(minutes=10))
    sales.report_lost(park, sold.cards[1].subject, actor="clerk")
    clock.advance(timedelta(minutes=10))
    assert alone.enter(Presentation(sold.cards[1].card, SHE.id_number)).open
    clock.advance(timedelta(hours=1))
    assert cut_off(alone, clock, centre).sync().conflicts == 1
    with park.home.database.session() as session:
        (conflict,) = entries.conflicts(session)
        assert (conflict.kind, conflict.gate, conflict.subject) == ("card_lost", "east", sold.cards[1].subject)
        with pytest.raises(BadInput):
            entries.settle(session, conflict.id, by="clerk", note=" ", at=park.now())
        entries.settle(session, conflict.id, by="clerk", note="她本人, 挂失后找到了卡。", at=park.now())
        assert entries.conflicts(session) == []
        assert [row.note for row in entries.conflicts(session, settled=True)] == ["她本人, 挂失后找到了卡。"]
        with pytest.raises(BadInput):
            entries.settle(session, conflict.id, by="clerk", note="again", at=park.now())


def test_a_loss_reported_later_is_no_conflict(
    alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold
) -> None:
    """The card was good when the gate opened: that it was reported lost afterwards is not the gate's fault."""
    alone.enter(Presentation(sold.cards[1].card, SHE.id_number))
    clock.advance(timedelta(minutes=10))
    sales.report_lost(park, sold.cards[1].subject, actor="clerk")
    assert cut_off(alone, clock, centre).sync().conflicts == 0


def test_other_conflicts(park: Park, sold: Sold, clock: SetClock) -> None:
    """Unknown cards, passes that were not valid, tickets used twice and questions decided twice are flagged as such."""
    ticket = sales.sell(park, "single_ticket", screen="counter", actor="clerk").cards[0]
    ticket_card = Presentation(ticket.card).question(park.now()).card
    hers = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    assert entries.enter(park, "east", hers, "k" * 16).open
    late = park.now() + timedelta(days=400)

    def decided(key: str, card: str, method: str, opens: bool = True) -> wire.Record:
        at = late if key.startswith("late") else park.now()
        return wire.Record(key, card, method, at, opens, "gate.on_the_list", "")

    records = [
        decided("a" * 16, "f" * 64, "card_id_card"),
        decided("late" * 4, hers.card, "card_id_card"),
        decided("b" * 16, ticket_card, "ticket"),
        decided("c" * 16, ticket_card, "ticket"),
        decided("k" * 16, hers.card, "card_id_card", opens=False),
        decided("d" * 16, hers.card, "card_id_card", opens=False),
    ]
    _, flagged = entries.reconcile(park, "east", records)
    assert flagged == ["a" * 16, "late" * 4, "c" * 16, "k" * 16]
    assert entries.reconcile(park, "east", records)[1] == flagged
    with park.home.database.session() as session:
        assert [row.kind for row in entries.conflicts(session)] == [
            "unknown_card", "not_valid", "used_twice", "decided_twice",
        ]  # fmt: skip
        assert session.query(Visit).count() == 4


def test_a_line_cut_short_by_a_power_cut(alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold) -> None:
    """Half a line at the end of the journal, for which the gate never opened, is dropped; the others are kept."""
    alone.enter(Presentation(sold.cards[1].card, SHE.id_number))
    with (alone.folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"key": "0123')
    assert len(alone.journal()) == 1
    alone.enter(Presentation(sold.cards[0].card, HE.id_number))
    assert len(alone.journal()) == 2
    assert cut_off(alone, clock, centre).sync().taken == 2


def test_the_list_follows_the_centre(park: Park, gate: Gate, sold: Sold) -> None:
    """Cards lost, holders who left and passes that expired are not on it; codes are opened again only for a change."""

    def openings() -> int:
        from duecare.vault.models import VaultOpening

        with park.home.database.session() as session:
            return session.query(VaultOpening).filter_by(kind="bulk").count()

    assert gate.sync().cards == 2
    assert gate.sync().cards == 2
    assert openings() == 1
    sales.report_lost(park, sold.cards[1].subject, actor="clerk")
    assert gate.sync().cards == 1
    sales.sell(park, "single_ticket", screen="counter", actor="clerk")
    assert gate.sync().cards == 2
    assert openings() == 3
    erasure.erase(park.vault, sold.cards[0].subject)
    assert gate.sync().cards == 1
    head = gate.list()
    assert head is not None
    assert sold.cards[0].subject not in (gate.folder / "list.body").read_text()


def test_an_older_list_is_refused(gate: Gate, park: Park, sold: Sold, clock: SetClock) -> None:
    """A gate never goes back to a list older than the one it holds."""
    gate.sync()
    clock.advance(-timedelta(seconds=30))
    with pytest.raises(EvidenceBroken, match="older than the one held"):
        gate.sync()


def test_back_in_touch_by_itself(alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold) -> None:
    """The first question that the centre answers again brings the journal over and a fresh list, without being told."""
    alone.enter(Presentation(sold.cards[1].card, SHE.id_number))
    clock.advance(timedelta(hours=1))
    back = cut_off(alone, clock, centre)
    assert why(back.enter(Presentation(sold.cards[0].card, HE.id_number))) == ["guo_v_safari_park.enter"]
    assert back.journal() == []
    head = back.list()
    assert head is not None
    assert head.issued == clock.now()


def test_a_centre_that_goes_down_in_the_middle(park: Park, tmp_path: Path, clock: SetClock, sold: Sold) -> None:
    """A gate in touch goes on by its list when the server stops, and asks it again when it is back."""
    with serving(park) as address:
        made = Gate.make(tmp_path / "west", "west", address, str(gates.centre_key(park).verifier), clock)
        with park.home.database.session() as session:
            gates.add_gate(session, made.key, park.now())
        assert why(made.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["guo_v_safari_park.enter"]
        port = int(address.rsplit(":", 1)[1])
    assert why(made.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.on_the_list"]
    with serving(park, port=port):
        assert why(made.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["guo_v_safari_park.enter"]
        assert made.journal() == []
    made.close()


def test_clocks_that_differ_too_much(gate: Gate, sold: Sold, park: Park, clock: SetClock) -> None:
    """A gate whose clock is an hour off is told so, and does not decide by itself instead."""
    wrong = SetClock(clock.now() + timedelta(hours=1))
    late = Gate(gate.folder, wrong)
    with pytest.raises(CentreRefuses, match=r"\+3600 seconds from now"):
        late.sync()
    assert why(late.enter(Presentation(sold.cards[1].card, SHE.id_number))) == ["gate.refused"]


def test_making_gates(tmp_path: Path, park: Park) -> None:
    """A gate has a name that fits in a header, a key of its own of mode 0600, and a folder for itself."""
    key = str(gates.centre_key(park).verifier)
    made = Gate.make(tmp_path / "a", "gate-1", "http://localhost", key)
    assert made.key.name == "gate-1"
    assert (tmp_path / "a" / "gate.key").stat().st_mode & 0o777 == 0o600
    for name in ("", "a b", 'a"', "门", "a" * 41):
        with pytest.raises(BadInput, match="cannot name a gate"):
            Gate.make(tmp_path / "b", name, "http://localhost", key)
    with pytest.raises(BadInput, match="is a gate already"):
        Gate.make(tmp_path / "a", "gate-2", "http://localhost", key)
    with pytest.raises(BadInput, match="is not a gate"):
        Gate(tmp_path / "c")
    with pytest.raises(BadInput, match="verifier key"):
        Gate.make(tmp_path / "d", "gate-3", "http://localhost", "not a key")
    for centre in (
        "",
        "nourl",
        "localhost:8480",
        "http://",
        "ftp://localhost",
        "http://[",
        "http://localhost:99999",
        "http://local host",
    ):
        with pytest.raises(BadInput, match="not an address for a pass centre"):
            Gate.make(tmp_path / "e", "gate-4", centre, key)
    assert not (tmp_path / "e").exists()


def test_a_way_that_ended_is_no_hindrance(alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold) -> None:
    """After fingerprints ended, the list has their holders still, for card and ID card."""
    changes.end_method(park, "card_fingerprint", note="指纹闸机停用")
    back = cut_off(alone, clock, centre)
    back.sync()
    gone = cut_off(back, clock)
    assert gone.enter(Presentation(sold.cards[0].card, HE.id_number)).open


def test_a_record_handed_over_again_has_no_effect(park: Park, sold: Sold) -> None:
    """Whatever the centre had answered under its key, and however often: one visit, one conflict, one entry."""
    hers = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    wrong = Presentation(sold.cards[1].card, HE.id_number).question(park.now())
    for key, question, answered, opens, visits in (
        ("a" * 64, wrong, False, True, 1),
        ("b" * 64, wrong, False, False, 0),
        ("c" * 64, hers, True, True, 1),
        ("d" * 64, hers, True, False, 1),
        ("e" * 64, None, None, True, 1),
        ("f" * 64, None, None, False, 0),
    ):
        if question is not None:
            assert entries.enter(park, "east", question, key).open is answered
        record = wire.Record(key, hers.card, "card_id_card", park.now(), opens, "gate.on_the_list", "")
        first = entries.reconcile(park, "east", [record])
        assert entries.reconcile(park, "east", [record, record]) == ([key, key], first[1] * 2)
        assert first[1] == ([key] if answered is (not opens) else [])
        with park.home.database.session() as session:
            assert session.query(Visit).filter_by(key=key).count() == visits
            assert session.query(Conflict).filter_by(key=key).count() == len(first[1])
            said = [json.loads(each.body) for each in session.query(EvidenceEntry).filter_by(kind="entry:reconcile")]
        assert [each["decision"] for each in said].count(key) == 1
        if question is not None:
            assert entries.enter(park, "east", question, key).open is answered
        else:
            with pytest.raises(entries.AnotherQuestion):
                entries.enter(park, "east", hers, key)


def test_a_record_that_is_forgotten_and_comes_again(park: Park, sold: Sold, clock: SetClock) -> None:
    """The answer is forgotten, and that the record was taken is not: it makes no second visit, conflict or entry of the
    log, and whatever was answered is gone."""
    hers = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    assert entries.enter(park, "east", hers, "q" * 16).open
    assert entries.enter(park, "east", hers, "r" * 16).open
    records = [
        wire.Record(key * 16, hers.card, "card_id_card", park.now(), opens, "gate.on_the_list", "")
        for key, opens in (("a", True), ("b", False), ("q", False))
    ]
    for _ in range(3):
        assert entries.reconcile(park, "east", records) == ([each.key for each in records], ["q" * 16])
        clock.advance(timedelta(days=31))
        with park.home.database.session() as session:
            entries.forget_answers(session, park.now())
            assert session.query(Visit).count() == 3
            assert session.query(Conflict).count() == 1
            assert session.query(EvidenceEntry).filter_by(kind="entry:reconcile").count() == 3
            kept = {row.key[0]: (row.question, row.answer) for row in session.query(GateAnswer)}
            assert kept == dict.fromkeys("abq", ("", {"handed_over": True}))


def test_a_question_and_its_record_at_once(park: Park, sold: Sold) -> None:
    """A record that is handed over while its question is decided, or twice at once, makes one visit."""
    hers = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())
    for number in range(5):
        key = f"{number}" * 16
        record = wire.Record(key, hers.card, "card_id_card", park.now(), True, "gate.on_the_list", "")

        def enter(key: str = key) -> None:
            with suppress(entries.AnotherQuestion):
                assert entries.enter(park, "east", hers, key).open

        def hand_over(record: wire.Record = record) -> None:
            assert entries.reconcile(park, "east", [record])[1] == []

        at_once(enter, hand_over, hand_over)
        with park.home.database.session() as session:
            assert session.query(Visit).filter_by(key=key).count() == 1


@pytest.mark.parametrize("opens", [True, False])
def test_a_record_of_an_impossible_time_is_refused(gate: Gate, park: Park, sold: Sold, opens: bool) -> None:
    """The end of time, the future, and what was before the gate was known are refused with a signed 422; nothing of
    the request is taken."""
    hers = Presentation(sold.cards[1].card, SHE.id_number).question(park.now())

    def decided(key: str, at: datetime) -> wire.Record:
        return wire.Record(key * 16, hers.card, "card_id_card", at, opens, "gate.on_the_list", "")

    known, slack = park.now(), timedelta(seconds=120)
    for at in (
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2099, 1, 1, tzinfo=UTC),
        known + slack + timedelta(seconds=1),
        known - slack - timedelta(seconds=1),
        datetime(1, 1, 1, tzinfo=UTC),
    ):
        body = wire.records_body([decided("a", known), decided("b", at)])
        body = body.replace(b'"1-01-01T', b'"0001-01-01T')
        with pytest.raises(CentreRefuses, match=f"The record {'b' * 16} is of ") as refused:
            gate._post(wire.RECORDS, body, "k" * 16)
        assert refused.value.status == 422
    with park.home.database.session() as session:
        assert session.query(Visit).count() == 0
    body = wire.records_body([decided("c", known + slack), decided("d", known - slack)])
    assert json.loads(gate._post(wire.RECORDS, body, "k" * 16))["taken"] == ["c" * 16, "d" * 16]


def test_one_record_that_is_refused_keeps_no_other_back(
    alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold
) -> None:
    """A gate whose clock ran ahead once puts aside what the centre will not take, and hands over the rest."""
    shown = Presentation(sold.cards[1].card, SHE.id_number)
    for ahead in (0, 0, 3600, 0, 7200, 0):
        alone.clock = SetClock(clock.now() + timedelta(seconds=ahead))
        alone.enter(shown)
        clock.advance(timedelta(seconds=1))
    wrong = [alone.journal()[2], alone.journal()[4]]
    back = cut_off(alone, clock, centre)
    synced = back.sync()
    assert (synced.taken, synced.refused, back.journal()) == (4, 2, [])
    assert back.refused() == wrong
    assert back.sync().refused == 0


def test_a_gate_that_is_made_known_again(alone: Gate, park: Park, centre: str, clock: SetClock, sold: Sold) -> None:
    """With the same key it is the same gate, and what it decided before it ended is taken."""
    alone.enter(Presentation(sold.cards[1].card, SHE.id_number))
    clock.advance(timedelta(hours=1))
    with park.home.database.session() as session:
        gates.end_gate(session, "east", park.now())
    with park.home.database.session() as session:
        gates.add_gate(session, alone.key, park.now())
    assert cut_off(alone, clock, centre).sync().taken == 1
