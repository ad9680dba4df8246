"""Which worker sends which delivery, and what came of it: the database's side of sending.

A claim is a lease: rows are marked ``sending`` and committed before anything leaves, and belong to one worker until
``claimed_until``. A worker holds a lock file while it lives, so that what a killed one had claimed is free at once.

The rule of this module: only the worker that holds the claim may note an outcome, and the note and its evidence commit
together.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import and_, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from duecare.evidence.outbox import Act, record_all
from duecare.radar.detour import send_round
from duecare.radar.disputes import undisputed
from duecare.radar.in_flight import lock, settle, stop_abandoned
from duecare.radar.models import Alert, ChannelAddress, Delivery, DeliveryMode, DeliveryState, called, carriers
from duecare.store.home import Home

LEASE = timedelta(minutes=3)
"""How long a claim lasts; far longer than any one attempt."""

_ALONE = Delivery.mode != literal_column("'digest'")
_DUE = and_(Delivery.state == literal_column("'due'"), _ALONE)
_SENDING = and_(Delivery.state == literal_column("'sending'"), _ALONE)


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt. ``state``: ``sent``, ``due`` (again at ``next_at``), ``given_up`` or ``cancelled``."""

    delivery_id: int
    state: DeliveryState
    next_at: datetime | None = None
    error: str = ""
    unanswered: bool = False


@dataclass(frozen=True)
class Backoff:
    """Waits that double from ``first`` to ``most`` seconds, each shortened at random by up to half (jitter)."""

    first: float = 30.0
    most: float = 3600.0
    random: Random = Random()  # noqa: RUF009 - shared on purpose; give one with a seed to know the waits

    def wait(self, attempt: int, asked: float | None = None) -> timedelta:
        """Before the attempt after ``attempt`` (1 is the first); never less than the other side ``asked`` for."""
        bound = min(self.most, self.first * 2.0 ** min(attempt - 1, 30))
        return timedelta(seconds=max(bound * self.random.uniform(0.5, 1.0), asked or 0.0))


@contextmanager
def worker(home: Home) -> Iterator[str]:
    """The name of a worker, alive for the length of the block."""
    folder = home.path / "workers"
    folder.mkdir(exist_ok=True)
    name = uuid.uuid4().hex
    lock = FileLock(_lock_path(home, name))
    lock.acquire()
    try:
        yield name
    finally:
        lock.release()
        _lock_path(home, name).unlink(missing_ok=True)


def claim(session: Session, name: str, now: datetime, channels: Sequence[str], limit: int) -> list[int]:
    """Claim up to ``limit`` deliveries that are due by one of ``channels``; ids in the order they fell due.

    What was ``sending`` under a claim that has run out may have arrived, and is so marked before it goes again; unless
    its alert was taken back meanwhile. What tells of a disputed fact, alone or in a digest, stays as it is until the
    notice of error is decided.
    """
    stop_abandoned(session, now)
    wanted = (
        select(Delivery.id)
        .where(or_(and_(_DUE, Delivery.next_at <= now), and_(_SENDING, Delivery.claimed_until <= now)))
        .where(undisputed(session))
        .where(Delivery.channel.in_(channels))
        .order_by(Delivery.next_at, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)  # PostgreSQL; on SQLite every transaction is alone from its first word
    )
    ids = list(session.scalars(wanted))
    if ids:
        session.execute(
            update(Delivery).where(Delivery.id.in_(ids), Delivery.state == "sending").values(unanswered=True)
        )
        session.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids))
            .values(
                state=DeliveryState.SENDING.value,
                claimed_by=name,
                claimed_until=now + LEASE,
                first_tried_at=func.coalesce(Delivery.first_tried_at, now),
            )
        )
    return ids


def free_the_dead(home: Home, now: datetime) -> int:
    """Let go of what killed workers had claimed; returns how many deliveries that was."""
    with home.database.session() as session:
        names = list(
            session.scalars(select(Delivery.claimed_by).where(_SENDING, Delivery.claimed_until > now).distinct())
        )
    dead = [name for name in names if name and _is_dead(_lock_path(home, name))]
    if not dead:
        return 0
    with home.database.session() as session:
        freed = session.scalars(
            update(Delivery)
            .where(_SENDING, Delivery.claimed_by.in_(dead))
            .values(claimed_by=None, claimed_until=now)
            .returning(Delivery.id)
        ).all()
    for name in dead:
        _lock_path(home, name).unlink(missing_ok=True)
    return len(freed)


def release(session: Session, name: str, ids: Sequence[int], now: datetime) -> None:
    """Give back claimed deliveries that were not tried: they are due as before, and nobody was told by this claim."""
    if ids:
        lock(session, ids)
        mine = Delivery.id.in_(ids) & (Delivery.claimed_by == name)
        values = {"state": DeliveryState.DUE.value, "claimed_by": None, "claimed_until": None}
        settle(session, list(session.scalars(update(Delivery).where(mine).values(values).returning(Delivery.id))), now)


def note(session: Session, name: str, outcomes: Sequence[Outcome], now: datetime) -> int:
    """Note outcomes with their evidence; those of deliveries that the worker no longer holds are dropped.

    Returns how many were noted. A digest's outcome is that of every alert it carries, and what waits for an outcome is
    settled with it.
    """
    lock(session, [outcome.delivery_id for outcome in outcomes])
    noted: list[int] = []
    sent = [outcome for outcome in outcomes if outcome.state is DeliveryState.SENT]
    if sent:
        held = _settle(session, name, [outcome.delivery_id for outcome in sent], {"state": "sent", "sent_at": now})
        _carry(session, held, {"state": "sent", "sent_at": now})
        _record_sent(session, held, now)
        noted += held
    for outcome in outcomes:
        if outcome.state is DeliveryState.SENT:
            continue
        values: dict[str, Any] = {"last_error": outcome.error, "state": outcome.state.value}
        if outcome.unanswered:
            values["unanswered"] = True
        over = outcome.state is not DeliveryState.DUE
        held = _settle(session, name, [outcome.delivery_id], values if over else {**values, "next_at": outcome.next_at})
        if over:
            _carry(session, held, values)
            _record_over(session, held, outcome, now)
            send_round(session, held, now)
        noted += held
    settle(session, noted, now)
    return len(noted)


def _settle(session: Session, name: str, ids: Sequence[int], values: dict[str, Any]) -> list[int]:
    return list(
        session.scalars(
            update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.claimed_by == name, Delivery.state == "sending")
            .values(claimed_by=None, claimed_until=None, attempts=Delivery.attempts + 1, **values)
            .returning(Delivery.id)
        )
    )


def _carry(session: Session, ids: Sequence[int], values: dict[str, Any]) -> None:
    """What happened to the carriers among ``ids`` happened to all that they carry."""
    session.execute(
        update(Delivery)
        .where(
            Delivery.digest_id.in_(carriers(ids)),
            Delivery.mode == DeliveryMode.DIGEST.value,
            Delivery.state == "sending",
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _record_sent(session: Session, ids: Sequence[int], now: datetime) -> None:
    """One ``alert:send`` for each alert that reached each address, the recipient as a commitment."""
    within = carriers(ids)
    columns = (Delivery.id, Delivery.alert_id, Delivery.channel, Delivery.mode)
    rows = session.execute(
        select(*columns, Alert.change_id, Alert.corrects_id, ChannelAddress.commitment)
        .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
        .join(Alert, Alert.id == Delivery.alert_id)
        .where(or_(Delivery.id.in_(ids), Delivery.digest_id.in_(within)) if within else Delivery.id.in_(ids))
        .order_by(Delivery.id)
    ).all()
    acts = []
    for one, alert, channel, mode, change, corrects, commitment in rows:
        body: dict[str, Any] = {"change": change, "channel": channel, "mode": mode, "recipient": commitment}
        body["delivery"] = str(one)  # longer than a whole number of JSON may be
        if corrects is not None:
            body["corrects"] = corrects
        acts.append(Act("alert:send", f"alert:{alert}", body, now))
    record_all(session, acts)


def _record_over(session: Session, ids: Sequence[int], outcome: Outcome, now: datetime) -> None:
    kind = "delivery:cancel" if outcome.state is DeliveryState.CANCELLED else "delivery:give_up"
    record_all(session, [Act(kind, called(one), {"may_have_arrived": outcome.unanswered}, now) for one in ids])


def _lock_path(home: Home, name: str) -> Path:
    return home.path / "workers" / f"{name}.lock"


def _is_dead(path: Path) -> bool:
    """Whether nobody holds the lock. Without the file nothing is known, and the lease decides."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True
