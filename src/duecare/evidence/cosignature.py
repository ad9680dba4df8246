"""Cosignatures (C2SP tlog-cosignature, Ed25519): a witness says that it saw this state of a log, and when.

A cosignature is one more signature line of the checkpoint's note. What is signed is not the text alone but

    cosignature/v1
    time <seconds since 1970>
    <the text of the checkpoint>

so that a witness's key can never be made to sign as a log, nor a log's as a witness.

The rule of this module: a time is signed or it is not there; none is ever taken from anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from duecare.clock import utc
from duecare.evidence.checkpoint import COSIGNATURE, Note, PrivateKey, Signature, VerifierKey

_TIME_SIZE = 8
_LATEST = 2**63 - 1


@dataclass(frozen=True)
class WitnessKey(VerifierKey):
    """The public key of a witness, under which cosignatures verify."""

    kind: ClassVar[bytes] = COSIGNATURE
    what: ClassVar[str] = "Ed25519 witness key"

    @classmethod
    def _example(cls) -> str:
        return "witness.example/w1+1c2d3e4f+BHk…, as duecare witness show prints it."

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is a cosignature of the checkpoint ``text`` by this witness."""
        seconds = signed_time(signature)
        return seconds is not None and super().verifies(_message(text, seconds), signature[_TIME_SIZE:])


@dataclass(frozen=True, repr=False)
class WitnessSigningKey(PrivateKey):
    """The private key of a witness, which signs nothing but cosignatures."""

    public_half: ClassVar[type[VerifierKey]] = WitnessKey

    @property
    def verifier(self) -> WitnessKey:
        """The public half."""
        return WitnessKey(self.name, super().verifier.public)

    def cosign(self, text: str, at: datetime) -> Signature:
        """The cosignature of the checkpoint ``text`` at ``at`` (aware; whole seconds are signed)."""
        seconds = int(utc(at).timestamp())
        return self._signature(_message(text.encode(), seconds), seconds.to_bytes(_TIME_SIZE, "big"))


@dataclass(frozen=True)
class Cosignature:
    """That ``witness`` cosigned, and when: seconds since 1970, as signed."""

    witness: WitnessKey
    seconds: int

    @property
    def at(self) -> str:
        """The time for a person, in UTC; a time beyond the calendar as the number it is."""
        try:
            return f"{datetime.fromtimestamp(self.seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
        except (OverflowError, ValueError, OSError):
            return f"{self.seconds} s"


def cosignatures(note: Note, witnesses: Sequence[WitnessKey]) -> list[Cosignature]:
    """Which of ``witnesses`` cosigned ``note``, in their order, each with the latest time it signed.

    Lines of others are passed over. A witness one of whose lines does not verify did not cosign: somebody made it up.
    """
    found = []
    for witness in witnesses:
        if note.signed_by(witness):
            times = [signed_time(each.blob) for each in note.signatures_of(witness)]
            found.append(Cosignature(witness, max(each for each in times if each is not None)))
    return found


def signed_time(blob: bytes) -> int | None:
    """The time in a cosignature, in seconds since 1970, not verified yet; none where there can be none."""
    if len(blob) != _TIME_SIZE + 64:
        return None
    seconds = int.from_bytes(blob[:_TIME_SIZE], "big")
    return seconds if seconds <= _LATEST else None


def _message(text: bytes, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%s" % (seconds, text)
