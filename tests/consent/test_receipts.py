"""Receipts: the 25 fields of TS 27560, true to what was logged, checkable offline, and of no use once changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from duecare.consent import notices, subjects
from duecare.consent.grants import end_all, withdraw
from duecare.consent.models import GrantRow
from duecare.consent.purposes import Activity, declare
from duecare.consent.receipts import build, digest, parse_receipt, receipt, receipt_bytes, verify_receipt
from duecare.consent.records import MANDATORY
from duecare.errors import BadInput, EvidenceBroken, UnknownName
from duecare.evidence.check import all_hold
from duecare.evidence.checkpoint import VerifierKey
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry, sequence
from duecare.store.database import Database

from .world import AT, DAY, ENGINE, FIELDS, PARK, PHOTO, SECOND, agree, furnish, holder

TERMS: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "dpv_terms.json").read_text(encoding="utf-8")
)["terms"]


def values(document: Any, path: tuple[str, ...]) -> list[Any]:
    """What stands at ``path``; lists on the way are gone through."""
    if isinstance(document, list):
        return [value for each in document for value in values(each, path)]
    if not path:
        return [document]
    return values(document[path[0]], path[1:]) if isinstance(document, dict) and path[0] in document else []


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
        for each in document.values():
            yield from nodes(each)
    elif isinstance(document, list):
        for each in document:
            yield from nodes(each)


def made_for(database: Database, *purposes: str) -> dict[str, Any]:
    with database.session() as session:
        given = agree(session, holder(session), *purposes)
        return receipt(session, given[-1].id)


def test_every_mandatory_field_is_there(park: Database) -> None:
    """All 25 fields that the standard asks for stand where the table says, and none is empty."""
    assert len(MANDATORY) == 25
    for names in (("face_entry",), ("pass_contract",), ("pass_contract", "pass_photo")):
        made = made_for(park, *names)
        for field, path in MANDATORY.items():
            found = values(made, path)
            assert found, field
            assert all(each not in ("", [], {}, None) for each in found), field


def test_a_receipt_says_what_was_agreed_to(park: Database) -> None:
    """Sensitive data, activities, retention, controller, notice and the act itself read as they were declared."""
    made = made_for(park, "face_entry")

    def at(field: str) -> Any:
        return values(made, MANDATORY[field])[0]

    assert at("purpose") == "face_entry/1"
    assert at("pii type") == {"@id": "pd:Biometric"}
    assert at("privacy notice") == "annual-pass/1"
    assert at("retention period")["rdf:value"]["@value"] == "P3M"
    assert [at(f"party {each}") for each in ("id", "name", "contact")] == [PARK.code, PARK.name, PARK.contact]
    assert at("event type") == {"@id": "dpv:ExplicitlyExpressedConsent"}
    assert at("event state") == "dpv:ConsentGiven"
    assert at("event time")["@value"] == "2019-04-27T02:00:00.000000Z"
    assert at("recipient third parties")["@id"] == "dpv:NotApplicable"
    assert at("withdrawal method")["@language"] == "zh"
    assert at("pii principal id").startswith("sha256:")
    process = made["dpv:hasRecordOfActivity"]["dpv:hasProcess"]
    assert process["dpv:hasPersonalData"][0]["@type"] == "dpv:SensitivePersonalData"
    assert [each["@id"] for each in process["dpv:hasProcessing"]] == [
        "dpv:Collect", "dpv:Store", "dpv:Use", "dpv:Erase",
    ]  # fmt: skip
    event = made["dpv:hasRecordOfActivity"]["dpv:hasConsentStatus"]
    assert event["dpv:hasIndicationMethod"] == "ticked and signed; counter/pass"


def test_what_was_given_together_or_by_contract_says_so(park: Database) -> None:
    """Consent given with other purposes is expressed, not explicit; a contract's basis is the contract."""
    kinds = {
        name: values(made_for(park, *together), MANDATORY["event type"])[0]["@id"]
        for name, together in (("pass_photo", ("pass_contract", "pass_photo")), ("pass_contract", ("pass_contract",)))
    }
    assert kinds == {"pass_photo": "dpv:ExpressedConsent", "pass_contract": "dpv:ContractPerformance"}


def test_recipients_are_named(park: Database) -> None:
    """Those to whom data is provided stand in the receipt by name."""
    shared = replace(PHOTO, activities=(Activity.PROVIDE,), recipients=("某制卡公司",))
    with park.session() as session:
        declare(session, ENGINE, (), [shared], AT)
    made = made_for(park, "pass_photo")
    assert values(made, (*MANDATORY["recipient third parties"], "dpv:hasName")) == ["某制卡公司"]


def test_it_is_linked_data_with_known_terms(park: Database) -> None:
    """Names have a prefix of the context, terms of DPV are in the vocabulary, and what is linked to is there."""
    made = made_for(park, "face_entry")
    prefixes = set(made["@context"])
    body = {name: value for name, value in made.items() if name != "@context"}
    linked, named = set(), set()
    for node in nodes(body):
        for name, value in node.items():
            if not name.startswith("@"):
                assert name.partition(":")[0] in prefixes, name
            terms = [name, *(value if isinstance(value, list) else [value])] if name in ("@id", "@type") else [name]
            for term in terms:
                prefix, _, word = str(term).partition(":")
                if prefix in TERMS:
                    assert word in TERMS[prefix], term
        if set(node) == {"@id"} and str(node["@id"]).startswith("_:"):
            linked.add(node["@id"])
        elif str(node.get("@id", "")).startswith("_:"):
            named.add(node["@id"])
    assert linked == named == {"_:controller", "_:subject"}


def test_nothing_that_comes_later_changes_a_receipt(park: Database) -> None:
    """Purposes, fields and notices declared anew, an end, a forgotten salt: the receipt is still what was logged."""
    with park.session() as session:
        who = holder(session)
        (given,) = agree(session, who, "pass_photo")
        before = receipt(session, given.id)
        renamed = [replace(each, zh=f"{each.zh} (新)") for each in FIELDS]
        assert "pass_photo" in declare(session, ENGINE, renamed, [], AT + DAY)
        notices.publish(session, SECOND, replace(PARK, contact="另一处"), AT + DAY)
        withdraw(session, who, "pass_photo", how="button", screen="app", at=AT + 2 * DAY)
        subjects.forget_salt(session, who)
    with park.session() as session:
        assert receipt(session, given.id) == before
        entry = session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == "grant:give")).one()
        assert json.loads(entry.body)["receipt"] == digest(before)
        with pytest.raises(UnknownName, match="There is no grant '77'"):
            receipt(session, 77)


@dataclass(frozen=True)
class Issued:
    """The file of a receipt, its document, and the log's public key."""

    data: bytes
    document: dict[str, Any]
    key: VerifierKey


def issue(database: Database, folder: Path, grant_id: int) -> Issued:
    log = Log.at(folder)
    sequence(database, log)
    document = build(database, log, grant_id)
    return Issued(receipt_bytes(document), document, log.key)


def names(issued: Issued, data: bytes | None = None) -> dict[str, bool]:
    checks = verify_receipt(issued.data if data is None else data, issued.key)
    return {check.name: check.holds for check in checks}


def test_a_file_is_checked_with_nothing_but_the_key(park: Database, tmp_path: Path) -> None:
    """Form, signature, place, content and commitment all hold; once ended, the end is proved by the same file."""
    with park.session() as session:
        who, other = holder(session), holder(session)
        (given,) = agree(session, who, "face_entry")
        (left,) = agree(session, other, "face_entry")
    issued = issue(park, tmp_path, given.id)
    assert names(issued) == dict.fromkeys(("form", "signature", "inclusion", "receipt", "openings"), True)
    assert parse_receipt(issued.data).holder == (who, bytes.fromhex(issued.document["holder"]["salt"]))
    assert issued.document["ended"] is None
    with park.session() as session:
        withdraw(session, who, "face_entry", how="button", screen="app", at=AT + DAY)
    ended = issue(park, tmp_path, given.id)
    assert ended.document["receipt"] == issued.document["receipt"]
    assert names(ended) == {**names(issued), "ended": True}
    assert json.loads(ended.document["ended"]["leaf"])["body"]["kind"] == "withdrawal"
    with park.session() as session:
        subjects.forget_salt(session, who)
        end_all(session, "face_entry", "purpose_ended", reason="停用", at=AT + DAY)
    assert issue(park, tmp_path, given.id).document["holder"] is None
    whole = issue(park, tmp_path, left.id)
    assert names(whole)["ended"]
    assert json.loads(whole.document["ended"]["leaf"])["body"]["up_to"] == left.id


def test_an_end_among_others_is_proved_too(park: Database, tmp_path: Path) -> None:
    """Where a set of people was ended, the entry that lists the grant proves its end; it proves no other's."""
    with park.session() as session:
        people = [holder(session) for _ in range(3)]
        ids = [agree(session, who, "face_entry")[0].id for who in people]
        end_all(session, "face_entry", "expired", reason="到期", at=AT + DAY, subjects=people[:2])
    ended = issue(park, tmp_path, ids[0])
    assert names(ended)["ended"]
    standing = issue(park, tmp_path, ids[2])
    assert "ended" not in names(standing)
    lent = receipt_bytes({**standing.document, "ended": ended.document["ended"]})
    assert not names(standing, lent)["ended"]


def test_a_file_before_its_entry_is_in_the_log_is_not_made(park: Database, tmp_path: Path) -> None:
    """A receipt rests on the log; without its entry there is none."""
    with park.session() as session:
        (given,) = agree(session, holder(session), "face_entry")
    with pytest.raises(BadInput, match="not in the log yet"):
        build(park, Log.at(tmp_path), given.id)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issued]:
    """An issued file whose grant has ended, for the tests that only look at files."""
    folder = tmp_path_factory.mktemp("issued")
    database = Database(f"sqlite:///{folder / 'test.db'}")
    furnish(database)
    with database.session() as session:
        who = holder(session)
        (given,) = agree(session, who, "face_entry")
        withdraw(session, who, "face_entry", how="button", screen="app", at=AT + DAY)
    yield issue(database, folder, given.id)
    database.close()


@given(data=st.data())
def test_a_changed_byte_is_found(issued: Issued, data: st.DataObject) -> None:
    """Whatever byte of the file is changed, the file is refused."""
    at = data.draw(st.integers(0, len(issued.data) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != issued.data[at]))
    changed = issued.data[:at] + bytes([byte]) + issued.data[at + 1 :]
    assert not all_hold(verify_receipt(changed, issued.key))


CHANGES: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("another purpose", ("receipt", *MANDATORY["purpose"]), "pass_photo/1", "receipt"),
    ("a longer retention", ("receipt", *MANDATORY["retention period"][:-1], 1), {}, "receipt"),
    ("another time", ("receipt", *MANDATORY["event time"], "@value"), "2019-04-26T02:00:00.000000Z", "receipt"),
    ("another person", ("receipt", *MANDATORY["pii principal id"]), "sha256:" + "0" * 64, "receipt"),
    ("another salt", ("holder", "salt"), "00" * 32, "openings"),
    ("another subject", ("holder", "subject"), "00" * 16, "openings"),
    ("a salt that is none", ("holder", "salt"), "salt", "form"),
    ("a member too many", ("holder", "name"), "甲", "form"),
    ("no receipt", ("receipt",), [], "form"),
    ("no end", ("ended",), {}, "form"),
    ("another place", ("index",), 0, "inclusion"),
    ("another end's place", ("ended", "index"), 0, "ended"),
    ("another format", ("format",), "duecare-receipt/2", "form"),
]


@pytest.mark.parametrize(("path", "value", "fails"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_a_changed_receipt_no_longer_matches(issued: Issued, path: tuple[Any, ...], value: Any, fails: str) -> None:
    """Written anew in perfect form, what was changed is still not what was logged; the check that fails says so."""
    document = json.loads(issued.data)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    checks = {check.name: check.holds for check in verify_receipt(document, issued.key)}
    assert [name for name, holds in checks.items() if not holds] == [fails]


def test_an_entry_of_another_kind_binds_no_receipt(issued: Issued) -> None:
    """The entry of the end, put in the place of the one that gave, makes no receipt true."""
    document = json.loads(issued.data)
    swapped = {**document, **document["ended"], "ended": None}
    checks = {check.name: check.holds for check in verify_receipt(swapped, issued.key)}
    assert checks["inclusion"]
    assert not checks["receipt"]


@pytest.mark.parametrize("all_of_them", [False, True], ids=["one", "all"])
def test_an_entry_out_of_form_is_answered_and_not_stumbled_over(
    park: Database, tmp_path: Path, *, all_of_them: bool
) -> None:
    """Whatever stands for the subject and the id of a forged entry, its file is told to be no proof."""
    with park.session() as session:
        who = holder(session)
        (given,) = agree(session, who, "face_entry")
        if all_of_them:
            end_all(session, "face_entry", "purpose_ended", reason="停用", at=AT + DAY)
        else:
            withdraw(session, who, "face_entry", how="button", screen="app", at=AT + DAY)
    ended = issue(park, tmp_path, given.id)
    for said in (True, None, 1.5, [], {}, "", "grant:\u0661", "grant:01", "grant:" + "9" * 5000):
        for member in ("subject", "id"):
            entry = {**json.loads(ended.document["leaf"]), member: said}
            forged = receipt_bytes({**ended.document, "leaf": rfc8785.dumps(entry).decode()})
            found = names(ended, forged)
            assert not found["inclusion"]
            assert found["ended"] is (member == "id" and not all_of_them)


def test_a_database_changed_behind_our_back_issues_nothing(park: Database) -> None:
    """Where somebody with the database's password rewrote a row, no receipt is made of it."""
    with park.session() as session:
        (given,) = agree(session, holder(session), "face_entry")
        session.execute(text(f"DROP TRIGGER grants_kept{'' if park.embedded else ' ON grants'}"))
        session.execute(text("UPDATE grants SET how = 'never asked'"))
    with pytest.raises(EvidenceBroken, match="not the one that was logged"), park.session() as session:
        receipt(session, given.id)


def test_the_reference_is_enough_to_check_a_receipt(issued: Issued) -> None:
    """What docs/reference/receipt.md says, done by hand: canonical form, hash, grant and end."""
    assert issued.data == rfc8785.dumps(json.loads(issued.data)) + b"\n"
    document = json.loads(issued.data)
    entry, over = json.loads(document["leaf"]), json.loads(document["ended"]["leaf"])
    assert sha256(rfc8785.dumps(document["receipt"])).hexdigest() == entry["body"]["receipt"]
    assert entry["subject"] == f"grant:{over['body']['grant']}"
    assert over["body"]["purpose"] == entry["body"]["purpose"]
    salted = b"duecare commitment 1\n" + bytes.fromhex(document["holder"]["salt"])
    found = sha256(salted + document["holder"]["subject"].encode()).hexdigest()
    assert entry["body"]["subject"] == f"sha256:{found}"


def test_the_table_of_the_reference_is_current() -> None:
    """Each mandatory field and its place stands in the reference."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "receipt.md").read_text(encoding="utf-8")
    for field, path in MANDATORY.items():
        assert f"| {field} | `{' / '.join(path)}` |" in page, field


def test_record_and_receipt_are_told_apart(park: Database) -> None:
    """The record is known by the UUID of the grant, and its receipt by one of its own."""
    with park.session() as session:
        (given,) = agree(session, holder(session), "face_entry")
        made = receipt(session, given.id)
        record = session.scalars(select(GrantRow.record)).one()
    ids = [values(made, MANDATORY[field])[0] for field in ("receipt id", "record id")]
    assert ids[1] == record
    assert ids[0] != ids[1]
