"""Proof files: what one says, that it holds, and that nothing in it can be changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from duecare.errors import BadInput, EvidenceBroken, UnknownName
from duecare.evidence.check import all_hold
from duecare.evidence.checkpoint import SigningKey, VerifierKey
from duecare.evidence.log import Log
from duecare.evidence.outbox import record, sequence
from duecare.evidence.proof import bundle, parse_proof, proof_bytes, verify_bundle
from duecare.store.database import Database

VECTOR: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "proof.json").read_text())
KEY = SigningKey("duecare/test", bytes(range(32)))
AT = datetime(2019, 5, 5, 8, 0, tzinfo=UTC)


class World:
    """A database and a log with 300 entries, the first of which stood under an earlier checkpoint."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database, self.log = Database(url), Log(folder, KEY)
        self.first = self.record("alert:1", {"to": "sha256:00", "标题": "清算信息"})
        sequence(self.database, self.log)
        self.noted = self.log.note()
        for at in range(2, 301):
            self.last = self.record(f"alert:{at}", {})
        sequence(self.database, self.log)

    def record(self, subject: str, body: dict[str, str]) -> int:
        with self.database.session() as session:
            return record(session, "alert:send", subject, body, AT).id


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    world = World(database_url, tmp_path / "log")
    yield world
    world.database.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("small")
    world = World(f"sqlite:///{folder / 'test.db'}", folder / "log")
    yield world
    world.database.close()


def test_a_proof_holds_for_who_has_only_the_key(world: World) -> None:
    """A proof file verifies with the public key alone, and says what was recorded."""
    for entry in (world.first, world.last):
        data = proof_bytes(bundle(world.database, world.log, entry, older=world.noted))
        checks = verify_bundle(data, VerifierKey.parse(str(KEY.verifier)))
        assert [check.name for check in checks] == ["form", "signature", "inclusion", "growth"]
        assert all_hold(checks)
        assert parse_proof(data).entry["id"] == entry


def test_what_is_not_in_the_log_has_no_proof(world: World) -> None:
    """An unknown entry, one not sequenced yet, and a checkpoint newer than the log are refused with the reason."""
    with pytest.raises(UnknownName):
        bundle(world.database, world.log, 999)
    waiting = world.record("alert:999", {})
    with pytest.raises(BadInput, match="not in the log yet"):
        bundle(world.database, world.log, waiting)
    other = Log(world.log.folder.parent / "longer", KEY)
    other.append([b"x"] * 301)
    with pytest.raises(BadInput, match="301 entries, the log only 300"):
        bundle(world.database, world.log, world.first, older=other.note())


def test_a_database_that_says_otherwise_is_found(world: World) -> None:
    """Where the log holds something else than the database, no proof is made of either."""
    changed = Log(world.log.folder.parent / "changed", KEY)
    changed.append([b"other"] * 300)
    with pytest.raises(EvidenceBroken, match="not what the log holds"):
        bundle(world.database, changed, world.first)


def test_any_changed_byte_is_refused(small: World) -> None:
    """Each byte of a proof file, changed in any of several ways, makes it fail with a reason."""
    data = proof_bytes(bundle(small.database, small.log, small.first, older=small.noted))
    assert all_hold(verify_bundle(data, KEY.verifier))
    for position, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x20, 0x20, 0x30, 0x39} - {byte}:
            checks = verify_bundle(data[:position] + bytes([other]) + data[position + 1 :], KEY.verifier)
            failed = [check for check in checks if not check.holds]
            assert failed, (position, other)
            assert all(check.detail and check.meaning_zh and check.meaning_en for check in failed)


def test_a_cut_or_longer_file_is_refused(small: World) -> None:
    """A file cut anywhere, or with anything after its end, is refused."""
    data = proof_bytes(bundle(small.database, small.log, small.first))
    for wrong in (
        *(data[:at] for at in range(len(data))),
        data + b"\n",
        data + data,
        b" " + data,
        b"\xef\xbb\xbf" + data,
    ):
        assert not all_hold(verify_bundle(wrong, KEY.verifier))


def change(document: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    return {**document, name: value}


@pytest.mark.parametrize(
    ("name", "value", "failed"),
    [
        ("index", 1, "inclusion"),
        ("index", -1, "form"),
        ("index", True, "form"),
        ("index", 1.5, "form"),
        ("leaf", "{}", "form"),
        ("leaf", 7, "form"),
        ("leaf", '{"at":"2019","body":{},"id":1,"kind":"alert:send","subject":"alert:2"}', "inclusion"),
        ("inclusion", [], "inclusion"),
        ("inclusion", "AAAA", "form"),
        ("inclusion", ["AAAA"], "form"),
        ("inclusion", [7], "form"),
        ("checkpoint", 7, "form"),
        ("checkpoint", "duecare/test\n300\n", "signature"),
        ("format", "duecare-proof/2", "form"),
        ("older", {}, "form"),
        ("older", None, "form"),
        ("older", {"checkpoint": "x", "consistency": []}, "growth"),
        ("more", 1, "form"),
    ],
)
def test_each_false_statement_fails_its_own_check(small: World, name: str, value: object, failed: str) -> None:
    """A well-formed file that says something false fails the check that the falsehood concerns."""
    document = bundle(small.database, small.log, small.first)
    checks = verify_bundle(change(document, name, value), KEY.verifier)
    assert next(check.name for check in checks if not check.holds) == failed


def test_another_key_is_refused(small: World) -> None:
    """A proof signed by another log is not genuine, and nothing counts as included."""
    data = proof_bytes(bundle(small.database, small.log, small.first))
    checks = {check.name: check.holds for check in verify_bundle(data, SigningKey.make("duecare/test").verifier)}
    assert checks == {"form": True, "signature": False, "inclusion": False}


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"null\n", b'{"a":1,"a":2}\n', b'"\\ud800"\n', b"1e999\n",
                                  b"x" * (2 << 20)])  # fmt: skip
def test_no_input_breaks_the_reader(data: bytes) -> None:
    """Whatever the file holds, the answer is a failed check."""
    assert [check.name for check in verify_bundle(data, KEY.verifier)] == ["form"]


def test_the_vector_holds() -> None:
    """The test vector for other languages verifies, and is what this code still writes."""
    data = VECTOR["file"].encode()
    key = VerifierKey.parse(VECTOR["public_key"])
    checks = verify_bundle(data, key)
    assert [(check.name, check.holds) for check in checks] == [tuple(each) for each in VECTOR["checks"]]
    assert proof_bytes(json.loads(data)) == data
    for refused in VECTOR["refused"]:
        failed = next(check.name for check in verify_bundle(refused["file"].encode(), key) if not check.holds)
        assert failed == refused["fails"]
