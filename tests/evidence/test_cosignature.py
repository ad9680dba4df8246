"""Cosignatures: the published examples, real ones of public witnesses, and that none can be made up."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.checkpoint import Checkpoint, Note, Signature, SigningKey, VerifierKey, open_checkpoint
from duecare.evidence.cosignature import WitnessKey, WitnessSigningKey, cosignatures, signed_time

VECTOR: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "cosignature.json").read_text())
LOG = SigningKey("duecare/test", bytes(range(32)))
WITNESS = WitnessSigningKey("witness.example/w1", bytes(range(32, 64)))
HEAD = Checkpoint("duecare/test", 7, bytes(range(32)))
AT = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
SIGNED = HEAD.sign(LOG)
COSIGNED = SIGNED.with_signature(WITNESS.cosign(HEAD.text(), AT))
DATA = COSIGNED.data()


def test_cosignatures_of_public_witnesses() -> None:
    """A checkpoint of a public log opens with its key, and four public witnesses are found to have cosigned it."""
    real = VECTOR["real"]
    data = real["note"].encode()
    assert open_checkpoint(data, VerifierKey.parse(real["log"])).size == real["size"]
    keys = [WitnessKey.parse(text) for text in real["witnesses"]]
    assert [str(key) for key in keys] == real["witnesses"]
    found = cosignatures(Note.parse(data), [WitnessKey.parse(real["absent"]), *keys])
    assert [each.witness for each in found] == keys
    assert {each.at for each in found} == {"2026-05-23 21:50:24 UTC"}


def test_the_example_of_the_specification() -> None:
    """The published example is read as the specification says, and what we sign is its message byte for byte."""
    example = VECTOR["specification"]
    note = Note.parse(example["note"].encode())
    assert Checkpoint.parse(note.text).size == example["size"]
    line = next(each for each in note.signatures if each.name == example["witness"])
    assert signed_time(line.blob) == example["seconds"]
    made = WITNESS.cosign(note.text, datetime.fromtimestamp(example["seconds"], UTC))
    assert made.blob[:8] == line.blob[:8]
    Ed25519PublicKey.from_public_bytes(WITNESS.verifier.public).verify(made.blob[8:], example["message"].encode())


def test_a_cosigned_note_is_still_the_logs() -> None:
    """Who knows only the log opens the note; who knows the witness too sees that it cosigned, and when."""
    assert open_checkpoint(DATA, LOG.verifier) == HEAD
    (found,) = cosignatures(Note.parse(DATA), [WITNESS.verifier])
    assert (found.witness, found.seconds, found.at) == (WITNESS.verifier, 1772337906, "2026-03-01 04:05:06 UTC")
    assert cosignatures(SIGNED, [WITNESS.verifier]) == []
    assert cosignatures(Note.parse(DATA), []) == []


def test_another_witness_did_not_cosign() -> None:
    """A witness of the same name with another key, and one of the same key with another name, did not cosign."""
    other = WitnessSigningKey.make(WITNESS.name)
    renamed = WitnessKey("witness.example/w2", WITNESS.verifier.public)
    assert cosignatures(Note.parse(DATA), [other.verifier, renamed]) == []


@given(position=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_seen(position: int, bit: int) -> None:
    """With any bit of the note changed, either the log did not sign it or the witness did not cosign it."""
    spoiled = bytearray(DATA)
    spoiled[position] ^= 1 << bit
    try:
        open_checkpoint(bytes(spoiled), LOG.verifier)
    except EvidenceBroken:
        return
    assert cosignatures(Note.parse(bytes(spoiled)), [WITNESS.verifier]) == []


def test_a_plain_signature_is_no_cosignature() -> None:
    """The same 32 bytes under both kinds of key: what is signed as a log is no cosignature, and the other way round."""
    as_log = SigningKey(WITNESS.name, WITNESS.seed)
    assert as_log.verifier.public == WITNESS.verifier.public
    assert as_log.verifier.key_id != WITNESS.verifier.key_id
    plain = as_log.sign(HEAD.text()).blob
    for blob in (plain, bytes(8) + plain):
        note = SIGNED.with_signature(Signature(WITNESS.name, WITNESS.verifier.key_id, blob))
        assert cosignatures(note, [WITNESS.verifier]) == []
    cosigned = WITNESS.cosign(HEAD.text(), AT).blob
    for blob in (cosigned, cosigned[8:]):
        note = Note(HEAD.text(), (Signature(as_log.name, as_log.verifier.key_id, blob),))
        assert not note.signed_by(as_log.verifier)


def test_of_several_times_the_latest_counts_and_none_may_be_false() -> None:
    """A witness may cosign a state twice; one line that does not verify makes all of its lines worthless."""
    later = COSIGNED.with_signature(WITNESS.cosign(HEAD.text(), datetime(2026, 4, 1, tzinfo=UTC)))
    (found,) = cosignatures(later, [WITNESS.verifier])
    assert found.at == "2026-04-01 00:00:00 UTC"
    false = Signature(WITNESS.name, WITNESS.verifier.key_id, bytes(72))
    assert cosignatures(later.with_signature(false), [WITNESS.verifier]) == []


def test_a_time_beyond_the_largest_is_refused() -> None:
    """A time of 2^63 or more is not one; what is beyond the calendar is shown as the number it is."""
    for seconds, holds in ((2**63 - 1, True), (2**63, False), (2**64 - 1, False)):
        message = b"cosignature/v1\ntime %d\n%s" % (seconds, HEAD.text().encode())
        line = WITNESS._signature(message, seconds.to_bytes(8, "big"))
        found = cosignatures(SIGNED.with_signature(line), [WITNESS.verifier])
        assert bool(found) is holds
        if found:
            assert found[0].at == f"{seconds} s"
    for wrong in (b"", bytes(64), bytes(71), bytes(73)):
        assert signed_time(wrong) is None


def test_keys_are_of_one_kind() -> None:
    """A log's key is refused where a witness's is asked for, and the other way round, with what was given."""
    with pytest.raises(BadInput, match="is the key of a log, not of a witness"):
        WitnessKey.parse(str(LOG.verifier))
    with pytest.raises(BadInput, match="is the key of a witness, not of a log"):
        VerifierKey.parse(str(WITNESS.verifier))
    with pytest.raises(BadInput, match="private key of a witness"):
        WitnessSigningKey.parse(LOG.text())
    with pytest.raises(BadInput, match="private key of a log"):
        SigningKey.parse(WITNESS.text())
    assert WitnessSigningKey.parse(WITNESS.text()) == WITNESS
    assert WitnessKey.parse(str(WITNESS.verifier)) == WITNESS.verifier
    assert WITNESS.seed.hex() not in repr(WITNESS)
    assert b64encode(WITNESS.seed).decode() not in repr(WITNESS)


@pytest.mark.parametrize(
    "text",
    ["", "witness.example/w1", "a+b+c", VECTOR["real"]["absent"][:-4],
     VECTOR["real"]["absent"].replace("db03732e", "db03732f"), VECTOR["real"]["absent"].replace("+BCjJ", "+CCjJ")],
)  # fmt: skip
def test_wrong_witness_keys_are_refused(text: str) -> None:
    """What is not exactly a witness's key is refused with what one looks like."""
    with pytest.raises(BadInput, match="key"):
        WitnessKey.parse(text)
