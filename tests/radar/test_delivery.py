"""The delivery worker over real channels, on both databases."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
from letterbox import MailServer, Receiver, mail_server, receiver
from owed import LEXICON, LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from duecare.cli.deliver import deliver as command
from duecare.clock import SetClock
from duecare.evidence.outbox import EvidenceEntry, waiting
from duecare.radar.claims import LEASE, Backoff, Outcome, claim, note, worker
from duecare.radar.delivery import DeliveryReport, deliver, key_of
from duecare.radar.failures import failures
from duecare.radar.models import Alert, AlertState, ChannelAddress, Delivery, DeliveryState, Member, Message
from duecare.radar.watches import Reach, end_address
from duecare.store.home import Home


@pytest.fixture
def servers() -> Iterator[tuple[MailServer, Receiver]]:
    with mail_server() as mails, receiver() as posts:
        yield mails, posts


@pytest.fixture
def home(tmp_path: Path, database_url: str, servers: tuple[MailServer, Receiver]) -> Iterator[Home]:
    with open_home(tmp_path, database_url, smtp_url=servers[0].url, sms_url=servers[1].url + "/sms") as home:
        yield home


def run(home: Home) -> DeliveryReport:
    """One run with known waits."""
    return deliver(home, lexicon=LEXICON, backoff=Backoff(random=Random(1)))


def move(home: Home, by: timedelta) -> None:
    """Let time pass."""
    assert isinstance(home.clock, SetClock)
    home.clock.advance(by)


def states(home: Home) -> Counter[str]:
    """How many deliveries are in each state."""
    with home.database.session() as session:
        return Counter(session.scalars(select(Delivery.state)))


def test_every_channel_is_told_and_every_sending_leaves_evidence(
    home: Home, servers: tuple[MailServer, Receiver]
) -> None:
    """Centre, mail, webhook, WeCom and SMS all get it; the log gets commitments, never an address."""
    mails, posts = servers
    ways = [Reach("mail", "a@example.org"), Reach("webhook", posts.url + "/hook"), Reach("sms", "+8613800138000")]
    watcher(home, "甲", ["A"], *ways, Reach("wecom", posts.url + "/robot"))
    alert(home, [passed("A", **LIQUIDATION)])
    assert run(home) == DeliveryReport(sent=5)
    assert run(home) == DeliveryReport()
    assert len(mails.mails) == 1
    assert sorted(post.path for post in posts.posts) == ["/hook", "/robot", "/sms"]
    with home.database.session() as session:
        assert session.scalars(select(Message.subject)).one() == "【监控动态】A 有限公司：清算信息 新增（警示信息）"
        entries = list(session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == "alert:send")))
        told = {json.loads(entry.body)["recipient"] for entry in entries}
        assert told == set(session.scalars(select(ChannelAddress.commitment)))
    assert len(entries) == 5
    addresses = ("example.org", "13800138000", posts.url)
    assert not any(address in entry.body for entry in entries for address in addresses)


def test_what_fails_is_tried_again_later_and_longer(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """Each failure waits longer, an asked wait is kept, and the mail arrives once the server takes it."""
    mails, _ = servers
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"), watch={"channels": ["mail"]})
    alert(home, [passed("A")])
    mails.answer = lambda recipient: "451 later"
    waits = []
    for _ in range(4):
        assert run(home).retried == 1
        assert run(home) == DeliveryReport()
        with home.database.session() as session:
            one = session.scalars(select(Delivery)).one()
        waits.append((one.next_at - home.clock.now()).total_seconds())
        move(home, one.next_at - home.clock.now())
    assert waits == sorted(waits)
    assert 15 <= waits[0] <= 30 < waits[-1] <= 240
    assert "451 later" in one.last_error
    mails.answer = lambda recipient: "250 OK"
    assert run(home).sent == 1
    assert len(mails.mails) == 1


def test_after_the_hours_of_retrying_it_is_given_up_in_sight(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """The hours count from the first attempt; what is given up is listed with the reason."""
    mails, _ = servers
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"), watch={"channels": ["mail"]})
    alert(home, [passed("A")])
    mails.answer = lambda recipient: "451 full"
    move(home, timedelta(hours=100))  # nothing ran for days: no reason to give up
    assert run(home).retried == 1
    with home.database.session() as session:
        assert failures(session) == []
        (again,) = failures(session, over=False)
    assert (again.member, again.attempts, "451 full" in again.error) == ("甲", 1, True)
    assert again.next_at is not None
    assert again.next_at > home.clock.now()
    move(home, timedelta(hours=home.settings.retry_hours))
    assert run(home).given_up == 1
    with home.database.session() as session:
        (failure,) = failures(session)
        assert failures(session, over=False) == []
    assert (failure.member, failure.channel, failure.what) == ("甲", "mail", "A 有限公司: basic")
    assert "451 full" in failure.error


def test_a_final_refusal_is_given_up_at_once_and_stops_nobody_else(
    home: Home, servers: tuple[MailServer, Receiver]
) -> None:
    """One bad address holds up neither the others nor a later run."""
    mails, _ = servers
    mails.answer_rcpt = lambda address: "550 unknown" if address == "b@example.org" else "250 OK"
    for name in "abc":
        watcher(home, name, ["A"], Reach("mail", f"{name}@example.org"), watch={"channels": ["mail"]})
    alert(home, [passed("A")])
    report = run(home)
    assert (report.sent, report.given_up) == (2, 1)
    assert {address for address, _ in mails.mails} == {"a@example.org", "c@example.org"}


def test_an_unconfigured_channel_keeps_what_it_owes(tmp_path: Path, database_url: str) -> None:
    """Without a mail server mails wait, however long, and the report says what to set."""
    with open_home(tmp_path, database_url) as home:
        watcher(home, "甲", ["A"], Reach("mail", "a@example.org"))
        alert(home, [passed("A")])
        move(home, timedelta(days=30))
        report = run(home)
    assert report.sent == 1
    assert report.waiting["mail"][0] == 1
    assert "DUECARE_SMTP_URL" in report.waiting["mail"][1]


def test_two_workers_at_once_send_nothing_twice(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """Two workers over one database share the work: no message is handed over twice."""
    mails, _ = servers
    companies = [f"C{number:03}" for number in range(120)]
    watcher(home, "甲", companies, Reach("mail", "a@example.org"))
    alert(home, [passed(company) for company in companies])
    other = Home(home.settings, SetClock(home.clock.now()))
    reports: list[DeliveryReport] = []
    threads = [threading.Thread(target=lambda one=one: reports.append(run(one))) for one in (home, other)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()
    assert sum(report.sent for report in reports) == 240
    assert len(mails.mails) == 120
    assert len({mail["Message-ID"] for mail in mails.parsed()}) == 120
    assert states(home) == {"sent": 240}


def test_a_claim_is_one_workers_until_it_runs_out(home: Home) -> None:
    """A claimed delivery is nobody else's; after the lease it is taken over, and the first may note nothing more."""
    watcher(home, "甲", ["A"])
    alert(home, [passed("A")])
    now = home.clock.now()
    with worker(home) as first, worker(home) as second:
        with home.database.session() as session:
            (one,) = claim(session, first, now, ["centre"], 10)
        with home.database.session() as session:
            assert claim(session, second, now, ["centre"], 10) == []
        with home.database.session() as session:
            assert claim(session, second, now + LEASE, ["centre"], 10) == [one]
        with home.database.session() as session:
            assert note(session, first, [Outcome(one, DeliveryState.SENT)], now) == 0
            assert session.get(Delivery, one).unanswered  # type: ignore[union-attr]
        with home.database.session() as session:
            assert note(session, second, [Outcome(one, DeliveryState.SENT)], now) == 1
            assert session.scalar(select(func.count()).where(EvidenceEntry.kind == "alert:send")) == 1


def test_silence_keeps_the_recipient_among_those_who_may_know(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """A webhook that never answered may have arrived; it goes again under the same id and stays marked."""
    _, posts = servers
    watcher(home, "甲", ["A"], Reach("webhook", posts.url), watch={"channels": ["webhook"]})
    alert(home, [passed("A")])
    posts.answer = lambda post: 0.0
    assert run(home).retried == 1
    with home.database.session() as session:
        assert session.scalars(select(Delivery.unanswered)).one()
    posts.answer = lambda post: (204, {}, b"")
    move(home, timedelta(hours=1))
    assert run(home).sent == 1
    assert len({post.headers["webhook-id"] for post in posts.posts}) == 1
    assert posts.posts[0].body == posts.posts[1].body


def test_an_ended_address_is_written_to_no_more(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """What was owed to an address that has ended since is cancelled, not sent."""
    mails, _ = servers
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"))
    alert(home, [passed("A")])
    with home.database.session() as session:
        end_address(
            session, session.scalars(select(ChannelAddress).where(ChannelAddress.channel == "mail")).one(), at=NOW
        )
    report = run(home)
    assert (report.sent, report.cancelled) == (1, 1)
    assert mails.mails == []


def test_a_correction_speaks_of_what_was_told_and_threads_under_it(
    home: Home, servers: tuple[MailServer, Receiver]
) -> None:
    """It says when and what this recipient was told and why it was wrong, and replies to that very mail."""
    mails, _ = servers
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"), watch={"channels": ["mail"]})
    alert(home, [passed("A", **LIQUIDATION)])
    run(home)
    with home.database.session() as session:
        wrong = session.scalars(select(Alert)).one()
        told = session.scalars(select(Delivery)).one()
        values = {
            column.key: getattr(wrong, column.key) for column in Alert.__mapper__.column_attrs if column.key != "id"
        }
        right = Alert(
            **{
                **values,
                "id": -wrong.id,
                "change_id": "c" * 32,
                "corrects_id": wrong.id,
                "wording": {"zh": "该信息早已登记，不是新发生的事。", "en": "It had stood there for years."},
            }
        )
        session.add(right)
        session.flush()
        session.add(
            Delivery(
                alert_id=right.id,
                member_id=told.member_id,
                address_id=told.address_id,
                channel="mail",
                mode="realtime",
                created_at=NOW,
                next_at=NOW,
            )
        )
        session.execute(update(Alert).where(Alert.id == wrong.id).values(state=AlertState.CORRECTED.value))
    run(home)
    first, second = mails.parsed()
    assert second["In-Reply-To"] == first["Message-ID"] == f"<{key_of(home, told.id, told.created_at)}@localhost>"
    text = second.get_body(("plain",))
    assert text is not None
    content = text.get_content()
    assert (
        "我们曾于 2019-05-06 08:30 通知您：“A 有限公司：清算信息 新增（姓名 成员甲；身份 负责人）”。该通知有误。"
        in content
    )
    assert "原因：该信息早已登记，不是新发生的事。" in content
    with home.database.session() as session:
        bodies = [
            json.loads(body)
            for body in session.scalars(
                select(EvidenceEntry.body).where(EvidenceEntry.kind == "alert:send").order_by(EvidenceEntry.id)
            )
        ]
    assert bodies[0]["recipient"] == bodies[1]["recipient"]
    assert bodies[1]["corrects"] == wrong.id


def test_keys_differ_between_homes(tmp_path: Path) -> None:
    """The same row in two homes is two messages to the world."""
    with ExitStack() as stack:
        homes = [stack.enter_context(open_home(tmp_path / name, "")) for name in "ab"]
        assert key_of(homes[0], 1, NOW) != key_of(homes[1], 1, NOW)
        assert key_of(homes[0], 1, NOW) == key_of(homes[0], 1, NOW)


def test_members_read_in_their_own_language(home: Home) -> None:
    """One alert is written in Chinese for one member and in English, on their clock, for another."""
    watcher(home, "甲", ["A"])
    watcher(home, "ann", ["A"], language="en", zone="Europe/London")
    alert(home, [passed("A")])
    run(home)
    with home.database.session() as session:
        rows = dict(
            session.execute(select(Member.name, Message.body).join(Message, Message.member_id == Member.id)).all()  # type: ignore[arg-type]
        )
    assert "2019-05-02 07:30 至 2019-05-05 22:30（北京时间）" in rows["甲"]
    assert "2019-05-02 00:30 to 2019-05-05 15:30 (Europe/London)" in rows["ann"]


def test_the_command_sends_says_what_failed_and_logs_it(
    home: Home, servers: tuple[MailServer, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``duecare deliver`` and its two lists, as a script has them; what it did is in the log when it ends."""
    mails, _ = servers
    for name in ("DATABASE_URL", "SMTP_URL"):
        monkeypatch.setenv(f"DUECARE_{name}", str(getattr(home.settings, name.lower())))
    for name in "abc":
        watcher(home, name, ["A"], Reach("mail", f"{name}@example.org"), watch={"channels": ["mail"]})
    alert(home, [passed("A")])
    mails.answer_rcpt = lambda address: {"a": "250 OK", "b": "451 later", "c": "550 unknown"}[address[0]]
    app = typer.Typer()
    app.command()(command)

    def asked(*words: str) -> tuple[int, Any]:
        result = CliRunner().invoke(app, [*words, "--json", "--home", str(home.path)])
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result.exit_code, json.loads(result.stdout)

    code, report = asked()
    assert (code, report["sent"], report["retried"], report["given_up"]) == (1, 1, 1, 1)
    for option, member in (("--retrying", "b"), ("--failed", "c")):
        code, rows = asked(option)
        assert (code, [row["member"] for row in rows]) == (0, [member])
        assert (rows[0]["next_at"] is not None) == (member == "b")
    assert waiting(home.database) == 0
