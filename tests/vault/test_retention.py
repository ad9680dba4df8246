"""Retention: shown before it runs, runs by itself, catches up, and stops for a legal hold."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from duecare.clock import SetClock
from duecare.consent import grants
from duecare.consent.purposes import Retention
from duecare.errors import BadInput, Erased, NotGranted, UnknownName
from duecare.evidence.outbox import EvidenceEntry
from duecare.store import durable
from duecare.vault import erasure, exports, retention
from duecare.vault.records import Vault
from duecare.vault.retention import Due

from ..consent.world import THREE_MONTHS, agree
from .park import AT, BASIC, PRINT, furnish, holder, opened

EXPIRED = date(2020, 4, 26)


def move(vault: Vault, at: datetime) -> None:
    """It is later."""
    assert isinstance(vault.clock, SetClock)
    vault.clock.set(at)


def expires(vault: Vault, subject: str, on: date | None, ref: str = "") -> None:
    with vault.database.session() as session:
        retention.event(session, subject, "pass_expired", on, ref=ref, at=vault.clock.now())


def due(vault: Vault, at: datetime) -> list[Due]:
    with vault.database.session() as session:
        return retention.due(vault, session, at)


def beijing(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour - 8)


def test_the_dry_run_shows_what_the_run_does(vault: Vault) -> None:
    """Three months after the pass expired the biometrics go, the rest stays; the dry run shows it, and no more."""
    subject = holder(vault)
    expires(vault, subject, EXPIRED)
    assert due(vault, beijing(date(2020, 7, 26))) == [], "the last day on which it may be kept"
    shown = due(vault, beijing(date(2020, 7, 27), hour=0))
    assert [(each.purpose, each.reason, each.event, each.on, each.until) for each in shown] == [
        ("fingerprint_entry", "schedule", "pass_expired", EXPIRED, date(2020, 7, 26)),
        ("news", "schedule", "pass_expired", EXPIRED, date(2020, 7, 26)),
    ]
    assert vault.open("fingerprint", subject, "fingerprint_entry", "gate") == PRINT, "a dry run changes nothing"
    move(vault, beijing(date(2020, 7, 27)))
    assert retention.run(vault).erased == 2
    with pytest.raises(Erased, match="schedule"):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]
    with vault.database.session() as session:
        (done, _) = erasure.erasures(session, subject)
        assert not grants.standing(session, subject, "fingerprint_entry")
    assert (done.reason, done.note) == ("schedule", "retention: pass_expired")
    assert retention.run(vault).erased == 0
    move(vault, beijing(date(2026, 4, 27)))
    assert [each.purpose for each in due(vault, vault.clock.now())] == ["pass_contract"]


def test_a_run_catches_up_after_years(vault: Vault) -> None:
    """Nothing ran for years: all that became due meanwhile goes with the first run."""
    people = [holder(vault) for _ in range(3)]
    for at, subject in enumerate(people):
        expires(vault, subject, EXPIRED + timedelta(days=365 * at))
    move(vault, beijing(date(2029, 1, 1)))
    ran = retention.run(vault)
    assert ran.erased == 9
    with vault.database.session() as session:
        assert {each.state for subject in people for each in vault.holds(session, subject)} == {"erased"}


def test_a_renewal_moves_the_day(vault: Vault) -> None:
    """The event recorded last counts; of two passes the later one; one that is called off does not count."""
    subject = holder(vault)
    expires(vault, subject, EXPIRED, ref="pass 1")
    late = beijing(date(2020, 12, 1))
    assert len(due(vault, late)) == 2
    expires(vault, subject, date(2021, 4, 26), ref="pass 1")
    assert due(vault, late) == []
    expires(vault, subject, EXPIRED, ref="pass 1")
    assert len(due(vault, late)) == 2, "put back by a refund"
    expires(vault, subject, date(2022, 4, 26), ref="pass 2")
    assert due(vault, late) == []
    expires(vault, subject, None, ref="pass 2")
    assert len(due(vault, late)) == 2
    with pytest.raises(UnknownName):
        expires(vault, "0" * 32, EXPIRED)


def test_a_grant_that_ended_elsewhere_is_erased_by_the_run(vault: Vault) -> None:
    """Withdrawn without the vault, nothing opens at once, and the next run erases it with its own reason."""
    subject = holder(vault)
    with vault.database.session() as session:
        grants.withdraw(session, subject, "news", how="a letter", screen="post", at=AT)
    with pytest.raises(NotGranted, match="ended"):
        vault.open("phone", subject, "news", "marketing")
    assert [(each.purpose, each.reason) for each in due(vault, AT)] == [("news", "withdrawal")]
    assert retention.run(vault).erased == 1
    with vault.database.session() as session:
        (done,) = erasure.erasures(session, subject)
    assert done.reason == "withdrawal"


def test_a_pass_that_is_renewed_during_a_run_loses_nothing(vault: Vault) -> None:
    """What is due is looked at again when its turn comes: a long run does not erase by a list that is out of date."""
    subject = holder(vault)
    expires(vault, subject, EXPIRED)
    move(vault, beijing(date(2020, 8, 1)))

    def renew(done: int, of: int) -> None:
        if done == 1:
            assert of == 2
            expires(vault, subject, date(2021, 4, 26))

    assert retention.run(vault, renew).erased == 1
    with vault.database.session() as session:
        assert [each.purpose for each in erasure.erasures(session, subject)] == ["fingerprint_entry"]
        assert {each.purpose for each in grants.standing(session, subject)} == {"news", "pass_contract"}
    assert vault.open("phone", subject, "news", "service:news") == BASIC["phone"]


def test_a_legal_hold_keeps_and_is_evidence(vault: Vault) -> None:
    """What is held is neither erased nor used; when the hold is lifted, it goes with the next run."""
    subject, other = holder(vault), holder(vault)
    with vault.database.session() as session:
        hold = retention.legal_hold(
            session, article="民事诉讼法第八十四条", reason="案件审理中", by="counsel", at=AT, subject=subject
        )
    kept = erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    assert (kept.erasures, kept.held) == ((), ("fingerprint_entry",))
    with pytest.raises(NotGranted, match="ended"):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")
    for each in (subject, other):
        expires(vault, each, EXPIRED)
    move(vault, beijing(date(2020, 8, 1)))
    assert [each.held for each in due(vault, vault.clock.now()) if each.subject == subject] == [True, True]
    ran = retention.run(vault)
    assert (ran.erased, ran.held) == (2, 2)
    with vault.database.session() as session:
        states = {each.purpose: each.state for each in vault.holds(session, subject)}
        assert states == {"fingerprint_entry": "kept", "news": "kept", "pass_contract": "held"}
        retention.lift(session, hold, by="counsel", reason="结案", at=vault.clock.now())
        with pytest.raises(BadInput, match="was lifted"):
            retention.lift(session, hold, by="counsel", reason="结案", at=vault.clock.now())
    assert retention.run(vault).erased == 2
    with vault.database.session() as session:
        reasons = {each.purpose: each.reason for each in erasure.erasures(session, subject)}
        kinds = list(session.scalars(select(EvidenceEntry.kind).where(EvidenceEntry.kind.like("legal_hold:%"))))
        body = session.scalar(select(EvidenceEntry.body).where(EvidenceEntry.kind == "legal_hold:place"))
    assert reasons == {"fingerprint_entry": "withdrawal", "news": "schedule"}
    assert kinds == ["legal_hold:place", "legal_hold:lift"]
    assert subject not in str(body)
    assert json.loads(str(body))["article"] == "民事诉讼法第八十四条"


def test_a_hold_on_nothing_is_refused(vault: Vault) -> None:
    """A mistyped purpose would be held in vain: it is unknown, with what was meant, and no hold stands."""
    with vault.database.session() as session:
        with pytest.raises(UnknownName, match="Did you mean pass_contract"):
            retention.legal_hold(session, article="a law", reason="a case", by="counsel", at=AT, purpose="pass_contrct")
        assert retention.legal_holds(session) == []


def test_a_request_under_a_hold_ends_the_use(vault: Vault) -> None:
    """A hold on a purpose keeps it for everybody; what is asked for besides is erased."""
    subject = holder(vault)
    with vault.database.session() as session:
        retention.legal_hold(session, article="a law", reason="an audit", by="counsel", at=AT, purpose="pass_contract")
    outcome = erasure.erase(vault, subject)
    assert [each.purpose for each in outcome.erasures] == ["fingerprint_entry", "news"]
    assert outcome.held == ("pass_contract",)
    assert erasure.end_purpose(vault, "pass_contract", note="closed") == 0
    with pytest.raises(NotGranted):
        vault.open("name", subject, "pass_contract", "gate")


def test_exports_expire(vault: Vault) -> None:
    """A person's own copy goes after seven days, with the run; what is in it is what is held."""
    subject = holder(vault)
    path = exports.export(vault, subject, "counter")
    assert path.stat().st_mode & 0o777 == 0o600
    copy = json.loads(path.read_text(encoding="utf-8"))
    assert copy["data"]["pass_contract"] == BASIC
    with vault.database.session() as session:
        assert [each.kind for each in vault.openings(session, subject)] == ["export"] * 3
    move(vault, AT + timedelta(days=6))
    retention.run(vault)
    assert path.exists()
    move(vault, AT + timedelta(days=7))
    retention.run(vault)
    assert not path.exists()
    assert exports.exports(vault) == []


def test_files_that_no_value_names_are_swept(vault: Vault) -> None:
    """A sealed file of a batch that never committed goes after a day; those of values stay."""
    subject = holder(vault)
    vault.blobs.put({"ab" * 16: b"orphan"})
    move(vault, datetime.now(UTC))
    retention.run(vault)
    assert vault.blobs.path("ab" * 16).exists(), "somebody may be about to commit it"
    move(vault, datetime.now(UTC) + timedelta(days=2))
    retention.run(vault)
    assert not vault.blobs.path("ab" * 16).exists()
    assert vault.open("fingerprint", subject, "fingerprint_entry", "gate") == PRINT


def test_it_runs_by_itself_and_at_once(vault: Vault) -> None:
    """Where it is served, what became due while nothing ran is erased right after the start."""
    subject = holder(vault)
    expires(vault, subject, EXPIRED)
    move(vault, beijing(date(2020, 8, 1)))
    scheduler = retention.scheduled(vault)
    try:
        until = time.monotonic() + 60
        while due(vault, vault.clock.now()) and time.monotonic() < until:
            threading.Event().wait(0.05)
    finally:
        scheduler.shutdown()
    with pytest.raises(Erased):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")


def test_a_pending_certificate_is_made_by_a_later_run(database_url: str, tmp_path: Path) -> None:
    """The witness is down: the erasure is done and waits for nothing; a run makes the certificate when it is back."""
    from duecare.evidence.log import Log

    from ..evidence.witnessing import Served

    home = tmp_path / "home"
    with (
        Served(tmp_path / "witness", Log.at(home).key) as witness,
        opened(home, database_url, witnessed_by=[witness.remote(2.0)]) as vault,
    ):
        furnish(vault)
        subject = holder(vault)
        witness.kill()
        outcome = erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
        assert outcome.erasures[0].certificate is None
        with pytest.raises(Erased):
            vault.open("fingerprint", subject, "fingerprint_entry", "gate")
        ran = retention.run(vault)
        assert (ran.finished.certified, ran.finished.pending) == (0, 1)
        assert "cannot be reached" in ran.finished.witness
        witness.restart()
        assert erasure.finish(vault).certified == 1
        assert erasure.get(vault, outcome.erasures[0].id).certificate


@given(
    on=st.dates(date(2019, 1, 1), date(2030, 12, 31)),
    after=st.integers(-40, 400),
    kept=st.builds(
        Retention, st.just("e"), months=st.integers(0, 14), days=st.integers(0, 40), years=st.integers(0, 2)
    ),
)
def test_the_cut_off_is_exact(on: date, after: int, kept: Retention) -> None:
    """For every day and every length, the latest event that is due is due, and the next day's is not."""
    today = kept.until(on) + timedelta(days=after)
    latest = retention._latest(kept, today)
    assert kept.until(latest) < today <= kept.until(latest + timedelta(days=1))
    assert (on <= latest) == (kept.until(on) < today)


def test_the_three_months_are_the_calendars() -> None:
    """Three months after 30 November is the end of February."""
    assert THREE_MONTHS.until(date(2019, 11, 30)) == date(2020, 2, 29)


def test_an_export_that_was_killed_is_erased_too(tmp_path: Path) -> None:
    """The copy was on the disk and had no name yet: what was written of it goes with the purpose."""
    home = tmp_path / "home"
    with opened(home, witnessed_by=[]) as vault:
        furnish(vault)
        subject = holder(vault)
    child = os.fork()
    if child == 0:
        link = os.link

        def killed(source: Path, target: Path) -> None:
            if not target.name.endswith(exports._MANIFEST):
                os.kill(os.getpid(), signal.SIGKILL)
            link(source, target)

        os.link = killed  # type: ignore[assignment]
        with opened(home, witnessed_by=[]) as vault:
            exports.export(vault, subject, "counter")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

    def found() -> list[str]:
        number = BASIC["phone"].encode()
        return [path.name for path in (home / "exports").iterdir() if number in path.read_bytes()]

    assert len(found()) == 1
    with opened(home, witnessed_by=[]) as vault:
        erasure.erase(vault, subject, ["pass_contract"])
    assert found() == []


def files(vault: Vault) -> list[str]:
    """What rests in the folder of exports."""
    return sorted(path.name for path in (vault.home.path / "exports").glob("*"))


@pytest.mark.parametrize("agrees_again", [False, True])
@pytest.mark.parametrize("overtaken", ["manifest", "file"])
def test_an_erasure_between_opening_and_writing_leaves_no_copy(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, overtaken: str, agrees_again: bool
) -> None:
    """The erasure completes before the manifest, or between it and the file: the copy is refused, and none is left."""
    subject = holder(vault)
    write = durable.keep

    def erased_first(path: Path, data: bytes) -> bool:
        mine = path.parent.name == "exports"
        if mine and path.name.endswith(".manifest.json") is (overtaken == "manifest"):
            erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
            if agrees_again:
                with vault.database.session() as session:
                    agree(session, subject, "fingerprint_entry", at=vault.clock.now())
                    vault.seal(session, subject, {"fingerprint": PRINT}, ["fingerprint_entry"], "counter")
        return write(path, data)

    monkeypatch.setattr(durable, "keep", erased_first)
    with pytest.raises(Erased, match="while the copy was written"):
        exports.export(vault, subject, "counter")
    assert files(vault) == []
    monkeypatch.undo()
    exports.export(vault, subject, "counter")
    assert len(files(vault)) == 2, "what is left may be copied"


@pytest.mark.parametrize("manifest", [True, False])
def test_a_run_removes_a_copy_that_outlived_its_key(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, manifest: bool
) -> None:
    """Killed before it looked at the keys, an export left its file behind an erasure: the next run takes it away."""
    gone, stays = holder(vault), holder(vault)
    kept = exports.export(vault, stays, "counter")
    write = durable.keep

    def killed(path: Path, data: bytes) -> bool:
        if path.parent.name == "exports" and not path.name.endswith(".manifest.json"):
            if not manifest:  # the erasure took the manifest that was there, and nothing else yet
                erasure.withdraw(vault, gone, "fingerprint_entry", how="a click", screen="my data")
            write(path, data)
            os.utime(path, (1, 1))
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(durable, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        exports.export(vault, gone, "counter")
    monkeypatch.undo()
    if manifest:
        # As it is seen after an erasure that had looked before the manifest was there.
        left = {path: path.read_bytes() for path in (vault.home.path / "exports").iterdir()}
        erasure.withdraw(vault, gone, "fingerprint_entry", how="a click", screen="my data")
        for path, data in left.items():
            path.write_bytes(data)
    assert len(files(vault)) == (4 if manifest else 3)
    retention.run(vault)
    assert files(vault) == sorted([kept.name, f"{kept.name}.manifest.json"])
