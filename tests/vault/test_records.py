"""Personal data goes in sealed, and comes out for a purpose that stands, with evidence."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, text

from duecare.errors import Erased, NeverHeld, NotGranted
from duecare.evidence.outbox import EvidenceEntry
from duecare.vault import erasure
from duecare.vault.records import Vault

from .park import BASIC, PRINT, holder, person


def test_what_was_sealed_opens_for_its_purpose(vault: Vault) -> None:
    """Text and bytes come back as they went in, and each opening leaves an entry of evidence without the value."""
    subject = holder(vault)
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]
    assert vault.open("fingerprint", subject, "fingerprint_entry", "gate") == PRINT
    with vault.database.session() as session:
        entries = session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == "field:open")).all()
        assert [json.loads(each.body)["fields"] for each in entries] == [["name"], ["fingerprint"]]
        everything = " ".join(session.scalars(select(EvidenceEntry.body)))
        raw = session.execute(text("SELECT * FROM vault_values")).all()
    assert subject not in everything
    for value in BASIC.values():
        assert value not in everything
        assert value.encode() not in str(raw).encode()


def test_never_held_not_granted_and_erased_are_told_apart(vault: Vault) -> None:
    """Three different things: it was never here, it is not for this purpose, it was erased."""
    subject = person(vault, "pass_contract", "fingerprint_entry", "news")
    with pytest.raises(NeverHeld, match="was ever sealed"):
        vault.open("name", subject, "pass_contract", "gate")
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
    with pytest.raises(NotGranted, match=r"guo_v_safari_park\.no_grant"):
        vault.open("face", subject, "face_entry", "gate")
    with pytest.raises(NotGranted, match="held for pass_contract, not for news"):
        vault.open("phone", subject, "news", "marketing")
    erasure.withdraw(vault, subject, "pass_contract", how="a click", screen="my data")
    with pytest.raises(Erased, match="withdrawal"):
        vault.open("name", subject, "pass_contract", "gate")
