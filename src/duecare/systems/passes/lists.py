"""The list that a gate holds for the time when the centre cannot be reached: signed, and expiring.

Two files. The *body* has a line for each card: the SHA-256 of its number, first and last day, the way in that was
agreed, and the entry code. The *head* is a signed note (C2SP signed-note, Ed25519) that names the body by its SHA-256,
and says until when it may be used. docs/reference/gate-protocol.md states both exactly enough to build a gate from.

The rule of this module: no name, no ID-card number and no template stands in a list; without the card in hand a line
says nothing of anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256

from duecare.clock import utc
from duecare.errors import EvidenceBroken
from duecare.evidence.checkpoint import Note, SigningKey, VerifierKey

TITLE = "duecare gate list 1"
MAX_BODY = 1 << 28
"""Bytes; a longer body is refused unread."""

_HEX = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64}) (\d{4}-\d{2}-\d{2}) (\d{4}-\d{2}-\d{2}) ([a-z_]{1,40}) ([0-9a-f]{64}|-)", re.ASCII)
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Line:
    """One card: its digest, its days (both included), the agreed way in, the entry code (empty for a ticket)."""

    card: str
    first: date
    last: date
    method: str
    code: str

    def text(self) -> str:
        """The line, without its newline."""
        return f"{self.card} {self.first} {self.last} {self.method} {self.code or '-'}"


@dataclass(frozen=True)
class Head:
    """Which body holds, from when until when (aware, whole seconds), under which name it is signed."""

    issuer: str
    issued: datetime
    expires: datetime
    cards: int
    sha256: str

    def sign(self, key: SigningKey) -> bytes:
        """The head as a signed note."""
        text = (
            f"{TITLE}\n{self.issuer}\nissued {self.issued:{_MOMENT}}\nexpires {self.expires:{_MOMENT}}\n"
            f"cards {self.cards}\nsha256 {self.sha256}\n"
        )
        return Note(text, (key.sign(text),)).data()


def body_of(lines: Iterable[Line]) -> bytes:
    """The body: the lines in the order of their digests, each ending in a newline."""
    return "".join(f"{line}\n" for line in sorted(each.text() for each in lines)).encode()


def head_of(key: SigningKey, body: bytes, issued: datetime, expires: datetime) -> Head:
    """The head for ``body``, to be signed by ``key``."""
    cut = {"microsecond": 0}
    name = key.verifier.name
    return Head(name, utc(issued).replace(**cut), utc(expires).replace(**cut), body.count(b"\n"), _digest(body))  # type: ignore[arg-type]


def read_head(data: bytes, key: VerifierKey) -> Head:
    """The head in the note ``data``. Raises ``EvidenceBroken`` unless it is in its form and signed by ``key``."""
    note = Note.parse(data)
    lines = note.text.split("\n")
    try:
        title, issuer, issued, expires, cards, digest, end = lines
        head = Head(
            issuer,
            _moment(issued, "issued "),
            _moment(expires, "expires "),
            int(_rest(cards, "cards ")),
            _rest(digest, "sha256 "),
        )
    except ValueError as error:
        raise EvidenceBroken(f"This is not the head of a gate list: {error}.") from None
    if title != TITLE or end or not _HEX.fullmatch(head.sha256) or cards != f"cards {head.cards}":
        raise EvidenceBroken("This is not the head of a gate list of version 1.")
    if issuer != key.name or not note.signed_by(key):
        raise EvidenceBroken(
            f"The gate list is not signed by {key.name}.", hint="Take the centre's key from its keys/gates.pub."
        )
    return head


def read_body(data: bytes, head: Head) -> Mapping[str, Line]:
    """The lines of the body by card. Raises ``EvidenceBroken`` unless it is exactly the one that the head names."""
    if len(data) > MAX_BODY or _digest(data) != head.sha256:
        raise EvidenceBroken("The body of the gate list is not the one that its head names.", hint="Fetch it again.")
    lines = data.decode("ascii", "replace").split("\n")
    if lines.pop() or len(lines) != head.cards or sorted(lines) != lines:
        raise EvidenceBroken("The body of the gate list is cut short or out of order.")
    read = [_line(line) for line in lines]
    found = {line.card: line for line in read}
    if len(found) < len(read):
        raise EvidenceBroken("The body of the gate list names a card twice.")
    return found


def _line(text: str) -> Line:
    found = _LINE.fullmatch(text)
    if found is None:
        raise EvidenceBroken(f"The body of the gate list has a line of another form (it begins {text[:16]!r}).")
    card, first, last, method, code = found.groups()
    try:
        return Line(card, date.fromisoformat(first), date.fromisoformat(last), method, "" if code == "-" else code)
    except ValueError:
        raise EvidenceBroken(f"The body of the gate list has a day that does not exist ({first} or {last}).") from None


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def _rest(line: str, word: str) -> str:
    if not line.startswith(word):
        raise ValueError(f"a line should begin with {word.strip()!r}")
    return line.removeprefix(word)


def _moment(line: str, word: str) -> datetime:
    text = _rest(line, word)
    at = datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)
    if f"{at:{_MOMENT}}" != text:
        raise ValueError(f"{text!r} is not written as 2019-10-26T01:00:00Z")
    return at
