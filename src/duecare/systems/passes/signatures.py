"""Signed requests and answers: HTTP Message Signatures (RFC 9421) with Ed25519, in one narrow profile.

A request is signed over its method, path, body (through Content-Digest, RFC 9530) and Idempotency-Key; an answer over
its status, its body and the Idempotency-Key of the request it answers, so that no answer serves for another request.

The rule of this module: exactly these components in exactly this order, or the message is not signed.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from duecare.errors import EvidenceBroken
from duecare.evidence.checkpoint import SigningKey, VerifierKey, decode64

TOLERANCE = 120
"""Seconds by which the clocks of a gate and of the centre may differ."""

REQUEST = ('"@method"', '"@path"', '"content-digest"', '"idempotency-key"')
ANSWER = ('"@status"', '"content-digest"', '"idempotency-key";req')
IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")

_PARAMS = re.compile(r'\(([^()]*)\);created=(\d{1,12});keyid="([A-Za-z0-9._/-]{1,100})";alg="ed25519"')


@dataclass(frozen=True)
class Signed:
    """Who claims to have signed, and when: seconds since 1970. Not verified yet."""

    key_id: str
    created: int


def content_digest(body: bytes) -> str:
    """The Content-Digest of ``body``."""
    return f"sha-256=:{b64encode(sha256(body).digest()).decode()}:"


def base(components: Sequence[tuple[str, str]], params: str) -> str:
    """What is signed (RFC 9421 section 2.5): a line for each component, and one for the parameters."""
    lines = [f"{name}: {value}" for name, value in components]
    return "\n".join([*lines, f'"@signature-params": {params}'])


def sign_request(
    key: SigningKey, key_id: str, method: str, path: str, body: bytes, idempotency_key: str, created: int
) -> dict[str, str]:
    """The headers that sign a request."""
    digested = content_digest(body)
    values = (method, path, digested, idempotency_key)
    headers = _sign(key, key_id, "gate", REQUEST, values, created)
    return {**headers, "content-digest": digested, "idempotency-key": idempotency_key}


def claimed(headers: Mapping[str, str]) -> Signed:
    """By whom a request says that it is signed. Raises ``EvidenceBroken`` where it does not say so in our form."""
    return _params(headers, "gate", REQUEST)[0]


def verify_request(
    key: VerifierKey, method: str, path: str, body: bytes, headers: Mapping[str, str], now: float
) -> None:
    """Raises ``EvidenceBroken`` unless ``key`` signed this request, within the tolerance of ``now`` (seconds)."""
    idempotency_key = headers.get("idempotency-key", "")
    if not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise EvidenceBroken(
            "The request has no Idempotency-Key that can be used.", hint="Send 16 to 64 letters, digits, - or _."
        )
    values = (method, path, _digested(headers, body), idempotency_key)
    said = _verify(key, "gate", REQUEST, values, headers)
    if abs(said.created - now) > TOLERANCE:
        raise EvidenceBroken(
            f"The signature was made {said.created - now:+.0f} seconds from now; {TOLERANCE} are allowed.",
            hint="Set the clock of the machine right.",
        )


def sign_answer(
    key: SigningKey, key_id: str, status: int, body: bytes, idempotency_key: str, created: int
) -> dict[str, str]:
    """The headers that sign an answer to the request with ``idempotency_key``."""
    digested = content_digest(body)
    headers = _sign(key, key_id, "centre", ANSWER, (str(status), digested, idempotency_key), created)
    return {**headers, "content-digest": digested}


def verify_answer(key: VerifierKey, status: int, body: bytes, headers: Mapping[str, str], idempotency_key: str) -> None:
    """Raises ``EvidenceBroken`` unless ``key`` signed this answer to the request with ``idempotency_key``.

    The key of the request was drawn for it alone, so that the answer is as fresh as the request: its time is not
    compared, and a gate whose clock is wrong can be told so.
    """
    values = (str(status), _digested(headers, body), idempotency_key)
    _verify(key, "centre", ANSWER, values, headers)


def _sign(
    key: SigningKey, key_id: str, label: str, names: Sequence[str], values: Sequence[str], created: int
) -> dict[str, str]:
    params = f'({" ".join(names)});created={created};keyid="{key_id}";alg="ed25519"'
    signature = key.sign(base(list(zip(names, values, strict=True)), params)).blob
    return {
        "signature-input": f"{label}={params}",
        "signature": f"{label}=:{b64encode(signature).decode()}:",
    }


def _verify(
    key: VerifierKey,
    label: str,
    names: Sequence[str],
    values: Sequence[str],
    headers: Mapping[str, str],
) -> Signed:
    said, params = _params(headers, label, names)
    encoded = headers.get("signature", "")
    try:
        signature = decode64(encoded.removeprefix(f"{label}=:").removesuffix(":"))
    except ValueError:
        signature = b""
    whole = encoded == f"{label}=:{b64encode(signature).decode()}:"
    if not whole or not key.verifies(base(list(zip(names, values, strict=True)), params).encode(), signature):
        raise EvidenceBroken(
            f"The signature of {said.key_id} does not hold.",
            hint="It was made with another key, or the message was changed on its way.",
        )
    return said


def _params(headers: Mapping[str, str], label: str, names: Sequence[str]) -> tuple[Signed, str]:
    lead, _, params = headers.get("signature-input", "").partition("=")
    found = _PARAMS.fullmatch(params)
    if lead != label or found is None or found[1] != " ".join(names):
        raise EvidenceBroken(
            "The message is not signed, or not over what it must be.",
            hint=f'Signature-Input is {label}=({" ".join(names)});created=…;keyid="…";alg="ed25519".',
        )
    return Signed(found[3], int(found[2])), params


def _digested(headers: Mapping[str, str], body: bytes) -> str:
    digested = content_digest(body)
    if headers.get("content-digest", "") != digested:
        raise EvidenceBroken(
            "The Content-Digest is not that of the body.", hint="Send sha-256=:…: over the body as it goes out."
        )
    return digested
