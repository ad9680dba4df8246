"""Sealing: one value, encrypted with a key of its own, bound to what it is and whose.

AES-256-GCM with a fresh random key and nonce for each value. The associated data name the value, the subject, the field
and its form, so that a ciphertext moved to another row opens nothing. The data key never stands anywhere unwrapped.

The rule of this module: a data key encrypts one value, once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from duecare.errors import BadInput, EvidenceBroken
from duecare.vault.keys import KEY_SIZE

FORMAT = "duecare-field/1"

BLOB_FROM = 16 * 1024
"""Bytes of a plaintext above which its ciphertext is a file, not a column. Values of the form ``bytes`` always are."""

_NONCE = 12
_FORMS = ("text", "bytes")


class Context(NamedTuple):
    """What a value is bound to: its id (32 hex digits), its subject, its field, and the form ``text`` or ``bytes``."""

    value: str
    subject: str
    field: str
    form: str

    def data(self) -> bytes:
        """The associated data: canonical JSON (RFC 8785) of the context and the format.

        The parts are hex digits and names, which need no escaping, so that it is put together here.
        """
        return (
            f'{{"field":"{self.field}","form":"{self.form}","format":"{FORMAT}",'
            f'"subject":"{self.subject}","value":"{self.value}"}}'
        ).encode()


@dataclass(frozen=True)
class Sealed:
    """A ciphertext (nonce, encrypted bytes, tag) and its SHA-256 in hex; ``data_key`` is wrapped and then forgotten."""

    ciphertext: bytes
    digest: str
    data_key: bytes

    def __repr__(self) -> str:
        return f"Sealed(digest={self.digest!r})"


def seal(context: Context, value: str | bytes) -> Sealed:
    """Encrypt ``value`` (text for the form ``text``). Raises ``BadInput`` where it is not of its form."""
    plain = encoded(context.field, context.form, value)
    data_key, nonce = secrets.token_bytes(KEY_SIZE), secrets.token_bytes(_NONCE)
    ciphertext = nonce + AESGCM(data_key).encrypt(nonce, plain, context.data())
    return Sealed(ciphertext, sha256(ciphertext).hexdigest(), data_key)


def unseal(context: Context, ciphertext: bytes, data_key: bytes) -> str | bytes:
    """The value again. Raises ``EvidenceBroken`` where the ciphertext was changed or belongs to another context."""
    try:
        plain = AESGCM(data_key).decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], context.data())
    except (InvalidTag, ValueError):
        raise EvidenceBroken(
            f"The sealed {context.field} {context.value} does not open: it was changed, or moved to another row.",
            hint="Restore the database and blobs/ from a copy in which it was not.",
        ) from None
    return plain.decode() if context.form == "text" else plain


def described(context: Context, digest: str) -> str:
    """What a certificate commits to in the place of a value: canonical JSON of field, SHA-256, subject and id."""
    return f'{{"field":"{context.field}","sha256":"{digest}","subject":"{context.subject}","value":"{context.value}"}}'


def encoded(field: str, form: str, value: str | bytes) -> bytes:
    """The bytes of ``value`` in its form. Raises ``BadInput``, which never shows the value."""
    if form not in _FORMS:
        raise BadInput(f"The field {field} has the form {form!r}.", hint="A form is text or bytes.")
    if not isinstance(value, str if form == "text" else bytes):
        given = type(value).__name__
        raise BadInput(f"The field {field} holds {form}; a value of the type {given} was given.", hint=f"Give {form}.")
    try:
        return value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise BadInput(
            f"The value of {field} is not text that UTF-8 can write.", hint="Give whole characters."
        ) from None
