"""Signed requests and answers: the RFC's own vector, and that nothing of a signed message can be changed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import EvidenceBroken
from duecare.evidence.checkpoint import SigningKey
from duecare.systems.passes import signatures

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "http_signature.json").read_text(encoding="utf-8"))
KEY, OTHER = SigningKey("east", bytes(range(32))), SigningKey("west", bytes(32))
NOW, NAME, BODY = 1_572_051_600, "0123456789abcdef", b'{"card":"00"}'
FORM = 'gate=("@method" "@path" "content-digest" "idempotency-key");created=1572051600;keyid="east";alg="ed25519"'


def test_the_vector_of_the_rfc() -> None:
    """The signature base of RFC 9421 appendix B.2.6 gives the signature that stands there."""
    key = SigningKey("test-key-ed25519", b64decode(VECTOR["seed"]))
    assert key.verifier.public == b64decode(VECTOR["public"])
    signed = signatures.base([(name, value) for name, value in VECTOR["components"]], VECTOR["params"])
    assert b64encode(key.sign(signed).blob).decode() == VECTOR["signature"]
    assert signatures.content_digest(VECTOR["body"].encode()) == VECTOR["content_digest"]


def request(**changed: object) -> dict[str, str]:
    given = {"method": "POST", "path": "/v1/gate/entries", "body": BODY, "idempotency_key": NAME, "created": NOW}
    return signatures.sign_request(KEY, "east", **{**given, **changed})  # type: ignore[arg-type]


def verify(headers: dict[str, str], key: SigningKey = KEY, method: str = "POST", path: str = "/v1/gate/entries",
           body: bytes = BODY, now: float = NOW) -> None:  # fmt: skip
    signatures.verify_request(key.verifier, method, path, body, headers, now)


def test_the_documented_form() -> None:
    """The headers of a signed request are those that the protocol's page describes."""
    headers = request()
    assert headers["signature-input"] == FORM
    assert signatures.claimed(headers) == signatures.Signed("east", NOW)
    verify(headers)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"key": OTHER}, "signature of east does not hold"),
        ({"method": "GET"}, "does not hold"),
        ({"path": "/v1/gate/list"}, "does not hold"),
        ({"body": b"{}"}, "Content-Digest"),
        ({"now": NOW + 121}, "-121 seconds from now"),
        ({"now": NOW - 121}, r"\+121 seconds from now"),
    ],
)
def test_what_was_not_signed_is_refused(wrong: dict[str, object], why: str) -> None:
    """Another key, method, path, body or hour is refused with the reason."""
    with pytest.raises(EvidenceBroken, match=why):
        verify(request(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-120, 120])
def test_clocks_may_differ_a_little(seconds: int) -> None:
    """A clock that is two minutes off is within the tolerance."""
    verify(request(), now=NOW + seconds)


@pytest.mark.parametrize(
    ("header", "value", "why"),
    [
        ("idempotency-key", "fedcba9876543210", "does not hold"),
        ("idempotency-key", "short", "no Idempotency-Key"),
        ("content-digest", "", "Content-Digest"),
        ("signature", "", "does not hold"),
        ("signature", "gate=:AAAA:", "does not hold"),
        ("signature-input", "", "not signed"),
        ("signature-input", FORM.replace(' "content-digest" "idempotency-key"', ""), "not over what"),
        ("signature-input", FORM.replace('"@method" "@path"', '"@path" "@method"'), "not over what"),
        ("signature-input", FORM.replace("east", "west"), "signature of west does not hold"),
        ("signature-input", FORM.replace("1572051600", "1572051601"), "does not hold"),
        ("signature-input", FORM.replace("gate=", "centre="), "not signed"),
    ],
)
def test_wrong_headers_are_refused(header: str, value: str, why: str) -> None:
    """A header that is missing, or another than the one that was signed, is refused with the reason."""
    with pytest.raises(EvidenceBroken, match=why):
        verify({**request(), header: value})


@given(st.binary(max_size=200), st.integers(100, 599), st.from_regex(r"[A-Za-z0-9_-]{16,64}", fullmatch=True))
def test_an_answer_serves_one_request(body: bytes, status: int, name: str) -> None:
    """An answer verifies for its own request, status and body, and for no other."""
    headers = signatures.sign_answer(KEY, "centre", status, body, name, NOW)
    signatures.verify_answer(KEY.verifier, status, body, headers, name)
    for wrong in ((status + 1, body, name), (status, body + b" ", name), (status, body, name[:-1] + "~")):
        with pytest.raises(EvidenceBroken):
            signatures.verify_answer(KEY.verifier, wrong[0], wrong[1], headers, wrong[2])


def test_a_request_is_no_answer() -> None:
    """What a gate signed cannot be played back to it as the centre's word."""
    headers = request()
    with pytest.raises(EvidenceBroken):
        signatures.verify_answer(KEY.verifier, 200, BODY, headers, NAME)
