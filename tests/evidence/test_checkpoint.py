"""Signed notes and checkpoints: published vectors, strict reading, and the key on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.checkpoint import (
    Checkpoint,
    Note,
    SigningKey,
    VerifierKey,
    given_key,
    keep_key,
    open_checkpoint,
    read_key,
    read_public,
)
from duecare.evidence.cosignature import WitnessKey

VECTOR: dict[str, str] = json.loads((Path(__file__).parents[1] / "vectors" / "note.json").read_text())
KEY = SigningKey("duecare/test", bytes(range(32)))
HEAD = Checkpoint("duecare/test", 20852163, bytes(range(32)))
DATA = HEAD.sign(KEY).data()


def test_published_note() -> None:
    """The published note is signed, byte for byte, by the published key, and verifies."""
    key = SigningKey.parse(VECTOR["private"])
    assert str(key.verifier) == VECTOR["public"]
    assert key.text() == VECTOR["private"]
    note = Note(VECTOR["text"], (key.sign(VECTOR["text"]),))
    assert note.data().decode() == VECTOR["note"]
    assert Note.parse(VECTOR["note"].encode()).signed_by(VerifierKey.parse(VECTOR["public"]))


@pytest.mark.parametrize("text", VECTOR["other_public_keys"])
def test_published_keys(text: str) -> None:
    """Verifier keys of other logs are read and written back as they were."""
    assert str(VerifierKey.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "duecare", "a+b+c", VECTOR["public"][:-4], VECTOR["public"].replace("c74f20a3", "c74f20a4"),
     VECTOR["public"].replace("+ARpc", "+BRpc"), "Peter Neumann" + VECTOR["public"][12:]],
)  # fmt: skip
def test_wrong_verifier_keys_are_refused(text: str) -> None:
    """What is not exactly a verifier key is refused with what it should look like."""
    with pytest.raises(BadInput, match="verifier key"):
        VerifierKey.parse(text)


@given(size=st.integers(0, 2**62), root=st.binary(min_size=32, max_size=32))
def test_checkpoint_round_trip(size: int, root: bytes) -> None:
    """What a checkpoint says is read back from its note."""
    head = Checkpoint("duecare/test", size, root)
    assert open_checkpoint(head.sign(KEY).data(), KEY.verifier) == head


@given(position=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(position: int, bit: int) -> None:
    """A signed checkpoint with any bit changed is refused."""
    spoiled = bytearray(DATA)
    spoiled[position] ^= 1 << bit
    with pytest.raises(EvidenceBroken):
        open_checkpoint(bytes(spoiled), KEY.verifier)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("duecare/test\n1\n", "three lines"),
        ("duecare/test\n01\nAAAA\n", "plain decimal"),
        ("duecare/test\n-1\nAAAA\n", "plain decimal"),
        ("duecare/test\n+1\nAAAA\n", "plain decimal"),
        ("duecare/test\n１\nAAAA\n", "plain decimal"),
        (f"duecare/test\n{'9' * 5000}\nAAAA\n", "plain decimal"),
        ("duecare/test\n1\nAAAA\n", "32 bytes"),
        (HEAD.text().replace("8=", "9="), "32 bytes"),
        (HEAD.text() + "\nmore\n", "three lines"),
    ],
)
def test_departures_from_the_form_are_named(text: str, why: str) -> None:
    """A checkpoint that is signed but not canonical is refused with what is wrong in it."""
    with pytest.raises(EvidenceBroken, match=why):
        open_checkpoint(Note(text, (KEY.sign(text),)).data(), KEY.verifier)


@pytest.mark.parametrize(
    "data",
    [b"", b"no signature\n", DATA[:-1], DATA + b"\n", DATA + b"x", DATA.replace(b"\n", b"\r\n"), b"\xff" + DATA,
     DATA.replace("— ".encode(), b"- "), b"x" * (2 << 20)],
)  # fmt: skip
def test_broken_notes_are_refused(data: bytes) -> None:
    """What is not a note in canonical form is refused."""
    with pytest.raises(EvidenceBroken):
        Note.parse(data)


def test_others_may_cosign() -> None:
    """Signatures of other keys are kept and passed over, so that a witness can add its own."""
    witness = SigningKey.make("witness.example/one")
    cosigned = Note.parse(DATA).with_signature(witness.sign(HEAD.text()))
    assert Note.parse(cosigned.data()) == cosigned
    assert cosigned.signed_by(witness.verifier)
    assert open_checkpoint(cosigned.data(), KEY.verifier) == HEAD


def test_a_second_false_signature_of_the_log_spoils_the_note() -> None:
    """A line that claims the log's own key and does not verify refuses the whole note."""
    note = Note.parse(DATA)
    false = note.with_signature(type(note.signatures[0])(KEY.name, KEY.verifier.key_id, bytes(64)))
    with pytest.raises(EvidenceBroken, match="not signed"):
        open_checkpoint(false.data(), KEY.verifier)


def test_another_log_is_named() -> None:
    """A checkpoint of another log is refused as such, even if its signature is good."""
    with pytest.raises(EvidenceBroken, match="duecare/test, the key of duecare/other"):
        open_checkpoint(DATA, VerifierKey("duecare/other", KEY.verifier.public))


def test_key_is_kept_private(tmp_path: Path) -> None:
    """The key is made once, for its owner's eyes only, and no print of it shows the secret."""
    key = keep_key(tmp_path / "keys")
    assert keep_key(tmp_path / "keys") == key
    assert stat.S_IMODE((tmp_path / "keys" / "log.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["log.key", "log.pub"]
    assert read_key(tmp_path / "keys" / "log.pub") == key.verifier
    assert key.seed.hex() not in repr(key)
    assert keep_key(tmp_path / "other").name != key.name


@pytest.mark.parametrize("kind", [VerifierKey, WitnessKey])
def test_what_is_no_public_key_is_not_shown(kind: type[VerifierKey], tmp_path: Path) -> None:
    """The wrong file may be a private key, or hold a person: the error names the file, and repeats nothing of it."""
    secret, wrong = SigningKey.make("duecare/secret"), tmp_path / "wrong.pub"
    encoded = secret.text().split("+", 4)[4]  # in base64, which may have a + of its own
    person = f'[{{"name": "成员甲", "photo": "{encoded}+a"}}]'
    for text in (secret.text(), encoded, f"a+{encoded}", f"{encoded}+0+{encoded}", person):
        wrong.write_text(text)
        with pytest.raises(BadInput, match=r"wrong\.pub") as refused:
            read_public(wrong, kind, "")
        assert encoded[:8] not in str(refused.value)
        assert "成员甲" not in str(refused.value)
    wrong.write_bytes(b"\xff\xd8 a photo")
    with pytest.raises(BadInput, match="not text"):
        read_public(wrong, kind, "")


def test_a_key_is_given_as_it_is_or_by_its_file(tmp_path: Path) -> None:
    """A text that is no key and names no file is not shown either, however long."""
    (tmp_path / "a+b.pub").write_text(str(KEY.verifier))
    for text in (str(KEY.verifier), str(tmp_path / "a+b.pub")):
        assert given_key(text, "") == KEY.verifier
    for text, why in ((KEY.text(), "a private key"), ("+" * 5000, "not a verifier key"), ("absent", "Give it")):
        with pytest.raises(BadInput, match=why):
            given_key(text, "Give it.")


def test_mismatched_key_files_are_refused(tmp_path: Path) -> None:
    """A public key that is not of the private one beside it is refused."""
    keep_key(tmp_path)
    (tmp_path / "log.pub").write_text(VECTOR["public"])
    with pytest.raises(EvidenceBroken, match="not the public half"):
        keep_key(tmp_path)
    with pytest.raises(BadInput, match="--key"):
        read_key(tmp_path / "absent")
