"""Rows of the pass system: what is offered and sold, who holds it, cards, visits, gates, messages, refunds.

Money is kept in fen (hundredths of a yuan). Days are dates in the park.

The rule of this module: no row holds a name, a number of a document, a telephone number, a photo or a template. A
holder is a subject; what is known of the person is sealed in the vault.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Date, Dialect, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from duecare.store.database import Base, Moment

_ID = BigInteger().with_variant(Integer(), "sqlite")


class Yuan(TypeDecorator[Decimal]):
    """An amount in yuan with two places, kept as whole fen."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        fen = value * 100
        if fen != int(fen):
            raise ValueError(f"{value} yuan is not a whole number of fen")
        return int(fen)

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-2)


class MessageState(StrEnum):
    """``due`` → ``sending`` (it may have been sent) → ``sent`` or ``given_up``."""

    DUE = "due"
    SENDING = "sending"
    SENT = "sent"
    GIVEN_UP = "given_up"


class ConflictKind(StrEnum):
    """What a gate decided alone that the centre would have decided otherwise."""

    UNKNOWN_CARD = "unknown_card"
    CARD_LOST = "card_lost"
    NOT_VALID = "not_valid"
    DECIDED_TWICE = "decided_twice"
    USED_TWICE = "used_twice"


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Offer(Base):
    """A way in on sale with a product, from ``offered_at`` until ``ended_at``, on terms that never change."""

    __tablename__ = "pass_offers"
    __table_args__ = (_partial("uq_pass_offers_standing", "product", "method", where="ended_at IS NULL", unique=True),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    product: Mapped[str] = mapped_column(String(60))
    method: Mapped[str] = mapped_column(String(40))
    price: Mapped[Decimal] = mapped_column(Yuan)
    days: Mapped[int]
    offered_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class Pass(Base):
    """Something sold: a ticket or a pass, by a random name of 32 hex digits."""

    __tablename__ = "passes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    product: Mapped[str] = mapped_column(String(60))
    sold_at: Mapped[datetime] = mapped_column(Moment)
    screen: Mapped[str] = mapped_column(String(200))


class Period(Base):
    """A year of a pass, or the day of a ticket: ``first`` to ``last``, both included. ``year`` counts those in a row.

    ``price`` is what was paid for the ``persons`` who held it then, ``way`` the way in whose price that was.
    """

    __tablename__ = "pass_periods"
    __table_args__ = (Index("ix_pass_periods_last", "last"),)

    pass_id: Mapped[str] = mapped_column(String(32), ForeignKey("passes.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    year: Mapped[int]
    first: Mapped[date] = mapped_column(Date)
    last: Mapped[date] = mapped_column(Date)
    price: Mapped[Decimal] = mapped_column(Yuan)
    persons: Mapped[int]
    way: Mapped[str] = mapped_column(String(40))
    paid_at: Mapped[datetime] = mapped_column(Moment)


class Holder(Base):
    """One of those who share a pass. ``subject`` is none on a ticket, and once the last of the person is erased.

    ``method``: the way in that was agreed with them. ``left_on``: the day of their refund, the
    last that the pass is valid for them.
    """

    __tablename__ = "pass_holders"
    __table_args__ = (Index("ix_pass_holders_pass_id", "pass_id"), Index("ix_pass_holders_subject", "subject"))

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    pass_id: Mapped[str] = mapped_column(String(32), ForeignKey("passes.id"))
    subject: Mapped[str | None] = mapped_column(String(32))
    method: Mapped[str] = mapped_column(String(40))
    left_on: Mapped[date | None] = mapped_column(Date)


class Card(Base):
    """A card, by the SHA-256 of its number (hex). ``lost_at``: reported lost or replaced, and opens nothing since."""

    __tablename__ = "pass_cards"
    __table_args__ = (Index("ix_pass_cards_holder_id", "holder_id"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder_id: Mapped[int] = mapped_column(_ID, ForeignKey("pass_holders.id"))
    issued_at: Mapped[datetime] = mapped_column(Moment)
    lost_at: Mapped[datetime | None] = mapped_column(Moment)


class Visit(Base):
    """A holder entered. ``key`` is that of the gate's question; ``offline``: the gate decided alone."""

    __tablename__ = "pass_visits"
    __table_args__ = (
        Index("ix_pass_visits_subject", "subject", "at"),
        Index("ix_pass_visits_holder_id", "holder_id"),
        Index("uq_pass_visits_question", "gate", "key", unique=True),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    holder_id: Mapped[int] = mapped_column(_ID, ForeignKey("pass_holders.id"))
    subject: Mapped[str | None] = mapped_column(String(32))
    gate: Mapped[str] = mapped_column(String(40))
    method: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime] = mapped_column(Moment)
    key: Mapped[str] = mapped_column(String(64))
    offline: Mapped[bool]


class Gate(Base):
    """A gate that may ask, by its public key (a verifier key), until ``ended_at``."""

    __tablename__ = "gates"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class GateAnswer(Base):
    """What a gate was answered, under the key of its question: the same question is answered the same.

    ``question``: SHA-256 (hex) of the question without its template, so that another under the same key is noticed;
    empty where the gate decided alone. ``answer`` notes that the gate's record was taken; when the answer is forgotten,
    that note stays.
    """

    __tablename__ = "gate_answers"
    __table_args__ = (Index("ix_gate_answers_at", "at"),)

    gate: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    question: Mapped[str] = mapped_column(String(64))
    opened: Mapped[bool]
    answer: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(Moment)


class Conflict(Base):
    """What a gate decided alone and the centre would not have, for a person to look at."""

    __tablename__ = "gate_conflicts"
    __table_args__ = (
        Index("uq_gate_conflicts_question", "gate", "key", "kind", unique=True),
        Index("ix_gate_conflicts_subject", "subject"),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    gate: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(20))
    card: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(Moment)
    noted_at: Mapped[datetime] = mapped_column(Moment)
    settled_at: Mapped[datetime | None] = mapped_column(Moment)
    settled_by: Mapped[str] = mapped_column(String(200))
    note: Mapped[str] = mapped_column(Text)


class PaidBack(Base):
    """A refund: for ``persons`` of those who share the pass, ``days_left`` of the ``days`` that ``price`` paid for."""

    __tablename__ = "pass_refunds"
    __table_args__ = (Index("ix_pass_refunds_pass_id", "pass_id"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    pass_id: Mapped[str] = mapped_column(String(32), ForeignKey("passes.id"))
    persons: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Yuan)
    days_left: Mapped[int]
    days: Mapped[int]
    amount: Mapped[Decimal] = mapped_column(Yuan)
    reason: Mapped[str] = mapped_column(Text)
    on: Mapped[date] = mapped_column("paid_on", Date)
    at: Mapped[datetime] = mapped_column(Moment)


class HolderMessage(Base):
    """A message owed to a holder. ``said``: the words to send, by language; nothing personal is among them."""

    __tablename__ = "holder_messages"
    __table_args__ = (
        Index("ix_holder_messages_subject", "subject"),
        _partial("ix_holder_messages_due", "next_at", where="state = 'due' OR state = 'sending'"),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(40))
    channel: Mapped[str] = mapped_column(String(20))
    said: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Moment)
    next_at: Mapped[datetime] = mapped_column(Moment)
    sent_at: Mapped[datetime | None] = mapped_column(Moment)
    last_error: Mapped[str] = mapped_column(Text)


class OnceAnswer(Base):
    """What a write under an idempotency key was answered (``once``). ``name`` and ``request``: keyed digests (hex) of
    key and write; ``answer``: without numbers of cards, and with rows of holders in the place of subjects."""

    __tablename__ = "pass_answers"
    __table_args__ = (Index("ix_pass_answers_at", "at"),)

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    request: Mapped[str] = mapped_column(String(64))
    answer: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(Moment)


class Clerk(Base):
    """Who works at the pass centre, by the SHA-256 of their key (hex), until ``ended_at``."""

    __tablename__ = "pass_clerks"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    added_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
