"""Signed notes and checkpoints (C2SP signed-note and tlog-checkpoint, Ed25519).

A checkpoint says: the log *origin* has *size* entries and this Merkle root. It is a note, so that anyone may add a
signature to it: the log signs first, witnesses cosign later.

The rule of this module: what is signed is parsed strictly. Text that is not exactly what we would write again is
refused.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.merkle import HASH_SIZE
from duecare.store import durable

ED25519 = b"\x01"
"""Kind of a key that signs the text of a note plainly (C2SP signed-note, signature types)."""

COSIGNATURE = b"\x04"
"""Kind of a key that signs a checkpoint and the time (C2SP tlog-cosignature, Ed25519)."""

_KINDS = {ED25519: "a log", COSIGNATURE: "a witness"}

MAX_NOTE = 1 << 20
"""Bytes; a longer note is refused unread."""

_MARK = "\u2014 "
_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True)
class VerifierKey:
    """The public half of a note key: ``name+key id+base64(kind and 32 bytes)``, one line of text.

    This one is of a log, which signs plainly; a witness's key is a ``WitnessKey``.
    """

    kind: ClassVar[bytes] = ED25519
    what: ClassVar[str] = "Ed25519 verifier key"

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart: SHA-256 over name, newline, kind and key (C2SP signed-note)."""
        return sha256(self.name.encode() + b"\n" + self.kind + self.public).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``text``, surrounding white space aside. Raises ``BadInput`` where it is not exactly such a key.

        The error never shows ``text``: it may be of a private key, or of any other file that was named by mistake.
        """
        hint = f"A verifier key is one line, such as {cls._example()}"
        if text.strip().startswith(_PRIVATE):
            raise BadInput("This is a private key, where the public half of one is asked for.", hint=hint)
        name, _, rest = text.strip().partition("+")
        try:
            key_id, _, encoded = rest.partition("+")
            blob = decode64(encoded)
        except ValueError:
            raise BadInput("This is not a verifier key: its base64 does not parse.", hint=hint) from None
        if is_name(name) and len(blob) == 33 and blob[:1] in _KINDS and blob[:1] != cls.kind:
            raise BadInput(f"This is the key of {_KINDS[blob[:1]]}, not of {_KINDS[cls.kind]}.", hint=hint)
        if not is_name(name) or len(blob) != 33 or blob[:1] != cls.kind:
            raise BadInput(f"This is not an {cls.what}.", hint=hint)
        key = cls(name, blob[1:])
        if key_id != key.key_id.hex():
            raise BadInput("This verifier key carries another id than its name and bytes give.", hint=hint)
        return key

    @classmethod
    def _example(cls) -> str:
        return "duecare/0f3a+1c2d3e4f+AXk…, as in keys/log.pub of the home that signs."

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether ``signature`` over ``text`` was made with this key (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self.kind + self.public).decode()}"


@dataclass(frozen=True)
class PrivateKey:
    """What the private keys of logs and of witnesses have in common: 32 bytes of seed under a name.

    Its text is ``PRIVATE+KEY+name+key id+base64(kind and seed)``.
    """

    public_half: ClassVar[type[VerifierKey]] = VerifierKey

    name: str
    seed: bytes

    @classmethod
    def make(cls, name: str) -> Self:
        """A new random key called ``name``."""
        if not is_name(name):
            raise BadInput(f"{name!r} cannot name a key.", hint="Use text without spaces and without '+'.")
        return cls(name, secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a private key. Raises ``BadInput``, which never shows the key."""
        parts = text.strip().split("+", 4)
        kind = cls.public_half.kind
        try:
            private, word, name, key_id, encoded = parts
            blob = decode64(encoded)
        except ValueError:
            raise BadInput("This is not the text of a private note key.", hint=f"It begins with {_PRIVATE}.") from None
        key = cls(name, blob[1:])
        if (private, word) != ("PRIVATE", "KEY") or not is_name(name) or len(blob) != 33 or blob[:1] != kind:
            raise BadInput(
                f"This is not the text of an Ed25519 private key of {_KINDS[kind]}.",
                hint=f"It begins with {_PRIVATE}.",
            )
        if key_id != key.verifier.key_id.hex():
            raise BadInput(f"The private key of {name} carries another id than its bytes give.")
        return key

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return self.public_half(self.name, public)

    def text(self) -> str:
        """The private key as one line, for a file that only its owner may read."""
        encoded = b64encode(self.public_half.kind + self.seed).decode()
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{encoded}"

    def _signature(self, message: bytes, before: bytes = b"") -> Signature:
        """The signature line over ``message``, with ``before`` in front of the 64 bytes."""
        made = Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
        return Signature(self.name, self.verifier.key_id, before + made)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


@dataclass(frozen=True, repr=False)
class SigningKey(PrivateKey):
    """The private key of a log, which signs the text of a note as it is."""

    def sign(self, text: str) -> Signature:
        """The signature line over ``text`` (which ends in a newline)."""
        return self._signature(text.encode())


@dataclass(frozen=True)
class Signature:
    """One signature line of a note. Lines of unknown keys and kinds are kept as they are."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> str:
        """The line, with its newline."""
        return f"{_MARK}{self.name} {b64encode(self.key_id + self.blob).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text (ending in a newline) and one or more signatures over it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a signed note. Raises ``EvidenceBroken`` saying where it departs from the form."""
        if len(data) > MAX_NOTE:
            raise EvidenceBroken(f"The note is {len(data)} bytes long; at most {MAX_NOTE} are read.")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise EvidenceBroken(f"The note is not UTF-8 (byte {error.start}).") from None
        if any(character < " " and character != "\n" for character in whole):
            raise EvidenceBroken("The note contains a control character.")
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise EvidenceBroken("The note has no signature lines after a blank line, or is cut short.")
        note = cls(text + "\n", tuple(parse_signature(line) for line in lines[:-1].split("\n")))
        if note.data() != data:
            raise EvidenceBroken("The note is not in its canonical form.")
        return note

    def data(self) -> bytes:
        """The note as bytes."""
        return (self.text + "\n" + "".join(signature.line() for signature in self.signatures)).encode()

    def signed_by(self, key: VerifierKey) -> bool:
        """Whether ``key`` signed this text. Lines of other keys are passed over; of several lines with the name and id
        of ``key``, each must hold."""
        ours = self.signatures_of(key)
        return bool(ours) and all(key.verifies(self.text.encode(), each.blob) for each in ours)

    def signatures_of(self, key: VerifierKey) -> list[Signature]:
        """The lines that carry the name and id of ``key``, verified or not."""
        return [each for each in self.signatures if (each.name, each.key_id) == (key.name, key.key_id)]

    def with_signature(self, signature: Signature) -> Note:
        """This note with one more signature, as a witness adds it."""
        return replace(self, signatures=(*self.signatures, signature))


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: ``origin``, ``size`` in entries, ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint note. Raises ``EvidenceBroken`` where it is not canonical."""
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not text.endswith("\n") or not all(lines):
            raise EvidenceBroken("The checkpoint has not the three lines origin, size and root.")
        origin, size, root, *extensions = lines
        if not size.isascii() or not size.isdecimal() or len(size) > 19 or str(int(size)) != size:
            raise EvidenceBroken(f"The checkpoint's size {size!r} is not a plain decimal number.")
        try:
            hashed = decode64(root)
        except ValueError:
            hashed = b""
        if len(hashed) != HASH_SIZE:
            raise EvidenceBroken(f"The checkpoint's root {root!r} is not 32 bytes in base64.")
        return cls(origin, int(size), hashed, tuple(extensions))

    def text(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    def sign(self, key: SigningKey) -> Note:
        """This checkpoint as a note signed by the log."""
        text = self.text()
        return Note(text, (key.sign(text),))


@lru_cache(maxsize=64)
def open_checkpoint(data: bytes, key: VerifierKey) -> Checkpoint:
    """The checkpoint in the signed note ``data``, once ``key`` is found to have signed it under its own origin.

    The same bytes under the same key are looked at once: one act of the vault asks for its log's newest a dozen times.
    Raises ``EvidenceBroken`` where the form, the origin or the signature does not hold.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise EvidenceBroken(
            f"The checkpoint is of the log {checkpoint.origin}, the key of {key.name}.",
            hint="Give the key of that log with --key.",
        )
    if not note.signed_by(key):
        raise EvidenceBroken(
            f"The checkpoint of {checkpoint.origin} at {checkpoint.size} is not signed by the key {key.key_id.hex()}.",
            hint="It was changed after it was signed, or signed by somebody else.",
        )
    return checkpoint


Private = TypeVar("Private", bound=PrivateKey)
Public = TypeVar("Public", bound=VerifierKey)


def keep_key(folder: Path) -> SigningKey:
    """The log's key in ``folder``: ``log.key`` (mode 0600) and ``log.pub``; made on first use.

    Its name, which is the origin of the log, is ``duecare/`` and 16 random hex digits: no two homes share it. Raises
    ``EvidenceBroken`` where the two files do not belong together.
    """
    return keep_pair(folder, "log", SigningKey, lambda: f"duecare/{secrets.token_hex(8)}")


def keep_pair(folder: Path, stem: str, kind: type[Private], name: Callable[[], str]) -> Private:
    """The key in the files ``stem.key`` (mode 0600) and ``stem.pub`` of ``folder``; made on first use as ``name()``.

    Raises ``EvidenceBroken`` where the two files do not belong together.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private, public = folder / f"{stem}.key", folder / f"{stem}.pub"
    if not private.exists():
        durable.keep(private, f"{kind.make(name()).text()}\n".encode())
    key = kind.parse(private.read_text(encoding="utf-8"))
    if not public.exists():
        durable.keep(public, f"{key.verifier}\n".encode(), mode=0o644)
    if kind.public_half.parse(public.read_text(encoding="utf-8")) != key.verifier:
        raise EvidenceBroken(f"{public} is not the public half of {private}.", hint="Put the right pair back.")
    return key


def read_key(path: Path) -> VerifierKey:
    """The log's verifier key in the file ``path``. Raises ``BadInput`` where there is none."""
    return read_public(
        path,
        VerifierKey,
        "Give the log's public key with --key FILE; the log's keeper has it at keys/log.pub in its home.",
    )


def read_public(path: Path, kind: type[Public], hint: str) -> Public:
    """The public key of ``kind`` in the file ``path``. Raises ``BadInput`` with ``hint`` where it cannot be read, and
    never shows what is in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"The public key {path} cannot be read: {error.strerror}.", hint=hint) from None
    except UnicodeDecodeError:
        raise BadInput(f"The public key {path} cannot be read: it is not text.", hint=hint) from None
    try:
        return kind.parse(text)
    except BadInput as error:
        raise BadInput(f"{path} holds no public key that serves here. {error.message}", hint=error.hint) from None


def given_key(text: str, hint: str) -> VerifierKey:
    """The public key that ``text`` is, or that is in the file which it names. Raises ``BadInput``, with ``hint`` where
    there is no such file."""
    try:
        named = "+" not in text or Path(text).exists()
    except OSError:  # too long to name one
        named = False
    return read_public(Path(text), VerifierKey, hint) if named else VerifierKey.parse(text)


def parse_signature(line: str) -> Signature:
    """Read a signature line without its newline. Raises ``EvidenceBroken``."""
    marked, name, encoded = [*line.split(" "), "", ""][:3]
    try:
        blob = decode64(encoded)
    except ValueError:
        blob = b""
    if marked + " " != _MARK or line.count(" ") != 2 or not is_name(name) or len(blob) < 5:
        raise EvidenceBroken(f"{line[:60]!r} is not a signature line of a note.")
    return Signature(name, blob[:4], blob[4:])


def is_name(name: str) -> bool:
    """Whether ``name`` can name a key: text without spaces, '+' and control characters (C2SP signed-note)."""
    return bool(name) and "+" not in name and not any(character.isspace() or character < " " for character in name)


def decode64(text: str) -> bytes:
    """Standard base64, canonical or ``ValueError``: two texts never mean the same bytes."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
    if b64encode(data).decode() != text:
        raise ValueError("not canonical")
    return data
