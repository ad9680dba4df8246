"""Members' contact points: sealed, opened once for each set that is sent, shown to nobody without a reason."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from letterbox import MailServer, Receiver, mail_server, receiver
from owed import CONTROLLER, LEXICON, LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import func, select, text
from typer.testing import CliRunner

from duecare.cli.watch import watch
from duecare.clock import SetClock
from duecare.consent import grants
from duecare.consent.models import GrantRow
from duecare.errors import BadInput, KeyLost, UseError
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry, sequence
from duecare.radar.contacts import Point
from duecare.radar.corrections import retract
from duecare.radar.delivery import deliver
from duecare.radar.failures import failures
from duecare.radar.models import Alert, ChannelAddress, Delivery, Member
from duecare.radar.purposes import CONTACT_POINTS, WATCH_DELIVERY
from duecare.radar.watches import Reach, add_address, add_member, find_member, masked
from duecare.rules.engine import Engine
from duecare.store.database import Base
from duecare.store.home import Home
from duecare.vault.models import VaultOpening, VaultValue
from duecare.vault.records import Vault

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
NO_SENDING = """
@id("mine.no_sending")
@zh("暂停发送。")
@en("Nothing is sent for now.")
forbid (principal == Service::"radar", action == Action::"process", resource == Purpose::"watch_delivery")
when { context.activity == "use" };
"""


@pytest.fixture
def servers() -> Iterator[tuple[MailServer, Receiver]]:
    with mail_server() as mails, receiver() as posts:
        yield mails, posts


@pytest.fixture
def home(tmp_path: Path, database_url: str, servers: tuple[MailServer, Receiver]) -> Iterator[Home]:
    with open_home(tmp_path, database_url, smtp_url=servers[0].url, sms_url=servers[1].url + "/sms") as home:
        yield home


def openings(home: Home) -> list[VaultOpening]:
    with home.database.session() as session:
        return list(session.scalars(select(VaultOpening).order_by(VaultOpening.entry)))


def everything(home: Home, tmp_path: Path) -> bytes:
    """All bytes of the home and of the folder beside it, and all rows of the database."""
    files = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())
    with home.database.session() as session:
        rows = [
            str([tuple(row) for row in session.execute(text(f"SELECT * FROM {name}"))]) for name in Base.metadata.tables
        ]
    return files + "".join(rows).encode()


def test_no_address_stands_anywhere_in_the_home(
    home: Home, tmp_path: Path, servers: tuple[MailServer, Receiver]
) -> None:
    """Alerts, a digest, refusals that repeat the address and a correction leave no address and no secret behind."""
    mails, posts = servers
    ways = [Reach("mail", "jia@example.org"), Reach("sms", "+8613800138000")]
    hooks = [Reach("webhook", posts.url + "/hook", SECRET), Reach("wecom", posts.url + "/robot?key=robotskey")]
    watcher(home, "甲", ["A"], *ways, *hooks)
    watcher(home, "乙", ["A"], Reach("mail", "yi@example.org"), realtime=False)
    watcher(home, "丙", ["A"], Reach("mail", "bing@example.org"))
    watcher(home, "丁", ["A"], Reach("mail", "ding@example.org"))
    mails.answer_rcpt = lambda one: "550 <BING@example.org> Bing unknown" if one.startswith("bing") else "250 OK"
    mails.answer = lambda one: f"451 {one} is busy" if one.startswith("ding") else "250 OK"
    alert(home, [passed("A", **LIQUIDATION)], at=NOW - timedelta(hours=1))
    first = deliver(home, lexicon=LEXICON)
    assert (first.digests, first.given_up, first.retried) == (2, 1, 1)
    with home.database.session() as session:
        wrong = session.scalars(select(Alert)).one().id
        (refused,) = failures(session)
        late = session.scalars(select(Delivery.last_error).where(Delivery.state == "due")).one()
    assert "550 <***> *** unknown" in refused.error
    assert "451 *** is busy" in late
    retract(home, wrong, "登记并无此事。", "Zhang")
    deliver(home, lexicon=LEXICON)
    with home.database.session() as session:
        member = find_member(session, "甲")
    with Vault(home) as vault:
        add_address(vault, member, Reach("mail", "jia2@example.org"), at=NOW)
    sequence(home.database, Log.at(home.path))

    assert {to for to, _ in mails.mails} == {"jia@example.org", "yi@example.org"}
    assert Counter(post.path for post in posts.posts) == {"/hook": 2, "/robot?key=robotskey": 2, "/sms": 2}
    left = everything(home, tmp_path)
    assert "某数据服务有限公司".encode() in left  # what is looked for would be found
    for told in ("jia", "yi", "bing", "ding"):
        assert f"{told}@example.org".encode() not in left.lower()
    for told in ("jia2@", "13800138000", posts.url, "robotskey", SECRET, SECRET.removeprefix("whsec_")):
        assert told.encode() not in left, told


@pytest.mark.parametrize(
    ("point", "said", "kept"),
    [
        (Point("mail", "jia.lin@example.org"), "550 user JIA.LIN unknown", "550 user *** unknown"),
        (Point("mail", "jia@example.org"), "550 <jia@mail.example.org>", "550 <***@mail.example.org>"),
        (Point("mail", "a@example.org"), "550 a mailbox has no a@example.org", "550 *** mailbox has no ***"),
        (Point("sms", "+8613800138000"), "13800138000 is barred", "*** is barred"),
        (Point("sms", "+8613800138000"), "0086 138-0013-8000 is barred", "*** is barred"),
        (Point("sms", "13800138000"), "code 13800: +86 138 0013 8000", "code 13800: ***"),
        (Point("wecom", "https://qy.example/send?key=abc-693"), "errcode 93000: [ABC-693]", "errcode 93000: [***]"),
        (Point("webhook", "https://a.example/x/t0ken99", SECRET), f"no t0ken99 for {SECRET}", "no *** for ***"),
    ],
)
def test_what_tells_whose_an_address_is_is_hidden(point: Point, said: str, kept: str) -> None:
    """A mailbox without its domain, a number without its country and however it is set apart, the key of a robot."""
    assert point.hidden_in(said) == kept


def test_a_set_is_opened_at_once_and_the_centre_not_at_all(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """Whatever is claimed together is one opening with one entry; messages in the centre open nothing."""
    watcher(home, "centre", ["A"])
    alert(home, [passed("A")])
    assert deliver(home, lexicon=LEXICON).sent == 1
    assert openings(home) == []
    for number in range(30):
        watcher(home, f"m{number}", ["B", "C"], Reach("mail", f"m{number}@example.org"))
    alert(home, [passed("B", batch_id="batch-2"), passed("C", batch_id="batch-2")])
    assert deliver(home, lexicon=LEXICON).sent == 120
    (opened,) = openings(home)
    assert (opened.kind, opened.subjects, opened.by, opened.purpose) == ("bulk", 30, "service:radar", WATCH_DELIVERY)
    assert len({to for to, _ in servers[0].mails}) == 30
    with home.database.session() as session, Vault(home) as vault:
        subject = find_member(session, "m3").subject
        assert subject is not None
        assert [one.why for one in vault.openings(session, subject)] == ["alerts, digests and corrections are sent"]


def test_a_grant_that_ended_cancels_what_is_owed(home: Home, servers: tuple[MailServer, Receiver]) -> None:
    """A member whose grant ended is written to no more; it is cancelled with the reason, and tried no more."""
    for name in "ab":
        watcher(home, name, ["A"], Reach("mail", f"{name}@example.org"), watch={"channels": ["mail"]})
    alert(home, [passed("A")])
    with home.database.session() as session:
        subject = find_member(session, "a").subject
        assert subject is not None
        grants.end(session, subject, WATCH_DELIVERY, "request", reason="by letter", at=NOW)
    report = deliver(home, lexicon=LEXICON)
    assert (report.sent, report.cancelled) == (1, 1)
    assert [to for to, _ in servers[0].mails] == ["b@example.org"]
    with home.database.session() as session:
        assert "grant ended" in session.scalars(select(Delivery.last_error).where(Delivery.state == "cancelled")).one()
    assert deliver(home, lexicon=LEXICON).sent == 0


def test_what_the_rules_forbid_waits_and_what_needs_no_address_goes_on(
    home: Home, tmp_path: Path, servers: tuple[MailServer, Receiver]
) -> None:
    """Where an operator's policy forbids it, mails wait with its name, and go out once it is gone."""
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"))
    alert(home, [passed("A")])
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "mine.cedar").write_text(NO_SENDING, encoding="utf-8")
    with Vault(home, Engine.load(folder)) as vault:
        report = deliver(home, vault=vault, lexicon=LEXICON)
    assert (report.sent, report.retried) == (1, 1)
    with home.database.session() as session:
        waits = session.scalars(select(Delivery).where(Delivery.channel == "mail")).one()
    assert "mine.no_sending" in waits.last_error
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(hours=1))
    assert deliver(home, lexicon=LEXICON).sent == 1
    assert len(servers[0].mails) == 1


def test_without_its_keys_nothing_is_lost_or_taken_for_told(
    home: Home, tmp_path: Path, servers: tuple[MailServer, Receiver]
) -> None:
    """A run that cannot open the vault says so; what it had claimed is due as before, and goes out afterwards."""
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"))
    alert(home, [passed("A")])
    (master,) = (home.path / "keys").glob("vault.master.*")
    master.rename(tmp_path / "elsewhere")
    with pytest.raises(KeyLost):
        deliver(home, lexicon=LEXICON)
    (tmp_path / "elsewhere").rename(master)
    with home.database.session() as session:
        rows = session.execute(select(Delivery.channel, Delivery.state, Delivery.unanswered)).all()
    assert sorted(rows) == [("centre", "sent", False), ("mail", "due", False)]
    assert deliver(home, lexicon=LEXICON).sent == 1
    assert len(servers[0].mails) == 1


def test_addresses_added_at_once_are_all_kept(home: Home) -> None:
    """Several add addresses of one member at the same time: each is sealed, and none takes another's place."""
    watcher(home, "甲", [])
    with home.database.session() as session:
        member = find_member(session, "甲")
    made: list[int] = []

    def add(number: int) -> None:
        with Home(home.settings, SetClock(NOW)) as other, Vault(other) as vault:
            ways = [Reach("mail", f"{number}@example.org"), Reach("mail", "same@example.org")]
            made.extend(add_address(vault, member, way, at=NOW).id for way in ways)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(made), len(set(made))) == (8, 5)
    with Vault(home) as vault:
        assert member.subject is not None
        held = json.loads(vault.open(CONTACT_POINTS, member.subject, WATCH_DELIVERY, "service:test"))
        with home.database.session() as session:
            rows = {row.id: row.commitment for row in session.scalars(select(ChannelAddress))}
    addresses = {one["address"] for one in held.values()}
    assert addresses == {"", "same@example.org", *(f"{number}@example.org" for number in range(4))}
    assert {int(one): Point(**said).commitment for one, said in held.items()} == rows


def test_joining_is_a_grant_under_the_notice_that_was_shown(home: Home) -> None:
    """It names the notice's version, the screen and the language; who answers for the data must be known."""
    watcher(home, "ann", [], language="en")
    with home.database.session() as session:
        subject = find_member(session, "ann").subject
        (grant,) = grants.standing(session, subject)
    assert (grant.purpose, grant.notice, grant.notice_version) == (WATCH_DELIVERY, "watch", 1)
    assert (grant.how, grant.screen, grant.language) == ("joining", "duecare watch members add", "en")


def test_without_a_controller_nobody_joins(tmp_path: Path, database_url: str) -> None:
    """People are told who processes their data; where the settings do not say it, nothing of a member is kept."""
    with open_home(tmp_path, database_url, controller_name="") as home:
        with pytest.raises(BadInput, match="controller's name"):
            watcher(home, "甲", [], Reach("mail", "a@example.org"))
        with home.database.session() as session:
            assert session.scalar(select(Member.id)) is None


def test_what_joining_does_is_undone_with_its_transaction(home: Home) -> None:
    """Nobody is half a member: where the transaction fails, nothing is sealed and the name is free."""

    def half(vault: Vault) -> None:
        with home.database.session() as session:
            add_member(vault, session, "甲", at=NOW, reach=[Reach("mail", "a@example.org")])
            raise UseError("something else failed")

    with Vault(home) as vault, pytest.raises(UseError, match="something else"):
        half(vault)
    with home.database.session() as session:
        assert session.scalar(select(func.count()).select_from(VaultValue)) == 0
        assert session.scalar(select(GrantRow.id)) is None
    watcher(home, "甲", [], Reach("mail", "a@example.org"))


def test_addresses_are_shown_masked_to_a_named_person_only(home: Home) -> None:
    """Looking needs a reason, shows enough to recognise an address by, and each member can see who looked and why."""
    ways = [Reach("mail", "alice@example.org"), Reach("sms", "+8613800138000"), Reach("webhook", "https://h.example/x")]
    watcher(home, "甲", [], *ways)
    with Vault(home) as vault:
        with pytest.raises(BadInput, match="Say why"):
            masked(vault, "李雷", " ")
        shown = masked(vault, "李雷", "a mail came back")
        assert set(shown.values()) == {"", "a***@example.org", "+86***00", "https://h.example/***"}
        with home.database.session() as session:
            subject = find_member(session, "甲").subject
            assert subject is not None
            assert [(one.by, one.why) for one in vault.openings(session, subject)] == [("李雷", "a mail came back")]
            body = session.scalars(select(EvidenceEntry.body).where(EvidenceEntry.kind == "field:bulk")).one()
    assert json.loads(body)["by"] == "李雷"


def test_a_repr_and_a_log_line_show_no_address() -> None:
    """What is printed of a way to reach someone by mistake says the channel alone."""
    point = Point("mail", "a@example.org", SECRET)
    for shown in (repr(point), repr(Reach("mail", "a@example.org", SECRET))):
        assert "example.org" not in shown
        assert SECRET not in shown
        assert "mail" in shown


def test_the_command_lists_channels_and_reveals_for_a_reason(tmp_path: Path) -> None:
    """``watch members`` shows channels; --reveal asks by whom and why; a made secret is shown once, on adding."""
    app = typer.Typer()
    app.add_typer(watch, name="watch")
    environment = {f"DUECARE_{name.upper()}": value for name, value in CONTROLLER.items()}

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["watch", *words, "--home", str(tmp_path / "home")], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    added = json.loads(run("members", "add", "alice", "--mail", "alice@example.org", "--webhook",
                           "https://h.example/x", "--json"))  # fmt: skip
    assert [one.startswith("whsec_") for one in added["secrets"]] == [True]
    (listed,) = json.loads(run("members", "--json"))
    assert listed["addresses"] == [{"channel": "centre"}, {"channel": "mail"}, {"channel": "webhook"}]
    assert "example" not in run("members")
    (listed,) = json.loads(run("members", "--reveal", "--by", "李雷", "--why", "a mail came back", "--json"))
    assert [one["masked"] for one in listed["addresses"]] == ["", "a***@example.org", "https://h.example/***"]
    for words in (["--reveal"], ["--reveal", "--by", "李雷"], ["--by", "李雷", "--why", "x"]):
        with pytest.raises(BadInput, match="give all three, or none"):
            run("members", *words)
