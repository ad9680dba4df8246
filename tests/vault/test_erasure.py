"""Erasure ends what is held, everywhere, and leaves a certificate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import String, func, select

from duecare.consent import subjects
from duecare.errors import Erased, EvidenceBroken
from duecare.evidence.certificate import parse_certificate, verify_certificate
from duecare.evidence.check import all_hold
from duecare.evidence.cosign import cosigned
from duecare.evidence.log import Log
from duecare.evidence.outbox import sequence
from duecare.store.database import Base
from duecare.vault import certification, erasure, retention
from duecare.vault.models import ErasureState, VaultValue
from duecare.vault.records import Vault

from ..evidence.witnessing import Served
from .park import AT, BASIC, holder


def test_a_withdrawal_erases_and_is_certified(witnessed: Vault) -> None:
    """One call: the grant ends, the values are gone, and the certificate verifies with the two public keys alone."""
    vault = witnessed
    subject = holder(vault)
    outcome = erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    (done,) = outcome.erasures
    assert done.state is ErasureState.CERTIFIED
    assert done.certificate is not None
    assert all_hold(verify_certificate(done.certificate, vault.log.key, [each.key for each in vault.witnesses]))
    body = parse_certificate(done.certificate).body
    assert (body["purpose"], body["reason"]) == ("fingerprint_entry", "withdrawal")
    assert [each["field"] for each in body["fields"]] == ["fingerprint"]
    assert subject not in json.dumps(body)
    with pytest.raises(Erased):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]


def test_a_value_stays_while_another_purpose_holds_it(vault: Vault) -> None:
    """The phone serves two purposes; it goes with the last of them, and the certificate of the last names it."""
    subject = holder(vault)
    erasure.withdraw(vault, subject, "news", how="a click", screen="my data")
    assert vault.open("phone", subject, "pass_contract", "gate") == BASIC["phone"]
    outcome = erasure.erase(vault, subject)
    assert [each.purpose for each in outcome.erasures] == ["fingerprint_entry", "pass_contract"]
    with pytest.raises(Erased):
        vault.open("phone", subject, "pass_contract", "gate")


def test_all_certificates_of_a_purpose_that_ended_are_made(
    witnessed: Vault, witness: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part at a time, with progress; each names its holder, and verifies. Made once, they are not made again."""
    monkeypatch.setattr(certification, "AT_ONCE", 2)
    people = [holder(witnessed) for _ in range(5)]
    assert erasure.end_purpose(witnessed, "news", note="no more news") == 5
    with witnessed.database.session() as session:
        assert [erasure.erasures(session, each)[0].certificate for each in people] == [None] * 5
    told: list[tuple[int, int]] = []
    done = erasure.finish(witnessed, progress=lambda made, of: told.append((made, of)))
    assert (done.certified, done.pending, told) == (5, 0, [(2, 5), (4, 5), (5, 5)])
    for subject in people:
        with witnessed.database.session() as session:
            (one,) = erasure.erasures(session, subject)
        assert one.certificate is not None
        assert all_hold(verify_certificate(one.certificate, witnessed.log.key, [witness.key]))
        assert subject in [each.value for each in parse_certificate(one.certificate).holder]
    assert erasure.finish(witnessed).certified == 0


def test_a_witness_that_saw_another_past_hides_no_erasure(witnessed: Vault, witness: Served, tmp_path: Path) -> None:
    """The log went on elsewhere and the witness cosigned it: erased, and the certificate waits, with the reason."""
    subject = holder(witnessed)
    sequence(witnessed.database, witnessed.log)
    shutil.copytree(witnessed.home.path / "log", tmp_path / "elsewhere" / "log")
    shutil.copytree(witnessed.home.path / "keys", tmp_path / "elsewhere" / "keys")
    elsewhere = Log.at(tmp_path / "elsewhere")
    elsewhere.append([b"another past %d" % each for each in range(1000)])
    cosigned(elsewhere, [witness.remote()])
    done = erasure.withdraw(witnessed, subject, "news", how="a click", screen="my data")
    assert [each.state for each in done.erasures] == ["complete"]
    assert "replaced by an older copy" in done.pending
    with pytest.raises(Erased):
        witnessed.open("phone", subject, "news", "marketing")
    assert retention.run(witnessed).finished.pending == 1
    with pytest.raises(EvidenceBroken):
        erasure.certificate(witnessed, done.erasures[0].id)


def test_what_keeps_the_name_of_one_who_was_forgotten(witnessed: Vault) -> None:
    """Their salts are gone, and the log alone names nobody; the random name stands in the tables that are listed."""
    vault = witnessed
    subject = holder(vault)
    with vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date(), at=AT)
    vault.open("name", subject, "pass_contract", "gate")
    vault.open_many(["name"], [subject], "pass_contract", "gate")
    erasure.erase(vault, subject)
    with vault.database.session() as session:
        erasure.forget(session, subject, AT)
        salts = [row.salt for row in session.scalars(select(VaultValue).where(VaultValue.subject == subject))]
        assert [*salts, subjects.subject(session, subject).salt] == [*["" for _ in salts], None]
    with vault.database.engine.connect() as connection:
        named = {
            table.name
            for table in Base.metadata.sorted_tables
            for column in table.columns
            if isinstance(column.type, String)
            and connection.execute(select(func.count()).where(column.contains(subject))).scalar()
        }
    assert named <= erasure.STAY
    assert named >= {"subjects", "grants", "erasures", "vault_keys", "vault_values", "retention_events"}
    sequence(vault.database, vault.log)
    assert not any(subject.encode() in leaf for leaf in vault.log.entries(0, vault.log.size))
