"""Vectors that others published: canonical JSON, key wrapping, signed notes, requests to a witness."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from duecare.evidence.checkpoint import Checkpoint, Note, VerifierKey
from duecare.evidence.merkle import verify_consistency
from duecare.evidence.witness import Submission, Witness


def vectors(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / name).read_text(encoding="utf-8"))
    return found


CANONICAL, KEYWRAP, NOTE, COSIGNATURE = map(
    vectors, ("canonical.json", "keywrap.json", "note.json", "cosignature.json")
)


@pytest.mark.parametrize("document", CANONICAL["documents"], ids=lambda each: each["name"])
def test_canonical_documents(document: dict[str, str]) -> None:
    """The published documents are written canonically byte for byte, and canonical text stays as it is."""
    made = rfc8785.dumps(json.loads(document["input"]))
    assert made.hex() == document["hex"]
    assert rfc8785.dumps(json.loads(made)) == made


def test_canonical_order_of_names() -> None:
    """Members stand in the order of their names' UTF-16 code units (RFC 8785 section 3.2.3)."""
    made = json.loads(rfc8785.dumps(json.loads(CANONICAL["names"]["input"])))
    assert list(made.values()) == CANONICAL["names"]["order"]


@pytest.mark.parametrize(("bits", "text"), CANONICAL["numbers"])
def test_canonical_numbers(bits: str, text: str) -> None:
    """The numbers of RFC 8785 appendix B are written as published."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert rfc8785.dumps(number).decode() == text


@pytest.mark.parametrize("bits", CANONICAL["no_numbers"])
def test_what_is_no_number_has_no_canonical_form(bits: str) -> None:
    """Infinity and what is not a number are refused (RFC 8785 appendix B)."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    with pytest.raises(rfc8785.FloatDomainError):
        rfc8785.dumps(number)


@pytest.mark.parametrize("vector", KEYWRAP["vectors"], ids=lambda each: each["section"])
def test_key_wrapping(vector: dict[str, str]) -> None:
    """AES key wrapping gives what RFC 3394 section 4 publishes, and gives nothing back of what was changed."""
    kek, key, wrapped = (bytes.fromhex(vector[name]) for name in ("kek", "key", "wrapped"))
    assert aes_key_wrap(kek, key) == wrapped
    assert aes_key_unwrap(kek, wrapped) == key
    for position in range(len(wrapped)):
        changed = wrapped[:position] + bytes([wrapped[position] ^ 1]) + wrapped[position + 1 :]
        with pytest.raises(InvalidUnwrap):
            aes_key_unwrap(kek, changed)


def test_the_signed_note_of_the_specification() -> None:
    """The example of C2SP signed-note verifies under its key; the one whose key is not published is read and kept."""
    example, other = NOTE["specification"], NOTE["without_key"]
    key = VerifierKey.parse(example["public"])
    assert str(key) == example["public"]
    assert Note.parse(example["note"].encode()).signed_by(key)
    note = Note.parse(other["note"].encode())
    assert note.text == other["text"]
    assert [each.name for each in note.signatures] == [other["name"]]
    assert note.data() == other["note"].encode()
    assert not note.signed_by(key)


def test_the_request_of_the_specification() -> None:
    """The example request of C2SP tlog-witness is read as it says and written as it stands."""
    example = COSIGNATURE["add_checkpoint"]
    request = Submission.parse(example["body"].encode())
    assert (request.old, len(request.proof)) == (example["old"], example["hashes"])
    assert Checkpoint.parse(Note.parse(request.note).text).size == example["size"]
    assert request.data() == example["body"].encode()


def test_the_requests_of_another_implementation(tmp_path: Path) -> None:
    """A witness takes the requests that another implementation is tested with, and never lets the log go back."""
    known, witness = COSIGNATURE["witness"], Witness.make(tmp_path)
    key = VerifierKey(known["origin"], bytes.fromhex(known["public"]))
    assert witness.add_checkpoint(known["first"].encode()).status == 404
    witness.trust(key)
    first, to_3, to_5 = (Submission.parse(known[name].encode()) for name in ("first", "to_3", "to_5"))
    heads = [Checkpoint.parse(Note.parse(each.note).text) for each in (first, to_3, to_5)]
    for request, head in ((to_3, heads[1]), (to_5, heads[2])):
        assert verify_consistency(1, head.size, request.proof, heads[0].root, head.root)
    answers = [witness.add_checkpoint(known[name].encode()) for name in ("first", "to_5", "to_3")]
    assert [each.status for each in answers] == [200, 200, 409]
    assert (answers[2].body, answers[2].content_type) == (b"5\n", "text/x.tlog.size")
    witness.close()
