"""A verifier of erasure certificates written from docs/reference/certificate.md alone, as an outsider would write it.

    python independent_verifier.py certificate.json log.pub witness.pub

The rule of this module: it uses nothing of duecare.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, WITNESS = b"\x01", b"\x04"
LONGEST = 1_048_576
COMMITMENT = re.compile("sha256:[0-9a-f]{64}")
HEX = re.compile("(?:[0-9a-f][0-9a-f])+")
TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z")


class Refused(Exception):
    """Something is not as the page says."""


class Key(NamedTuple):
    name: str
    id: bytes
    public: bytes


class Line(NamedTuple):
    name: str
    id: bytes
    signature: bytes


class Checkpoint(NamedTuple):
    text: str
    origin: str
    size: int
    root: bytes
    lines: list[Line]


def need(condition: bool) -> None:
    if not condition:
        raise Refused


def unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused from None
    need(base64.b64encode(data).decode() == text)
    return data


def is_name(name: str) -> bool:
    return name != "" and "+" not in name and not any(each.isspace() for each in name)


def read_key(line: str, kind: bytes) -> Key:
    name, key_id, encoded = line.strip().split("+", 2)
    data = unbase64(encoded)
    need(is_name(name) and len(data) == 33 and data[:1] == kind)
    expected = sha256(name.encode() + b"\n" + data).digest()[:4]
    need(key_id == expected.hex())
    return Key(name, expected, data[1:])


def canonical(value: Any) -> str:
    if isinstance(value, dict):
        need(all(name.isascii() for name in value))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    need(type(value) is int and 0 <= value < 2**53)
    return str(value)


def read_json(data: bytes) -> Any:
    try:
        value = json.loads(data.decode("utf-8"))
        need(canonical(value).encode("utf-8") == data)
    except (ValueError, RecursionError):
        raise Refused from None
    return value


def is_object(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and set(value) == set(names)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def is_moment(value: Any) -> bool:
    if not matches(TIME, value):
        return False
    year, month, day, hour, minute, second = (int(each) for each in re.findall("[0-9]+", value)[:6])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    exists = year >= 1 and 1 <= month <= 12 and 1 <= day <= days[month - 1]
    return exists and hour <= 23 and minute <= 59 and second <= 59


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def read_file(data: bytes) -> tuple[dict[str, Any], dict[str, Any], list[bytes]]:
    """The document, the entry and the inclusion proof."""
    need(len(data) <= LONGEST and data.endswith(b"\n"))
    document = read_json(data[:-1])
    need(isinstance(document, dict) and document.get("format") == "duecare-certificate/1")
    holder = document.get("holder", ...)
    need(is_object({**document, "holder": 0}, "checkpoint", "format", "holder", "inclusion", "index", "leaf"))
    need(isinstance(document["checkpoint"], str) and isinstance(document["leaf"], str))
    need(type(document["index"]) is int and is_list(document["inclusion"]))
    need(all(isinstance(each, str) for each in document["inclusion"]))
    proof = [unbase64(each) for each in document["inclusion"]]
    need(all(len(each) == 32 for each in proof))
    if holder is not ...:
        need(is_list(holder) and holder != [])
        for each in holder:
            need(is_object(each, "commitment", "salt", "value") and matches(COMMITMENT, each["commitment"]))
            need(matches(HEX, each["salt"]) and len(each["salt"]) == 64 and isinstance(each["value"], str))
        need(len({each["commitment"] for each in holder}) == len(holder))
    entry = read_json(document["leaf"].encode())
    need(is_object(entry, "at", "body", "id", "kind", "subject") and is_moment(entry["at"]))
    need(type(entry["id"]) is int and entry["id"] >= 1)
    need(entry["kind"] == "erasure:complete" and is_text(entry["subject"]))
    read_body(entry["body"])
    return document, entry, proof


def read_body(body: Any) -> None:
    need(is_object(body, "article", "certificate", "erased_at", "fields", "keys", "places", "purpose", "reason",
                   "subject"))  # fmt: skip
    need(is_text(body["article"]) and matches(HEX, body["certificate"]) and is_moment(body["erased_at"]))
    need(is_text(body["purpose"]) and matches(COMMITMENT, body["subject"]))
    need(body["reason"] in ["withdrawal", "purpose_ended", "schedule", "request"])
    need(is_list(body["fields"]) and is_list(body["keys"]) and is_list(body["places"]))
    for each in body["fields"]:
        need(is_object(each, "field", "commitment") and is_text(each["field"]))
        need(matches(COMMITMENT, each["commitment"]))
    need(all(matches(HEX, each) for each in body["keys"]))
    for each in body["places"]:
        need(is_object(each, "place", "removed") and is_text(each["place"]) and type(each["removed"]) is int)


def read_checkpoint(note: str) -> Checkpoint:
    need(len(note.encode()) <= LONGEST and not any(ord(each) < 0x20 and each != "\n" for each in note))
    head, found, tail = note.rpartition("\n\n")
    need(found != "" and tail.endswith("\n"))
    lines = []
    for line in tail[:-1].split("\n"):
        parts = line.split(" ")
        need(len(parts) == 3 and parts[0] == "\u2014" and is_name(parts[1]))
        data = unbase64(parts[2])
        need(len(data) > 4)
        lines.append(Line(parts[1], data[:4], data[4:]))
    texts = head.split("\n")
    need(len(texts) >= 3 and all(texts))
    need(re.fullmatch("0|[1-9][0-9]{0,18}", texts[1]) is not None)
    root = unbase64(texts[2])
    need(len(root) == 32)
    return Checkpoint(head + "\n", texts[0], int(texts[1]), root, lines)


def is_signed(checkpoint: Checkpoint, key: Key, kind: bytes) -> bool:
    """Whether there is a line of ``key``, and each verifies."""
    lines = [line for line in checkpoint.lines if (line.name, line.id) == (key.name, key.id)]
    for line in lines:
        message, signature = checkpoint.text.encode(), line.signature
        if kind == WITNESS:
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            if time >= 2**63:
                return False
            message = b"cosignature/v1\ntime " + str(time).encode() + b"\n" + message
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        except InvalidSignature:
            return False
    return lines != []


def is_included(entry: bytes, index: int, proof: list[bytes], checkpoint: Checkpoint) -> bool:
    if index >= checkpoint.size:
        return False
    fn, sn, r = index, checkpoint.size - 1, sha256(b"\x00" + entry).digest()
    for p in proof:
        if sn == 0:
            return False
        if fn % 2 == 1 or fn == sn:
            r = sha256(b"\x01" + p + r).digest()
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn // 2, sn // 2
        else:
            r = sha256(b"\x01" + r + p).digest()
        fn, sn = fn // 2, sn // 2
    return sn == 0 and r == checkpoint.root


def is_opened(opening: dict[str, str], body: dict[str, Any]) -> bool:
    known = [body["subject"]] + [field["commitment"] for field in body["fields"]]
    hashed = sha256(b"duecare commitment 1\n" + bytes.fromhex(opening["salt"]) + opening["value"].encode())
    return opening["commitment"] in known and opening["commitment"] == "sha256:" + hashed.hexdigest()


def verify(data: bytes, log: Key, witnesses: list[Key]) -> dict[str, bool]:
    """Each check of the page, and whether it holds."""
    try:
        document, entry, proof = read_file(data)
    except Refused:
        return {"form": False}
    found = {"form": True}
    try:
        checkpoint = read_checkpoint(document["checkpoint"])
    except Refused:
        found |= {"signature": False, "cosignature": False, "inclusion": False}
    else:
        found["signature"] = checkpoint.origin == log.name and is_signed(checkpoint, log, LOG)
        found["cosignature"] = bool(witnesses) and all(is_signed(checkpoint, each, WITNESS) for each in witnesses)
        found["inclusion"] = found["signature"] and is_included(
            document["leaf"].encode(), document["index"], proof, checkpoint
        )
    if "holder" in document:
        found["openings"] = all(is_opened(each, entry["body"]) for each in document["holder"])
    return found


def main() -> int:
    file, log, *witnesses = sys.argv[1:]
    answers = verify(
        Path(file).read_bytes(),
        read_key(Path(log).read_text(), LOG),
        [read_key(Path(each).read_text(), WITNESS) for each in witnesses],
    )
    for name, holds in answers.items():
        print(name, "holds" if holds else "FAILS")
    return 0 if all(answers.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
