"""Rows of the vault: keys and where they are, sealed values, who opened what, and what was erased.

The rule of this module: a key and a value go forward only, from held to erased, and their rows stay (the database
refuses the rest by trigger). What was erased is known as such, never taken for something that was not there.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from duecare.store.database import Base, Moment

_ID = BigInteger().with_variant(Integer(), "sqlite")


class KeyState(StrEnum):
    """``live`` → ``erasing`` (opens nothing any more; its slot may still be there) → ``erased``."""

    LIVE = "live"
    ERASING = "erasing"
    ERASED = "erased"


class ValueState(StrEnum):
    """``held``; or ``superseded`` by a newer value, or ``erased``: then the ciphertext is gone."""

    HELD = "held"
    SUPERSEDED = "superseded"
    ERASED = "erased"


class ErasureState(StrEnum):
    """``begun`` (nothing opens any more) → ``complete`` (keys and places are gone) → ``certified``."""

    BEGUN = "begun"
    COMPLETE = "complete"
    CERTIFIED = "certified"


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class VaultKey(Base):
    """The key of one subject for one purpose, given with one grant. ``slot``: where ``keys/vault.slots`` has it.

    ``act`` (32 hex digits) names the erasure that it went with; one act may erase the keys of many subjects.
    """

    __tablename__ = "vault_keys"
    __table_args__ = (
        _partial("uq_vault_keys_live", "subject", "purpose", where="state = 'live'", unique=True),
        _partial("ix_vault_keys_purpose", "purpose", "subject", where="state = 'live'"),
        _partial("ix_vault_keys_erasing", "id", where="state = 'erasing'"),
        Index("ix_vault_keys_subject", "subject", "purpose"),
        _partial("ix_vault_keys_act", "act", where="act IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(32))
    purpose: Mapped[str] = mapped_column(String(60))
    grant_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    slot: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(10))
    made_at: Mapped[datetime] = mapped_column(Moment)
    act: Mapped[str | None] = mapped_column(String(32))
    erased_at: Mapped[datetime | None] = mapped_column(Moment)


class VaultValue(Base):
    """A sealed value. The ciphertext stands here, or in the blob file of the value's id where ``blob`` says so.

    ``digest``: SHA-256 of the ciphertext in hex. ``salt`` (64 hex digits) makes the commitment of a certificate.
    """

    __tablename__ = "vault_values"
    __table_args__ = (
        Index("ix_vault_values_subject", "subject", "field"),
        _partial("ix_vault_values_act", "act", where="act IS NOT NULL"),
        _partial("ix_vault_values_left", "id", where="blob AND state <> 'held'"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(32))
    field: Mapped[str] = mapped_column(String(60))
    form: Mapped[str] = mapped_column(String(5))
    ciphertext: Mapped[bytes | None] = mapped_column(LargeBinary)
    blob: Mapped[bool]
    digest: Mapped[str] = mapped_column(String(64))
    salt: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(10))
    sealed_at: Mapped[datetime] = mapped_column(Moment)
    act: Mapped[str | None] = mapped_column(String(32))
    gone_at: Mapped[datetime | None] = mapped_column(Moment)


class VaultWrap(Base):
    """The data key of a value, wrapped under the key of a subject and purpose (40 bytes). Gone with the purpose."""

    __tablename__ = "vault_wraps"
    __table_args__ = (Index("ix_vault_wraps_value", "value_id"), {"sqlite_with_rowid": False})

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    field: Mapped[str] = mapped_column(String(60), primary_key=True)
    value_id: Mapped[str] = mapped_column(String(32))
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)


class VaultIndexKey(Base):
    """A key of the blind index. After a rotation there are two, until the last look-up stands under the newer one."""

    __tablename__ = "vault_index_keys"

    generation: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(32))
    slot: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(10))
    made_at: Mapped[datetime] = mapped_column(Moment)


class VaultLookup(Base):
    """What a value is found by: HMAC-SHA-256 of it under an index key."""

    __tablename__ = "vault_lookups"
    __table_args__ = (
        Index("ix_vault_lookups_digest", "field", "digest"),
        Index("ix_vault_lookups_generation", "generation"),
    )

    value_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    field: Mapped[str] = mapped_column(String(60))
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    generation: Mapped[int] = mapped_column(Integer)


class VaultOpening(Base):
    """Personal data was opened: by whom, for which purpose, when and why. ``entry``: its entry of evidence.

    ``kind``: ``open`` one field of one person, ``bulk``, ``find``, ``export``. ``fields``: names, with commas between.
    ``subject``: of whom, where it was one; else ``opening_subjects`` has them.
    """

    __tablename__ = "openings"
    __table_args__ = (_partial("ix_openings_subject", "subject", where="subject IS NOT NULL"),)

    entry: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    purpose: Mapped[str] = mapped_column(String(60))
    fields: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(200))
    why: Mapped[str] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(String(32))
    subjects: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime] = mapped_column(Moment)


class OpeningSubject(Base):
    """Whose data an opening of many was of."""

    __tablename__ = "opening_subjects"
    __table_args__ = ({"sqlite_with_rowid": False},)

    subject: Mapped[str] = mapped_column(String(32), primary_key=True)
    entry: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=False)


class VaultErasure(Base):
    """What of one subject was erased for one purpose, and why. ``id`` is that of its certificate.

    ``act``: what was erased at once. ``places``: JSON, place → how many were found there. ``last``: nothing else was
    held of the subject. ``entry``: the entry ``erasure:complete``. ``certificate``: the file, once it was cosigned.
    """

    __tablename__ = "erasures"
    __table_args__ = (
        Index("ix_erasures_subject", "subject"),
        Index("ix_erasures_act", "act", "subject"),
        _partial("ix_erasures_open", "state", where="state <> 'certified'"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    act: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(32))
    purpose: Mapped[str] = mapped_column(String(60))
    reason: Mapped[str] = mapped_column(String(20))
    article: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    places: Mapped[str] = mapped_column(Text)
    last: Mapped[bool]
    state: Mapped[str] = mapped_column(String(10))
    begun_at: Mapped[datetime] = mapped_column(Moment)
    erased_at: Mapped[datetime | None] = mapped_column(Moment)
    entry: Mapped[int | None] = mapped_column(BigInteger)
    certificate: Mapped[str | None] = mapped_column(Text)


class RetentionEvent(Base):
    """Something from which retention runs, such as the expiry of a pass. ``on`` none: it is called off.

    Of the events of one name and ``ref`` (which pass), the one recorded last counts.
    """

    __tablename__ = "retention_events"
    __table_args__ = (
        Index("ix_retention_events_subject", "subject", "name", "ref"),
        Index("ix_retention_events_on", "name", "on"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(60))
    ref: Mapped[str] = mapped_column(String(100))
    on: Mapped[date | None] = mapped_column(Date)
    recorded_at: Mapped[datetime] = mapped_column(Moment)


class LegalHold(Base):
    """A law or an order that stops erasure: of one subject or purpose, or of all where the column is none."""

    __tablename__ = "legal_holds"
    __table_args__ = (
        _partial("ix_legal_holds_standing", "subject", "purpose", where="lifted_at IS NULL"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    subject: Mapped[str | None] = mapped_column(String(32))
    purpose: Mapped[str | None] = mapped_column(String(60))
    article: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    placed_by: Mapped[str] = mapped_column(String(200))
    placed_at: Mapped[datetime] = mapped_column(Moment)
    lifted_by: Mapped[str | None] = mapped_column(String(200))
    lift_reason: Mapped[str | None] = mapped_column(Text)
    lifted_at: Mapped[datetime | None] = mapped_column(Moment)


class VaultMark(Base):
    """How far this copy of the database is: one row, with ``id`` 1.

    ``erasures``: how many acts of erasure it has completed; ``keys/vault.slots`` counts the same, so that an older copy
    of either is noticed. ``adopted``: the last entry ``evidence:adopt`` whose erasures were done again.
    """

    __tablename__ = "vault_marks"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    erasures: Mapped[int] = mapped_column(BigInteger)
    adopted: Mapped[int] = mapped_column(BigInteger)


def in_state(table: Any, state: StrEnum) -> ColumnElement[bool]:
    """SQL: the row is in ``state``. Written out and not bound: an index over some rows is taken for that alone."""
    found: ColumnElement[bool] = table.state == literal_column(f"'{state.value}'")
    return found


NOT_CERTIFIED: ColumnElement[bool] = VaultErasure.state != literal_column("'certified'")
"""SQL: something of the erasure is left to do."""

BLOB_LEFT = text("blob AND state <> 'held'")
"""SQL: the file of a value that is gone is still there. In the words of its index."""
