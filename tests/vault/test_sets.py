"""Opening many at once: one decision, a join, one entry of evidence, and the same answer as one by one."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from duecare.consent import grants
from duecare.consent.subjects import commitment
from duecare.errors import DuecareError, NotGranted
from duecare.evidence.outbox import EvidenceEntry
from duecare.rules.engine import Engine
from duecare.vault import erasure
from duecare.vault.records import Vault

from ..consent import world
from .park import AT, BASIC, furnish, holder, opened, person

PURPOSES = ("pass_contract", "fingerprint_entry", "news")
FIELDS = ("name", "phone", "fingerprint", "face")
FATES = ("never", "agreed", "sealed", "bundled", "ended", "erased", "agreed again", "sealed again")


def live(vault: Vault, fate: str) -> str:
    """A person to whom ``fate`` happened."""
    with vault.database.session() as session:
        subject = world.holder(session)
    if fate == "never":
        return subject
    with vault.database.session() as session:
        if fate == "bundled":
            # Two purposes by one act: neither grant is separate.
            world.agree(session, subject, "pass_contract", "news")
        else:
            for purpose in PURPOSES:
                world.agree(session, subject, purpose)
        if fate != "agreed":
            vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
            vault.allow(session, subject, ["phone"], "news", "counter")
            if fate != "bundled":
                vault.seal(session, subject, {"fingerprint": b"print"}, ["fingerprint_entry"], "counter")
    again = fate.endswith("again")
    with vault.database.session() as session:
        for purpose in PURPOSES:
            if fate == "ended":
                grants.withdraw(session, subject, purpose, how="a letter", screen="post", at=AT)
    if fate == "erased" or again:
        erasure.erase(vault, subject)
    if again:
        with vault.database.session() as session:
            for purpose in PURPOSES:
                world.agree(session, subject, purpose)
            if fate == "sealed again":
                vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
    return subject


def one_by_one(vault: Vault, field: str, subjects: list[str], purpose: str) -> set[tuple[str, str, object]]:
    """What opens of each subject by itself."""
    found = set()
    for subject in subjects:
        try:
            found.add((subject, field, vault.open(field, subject, purpose, "gate")))
        except DuecareError:
            continue
    return found


def as_a_set(vault: Vault, field: str, subjects: list[str] | None, purpose: str) -> set[tuple[str, str, object]]:
    """What opens of all of them at once."""
    try:
        return set(vault.open_many([field], subjects, purpose, "gate").rows)
    except NotGranted:
        return set()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=5),
    asked=st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(PURPOSES)), min_size=3, max_size=6, unique=True),
)
def test_a_set_opens_what_cedar_allows_one_by_one(vault: Vault, fates: list[str], asked: list[tuple[str, str]]) -> None:
    """For people of all fates, the join opens exactly the values that the rules open for each by itself."""
    subjects = [live(vault, fate) for fate in fates]
    for field, purpose in asked:
        single = one_by_one(vault, field, subjects, purpose)
        assert as_a_set(vault, field, subjects, purpose) == single, (field, purpose, fates)
        mine = {row for row in as_a_set(vault, field, None, purpose) if row[0] in subjects}
        assert mine == single, (field, purpose, fates)


@pytest.mark.parametrize(
    "condition",
    [
        "context.granted",
        "!context.separate",
        "context.separate",
        "!context.special",
        "context.activity == \"use\"",
        "principal == Staff::\"gate\"",
        "resource == Purpose::\"news\"",
        "resource has basis && resource.basis == \"consent\"",
    ],
)  # fmt: skip
def test_an_operators_own_policies_hold_for_sets_as_for_one(database_url: str, tmp_path: Path, condition: str) -> None:
    """Whatever an operator forbids, the set and the single opening agree on it."""
    policies = tmp_path / "policies"
    policies.mkdir()
    text = '@id("mine.no")\n@en("Not here.")\nforbid (principal, action == Action::"process", resource is Purpose)\n'
    with opened(tmp_path / "home", database_url) as vault:
        furnish(vault)
        subjects = [live(vault, fate) for fate in ("sealed", "bundled", "ended")]
    (policies / "mine.cedar").write_text(f"{text}when {{ {condition} }};\n", encoding="utf-8")
    from duecare.settings import load
    from duecare.store.home import Home

    with (
        Home(load(home=tmp_path / "home", database_url=database_url)) as home,
        Vault(home, Engine.load(policies), witnessed_by=[]) as vault,
    ):
        for field, purpose in (("name", "pass_contract"), ("phone", "news"), ("fingerprint", "fingerprint_entry")):
            single = one_by_one(vault, field, subjects, purpose)
            assert as_a_set(vault, field, subjects, purpose) == single


def test_one_entry_stands_for_the_batch(vault: Vault) -> None:
    """It counts the subjects and carries one digest, over their commitments in order; the values are by subject."""
    people = sorted([holder(vault), holder(vault)])
    nobody = person(vault)
    done = vault.open_many(["phone", "name"], [*people, nobody], "pass_contract", "service:letters")
    assert done.rows == [(subject, field, BASIC[field]) for subject in people for field in ("name", "phone")]
    assert done.unopened == (nobody,)
    with vault.database.session() as session:
        (entry,) = session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == "field:bulk"))
        commitments = sorted(commitment(session, subject) for subject in people)
    body = json.loads(entry.body)
    assert entry.id == done.entry
    assert body["subjects"] == 2
    assert body["subjects_sha256"] == sha256("".join(f"{each}\n" for each in commitments).encode()).hexdigest()
    assert body["fields"] == ["name", "phone"]
    assert "guo_v_safari_park.agreed" in body["reasons"]


def test_a_set_that_nobody_may_open_is_refused_with_evidence(vault: Vault) -> None:
    """A purpose that does not have the field is refused as a whole, and names the holding."""
    holder(vault)
    with pytest.raises(NotGranted, match="other_purpose"):
        vault.open_many(["name"], None, "fingerprint_entry", "gate")
    with vault.database.session() as session:
        (entry,) = session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == "field:refuse"))
    assert json.loads(entry.body)["purpose"] == "fingerprint_entry"
