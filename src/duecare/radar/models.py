"""Rows of the radar: who watches what, what was decided of each change, and who was told by which channel.

The rule of this module: who was told is never forgotten. Members, addresses, alerts and deliveries are ended, withdrawn
or given up, never deleted: the deliveries of an alert are the list of those who must hear its correction (case 1). How
a person is reached stands in the vault and not here.

Alerts and deliveries carry no foreign keys to what they were joined from: they are made by one ``INSERT … SELECT`` over
those very tables, a hundred thousand at a time, and a check for each row would cost more than the join.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    cast,
    literal,
    or_,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from duecare.store.database import Base, Moment, parts

ADDRESSES = 2**31
"""How many ids stand ready for the deliveries of one alert: one for each address that can be."""

_AT_ONCE = 200

# SQLite keeps rows by such an id only where it is called so, and has eight bytes for it anyway.
_BIG = BigInteger().with_variant(Integer, "sqlite")


def _partial(name: str, *columns: str, where: str, **more: Any) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where), **more)


# Entities are codes. PostgreSQL need not ask its locale, for each comparison, which of two comes first.
_BYTES = {"postgresql_ops": {"entity": "varchar_pattern_ops"}}


class AddressState(StrEnum):
    """Whether an address may be written to. Only ``active`` ones are."""

    UNVERIFIED = "unverified"
    ACTIVE = "active"
    ENDED = "ended"


class ScreeningState(StrEnum):
    """Where a candidate for an alert stands."""

    HELD = "held"
    VERIFYING = "verifying"
    PASSED = "passed"
    REFUSED = "refused"
    EXPIRED = "expired"


class AlertState(StrEnum):
    """``corrected``: it was wrong and its recipients are told; ``withdrawn``: it was stopped before anyone was."""

    SENT = "sent"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"


class DeliveryMode(StrEnum):
    """``realtime``: goes out by itself. ``digest``: waits for the daily digest. ``carrier``: the digest itself."""

    REALTIME = "realtime"
    DIGEST = "digest"
    CARRIER = "carrier"


class DeliveryState(StrEnum):
    """``due`` (nobody was told) → ``sending`` (somebody may have been) → ``sent``, ``given_up``; or ``cancelled``.

    A delivery of mode ``digest`` is ``sending`` from the moment its digest is composed. One of a correction is
    ``waiting`` until it is known whether what it corrects has arrived (``in_flight.py``).
    """

    WAITING = "waiting"
    DUE = "due"
    SENDING = "sending"
    SENT = "sent"
    GIVEN_UP = "given_up"
    CANCELLED = "cancelled"


class Member(Base):
    """One who watches. ``zone`` is an IANA name; the digest is due at ``digest_hour`` (0 to 23) there.

    ``subject``: who they are to the vault. A member who left (``left_at``) and of whom all was erased has none, and
    another name: the row stays for the deliveries that name it, and is nobody's.
    """

    __tablename__ = "members"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    subject: Mapped[str | None] = mapped_column(String(32), unique=True)
    language: Mapped[str] = mapped_column(String(5), default="zh")
    zone: Mapped[str] = mapped_column(String(60), default="Asia/Shanghai")
    digest_hour: Mapped[int] = mapped_column(default=8)
    created_at: Mapped[datetime] = mapped_column(Moment)
    left_at: Mapped[datetime | None] = mapped_column(Moment)


class ChannelAddress(Base):
    """That a member can be reached by a channel. A changed address is a new row; the old one is ``ended`` and stays.

    The address itself is sealed (``contacts.py``). ``commitment``: under which the evidence log knows this recipient;
    the salt that opens it is sealed too, so that nobody finds an address by trying them all.
    """

    __tablename__ = "channel_addresses"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    channel: Mapped[str] = mapped_column(String(20))
    commitment: Mapped[str] = mapped_column(String(71))
    state: Mapped[str] = mapped_column(String(10), default=AddressState.ACTIVE.value)
    created_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)

    __table_args__ = (Index("ix_channel_addresses_member_id", "member_id", "state"),)


class Watch(Base):
    """A member's interest in one entity, from ``created_at`` until ``ended_at``.

    ``source`` none: whatever the source. ``categories`` and ``channels`` are lists such as ``,risk,litigation,`` (so
    that the fan-out stays one join on both databases); empty means all. ``realtime``: told at once (VIP push).
    """

    __tablename__ = "watches"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), index=True)
    entity: Mapped[str] = mapped_column(String(300))
    source: Mapped[str | None] = mapped_column(String(100))
    categories: Mapped[str] = mapped_column(String(200), default="")
    channels: Mapped[str] = mapped_column(String(200), default="")
    realtime: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)

    __table_args__ = (
        _partial("uq_watches_active", "entity", "member_id", where="ended_at IS NULL", unique=True, **_BYTES),
        # All that the fan-out asks of a watch, so that it never has to look up the row.
        _partial(
            "ix_watches_fan_out",
            "entity",
            "member_id",
            "source",
            "categories",
            "channels",
            "realtime",
            where="ended_at IS NULL",
            **_BYTES,
        ),
    )


class Screening(Base):
    """What was decided of one change that is a candidate for an alert.

    ``change_id`` is the lake's name for the change; ``id`` becomes that of its alert.
    ``before`` and ``after`` are JSON objects as text, as the lake gives them. ``reasons`` is a list of
    ``{"id", "case", "zh", "en"}`` of the rules that decided.
    """

    __tablename__ = "screenings"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    change_id: Mapped[str] = mapped_column(String(32), unique=True)
    batch_id: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(100))
    entity: Mapped[str] = mapped_column(String(300), index=True)
    name: Mapped[str] = mapped_column(Text, default="")
    section: Mapped[str] = mapped_column(String(60))
    key: Mapped[str] = mapped_column("fact_key", Text)
    kind: Mapped[str] = mapped_column(String(20))
    moved: Mapped[str] = mapped_column(String(10))
    late: Mapped[bool] = mapped_column(default=False)
    sensitive: Mapped[bool] = mapped_column(default=False)
    category: Mapped[str] = mapped_column(String(20))
    risk: Mapped[str] = mapped_column(String(10))
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    effective_on: Mapped[date | None]
    not_before: Mapped[datetime | None] = mapped_column(Moment)
    not_after: Mapped[datetime] = mapped_column(Moment)
    snapshot: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[str] = mapped_column(String(10))
    baseline: Mapped[str] = mapped_column(String(20), default="")
    verification: Mapped[str] = mapped_column(String(20), default="none")
    reasons: Mapped[list[Any]] = mapped_column(JSON, default=list)
    hold_id: Mapped[int | None]
    decided_at: Mapped[datetime | None] = mapped_column(Moment)
    decided_by: Mapped[str] = mapped_column(String(200), default="")
    note: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (
        Index("ix_screenings_batch_id", "batch_id", "state"),
        Index("ix_screenings_state", "state", "section"),
    )


class Unraised(Base):
    """A batch of which something passed since its alerts were raised: what is to be raised is found without a look at
    all that ever was.

    ``mark`` grows whenever more passes, so that what passes while alerts are raised is not taken for raised.
    """

    __tablename__ = "unraised_batches"

    batch_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    mark: Mapped[int]


class ScreeningSummary(Base):
    """How many changes of a batch met the same fate, and why: those that never were candidates are only counted."""

    __tablename__ = "screening_summaries"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    batch_id: Mapped[str] = mapped_column(String(64), index=True)
    section: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(20))
    count: Mapped[int] = mapped_column("changes")
    outcome: Mapped[str] = mapped_column(String(20))
    reasons: Mapped[list[Any]] = mapped_column(JSON, default=list)


class Hold(Base):
    """A section and kind of a batch that is out of line with its own history, shown to an operator."""

    __tablename__ = "holds"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    batch_id: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(100))
    section: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(20))
    observed: Mapped[int]
    expected: Mapped[float] = mapped_column(Float)
    low: Mapped[float] = mapped_column(Float)
    high: Mapped[float] = mapped_column(Float)
    tail: Mapped[float] = mapped_column(Float)
    history: Mapped[list[Any]] = mapped_column(JSON, default=list)
    state: Mapped[str] = mapped_column(String(10), default="held", index=True)
    opened_at: Mapped[datetime] = mapped_column(Moment)
    decided_at: Mapped[datetime | None] = mapped_column(Moment)
    decided_by: Mapped[str] = mapped_column(String(200), default="")
    reason: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (UniqueConstraint("batch_id", "section", "kind"),)


class Verification(Base):
    """One look at the authoritative source for one change. ``next_at``: when to look again, if it was unavailable."""

    __tablename__ = "verifications"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    change_id: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(Moment)
    outcome: Mapped[str] = mapped_column(String(20))
    snapshot: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(Text, default="")
    contradictions: Mapped[list[Any]] = mapped_column(JSON, default=list)
    note: Mapped[str] = mapped_column(Text, default="")
    next_at: Mapped[datetime | None] = mapped_column(Moment, index=True)

    __table_args__ = (UniqueConstraint("change_id", "attempt"),)


class Alert(Base):
    """What watchers are told of one change; or, with ``corrects_id``, that an earlier alert was wrong.

    An alert has the id of its screening, a correction that of the alert it takes back with a minus: that a change is
    told once, and taken back once, is the primary key. Indexes on the change's hash and on the entity would cost more
    than the rest of the row together; the alerts of an entity are found through its screenings. An id says nothing of
    when: a change that was verified for three days is told after others with greater ids.
    ``address`` is the official page. ``wording`` of a correction is ``{"zh", "en"}``: why the original was wrong.
    """

    __tablename__ = "alerts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    change_id: Mapped[str] = mapped_column(String(64))
    batch_id: Mapped[str] = mapped_column(String(64))
    entity: Mapped[str] = mapped_column(String(300))
    name: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(100))
    section: Mapped[str] = mapped_column(String(60))
    key: Mapped[str] = mapped_column("fact_key", Text)
    kind: Mapped[str] = mapped_column(String(20))
    category: Mapped[str] = mapped_column(String(20))
    risk: Mapped[str] = mapped_column(String(10))
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    effective_on: Mapped[date | None]
    not_before: Mapped[datetime | None] = mapped_column(Moment)
    not_after: Mapped[datetime] = mapped_column(Moment)
    snapshot: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(Text, default="")
    verification: Mapped[str] = mapped_column(String(20), default="none")
    verification_id: Mapped[int | None]
    reasons: Mapped[list[Any]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = mapped_column(Moment)
    state: Mapped[str] = mapped_column(String(10), default=AlertState.SENT.value)
    corrects_id: Mapped[int | None]
    wording: Mapped[dict[str, str] | None] = mapped_column(JSON)


def delivery_id(alert_id: Any, address_id: Any) -> Any:
    """The id of the delivery of an alert to an address: of two numbers a number, of columns an expression."""
    if isinstance(alert_id, int) and isinstance(address_id, int):
        return alert_id * ADDRESSES + address_id
    return cast(alert_id, _BIG) * literal(ADDRESSES, _BIG) + address_id


def called(delivery: int) -> str:
    """How evidence and idempotency keys call a delivery: ``delivery:ID``, or ``digest:ID`` where it is a carrier."""
    return f"digest:{delivery}" if carriers([delivery]) else f"delivery:{delivery}"


def carriers(ids: Iterable[int]) -> list[int]:
    """Of the ids of deliveries those of carriers, which are the ids of their digests."""
    return [one for one in ids if 0 < one < ADDRESSES]


def _own_id(context: Any) -> int:
    given = context.get_current_parameters()
    alert = given.get("alert_id")
    return int(given["digest_id"] if alert is None else delivery_id(alert, given["address_id"]))


class Delivery(Base):
    """One alert, or one digest, to one address. Its id is what makes it shown once: the idempotency key is made of it.

    The id says which alert and which address (``delivery_id``): that an alert goes to an address once is the primary
    key, and those of one alert stand together (``of_alert``). A ``carrier`` has the id of its digest, a number that no
    pair has. A second index for that would cost as much as writing the row.

    ``alert_id`` is none for a ``carrier``; ``digest_id`` is set on a carrier and on the deliveries it carries.
    ``claimed_by`` and ``claimed_until``: the worker that is sending it and until when it may. ``first_tried_at`` starts
    the hours after which it is given up. ``unanswered``: an attempt ended without an answer, so it may have arrived.
    """

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False, default=_own_id)
    alert_id: Mapped[int | None]
    member_id: Mapped[int]
    address_id: Mapped[int]
    channel: Mapped[str] = mapped_column(String(20))
    mode: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default=DeliveryState.DUE.value)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(Moment)
    next_at: Mapped[datetime] = mapped_column(Moment)
    first_tried_at: Mapped[datetime | None] = mapped_column(Moment)
    unanswered: Mapped[bool] = mapped_column(default=False)
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    claimed_until: Mapped[datetime | None] = mapped_column(Moment)
    last_error: Mapped[str] = mapped_column(Text, default="")
    sent_at: Mapped[datetime | None] = mapped_column(Moment)
    digest_id: Mapped[int | None]

    __table_args__ = (
        _partial("ix_deliveries_due", "next_at", where="state = 'due' AND mode <> 'digest'"),
        _partial("ix_deliveries_sending", "claimed_until", where="state = 'sending' AND mode <> 'digest'"),
        _partial("ix_deliveries_gathering", "member_id", where="state = 'due' AND mode = 'digest'"),
        _partial("ix_deliveries_given_up", "id", where="state = 'given_up'"),
        _partial("ix_deliveries_digest_id", "digest_id", where="digest_id IS NOT NULL"),
    )


def of_alert(alert_id: int) -> ColumnElement[bool]:
    """The deliveries of one alert: those whose ids stand together.

    ``Delivery.alert_id == alert_id`` says the same, and reads every delivery that ever was. Of many alerts take
    ``of_alerts``: ranges that depend on another column are no help to a planner.
    """
    return Delivery.id.between(delivery_id(alert_id, 0), delivery_id(alert_id, ADDRESSES - 1))


def of_alerts(alert_ids: Iterable[int]) -> ColumnElement[bool]:
    """The deliveries of several alerts: of no more than ``alerts_at_once`` gives."""
    return or_(*map(of_alert, alert_ids))


def alerts_at_once(alert_ids: Iterable[int]) -> Iterator[Sequence[int]]:
    """``alert_ids`` in order, so many at a time as ``of_alerts`` is asked for: SQLite takes a thousand terms."""
    return parts(sorted(alert_ids), _AT_ONCE)


def may_have_been_told() -> ColumnElement[bool]:
    """The deliveries whose recipient was told or may have been: who must hear a correction. The rest can be stopped.

    >>> select(Delivery).where(of_alert(alert.id), may_have_been_told())  # doctest: +SKIP
    """
    return Delivery.state.in_((DeliveryState.SENT.value, DeliveryState.SENDING.value)) | Delivery.unanswered


class Digest(Base):
    """One day's digest to one address. ``day`` is the member's calendar day on which it fell due. The id is that of its
    delivery too, and is not given again when a digest is composed anew."""

    __tablename__ = "digests"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), index=True)
    address_id: Mapped[int] = mapped_column(ForeignKey("channel_addresses.id"))
    day: Mapped[date]
    zone: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(Text)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    body_text: Mapped[str] = mapped_column(Text)
    body_html: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment)

    __table_args__ = (UniqueConstraint("address_id", "day"), {"sqlite_autoincrement": True})


class Message(Base):
    """One message in a member's message centre."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), index=True)
    delivery_id: Mapped[int] = mapped_column(_BIG, unique=True)
    subject: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment)
    read_at: Mapped[datetime | None] = mapped_column(Moment)


_MARK = "notice:"


class NoticeOfError(Base):
    """A claim that a fact is wrong, and what became of it. ``state``: ``open``, ``upheld`` or ``refused``."""

    __tablename__ = "notices_of_error"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    entity: Mapped[str] = mapped_column(String(300), index=True)
    source: Mapped[str] = mapped_column(String(100))
    section: Mapped[str] = mapped_column(String(60))
    key: Mapped[str] = mapped_column("fact_key", Text)
    claimant: Mapped[str] = mapped_column(Text)
    statement: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime] = mapped_column(Moment)
    state: Mapped[str] = mapped_column(String(10), default="open", index=True)
    outcome: Mapped[str] = mapped_column(Text, default="")
    decided_at: Mapped[datetime | None] = mapped_column(Moment)
    decided_by: Mapped[str] = mapped_column(String(200), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    correction_alert_id: Mapped[int | None]

    @property
    def mark(self) -> str:
        """How disputes, looks at the source and evidence call it."""
        return f"{_MARK}{self.id}"

    @classmethod
    def mark_sql(cls) -> ColumnElement[str]:
        """SQL of the same."""
        return literal(_MARK).concat(cast(cls.id, String))
