"""The erasure certificate: that, why and when something about a person was erased, provable without us.

It holds the entry of the log (commitments, never content), its place, and a checkpoint that the log signed and an
independent witness cosigned. To the person it may come with ``holder``: the salts and values of commitments, so that
he sees what was meant; whoever gets it on without them learns nothing about him.

docs/reference/certificate.md states the format in words exact enough to verify it in another language.

The rule of this module: what a witness did not cosign, or of which one byte was changed, certifies nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.check import Check, answer
from duecare.evidence.checkpoint import VerifierKey
from duecare.evidence.commitment import SALT_SIZE, opens
from duecare.evidence.cosign import RemoteWitness, cosigned
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.document import (
    FIELDS,
    Included,
    document_bytes,
    entry_place,
    included,
    parse_document,
    verify_included,
)
from duecare.evidence.log import Log
from duecare.store.database import Database

FORMAT = "duecare-certificate/1"

KIND = "erasure:complete"
"""The kind of the entry that a certificate is about."""

REASONS = ("withdrawal", "purpose_ended", "schedule", "request")
"""Why something was erased: consent was withdrawn, the purpose ended, its time was up, the person asked for it."""

_BODY_FIELDS = {"article", "certificate", "erased_at", "fields", "keys", "places", "purpose", "reason", "subject"}
_COMMITMENT = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"([0-9a-f]{2})+")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)


@dataclass(frozen=True)
class Opening:
    """What a commitment stands for: ``value``, hidden by ``salt`` (32 bytes)."""

    commitment: str
    salt: bytes
    value: str

    def as_json(self) -> dict[str, str]:
        """The opening as JSON values."""
        return {"commitment": self.commitment, "salt": self.salt.hex(), "value": self.value}


@dataclass(frozen=True)
class Certificate(Included):
    """What a certificate says, read but not yet believed."""

    holder: tuple[Opening, ...] = ()

    @property
    def body(self) -> dict[str, Any]:
        """What was erased, why, when and where: the body of the entry."""
        body: dict[str, Any] = self.entry["body"]
        return body


def build(
    database: Database,
    log: Log,
    entry_id: int,
    witnesses: Sequence[RemoteWitness],
    holder: Sequence[Opening] = (),
) -> dict[str, Any]:
    """The certificate of the erasure that entry ``entry_id`` records, cosigned by all ``witnesses``.

    It has been verified as its holder will verify it when this returns. Call it outside of any transaction, after
    ``sequence``. Raises ``UnknownName`` where there is no such entry, ``BadInput`` where it is not an erasure, not in
    the log yet, or there is no witness; ``WitnessUnavailable``; ``EvidenceBroken``.
    """
    index, leaf = entry_place(database, entry_id)
    return build_at(log, index, leaf, witnesses, note_of(log, witnesses, index + 1), holder)


def note_of(log: Log, witnesses: Sequence[RemoteWitness], size: int) -> bytes:
    """A checkpoint of at least ``size`` entries, cosigned by all ``witnesses``, on which certificates can rest.

    Raises ``BadInput`` where there is no witness, ``WitnessUnavailable``, ``EvidenceBroken``.
    """
    if not witnesses:
        raise BadInput(
            "There is no witness, and a certificate rests on one.",
            hint="Put its url and key into the setting witnesses; duecare witness init makes one.",
        )
    return cosigned(log, witnesses, size)


def build_at(
    log: Log,
    index: int,
    leaf: bytes,
    witnesses: Sequence[RemoteWitness],
    note: bytes,
    holder: Sequence[Opening] = (),
) -> dict[str, Any]:
    """``build`` for the entry ``leaf`` that stands at ``index`` in the log, under the checkpoint ``note``."""
    document: dict[str, Any] = {"format": FORMAT, **included(log, index, leaf, note)}
    if holder:
        document["holder"] = [each.as_json() for each in holder]
    checks = verify_certificate(document, log.key, [each.key for each in witnesses])
    failed = next((check for check in checks if not check.holds), None)
    if failed is not None and failed.name == "form":
        raise BadInput(f"The entry at {index} of the log is not one that can be certified: {failed.detail}")
    if failed is not None:
        raise EvidenceBroken(
            f"The certificate of the entry at {index} of the log does not hold ({failed.name}: {failed.detail}).",
            hint="Run duecare verify --all.",
        )
    return document


def certificate_bytes(document: Mapping[str, Any]) -> bytes:
    """The file of a certificate: canonical JSON (RFC 8785) and one newline."""
    return document_bytes(document)


def parse_certificate(data: bytes) -> Certificate:
    """Read a certificate. Raises ``EvidenceBroken`` saying where it departs from the form."""
    document, found = parse_document(data, FORMAT, FIELDS, "holder")
    _check_entry(found.entry)
    return Certificate(
        leaf=found.leaf,
        index=found.index,
        inclusion=found.inclusion,
        checkpoint=found.checkpoint,
        holder=_holder(document["holder"]) if "holder" in document else (),
    )


def verify_certificate(
    data: bytes | Mapping[str, Any], log_key: VerifierKey, witness_keys: Sequence[WitnessKey]
) -> list[Check]:
    """Check a certificate with nothing but the public keys of the log and of its witnesses, each of whom must have
    cosigned.

    The checks are ``form``, ``signature``, ``cosignature``, ``inclusion`` and, where it has a holder's part,
    ``openings``. A broken form ends them; without a witness's key ``cosignature`` fails.
    """
    try:
        certificate = parse_certificate(data if isinstance(data, bytes) else certificate_bytes(data))
    except (EvidenceBroken, rfc8785.CanonicalizationError) as error:
        return [answer("form", False, error)]
    checks, _ = verify_included(certificate, log_key, witness_keys)
    if certificate.holder:
        checks.append(_verify_openings(certificate))
    return [answer("form", True, FORMAT), *checks]


def commitments(body: Mapping[str, Any]) -> list[str]:
    """The commitments in the body of an erasure: that of the subject, then those of the fields."""
    return [body["subject"], *(field["commitment"] for field in body["fields"])]


def _verify_openings(certificate: Certificate) -> Check:
    known = commitments(certificate.body)
    for number, each in enumerate(certificate.holder):
        if each.commitment not in known:
            return answer("openings", False, f"opening {number} is of a commitment that is not in the entry")
        if not opens(each.commitment, each.salt, each.value):
            return answer("openings", False, f"opening {number} does not open its commitment")
    return answer("openings", True, f"{len(certificate.holder)} of {len(known)} commitments")


def _check_entry(entry: Mapping[str, Any]) -> None:
    """Refuse an entry that is not of the form of an erasure's."""
    number, body = entry["id"], entry["body"]
    if entry["kind"] != KIND:
        raise EvidenceBroken(f"The entry is of the kind {entry['kind']!r}, not {KIND}.")
    if type(number) is not int or number < 1 or not _is_moment(entry["at"]) or not _is_text(entry["subject"]):
        raise EvidenceBroken("The entry's id is not a whole number from 1, or its at or subject not what they must be.")
    if not isinstance(body, dict) or set(body) != _BODY_FIELDS:
        raise EvidenceBroken(f"The body has not exactly the fields {', '.join(sorted(_BODY_FIELDS))}.")
    wrong = [
        name
        for name, sound in (
            ("article", _is_text(body["article"])),
            ("certificate", _matches(_HEX, body["certificate"])),
            ("erased_at", _is_moment(body["erased_at"])),
            ("fields", _all(body["fields"], {"commitment", "field"}, _is_field)),
            ("keys", isinstance(body["keys"], list) and all(_matches(_HEX, each) for each in body["keys"])),
            ("places", _all(body["places"], {"place", "removed"}, _is_place)),
            ("purpose", _is_text(body["purpose"])),
            ("reason", body["reason"] in REASONS),
            ("subject", _matches(_COMMITMENT, body["subject"])),
        )
        if not sound
    ]
    if wrong:
        raise EvidenceBroken(f"The body is not that of an erasure: {', '.join(wrong)}.")


def _holder(value: Any) -> tuple[Opening, ...]:
    if not isinstance(value, list) or not value or not _all(value, {"commitment", "salt", "value"}, _is_opening):
        raise EvidenceBroken("The holder's part is not a list of openings: commitment, salt, value.")
    found = tuple(Opening(each["commitment"], bytes.fromhex(each["salt"]), each["value"]) for each in value)
    if len({each.commitment for each in found}) < len(found):
        raise EvidenceBroken("The holder's part opens a commitment twice.")
    return found


def _is_opening(value: Mapping[str, Any]) -> bool:
    salt = value["salt"]
    return (
        _matches(_COMMITMENT, value["commitment"])
        and _matches(_HEX, salt)
        and len(salt) == 2 * SALT_SIZE
        and isinstance(value["value"], str)
    )


def _is_field(value: Mapping[str, Any]) -> bool:
    return _is_text(value["field"]) and _matches(_COMMITMENT, value["commitment"])


def _is_place(value: Mapping[str, Any]) -> bool:
    return _is_text(value["place"]) and type(value["removed"]) is int and value["removed"] >= 0


def _all(values: Any, names: set[str], sound: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(each, dict) and set(each) == names and sound(each) for each in values
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_moment(value: Any) -> bool:
    """Whether ``value`` has the form of a moment, and there is one: 30 February is none."""
    if not _matches(_MOMENT, value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return str(value)[11:13] != "24"  # newer Pythons take 24:00 for the next midnight


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
