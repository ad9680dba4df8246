"""A reader of a vault written from docs/reference/vault.md alone, as whoever takes a home over would write it.

    python independent_reader.py HOME SUBJECT FIELD PURPOSE

It opens what is sealed with the keys in HOME/keys and the embedded database, and asks nobody: who has both has the
data. It is here to show that the page says all that is needed, and that without the key nothing is left to open.

The rule of this module: it uses nothing of duecare.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
import struct
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

LIVE, ERASED = 1, 2


class Unreadable(Exception):
    """It cannot be opened, and why."""


class Gone(Unreadable):
    """Its key was erased."""


class Sealed(NamedTuple):
    """What the database says of a value, and of the key that wraps it for the purpose."""

    key: str
    slot: int
    wrapped: bytes
    value: str
    form: str
    ciphertext: bytes | None
    blob: bool


def read(home: Path, subject: str, field: str, purpose: str) -> bytes:
    """The value of ``field`` of ``subject``, as it was sealed for ``purpose``."""
    sealed = look_up(home, subject, field, purpose)
    key = bound(slot_key(home, sealed.slot, sealed.key), sealed.key, subject, purpose)
    data_key = unwrap(key, sealed.wrapped, "the data key")
    ciphertext = blob(home, sealed.value) if sealed.blob else sealed.ciphertext
    if ciphertext is None:
        raise Unreadable("there is no ciphertext")
    known = canonical(field=field, form=sealed.form, format="duecare-field/1", subject=subject, value=sealed.value)
    try:
        return AESGCM(data_key).decrypt(ciphertext[:12], ciphertext[12:], known)
    except InvalidTag:
        raise Unreadable("the ciphertext is not the one that was sealed here") from None


def look_up(home: Path, subject: str, field: str, purpose: str) -> Sealed:
    """The rows of the database that the reading begins with."""
    with sqlite3.connect(home / "duecare.db") as database:
        key = database.execute(
            "SELECT id, slot FROM vault_keys WHERE subject = ? AND purpose = ? AND state = 'live'", (subject, purpose)
        ).fetchone()
        if key is None:
            raise Unreadable("no key of this subject and purpose is live")
        wrap = database.execute(
            "SELECT wrapped, value_id FROM vault_wraps WHERE key_id = ? AND field = ?", (key[0], field)
        ).fetchone()
        if wrap is None:
            raise Unreadable("the key wraps no such field")
        value = database.execute(
            "SELECT id, form, ciphertext, blob FROM vault_values WHERE id = ?", (wrap[1],)
        ).fetchone()
    return Sealed(key[0], key[1], wrap[0], value[0], value[1], value[2], bool(value[3]))


def slot_key(home: Path, number: int, key: str) -> bytes:
    """The key in a record of the slots file, whose id must be ``key``."""
    data = (home / "keys" / "vault.slots").read_bytes()
    magic, generation, length = struct.unpack_from(">16sQI", data)
    (checksum,) = struct.unpack_from(">I", data, 488)
    if magic != b"duecare slots 1\n" or checksum != zlib.crc32(data[:488]):
        raise Unreadable("vault.slots is damaged")
    file_key = unwrap(master_key(home, generation), data[28 : 28 + length], "the file key")
    record = data[512 + 64 * number :][:64]
    if len(record) < 64 or struct.unpack_from(">I", record, 60)[0] != zlib.crc32(record[:60]):
        raise Unreadable("the record of the key is missing or damaged")
    if record[4:20].hex() != key:
        raise Unreadable("the record is of another key")
    if record[0] == ERASED:
        raise Gone("the key was erased")
    if record[0] != LIVE:
        raise Unreadable("the record has no state that is known")
    return unwrap(file_key, record[20:60], "the key in the slot")


def master_key(home: Path, generation: int) -> bytes:
    """The master key of a generation."""
    line = (home / "keys" / f"vault.master.{generation}").read_text(encoding="ascii")
    form, number, digits = line.removesuffix("\n").split(" ")
    if form != "duecare-master/1" or number != str(generation) or len(digits) != 64:
        raise Unreadable("the master key is not in its form")
    return bytes.fromhex(digits)


def bound(slot_key: bytes, key: str, subject: str, purpose: str) -> bytes:
    """The key that wraps data keys: bound to whose it is, and what for."""
    return hmac.digest(
        slot_key, canonical(format="duecare-wrap/1", key=key, purpose=purpose, subject=subject), "sha256"
    )


def blob(home: Path, value: str) -> bytes | None:
    """The ciphertext that is a file of its own."""
    path = home / "blobs" / value[:2] / f"{value}.sealed"
    return path.read_bytes() if path.exists() else None


def unwrap(key: bytes, wrapped: bytes, what: str) -> bytes:
    """RFC 3394."""
    try:
        return aes_key_unwrap(key, wrapped)
    except InvalidUnwrap:
        raise Unreadable(f"{what} does not unwrap") from None


def canonical(**members: str) -> bytes:
    """RFC 8785, for names and hex digits."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def main() -> int:
    """The value, or why there is none; exit code 1 then."""
    home, subject, field, purpose = sys.argv[1:]
    try:
        sys.stdout.buffer.write(read(Path(home), subject, field, purpose))
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
