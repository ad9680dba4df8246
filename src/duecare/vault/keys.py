"""The keys of the vault: master keys, which wrap the file of the slots, and the keys that wrap data keys.

They live in ``keys/`` of the home, apart from the data: no backup holds them, and copies of the data are noise without.
docs/reference/vault.md states the files in words exact enough to read them in another language.

The rule of this module: a wrap opens for the subject and purpose that it was made for, and for nothing else.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from duecare.errors import BadInput, KeyLost
from duecare.store import durable

KEY_SIZE = 32
"""Bytes of every key here: AES-256."""


class MasterKeys(Protocol):
    """Where the master key is kept: a file by default, a key service behind the same five calls.

    It wraps one key for each slots file, so that a service is asked once when the vault opens, and not for each value.
    """

    def wrap(self, key: bytes) -> tuple[int, bytes]:
        """``key`` (32 bytes) under the newest master key: its generation, and at most 460 bytes."""
        ...

    def unwrap(self, generation: int, wrapped: bytes) -> bytes:
        """What ``wrap`` was given. Raises ``KeyLost`` where that generation is not there any more."""
        ...

    def generations(self) -> list[int]:
        """The generations that are there, oldest first."""
        ...

    def rotate(self) -> int:
        """Make a new master key, the newest from now on; its generation."""
        ...

    def retire(self, generation: int) -> None:
        """Destroy that master key. Destroyed already, nothing happens."""
        ...


class FileMasterKeys:
    """Master keys in files of mode 0600 in ``folder``: ``vault.master.<generation>``, one line each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def wrap(self, key: bytes) -> tuple[int, bytes]:
        known = self.generations()
        generation = known[-1] if known else self.rotate()
        return generation, aes_key_wrap(self._read(generation), key)

    def unwrap(self, generation: int, wrapped: bytes) -> bytes:
        try:
            return aes_key_unwrap(self._read(generation), wrapped)
        except InvalidUnwrap:
            raise KeyLost(
                f"The master key {self._path(generation)} is not the one that wrapped {self.folder / 'vault.slots'}.",
                hint="The two files come from different copies. Put back a pair that belongs together.",
            ) from None

    def generations(self) -> list[int]:
        names = (path.name.removeprefix("vault.master.") for path in self.folder.glob("vault.master.*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def rotate(self) -> int:
        generation = max(self.generations(), default=0) + 1
        text = f"duecare-master/1 {generation} {secrets.token_hex(KEY_SIZE)}\n"
        durable.keep(self._path(generation), text.encode())
        return generation

    def retire(self, generation: int) -> None:
        durable.shred(self._path(generation))

    def _path(self, generation: int) -> Path:
        return self.folder / f"vault.master.{generation}"

    def _read(self, generation: int) -> bytes:
        path = self._path(generation)
        refuse_wide(path)
        try:
            text = path.read_text(encoding="ascii")
        except FileNotFoundError:
            raise KeyLost(
                f"The master key {path} is not there.", hint="Put keys/ back from the copy that you keep apart."
            ) from None
        except UnicodeDecodeError:
            text = ""
        form, _, rest = text.partition(" ")
        number, _, digits = rest.removesuffix("\n").partition(" ")
        if form != "duecare-master/1" or number != str(generation) or len(digits) != 2 * KEY_SIZE:
            raise KeyLost(f"{path} is not a master key.", hint="Put keys/ back from the copy that you keep apart.")
        return bytes.fromhex(digits)


def purpose_key(slot_key: bytes, key: str, subject: str, purpose: str) -> bytes:
    """The key that wraps data keys: that of the slot, bound to whom and what it is for.

    HMAC-SHA-256 under the slot's key over the canonical JSON of ``format``, ``key``, ``purpose`` and ``subject``. A row
    of the database that is made to name another subject or purpose opens nothing.
    """
    bound = f'{{"format":"duecare-wrap/1","key":"{key}","purpose":"{purpose}","subject":"{subject}"}}'
    return hmac.digest(slot_key, bound.encode(), "sha256")


def wrap_data_key(key: bytes, data_key: bytes) -> bytes:
    """``data_key`` (32 bytes) wrapped under ``key``: 40 bytes (RFC 3394)."""
    return aes_key_wrap(key, data_key)


def unwrap_data_key(key: bytes, wrapped: bytes) -> bytes:
    """What ``wrap_data_key`` was given. Raises ``KeyLost`` where it was wrapped for another key or purpose."""
    try:
        return aes_key_unwrap(key, wrapped)
    except InvalidUnwrap:
        raise KeyLost(
            "The wrapped key of the value does not open: it was wrapped for another subject or purpose, or changed.",
            hint="Restore the database from a copy in which it was not changed.",
        ) from None


def refuse_wide(path: Path) -> None:
    """Raise ``BadInput`` where others than its owner may read or write ``path``."""
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        return
    if mode & 0o077:
        raise BadInput(
            f"{path} has the mode {mode:04o}: others than its owner may use the keys of the vault.",
            hint=f"chmod 600 {path}; if others could read it, run duecare keys rotate afterwards.",
        )
