"""A correction that is filed while the wrong alert is being sent: every order of events, on both databases.

The mail server files the correction when it has been handed the mail and before it answers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
from letterbox import MailServer, mail_server
from owed import LEXICON, LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from duecare.clock import SetClock
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar.claims import claim
from duecare.radar.corrections import Correction, retract
from duecare.radar.delivery import deliver
from duecare.radar.digests import _compose, compose_due
from duecare.radar.failures import failures
from duecare.radar.in_flight import _answer
from duecare.radar.models import Alert, ChannelAddress, Delivery, Digest, Member, Message
from duecare.radar.watches import Reach, end_address, find_member
from duecare.radar.wording import Rows
from duecare.registers.models import Dispute
from duecare.store.home import Home
from duecare.vault.records import Vault

REASON = "该企业并未清算"

_WORKER = """
import sys
from duecare.clock import SetClock
from duecare.radar.delivery import deliver
from duecare.settings import load
from duecare.store.home import Home
sys.path.insert(0, sys.argv[1])
from owed import LEXICON, NOW
with Home(load(home=sys.argv[2], database_url=sys.argv[3], smtp_url=sys.argv[4]), SetClock(NOW)) as home:
    deliver(home, lexicon=LEXICON)
"""


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    with mail_server() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, database_url: str, mail: MailServer) -> Iterator[Home]:
    """A home whose alerts go out by mail."""
    with open_home(tmp_path, database_url, smtp_url=mail.url) as opened:
        yield opened


def watching(home: Home, name: str = "jia", *entities: str, realtime: bool = True) -> None:
    """A member who is told of A, and of ``entities``, by mail."""
    reach = Reach("mail", f"{name}@example.com")
    watcher(home, name, ["A", *entities], reach, realtime=realtime, watch={"channels": ["mail"]})


def wrong(home: Home, *more: str) -> int:
    """An alert about A, and others about ``more``; the id of that about A."""
    alert(home, [passed(entity, **LIQUIDATION) for entity in ("A", *more)])
    with home.database.session() as session:
        return session.scalars(select(Alert.id).where(Alert.entity == "A")).one()


class Filing:
    """An answer of the mail server: the first time it is asked, the correction is filed before it says ``answer``."""

    def __init__(self, home: Home, alert_id: int, answer: str, also: Callable[[], object] = lambda: None) -> None:
        self.home, self.alert_id, self.answer, self.also = home, alert_id, answer, also
        self.filed: Correction | None = None

    def __call__(self, recipient: str) -> str:
        if self.filed is not None:
            return "250 OK"
        self.filed = retract(self.home, self.alert_id, REASON, "Zhang")
        self.also()
        return self.answer


def later(home: Home, by: timedelta = timedelta(hours=2)) -> None:
    """Let time pass, and send what is due then."""
    assert isinstance(home.clock, SetClock)
    home.clock.advance(by)
    deliver(home, lexicon=LEXICON)


def heard(mail: MailServer) -> list[tuple[str, str]]:
    """Who was sent what, in order: an alert, a correction, or a digest with the companies that it names."""
    found = []
    for (recipient, _), each in zip(mail.mails, mail.parsed(), strict=True):
        text = each.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        what = "correction" if REASON in text else "alert"
        if "监控日报" in each["Subject"]:
            what = " ".join(["digest", *(name for name in ("A", "B") if f"{name} 有限公司" in text)])
        found.append((recipient.partition("@")[0], what))
    return found


def states(home: Home, alert_id: int) -> list[tuple[str, str]]:
    """The channel and state of every delivery of an alert."""
    with home.database.session() as session:
        rows = session.execute(
            select(Delivery.channel, Delivery.state).where(Delivery.alert_id == alert_id).order_by(Delivery.id)
        )
        return [(channel, state) for channel, state in rows]


def state_of(home: Home, alert_id: int) -> str:
    """The state of the alert."""
    with home.database.session() as session:
        return session.get_one(Alert, alert_id).state


def test_taken_then_corrected(home: Home, mail: MailServer) -> None:
    """The mail is accepted after all: the reader hears the correction, after the alert."""
    watching(home)
    told = wrong(home)
    mail.answer = filing = Filing(home, told, "250 OK")
    deliver(home, lexicon=LEXICON)
    assert filing.filed is not None
    assert (filing.filed.recipients, filing.filed.waiting, filing.filed.cancelled) == (1, 1, 0)
    later(home)
    assert heard(mail) == [("jia", "alert"), ("jia", "correction")]
    assert (state_of(home, told), states(home, -told)) == ("corrected", [("mail", "sent")])


@pytest.mark.parametrize(
    ("answer", "state", "evidence"),
    [
        ("550 no such user", "given_up", ["delivery:give_up", "delivery:cancel"]),
        ("451 try again later", "cancelled", ["delivery:cancel", "delivery:cancel"]),
    ],
)
def test_not_taken(home: Home, mail: MailServer, answer: str, state: str, evidence: list[str]) -> None:
    """The mail is refused for good, or this time: it is not tried again, the reader never heard of it, hears no
    correction, and the alert counts as withdrawn."""
    watching(home)
    told = wrong(home)
    mail.answer = Filing(home, told, answer)
    deliver(home, lexicon=LEXICON)
    later(home)
    assert heard(mail) == []
    assert (states(home, told), states(home, -told)) == ([("mail", state)], [("mail", "cancelled")])
    assert state_of(home, told) == "withdrawn"
    with home.database.session() as session:
        kinds = list(session.scalars(select(EvidenceEntry.kind).where(EvidenceEntry.kind.startswith("delivery:"))))
    assert kinds == evidence


def test_refused_after_an_attempt_that_was_not_answered(home: Home, mail: MailServer) -> None:
    """An earlier attempt may have arrived: the correction goes out though the last one was refused."""
    watching(home)
    told = wrong(home)
    mail.answer = lambda recipient: ""
    deliver(home, lexicon=LEXICON)
    mail.answer = Filing(home, told, "550 no such user")
    later(home)
    later(home)
    assert heard(mail) == [("jia", "alert"), ("jia", "correction")]


def test_no_answer(home: Home, mail: MailServer) -> None:
    """The line goes dead: the alert may have arrived. It is not sent again, and the correction is."""
    watching(home)
    told = wrong(home)
    mail.answer = Filing(home, told, "")
    deliver(home, lexicon=LEXICON)
    later(home)
    later(home)
    assert heard(mail) == [("jia", "alert"), ("jia", "correction")]
    assert (states(home, told), states(home, -told)) == ([("mail", "cancelled")], [("mail", "sent")])


def _worker(home: Home, mail: MailServer) -> subprocess.Popen[bytes]:
    """A delivery run in a process of its own."""
    given = [str(Path(__file__).parent), str(home.path), home.database.url, mail.url]
    return subprocess.Popen([sys.executable, "-c", _WORKER, *given])


@pytest.mark.parametrize("first", ["corrected", "killed"])
def test_killed(home: Home, mail: MailServer, first: str) -> None:
    """The worker is killed while it sends, before or after the correction is filed: the alert may have arrived, goes
    out no more, and the correction follows it."""
    watching(home)
    told = wrong(home)
    process: list[subprocess.Popen[bytes]] = []
    answered = threading.Event()

    def kill() -> None:
        os.kill(process[0].pid, signal.SIGKILL)
        process[0].wait(20)

    def answer(recipient: str) -> str:
        if first == "killed":
            kill()
        retract(home, told, REASON, "Zhang")
        if first == "corrected":
            kill()
        mail.answer = lambda recipient: "250 OK"
        answered.set()
        return "250 OK"

    mail.answer = answer
    process.append(_worker(home, mail))
    assert answered.wait(60)
    deliver(home, lexicon=LEXICON)
    assert heard(mail) == [("jia", "alert"), ("jia", "correction")]
    assert (states(home, told), states(home, -told)) == ([("mail", "cancelled")], [("mail", "sent")])


def test_claimed_and_never_tried(home: Home) -> None:
    """A claim that is given back untried, of an alert that was taken back meanwhile, told nobody."""
    from duecare.radar.claims import claim, release

    watching(home)
    told = wrong(home)
    with home.database.session() as session:
        claimed = claim(session, "worker", home.clock.now(), ["mail"], 10)
    assert retract(home, told, REASON, "Zhang").waiting == 1
    with home.database.session() as session:
        release(session, "worker", claimed, home.clock.now())
    assert (states(home, told), states(home, -told)) == ([("mail", "cancelled")], [("mail", "cancelled")])


def test_one_of_two_was_told(home: Home, mail: MailServer) -> None:
    """Of two readers who are being written to, only the one who was told hears the correction."""
    watching(home, "jia")
    watching(home, "yi")
    told = wrong(home)
    filing = Filing(home, told, "250 OK")
    mail.answer = lambda recipient: "550 no" if recipient.startswith("yi") else filing(recipient)
    deliver(home, lexicon=LEXICON)
    mail.answer = lambda recipient: "250 OK"
    later(home)
    assert [who for who, what in heard(mail) if what == "correction"] == ["jia"]
    assert state_of(home, told) == "corrected"


def test_a_digest_that_has_not_left_is_composed_anew(home: Home, mail: MailServer) -> None:
    """Composed and not sent: it goes out without the wrong alert, whole otherwise, and nobody hears a correction."""
    watching(home, "jia", "B", realtime=False)
    watching(home, "yi", realtime=False)
    told = wrong(home, "B")
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=1))
    assert compose_due(home, LEXICON) == 2
    done = retract(home, told, REASON, "Zhang")
    assert (done.correction, done.cancelled) == (None, 2)
    deliver(home, lexicon=LEXICON)
    later(home)
    assert heard(mail) == [("jia", "digest B")]
    with home.database.session() as session:
        assert [digest.counts["changes"] for digest in session.scalars(select(Digest))] == [1]


def _until(home: Home, ready: Callable[[Session], bool]) -> None:
    """Wait until the database says so."""
    end = time.monotonic() + 60
    while True:
        with home.database.session() as session:
            if ready(session):
                return
        assert time.monotonic() < end, "it never came to that"


def _waiting(number: int) -> Callable[[Session], bool]:
    """Whether ``number`` sessions of the database wait for a row."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return lambda session: session.scalar(text(blocked)) == number


def _held(delivery: int) -> Callable[[Session], bool]:
    """Whether a transaction holds the row."""
    free = select(Delivery.id).where(Delivery.id == delivery).with_for_update(skip_locked=True)
    return lambda session: session.scalar(free) is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_digest_that_is_composed_and_taken_apart_while_it_is_corrected(home: Home) -> None:
    """Who corrects waits for a digest that is being composed, then for another member's delivery; who takes that digest
    apart meanwhile, because of a notice of error, waits for nobody who waits for it."""
    watching(home, "jia", "B", realtime=False)
    watching(home, "yi", realtime=False)
    told = wrong(home, "B")
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=1))
    with home.database.session() as session:
        asked = select(Delivery.id).where(Delivery.alert_id == told).order_by(Delivery.id)
        of_jia, of_yi = session.scalars(asked)
    done, composed = list[Correction](), list[int]()
    with home.database.session() as other:
        other.execute(select(Delivery.id).where(Delivery.id == of_yi).with_for_update())
        with home.database.session() as composing:
            member = composing.scalars(select(Delivery.member_id).where(Delivery.id == of_jia)).one()
            _compose(composing, [member], home.clock.now(), home.clock.now(), Rows(LEXICON))
            correcting = threading.Thread(target=lambda: done.append(retract(home, told, REASON, "Zhang")), daemon=True)
            correcting.start()
            _until(home, _waiting(1))
        _until(home, _held(of_jia))
        with disputed(home):
            apart = threading.Thread(target=lambda: composed.append(compose_due(home, LEXICON)), daemon=True)
            apart.start()
            _until(home, _waiting(2))
    for thread in (correcting, apart):
        thread.join(60)
        assert not thread.is_alive()
    assert [(each.correction, each.cancelled) for each in done] == [(None, 2)]
    assert len(composed) == 1


@pytest.mark.parametrize(
    ("answer", "hears"),
    [
        ("250 OK", ["digest A B", "correction"]),
        ("550 no such user", []),
        ("451 try again later", ["digest B"]),
        ("", ["digest A B", "digest A B", "correction"]),
    ],
)
def test_a_digest_that_is_being_sent(home: Home, mail: MailServer, answer: str, hears: list[str]) -> None:
    """Taken: the correction follows. Refused: none. Not taken this time: it is composed anew without the wrong alert.
    No answer: the same mail again, under the same id, and only then the correction."""
    watching(home, "jia", "B", realtime=False)
    told = wrong(home, "B")
    mail.answer = filing = Filing(home, told, answer)
    later(home, timedelta(days=1))
    assert filing.filed is not None
    assert (filing.filed.recipients, filing.filed.waiting) == (1, 1)
    later(home)
    later(home)
    assert [what for _, what in heard(mail)] == hears
    assert len({each["Message-ID"] for each in mail.parsed()}) == len(set(hears))
    assert state_of(home, told) == ("corrected" if "correction" in hears else "withdrawn")


@contextmanager
def disputed(home: Home) -> Iterator[None]:
    """A notice of error against what is told of A is open for the length of the block."""
    with home.database.session() as session:
        said = Dispute(
            source="register", entity="A", section="liquidation", key="", opened_at=NOW, outcome="open", note=""
        )
        session.add(said)
    yield
    with home.database.session() as session:
        session.execute(update(Dispute).values(closed_at=home.clock.now(), outcome="refused"))


def subjects(mail: MailServer) -> list[str]:
    """The digests' lines of sum, as they arrived."""
    return [str(each["Subject"]).partition("：")[2] for each in mail.parsed()]


@pytest.mark.parametrize("answer", ["451 try again later", "", None])
def test_a_digest_that_tells_of_what_is_disputed_since(home: Home, mail: MailServer, answer: str | None) -> None:
    """Composed, or not taken: it goes out without the disputed fact, which comes after the decision. Not answered: it
    waits whole, under the same id."""
    watching(home, "jia", "B", realtime=False)
    wrong(home, "B")
    mail.answer = lambda recipient: answer or ""
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=1))
    if answer is None:
        assert compose_due(home, LEXICON) == 1
    else:
        deliver(home, lexicon=LEXICON)
    mail.answer = lambda recipient: "250 OK"
    with disputed(home):
        later(home)
        later(home)
        assert heard(mail) == [("jia", "digest A B" if answer == "" else "digest B")]
        many = 2 if answer == "" else 1
        assert subjects(mail) == [f"今天共 {many} 家企业发生了 {many} 条变更"]
    later(home, timedelta(days=1))
    assert heard(mail)[1:] == [("jia", "digest A B" if answer == "" else "digest A")]
    assert subjects(mail)[1].startswith("自 2019-05-06 以来共")
    assert len({each["Message-ID"] for each in mail.parsed()}) == (1 if answer == "" else 2)


@pytest.mark.parametrize("realtime", [True, False])
def test_what_a_killed_worker_was_sending_waits_too(home: Home, mail: MailServer, realtime: bool) -> None:
    """It may have arrived; while the fact is disputed it is not sent again."""
    watching(home, realtime=realtime)
    wrong(home)
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=1))
    compose_due(home, LEXICON)
    with home.database.session() as session:
        assert claim(session, "killed", home.clock.now(), ["mail"], 10)
    with disputed(home):
        later(home)
        assert heard(mail) == []
    later(home)
    assert heard(mail) == [("jia", "alert" if realtime else "digest A")]


@pytest.mark.parametrize("answer", ["451 try again later", ""])
def test_a_digest_that_leaves_another_day_does_not_say_today(home: Home, mail: MailServer, answer: str) -> None:
    """The mail server was down past midnight: the digest says since when, in the mail and where digests are listed."""
    watching(home, realtime=False)
    wrong(home)
    mail.answer = lambda recipient: answer
    later(home, timedelta(days=1))
    mail.answer = lambda recipient: "250 OK"
    later(home, timedelta(hours=16))
    assert subjects(mail)[-1] == "自 2019-05-06 以来共 1 家企业发生了 1 条变更"
    body = mail.parsed()[-1].get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "今天" not in body
    assert "自 2019-05-06 以来" in body
    assert len({each["Message-ID"] for each in mail.parsed()}) == 1
    with home.database.session() as session:
        digest = session.scalars(select(Digest)).one()
        assert (digest.day, digest.counts["since"]) == (date(2019, 5, 7), "2019-05-06")
        assert "自 2019-05-06 以来" in digest.subject


@pytest.mark.parametrize("realtime", [True, False])
@pytest.mark.parametrize("number", [2**22 + 5, 2**31 - 1])
def test_the_id_of_an_alert_may_be_large(home: Home, mail: MailServer, realtime: bool, number: int) -> None:
    """Beyond what JSON takes for a whole number, and the last there is: the alert, its digest and its correction go out
    once each and are noted."""
    watching(home, "jia", realtime=realtime)
    alert(home, [passed("A", **LIQUIDATION, id=number)])
    later(home, timedelta(days=1))
    retract(home, number, REASON, "Zhang")
    later(home)
    later(home)
    assert heard(mail) == [("jia", "alert" if realtime else "digest A"), ("jia", "correction")]
    assert (states(home, number), states(home, -number)) == ([("mail", "sent")], [("mail", "sent")])
    with home.database.session() as session:
        sent = session.scalars(select(EvidenceEntry.body).where(EvidenceEntry.kind == "alert:send")).all()
        ids = session.scalars(select(Delivery.id).where(Delivery.alert_id.is_not(None))).all()
    assert sorted(json.loads(each)["delivery"] for each in sent) == sorted(map(str, ids))


def test_more_alerts_than_a_statement_takes(home: Home) -> None:
    """Whatever waits for a thousand alerts that were taken back at once is answered."""
    with home.database.session() as session:
        _answer(session, set(range(1, 1500)), {1}, NOW)


def test_the_address_ended_meanwhile(home: Home, mail: MailServer) -> None:
    """The address ends while the alert is sent to it: the correction waits for the centre, and gets there if the
    alert was taken."""
    for name in ("jia", "yi"):
        watching(home, name)
    told = wrong(home)
    with home.database.session() as session:
        session.execute(update(Delivery).values(state="sending", claimed_by="worker", claimed_until=later_than(home)))
        for address in session.scalars(select(ChannelAddress).where(ChannelAddress.channel == "mail")):
            end_address(session, address, at=NOW)
        jia, yi = (find_member(session, name).id for name in ("jia", "yi"))
        ids = {row.member_id: row.id for row in session.scalars(select(Delivery))}
    done = retract(home, told, REASON, "Zhang")
    assert (done.rerouted, done.recipients, done.waiting) == ((jia, yi), 2, 2)
    from duecare.radar.claims import Outcome, note
    from duecare.radar.models import DeliveryState

    with home.database.session() as session:
        outcomes = [Outcome(ids[jia], DeliveryState.SENT), Outcome(ids[yi], DeliveryState.GIVEN_UP, error="no")]
        assert note(session, "worker", outcomes, home.clock.now()) == 2
    deliver(home, lexicon=LEXICON)
    with home.database.session() as session:
        assert list(session.scalars(select(Message.member_id))) == [jia]
    assert heard(mail) == []


def later_than(home: Home) -> object:
    """A moment until which a claim holds."""
    return home.clock.now() + timedelta(minutes=3)


@pytest.mark.parametrize("how", ["refused", "ended"])
def test_a_correction_that_cannot_go_there_is_in_the_centre(home: Home, mail: MailServer, how: str) -> None:
    """The channel refuses the correction, or the address ends before it leaves: it is in the message centre."""
    watching(home)
    told = wrong(home)
    deliver(home, lexicon=LEXICON)
    retract(home, told, REASON, "Zhang")
    if how == "refused":
        mail.answer = lambda recipient: "550 no such user"
    else:
        with home.database.session() as session:
            mailed = select(ChannelAddress).where(ChannelAddress.channel == "mail")
            end_address(session, session.scalars(mailed).one(), at=NOW)
    later(home)
    later(home)
    with home.database.session() as session:
        assert [REASON in body for body in session.scalars(select(Message.body))] == [True]
        assert len(failures(session)) == (how == "refused")


def test_who_leaves_meanwhile_hears_nothing(home: Home, mail: MailServer) -> None:
    """A correction that waits for one who leaves goes nowhere, whatever became of the alert."""
    from duecare.radar.leaving import leave

    watching(home)
    told = wrong(home)

    def go() -> None:
        with Vault(home) as vault:
            leave(vault, "jia")

    mail.answer = Filing(home, told, "250 OK", go)
    deliver(home, lexicon=LEXICON)
    later(home)
    assert heard(mail) == [("jia", "alert")]
    assert states(home, -told) == [("mail", "cancelled")]
    with home.database.session() as session:
        assert session.scalars(select(Member.subject)).all() == [None]
