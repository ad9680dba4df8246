"""Rotation: a new master key over all slots, and a new key for the blind index, while the vault is in use.

The slots are written anew under a new master key, and the old one is destroyed: copies of the old file become noise.
Look-ups are made again, a part at a time, under a new index key; until the last one is, people are found under both.

The rule of this module: killed anywhere, a rotation is as before or will be finished; nobody waits for it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from duecare.errors import Erased, KeyLost
from duecare.evidence.outbox import record
from duecare.store.database import alone
from duecare.vault.acts import mark_done
from duecare.vault.index import look_up
from duecare.vault.keys import purpose_key
from duecare.vault.models import KeyState, VaultIndexKey, VaultKey, VaultLookup, VaultValue, VaultWrap, in_state
from duecare.vault.openings import unseal
from duecare.vault.slots import Slot, SlotState

if TYPE_CHECKING:
    from duecare.vault.records import Vault

_PART = 2000  # look-ups made again in one transaction


@dataclass(frozen=True)
class Rotated:
    """The generations of the master key and of the index key (0: there is no index) from now on."""

    master: int
    index: int
    lookups: int


@dataclass(frozen=True)
class Inventory:
    """The generations in use; how many keys of people are live, erased, and ``missing`` from ``keys/``; how many slots
    are ``unused``, because what they were made for never committed."""

    master: int
    index: int
    live: int
    erased: int
    missing: int
    unused: int


def inventory(vault: Vault) -> Inventory:
    """Count the keys in the database and in the slots, and compare the two."""
    with vault.database.session() as session:
        rows = session.execute(select(VaultKey.id, VaultKey.state)).all()
        indexes = {row.id: row.generation for row in _live(session)}
    there = {key for key, state in vault.slots.states() if state is SlotState.LIVE}
    live = {row.id for row in rows if row.state == KeyState.LIVE}
    return Inventory(
        master=vault.slots.generation,
        index=max(indexes.values(), default=0),
        live=len(live),
        erased=sum(row.state == KeyState.ERASED for row in rows),
        missing=len((live | set(indexes)) - there),
        unused=len(there - live - set(indexes)),
    )


def rotate(vault: Vault) -> Rotated:
    """Rotate all keys that are not somebody's. Call it outside of any transaction; the vault stays in use."""
    master, at = vault.slots.rotate(), vault.clock.now()
    with vault.database.session() as session:
        alone(session, "vault:index")
        has_index = session.scalar(select(VaultIndexKey.generation).limit(1)) is not None
        index = vault.index.make(session, at)[0] if has_index else 0
        record(session, "keys:rotate", "keys:vault", {"master": master, "index": index}, at)
    return Rotated(master, index, finish(vault))


def finish(vault: Vault) -> int:
    """Make the look-ups again that stand under an older index key, and destroy that key; returns how many were made.

    So too where the only index key was destroyed since this copy of the database was made. Raises ``KeyLost``.
    """
    with vault.database.session() as session:
        live = _live(session)
        if live and _is_erased(vault, live[-1]):
            alone(session, "vault:index")
            vault.index.make(session, vault.clock.now())
            live = _live(session)
    count = 0
    if len(live) > 1:
        # What somebody else is at work on is left to the end, and then waited for one by one: who waits for many while
        # holding many may wait for ever.
        while made := _again(vault, _PART) or _again(vault, 1, wait=True):
            count += made
        with vault.database.session() as session:
            older = (VaultIndexKey.generation < live[-1].generation) & (in_state(VaultIndexKey, KeyState.LIVE))
            session.execute(update(VaultIndexKey).where(older).values(state=KeyState.ERASING.value))
    _destroy(vault)
    return count


def _again(vault: Vault, limit: int, *, wait: bool = False) -> int:
    """Make ``limit`` look-ups again under the newest key, at most; how many there were."""
    with vault.database.session() as session:
        generation, key = vault.index.newest(session, vault.clock.now())
        rows = session.execute(
            select(
                VaultLookup.value_id,
                VaultWrap.key_id,
                VaultKey.slot,
                VaultKey.subject,
                VaultKey.purpose,
                VaultWrap.wrapped,
                VaultValue.field,
                VaultValue.form,
                VaultValue.blob,
                VaultValue.ciphertext,
            )
            .join(VaultValue, VaultValue.id == VaultLookup.value_id)
            .join(VaultWrap, VaultWrap.value_id == VaultLookup.value_id)
            .join(VaultKey, VaultKey.id == VaultWrap.key_id)
            .where(VaultLookup.generation < generation)
            .limit(limit)
            .with_for_update(of=VaultLookup, skip_locked=not wait)
        ).all()
        made = {}
        for row in rows:
            with suppress(Erased):  # one of several purposes has ended since: its key is gone, and another opens it
                slot_key = vault.slots.key(Slot(row.slot, row.key_id))
                value = unseal(vault, row, row.subject, purpose_key(slot_key, row.key_id, row.subject, row.purpose))
                made[row.value_id] = look_up(key, row.field, str(value))
        if made:
            session.connection().execute(
                _RENEW, [{"of": value, "found_by": digest, "under": generation} for value, digest in made.items()]
            )
    return len({row.value_id for row in rows})


def _live(session: Session) -> list[VaultIndexKey]:
    asked = select(VaultIndexKey).where(in_state(VaultIndexKey, KeyState.LIVE))
    return list(session.scalars(asked.order_by(VaultIndexKey.generation)))


def _is_erased(vault: Vault, row: VaultIndexKey) -> bool:
    try:
        vault.slots.key(Slot(row.slot, row.id))
    except Erased:
        return True
    except KeyLost:
        return False  # with an older copy of keys/: finding people says so
    return False


def _destroy(vault: Vault) -> None:
    """Destroy the index keys under which no look-up stands any more."""
    with vault.database.session() as session:
        rows = session.scalars(select(VaultIndexKey).where(in_state(VaultIndexKey, KeyState.ERASING))).all()
    if not rows:
        return
    vault.slots.erase([Slot(row.slot, row.id) for row in rows])
    with vault.database.session() as session:
        gone = VaultIndexKey.generation.in_([row.generation for row in rows])
        session.execute(update(VaultIndexKey).where(gone).values(state=KeyState.ERASED.value))
        total = mark_done(session)
    vault.slots.count_erasures(total)


_RENEW = (
    update(VaultLookup.__table__)  # type: ignore[arg-type]
    .where(VaultLookup.value_id == bindparam("of"))
    .values(digest=bindparam("found_by"), generation=bindparam("under"))
)
