"""Commitments: what the log holds in the place of a personal value, such as the address an alert went to.

The log is public and keeps everything; a value is neither shown in it nor guessed from it, and once the salt is
destroyed nobody, we included, can tell from the commitment what it was made to (PIPL art. 47).

The rule of this module: a salt is random, used for one value, and never enters the log.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

SALT_SIZE = 32
"""Bytes of a salt."""

_DOMAIN = b"duecare commitment 1\n"


@dataclass(frozen=True)
class Commitment:
    """``text`` goes into the log; ``salt`` (32 bytes) stays in the database beside the value it hides."""

    text: str
    salt: bytes


def commit(value: str, salt: bytes | None = None) -> Commitment:
    """Commit to ``value``; a salt is drawn where none is given (one is given only to make the same commitment again).

    The text is ``sha256:`` and 64 hex digits of SHA-256 over ``duecare commitment 1``, newline, salt, UTF-8 value.
    """
    salt = secrets.token_bytes(SALT_SIZE) if salt is None else salt
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
    return Commitment(f"sha256:{sha256(_DOMAIN + salt + value.encode()).hexdigest()}", salt)


def opens(text: str, salt: bytes, value: str) -> bool:
    """Whether the commitment ``text`` was made to ``value`` with ``salt``."""
    return len(salt) == SALT_SIZE and compare_digest(commit(value, salt).text.encode(), text.encode())
