"""A gate written from docs/reference/gate-protocol.md alone, as an outsider would write it.

The rule of this module: it uses nothing of duecare.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PARK = timezone(timedelta(hours=8))


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def verifier_key(name: str, public: bytes) -> str:
    blob = b"\x01" + public
    named = hashlib.sha256(name.encode() + b"\n" + blob).hexdigest()[:8]
    return f"{name}+{named}+{base64_of(blob)}"


def digest_of(card: str) -> str:
    return hashlib.sha256(bytes.fromhex(card)).hexdigest()


def code_of(card: str, number: str) -> str:
    taken = number.upper().replace(" ", "").replace("-", "")
    return hmac.new(bytes.fromhex(card), b"duecare entry code 1\n" + taken.encode(), "sha256").hexdigest()


class NoAnswer(Exception):
    """Nothing that the centre signed."""


class IndependentGate:
    """Its name and seed, and the centre's address and verifier key."""

    def __init__(self, name: str, seed: bytes, centre: str, key: str) -> None:
        self.name, self.centre = name, centre
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = verifier_key(name, self.private.public_key().public_bytes_raw())
        self.issuer, _, blob = key.split("+", 2)
        self.public = Ed25519PublicKey.from_public_bytes(base64.b64decode(blob)[1:])
        self.head: dict[str, str] = {}
        self.lines: dict[str, list[str]] = {}
        self.journal: list[dict[str, Any]] = []

    def ask(self, method: str, path: str, body: bytes, key: str, created: int) -> tuple[int, bytes]:
        digested = f"sha-256=:{base64_of(hashlib.sha256(body).digest())}:"
        params = f'("@method" "@path" "content-digest" "idempotency-key");created={created};keyid="{self.name}"'
        params += ';alg="ed25519"'
        text = f'"@method": {method}\n"@path": {path}\n"content-digest": {digested}\n"idempotency-key": {key}\n'
        text += f'"@signature-params": {params}'
        headers = {
            "Content-Digest": digested,
            "Idempotency-Key": key,
            "Signature-Input": f"gate={params}",
            "Signature": f"gate=:{base64_of(self.private.sign(text.encode()))}:",
        }
        try:
            answer = httpx.request(method, self.centre + path, content=body, headers=headers, timeout=60)
        except httpx.HTTPError as error:
            raise NoAnswer from error
        self._check(answer, key)
        if answer.status_code >= 500:
            raise NoAnswer
        return answer.status_code, answer.content

    def _check(self, answer: httpx.Response, key: str) -> None:
        digested = f"sha-256=:{base64_of(hashlib.sha256(answer.content).digest())}:"
        label, _, params = answer.headers.get("signature-input", "").partition("=")
        text = f'"@status": {answer.status_code}\n"content-digest": {digested}\n"idempotency-key";req: {key}\n'
        text += f'"@signature-params": {params}'
        signature = answer.headers.get("signature", "")
        begins = params.startswith('("@status" "content-digest" "idempotency-key";req);')
        try:
            if label != "centre" or not begins or answer.headers.get("content-digest") != digested:
                raise NoAnswer
            self.public.verify(base64.b64decode(signature[len("centre=:") : -1]), text.encode())
        except (InvalidSignature, ValueError) as error:
            raise NoAnswer from error

    def enter(self, card: str, *, now: datetime, number: str = "", template: bytes = b"") -> tuple[bool, list[str]]:
        """Whether the gate opens, and the ids of the reasons."""
        said = {"card": digest_of(card), "at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        if number:
            said |= {"method": "card_id_card", "code": code_of(card, number)}
        elif template:
            kind = {1: "card_fingerprint", 2: "card_face"}[template[4]]
            said |= {"method": kind, "template": base64_of(template)}
        else:
            said |= {"method": "ticket"}
        key = secrets.token_hex(16)
        try:
            status, body = self.ask("POST", "/v1/gate/entries", json.dumps(said).encode(), key, int(now.timestamp()))
        except NoAnswer:
            opens, reason = self._alone(said, now)
            record = {"key": key, "open": opens, "reason": reason, "list": self.head.get("sha256", "")}
            self.journal.append({**record, **{name: said[name] for name in ("card", "method", "at")}})
            return opens, [reason]
        if status != 200:
            return False, ["gate.refused"]
        answer = json.loads(body)
        return answer["open"], [each["id"] for each in answer["reasons"]]

    def _alone(self, said: dict[str, str], now: datetime) -> tuple[bool, str]:
        moment = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if not self.head or not self.head["issued"] <= moment < self.head["expires"]:
            return False, "gate.no_list"
        line = self.lines.get(said["card"])
        if line is None:
            return False, "gate.unknown_card"
        if "template" in said:
            return False, "gate.no_biometrics_offline"
        today = f"{now.astimezone(PARK):%Y-%m-%d}"
        if today < line[1]:
            return False, "gate.not_yet_valid"
        if today > line[2]:
            return False, "gate.expired"
        if line[3] == "ticket":
            return (True, "gate.on_the_list") if said["method"] == "ticket" else (False, "gate.no_match")
        if said["method"] == "ticket":
            return False, "gate.show_id_card"
        same = hmac.compare_digest(line[4], said["code"])
        return (True, "gate.on_the_list") if same else (False, "gate.no_match")

    def fetch(self, now: datetime) -> None:
        """Take the list."""
        created = int(now.timestamp())
        _, note = self.ask("GET", "/v1/gate/list", b"", secrets.token_hex(16), created)
        text, signature = note.decode().split("\n\n")
        _, name, blob = signature.rstrip("\n").split(" ")
        assert name == self.issuer
        self.public.verify(base64.b64decode(blob)[4:], f"{text}\n".encode())
        title, issuer, issued, expires, cards, digest = text.split("\n")
        assert (title, issuer) == ("duecare gate list 1", self.issuer)
        head = {line.split(" ")[0]: line.split(" ")[1] for line in (issued, expires, cards, digest)}
        _, body = self.ask("GET", f"/v1/gate/list/{head['sha256']}", b"", secrets.token_hex(16), created)
        assert hashlib.sha256(body).hexdigest() == head["sha256"]
        lines = [line.split(" ") for line in body.decode().splitlines()]
        assert len(lines) == int(head["cards"])
        self.head, self.lines = head, {line[0]: line for line in lines}

    def hand_over(self, now: datetime) -> list[str]:
        """Hand the journal over; the keys of the conflicts."""
        body = json.dumps({"records": self.journal[:500]}).encode()
        _, answer = self.ask("POST", "/v1/gate/records", body, secrets.token_hex(16), int(now.timestamp()))
        said = json.loads(answer)
        self.journal = [each for each in self.journal if each["key"] not in said["taken"]]
        return list(said["conflicts"])
