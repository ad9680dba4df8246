"""Members who leave: what is held of them goes, with a certificate; who was told stays counted, and is nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from letterbox import MailServer, mail_server
from owed import CONTROLLER, LEXICON, LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import func, select
from tests.at_once import at_once
from tests.evidence.witnessing import Served
from typer.testing import CliRunner

from duecare.cli.watch import watch
from duecare.clock import SetClock
from duecare.consent import grants
from duecare.errors import BadInput, Erased, UnknownName, UseError
from duecare.evidence.certificate import parse_certificate, verify_certificate
from duecare.evidence.log import Log
from duecare.radar.claims import LEASE, claim, worker
from duecare.radar.corrections import retract
from duecare.radar.delivery import deliver
from duecare.radar.leaving import leave
from duecare.radar.models import Alert, ChannelAddress, Delivery, Digest, Member, Message, Watch
from duecare.radar.purposes import CONTACT_POINTS, WATCH_DELIVERY
from duecare.radar.watches import Reach, add_address, add_member, add_watch, find_member, members
from duecare.store.home import Home
from duecare.vault import erasure, retention
from duecare.vault.records import Vault


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as mails:
        yield mails


@pytest.fixture
def home(tmp_path: Path, database_url: str, mails: MailServer) -> Iterator[Home]:
    with open_home(tmp_path, database_url, smtp_url=mails.url) as home:
        yield home


@pytest.fixture
def vault(home: Home) -> Iterator[Vault]:
    with Vault(home) as vault:
        yield vault


def subject_of(home: Home, name: str) -> str:
    with home.database.session() as session:
        subject = find_member(session, name).subject
    assert subject is not None
    return subject


def told(home: Home) -> int:
    """甲 was told at once and by a digest, 乙 at once; another alert is due to both. The id of the first alert."""
    watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
    watcher(home, "乙", ["A"], Reach("mail", "yi@example.org"))
    with home.database.session() as session:
        add_watch(session, find_member(session, "甲"), "B", at=NOW - timedelta(days=2))
    at = NOW - timedelta(hours=1)
    alert(home, [passed("A", **LIQUIDATION), passed("B")], at=at)
    report = deliver(home, lexicon=LEXICON)
    assert (report.sent, report.digests) == (6, 2)
    alert(home, [passed("A", batch_id="batch-2")])
    with home.database.session() as session:
        return session.scalars(select(Alert.id).where(Alert.section == "liquidation")).one()


def test_who_left_is_found_by_no_name(home: Home, vault: Vault) -> None:
    """The name of the row that stays is no member's: it is unknown, and not offered among the known."""
    watcher(home, "甲", ["A"])
    watcher(home, "乙", ["A"])
    leave(vault, "甲")
    for name in ("left:1", "nobody"):
        with pytest.raises(UnknownName) as caught:
            leave(vault, name)
        assert caught.value.known == ["乙"]


def test_nothing_is_held_of_who_left_and_nothing_is_sent(home: Home, vault: Vault, mails: MailServer) -> None:
    """Contact points, messages and digests are gone, watches and addresses ended, what was due cancelled; the other
    member notices nothing."""
    told(home)
    mails.mails.clear()
    subject = subject_of(home, "甲")
    done = leave(vault, "甲")
    assert [(each.purpose, each.reason) for each in done.erasures] == [(WATCH_DELIVERY, "withdrawal")]
    # two messages, two digests, and the member's own row
    assert done.erasures[0].places["watching"] == 5
    with pytest.raises(Erased):
        vault.open(CONTACT_POINTS, subject, WATCH_DELIVERY, "service:test")
    with home.database.session() as session:
        gone = session.scalars(select(Member).where(Member.left_at.is_not(None))).one()
        assert (gone.name, gone.subject) == (f"left:{gone.id}", None)
        assert [member.name for member, _ in members(session)] == ["乙"]
        for rows in (Message, Digest):
            assert session.scalar(select(func.count()).where(rows.member_id == gone.id)) == 0
        assert session.scalar(select(func.count()).where(Message.member_id != gone.id)) == 1
        mine = ChannelAddress.member_id == gone.id
        assert set(session.scalars(select(ChannelAddress.state).where(mine))) == {"ended"}
        assert session.scalar(select(Watch.id).where(Watch.member_id == gone.id, Watch.ended_at.is_(None))) is None
        counted = select(Delivery.state, func.count()).where(Delivery.member_id == gone.id).group_by(Delivery.state)
        assert dict(session.execute(counted).all()) == {"sent": 6, "cancelled": 2}  # type: ignore[arg-type]
    report = deliver(home, lexicon=LEXICON)
    assert (report.sent, report.cancelled) == (2, 0)
    assert [to for to, _ in mails.mails] == ["yi@example.org"]
    assert alert(home, [passed("A", batch_id="batch-3")]).deliveries == 2


def test_what_was_said_of_who_left_is_not_kept(home: Home, vault: Vault, mails: MailServer) -> None:
    """A server's answer may name the reader in words of its own: it goes with them, and the other member's stays."""
    for name, address in (("甲", "jia@example.org"), ("乙", "yi@example.org")):
        watcher(home, name, ["A"], Reach("mail", address))
    mails.answer_rcpt = lambda one: "550 Lin Jia has moved"
    alert(home, [passed("A", **LIQUIDATION)])
    assert deliver(home, lexicon=LEXICON).given_up == 2
    leave(vault, "甲")
    with home.database.session() as session:
        states = session.execute(
            select(Delivery.state, Delivery.last_error, Member.name).join(Member, Member.id == Delivery.member_id)
        )
        said = {name: error for state, error, name in states if state == "given_up"}
    assert said.pop("乙").startswith("The mail server said 550 Lin Jia")
    assert list(said.values()) == [""]


def test_a_correction_does_not_reach_who_left_and_says_so(home: Home, vault: Vault, mails: MailServer) -> None:
    """Those who are still there hear it; of those who left it is said how many there were, here and in the log."""
    wrong = told(home)
    leave(vault, "甲")
    mails.mails.clear()
    done = retract(home, wrong, "登记并无此事。", "Zhang")
    assert (done.recipients, done.rerouted, done.left) == (2, (), 1)
    deliver(home, lexicon=LEXICON)
    assert {to for to, _ in mails.mails} == {"yi@example.org"}


def test_the_certificate_verifies_where_a_witness_stands_by(home: Home, tmp_path: Path) -> None:
    """With a witness, leaving gives a certificate that the two public keys alone can check; the log names nobody."""
    told(home)
    with (
        Served(tmp_path / "witness", Log.at(home.path).key) as witness,
        Vault(home, witnessed_by=[witness.remote()]) as vault,
    ):
        (erased,) = leave(vault, "甲").erasures
        assert erased.certificate is not None
        checks = verify_certificate(erased.certificate, vault.log.key, [each.key for each in vault.witnesses])
        assert all(check.holds for check in checks)
    body = parse_certificate(erased.certificate).body
    assert [each["field"] for each in body["fields"]] == [CONTACT_POINTS]
    assert "甲" not in json.dumps(body, ensure_ascii=False)


def test_who_comes_back_is_a_new_member(home: Home, vault: Vault, mails: MailServer) -> None:
    """The name is free again; the new member is told what is found from then on, and nothing ties the two."""
    told(home)
    before = subject_of(home, "甲")
    with home.database.session() as session:
        old = find_member(session, "甲")
    leave(vault, "甲")
    with pytest.raises(UnknownName):
        leave(vault, "甲")
    with home.database.session() as session, pytest.raises(BadInput, match="another name"):
        add_member(vault, session, f"left:{old.id + 5}", at=NOW)
    mails.mails.clear()
    watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
    assert subject_of(home, "甲") != before
    with home.database.session() as session:
        gone = session.get_one(Member, old.id)
        with pytest.raises(UseError, match="has left"):
            add_watch(session, gone, "A", at=NOW)
    with pytest.raises(UseError, match="has left"):
        add_address(vault, gone, Reach("mail", "jia@example.org"), at=NOW)
    alert(home, [passed("A", batch_id="batch-4")])
    deliver(home, lexicon=LEXICON)
    assert sorted(to for to, _ in mails.mails) == ["jia@example.org", "yi@example.org", "yi@example.org"]


def test_what_was_claimed_before_is_not_sent_after(home: Home, vault: Vault, mails: MailServer) -> None:
    """A worker that had claimed a message and died: the member left meanwhile, and the next run cancels it."""
    watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
    alert(home, [passed("A")])
    with worker(home) as name, home.database.session() as session:
        assert len(claim(session, name, NOW, ["mail", "centre"], 10)) == 2
    leave(vault, "甲")
    assert isinstance(home.clock, SetClock)
    home.clock.advance(LEASE)
    assert deliver(home, lexicon=LEXICON).cancelled == 2
    assert mails.mails == []
    with home.database.session() as session:
        assert session.scalar(select(Message.id)) is None


def test_any_erasure_takes_the_same(home: Home, vault: Vault) -> None:
    """Asked for by the subject's name, as an operator does for any person, the membership ends as by leaving."""
    told(home)
    erasure.erase(vault, subject_of(home, "甲"))
    with home.database.session() as session:
        assert [member.name for member, _ in members(session)] == ["乙"]
        assert session.scalar(select(func.count()).select_from(Watch).where(Watch.ended_at.is_(None))) == 1
        assert session.scalar(select(func.count()).select_from(Digest)) == 0


def test_what_a_legal_hold_keeps_is_used_for_nothing_and_goes_with_it(
    home: Home, vault: Vault, mails: MailServer
) -> None:
    """Under a legal hold the member leaves all the same: nothing is sent, what is held stays, until it is lifted."""
    told(home)
    mails.mails.clear()
    subject = subject_of(home, "甲")
    with home.database.session() as session:
        hold = retention.legal_hold(
            session, subject=subject, article="民事诉讼法第81条", reason="保全", by="法务", at=NOW
        )
    assert leave(vault, "甲").held == (WATCH_DELIVERY,)
    assert leave(vault, "甲").held == (WATCH_DELIVERY,)
    deliver(home, lexicon=LEXICON)
    assert [to for to, _ in mails.mails] == ["yi@example.org"]
    with home.database.session() as session:
        assert [member.name for member, _ in members(session)] == ["乙"]
        assert session.scalar(select(func.count()).select_from(Digest)) == 2
        retention.lift(session, hold, by="法务", reason="结案", at=NOW)
    retention.run(vault)
    with home.database.session() as session:
        assert session.scalar(select(func.count()).select_from(Digest)) == 0
        assert session.scalar(select(Member.id).where(Member.name == "甲")) is None


def test_the_command_writes_the_certificate(tmp_path: Path) -> None:
    """``watch members leave`` says where the certificate is; without a witness it waits, and the exit code says so."""
    folder = tmp_path / "home"
    app = typer.Typer()
    app.add_typer(watch, name="watch")

    def run(*words: str, **more: str) -> tuple[int, str]:
        environment = {f"DUECARE_{name.upper()}": value for name, value in {**CONTROLLER, **more}.items()}
        result = CliRunner().invoke(app, ["watch", "members", *words, "--home", str(folder)], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    for name in ("alice", "bob"):
        assert run("add", name, "--mail", f"{name}@example.org")[0] == 0
    code, said = run("leave", "bob")
    assert code == 1
    assert "certificate pending" in said
    with Served(tmp_path / "witness", Log.at(folder).key) as witness:
        known = json.dumps([{"url": witness.url, "key": str(witness.key)}])
        code, said = run("leave", "alice", "--out", str(tmp_path / "out"), "--json", witnesses=known)
    assert code == 0
    (path,) = (tmp_path / "out").glob("*.certificate.json")
    assert json.loads(said)["certificates"] == {path.name.removesuffix(".certificate.json"): str(path)}
    assert b"alice" not in path.read_bytes()


def test_all_members_go_while_two_workers_deliver(home: Home, vault: Vault, mails: MailServer) -> None:
    """Nobody waits for ever or is thrown out; what was placed before somebody went is gone with them."""
    names = [f"member-{number}" for number in range(8)]
    for name in names:
        watcher(home, name, ["A"], Reach("mail", f"{name}@example.org"))
    subjects = [subject_of(home, name) for name in names]
    for number in range(6):
        alert(home, [passed("A", batch_id=f"batch-{number}")], at=NOW - timedelta(hours=1))

    def erase() -> None:
        with home.database.session() as session:
            grants.end_all(session, WATCH_DELIVERY, "expired", reason="test", at=NOW, subjects=subjects[::-1])
            act, _ = erasure.begin(vault, session, WATCH_DELIVERY, subjects[::-1], "schedule", at=NOW)
        assert act is not None
        erasure.complete(vault, act)

    at_once(lambda: deliver(home, lexicon=LEXICON), lambda: deliver(home, lexicon=LEXICON), erase)
    deliver(home, lexicon=LEXICON)
    with home.database.session() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0
        assert set(session.scalars(select(Delivery.state))) <= {"sent", "cancelled"}
        assert session.scalars(select(Member.subject)).all() == [None] * len(names)
