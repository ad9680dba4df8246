"""Rows of what people were told and what they agreed to.

The rule of this module: nothing is ever overwritten. The database refuses, by trigger, to change or delete a row; two
columns alone may be set, once: a grant's ``ended_at`` (by the row in ``grant_ends`` that says how and why), and a
subject's salt may be forgotten.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, ForeignKey, ForeignKeyConstraint, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from duecare.store.database import Base, Moment

_ID = BigInteger().with_variant(Integer(), "sqlite")
STANDING = "ended_at IS NULL"
"""SQL: a grant stands."""


class SubjectRow(Base):
    """A person, by a random name that says nothing of them. ``salt`` (64 hex digits) makes their commitment."""

    __tablename__ = "subjects"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    salt: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Moment)


class FieldVersion(Base):
    """A kind of personal data as it was declared at a moment; ``declaration`` is canonical JSON."""

    __tablename__ = "personal_fields"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    declaration: Mapped[str] = mapped_column(Text)
    declared_at: Mapped[datetime] = mapped_column(Moment)


class PurposeVersion(Base):
    """A purpose as it was declared at a moment; ``declaration`` is canonical JSON, the other columns repeat parts."""

    __tablename__ = "purposes"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    notice: Mapped[str] = mapped_column(String(60))
    basis: Mapped[str] = mapped_column(String(30))
    special: Mapped[bool] = mapped_column(Boolean)
    required: Mapped[bool] = mapped_column(Boolean)
    declaration: Mapped[str] = mapped_column(Text)
    declared_at: Mapped[datetime] = mapped_column(Moment)


class PurposeEnd(Base):
    """A purpose is gone, for good and for everyone."""

    __tablename__ = "purpose_ends"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    ended_at: Mapped[datetime] = mapped_column(Moment)


class NoticeVersion(Base):
    """What people were told, from a moment on; ``content`` is canonical JSON and ``digest`` its SHA-256 in hex."""

    __tablename__ = "notices"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    published_at: Mapped[datetime] = mapped_column(Moment)


class NoticeAnswer(Base):
    """A person accepted or declined a version of a notice; of several answers to one version the last counts."""

    __tablename__ = "notice_answers"
    __table_args__ = (
        ForeignKeyConstraint(["notice", "number"], ["notices.name", "notices.number"]),
        Index("ix_notice_answers_of", "notice", "number", "subject", "id"),
        Index("ix_notice_answers_by", "subject", "notice", "number"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(32), ForeignKey("subjects.id"))
    notice: Mapped[str] = mapped_column(String(60))
    number: Mapped[int] = mapped_column(Integer)
    accepted: Mapped[bool] = mapped_column(Boolean)
    how: Mapped[str] = mapped_column(String(200))
    screen: Mapped[str] = mapped_column(String(200))
    answered_at: Mapped[datetime] = mapped_column(Moment)


class GrantRow(Base):
    """A person agreed to a purpose, as it was declared and announced then.

    ``record`` is the UUID under which a receipt knows it; ``act`` the one under which several were given at once.
    ``separate``: it was given alone. ``language`` is that of the notice shown. ``ended_at`` null: it stands.
    """

    __tablename__ = "grants"
    __table_args__ = (
        ForeignKeyConstraint(["purpose", "purpose_version"], ["purposes.name", "purposes.number"]),
        ForeignKeyConstraint(["notice", "notice_version"], ["notices.name", "notices.number"]),
        Index(
            "uq_grants_standing",
            "purpose",
            "subject",
            unique=True,
            sqlite_where=text(STANDING),
            postgresql_where=text(STANDING),
        ),
        Index("ix_grants_subject", "subject", "purpose"),
        {"sqlite_autoincrement": True},  # ids are never used again
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    record: Mapped[str] = mapped_column(String(36))
    act: Mapped[str] = mapped_column(String(36))
    subject: Mapped[str] = mapped_column(String(32), ForeignKey("subjects.id"))
    purpose: Mapped[str] = mapped_column(String(60))
    purpose_version: Mapped[int] = mapped_column(Integer)
    notice: Mapped[str] = mapped_column(String(60))
    notice_version: Mapped[int] = mapped_column(Integer)
    separate: Mapped[bool] = mapped_column(Boolean)
    language: Mapped[str] = mapped_column(String(5))
    how: Mapped[str] = mapped_column(String(200))
    screen: Mapped[str] = mapped_column(String(200))
    given_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class GrantEnd(Base):
    """How a grant ended, and why. Inserting it ends the grant, by trigger; a grant has at most one."""

    __tablename__ = "grant_ends"

    grant_id: Mapped[int] = mapped_column(_ID, ForeignKey("grants.id"), primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20))
    how: Mapped[str] = mapped_column(String(200))
    screen: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    ended_at: Mapped[datetime] = mapped_column(Moment)
