"""Personal data goes in sealed, and comes out for a purpose that stands, with evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, text

from duecare.consent import grants
from duecare.consent.notices import publish
from duecare.errors import BadInput, Erased, EvidenceBroken, KeyLost, NeverHeld, NotGranted, UnknownName, UseError
from duecare.evidence.commitment import opens
from duecare.evidence.outbox import EvidenceEntry
from duecare.vault import erasure, retention, rotation
from duecare.vault.records import Vault

from ..consent import world
from .park import AT, BASIC, PRINT, holder, person


def entries(vault: Vault, kind: str) -> list[dict[str, Any]]:
    """The bodies of the evidence of a kind, in order."""
    with vault.database.session() as session:
        asked = select(EvidenceEntry.body).where(EvidenceEntry.kind == kind).order_by(EvidenceEntry.id)
        return [json.loads(body) for body in session.scalars(asked)]


def count(vault: Vault, table: str, where: str = "true") -> int:
    with vault.database.session() as session:
        return session.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()


def test_what_was_sealed_opens_for_its_purpose(vault: Vault) -> None:
    """Text and bytes come back as they went in; each opening leaves an entry without the value or the subject."""
    subject = holder(vault)
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]
    assert vault.open("fingerprint", subject, "fingerprint_entry", "gate", why="入园") == PRINT
    assert [each["fields"] for each in entries(vault, "field:open")] == [["name"], ["fingerprint"]]
    with vault.database.session() as session:
        everything = " ".join(session.scalars(select(EvidenceEntry.body)))
        raw = str(session.execute(text("SELECT * FROM vault_values")).all())
        salt = session.execute(text("SELECT salt FROM subjects WHERE id = :it"), {"it": subject}).scalar_one()
    assert subject not in everything
    assert opens(entries(vault, "field:open")[0]["subject"], bytes.fromhex(salt), subject)
    for value in BASIC.values():
        assert value not in everything
        assert value not in raw
        assert value.encode().hex() not in raw


def test_a_long_text_is_a_file_and_opens_the_same(vault: Vault) -> None:
    """Above 16 KiB a ciphertext stands in blobs/; what it says stands in no file."""
    subject = person(vault, "pass_contract")
    long = "成员甲" * 4000
    with vault.database.session() as session:
        vault.seal(session, subject, {**BASIC, "name": long}, ["pass_contract"], "counter")
    (path,) = (each for each in (vault.home.path / "blobs").rglob("*.sealed"))
    assert "成员甲".encode() not in path.read_bytes()
    assert vault.open("name", subject, "pass_contract", "gate") == long


def test_never_held_not_granted_and_erased_are_told_apart(vault: Vault) -> None:
    """Three different things: it was never here, it is not for this purpose, it was erased."""
    subject = person(vault, "pass_contract", "fingerprint_entry", "news")
    with pytest.raises(NeverHeld, match="was ever sealed"):
        vault.open("name", subject, "pass_contract", "gate")
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
    with pytest.raises(NotGranted, match=r"guo_v_safari_park\.no_grant") as denied:
        vault.open("face", subject, "face_entry", "gate")
    assert any("何时可以" in reason for reason in denied.value.reasons)
    with pytest.raises(NotGranted, match="held for pass_contract, not for news"):
        vault.open("phone", subject, "news", "marketing")
    with pytest.raises(NotGranted, match="other_purpose"):
        vault.open("phone", subject, "fingerprint_entry", "gate")
    done = erasure.withdraw(vault, subject, "pass_contract", how="a click", screen="my data")
    with pytest.raises(Erased, match="withdrawal") as gone:
        vault.open("name", subject, "pass_contract", "gate")
    assert gone.value.erasure == done.erasures[0].id
    with pytest.raises(UnknownName):
        vault.open("name", "0" * 32, "pass_contract", "gate")
    with pytest.raises(UnknownName, match="purpose"):
        vault.open("name", subject, "resale", "gate")
    refused = [each["error"] for each in entries(vault, "field:refuse")]
    assert refused == ["NeverHeld", "NotGranted", "NotGranted", "NotGranted", "Erased"], "refusals are evidence too"


def test_what_is_collected_anew_after_an_erasure_opens_and_the_old_does_not(vault: Vault) -> None:
    """The person agrees again: there is nothing until it is collected again, under a new key."""
    subject = holder(vault)
    erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    with vault.database.session() as session:
        world.agree(session, subject, "fingerprint_entry")
    with pytest.raises(Erased):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")
    with vault.database.session() as session:
        vault.seal(session, subject, {"fingerprint": b"new"}, ["fingerprint_entry"], "counter")
    assert vault.open("fingerprint", subject, "fingerprint_entry", "gate") == b"new"
    assert count(vault, "vault_keys", f"subject = '{subject}' AND purpose = 'fingerprint_entry'") == 2


def test_a_new_value_takes_the_place_of_the_old(vault: Vault) -> None:
    """A changed number is opened and found; the old one is neither, and its ciphertext is gone."""
    subject = person(vault, "pass_contract")
    for number in ("13800138000", "13900139000"):
        with vault.database.session() as session:
            vault.seal(session, subject, {"phone": number}, ["pass_contract"], "counter")
    assert vault.open("phone", subject, "pass_contract", "gate") == "13900139000"
    assert vault.find("phone", "139 0013 9000", "pass_contract", "gate") == subject
    assert vault.find("phone", "13800138000", "pass_contract", "gate") is None
    assert count(vault, "vault_values", "state = 'superseded' AND ciphertext IS NULL") == 1


def test_a_newer_grant_goes_on_with_what_was_given_before(vault: Vault) -> None:
    """Who agrees to a newer notice keeps what they gave; who withdrew in between does not get it back."""
    goes_on, came_back = holder(vault), holder(vault)
    with vault.database.session() as session:
        publish(session, world.SECOND, world.PARK, AT)
        grants.withdraw(session, came_back, "pass_contract", how="a letter", screen="post", at=AT)
        for subject in (goes_on, came_back):
            world.agree(session, subject, "pass_contract", version=2)
    assert vault.open("name", goes_on, "pass_contract", "gate") == BASIC["name"]
    assert [row[0] for row in vault.open_many(["name"], None, "pass_contract", "gate").rows] == [goes_on]
    assert vault.find_all("phone", BASIC["phone"], "pass_contract", "gate") == [goes_on]
    with pytest.raises(NotGranted):
        vault.open("name", came_back, "pass_contract", "gate")


def test_nothing_is_sealed_where_one_of_many_did_not_agree(vault: Vault) -> None:
    """A batch is taken whole or not at all, and the message names the holding."""
    agreed, other = person(vault, "pass_contract"), person(vault, "fingerprint_entry")
    with pytest.raises(NotGranted, match="no_grant"), vault.database.session() as session:
        vault.seal_many(session, {agreed: BASIC, other: BASIC}, ["pass_contract"], "counter")
    assert count(vault, "vault_values") == 0
    assert entries(vault, "field:seal") == []


@pytest.mark.parametrize(
    ("values", "purposes", "error", "why"),
    [
        ({}, ["pass_contract"], BadInput, "nothing to seal"),
        (BASIC, [], BadInput, "nothing to seal"),
        (BASIC, ["pass_contract", "pass_contract"], BadInput, "each purpose once"),
        ({"shoe_size": "43"}, ["pass_contract"], UnknownName, "no field 'shoe_size'"),
        (BASIC, ["resale"], UnknownName, "no purpose 'resale'"),
        ({"fingerprint": PRINT}, ["pass_contract"], NotGranted, "other_purpose"),
        ({"name": b"bytes"}, ["pass_contract"], BadInput, "holds text"),
    ],
)
def test_what_cannot_be_sealed_is_refused_whole(
    vault: Vault, values: dict[str, Any], purposes: list[str], error: type[Exception], why: str
) -> None:
    """The message says what is wrong; nothing was written, and no value is shown."""
    subject = person(vault, "pass_contract")
    with pytest.raises(error, match=why), vault.database.session() as session:
        vault.seal(session, subject, values, purposes, "counter")
    assert count(vault, "vault_values") == count(vault, "vault_keys") == 0


MOVES = {
    "the wrap of another purpose": "UPDATE vault_wraps SET wrapped = (SELECT wrapped FROM vault_wraps JOIN vault_keys "
    "ON vault_keys.id = key_id WHERE subject = :one AND purpose = 'news' AND field = 'phone') WHERE field = 'phone' "
    "AND key_id = (SELECT id FROM vault_keys WHERE subject = :one AND purpose = 'pass_contract') AND :two = :two",
    "the wrap of another": "UPDATE vault_wraps SET wrapped = (SELECT wrapped FROM vault_wraps JOIN vault_keys ON "
    "vault_keys.id = key_id WHERE subject = :two AND purpose = 'pass_contract' AND field = 'name') WHERE field = "
    "'name' AND key_id = (SELECT id FROM vault_keys WHERE subject = :one AND purpose = 'pass_contract')",
    "the value of another": "UPDATE vault_wraps SET value_id = (SELECT id FROM vault_values WHERE subject = :two AND "
    "field = 'name') WHERE field = 'name' AND key_id = (SELECT id FROM vault_keys WHERE subject = :one AND purpose = "
    "'pass_contract')",
    "the ciphertext of another": "UPDATE vault_values SET ciphertext = (SELECT ciphertext FROM vault_values WHERE "
    "subject = :two AND field = 'name') WHERE subject = :one AND field = 'name'",
    "another field": "UPDATE vault_values SET ciphertext = (SELECT ciphertext FROM vault_values WHERE subject = :one "
    "AND field = 'id_number') WHERE subject = :one AND field = 'name'",
}


@pytest.mark.parametrize("move", MOVES)
def test_rows_that_were_moved_do_not_open(vault: Vault, move: str) -> None:
    """Whoever can write the database cannot make one person's data, field or purpose pass for another's."""
    one, two = holder(vault), holder(vault)
    with vault.database.session() as session:
        assert session.execute(text(MOVES[move]), {"one": one, "two": two}).rowcount == 1  # type: ignore[attr-defined]
    with pytest.raises((KeyLost, EvidenceBroken)):
        vault.open("phone" if "purpose" in move else "name", one, "pass_contract", "gate")
    assert vault.open("name", two, "pass_contract", "gate") == BASIC["name"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vault_keys SET purpose = 'news'",
        "UPDATE vault_keys SET subject = 'x'",
        "UPDATE vault_keys SET state = 'live'",
        "DELETE FROM vault_keys",
        "UPDATE vault_values SET state = 'held'",
        "UPDATE vault_values SET subject = 'x'",
        "DELETE FROM vault_values",
        "DELETE FROM openings",
        "UPDATE openings SET why = ''",
        "DELETE FROM erasures",
        "DELETE FROM retention_events",
        "DELETE FROM legal_holds",
    ],
)
def test_the_database_goes_forward_only(vault: Vault, statement: str) -> None:
    """No statement revives what was erased, or takes back that something was opened or held."""
    from duecare.vault import retention

    subject = holder(vault)
    vault.open("name", subject, "pass_contract", "gate")
    erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    with vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date(), at=AT)
        retention.legal_hold(session, article="a law", reason="a case", by="counsel", at=AT)
    with pytest.raises(Exception, match="only goes forward"), vault.database.session() as session:
        session.execute(text(statement))


def test_the_person_sees_who_opened_what_and_why(vault: Vault) -> None:
    """Single openings, sets and searches: by whom, for which purpose, when, why, and with how many others."""
    one, two = holder(vault), holder(vault)
    vault.open("name", one, "pass_contract", "zhang", why="补办年卡")
    vault.open_many(["name", "phone"], None, "pass_contract", "service:letters", why="寄送通知")
    vault.find_all("phone", BASIC["phone"], "pass_contract", "li")
    with vault.database.session() as session:
        mine, others = vault.openings(session, one), vault.openings(session, two)
    assert [(each.kind, each.by, each.why, each.fields, each.subjects) for each in mine] == [
        ("open", "zhang", "补办年卡", ("name",), 1),
        ("bulk", "service:letters", "寄送通知", ("name", "phone"), 2),
        ("find", "li", "", ("phone",), 2),
    ]
    assert [each.kind for each in others] == ["bulk", "find"]
    assert {each.at for each in mine} == {AT}


def test_holds_lists_what_is_held_and_what_was_erased(vault: Vault) -> None:
    """Field, purpose, since and until, and the state of each; no values."""
    from duecare.vault import retention

    subject = holder(vault)
    with vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date().replace(year=2020), at=AT)
    erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    with vault.database.session() as session:
        found = vault.holds(session, subject)
    assert [(each.purpose, each.field, each.state, str(each.until)) for each in found] == [
        ("fingerprint_entry", "fingerprint", "erased", "None"),
        ("news", "phone", "held", "2020-07-27"),
        ("pass_contract", "id_number", "held", "2026-04-27"),
        ("pass_contract", "name", "held", "2026-04-27"),
        ("pass_contract", "phone", "held", "2026-04-27"),
    ]
    assert BASIC["phone"] not in str(found)


def test_people_are_found_by_exact_values(vault: Vault) -> None:
    """By phone or ID number, for a purpose that stands; two with one number are told of, not guessed between."""
    one, two = holder(vault), person(vault, "pass_contract")
    with vault.database.session() as session:
        vault.seal(session, two, {**BASIC, "id_number": "330106198001011234"}, ["pass_contract"], "counter")
    assert vault.find("id_number", "330106 19900101 1234", "pass_contract", "gate") == one
    assert vault.find_all("phone", BASIC["phone"], "pass_contract", "gate") == sorted([one, two])
    assert vault.find_all("phone", BASIC["phone"], "news", "marketing") == [one]
    with pytest.raises(UseError, match="2 people"):
        vault.find("phone", BASIC["phone"], "pass_contract", "gate")
    with pytest.raises(BadInput, match="without lookup"):
        vault.find("name", BASIC["name"], "pass_contract", "gate")
    with pytest.raises(NotGranted, match="other_purpose"):
        vault.find("phone", BASIC["phone"], "fingerprint_entry", "gate")


def test_a_rotation_changes_every_key_and_no_answer(vault: Vault) -> None:
    """After it all open and are found as before; the digests in an older copy are of another key."""
    one = holder(vault)
    with vault.database.session() as session:
        before = session.execute(text("SELECT digest FROM vault_lookups ORDER BY value_id")).all()
    done = rotation.rotate(vault)
    assert (done.master, done.index, done.lookups) == (2, 2, 2)
    with vault.database.session() as session:
        after = session.execute(text("SELECT digest FROM vault_lookups ORDER BY value_id")).all()
    assert not {bytes(row.digest) for row in before} & {bytes(row.digest) for row in after}
    assert vault.open("name", one, "pass_contract", "gate") == BASIC["name"]
    assert vault.find("id_number", BASIC["id_number"], "pass_contract", "gate") == one
    again = rotation.rotate(vault)
    assert (again.master, again.index, again.lookups) == (3, 3, 2)
    assert rotation.inventory(vault) == rotation.Inventory(3, 3, live=3, erased=0, missing=0, unused=0)


def test_what_an_ended_grant_left_is_not_sealed_over(vault: Vault) -> None:
    """Who agreed anew while a legal hold keeps what was there: it is said, nothing is sealed; lifted, it goes on."""
    subject = holder(vault)
    about = {"article": "a law", "reason": "a case", "by": "counsel", "at": AT}
    with vault.database.session() as session:
        hold = retention.legal_hold(session, **about, subject=subject)
    erasure.withdraw(vault, subject, "pass_contract", how="a", screen="b")
    with vault.database.session() as session:
        world.agree(session, subject, "pass_contract")
    with pytest.raises(UseError, match="still there"), vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
    with vault.database.session() as session:
        retention.lift(session, hold, by="counsel", reason="closed", at=AT)
    retention.run(vault)
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]


def test_a_field_that_does_not_exist_is_unknown(vault: Vault) -> None:
    """Asked for one or for many, a mistyped field is told as such, not as something that is not granted."""
    subject = holder(vault)
    with pytest.raises(UnknownName, match="field 'zz'"):
        vault.open("zz", subject, "pass_contract", "gate")
    with pytest.raises(UnknownName, match="field 'zz'"):
        vault.open_many(["name", "zz"], [subject], "pass_contract", "gate")


def test_who_is_named_twice_is_unopened_once(vault: Vault) -> None:
    """Each of the subjects asked for is either opened or listed, once."""
    subject, other = holder(vault), person(vault)
    opened_ = vault.open_many(["name"], [other, subject, other, subject], "pass_contract", "gate")
    assert [row[0] for row in opened_.rows] == [subject]
    assert opened_.unopened == (other,)
