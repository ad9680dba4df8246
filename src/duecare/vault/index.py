"""The blind index: finding a person by an exact value (a phone, an ID number) without opening anybody's.

A look-up is HMAC-SHA-256 of the value under a key of its own, which stands in a slot like every other key. Who has the
database but not the key learns which values are equal, and nothing else; who has both can try values one by one. So a
rotation draws a new index key, and the digests in older copies of the database become noise.

The rule of this module: every look-up stands under a key that is live, the newest or the one before it.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.store.database import alone
from duecare.vault.models import KeyState, VaultIndexKey, in_state
from duecare.vault.slots import Slot, Slots


class Index:
    """The index keys of a vault; ``newest`` makes the first one when it is first needed."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def newest(self, session: Session, at: datetime) -> tuple[int, bytes]:
        """The generation and key under which new look-ups are made."""
        known = self.live(session)
        if not known:
            alone(session, "vault:first-index")
            known = self.live(session) or [self.make(session, at)]
        return known[-1]

    def live(self, session: Session) -> list[tuple[int, bytes]]:
        """Every generation under which look-ups may stand, with its key, oldest first.

        One whose slot was erased is left out: this copy of the database is older, its look-ups are to be made again.
        """
        rows = session.connection().execute(_LIVE)
        known = [(row.generation, Slot(row.slot, row.id)) for row in rows]
        keys = self._slots.keys([slot for _, slot in known])
        return [(generation, key) for (generation, _), key in zip(known, keys, strict=True) if key is not None]

    def make(self, session: Session, at: datetime) -> tuple[int, bytes]:
        """A new index key, the newest from the caller's commit on."""
        newest = session.scalar(select(VaultIndexKey.generation).order_by(VaultIndexKey.generation.desc()).limit(1))
        slot = self._slots.make([secrets.token_hex(16)])[0]
        row = VaultIndexKey(
            generation=(newest or 0) + 1, id=slot.key, slot=slot.number, state=KeyState.LIVE.value, made_at=utc(at)
        )
        session.add(row)
        session.flush()
        return row.generation, self._slots.key(slot)


def look_up(key: bytes, field: str, value: str) -> bytes:
    """What ``value`` of ``field`` is found by: HMAC-SHA-256 under ``key`` over field, newline and plain value."""
    return hmac.digest(key, f"{field}\n{plain(value)}".encode(), "sha256")


def plain(value: str) -> str:
    """``value`` as it is compared: compatibility forms (NFKC) without spaces, hyphens and case.

    ``138 0013-8000`` and full-width ``１３８００１３８０００`` are one number; an ID number's ``x`` is its ``X``.
    """
    kept = (each for each in unicodedata.normalize("NFKC", value) if not each.isspace() and each not in "-\u2010\u2011")
    return "".join(kept).casefold()


_LIVE = (
    select(VaultIndexKey.generation, VaultIndexKey.slot, VaultIndexKey.id)
    .where(in_state(VaultIndexKey, KeyState.LIVE))
    .order_by(VaultIndexKey.generation)
)
