"""A write that is sent twice is done once: idempotency keys (IETF httpapi, draft-ietf-httpapi-idempotency-key-header).

Who writes may draw a key for it (16 to 64 letters, digits, hyphens and underscores, best drawn at random) and send the
write under the same key until it has an answer. The answer is remembered in the transaction of what it answers, for
``KEPT``; a failure is not, so that what failed may be tried again.

No number of a card is kept: under a key, cards are numbered by the key, which we forget, and by the centre's own; so
the first answer is given again, numbers and all, to whoever has the key. Nor is a subject kept: answers name rows of
holders.

The rule of this module: one key stands for one write of one person; with another write it is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import delete
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.errors import BadInput
from duecare.store.database import alone
from duecare.systems.passes.cards import NUMBER_SIZE, draw
from duecare.systems.passes.gates import centre_key
from duecare.systems.passes.models import OnceAnswer
from duecare.systems.passes.park import Park
from duecare.systems.passes.signatures import IDEMPOTENCY_KEY

KEPT = timedelta(days=7)
"""How long an answer is remembered."""

_DOMAIN = "duecare once 1\n"

T = TypeVar("T")


class AnotherWrite(BadInput):
    """The key of one write was used for another."""


@dataclass(frozen=True)
class Write:
    """A write as it was asked for: by whom, under which key (empty: none), and what (JSON values). ``salt``: drawn when
    it is done, so that a key that is used again after its time gives other numbers."""

    by: str
    key: str = field(repr=False)
    what: Mapping[str, Any] = field(repr=False)
    secret: bytes = field(repr=False)
    salt: str = ""

    @classmethod
    def of(cls, park: Park, by: str, key: str, what: Mapping[str, Any]) -> Write:
        """Raises ``BadInput`` where the key is not in its form; it is not repeated."""
        if not key:
            return cls(by, "", what, b"")
        if not IDEMPOTENCY_KEY.fullmatch(key):
            raise BadInput(
                f"The idempotency key has {len(key)} characters, or one that it may not have.",
                hint="Draw 16 to 64 letters, digits, hyphens and underscores for each write, such as a UUID.",
            )
        # Ed25519 signs the same in the same way: only who has both keys can make the secret again.
        return cls(by, key, what, sha256(centre_key(park).sign(f"{_DOMAIN}{by}\n{key}").blob).digest())

    @property
    def name(self) -> str:
        """What the row of the answer is known by (hex)."""
        return hmac.new(self.secret, b"name", sha256).hexdigest()

    @property
    def request(self) -> str:
        """What tells writes apart (hex); nobody without the keys can try what was in it."""
        said = json.dumps(dict(self.what), sort_keys=True, ensure_ascii=False)
        return hmac.new(self.secret, b"request\n" + said.encode(), sha256).hexdigest()

    def card(self, number: int = 0) -> str:
        """The number of the ``number``-th card that is issued."""
        if not self.key:
            return draw()
        return hmac.new(self.secret, f"card {number} {self.salt}".encode(), sha256).digest()[:NUMBER_SIZE].hex()


def once(
    park: Park,
    write: Write,
    do: Callable[[Session, Write], tuple[T, Mapping[str, Any]]],
    again: Callable[[Session, Write, Mapping[str, Any]], T],
) -> T:
    """Do a write in one transaction with the memory of its answer; or give the answer that was given before.

    ``do`` gives the result, and what of it is remembered (JSON values); ``again`` makes the result of that. Both number
    cards by the write that they are handed. Two that come at once are done one after the other. Raises
    ``AnotherWrite``, and what ``do`` raises.
    """
    result = _once(park, write, do, again)
    park.log()
    return result


def _once(
    park: Park,
    write: Write,
    do: Callable[[Session, Write], tuple[T, Mapping[str, Any]]],
    again: Callable[[Session, Write, Mapping[str, Any]], T],
) -> T:
    with park.home.database.session() as session:
        if not write.key:
            return do(session, write)[0]
        alone(session, f"once:{write.name}")
        row = session.get(OnceAnswer, write.name)
        if row is None:
            write = replace(write, salt=secrets.token_hex(16))
            result, kept = do(session, write)
            answer = {**kept, "salt": write.salt}
            session.add(OnceAnswer(name=write.name, request=write.request, answer=answer, at=utc(park.now())))
            return result
        if row.request != write.request:
            raise AnotherWrite(
                "This idempotency key was used for another write.", hint="Draw a new key for each write."
            )
        return again(session, replace(write, salt=row.answer["salt"]), row.answer)


def once_settled(
    park: Park,
    write: Write,
    act: Callable[[], T],
    keep: Callable[[T], Mapping[str, Any]],
    again: Callable[[Mapping[str, Any]], T],
) -> T:
    """As ``once``, for an act of several transactions that may be done again without harm: an erasure.

    Its answer is remembered after it. Killed before that, the act is done again, and finds nothing left to do.
    """

    def not_yet(session: Session, write: Write) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        raise _NotYet

    try:
        before = once(park, write, not_yet, lambda session, write, kept: kept)
    except _NotYet:
        result = act()
        once(park, write, lambda session, write: (None, keep(result)), lambda session, write, kept: None)
        return result
    return again(before)


class _NotYet(Exception):
    """It has no answer yet."""


def forget(session: Session, at: datetime) -> None:
    """Forget the answers that were given long ago."""
    session.execute(delete(OnceAnswer).where(OnceAnswer.at < utc(at) - KEPT))
