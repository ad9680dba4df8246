"""Rows about batches of reads: what was read, when, by which parser, and which lake versions it made true.

The rule of this module: the database says which version of each lake table is true. What a killed process wrote to the
lake without saying so here does not exist.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from duecare.store.database import Base, Moment


class Batch(Base):
    """One file, crawl or re-reading, applied whole or not at all.

    ``kind``: ``file``, ``crawl``, ``reread`` or ``page`` (one page fetched to verify). ``state``: ``committed``,
    ``held`` (below the floor; nothing applied) or ``rejected``. ``late``: an older snapshot that arrived after a newer
    one. ``screened``: whether the radar has gone through its changes.
    """

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    source: Mapped[str] = mapped_column(String(100), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10))
    late: Mapped[bool] = mapped_column(default=False)
    observed_at: Mapped[datetime] = mapped_column(Moment)
    recorded_at: Mapped[datetime] = mapped_column(Moment)
    parser: Mapped[str] = mapped_column(String(50))
    snapshot: Mapped[str] = mapped_column(String(64))
    filename: Mapped[str] = mapped_column(Text)
    sections: Mapped[dict[str, Any]] = mapped_column(JSON)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text, default="")
    screened: Mapped[bool] = mapped_column(default=False, index=True)


class BatchCount(Base):
    """How many changes of one kind one batch made in one section: the radar's baseline is drawn from these."""

    __tablename__ = "batch_counts"

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    section: Mapped[str] = mapped_column(String(60), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    source: Mapped[str] = mapped_column(String(100))
    changes: Mapped[int]
    entities: Mapped[int]

    __table_args__ = (Index("ix_batch_counts_history", "source", "section", "kind"),)


class LakeVersion(Base):
    """The version of one lake table that is true."""

    __tablename__ = "lake_versions"

    source: Mapped[str] = mapped_column(String(100), primary_key=True)
    table: Mapped[str] = mapped_column("table_name", String(30), primary_key=True)
    version: Mapped[int]


class Dispute(Base):
    """A fact against which a notice of error is open, or was decided: shown wherever the fact is."""

    __tablename__ = "disputes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(String(100))
    entity: Mapped[str] = mapped_column(String(300), index=True)
    section: Mapped[str] = mapped_column(String(60))
    key: Mapped[str] = mapped_column("fact_key", Text)
    opened_at: Mapped[datetime] = mapped_column(Moment)
    closed_at: Mapped[datetime | None] = mapped_column(Moment)
    outcome: Mapped[str] = mapped_column(String(20), default="open")
    note: Mapped[str] = mapped_column(Text, default="")
    effective_on: Mapped[date | None]


class HomeIdentity(Base):
    """Which home this database belongs to, so that two homes never share one by mistake."""

    __tablename__ = "home"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
